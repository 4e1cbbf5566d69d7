use proptest::prelude::*;

use super::*;

const ECR: &str = "1.dkr.ecr.us-east-1.amazonaws.com";
const OTHER: &str = "2.dkr.ecr.eu-west-1.amazonaws.com";

fn parsed(text: &str) -> String {
    text.parse::<QuotaChange>().map_or_else(|error| error.to_string(), |change| change.to_string())
}

fn quotas(changes: &[&str]) -> Quotas {
    Quotas::new(changes.iter().map(|change| change.parse().unwrap()).collect()).unwrap()
}

fn limits(changes: &[&str], registry: &str) -> Vec<String> {
    quotas(changes).of(registry).map(Quota::limit).collect()
}

#[test]
fn a_change_is_written_as_the_registry_calls_the_quota() {
    for (text, means) in [
        ("PutImage=100", "PutImage=100"),
        (" putimage = 100 ", "PutImage=100"),
        ("INITIATELAYERUPLOAD=1", "InitiateLayerUpload=1"),
        ("requests=99999999999", "requests=4294967295"),
        ("ghcr.io/requests=3000", "ghcr.io/requests=3000"),
        ("GHCR.io:443/requests=3000", "ghcr.io/requests=3000"),
        ("index.docker.io/pulls=200", "docker.io/pulls=200"),
    ] {
        assert_eq!(parsed(text), means, "{text}");
    }
}

#[test]
fn a_mistake_names_what_exists() {
    let known = "PutImage (Amazon ECR), InitiateLayerUpload (Amazon ECR), CompleteLayerUpload (Amazon ECR), \
                 pulls (Docker Hub), requests (GHCR, Google Artifact Registry)";
    for form in ["", "100", "PutImage", "=100", "/PutImage=100", "ghcr.io/=1"] {
        assert_eq!(parsed(form), "expected [HOST/]NAME=N, such as PutImage=100", "{form}");
    }
    assert_eq!(parsed("PutImages=100"), format!("there is no quota `PutImages`; known quotas: {known}"));
    assert_eq!(
        parsed("reg.example.com/PutImage=100"),
        format!("reg.example.com has no known quota `PutImage`; known quotas: {known}")
    );
    assert_eq!(
        parsed("ghcr.io/PutImage=100"),
        "ghcr.io has no known quota `PutImage`; known quotas: requests (GHCR)"
    );
    for number in ["0", "-1", "1.5", "100/s", "", "2 000"] {
        assert_eq!(
            parsed(&format!("PutImage={number}")),
            "N is a whole number of at least 1: how many PutImage the registry permits per second",
            "{number}"
        );
    }
    assert!(parsed("ghcr.io/requests=0").ends_with("how many requests the registry permits per minute"));
    assert!(parsed("pulls=0").ends_with("how many pulls the registry permits in 6 hours"));
}

#[test]
fn a_change_raises_or_lowers_one_quota() {
    assert_eq!(limits(&["PutImage=2000"], ECR), ["2,000 per second", "100 per second", "100 per second"]);
    assert_eq!(limits(&["CompleteLayerUpload=1"], ECR)[1..], ["100 per second", "1 per second"]);
    assert_eq!(limits(&["PutImage=2000"], "ghcr.io"), ["2,000 per minute"]);
    assert_eq!(limits(&["requests=9"], "ghcr.io:443"), ["9 per minute"]);
    assert_eq!(limits(&["pulls=200"], "docker.io"), ["200 in 6 hours"]);
}

#[test]
fn a_change_for_one_registry_wins_over_one_for_all() {
    let own = format!("{ECR}/PutImage=50");
    for changes in [["PutImage=5", &own], [&own, "PutImage=5"]] {
        assert_eq!(limits(&changes, ECR)[0], "50 per second");
        assert_eq!(limits(&changes, OTHER)[0], "5 per second");
    }
    assert_eq!(limits(&[&own], OTHER)[0], "10 per second");
}

#[test]
fn two_values_for_one_quota_are_refused() {
    let new = |changes: [&str; 2]| Quotas::new(changes.map(|change| change.parse().unwrap()).to_vec());
    let error = new(["PutImage=5", "putimage=6"]).unwrap_err();
    assert_eq!(error.to_string(), "PutImage has two values, 5 and 6");
    assert!(new(["PutImage=5", "PutImage=5"]).is_ok());
    assert!(new(["PutImage=5", &format!("{ECR}/PutImage=6")]).is_ok());
}

#[test]
fn a_run_is_affected_by_quotas_that_count_its_requests() {
    let run = |read: &[&'static str], written: &[&'static str], has_dry_run| RunRegistries {
        read: read.to_vec(),
        written: written.to_vec(),
        has_dry_run,
    };
    let sync = run(&["docker.io", "ghcr.io"], &[ECR], true);
    let verify = run(&["docker.io", "ghcr.io", ECR], &[], false);
    let to_hub = run(&[], &["docker.io"], true);
    let own = format!("{ECR}:443/PutImage=1");
    let other = format!("{OTHER}/PutImage=1");
    for (change, affects) in [
        ("PutImage=1", [true, false, false]),
        (&own, [true, false, false]),
        (&other, [false, false, false]),
        ("requests=1", [true, true, false]),
        ("europe-docker.pkg.dev/requests=1", [false, false, false]),
        // Over hours: only a dry run is different.
        ("pulls=1", [true, false, false]),
    ] {
        let change = change.parse().unwrap();
        let found = [&sync, &verify, &to_hub].map(|run| run.is_affected_by(&change));
        assert_eq!(found, affects, "{change}");
    }
    assert_eq!(
        sync.names()[2..],
        ["PutImage (1.dkr.ecr.us-east-1.amazonaws.com)", "pulls (docker.io)", "requests (ghcr.io)"]
    );
    assert_eq!(to_hub.names(), [""; 0]);
    let kept = quotas(&["PutImage=1", "requests=2", "pulls=3"]).of_run(&verify);
    assert_eq!(kept, quotas(&["requests=2"]));
}

proptest! {
    #[test]
    fn any_text_is_a_change_that_is_read_again_or_an_error(text in "([A-Za-z.:]{0,12}/)?(PutImage|pulls|requests|[a-z]{0,3})=?[0-9a-z]{0,4}") {
        if let Ok(change) = text.parse::<QuotaChange>() {
            prop_assert_eq!(change.to_string().parse(), Ok(change));
        }
    }
}
