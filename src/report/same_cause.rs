//! Failures with the same cause, so that one cause is reported once however many images it affects.
//!
//! Endpoints say what their failures have in common ([`CauseKey`]). For the rest, a [`SharedCause`] is what remains of the
//! texts without the names of an image, digests, upload IDs and times. Failures with an equal cause share one message, in
//! which [`general`] writes `REGISTRY/IMAGE` for the names that differ.

use std::borrow::Cow;

use crate::{
    endpoint::{registry_in, without_attempts},
    error::{CauseKey, Failure, Kind},
    oci::{Reference, Repository},
    outcome::ImageOutcome,
    problem::{Problem, Side},
};

/// Replaces the name of an image.
const IMAGE: &str = "IMAGE";
/// The shortest run of hexadecimal digits that counts as an ID.
const MIN_ID_LENGTH: usize = 24;

/// A failure without what differs from image to image.
#[derive(Debug, Clone)]
pub(super) struct SharedCause {
    kind: Kind,
    key: Option<CauseKey>,
    /// What the key does not say.
    texts: Vec<String>,
    /// The words in which the key was given. They do not distinguish causes.
    words: Vec<String>,
}

impl PartialEq for SharedCause {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.key, &self.texts) == (other.kind, &other.key, &other.texts)
    }
}

impl SharedCause {
    /// The cause of a failure that concerns no image in particular.
    pub(super) fn of(failure: &Failure) -> Self {
        Self::without(failure, &[], &[])
    }

    /// The cause of an image's failure. `problems` are those that the report names as its causes.
    pub(super) fn of_image(image: &ImageOutcome, failure: &Failure, problems: &[Problem]) -> Self {
        let source = image.source.repository();
        let destination = image.destination.parse::<Reference>().ok();
        let paths: Vec<&str> = std::iter::once(source)
            .chain(destination.as_ref().map(Reference::repository))
            .map(Repository::path)
            .collect();
        Self::without(failure, problems, &paths)
    }

    /// Why an image failed or differs; `None` if it did not.
    pub(super) fn of_outcome(image: &ImageOutcome) -> Option<Self> {
        match &image.failure {
            Some(failure) => Some(Self::of_image(image, failure, &image.problems)),
            None if image.problems.is_empty() => None,
            None => {
                let differs = Failure::new(Kind::Difference, String::new());
                Some(Self::of_image(image, &differs, &image.problems))
            }
        }
    }

    /// Why a request is retried.
    pub(super) fn of_retry(side: Side, reason: &str) -> Self {
        Self::of(&Failure::new(Kind::Image, format!("{reason} ({side})")))
    }

    /// Why a warning is given. `image` is the image that it concerns.
    pub(super) fn of_warning(image: Option<&Reference>, message: &str) -> Self {
        let path = image.map(|image| image.repository().path());
        // First the full names: their tags differ as well.
        let message = words(message, general_word);
        Self::without(&Failure::new(Kind::Image, message), &[], path.as_slice())
    }

    /// The message of a warning, without what differs from image to image.
    pub(super) fn message(&self) -> String {
        self.texts.join(": ")
    }

    /// Whether servers reported this cause in the same words.
    pub(super) fn has_words_of(&self, other: &Self) -> bool {
        self.words == other.words
    }

    fn without(failure: &Failure, problems: &[Problem], paths: &[&str]) -> Self {
        // Wrong bytes are evidence: their digests stay.
        let is_evidence = failure.kind == Kind::Integrity;
        let shared = |text: &str| {
            if is_evidence {
                return text.to_owned();
            }
            let text = paths.iter().fold(text.to_owned(), |text, path| without_path(&text, path));
            words(&text, |word| without_id(&general_word(word)).into_owned())
        };
        let key = failure.cause_key.as_deref().filter(|_| !is_evidence);
        let mut texts = Vec::new();
        // Which of its requests met the cause is chance: only the registry and the side count.
        if key.is_none() {
            texts.push(shared(&without_attempts(&failure.message)));
        }
        let causes = failure.causes.iter().map(|cause| shared(cause));
        let mut words = Vec::new();
        match key.and_then(|key| key.fault.as_ref()) {
            Some(_) => words.extend(causes),
            None => texts.extend(causes),
        }
        texts.extend(problems.iter().map(|problem| shared(&problem.to_string())));
        texts.extend(failure.hint.iter().map(|hint| shared(hint)));
        Self { kind: failure.kind, key: key.cloned(), texts, words }
    }
}

/// The failure of several images: `first`, with `REGISTRY/IMAGE` for the name of an image, and without attempts and times.
pub(super) fn general(first: &Failure) -> Failure {
    let general = |text: &str| words(text, general_word);
    Failure {
        kind: first.kind,
        message: general(&without_attempts(&first.message)),
        causes: first.causes.iter().map(|cause| general(cause)).collect(),
        hint: first.hint.as_deref().map(general),
        reason: first.reason,
        cause_key: first.cause_key.clone(),
    }
}

/// The first name of an image in a text.
pub(super) fn name_in(text: &str) -> Option<String> {
    text.split_whitespace().map(bare).find(|word| registry_in(word).is_some()).map(ToOwned::to_owned)
}

/// Why an image failed or differs, in one line: its nearest cause. `None` if it did not.
pub(super) fn in_one_line(image: &ImageOutcome) -> Option<String> {
    let problem = |problems: &[Problem]| {
        let (first, rest) = problems.split_first()?;
        Some(match rest.len() {
            0 => first.to_string(),
            more => format!("{first} (and {more} more)"),
        })
    };
    let cause = problem(&image.problems).or_else(|| {
        let failure = image.failure.as_ref()?;
        Some(failure.causes.first().unwrap_or(&failure.message).clone())
    });
    cause.map(|cause| crate::error::escape(&cause).replace('\n', " "))
}

/// Applies `change` to every word and keeps the space between words.
fn words(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut changed = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let (word, space) = word.split_at(word.trim_end().len());
        changed.push_str(&change(word));
        changed.push_str(space);
    }
    changed
}

/// A word without punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|character: char| "`'\"(),;:.".contains(character))
}

/// `REGISTRY/IMAGE` for the name of an image with its registry; any other word unchanged.
fn general_word(word: &str) -> String {
    let name = bare(word);
    match registry_in(name) {
        Some(registry) => word.replacen(name, &format!("{registry}/{IMAGE}"), 1),
        None => word.to_owned(),
    }
}

/// Replaces an image's repository, for example in the path of a file or in a URL.
fn without_path(text: &str, path: &str) -> String {
    let is_inside = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let mut general = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(path) {
        let (before, from) = rest.split_at(at);
        let (found, after) = from.split_at(path.len());
        general.push_str(before);
        let is_whole = !general.ends_with(is_inside) && !after.starts_with(is_inside);
        general.push_str(if is_whole { IMAGE } else { found });
        rest = after;
    }
    general + rest
}

/// Replaces digests, the IDs of uploads and requests, and what follows the host in a URL.
fn without_id(word: &str) -> Cow<'_, str> {
    if let Some((scheme, rest)) = word.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return Cow::Owned(format!("{scheme}://{host}"));
    }
    let is_part = |character: char| character.is_ascii_hexdigit() || character == '-';
    let is_id = |part: &str| {
        part.len() >= MIN_ID_LENGTH && part.bytes().filter(u8::is_ascii_hexdigit).count() >= MIN_ID_LENGTH
    };
    if !word.split(|character| !is_part(character)).any(is_id) {
        return Cow::Borrowed(word);
    }
    let mut general = String::new();
    let mut run = String::new();
    for character in word.chars().map(Some).chain([None]) {
        match character {
            Some(character) if is_part(character) => run.push(character),
            other => {
                general.push_str(if is_id(&run) { "ID" } else { &run });
                run.clear();
                general.extend(other);
            }
        }
    }
    Cow::Owned(general)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        endpoint::{
            Cause as EndpointCause, Error, Operation,
            registry::{
                Refusal, RegistryError,
                auth::{AuthError, Denial, Provenance},
            },
        },
        report::samples,
    };

    fn failed(number: usize, seconds: u64, cause: impl Into<EndpointCause>) -> (ImageOutcome, Failure) {
        let source = format!("reg.example.com:5000/team/img{number}:1");
        let error = Error::new(Operation::ReadManifest, Side::Source, &source, cause);
        let failure = Error { attempts: 5, elapsed: Duration::from_secs(seconds), ..error }.failure();
        let destination = format!("mirror.example.com/m/img{number}:1");
        (ImageOutcome { source: source.parse().unwrap(), destination, ..samples::failed() }, failure)
    }

    fn cause(number: usize, seconds: u64, cause: impl Into<EndpointCause>) -> SharedCause {
        let (image, failure) = failed(number, seconds, cause);
        SharedCause::of_image(&image, &failure, &[])
    }

    #[test]
    fn names_and_times_do_not_distinguish_causes() {
        assert_eq!(cause(1, 20, EndpointCause::NoSuchManifest), cause(2, 35, EndpointCause::NoSuchManifest));
        assert_ne!(cause(1, 20, EndpointCause::NoSuchManifest), cause(2, 20, EndpointCause::NoSuchBlob));
        let (_, failure) = failed(1, 20, EndpointCause::NoSuchManifest);
        assert_eq!(general(&failure).message, "cannot read manifest reg.example.com:5000/IMAGE (source)");
    }

    #[test]
    fn registries_sides_and_reasons_distinguish_causes() {
        let of = |operation, side, name: &str, cause: RegistryError| {
            SharedCause::of(&Error::new(operation, side, name, cause).failure())
        };
        let lost = || RegistryError::Broken("the server closed it".to_owned());
        let one = of(Operation::ReadManifest, Side::Source, "a.example/x:1", lost());
        let blob = format!("a.example/y@sha256:{}", "0".repeat(64));
        assert_eq!(one, of(Operation::ReadBlob, Side::Source, &blob, lost()));
        assert_ne!(one, of(Operation::ReadManifest, Side::Source, "b.example/x:1", lost()));
        assert_ne!(one, of(Operation::ReadManifest, Side::Destination, "a.example/x:1", lost()));
        let other = RegistryError::Broken("connection reset by peer".to_owned());
        assert_ne!(one, of(Operation::ReadManifest, Side::Source, "a.example/x:1", other));
    }

    fn refused(status: u16, message: String) -> RegistryError {
        RegistryError::Refused(Refusal {
            status,
            code: Some("UNKNOWN".to_owned()),
            message,
            ..Refusal::default()
        })
    }

    #[test]
    fn a_full_disk_is_one_cause_whatever_the_registry_writes() {
        let message = |number: usize, id: &str| {
            format!(
                "write /var/lib/registry/docker/registry/v2/repositories/m/img{number}/_uploads/{id}/data: no space \
                 left on device"
            )
        };
        assert_eq!(
            cause(1, 1, refused(500, message(1, "0a1b"))),
            cause(17, 1, refused(500, message(17, "unlike any ID")))
        );
    }

    #[test]
    fn the_words_of_a_registry_do_not_distinguish_refusals() {
        let denied = |message: Option<&str>, flag: &str| {
            let denial = Denial {
                by: "https://a.example".to_owned(),
                repository: "a.example/x".parse().unwrap(),
                action: "pull".to_owned(),
                provenance: Some(Provenance::Explicit(flag.to_owned())),
                message: message.map(str::to_owned),
            };
            RegistryError::Auth(AuthError::Denied(Box::new(denial)))
        };
        let (flag, words) = ("--to-username", "authentication required (Name=x, Action=pull)");
        assert_eq!(cause(1, 1, denied(None, flag)), cause(2, 1, denied(Some(words), flag)));
        assert_ne!(cause(1, 1, denied(None, flag)), cause(1, 1, denied(None, "--authfile")));
        assert!(!cause(1, 1, denied(None, flag)).has_words_of(&cause(2, 1, denied(Some(words), flag))));
        assert!(cause(1, 1, denied(None, flag)).has_words_of(&cause(2, 1, denied(None, flag))));
        let answered = |status| refused(status, "request 17".to_owned());
        assert_ne!(cause(1, 1, answered(500)), cause(1, 1, answered(503)));
    }

    #[test]
    fn failures_of_no_endpoint_are_compared_by_their_texts() {
        let of = |number: usize, id: char| {
            let (image, _) = failed(number, 1, EndpointCause::NoSuchBlob);
            let id = id.to_string().repeat(MIN_ID_LENGTH);
            let failure = Failure {
                causes: vec![format!("m/img{number}/{id}: no space left on device")],
                ..Failure::new(Kind::Image, format!("cannot write {}", image.source))
            };
            SharedCause::of_image(&image, &failure, &[])
        };
        assert_eq!(of(1, 'a'), of(17, 'e'));
    }

    #[test]
    fn wrong_bytes_keep_their_digests() {
        let failure = |digest: &str| Failure {
            causes: vec![format!("its bytes hash to sha256:{}", digest.repeat(64))],
            ..Failure::new(Kind::Integrity, "cannot read blob a.example/x@sha256:1 (source)")
        };
        assert_ne!(SharedCause::of(&failure("a")), SharedCause::of(&failure("b")));
    }

    #[test]
    fn warnings_about_images_with_different_tags_have_one_cause() {
        let of = |name: &str| {
            let image = samples::source(name);
            SharedCause::of_warning(Some(&image), &format!("skipped: cannot read manifest {image} (source)"))
        };
        assert_eq!(of("a:1"), of("b:2"));
        assert_eq!(
            of("a:1").message(),
            "skipped: cannot read manifest us-east4-docker.pkg.dev/IMAGE (source)"
        );
    }

    #[test]
    fn only_full_names_are_replaced() {
        for (text, expected) in [
            ("`quay.io/a/b:1`, tried", "`quay.io/IMAGE`, tried"),
            ("read https://quay.io/v2/a", "read https://quay.io/v2/a"),
            ("linux/amd64 and ./a/b and /etc/x", "linux/amd64 and ./a/b and /etc/x"),
            ("n/a  two  spaces\nlines", "n/a  two  spaces\nlines"),
        ] {
            assert_eq!(words(text, general_word), expected);
        }
        assert_eq!(without_path("/x/app/_uploads and app2", "app"), "/x/IMAGE/_uploads and app2");
        assert_eq!(name_in("cannot read manifest quay.io/a/b:1 (source)").as_deref(), Some("quay.io/a/b:1"));
    }
}
