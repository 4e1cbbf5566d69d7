//! Faults of images in memory, and their errors.

use std::sync::Arc;

use bytes::Bytes;
use thoras_mirror::{
    endpoint::{Cause, EndpointError, Error, Location, Meaning, Operation, Retry},
    error::Kind,
    oci::Repository,
    problem::Side,
};
use tokio::sync::watch;

use super::{Act, Memory, State};

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error("access is denied, as planned")]
    Denied,
    /// Permanent, and neither a refusal nor missing content.
    #[error("the memory is worn out")]
    WornOut,
    #[error("the connection breaks, as planned")]
    Broken,
    #[error("the manifest names missing content")]
    ContentMissing,
}

impl EndpointError for MemoryError {
    fn kind(&self) -> Kind {
        match self {
            Self::Denied => Kind::Authentication,
            Self::WornOut => Kind::Usage,
            Self::Broken | Self::ContentMissing => Kind::Image,
        }
    }

    fn remedy(&self, location: &Location) -> Option<String> {
        (*self == Self::WornOut).then(|| format!("replace the memory of the {}", location.side))
    }

    fn meaning(&self) -> Meaning {
        match self {
            Self::Denied => Meaning::Refused,
            Self::Broken | Self::WornOut => Meaning::Failed,
            Self::ContentMissing => Meaning::ContentMissing,
        }
    }

    fn retry(&self) -> Option<Retry> {
        (*self == Self::Broken).then_some(Retry::TRANSIENT)
    }
}

/// A planned fault.
#[derive(Debug, Clone)]
pub struct Fault {
    pub side: Side,
    pub act: Act,
    /// Which repository; any if `None`.
    pub repository: Option<Repository>,
    /// Which tag or digest; any if `None`.
    pub what: Option<String>,
    /// How often it happens.
    pub times: usize,
    pub effect: Effect,
}

impl Fault {
    /// It happens every time.
    pub fn always(side: Side, act: Act, what: &impl ToString, effect: Effect) -> Self {
        Self { side, act, repository: None, what: Some(what.to_string()), times: usize::MAX, effect }
    }

    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    pub fn in_repository(self, repository: &Repository) -> Self {
        Self { repository: Some(repository.clone()), ..self }
    }
}

/// What a fault does.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Access is denied. Not worth a retry.
    Refuse,
    /// It fails for good, with an advice.
    WearOut,
    /// The connection breaks. Worth a retry.
    Break,
    /// The connection breaks after this many bytes of a blob have been read.
    BreakAfter(usize),
    /// A blob is read with wrong bytes.
    WrongBytes(WrongBytes),
    /// Success is reported, nothing is stored.
    Forget,
    /// The operation waits.
    Hold(Gate),
}

/// How the bytes of a blob are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongBytes {
    Wrong,
    Short,
    Long,
}

impl WrongBytes {
    pub fn about(self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Wrong => bytes.iter_mut().for_each(|byte| *byte ^= 1),
            Self::Short => drop(bytes.pop()),
            Self::Long => bytes.push(b' '),
        }
        bytes.into()
    }
}

/// How a run ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It is killed: the operation never completes. See [`Memory::killed`].
    Killed,
    /// The destination refuses this operation and all later ones.
    Denied,
}

/// Holds operations until it opens.
#[derive(Debug, Clone)]
pub struct Gate {
    reached: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    pub fn closed() -> Self {
        Self { reached: Arc::new(watch::Sender::new(0)), open: Arc::new(watch::Sender::new(false)) }
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until an operation is held.
    pub async fn reached(&self) {
        self.reached.subscribe().wait_for(|reached| *reached > 0).await.unwrap();
    }

    pub(super) async fn pass(&self) {
        self.reached.send_modify(|reached| *reached += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

impl Memory {
    /// Plans a fault. Earlier ones come first.
    pub fn plan(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Ends the run at the destination's operation number `at`, from 0. Later operations have no effect.
    pub fn end_at(&self, at: usize, death: Death) {
        self.state().death = Some((at, death));
    }

    /// Waits until the run has been killed.
    pub async fn killed(&self) {
        self.shared.killed.notified().await;
    }

    /// How many operations the destination has seen.
    pub fn operations(&self) -> usize {
        self.state().arrived
    }
}

impl State {
    /// The fault that is planned for an operation.
    pub(super) fn fault(
        &mut self,
        side: Side,
        act: Act,
        repository: &Repository,
        what: &str,
    ) -> Option<Effect> {
        let fault = self.faults.iter_mut().find(|fault| {
            (fault.side, fault.act) == (side, act)
                && fault.times > 0
                && fault.repository.as_ref().is_none_or(|other| other == repository)
                && fault.what.as_ref().is_none_or(|other| other == what)
        })?;
        fault.times -= 1;
        Some(fault.effect.clone())
    }
}

pub(super) fn error(side: Side, act: Act, repository: &Repository, what: &str, cause: Cause) -> Error {
    let operation = match act {
        Act::ReadTag | Act::ReadManifest => Operation::ReadManifest,
        Act::ExpectAttachments | Act::ListAttachments => Operation::ListReferrers,
        Act::LookForBlob => Operation::CheckBlob,
        Act::OpenBlob => Operation::ReadBlob,
        Act::BeginBlob => Operation::BeginUpload,
        Act::CommitBlob => Operation::UploadBlob,
        Act::PutManifest => Operation::PushManifest,
    };
    Error::new(operation, side, format!("{repository}@{what}"), cause)
}

pub(super) fn denied(side: Side, act: Act, repository: &Repository, what: &str) -> Error {
    error(side, act, repository, what, MemoryError::Denied.into())
}

pub(super) fn worn_out(side: Side, act: Act, repository: &Repository, what: &str) -> Error {
    error(side, act, repository, what, MemoryError::WornOut.into())
}

pub(super) fn missing_content(side: Side, repository: &Repository, what: &str) -> Error {
    error(side, Act::PutManifest, repository, what, MemoryError::ContentMissing.into())
}

pub(super) fn broken(side: Side, act: Act, repository: &Repository, what: &str) -> Error {
    error(side, act, repository, what, MemoryError::Broken.into())
}

pub(super) fn no_such_blob(side: Side, repository: &Repository, what: &str) -> Error {
    error(side, Act::OpenBlob, repository, what, Cause::NoSuchBlob)
}

/// Whether an error means that the bytes of a blob were wrong.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(error.cause, Cause::Mismatch(_))
}
