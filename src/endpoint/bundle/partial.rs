//! A bundle that is being written. Its head, synced before any blob, is the journal: it determines the location of
//! every blob, and a blob that is in place with the right digest is not downloaded again.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::Path,
};

use super::{
    draft::{self, Draft},
    error::BundleError,
    hashing::{self, Meter},
    head::Head,
    layout::{BlobEntry, Layout},
    open,
    output::{self, Output, OutputFile},
    relocation::{self, Relocation},
    slices::{Extent, Slices},
    storage::BlobReader,
};
use crate::{
    atomic_file::sync_folder,
    oci::{Digest, Hasher},
};

/// A blob with fewer bytes than this is downloaded from its beginning.
const WORTH_RESUMING: u64 = 1024 * 1024;
/// The number of bytes searched at a time, backwards, for the end of the written bytes.
const LOOK_BACK: u64 = 64 * 1024;

/// The state before writing begins.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) slices: Slices,
    pub(crate) files: Vec<OutputFile>,
    /// Blobs that are complete.
    pub(crate) complete: HashSet<Digest>,
    /// Incomplete blobs: the number of bytes, and their hash.
    pub(crate) started: HashMap<Digest, (u64, Hasher)>,
    /// The head that an earlier run was writing.
    pub(crate) earlier: Option<Head>,
}

impl Partial {
    /// Opens the files of an earlier run, or starts over. Content that is not intact is downloaded again. Blocks.
    pub(crate) fn open(output: &Output, draft: &Draft, meter: &Meter) -> Result<Self, BundleError> {
        let layout = &draft.layout;
        let unwritable = |error| BundleError::unwritable(&output.path, error);
        output.check_count(layout.length())?;
        let files = output.files(layout.length());
        take_back(output, draft, &files)?;
        let left = Handles::of_earlier_run(output)?;
        check_room(output, &left, layout.length())?;
        let earlier = open::own_head(&left.slices().map_err(unwritable)?, &output.path)?;
        let is_new = left.0.is_empty();
        let handles = left.with(&files)?;
        let working = handles.grow().map_err(unwritable)?;
        let journal = output.journal();
        // Without a readable head, blobs can only be in their current locations, or where they were moved.
        let old = earlier.as_ref().map_or(layout, |(_, old)| old);
        let (complete, started) = if is_new {
            Default::default()
        } else if old.has_head_of(layout) && !journal.exists() {
            let complete = intact(&working, layout, meter);
            let started = beginnings(&working, layout, &complete, meter);
            (complete, started)
        } else {
            (rearrange(&working, old, layout, &journal, meter).map_err(unwritable)?, HashMap::new())
        };
        layout.write_frame(&working).map_err(unwritable)?;
        let slices = handles.fit(&files).map_err(unwritable)?;
        slices.files().try_for_each(File::sync_all).map_err(unwritable)?;
        output::remove(&journal)?;
        sync_folder(output.folder()).map_err(unwritable)?;
        Ok(Self { slices, files, complete, started, earlier: earlier.map(|(head, _)| head) })
    }
}

/// Gives finished volumes their temporary names again, if the earlier run died before it had renamed all of them or
/// written their index.
fn take_back(output: &Output, draft: &Draft, files: &[OutputFile]) -> Result<(), BundleError> {
    if output.volume.is_none() || draft::is_described(draft.id(), output, files) {
        return Ok(());
    }
    let parts = files.iter().map(|file| {
        let path = if file.partial.exists() { &file.partial } else { &file.whole };
        let opened = File::open(path).ok()?;
        let fits = opened.metadata().is_ok_and(|found| found.is_file() && found.len() == file.size);
        fits.then(|| (path.display().to_string(), Some(opened), file.size))
    });
    let Some(parts) = parts.collect::<Option<_>>() else { return Ok(()) };
    let found = draft.layout.head_alteration(&Slices::new(parts));
    if !found.is_ok_and(|found| found.bytes == 0) {
        return Ok(());
    }
    for file in files.iter().take_while(|file| !file.partial.exists()) {
        let _alone = output::open_alone(&file.whole)?;
        fs::rename(&file.whole, &file.partial)
            .map_err(|error| BundleError::unwritable(&file.whole, error))?;
    }
    Ok(())
}

/// Checks that the disk has space for the bytes that still have to be written.
fn check_room(output: &Output, left: &Handles, length: u64) -> Result<(), BundleError> {
    use std::os::unix::fs::MetadataExt as _;
    let allocated = |(_, file): &(OutputFile, File)| file.metadata().map_or(0, |found| found.blocks() * 512);
    let needed = length.saturating_sub(left.0.iter().map(allocated).sum());
    let folder = output.folder();
    let space = rustix::fs::statvfs(folder)
        .map_err(|error| BundleError::unwritable(folder, io::Error::from(error)))?;
    let available = space.f_bavail.saturating_mul(space.f_frsize);
    if needed > available {
        return Err(BundleError::NoRoom { folder: folder.to_owned(), needed, available });
    }
    Ok(())
}

/// The open files, locked against other runs: those of the new layout, and those that only an older, longer layout
/// needed. The sizes are those of the layouts, in bytes.
struct Handles(Vec<(OutputFile, File)>);

impl Handles {
    /// The files of an earlier run. Volumes of another size cannot be used and are removed.
    fn of_earlier_run(output: &Output) -> Result<Self, BundleError> {
        let mut left = Vec::new();
        for file in output.unfinished() {
            let opened = output::open_alone(&file.partial)?;
            if left.is_empty() {
                output::check_unfinished(&opened, &file.partial)?;
            }
            let size =
                opened.metadata().map_err(|error| BundleError::unwritable(&file.partial, error))?.len();
            left.push((OutputFile { size, ..file }, opened));
        }
        let Some(volume) = output.volume else { return Ok(Self(left)) };
        let last = left.len().saturating_sub(1);
        let fits = |(number, (file, _)): (usize, &(OutputFile, File))| {
            file.size == volume || (number == last && file.size < volume)
        };
        if left.iter().enumerate().all(fits) {
            return Ok(Self(left));
        }
        for (file, _) in &left {
            fs::remove_file(&file.partial).map_err(|error| BundleError::unwritable(&file.partial, error))?;
        }
        Ok(Self(Vec::new()))
    }

    /// Adds the files of a new layout.
    fn with(mut self, files: &[OutputFile]) -> Result<Self, BundleError> {
        for (number, file) in files.iter().enumerate() {
            match self.0.get_mut(number) {
                Some((name, _)) => name.size = name.size.max(file.size),
                None => self.0.push((file.clone(), output::open_alone(&file.partial)?)),
            }
        }
        Ok(self)
    }

    fn slices(&self) -> io::Result<Slices> {
        let parts = self
            .0
            .iter()
            .map(|(name, file)| Ok((name.partial.display().to_string(), Some(file.try_clone()?), name.size)));
        Ok(Slices::new(parts.collect::<io::Result<_>>()?))
    }

    /// Makes every file as long as the longer of its two layouts.
    fn grow(&self) -> io::Result<Slices> {
        self.0.iter().try_for_each(|(name, file)| file.set_len(name.size))?;
        self.slices()
    }

    /// Makes every file as long as the new layout, and removes those that it does not need.
    fn fit(mut self, files: &[OutputFile]) -> io::Result<Slices> {
        for (name, _) in self.0.iter().skip(files.len()) {
            fs::remove_file(&name.partial)?;
        }
        self.0.truncate(files.len());
        for ((name, file), wanted) in self.0.iter_mut().zip(files) {
            name.size = wanted.size;
            file.set_len(wanted.size)?;
        }
        self.slices()
    }
}

/// The blobs that are complete and in place.
fn intact(slices: &Slices, layout: &Layout, meter: &Meter) -> HashSet<Digest> {
    let is_complete = |entry: &&BlobEntry| written(slices, entry) == entry.extent.size;
    let candidates: Vec<&BlobEntry> = layout.blobs().iter().filter(is_complete).collect();
    let checked = hashing::on_every_core(candidates, |entry| {
        let reader = BlobReader::new(slices.clone(), entry.extent);
        hashing::is_intact(&reader, &entry.blob.digest, meter).then(|| entry.blob.digest.clone())
    });
    checked.into_iter().flatten().collect()
}

/// The incomplete blobs, with the hash of their first bytes.
fn beginnings(
    slices: &Slices,
    layout: &Layout,
    complete: &HashSet<Digest>,
    meter: &Meter,
) -> HashMap<Digest, (u64, Hasher)> {
    let started = |entry: &BlobEntry| {
        let there = written(slices, entry);
        let worth = (WORTH_RESUMING..entry.extent.size).contains(&there);
        (worth && !complete.contains(&entry.blob.digest)).then(|| (entry.clone(), there))
    };
    let candidates: Vec<(BlobEntry, u64)> = layout.blobs().iter().filter_map(started).collect();
    let hashed = hashing::on_every_core(candidates, |(entry, there)| {
        let reader = BlobReader::new(slices.clone(), entry.extent);
        let hasher = hashing::hash(&reader, &entry.blob.digest, there, meter).ok()?;
        Some((entry.blob.digest.clone(), (there, hasher)))
    });
    hashed.into_iter().flatten().collect()
}

/// An upper bound for the written bytes of a blob: bytes that were never written are a hole, or zeros at its end.
/// Compressed layers do not end in zeros, and a wrong result only costs another download, because the digest decides.
fn written(slices: &Slices, entry: &BlobEntry) -> u64 {
    let reader = BlobReader::new(slices.clone(), entry.extent);
    let mut end = slices.data_from(entry.extent);
    let whole = end == entry.extent.size;
    let mut buffer = vec![0; usize::try_from(LOOK_BACK).unwrap_or_default()];
    while end > 0 {
        let from = end.saturating_sub(LOOK_BACK);
        let piece = buffer.get_mut(..usize::try_from(end - from).unwrap_or_default()).unwrap_or_default();
        if reader.read_exact_at(piece, from).is_err() {
            return 0;
        }
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            let there = from + last as u64 + 1;
            // A blob may end in zeros: if the file has data there, the hash decides.
            return if whole && entry.extent.size - there < LOOK_BACK { entry.extent.size } else { there };
        }
        end = from;
    }
    // Only zeros: a blob this small may consist of zeros.
    if whole && entry.extent.size <= LOOK_BACK { entry.extent.size } else { 0 }
}

/// Moves intact blobs of an older layout to their locations in the new layout. Returns the blobs that are then in
/// place.
fn rearrange(
    slices: &Slices,
    old: &Layout,
    new: &Layout,
    journal: &Path,
    meter: &Meter,
) -> io::Result<HashSet<Digest>> {
    let journaled = relocation::read_journal(journal).into_iter();
    let journaled: HashMap<Digest, [u64; 2]> =
        journaled.map(|moved| (moved.digest, [moved.to, moved.from])).collect();
    let candidates = new.blobs().iter().map(|entry| {
        let digest = &entry.blob.digest;
        let offsets = old.blob(digest).map(|old| old.extent.offset);
        (
            entry,
            offsets
                .into_iter()
                .chain(journaled.get(digest).copied().into_iter().flatten())
                .collect::<Vec<u64>>(),
        )
    });
    let found = hashing::on_every_core(candidates.collect(), |(entry, offsets)| {
        let at = |offset: &u64| {
            let extent = Extent { offset: *offset, size: entry.extent.size };
            hashing::is_intact(&BlobReader::new(slices.clone(), extent), &entry.blob.digest, meter)
        };
        let from = offsets.into_iter().find(at)?;
        let digest = entry.blob.digest.clone();
        Some(Relocation { digest, size: entry.extent.size, from, to: entry.extent.offset })
    });
    let relocations = relocation::without_conflicts(found.into_iter().flatten().collect());
    relocation::write_journal(journal, &relocations)?;
    relocation::relocate(slices, &relocations, meter)?;
    let complete: HashSet<Digest> = relocations.into_iter().map(|moved| moved.digest).collect();
    // Remains of old blobs must not be taken for the beginning of blobs that are not written yet.
    for entry in new.blobs().iter().filter(|entry| !complete.contains(&entry.blob.digest)) {
        slices.punch(entry.extent);
    }
    Ok(complete)
}
