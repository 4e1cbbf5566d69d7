//! Refuses to copy an image to where it comes from.
//!
//! The values of a chart that already points at the mirror name the mirror as the source: a copy would compare the
//! mirror with itself, succeed, and never contact the vendor. A copy within one registry to another repository is a
//! promotion, which is fine.

use std::{collections::HashMap, path::Path};

use crate::{
    endpoint::registry::auth::{Origin, Scheme},
    enumerate::{SelectedFrom, Selection, ValueKey, values_naming},
    error::{Failure, Kind, escape},
    oci::{Mapping, Reference, Repository, chart::is_local_chart, mapping::Root},
    request::RegistrySettings,
    units,
};

/// How many images an error names.
const MAX_NAMED: usize = 5;

/// What names the images.
pub(super) enum NamedBy<'a> {
    Selection(&'a Selection),
    /// The lock at this path.
    Lock(&'a Path),
}

/// Fails if an image's source is its destination.
pub(super) async fn refuse(
    mappings: &[Mapping],
    root: &Root,
    registries: &RegistrySettings,
    named_by: NamedBy<'_>,
) -> Result<(), Failure> {
    let refused: Vec<&Mapping> = mappings.iter().filter(|mapping| is_refused(mapping, registries)).collect();
    let Some(first) = refused.first() else { return Ok(()) };
    let values = match named_by {
        NamedBy::Selection(Selection { from: SelectedFrom::Chart(options), .. }) => {
            let is_its_registry =
                |text: &str| is_same_registry(text, root.registry(), &registries.plain_http);
            let mut values = Vec::new();
            for mapping in refused.iter().take(MAX_NAMED) {
                values.extend(values_naming(options, mapping.source.repository(), is_its_registry).await);
            }
            values.sort();
            values.dedup();
            values
        }
        _ => Vec::new(),
    };
    let message = match refused.as_slice() {
        [_] => format!("{} would be copied onto itself", first.source),
        several => {
            let sources: Vec<&Reference> = several.iter().map(|mapping| &mapping.source).collect();
            let count = several.len();
            format!("{count} images would be copied onto themselves: {}", units::named(&sources, MAX_NAMED))
        }
    };
    Err(Failure::new(Kind::Usage, message).with_hint(hint(
        &values,
        root,
        &named_by,
        refused.len() == mappings.len(),
        &first.source,
    )))
}

/// Fails if two destinations would share a repository, as `--to HOST/a` and `--to HOST/a/b` may: they would overwrite
/// each other's tags.
pub(super) fn refuse_shared_repositories<'a>(
    destinations: impl Iterator<Item = (&'a Root, &'a [Mapping])>,
    registries: &RegistrySettings,
) -> Result<(), Failure> {
    let mut seen: HashMap<String, Vec<(&Root, &Repository)>> = HashMap::new();
    for (root, mappings) in destinations {
        for repository in mappings.iter().map(|mapping| &mapping.repository) {
            let same_path = seen.entry(path(repository)).or_default();
            let is_shared = |(other, theirs): &&(&Root, &Repository)| {
                *other != root && is_same_repository(repository, theirs, &registries.plain_http)
            };
            if let Some((other, _)) = same_path.iter().find(is_shared) {
                let message = format!("--to {other} and --to {root} would both push to {repository}");
                return Err(Failure::new(Kind::Usage, message)
                    .with_hint("copy to one of them, or pass paths of which neither is below the other"));
            }
            if same_path.iter().all(|(other, _)| *other != root) {
                same_path.push((root, repository));
            }
        }
    }
    Ok(())
}

/// Whether the image's source is its destination.
pub(super) fn is_refused(mapping: &Mapping, registries: &RegistrySettings) -> bool {
    is_own_source(mapping, &registries.plain_http)
}

fn hint(values: &[ValueKey], root: &Root, named_by: &NamedBy<'_>, all: bool, first: &Reference) -> String {
    let named: Vec<String> =
        values.iter().map(|value| format!("`{}` ({})", escape(&value.key), escape(&value.set_by))).collect();
    let mut hint = match (named.as_slice(), named_by) {
        ([value], _) => {
            format!(
                "the Helm value {value} already points at {root}: render the chart with the vendor's registry"
            )
        }
        ([_, ..], _) => format!(
            "the Helm values {} already point at {root}: render the chart with the vendor's registry",
            named.join(" and ")
        ),
        ([], NamedBy::Selection(Selection { from: SelectedFrom::Chart(_), .. })) => {
            format!("the values already point at {root}: render the chart with the vendor's registry")
        }
        ([], NamedBy::Selection(Selection { from: SelectedFrom::Rendered(_), .. })) => format!(
            "the manifests were rendered with values that already point at {root}: render them with the vendor's \
             registry"
        ),
        ([], NamedBy::Selection(_)) => "pass the images' original names, or another --to".to_owned(),
        ([], NamedBy::Lock(path)) => format!(
            "the lock {} names {root} as the source: write a new one from the vendor's registry, or pass another --to",
            path.display()
        ),
    };
    if !all {
        hint = format!("{hint}; or leave it out with --exclude '{}'", without_digest(first));
    }
    hint
}

/// Filters match a reference without its digest.
fn without_digest(reference: &Reference) -> String {
    let text = reference.to_string();
    text.split_once('@').map_or(text.clone(), |(name, _)| name.to_owned())
}

/// Whether an image would be copied to its own repository and tag. An image that is named by digest alone is already in
/// that repository, regardless of its tag.
fn is_own_source(mapping: &Mapping, plain_http: &[String]) -> bool {
    let Mapping { source, repository, tag, .. } = mapping;
    let is_same_tag = source.tag().is_none_or(|source| source == tag);
    // A chart that was packaged on this machine comes from no registry.
    is_same_tag && !is_local_chart(source) && is_same_repository(source.repository(), repository, plain_http)
}

fn is_same_repository(one: &Repository, other: &Repository, plain_http: &[String]) -> bool {
    path(one) == path(other) && is_same_registry(one.registry(), other.registry(), plain_http)
}

/// The path. Docker Hub's official images are below `library/`.
fn path(repository: &Repository) -> String {
    match repository.path() {
        path if repository.registry() == "docker.io" && !path.contains('/') => format!("library/{path}"),
        path => path.to_owned(),
    }
}

/// Whether two names are one registry. The default port depends on the scheme: http is used for `plain_http`, and can be
/// used on loopback.
fn is_same_registry(one: &str, other: &str, plain_http: &[String]) -> bool {
    let is_same = |scheme| {
        let origin = origin(one, scheme);
        origin.is_some() && origin == self::origin(other, scheme)
    };
    let may_be_plain = |registry: &str| {
        let http = origin(registry, Scheme::Http);
        let host = http.as_ref().map(Origin::host).unwrap_or_default();
        let is_listed = plain_http.iter().any(|plain| origin(plain, Scheme::Http) == http);
        is_listed || host.starts_with("127.") || host == "[::1]"
    };
    is_same(Scheme::Https) || (is_same(Scheme::Http) && (may_be_plain(one) || may_be_plain(other)))
}

/// A registry's origin; `localhost` is 127.0.0.1.
fn origin(registry: &str, scheme: Scheme) -> Option<Origin> {
    let lower = registry.to_ascii_lowercase();
    let address = match lower.strip_prefix("localhost") {
        Some(port) if port.is_empty() || port.starts_with(':') => format!("127.0.0.1{port}"),
        _ => lower,
    };
    Origin::of_registry(&address, scheme).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(source: &str, repository: &str, tag: &str) -> bool {
        let (source, repository) = (source.parse().unwrap(), repository.parse().unwrap());
        is_own_source(
            &Mapping { source, pinned: None, repository, tag: tag.to_owned() },
            &["plain.example:80".into()],
        )
    }

    #[test]
    fn every_spelling_of_a_registry_is_recognized() {
        for (source, repository) in [
            ("reg.example/a/web:1", "reg.example/a/web"),
            ("REG.Example/a/web:1", "reg.example/a/web"),
            ("reg.example/a/web:1", "reg.example:443/a/web"),
            ("plain.example/a/web:1", "plain.example:80/a/web"),
            ("localhost:5000/a/web:1", "127.0.0.1:5000/a/web"),
            ("[::1]:5000/a/web:1", "[0:0:0:0:0:0:0:1]:5000/a/web"),
            ("a/web:1", "docker.io/a/web"),
            ("index.docker.io/a/web:1", "docker.io/a/web"),
            ("web:1", "docker.io/library/web"),
            ("web:1", "docker.io/web"),
        ] {
            assert!(is_refused(source, repository, "1"), "{source} {repository}");
        }
    }

    #[test]
    fn promotion_and_other_registries_are_fine() {
        for (source, repository) in [
            ("reg.example/stage/web:1", "reg.example/prod/web"),
            ("reg.example/a/web:1", "reg.example:8443/a/web"),
            ("reg.example/a/web:1", "reg.example:80/a/web"),
            ("reg.example/a/web:1", "docker.io/a/web"),
            ("localhost:5000/a/web:1", "127.0.0.1:5001/a/web"),
            ("localhost/charts/web:1", "localhost/charts/web"),
        ] {
            assert!(!is_refused(source, repository, "1"), "{source} {repository}");
        }
        assert!(!is_refused("reg.example/a/web:1", "reg.example/a/web", "2"), "another tag");
    }

    #[test]
    fn a_digest_is_already_in_its_repository() {
        let digest = format!("sha256:{}", "1".repeat(64));
        assert!(is_refused(
            &format!("reg.example/a/web@{digest}"),
            "reg.example/a/web",
            "mirror-1111111111111111"
        ));
        assert!(is_refused(&format!("reg.example/a/web:1@{digest}"), "reg.example/a/web", "1"));
        assert!(!is_refused(
            &format!("reg.example/a/web@{digest}"),
            "reg.example/b/web",
            "mirror-1111111111111111"
        ));
    }
}
