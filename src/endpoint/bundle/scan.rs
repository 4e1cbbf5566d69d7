//! Scans an archive for the name and the offset of every entry. Contents are skipped.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    error::BundleError,
    header::{BLOCK, Block, Entry, Headers, Step, other_than_an_archive, padding},
    names::Name,
    other_kinds::Traces,
    slices::{Extent, Slices},
};

/// The most entries in an archive.
pub(crate) const MAX_ENTRIES: usize = 200_000;

/// Walks through an archive from its first byte.
pub(crate) struct Scan<'a> {
    slices: &'a Slices,
    path: PathBuf,
    headers: Headers,
    seen: HashMap<Name, Extent>,
    entries: usize,
    at: u64,
    /// Whether the end mark was found.
    ended: bool,
    /// What it may be instead of a layout.
    traces: Traces,
}

impl<'a> Scan<'a> {
    /// `path` names the archive in errors.
    pub(crate) fn new(slices: &'a Slices, path: &Path) -> Self {
        let path = path.to_owned();
        Self {
            slices,
            path,
            headers: Headers::default(),
            seen: HashMap::new(),
            entries: 0,
            at: 0,
            ended: false,
            traces: Traces::default(),
        }
    }

    /// The next file of a layout; `None` at the end.
    pub(crate) fn next_file(&mut self) -> Result<Option<(Name, Extent)>, BundleError> {
        while !self.ended {
            let Some(block) = self.block()? else { break };
            let offset = self.at - BLOCK;
            let step = match self.headers.block(&block) {
                // The archive may turn out to be one of Docker.
                Err(error) if error.is_link() && !self.seen.contains_key(&Name::Marker) => {
                    self.traces.note_link(BundleError::Header { offset, error });
                    continue;
                }
                step => step.map_err(|error| BundleError::Header { offset, error })?,
            };
            match step {
                Step::Zeros => self.ended = true,
                Step::Extension { size } => self.extension(size)?,
                Step::Entry(entry) => {
                    if let Some(file) = self.entry(entry)? {
                        return Ok(Some(file));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The offset of the next header.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// All files, after the last. An error if the archive is truncated.
    pub(crate) fn finish(self) -> Result<HashMap<Name, Extent>, BundleError> {
        if !self.ended {
            return Err(BundleError::NoEnd);
        }
        let refusal =
            if self.seen.contains_key(&Name::Marker) { None } else { self.traces.refusal(&self.path) };
        refusal.map_or(Ok(self.seen), Err)
    }

    fn block(&mut self) -> Result<Option<Block>, BundleError> {
        let there = self.slices.length().saturating_sub(self.at).min(BLOCK);
        if there < BLOCK && self.at > 0 {
            return Ok(None);
        }
        let mut block = [0; size_of::<Block>()];
        let part = block.get_mut(..usize::try_from(there).unwrap_or_default()).unwrap_or_default();
        self.read(part, self.at)?;
        if self.at == 0
            && let Some(found) = other_than_an_archive(part)
        {
            return Err(BundleError::NotAnArchive { path: self.path.clone(), found });
        }
        self.at += BLOCK;
        Ok(Some(block))
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), BundleError> {
        let absent = self.slices.absent(offset, buffer.len() as u64);
        if !absent.is_empty() {
            return Err(BundleError::Absent { names: absent });
        }
        let read = self.slices.read_exact_at(buffer, offset);
        read.map_err(|error| BundleError::unreadable(&self.path, error))
    }

    fn extension(&mut self, size: u64) -> Result<(), BundleError> {
        let offset = self.at;
        self.skip("an extended header", size)?;
        // Its size was bounded where the header was read.
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read(&mut content, offset)?;
        self.headers.extend(&content).map_err(|error| BundleError::Header { offset, error })
    }

    fn entry(&mut self, entry: Entry) -> Result<Option<(Name, Extent)>, BundleError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(BundleError::TooManyEntries { limit: MAX_ENTRIES });
        }
        let name = self.traces.note_entry(&entry)?;
        let extent = Extent { offset: self.at, size: entry.size };
        self.skip(&entry.path, entry.size)?;
        let Some(name) = name else { return Ok(None) };
        if self.seen.insert(name.clone(), extent).is_some() {
            return Err(BundleError::Duplicate { path: entry.path });
        }
        Ok(Some((name, extent)))
    }

    fn skip(&mut self, path: &str, size: u64) -> Result<(), BundleError> {
        let length = self.slices.length();
        let end = self.at.saturating_add(size);
        if end > length {
            return Err(BundleError::Truncated { path: path.to_owned(), size, missing: end - length });
        }
        // If the padding of the last entry is missing, so is the end mark, and that is reported.
        self.at = end.saturating_add(padding(size));
        Ok(())
    }
}
