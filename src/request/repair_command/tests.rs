use clap::Parser as _;

use super::{super::Origins, *};
use crate::{
    cli::Cli,
    lock::Lock,
    request::{Request, Verify},
};

fn verify(arguments: &str) -> Verify {
    let words = shlex::split(&format!("thoras-mirror verify {arguments}")).unwrap();
    match Request::new(Cli::try_parse_from(words).unwrap().command, &Origins::default()).unwrap() {
        Request::Verify(verify) => *verify,
        _ => panic!("verify"),
    }
}

fn repair_from_source(arguments: &str) -> Repair {
    let verify = verify(&format!("--to reg.example.com/a {arguments}"));
    let sources = ["ghcr.io/a/b:1".parse().unwrap()];
    repair(&verify.sync_from_source(&"reg.example.com/a".parse().unwrap(), &sources).unwrap())
}

fn repair_from_lock(arguments: &str, lock: &str) -> Repair {
    let lock = Lock::parse(lock.as_bytes(), "run.lock".as_ref()).unwrap();
    let verify = verify(&format!("--lock run.lock {arguments}"));
    let root = "reg.example.com/a".parse().unwrap();
    repair(&verify.sync_from_lock(&lock, lock.placement().unwrap(), &root).unwrap())
}

/// A lock of the packaged chart and of one image or none.
fn lock_with_chart(images: &str) -> String {
    let digest = "d".repeat(64);
    format!(
        r#"{{"schema": "thoras-mirror/lock/v1",
        "chart": {{"name": "shop", "version": "1.2.3", "digest": "sha256:{digest}"}},
        "placement": {{"to": "reg.example.com/a", "naming": "relative",
                      "chart": "localhost/charts/shop:1.2.3"}},
        "platforms": ["linux/amd64", "linux/arm64"], "blobs": {{}}, "images": [{images}
        {{"source": "localhost/charts/shop:1.2.3", "destinations": ["reg.example.com/a/charts/shop:1.2.3"],
          "digest": "sha256:{digest}", "kind": "chart", "platforms": [], "blobs": [],
          "confirmed": true}}]}}"#
    )
}

#[test]
fn the_command_names_what_the_run_was_given() {
    for given in [
        "--chart ./my-chart --values a.yaml --namespace x --include-crds --exclude 'quay.io/**'",
        "--naming full --platform linux/amd64 --allow-missing-platform 'nginx=linux/arm64' --images list.txt",
        "--to-username ci --to-password-stdin --plain-http reg:5000 --ca-cert 'my ca.pem' quay.io/a/b:1",
    ] {
        let repair = repair_from_source(given);
        assert_eq!(repair.command, format!("thoras-mirror sync --to reg.example.com/a {given}"));
        assert_eq!(repair.note, None);
    }
}

#[test]
fn every_timeout_is_repeated_bug() {
    let given = "--connect-timeout 3 --stall-timeout 7 --helper-timeout 9 quay.io/a/b:1";
    let repair = repair_from_source(given);
    assert_eq!(repair.command, format!("thoras-mirror sync --to reg.example.com/a {given}"));
}

#[test]
fn quotas_are_repeated_if_they_apply_to_the_repair() {
    let command = |given: &str| repair_from_source(given).command;
    let repeated =
        "thoras-mirror sync --to reg.example.com/a --quota 'requests=500' --quota 'ghcr.io/requests=400'";
    let given =
        "--quota REQUESTS=500 --quota eu.gcr.io/requests=9 --quota ghcr.io/requests=400 ghcr.io/a/b:1";
    assert_eq!(command(given), format!("{repeated} ghcr.io/a/b:1"));
}

#[test]
fn foreign_layers_are_repeated_bug() {
    let given = "--foreign-layers quay.io/a/b:1";
    let repair = repair_from_source(given);
    assert_eq!(repair.command, format!("thoras-mirror sync --to reg.example.com/a {given}"));
}

#[test]
fn the_selection_of_referrers_is_repeated() {
    let given = "--referrers signatures --referrer-type '*sigstore*' --referrer-type 'application/vnd.cncf.*' quay.io/a/b:1";
    let repair = repair_from_source(given);
    assert_eq!(repair.command, format!("thoras-mirror sync --to reg.example.com/a {given}"));
}

#[test]
fn a_packaged_chart_is_packaged_again_bug() {
    let locked = "thoras-mirror sync --locked --lock run.lock --to reg.example.com/a";
    let lock = lock_with_chart("");
    let repair = repair_from_lock("", &lock);
    assert_eq!(repair.command, format!("{locked} --with-chart --chart shop"));
    let repair = repair_from_lock("--chart ./shop --stall-timeout 7", &lock);
    assert_eq!(repair.command, format!("{locked} --stall-timeout 7 --with-chart --chart ./shop"));
}

#[test]
fn images_without_a_digest_are_named_but_never_a_packaged_chart() {
    let failed = r#"{"source": "quay.io/a/b:1", "destinations": ["reg.example.com/a/b:1"],
        "platforms": [], "blobs": [], "confirmed": false},"#;
    let repair = repair_from_lock("", &lock_with_chart(failed));
    assert_eq!(
        repair.command,
        "thoras-mirror sync --lock run.lock --to reg.example.com/a --naming relative quay.io/a/b:1"
    );
}

#[test]
fn values_that_may_be_secret_are_left_out() {
    let Repair { command: text, note, .. } = repair_from_source(
        "--set password=hunter2,other=hunter2 --set-string token=hunter2 \
         --helm-arg=--password --helm-arg=hunter2 --helm-arg=--password=hunter2 \
         --chart x --repo https://me:hunter2@charts.example.com/",
    );
    assert!(!text.contains("hunter2"), "{text}");
    assert!(note.is_some_and(|note| note.contains("replace each *** with your own value")));
    assert!(text.contains("--set 'password=***' --set-string 'token=***'"), "{text}");
    assert!(text.contains("--repo 'https://me:***@charts.example.com/'"), "{text}");
}
