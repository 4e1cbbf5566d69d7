//! The tables of runs at several widths.

use std::num::NonZeroU32;

use insta::assert_snapshot;

use super::*;
use crate::{
    outcome::{
        AcceptedSignature, BundleSummary, Bytes, DestinationOutcome, ExtraReads, PlannedRequests,
        requests_by_registry,
    },
    quota::Quotas,
    report::{Document, samples},
    trust::Signer,
};

fn outcome<const COUNT: usize>(command: Command, images: [ImageOutcome; COUNT]) -> RunOutcome {
    RunOutcome::new(command, images.into(), Vec::new(), Duration::from_millis(34_200))
}

fn shown(outcome: RunOutcome, width: Option<usize>) -> String {
    let Document::Run(document) = outcome.into() else { panic!("a run") };
    text_with(&document, width, Palette::plain(), Symbols::UNICODE).unwrap()
}

fn sync(width: Option<usize>) -> String {
    let images = [samples::copied(), samples::up_to_date(), samples::failed()];
    shown(outcome(Command::Sync, images), width)
}

#[test]
fn sync_on_a_wide_terminal() {
    assert_snapshot!(sync(None), @r#"
    IMAGE                         STATUS      DIGEST               PLATFORMS                   COPIED   MOUNTED   PRESENT    TIME  CAUSE
    timescaledb:2.21.3-pg16       failed      -                    -                              0 B       0 B       0 B   0.8 s  the registry answered 403 Forbidden: DENIED: no rights
    services:4.53.0               copied      sha256:916d2876cd08  linux/amd64,linux/arm64  146.0 MiB  30.0 MiB       0 B  12.4 s
    nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634  linux/amd64                    0 B       0 B  61.0 MiB   0.8 s

    registry.example.com/thoras/services:4.53.0: moved sha256:6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb -> sha256:916d2876cd080dae0a8d1d5993ae46412f58d701a5762fd25b1e4222f0995b94
    nginx:1.29.4-alpine3.23-slim: waived linux/arm64

    2 of 3 images confirmed in 34.2 s (4.3 MiB/s): 146.0 MiB copied, 30.0 MiB mounted, 61.0 MiB already present; 1 failed
    "#);
}

#[test]
fn sync_fits_a_hundred_columns() {
    assert_snapshot!(sync(Some(100)), @r#"
    platforms: linux/amd64,linux/arm64
    IMAGE                         STATUS      DIGEST                  COPIED   MOUNTED   PRESENT    TIME
    timescaledb:2.21.3-pg16       failed      the registry answered 403 Forbidden: DENIED: no rights
    services:4.53.0               copied      sha256:916d2876cd08  146.0 MiB  30.0 MiB       0 B  12.4 s
    nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634        0 B       0 B  61.0 MiB   0.8 s

    registry.example.com/thoras/services:4.53.0: moved sha256:6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb -> sha256:916d2876cd080dae0a8d1d5993ae46412f58d701a5762fd25b1e4222f0995b94
    nginx:1.29.4-alpine3.23-slim: waived linux/arm64
    nginx:1.29.4-alpine3.23-slim: platforms linux/amd64

    2 of 3 images confirmed in 34.2 s (4.3 MiB/s):
      146.0 MiB copied, 30.0 MiB mounted, 61.0 MiB already present; 1 failed
    "#);
}

#[test]
fn every_image_is_one_line_at_eighty_columns() {
    assert_snapshot!(sync(Some(80)), @r#"
    platforms: linux/amd64,linux/arm64
    IMAGE                         STATUS         COPIED   MOUNTED   PRESENT    TIME
    timescaledb:2.21.3-pg16       failed      the registry answered 403 Forbidden: …
    services:4.53.0               copied      146.0 MiB  30.0 MiB       0 B  12.4 s
    nginx:1.29.4-alpine3.23-slim  up-to-date        0 B       0 B  61.0 MiB   0.8 s

    registry.example.com/thoras/services:4.53.0: moved sha256:6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb -> sha256:916d2876cd080dae0a8d1d5993ae46412f58d701a5762fd25b1e4222f0995b94
    nginx:1.29.4-alpine3.23-slim: waived linux/arm64
    nginx:1.29.4-alpine3.23-slim: platforms linux/amd64

    2 of 3 images confirmed in 34.2 s (4.3 MiB/s):
      146.0 MiB copied, 30.0 MiB mounted, 61.0 MiB already present; 1 failed
    "#);
    let planned = || outcome(Command::Sync, [samples::planned(), samples::up_to_date()]);
    let verified = || outcome(Command::Verify, [samples::verified(), samples::different()]);
    let root = Some("registry.example.com/thoras".to_owned());
    let plan = RunOutcome { dry_run: true, destination: root.clone(), ..planned() };
    assert_snapshot!(shown(plan, Some(80)), @r#"
    to: registry.example.com/thoras; platforms: linux/amd64,linux/arm64
    IMAGE                         STATUS      TO COPY  TO MOUNT   PRESENT
    thoras-forecast:4.53.0        planned     1.3 GiB   3.0 MiB     512 B
    nginx:1.29.4-alpine3.23-slim  up-to-date      0 B       0 B  61.0 MiB

    nginx:1.29.4-alpine3.23-slim: waived linux/arm64
    nginx:1.29.4-alpine3.23-slim: platforms linux/amd64

    2 images planned:
      1.3 GiB to copy, 3.0 MiB to mount, 61.0 MiB already present;
      nothing was written
    "#);
    let level = Some("blobs".to_owned());
    assert_snapshot!(shown(RunOutcome { level, destination: root, ..verified() }, Some(80)), @r#"
    platforms: linux/amd64,linux/arm64; level: blobs
    IMAGE                       RESULT     DIGEST               PROBLEMS   TIME
    services:4.53.0             different  blob sha256:2e7d2c03a9507ae265ecf5b53568…
    thoras-dashboard-v2:4.53.0  verified   sha256:e71c7a673350         0  0.8 s

    1 of 2 images verified in 34.2 s, level blobs; 1 different
    "#);
}

#[test]
fn other_names_at_the_destination_are_shown() {
    let renamed = || ImageOutcome {
        destination: "registry.example.com/thoras/platform/engine:mirror-0123456789abcdef".to_owned(),
        ..samples::verified()
    };
    let root = Some("registry.example.com/thoras".to_owned());
    let verified = || RunOutcome {
        destination: root.clone(),
        level: Some("blobs".to_owned()),
        ..outcome(Command::Verify, [renamed()])
    };
    assert_snapshot!(shown(verified(), None), @r#"
    IMAGE                       RESULT    DESTINATION                                                          DIGEST               PLATFORMS                LEVEL  PROBLEMS   TIME
    thoras-dashboard-v2:4.53.0  verified  registry.example.com/thoras/platform/engine:mirror-0123456789abcdef  sha256:e71c7a673350  linux/amd64,linux/arm64  blobs         0  0.8 s

    1 image verified in 34.2 s, level blobs
    "#);
    assert_snapshot!(shown(verified(), Some(80)), @r#"
    to: registry.example.com/thoras; platforms: linux/amd64,linux/arm64
    level: blobs; problems: 0; time: 0.8 s
    IMAGE                       RESULT    DESTINATION                   DIGEST
    thoras-dashboard-v2:4.53.0  verified  platform/…r-0123456789abcdef  e71c7a673350

    1 image verified in 34.2 s, level blobs
    "#);
}

#[test]
fn an_image_at_two_destinations_has_two_rows_that_differ() {
    let at = |registry: &str| ImageOutcome {
        destination: format!("{registry}.example.com/thoras/services:4.53.0"),
        ..samples::verified()
    };
    let verified = || RunOutcome {
        destination: Some("stage.example.com/thoras, prod.example.com/thoras".to_owned()),
        level: Some("blobs".to_owned()),
        ..outcome(Command::Verify, [at("stage"), at("prod")])
    };
    assert_snapshot!(shown(verified(), None), @r#"
    IMAGE                       RESULT    DESTINATION                               DIGEST               PLATFORMS                LEVEL  PROBLEMS   TIME
    thoras-dashboard-v2:4.53.0  verified  stage.example.com/thoras/services:4.53.0  sha256:e71c7a673350  linux/amd64,linux/arm64  blobs         0  0.8 s
    thoras-dashboard-v2:4.53.0  verified  prod.example.com/thoras/services:4.53.0   sha256:e71c7a673350  linux/amd64,linux/arm64  blobs         0  0.8 s

    2 images verified in 34.2 s, level blobs
    "#);
    assert_snapshot!(shown(verified(), Some(80)), @r#"
    to: stage.example.com/thoras, prod.example.com/thoras
    platforms: linux/amd64,linux/arm64; level: blobs; problems: 0; time: 0.8 s
    IMAGE                       RESULT    DESTINATION                   DIGEST
    thoras-dashboard-v2:4.53.0  verified  stage.exa…as/services:4.53.0  e71c7a673350
    thoras-dashboard-v2:4.53.0  verified  prod.exam…as/services:4.53.0  e71c7a673350

    2 images verified in 34.2 s, level blobs
    "#);
}

#[test]
fn failed_rows_are_red_on_a_terminal_with_colors() {
    let Document::Run(document) = outcome(Command::Sync, [samples::copied(), samples::failed()]).into()
    else {
        panic!("a run")
    };
    for width in [None, Some(80)] {
        let colored = text(&document, width, Palette::colored()).unwrap();
        let red: Vec<&str> = colored.lines().filter(|line| line.starts_with("\u{1b}[31m")).collect();
        assert!(matches!(red.as_slice(), [line] if line.contains("timescaledb")), "{colored}");
        let plain = text(&document, width, Palette::plain()).unwrap();
        assert!(!plain.contains('\u{1b}'), "{plain}");
    }
}

#[test]
fn a_dry_run_shows_what_would_move() {
    let planned = outcome(Command::Sync, [samples::planned(), samples::up_to_date()]);
    assert_snapshot!(shown(RunOutcome { dry_run: true, ..planned }, None), @r#"
    IMAGE                         STATUS      DIGEST               PLATFORMS                TO COPY  TO MOUNT   PRESENT
    thoras-forecast:4.53.0        planned     sha256:263cf5a4d686  linux/amd64,linux/arm64  1.3 GiB   3.0 MiB     512 B
    nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634  linux/amd64                  0 B       0 B  61.0 MiB

    nginx:1.29.4-alpine3.23-slim: waived linux/arm64

    2 images planned: 1.3 GiB to copy, 3.0 MiB to mount, 61.0 MiB already present; nothing was written
    "#);
}

#[test]
fn a_dry_run_says_what_it_would_ask_of_each_registry() {
    let requests = PlannedRequests {
        manifests_read: 130,
        blobs_read: 94,
        manifests_pushed: 131,
        uploads: 94,
        mounts: 1,
    };
    let ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let image = ImageOutcome {
        source: "docker.io/vendor/app:1".parse().unwrap(),
        destination: format!("{ecr}/mirror/app:1"),
        requests: Some(Box::new(requests)),
        ..samples::planned()
    };
    let quotas = Quotas::new(vec!["InitiateLayerUpload=20".parse().unwrap()]).unwrap();
    let requests = requests_by_registry(std::slice::from_ref(&image), true, &quotas, NonZeroU32::MIN);
    let planned = RunOutcome { dry_run: true, requests, ..outcome(Command::Sync, [image]) };
    let text = shown(planned, Some(80));
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("requests")).collect();
    assert_snapshot!(lines.join("\n"), @"
    requests from docker.io: 130 manifests, 94 blobs
    at least 1 h 48 min: 130 pulls, limited to 100 in 6 hours without a login
    requests to 123456789012.dkr.ecr.us-east-1.amazonaws.com:
      131 manifests, 94 uploads, 1 mount
    at least 13.0 s: 131 PutImage, limited to 10 per second
    at least 4.0 s: 94 InitiateLayerUpload, limited to 20 per second
    ");
    assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn verify_counts_problems() {
    let verified = outcome(Command::Verify, [samples::verified(), samples::different()]);
    let level = Some("blobs".to_owned());
    assert_snapshot!(shown(RunOutcome { level, ..verified }, None), @r#"
    IMAGE                       RESULT     DIGEST               PLATFORMS                LEVEL  PROBLEMS   TIME  CAUSE
    services:4.53.0             different  sha256:916d2876cd08  -                        blobs         4  0.8 s  blob sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6 is corrupt: its bytes hash to \u{1b}[31mothers (and 3 more)
    thoras-dashboard-v2:4.53.0  verified   sha256:e71c7a673350  linux/amd64,linux/arm64  blobs         0  0.8 s

    1 of 2 images verified in 34.2 s, level blobs; 1 different
    "#);
}

#[test]
fn one_image_is_not_plural() {
    let verified = outcome(Command::Verify, [samples::verified()]);
    let text = shown(RunOutcome { level: Some("bytes".to_owned()), ..verified }, None);
    assert!(text.ends_with("1 image verified in 34.2 s, level bytes"), "{text}");
}

#[test]
fn the_id_of_a_bundle_that_was_read_follows_the_summary() {
    let id = samples::digest("bundle");
    let verified = outcome(Command::BundleVerify, [samples::verified()]);
    let verified = RunOutcome { level: Some("bytes".to_owned()), bundle: Some(id.clone()), ..verified };
    let text = shown(verified, None);
    assert!(text.ends_with(&format!("in 34.2 s, level bytes\nbundle {id}")), "{text}");
}

#[test]
fn an_export_shows_the_id_of_its_bundle_once() {
    let id = samples::digest("bundle");
    let files = vec!["thoras.tar".to_owned()];
    let summary =
        BundleSummary { id: id.clone(), files, signature: None, length: 1 << 30, kept: 2048, left_out: 0 };
    let exported = outcome(Command::BundleExport, [samples::copied()]);
    let text = shown(RunOutcome { bundle: Some(id.clone()), written: Some(summary), ..exported }, None);
    let end = "1 image exported to thoras.tar, 1.0 GiB in 34.2 s: 146.0 MiB copied, 2.0 KiB resumed";
    assert!(text.ends_with(&format!("{end}\nid {id}")), "{text}");
}

#[test]
fn a_run_without_images_has_no_table() {
    let Document::Run(document) = outcome(Command::Sync, []).into() else { panic!("a run") };
    assert_eq!(text(&document, None, Palette::plain()), None);
}

#[test]
fn who_signed_is_one_line_below_the_summary_if_it_fits() {
    let by = |image: ImageOutcome, signer: Signer| {
        let manifest = samples::digest("signature");
        ImageOutcome { signature: Some(Box::new(AcceptedSignature { manifest, signer })), ..image }
    };
    let key = || Signer::Key { file: "cosign.pub".to_owned() };
    let identity = || Signer::Identity {
        subject: "https://github.com/acme/app/.github/workflows/release.yaml".to_owned(),
        issuer: "https://token.actions.githubusercontent.com".to_owned(),
    };
    let last = |images: [ImageOutcome; 3], width: Option<usize>, count: usize| {
        let shown = shown(outcome(Command::Sync, images), width);
        let lines: Vec<&str> = shown.lines().rev().take(count).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    };
    let same = || [by(samples::copied(), key()), by(samples::up_to_date(), key()), samples::failed()];
    assert_eq!(last(same(), Some(80), 1), "2 images signed by key cosign.pub");
    let mixed = || [by(samples::copied(), key()), by(samples::up_to_date(), identity()), samples::failed()];
    let lines = "1 image signed by key cosign.pub\n1 image signed by \
                 https://github.com/acme/app/.github/workflows/release.yaml (issuer \
                 https://token.actions.githubusercontent.com)";
    assert_eq!(last(mixed(), Some(80), 2), lines);
    assert_eq!(last(mixed(), None, 1), lines.replace('\n', "; "));
    assert!(!sync(Some(80)).contains("signed"), "without a policy");
}

fn two_destinations(command: Command) -> RunOutcome {
    let at = |host: &str, image: ImageOutcome| ImageOutcome {
        destination: image.destination.replace("registry.example.com", host),
        ..image
    };
    let images = [
        at("eu.example.com", samples::copied()),
        at("eu.example.com", samples::up_to_date()),
        samples::failed(),
    ];
    let there = |to: &str, confirmed: usize, failed: usize, extra_reads: ExtraReads| DestinationOutcome {
        to: format!("{to}/thoras"),
        images: 2,
        confirmed,
        failed,
        bytes: Bytes { copied: 146 * 1024 * 1024, ..Bytes::default() },
        extra_reads,
        milliseconds: 34_100,
    };
    let again = ExtraReads { reads: 3, bytes: 24 * 1024 * 1024, from_destinations: 1 };
    RunOutcome {
        destination: Some("eu.example.com/thoras, registry.example.com/thoras".to_owned()),
        destinations: vec![
            there("eu.example.com", 2, 0, ExtraReads::default()),
            there("registry.example.com", 1, 1, again),
        ],
        ..outcome(command, images)
    }
}

#[test]
fn several_destinations_have_a_line_each_with_what_was_read_again() {
    let shown = shown(two_destinations(Command::Sync), None);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].contains("DESTINATION"), "{shown}");
    let summary =
        lines.iter().position(|line| line.starts_with("2 of 3 copies of 2 images confirmed in 34.2 s"));
    let rest = &lines[summary.unwrap_or_else(|| panic!("{shown}")) + 1..];
    assert_eq!(
        rest,
        [
            "eu.example.com/thoras: 2 images confirmed in 34.1 s: 146.0 MiB copied",
            "registry.example.com/thoras: 1 of 2 images confirmed in 34.1 s: 146.0 MiB copied; 1 failed; 3 blobs read again \
             (24.0 MiB, 1 of them from another destination)",
        ]
    );
}

#[test]
fn several_destinations_fit_eighty_columns() {
    let shown = shown(two_destinations(Command::Sync), Some(80));
    for line in shown.lines().filter(|line| !line.contains("moved sha256")) {
        let is_heading = line.starts_with("to: ");
        assert!(is_heading || console::measure_text_width(line) <= 80, "{line}");
    }
}

#[test]
fn a_failure_at_one_of_several_destinations_names_it_also_in_a_narrow_table_bug() {
    let row = |width| {
        let shown = shown(two_destinations(Command::Sync), width);
        shown.lines().find(|line| line.contains("  failed  ")).map(str::to_owned).unwrap()
    };
    let narrow = row(Some(80));
    assert!(narrow.contains(" registry.example.com/thoras: the registry answered"), "{narrow}");
    let wide = row(None);
    assert!(!wide.contains("thoras: the registry"), "it has a column for that: {wide}");
}
