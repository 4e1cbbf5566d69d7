//! The registry that images go to, and their names there.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use futures::future::join_all;

use super::{Check, Finding, Patience, source::credential};
use crate::{
    endpoint::{
        Source,
        registry::{
            Greeting, Registries, ShownCertificate,
            auth::{Reach, Scheme},
        },
    },
    error::{Failure, Kind},
    oci::{Contents, Mapping, Repository},
    problem::Side,
};

/// Certificates and tokens are valid to the minute; this much difference begins to matter.
const LARGEST_SKEW: Duration = Duration::from_secs(120);

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// A certificate that ends sooner should have been renewed.
const SHORTEST_VALIDITY: Duration = Duration::from_secs(14 * SECONDS_PER_DAY);

/// Whether the registry answers, how, and whether its clock is right. Any repository on it will do.
pub async fn registry(
    destination: &Registries,
    repository: &Repository,
    patience: &Patience,
) -> Vec<Finding> {
    let registry = repository.registry();
    match patience.ask(Side::Destination, registry, destination.greet(repository)).await {
        Ok(greeting) => {
            let now = SystemTime::now();
            let certificate = greeting.certificate.as_ref().map(|shown| certificate(shown, now));
            [Some(answer(registry, &greeting)), certificate, clock(registry, &greeting, now)]
                .into_iter()
                .flatten()
                .collect()
        }
        Err(failure) => vec![Finding::problem(Check::Destination, failure)],
    }
}

fn answer(registry: &str, greeting: &Greeting) -> Finding {
    let through =
        greeting.route.as_ref().map(|route| format!(" through the proxy {route}")).unwrap_or_default();
    let how = match (greeting.origin.scheme(), greeting.is_unverified) {
        (Scheme::Http, _) => "over plain http",
        (Scheme::Https, true) => "over https with a certificate that is not verified",
        (Scheme::Https, false) => "over https with a trusted certificate",
    };
    let message = format!("{registry} answers {how}{through} in {} ms", greeting.time.as_millis().max(1));
    if !matches!(greeting.status, 200 | 401 | 403) {
        return Finding::warning(
            Check::Destination,
            format!("{message}, but with status {} to /v2/", greeting.status),
            "check that the address is that of a registry",
        );
    }
    let is_exposed = !greeting.origin.is_https() && greeting.origin.reach() != Reach::Loopback;
    if is_exposed || greeting.is_unverified {
        let hint = "whoever is on the way can read the credential and change the images";
        return Finding::warning(Check::Destination, message, hint);
    }
    Finding::ok(Check::Destination, message)
}

/// Who issued the certificate, and how long it holds. One that has ended gets here only unverified.
fn certificate(shown: &ShownCertificate, now: SystemTime) -> Finding {
    let by = format!("issued by {}", shown.issuer);
    let ends = httpdate::fmt_http_date(shown.ends);
    let hint = "renew it before it ends: whoever pulls from this registry would be refused";
    match shown.ends.duration_since(now) {
        Ok(left) => {
            let days = left.as_secs() / SECONDS_PER_DAY;
            let message = format!("{by}; valid until {ends}, {days} days left");
            if left < SHORTEST_VALIDITY {
                Finding::warning(Check::Certificate, message, hint)
            } else {
                Finding::ok(Check::Certificate, message)
            }
        }
        Err(_) => Finding::warning(Check::Certificate, format!("{by}; ended on {ends}"), hint),
    }
}

fn clock(registry: &str, greeting: &Greeting, now: SystemTime) -> Option<Finding> {
    let theirs = greeting.clock?;
    let (skew, ours) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if skew <= LARGEST_SKEW {
        return Some(Finding::ok(Check::Clock, format!("agrees with that of {registry}")));
    }
    let message = format!("this machine's clock is {} s {ours} that of {registry}", skew.as_secs());
    Some(Finding::warning(Check::Clock, message, "set the clock: tokens and certificates may be refused"))
}

/// Whether images can be pushed: rights, repositories, indexes, referrers.
pub async fn images(destination: &Registries, mappings: &[Mapping], patience: &Patience) -> Vec<Finding> {
    let Some(first) = mappings.first() else {
        return vec![Finding::untested(Check::Push, "without names there is nothing to test")];
    };
    let (mut findings, indexes, referrers) = tokio::join!(
        push(destination, mappings, patience),
        indexes(destination, first, patience),
        referrers(destination, &first.repository, patience),
    );
    // Without the right to ask, the other answers say nothing that the first does not.
    findings.extend([indexes, referrers].into_iter().flatten());
    findings
}

/// Opens and cancels an upload in every repository: rights are given by repository, and some registries want
/// each to be created beforehand.
async fn push(destination: &Registries, mappings: &[Mapping], patience: &Patience) -> Vec<Finding> {
    let repositories: BTreeSet<&Repository> = mappings.iter().map(|mapping| &mapping.repository).collect();
    let probe = async |repository: &Repository| {
        destination.probe_push(repository).await?;
        destination.provenance(repository).await
    };
    let answers = join_all(repositories.iter().map(async |repository| {
        patience.ask(Side::Destination, &repository.to_string(), probe(repository)).await
    }));
    let (mut allowed, mut refused) = (Vec::new(), Vec::new());
    for (repository, answer) in repositories.iter().zip(answers.await) {
        match answer {
            Ok(provenance) => allowed.push(provenance),
            Err(failure) => refused.push((*repository, failure)),
        }
    }
    let mut findings = refusals(refused);
    if let Some(provenance) = allowed.first() {
        let with = credential(provenance.as_ref());
        let count = format!("{} of {}", allowed.len(), counted(repositories.len()));
        let message = format!("{count} can be pushed to {with} (uploads were opened and canceled)");
        findings.insert(0, Finding::ok(Check::Push, message));
    }
    findings
}

/// Repositories that are missing are all named, because somebody has to create them. Of other refusals the first
/// of each kind stands for the rest.
fn refusals(refused: Vec<(&Repository, Failure)>) -> Vec<Finding> {
    let is_missing = |failure: &Failure| failure.causes.iter().any(|cause| cause.contains("NAME_UNKNOWN"));
    let (missing, others): (Vec<_>, Vec<_>) =
        refused.into_iter().partition(|(_, failure)| is_missing(failure));
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|(repository, _)| repository.to_string()).collect();
        let message = format!("these repositories do not exist: {}", names.join(", "));
        let hint = "create them first: this registry does not do it by itself";
        findings.push(Finding::problem(Check::Push, Failure::new(Kind::Image, message).with_hint(hint)));
    }
    let mut kinds: Vec<(Failure, usize)> = Vec::new();
    for (_, failure) in others {
        match kinds.iter_mut().find(|(first, _)| first.kind == failure.kind) {
            Some((_, more)) => *more += 1,
            None => kinds.push((failure, 0)),
        }
    }
    findings.extend(kinds.into_iter().map(|(mut failure, more)| {
        if more > 0 {
            failure.causes.push(format!("likewise for {} more", counted(more)));
        }
        Finding::problem(Check::Push, failure)
    }));
    findings
}

fn counted(repositories: usize) -> String {
    format!("{repositories} {}", if repositories == 1 { "repository" } else { "repositories" })
}

/// Whether the registry holds an index already. Whether it would take one, only a push can tell.
async fn indexes(destination: &Registries, first: &Mapping, patience: &Patience) -> Option<Finding> {
    let place = first.repository.to_string();
    let target = first.target();
    let question = destination.manifest(&first.repository, &target);
    let found = patience.ask(Side::Destination, &place, question).await.ok()?;
    Some(if found.is_some_and(|root| matches!(root.contents(), Ok(Contents::Index { .. }))) {
        Finding::ok(Check::Indexes, format!("{} is an index already", first.destination()))
    } else {
        let message = "whether it takes images of several platforms shows when the first is pushed";
        Finding::untested(Check::Indexes, message)
    })
}

async fn referrers(
    destination: &Registries,
    repository: &Repository,
    patience: &Patience,
) -> Option<Finding> {
    let question = destination.has_referrers(repository);
    let is_known = patience.ask(Side::Destination, &repository.to_string(), question).await.ok()?;
    let message = if is_known {
        "the registry has the referrers API"
    } else {
        "the registry has no referrers API: signatures and SBOMs are found by their tags"
    };
    Some(Finding::ok(Check::Referrers, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::doctor::Verdict;

    #[test]
    fn a_certificate_is_a_warning_from_its_last_fortnight_on() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        let judged = |ends: SystemTime| {
            let finding = certificate(&ShownCertificate { issuer: "CN=ca".to_owned(), ends }, now);
            (finding.verdict, finding.message)
        };
        let day = Duration::from_secs(SECONDS_PER_DAY);
        assert_eq!(judged(now + day * 14).0, Verdict::Ok);
        let (verdict, message) = judged(now + day * 14 - Duration::from_secs(1));
        assert_eq!(verdict, Verdict::Warning);
        assert_eq!(message, "issued by CN=ca; valid until Sun, 31 Mar 2030 17:46:39 GMT, 13 days left");
        assert!(judged(now - day).1.contains("; ended on "));
    }
}
