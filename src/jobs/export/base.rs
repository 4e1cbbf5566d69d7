//! `--base`: the blobs that the far side already has, from a lock, a bundle, or the receipt of an import.

use std::{collections::BTreeMap, path::Path};

use crate::{
    endpoint::bundle::volumes,
    error::{Failure, Kind, escape},
    event::EventSink,
    jobs::{open_bundle, signing},
    lock::{Base, Lock, LockError, Receipt},
    oci::{Digest, Reference},
    request,
};

/// Reads the lock of a mirror or of a bundle, a bundle, or the receipt of an import.
pub(super) fn read(base: &request::Base, events: &dyn EventSink) -> Result<Base, Failure> {
    let path = base.path.as_path();
    let named = |failure: Failure| {
        let message = format!("--base: {}", failure.message);
        Failure { message, ..failure }
    };
    let (lock, id) = if is_json(path) {
        let read = |error: LockError| {
            let failure = named(error.failure());
            let is_other = matches!(error, LockError::NotALock(..));
            if is_other {
                failure.with_hint("pass a lock, a bundle or a receipt of an import")
            } else {
                failure
            }
        };
        let bytes = Lock::read_bytes(path).map_err(read)?;
        if let Some(signed) = &base.signed {
            signing::check_file(signed, path, &bytes).map_err(named)?;
        }
        if Receipt::is_receipt(&bytes) {
            let Receipt { lock, bundle, .. } =
                Receipt::from_slice(&bytes).map_err(|error| not_a_receipt(path, &error))?;
            (lock, bundle)
        } else {
            (Lock::parse(&bytes, path).map_err(read)?, Digest::sha256(&bytes))
        }
    } else {
        let bundle = open_bundle::open(&[path.to_owned()], base.signed.as_ref(), events).map_err(named)?;
        let id = bundle.head().id().clone();
        let lock = bundle.head().lock.clone().ok_or_else(|| without_lock(path))?;
        (lock, id)
    };
    if let Some(expected) = base.id.as_ref().filter(|expected| **expected != id) {
        let message = format!("--base {} is for {id}, not {expected}", path.display());
        return Err(Failure::new(Kind::Integrity, message)
            .with_hint("pass the lock, bundle or receipt with that id, or omit --base-id"));
    }
    let base = Base { id, blobs: repositories(&lock) };
    if base.blobs.is_empty() {
        let message = format!("--base {}: it contains no confirmed image", path.display());
        return Err(Failure::new(Kind::Input, message).with_hint("omit --base to write a complete bundle"));
    }
    Ok(base)
}

fn not_a_receipt(path: &Path, error: &str) -> Failure {
    let message = format!("--base {}: this receipt cannot be read: {}", path.display(), escape(error));
    Failure::new(Kind::Input, message).with_hint(
        "copy it again from where `bundle import --receipt` wrote it, or use the version that wrote it",
    )
}

/// Whether the file starts like JSON and is not the index of volumes: a lock or a receipt.
fn is_json(path: &Path) -> bool {
    use std::io::Read as _;
    if !path.is_file() || path.to_string_lossy().ends_with(volumes::SUFFIX) {
        return false;
    }
    let mut first = [0];
    std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut first).is_ok() && first == *b"{")
}

fn without_lock(path: &Path) -> Failure {
    let message = format!("--base {}: another program wrote this bundle: it has no lock", path.display());
    Failure::new(Kind::Input, message)
        .with_hint("pass the lock that `bundle import` or `sync` wrote at the far side")
}

/// Every blob of the confirmed images, with the repositories that have it.
fn repositories(lock: &Lock) -> BTreeMap<Digest, Vec<String>> {
    let mut repositories: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for image in lock.images.iter().filter(|image| image.is_confirmed()) {
        let repository = |reference: &Reference| reference.repository().to_string();
        let copies = image.destinations.iter().filter(|copy| copy.confirmed).map(|copy| &copy.reference);
        let here: Vec<String> = std::iter::once(&image.source).chain(copies).map(repository).collect();
        for blob in &image.blobs {
            let known = repositories.entry(blob.clone()).or_default();
            known.extend(here.iter().cloned());
            known.sort();
            known.dedup();
        }
    }
    repositories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Silent;

    fn base(path: std::path::PathBuf) -> request::Base {
        request::Base { path, id: None, signed: None }
    }

    #[test]
    fn locks_and_bundles_of_the_previous_version_are_read() {
        let shared = Digest::sha256(b"shared layer");
        let source = ["127.0.0.1:5061/team/app", "127.0.0.1:5061/team/tools/agent"].as_slice();
        let mirror = ["127.0.0.1:5062/mirror/app", "127.0.0.1:5062/mirror/tools/agent"].as_slice();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/lock-v1");
        for (file, repositories) in
            [("sync.lock", [source, mirror].concat()), ("bundle.tar", source.to_vec())]
        {
            let base = read(&base(folder.join(file)), &Silent).unwrap();
            assert_eq!(base.blobs[&shared], repositories, "{file}");
        }
        let id = Digest::sha256(&std::fs::read(folder.join("sync.lock")).unwrap());
        assert_eq!(
            read(&base(folder.join("sync.lock")), &Silent).unwrap().id,
            id,
            "the digest of the file as it is"
        );
    }

    #[test]
    fn the_hint_for_another_file_names_what_a_base_can_be_bug() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        let failure = read(&base(file.path().to_owned()), &Silent).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("pass a lock, a bundle or a receipt of an import"));
    }
}
