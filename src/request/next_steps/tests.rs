use std::time::Duration;

use super::*;
use crate::request::{Origins, SettingOrigin};
use crate::{
    oci::Mapping,
    outcome::{Command, Status},
};

fn image(source: &str, destination: &str, kind: ArtifactKind, status: Status) -> ImageOutcome {
    let mapping = Mapping::to(source.parse().unwrap(), &destination.parse().unwrap());
    ImageOutcome { kind, ..ImageOutcome::new(&mapping, status) }
}

fn outcome(name: &str, status: Status) -> RunOutcome {
    let images = vec![
        image("v.io/p/web:1", "reg.io/m/web:1", ArtifactKind::Image, status),
        image(
            "localhost/charts/thoras:4.5.6",
            "reg.io/m/charts/thoras:4.5.6",
            ArtifactKind::Chart,
            Status::Copied,
        ),
    ];
    let chart = ChartIdentity { name: name.to_owned(), version: "4.5.6".to_owned(), digest: None };
    RunOutcome { chart: Some(chart), ..RunOutcome::new(Command::Sync, images, Vec::new(), Duration::ZERO) }
}

fn selection(selection: &str) -> Selection {
    use clap::Parser as _;
    let words = shlex::split(&format!("thoras-mirror images {selection}")).unwrap();
    let parsed = crate::request::Request::new(
        crate::cli::Cli::try_parse_from(words).unwrap().command,
        &Origins::default(),
    )
    .unwrap();
    let crate::request::Request::Images(images) = parsed else { panic!("images") };
    images.selection
}

fn steps(outcome: &RunOutcome, packaged: bool, selection: Option<&Selection>) -> Vec<String> {
    let packaged_name: Reference = "localhost/charts/thoras:4.5.6".parse().unwrap();
    let installation = Installation {
        root: &"reg.io/m".parse().unwrap(),
        login: None,
        registries: &RegistrySettings::default(),
        lock: Some(Path::new(DEFAULT_LOCK)),
        packaged: packaged.then_some(&packaged_name),
        excluded: &[],
        selection,
    };
    let steps = next_steps(outcome, &installation);
    for step in &steps {
        assert_parses(step);
    }
    steps
}

/// Every printed command of this program exists and has the flags that it is given.
fn assert_parses(step: &str) {
    use clap::Parser as _;
    let command = step.split(" | ").next().unwrap().split("  # ").next().unwrap();
    if command.starts_with("thoras-mirror ") {
        let parsed = crate::cli::Cli::try_parse_from(shlex::split(command).unwrap());
        assert!(parsed.is_ok(), "{step}: {}", parsed.err().unwrap());
    }
}

#[test]
fn the_packaged_chart_is_installed_from_the_mirror() {
    assert_eq!(
        steps(&outcome("thoras", Status::Copied), true, Some(&selection("-f mine.yaml --set 'key=s3cret'"))),
        [
            "thoras-mirror values --to reg.io/m --chart-version 4.5.6 --values mine.yaml --set 'key=***' --pull-secret \
             thoras-mirror-pull --write mirror.yaml  # replace each *** with your own value",
            "kubectl create namespace thoras --dry-run=client --output yaml | kubectl apply -f -",
            "thoras-mirror pull-secret --to reg.io/m --namespace thoras | kubectl apply -f -",
            "helm install thoras oci://reg.io/m/charts/thoras --version 4.5.6 --namespace thoras --values mine.yaml \
             --set 'key=***' --values mirror.yaml  # replace each *** with your own value",
        ]
    );
}

#[test]
fn settings_of_the_run_are_repeated_where_a_command_takes_them() {
    let login = Login {
        registry: "reg.io".to_owned(),
        username: "me".to_owned(),
        password: Password::Stdin,
        origin: SettingOrigin::Flag,
    };
    let registries = RegistrySettings {
        authfile: Some("auth.json".into()),
        plain_http: vec!["reg.io".to_owned()],
        ..RegistrySettings::default()
    };
    let installation = Installation {
        root: &"reg.io/m".parse().unwrap(),
        login: Some(&login),
        registries: &registries,
        lock: Some(Path::new("other.lock")),
        packaged: None,
        excluded: &[],
        selection: None,
    };
    let steps = next_steps(&outcome("thoras", Status::Copied), &installation);
    for step in &steps {
        assert_parses(step);
    }
    assert!(steps[0].contains("--lock other.lock"), "{steps:?}");
    let login = "--to-username me --to-password-stdin --authfile auth.json --plain-http reg.io";
    assert!(steps[2].contains(login), "{steps:?}");
}

/// Nothing but the flags knows the login, and the chart is behind it.
#[test]
fn helm_gets_the_login_of_the_flags_first() {
    let login = Login {
        registry: "reg.io".to_owned(),
        username: "me".to_owned(),
        password: Password::Stdin,
        origin: SettingOrigin::Flag,
    };
    let registries = RegistrySettings {
        ca_cert: vec!["reg.io=ca.pem".to_owned(), "other.io=x.pem".to_owned()],
        ..RegistrySettings::default()
    };
    let packaged: Reference = "localhost/charts/thoras:4.5.6".parse().unwrap();
    let outcome = outcome("thoras", Status::Verified);
    let excluded = ["v.io/p/big:1".parse().unwrap()];
    let installation = Installation {
        root: &"reg.io/m".parse().unwrap(),
        login: Some(&login),
        registries: &registries,
        lock: None,
        packaged: Some(&packaged),
        excluded: &excluded,
        selection: None,
    };
    let steps = next_steps(&outcome, &installation);
    for step in &steps {
        assert_parses(step);
    }
    let certificates = "--ca-cert 'reg.io=ca.pem' --ca-cert 'other.io=x.pem'";
    assert_eq!(steps[0], format!("thoras-mirror login reg.io --username me --password-stdin {certificates}"));
    let exclude = format!("--exclude v.io/p/big:1 {certificates} --pull-secret");
    assert!(steps[1].contains(&exclude), "{steps:?}");
    assert!(steps.last().unwrap().contains(" --ca-file ca.pem --namespace thoras"), "{steps:?}");
}

#[test]
fn filters_are_repeated_for_the_values() {
    let given = selection("--exclude '*/big' --image-prefix quay.io/x --mentions named --no-test-hooks");
    let steps = steps(&outcome("thoras", Status::Copied), false, Some(&given));
    let filters = "--mentions named --image-prefix quay.io/x --no-test-hooks --exclude '*/big'";
    assert!(steps[0].contains(filters), "{steps:?}");
    assert!(!steps.last().unwrap().contains("--exclude"), "{steps:?}");
}

#[test]
fn any_other_chart_is_installed_from_where_it_is() {
    let given = selection("--chart web --repo https://me:s3cret@charts.io -n shop");
    assert_eq!(
        steps(&outcome("web", Status::UpToDate), false, Some(&given)),
        [
            "thoras-mirror values --to reg.io/m --chart web --chart-version 4.5.6 --repo 'https://me:***@charts.io' \
             --namespace shop --write mirror.yaml  # replace each *** with your own value",
            "kubectl create namespace shop --dry-run=client --output yaml | kubectl apply -f -",
            "thoras-mirror pull-secret --to reg.io/m --namespace shop | kubectl apply -f -",
            "helm install web web --repo 'https://me:***@charts.io' --version 4.5.6 --namespace shop --values \
             mirror.yaml  # replace each *** with your own value",
        ]
    );
}

#[test]
fn without_the_settings_of_helm_the_mirrored_chart_is_used() {
    let steps = steps(&outcome("thoras", Status::Verified), true, None);
    assert!(steps[0].contains("--chart oci://reg.io/m/charts/thoras --chart-version 4.5.6"), "{steps:?}");
    assert!(
        steps.last().unwrap().starts_with("helm install thoras oci://reg.io/m/charts/thoras --version 4.5.6"),
        "{steps:?}"
    );
}

/// A lock records the name of a chart, but not its repository.
#[test]
fn the_location_of_an_unknown_chart_is_left_to_the_user() {
    let unknown = steps(&outcome("web", Status::Verified), false, None);
    assert!(unknown[0].contains("--chart '***' --chart-version 4.5.6"), "{unknown:?}");
    assert!(unknown[2].starts_with("helm install web '***' --version 4.5.6"), "{unknown:?}");
    let thoras = steps(&outcome("thoras", Status::Verified), false, None);
    for command in [&unknown[0], &unknown[2]] {
        assert!(command.ends_with("  # replace *** with the chart; add your -f and --set"), "{unknown:?}");
    }
    for command in [&thoras[0], &thoras[3]] {
        assert!(command.ends_with("  # add your -f and --set"), "{thoras:?}");
    }
    assert!(!thoras[0].contains("--chart "), "{thoras:?}");
    let repository = format!("helm install thoras thoras --repo {} --version", vendor::CHART_REPOSITORY);
    assert!(thoras[3].starts_with(&repository), "{thoras:?}");
}

#[test]
fn an_incomplete_mirror_has_no_next_step() {
    for status in [Status::Failed, Status::Planned, Status::Different, Status::Skipped] {
        assert_eq!(steps(&outcome("thoras", status), true, None), Vec::<String>::new());
    }
    let list = RunOutcome { chart: None, ..outcome("thoras", Status::Copied) };
    assert_eq!(steps(&list, false, None), Vec::<String>::new());
    let dry = RunOutcome { dry_run: true, ..outcome("thoras", Status::Copied) };
    assert_eq!(steps(&dry, false, None), Vec::<String>::new());
}
