//! Repositories that somebody has to create before images can be pushed to them: all of them, named once.

use std::collections::BTreeSet;

use crate::{
    error::{Failure, Kind},
    oci::Repository,
};

/// The failure that names them all, each in a line to copy; `None` where none is missing.
pub(super) fn missing(repositories: &BTreeSet<Repository>) -> Option<Failure> {
    if repositories.is_empty() {
        return None;
    }
    let message = match repositories.len() {
        1 => "a repository does not exist at the destination".to_owned(),
        count => format!("{count} repositories do not exist at the destination"),
    };
    let lines: Vec<String> =
        repositories.iter().map(|repository| format!("\n{}", to_copy(repository))).collect();
    let hint = format!(
        "this registry does not create them by itself; create them, then run this again:{}",
        lines.concat()
    );
    Some(Failure::new(Kind::Image, message).with_hint(hint))
}

/// The command that creates it, where that is known, else its name.
fn to_copy(repository: &Repository) -> String {
    let region =
        repository.registry().strip_suffix(".amazonaws.com").and_then(|host| host.split_once(".dkr.ecr."));
    match region {
        Some((_, region)) => {
            format!("aws ecr create-repository --region {region} --repository-name {}", repository.path())
        }
        None => repository.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn text(names: &[&str]) -> String {
        let repositories = names.iter().map(|name| name.parse().unwrap()).collect();
        missing(&repositories).map_or_else(String::new, |failure| {
            format!("{}\n{}", failure.message, failure.hint.unwrap_or_default())
        })
    }

    #[test]
    fn every_repository_is_a_line_to_copy() {
        assert_eq!(text(&[]), "");
        assert_snapshot!(text(&["reg.example/m/b", "reg.example/m/a", "reg.example/m/a"]), @r"
        2 repositories do not exist at the destination
        this registry does not create them by itself; create them, then run this again:
        reg.example/m/a
        reg.example/m/b
        ");
        assert_snapshot!(text(&["123456789012.dkr.ecr.eu-west-1.amazonaws.com/thoras/services"]), @r"
        a repository does not exist at the destination
        this registry does not create them by itself; create them, then run this again:
        aws ecr create-repository --region eu-west-1 --repository-name thoras/services
        ");
    }
}
