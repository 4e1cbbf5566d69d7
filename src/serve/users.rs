//! Which users may log in, and which may push: Basic authentication with an `htpasswd` file.
//!
//! A check takes as long as the file's bcrypt cost implies, even for unknown users. Checks run on threads that may
//! block, a few at a time. A correct password is cached as a hash with a key that only this process knows, so that the
//! next request is admitted immediately.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::bounded_read::{self, MAX_SETTINGS_SIZE};

use super::{
    htpasswd::{self, HtpasswdError, PasswordHash},
    options::UserFile,
    response::{ErrorCode, Refusal},
};

/// The longest password that bcrypt hashes, in bytes. It ignores the rest, so a longer password would be accepted
/// with any ending.
const MAX_PASSWORD_LENGTH: usize = 72;

/// The size of the cache of correct passwords.
const REMEMBERED: usize = 1024;

const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"thoras-mirror\", charset=\"UTF-8\"");

/// Why the users cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the file is invalid.
    #[error("{path}, {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line and its problem.
        source: HtpasswdError,
    },
    /// The file contains no users.
    #[error("{0} contains no users: add a user with `htpasswd -B FILE NAME`")]
    Nobody(PathBuf),
    /// A user who may push is not in the file.
    #[error("--push-user {name:?} is not in {path}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The user.
        name: String,
    },
    /// The system provides no random bytes for a key.
    #[error("cannot get random bytes from the system")]
    Randomness(#[source] io::Error),
}

/// The users of a file, which can be reloaded.
#[derive(Debug)]
pub(super) struct Users {
    file: UserFile,
    table: RwLock<Arc<Table>>,
    /// Limits concurrent checks to the number of cores, so that password guessing does not starve transfers of threads.
    checks: Semaphore,
}

/// The parsed file.
pub(super) struct Table {
    hashes: BTreeMap<String, PasswordHash>,
    /// `None`: every user.
    pushers: Option<BTreeSet<String>>,
    /// The hash to check passwords of unknown users against.
    decoy: PasswordHash,
    key: [u8; 32],
    remembered: Mutex<HashSet<[u8; 32]>>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Table").field("users", &self.hashes.len()).finish_non_exhaustive()
    }
}

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) may_push: bool,
}

struct Login {
    name: String,
    password: SecretSlice<u8>,
}

impl Users {
    pub(super) fn open(file: UserFile) -> Result<Self, UsersError> {
        let table = RwLock::new(Arc::new(Table::read(&file)?));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self { file, table, checks: Semaphore::new(cores) })
    }

    /// Reloads the file, for [`Self::replace`].
    pub(super) fn read_again(&self) -> Result<Table, UsersError> {
        Table::read(&self.file)
    }

    /// Uses this table from now on, and clears the cache of passwords.
    pub(super) fn replace(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// Admits a request with a user name and the correct password.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<User, Refusal> {
        let login = headers.get(header::AUTHORIZATION).and_then(Login::read).ok_or_else(unauthorized)?;
        if login.password.expose_secret().len() > MAX_PASSWORD_LENGTH {
            return Err(password_too_long());
        }
        let table = Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner));
        let fingerprint = table.fingerprint(&login);
        if !table.remembers(&fingerprint) {
            let _permit = self.checks.acquire().await.map_err(|_| unauthorized())?;
            // Concurrent requests wait for the first one's check and use its result.
            if !table.remembers(&fingerprint) && !check(&table, &login).await? {
                return Err(unauthorized());
            }
            table.remember(fingerprint);
        }
        let may_push = table.pushers.as_ref().is_none_or(|pushers| pushers.contains(&login.name));
        Ok(User { name: login.name, may_push })
    }
}

/// Whether the password is correct. Takes the same time for unknown users.
async fn check(table: &Table, login: &Login) -> Result<bool, Refusal> {
    let known = table.hashes.get(&login.name);
    let hash = known.unwrap_or(&table.decoy).text.clone();
    let password = login.password.clone();
    let checking = tokio::task::spawn_blocking(move || bcrypt::verify(password.expose_secret(), &hash));
    let checked = checking.await.map_err(|error| Refusal::from(io::Error::other(error)))?;
    // A text that bcrypt cannot hash (for example, with a NUL) is not a password.
    Ok(checked.unwrap_or(false) && known.is_some())
}

impl Table {
    fn read(file: &UserFile) -> Result<Self, UsersError> {
        let path = &file.htpasswd;
        let text = bounded_read::read_text(path, MAX_SETTINGS_SIZE)
            .map_err(|source| UsersError::Unreadable { path: path.clone(), source })?;
        let hashes =
            htpasswd::parse(&text).map_err(|source| UsersError::Line { path: path.clone(), source })?;
        let cost = hashes.values().map(|hash| hash.cost).max();
        let cost = cost.ok_or_else(|| UsersError::Nobody(path.clone()))?;
        if let Some(name) = file.pushers.iter().find(|name| !hashes.contains_key(*name)) {
            return Err(UsersError::Unknown { path: path.clone(), name: name.clone() });
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| UsersError::Randomness(error.into()))?;
        let pushers = (!file.pushers.is_empty()).then(|| file.pushers.iter().cloned().collect());
        Ok(Self { hashes, pushers, decoy: decoy(cost), key, remembered: Mutex::default() })
    }

    /// Identifies a name and password, only within this process.
    fn fingerprint(&self, login: &Login) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update((login.name.len() as u64).to_be_bytes());
        hasher.update(login.name.as_bytes());
        hasher.update(login.password.expose_secret());
        hasher.finalize().into()
    }

    fn remembers(&self, fingerprint: &[u8; 32]) -> bool {
        self.remembered().contains(fingerprint)
    }

    fn remember(&self, fingerprint: [u8; 32]) {
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(fingerprint);
    }

    fn remembered(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A well-formed hash without a known password.
fn decoy(cost: u32) -> PasswordHash {
    PasswordHash { text: format!("$2y${cost:02}${:.<53}", ""), cost }
}

impl Login {
    /// Reads `Basic BASE64`: RFC 7617.
    fn read(value: &HeaderValue) -> Option<Self> {
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = SecretSlice::from(STANDARD.decode(encoded.trim()).ok()?);
        let bytes = decoded.expose_secret();
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        let (name, password) = bytes.split_at_checked(colon)?;
        let name = String::from_utf8(name.to_vec()).ok()?;
        Some(Self { name, password: SecretSlice::from(password.get(1..)?.to_vec()) })
    }
}

/// The response to every missing, malformed, unknown or wrong login.
fn unauthorized() -> Refusal {
    let message = "this registry requires a valid user and password";
    Refusal::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message)
        .with(header::WWW_AUTHENTICATE, CHALLENGE)
}

/// The response to a password that no bcrypt hash can stand for.
fn password_too_long() -> Refusal {
    let message = format!("the password has more than {MAX_PASSWORD_LENGTH} bytes, which bcrypt cannot hash");
    Refusal::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message)
        .with(header::WWW_AUTHENTICATE, CHALLENGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_read_and_never_shown() {
        let read = |text: &str| Login::read(&HeaderValue::from_str(text).unwrap());
        let login = read("bAsIc YW5uOnA6dw==").unwrap();
        assert_eq!((login.name.as_str(), login.password.expose_secret()), ("ann", b"p:w".as_slice()));
        for text in ["Basic", "Basic !", "Basic YW5u", "Bearer YW5uOnA6dw==", "YW5uOnA6dw==", "Basic /zpw"] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_decoy_costs_a_check_and_matches_no_password() {
        let decoy = decoy(4);
        assert!(!bcrypt::verify("", &decoy.text).unwrap());
        assert!(!bcrypt::verify("password", &decoy.text).unwrap());
    }
}
