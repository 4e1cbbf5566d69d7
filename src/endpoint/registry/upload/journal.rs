//! A large upload's journal on disk, so that the next process can resume it after this one was killed.
//!
//! One append-only file for each upload: the first line names the blob, the others hold the session's URL or the hash
//! state at an offset. An incomplete last line is ignored; a file that is invalid or belongs to another registry is
//! removed. A running upload locks its journal, so that no other process resumes the same session.
//!
//! A session's URL is a capability. It is stored only if it is useless without the registry's credentials: on the
//! registry's own origin and not signed.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{super::auth::Origin, session::Session};
use crate::{
    endpoint::body::Snapshot,
    error::hide_secrets,
    oci::{Descriptor, Digest, Hasher, Repository},
};

const VERSION: u32 = 1;
/// No known registry keeps a session for longer (CNCF distribution removes it after a week).
const MAX_AGE: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// The largest valid journal: enough for a blob of a terabyte.
const MAX_SIZE: u64 = 32 * 1024 * 1024;
const EXTENSION: &str = "upload";

/// The folder of the journals: `$XDG_STATE_HOME/thoras-mirror/uploads`, else below `~/.local/state` (XDG Base Directory
/// Specification, which ignores relative paths). `variable` reads the environment.
pub(crate) fn state_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("thoras-mirror/uploads"))
}

/// An open, locked journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

/// The content of a journal.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) session: Session,
    pub(super) snapshots: Vec<Snapshot>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Upload { version: u32, registry: String, repository: String, digest: Digest, size: u64 },
    Session { location: String, chunk_minimum: u64 },
    Hash { offset: u64, state: String },
}

impl Line {
    fn about(registry: &Origin, repository: &Repository, blob: &Descriptor) -> Self {
        Self::Upload {
            version: VERSION,
            registry: registry.to_string(),
            repository: repository.path().to_owned(),
            digest: blob.digest.clone(),
            size: blob.size,
        }
    }
}

impl Journal {
    /// Starts a journal. `None` when another process holds it or it cannot be written: then the upload runs, but a
    /// later process cannot resume it.
    pub(super) fn create(
        folder: &Path,
        registry: &Origin,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Option<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).ok()?;
        let path = folder.join(file_name(registry, repository, blob));
        let file = options().create(true).open(&path).ok()?;
        file.try_lock().ok()?;
        file.set_len(0).ok()?;
        let mut journal = Self { file, path };
        journal.append(&Line::about(registry, repository, blob));
        Some(journal)
    }

    /// The journal that another process left behind, and its content.
    pub(super) fn open(
        folder: &Path,
        registry: &Origin,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Option<(Self, Entries)> {
        let path = folder.join(file_name(registry, repository, blob));
        let file = options().open(&path).ok()?;
        file.try_lock().ok()?;
        let mut bytes = Vec::new();
        (&file).take(MAX_SIZE).read_to_end(&mut bytes).ok()?;
        let mut journal = Self { file, path };
        let expected = Line::about(registry, repository, blob);
        let Some(entries) = read(&bytes, registry, &expected, &blob.digest) else {
            journal.remove();
            return None;
        };
        // Start a new line: the last one may be incomplete.
        journal.write(b"\n");
        Some((journal, entries))
    }

    /// Records the session's URL, unless it is a secret.
    pub(super) fn record_session(&mut self, session: &Session, registry: &Origin) {
        let location = if may_be_stored(&session.location, registry) {
            session.location.as_str()
        } else {
            // An earlier URL may no longer be valid.
            ""
        };
        let line = Line::Session { location: location.to_owned(), chunk_minimum: session.chunk_minimum };
        self.append(&line);
    }

    /// Records the hash state.
    pub(super) fn record_snapshot(&mut self, snapshot: &Snapshot) {
        let state = BASE64.encode(snapshot.hasher.save());
        self.append(&Line::Hash { offset: snapshot.offset, state });
    }

    /// The upload is over.
    pub(super) fn remove(self) {
        // Still locked: no other process can have opened it.
        let _ = fs::remove_file(&self.path);
    }

    fn append(&mut self, line: &Line) {
        if let Ok(mut text) = serde_json::to_vec(line) {
            text.push(b'\n');
            self.write(&text);
        }
    }

    /// Best effort: without a journal, the next process starts over. Not synced: it must survive a crash of the
    /// process, not of the machine.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.file.write_all(bytes);
    }
}

/// Removes journals that will never be resumed.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MAX_AGE));
        if is_old && path.extension().is_some_and(|extension| extension == EXTENSION) {
            let _ = fs::remove_file(path);
        }
    }
}

/// A link that was put there is not followed.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.append(true).read(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

fn file_name(registry: &Origin, repository: &Repository, blob: &Descriptor) -> String {
    let key = format!("{registry}/v2/{}/blobs/{}", repository.path(), blob.digest);
    format!("{}.{EXTENSION}", Digest::sha256(key.as_bytes()).hex())
}

/// The entries for this upload, if the journal is valid.
fn read(bytes: &[u8], registry: &Origin, expected: &Line, digest: &Digest) -> Option<Entries> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(serde_json::from_slice::<Line>);
    if lines.next()?.ok()? != *expected {
        return None;
    }
    let (mut session, mut snapshots) = (None, Vec::new());
    for line in lines.flatten() {
        match line {
            Line::Session { location, chunk_minimum } => {
                let location = Url::parse(&location).ok().filter(|url| may_be_stored(url, registry));
                session = location.map(|location| Session { location, chunk_minimum });
            }
            Line::Hash { offset, state } => {
                let hasher = Hasher::restore(digest.algorithm(), &BASE64.decode(state).ok()?)?;
                snapshots.push(Snapshot { offset, hasher });
            }
            Line::Upload { .. } => return None,
        }
    }
    Some(Entries { session: session?, snapshots })
}

/// Whether a session's URL is useless without credentials: on the registry's own origin, and with no parameter but
/// those that are known to grant nothing. A list of parameters that do grant something would never be complete.
fn may_be_stored(location: &Url, registry: &Origin) -> bool {
    // CNCF distribution and what is built on it (Harbor, GitLab); Azure.
    const STATE: [&str; 2] = ["_state", "_nouploadcache"];
    let is_state = location.query_pairs().all(|(name, _)| STATE.contains(&&*name));
    let is_ours = Origin::of(location).is_ok_and(|origin| origin == *registry);
    let has_login = !location.username().is_empty() || location.password().is_some();
    // The registry may have put what we sent into the path.
    let has_secret = hide_secrets(location.as_str()) != location.as_str();
    is_ours && is_state && !has_login && !has_secret && location.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::{super::super::auth::origin::Scheme, *};

    fn registry() -> Origin {
        Origin::of_registry("registry.example.com", Scheme::Https).unwrap()
    }

    fn repository() -> Repository {
        "registry.example.com/thoras/services".parse().unwrap()
    }

    fn blob() -> Descriptor {
        Descriptor::new("x/y".into(), Digest::sha256(b"blob"), 4)
    }

    fn session(location: &str) -> Session {
        Session { location: Url::parse(location).unwrap(), chunk_minimum: 7 }
    }

    fn create(folder: &Path) -> Journal {
        Journal::create(folder, &registry(), &repository(), &blob()).unwrap()
    }

    fn open(folder: &Path) -> Option<(Journal, Entries)> {
        Journal::open(folder, &registry(), &repository(), &blob())
    }

    const OURS: &str = "https://registry.example.com/v2/thoras/services/blobs/uploads/1?_state=a%2Fb";

    #[test]
    fn entries_are_read_even_after_an_incomplete_line() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state/uploads");
        let mut journal = create(&folder);
        journal.record_session(&session(OURS), &registry());
        let mut hasher = blob().digest.hasher();
        hasher.update(b"bl");
        journal.record_snapshot(&Snapshot { offset: 2, hasher: hasher.clone() });
        journal.write(b"{\"hash\":{\"offset\":3,\"sta");
        drop(journal);
        for _ in 0..2 {
            let (mut journal, entries) = open(&folder).unwrap();
            journal.record_snapshot(&Snapshot { offset: 3, hasher: hasher.clone() });
            assert_eq!(entries.session.location.as_str(), OURS);
            assert_eq!(entries.session.chunk_minimum, 7);
            let mut found = entries.snapshots[0].clone();
            assert_eq!(found.offset, 2);
            found.hasher.update(b"ob");
            assert_eq!(found.hasher.finish(), blob().digest);
        }
        assert_eq!(open(&folder).unwrap().1.snapshots.len(), 3);
    }

    #[test]
    fn the_state_folder_follows_the_base_directory_specification() {
        let folder = |state: Option<&str>, home: Option<&str>| {
            state_folder(|name| if name == "HOME" { home } else { state }.map(OsString::from))
        };
        assert_eq!(folder(Some("/s"), Some("/h")).unwrap(), Path::new("/s/thoras-mirror/uploads"));
        let at_home = Path::new("/h/.local/state/thoras-mirror/uploads");
        assert_eq!(folder(None, Some("/h")).unwrap(), at_home);
        assert_eq!(folder(Some("relative"), Some("/h")).unwrap(), at_home);
        assert_eq!(folder(None, None), None);
    }

    #[test]
    fn only_the_owner_can_read_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state/uploads");
        let journal = create(&folder);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&root.path().join("state")), 0o700);
        assert_eq!(mode(&journal.path), 0o600);
    }

    #[test]
    fn a_running_upload_is_not_resumed_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = create(folder.path());
        journal.record_session(&session(OURS), &registry());
        assert!(open(folder.path()).is_none());
        assert!(Journal::create(folder.path(), &registry(), &repository(), &blob()).is_none());
        drop(journal);
        open(folder.path()).unwrap().0.remove();
        assert!(open(folder.path()).is_none());
    }

    #[test]
    fn session_urls_that_grant_access_are_never_stored() {
        for location in [
            "https://storage.example.com/v2/thoras/services/blobs/uploads/1",
            "http://registry.example.com/v2/uploads/1",
            "https://registry.example.com:8443/v2/uploads/1",
            "https://user:pw@registry.example.com/v2/uploads/1",
            "https://registry.example.com/u?X-Amz-Signature=5ecret",
            "https://registry.example.com/u?x-goog-credential=5ecret",
            "https://registry.example.com/u?sv=1&sig=5ecret",
            "https://registry.example.com/u?Signature=5ecret",
            // Names that are on no list of signatures.
            "https://registry.example.com/u?_state=a&se=1&sp=w&h=5ecret",
            "https://registry.example.com/u?hmac=5ecret",
            "https://registry.example.com/u?Policy=5ecret&Key-Pair-Id=K",
            "https://registry.example.com/u?5ecret",
            "https://registry.example.com/u?_State=5ecret",
            "https://registry.example.com/u?_state=a&_state%00=5ecret",
            "https://registry.example.com/u#5ecret",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut journal = create(folder.path());
            journal.record_session(&session(OURS), &registry());
            journal.record_session(&session(location), &registry());
            let text = fs::read_to_string(&journal.path).unwrap();
            assert!(!text.contains("5ecret") && !text.contains("storage.") && !text.contains("pw"), "{text}");
            drop(journal);
            assert!(open(folder.path()).is_none(), "the earlier place is no longer the right one");
        }
    }

    #[test]
    fn a_session_url_that_repeats_a_secret_is_never_stored_bug() {
        let folder = tempfile::tempdir().unwrap();
        crate::error::remember_secret("hunter2-token");
        let mut journal = create(folder.path());
        journal.record_session(&session("https://registry.example.com/u/hunter2-token"), &registry());
        assert!(!fs::read_to_string(&journal.path).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_link_at_a_journals_name_is_not_followed_bug() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let path = folder.path().join(file_name(&registry(), &repository(), &blob()));
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(Journal::create(folder.path(), &registry(), &repository(), &blob()).is_none());
        assert!(open(folder.path()).is_none());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_journal_with_a_session_on_another_host_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let journal = create(folder.path());
        let path = journal.path.clone();
        drop(journal);
        let head = fs::read_to_string(&path).unwrap();
        let foreign = r#"{"session":{"location":"https://evil.example.com/u","chunk_minimum":0}}"#;
        for text in [
            format!("{head}{foreign}\n"),
            head.replace("thoras", "other") + foreign,
            format!("{head}{}\n", foreign.replace("evil", "registry"))
                .replace("\"version\":1", "\"version\":2"),
            String::new(),
            "\u{0}\u{0}\u{0}".to_owned(),
        ] {
            fs::write(&path, &text).unwrap();
            assert!(open(folder.path()).is_none(), "{text}");
            assert!(!path.exists(), "what is of no use is removed: {text}");
        }
        let good = format!("{head}{}\n", foreign.replace("evil", "registry"));
        fs::write(&path, good).unwrap();
        assert!(open(folder.path()).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let expected = Line::about(&registry(), &repository(), &blob());
            prop_assert!(read(&bytes, &registry(), &expected, &blob().digest).is_none());
        }
    }
}
