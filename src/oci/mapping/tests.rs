//! Names at a destination, and names that collide.

use proptest::prelude::*;

use super::*;

fn references(texts: &[&str]) -> Vec<Reference> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn map(naming: Naming, texts: &[&str]) -> Result<Vec<String>, MappingError> {
    let sources = references(texts);
    let namer = Namer::new("reg:5000/mirror".parse().unwrap(), naming, common_prefix(&sources));
    Ok(namer.map_all(&sources)?.iter().map(Mapping::destination).collect())
}

const VENDOR: &str = "us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0";

#[test]
fn relative_relocates_the_whole_chart() {
    assert_eq!(
        map(Naming::Relative, &[VENDOR, "quay.io/x/y:1", "nginx:1"]).unwrap(),
        ["reg:5000/mirror/services:4.53.0", "reg:5000/mirror/x/y:1", "reg:5000/mirror/library/nginx:1"]
    );
    assert_eq!(
        map(Naming::Relative, &["quay.io/a/b/c:1", "quay.io/a/d:1"]).unwrap(),
        ["reg:5000/mirror/b/c:1", "reg:5000/mirror/d:1"]
    );
    assert_eq!(map(Naming::Relative, &["quay.io/a/b/c:1"]).unwrap(), ["reg:5000/mirror/c:1"]);
    assert_eq!(
        map(Naming::Relative, &["quay.io/a/b:1", "ghcr.io/a/b2:1"]).unwrap(),
        ["reg:5000/mirror/a/b:1", "reg:5000/mirror/a/b2:1"]
    );
}

#[test]
fn last_and_full() {
    assert_eq!(map(Naming::Last, &["quay.io/a/b:1"]).unwrap(), ["reg:5000/mirror/b:1"]);
    assert_eq!(map(Naming::Full, &["h:5000/a/b:1"]).unwrap(), ["reg:5000/mirror/h-5000/a/b:1"]);
}

#[test]
fn a_chart_has_its_own_path_regardless_of_the_naming() {
    let chart: Reference = "localhost/charts/shop:1.2.3_b".parse().unwrap();
    let published: Reference = "ghcr.io/team/deep/shop:1.2.3".parse().unwrap();
    for naming in [Naming::Relative, Naming::Last, Naming::Full] {
        let repository = |chart: &Reference, source: &Reference| {
            let root = "reg:5000/mirror".parse().unwrap();
            let namer = Namer::new(root, naming, Some("ghcr.io/team".to_owned()));
            namer.with_chart(Some(chart.clone())).map(source).unwrap().repository.to_string()
        };
        assert_eq!(repository(&chart, &chart), "reg:5000/mirror/charts/shop");
        let locked = chart.clone().with_digest(Digest::sha256(b"chart"));
        assert_eq!(repository(&chart, &locked), "reg:5000/mirror/charts/shop");
        assert_eq!(repository(&published, &published), "reg:5000/mirror/charts/shop");
        let as_image = repository(&chart, &published);
        assert_ne!(as_image, "reg:5000/mirror/charts/shop", "an image like any other");
    }
}

#[test]
fn an_image_with_the_charts_path_is_a_collision() {
    let sources = references(&["localhost/charts/shop:1", "quay.io/charts/shop:1"]);
    let namer = Namer::new("reg:5000/mirror".parse().unwrap(), Naming::Relative, None)
        .with_chart(sources.first().cloned());
    assert!(matches!(namer.map_all(&sources), Err(MappingError::Collision { .. })));
}

#[test]
fn references_without_a_tag_get_a_generated_tag() {
    let one = format!("quay.io/a/b@sha256:{}", "1".repeat(64));
    let two = format!("quay.io/a/b@sha256:{}", "2".repeat(64));
    assert_eq!(
        map(Naming::Relative, &[&one, &two]).unwrap(),
        ["reg:5000/mirror/b:mirror-1111111111111111", "reg:5000/mirror/b:mirror-2222222222222222"]
    );
}

#[test]
fn a_collision_names_every_source() {
    let error = map(Naming::Last, &["quay.io/a/app:1", "quay.io/b/app:1"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 sources would be pushed to reg:5000/mirror/app:1: quay.io/a/app:1, quay.io/b/app:1"
    );
}

#[test]
fn roots_are_checked() {
    for text in ["", "https://x.io", "x.io/UP", "x.io//a", "x y"] {
        assert!(text.parse::<Root>().is_err(), "{text}");
    }
    assert_eq!("X.io/a/".parse::<Root>().unwrap().to_string(), "x.io/a");
    assert_eq!("localhost:5000".parse::<Root>().unwrap().to_string(), "localhost:5000");
}

#[test]
fn an_image_that_yields_gets_host_and_path_and_the_other_keeps_its_name() {
    let sources: Vec<Reference> = ["quay.io/team/web:1", "ghcr.io/team/web:1", "docker.io/other/db:1"]
        .map(|text| text.parse().unwrap())
        .into();
    let namer = |yielding: &[usize]| {
        let yielding = yielding.iter().map(|&at| sources[at].clone()).collect();
        Namer::new("reg.io/m".parse().unwrap(), Naming::Relative, None).with_yielding(yielding)
    };
    let destinations = |yielding: &[usize]| {
        let mappings = namer(yielding).map_all(&sources)?;
        Ok::<_, MappingError>(mappings.iter().map(Mapping::destination).collect::<Vec<_>>())
    };
    assert!(matches!(destinations(&[]), Err(MappingError::Collision { .. })));
    assert_eq!(
        destinations(&[1, 2]).unwrap(),
        ["reg.io/m/team/web:1", "reg.io/m/ghcr.io/team/web:1", "reg.io/m/other/db:1"]
    );
    assert_eq!(
        destinations(&[0, 1]).unwrap()[..2],
        ["reg.io/m/quay.io/team/web:1", "reg.io/m/ghcr.io/team/web:1"]
    );
}

proptest! {
    #[test]
    fn full_naming_never_collides_for_different_repositories(
        names in prop::collection::btree_set("[a-z]{1,4}\\.io/[a-z]{1,3}(/[a-z]{1,3}){0,2}", 1..6)
    ) {
        let sources: Vec<String> = names.iter().map(|name| format!("{name}:1")).collect();
        let texts: Vec<&str> = sources.iter().map(String::as_str).collect();
        let mapped = map(Naming::Full, &texts).unwrap();
        let distinct: std::collections::BTreeSet<_> = mapped.iter().collect();
        prop_assert_eq!(distinct.len(), names.len());
    }
}
