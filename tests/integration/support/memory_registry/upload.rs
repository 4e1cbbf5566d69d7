//! Uploads of blobs into memory.

use futures::StreamExt as _;
use thoras_mirror::{
    endpoint::{BlobSink, Error, Snapshot, Start, VerifiedBody},
    oci::{Descriptor, Repository},
    problem::Side,
};

use super::{Act, Answer, Memory, faults, faults::Effect};

/// An opened upload.
#[derive(Debug)]
pub struct Upload {
    memory: Memory,
    repository: Repository,
    blob: Descriptor,
    prefix: Vec<u8>,
    start: Start,
}

impl Upload {
    /// `random` decides how much of the received prefix is covered by the saved hash.
    pub(super) fn new(
        memory: Memory,
        repository: Repository,
        blob: Descriptor,
        prefix: Vec<u8>,
        random: u64,
    ) -> Self {
        let mut start = Start::at_the_beginning(&blob);
        if !prefix.is_empty() {
            let known = usize::try_from(random).unwrap() % (prefix.len() + 1);
            let mut hasher = blob.digest.hasher();
            hasher.update(&prefix[..known]);
            start.hashed = Snapshot { offset: known as u64, hasher };
            start.received = prefix.len() as u64;
        }
        Self { memory, repository, blob, prefix, start }
    }

    fn keep(&self, received: &[u8]) {
        if self.memory.state().settings.resumes {
            self.memory.edit(&self.repository, |contents| {
                contents.uploads.insert(self.blob.digest.clone(), received.to_vec())
            });
        }
    }
}

impl BlobSink for Upload {
    fn start(&self) -> Start {
        self.start.clone()
    }

    async fn write(self, mut body: VerifiedBody) -> Result<(), Error> {
        let what = self.blob.digest.as_str();
        let mut received = self.prefix.clone();
        // Like an HTTP client, which does not read beyond the announced length.
        while body.length() > 0 {
            match body.next().await {
                None => break,
                Some(Ok(piece)) => received.extend(&piece),
                Some(Err(error)) => {
                    if faults::is_damage(&error) {
                        self.keep(&[]);
                    }
                    // A client sees only that the body ended early. The body's watch knows the reason.
                    return Err(faults::broken(Side::Destination, Act::CommitBlob, &self.repository, what));
                }
            }
            self.keep(&received);
        }
        let effect = self.memory.arrive(Act::CommitBlob, &self.repository, what).await?;
        let mut state = self.memory.state();
        if received.len() as u64 != self.blob.size || !self.blob.digest.matches(&received) {
            state.history.violations.push(format!("{what} was committed with other bytes"));
        }
        state.history.commits.push((self.repository.clone(), self.blob.digest.clone(), self.blob.size));
        let contents = state.repositories.entry(self.repository.clone()).or_default();
        contents.uploads.remove(&self.blob.digest);
        if !matches!(effect, Some(Effect::Forget)) {
            contents.blobs.insert(self.blob.digest.clone(), received.into());
        }
        drop(state);
        self.memory.note(Act::CommitBlob, &self.repository, what, Answer::Stored);
        Ok(())
    }
}
