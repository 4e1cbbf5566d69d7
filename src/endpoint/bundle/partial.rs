//! A bundle that is being written. Its head, synced before any blob, is the journal: it says where every blob belongs,
//! and whatever has its digest there need not be fetched again.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::Path,
};

use super::{
    draft::Draft,
    error::BundleError,
    hashing,
    head::Head,
    header,
    layout::{BlobEntry, Extent, Layout},
    moves::{self, Move},
    output::{self, Output, OutputFile},
    reader,
    slices::Slices,
    storage::BlobReader,
};
use crate::oci::{Digest, Hasher};

/// A blob of which less than this is there is fetched from its beginning, in bytes.
const WORTH_RESUMING: u64 = 1024 * 1024;
/// How far back an unwritten end is looked for at a time, in bytes.
const LOOK_BACK: u64 = 64 * 1024;

/// What is there when the writing begins.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) slices: Slices,
    pub(super) files: Vec<OutputFile>,
    /// Blobs that are whole.
    pub(super) landed: HashSet<Digest>,
    /// Blobs whose beginning is there: how many bytes, and their hash.
    pub(super) begun: HashMap<Digest, (u64, Hasher)>,
    /// What an earlier run was writing.
    pub(super) earlier: Option<Head>,
}

impl Partial {
    /// Opens what an earlier run left, or begins anew. Whatever is not intact is as good as not there. Blocks.
    pub(super) fn open(output: &Output, draft: &Draft) -> Result<Self, BundleError> {
        let layout = &draft.layout;
        let unwritable = |error| BundleError::unwritable(&output.path, error);
        let files = output.files(layout.length());
        let left = usable(output)?;
        check_room(output, &left, layout.length())?;
        let handles = Handles::open(&files, &left)?;
        let before = handles.slices(|number| left.get(number).map(|file| file.size)).map_err(unwritable)?;
        let earlier = reader::our_head(&before, &output.path)?;
        let working = handles.grow().map_err(unwritable)?;
        let (landed, begun) = match &earlier {
            Some((_, old)) if old.head() == layout.head() => {
                let landed = intact(&working, layout);
                let begun = beginnings(&working, layout, &landed);
                (landed, begun)
            }
            Some((_, old)) => {
                let landed = rearrange(&working, old, layout, &output.journal()).map_err(unwritable)?;
                (landed, HashMap::new())
            }
            None => Default::default(),
        };
        write_skeleton(&working, layout).map_err(unwritable)?;
        let slices = handles.fit(&files).map_err(unwritable)?;
        slices.files().try_for_each(File::sync_all).map_err(unwritable)?;
        forget(&output.journal()).map_err(unwritable)?;
        output::sync_folder(output.folder()).map_err(unwritable)?;
        Ok(Self { slices, files, landed, begun, earlier: earlier.map(|(head, _)| head) })
    }
}

/// The files of an earlier run. Volumes of another size cannot be used, and are removed.
fn usable(output: &Output) -> Result<Vec<OutputFile>, BundleError> {
    let left = output.unfinished();
    let fits = |(number, file): (usize, &OutputFile)| {
        number + 1 == left.len() || output.volume.is_none_or(|volume| file.size == volume)
    };
    let last_fits = left.last().is_none_or(|file| output.volume.is_none_or(|volume| file.size <= volume));
    if last_fits && left.iter().enumerate().all(fits) {
        return Ok(left);
    }
    for file in &left {
        fs::remove_file(&file.partial).map_err(|error| BundleError::unwritable(&file.partial, error))?;
    }
    Ok(Vec::new())
}

/// Whether the disk has room for what is not there yet.
fn check_room(output: &Output, left: &[OutputFile], length: u64) -> Result<(), BundleError> {
    use std::os::unix::fs::MetadataExt as _;
    let allocated = |file: &OutputFile| fs::metadata(&file.partial).map_or(0, |found| found.blocks() * 512);
    let needed = length.saturating_sub(left.iter().map(allocated).sum());
    let folder = output.folder();
    let space = rustix::fs::statvfs(folder)
        .map_err(|error| BundleError::unwritable(folder, io::Error::from(error)))?;
    let available = space.f_bavail.saturating_mul(space.f_frsize);
    if needed > available {
        return Err(BundleError::NoRoom { folder: folder.to_owned(), needed, available });
    }
    Ok(())
}

/// The opened files: those of the new layout, and those that an older, longer one needed.
struct Handles(Vec<(OutputFile, File)>);

impl Handles {
    fn open(files: &[OutputFile], left: &[OutputFile]) -> Result<Self, BundleError> {
        let longest = if files.len() >= left.len() { files } else { left };
        let open = |(number, file): (usize, &OutputFile)| {
            let size = |files: &[OutputFile]| files.get(number).map_or(0, |file| file.size);
            let size = size(files).max(size(left));
            Ok((OutputFile { size, ..file.clone() }, output::open_alone(&file.partial)?))
        };
        longest.iter().enumerate().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The files, as long as `size` says; those that it does not name are left out.
    fn slices(&self, size: impl Fn(usize) -> Option<u64>) -> io::Result<Slices> {
        let sized = self.0.iter().enumerate().filter_map(|(number, file)| Some((file, size(number)?)));
        let parts = sized.map(|((name, file), size)| {
            Ok((name.partial.display().to_string(), Some(file.try_clone()?), size))
        });
        Ok(Slices::new(parts.collect::<io::Result<_>>()?))
    }

    /// Makes every file as long as the longer of its two layouts.
    fn grow(&self) -> io::Result<Slices> {
        self.0.iter().try_for_each(|(name, file)| file.set_len(name.size))?;
        self.slices(|number| self.0.get(number).map(|(name, _)| name.size))
    }

    /// Makes every file as long as the new layout, and removes those that it does not need.
    fn fit(self, files: &[OutputFile]) -> io::Result<Slices> {
        for (number, (name, file)) in self.0.iter().enumerate() {
            match files.get(number) {
                Some(wanted) => file.set_len(wanted.size)?,
                None => fs::remove_file(&name.partial)?,
            }
        }
        self.slices(|number| files.get(number).map(|file| file.size))
    }
}

/// The blobs that are whole where they belong.
fn intact(slices: &Slices, layout: &Layout) -> HashSet<Digest> {
    let whole = |entry: &&BlobEntry| written(slices, entry) == entry.extent.size;
    let candidates: Vec<&BlobEntry> = layout.blobs().iter().filter(whole).collect();
    let checked = hashing::on_every_core(candidates, |entry| {
        let reader = BlobReader::new(slices.clone(), entry.extent);
        hashing::is_intact(&reader, &entry.blob.digest).then(|| entry.blob.digest.clone())
    });
    checked.into_iter().flatten().collect()
}

/// The blobs whose beginning is there, with its hash.
fn beginnings(slices: &Slices, layout: &Layout, landed: &HashSet<Digest>) -> HashMap<Digest, (u64, Hasher)> {
    let begun = |entry: &BlobEntry| {
        let there = written(slices, entry);
        let worth = (WORTH_RESUMING..entry.extent.size).contains(&there);
        (worth && !landed.contains(&entry.blob.digest)).then(|| (entry.clone(), there))
    };
    let candidates: Vec<(BlobEntry, u64)> = layout.blobs().iter().filter_map(begun).collect();
    let hashed = hashing::on_every_core(candidates, |(entry, there)| {
        let reader = BlobReader::new(slices.clone(), entry.extent);
        let hasher = hashing::hash(&reader, &entry.blob.digest, there).ok()?;
        Some((entry.blob.digest, (there, hasher)))
    });
    hashed.into_iter().flatten().collect()
}

/// How much of a blob has been written, at most: what was never written is a hole, or zeros at its end. Compressed layers
/// do not end in zeros by themselves, and a wrong answer only costs a second download: the digest decides.
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
            // A blob may end in zeros after all: if the file has bytes there, its hash decides.
            return if whole && entry.extent.size - there < LOOK_BACK { entry.extent.size } else { there };
        }
        end = from;
    }
    // Nothing but zeros: what is so small may be so.
    if whole && entry.extent.size <= LOOK_BACK { entry.extent.size } else { 0 }
}

/// Brings intact blobs of an older layout to their places in the new one. Returns those that are there then.
fn rearrange(slices: &Slices, old: &Layout, new: &Layout, journal: &Path) -> io::Result<HashSet<Digest>> {
    let noted: HashMap<Digest, u64> =
        moves::noted(journal).into_iter().map(|one| (one.digest, one.to)).collect();
    let candidates = new.blobs().iter().map(|entry| {
        let digest = &entry.blob.digest;
        let places = old.blob(digest).map(|old| old.extent.offset);
        (entry, places.into_iter().chain(noted.get(digest).copied()).collect::<Vec<u64>>())
    });
    let found = hashing::on_every_core(candidates.collect(), |(entry, places)| {
        let at = |offset: &u64| {
            let extent = Extent { offset: *offset, size: entry.extent.size };
            hashing::is_intact(&BlobReader::new(slices.clone(), extent), &entry.blob.digest)
        };
        let from = places.into_iter().find(at)?;
        let digest = entry.blob.digest.clone();
        Some(Move { digest, size: entry.extent.size, from, to: entry.extent.offset })
    });
    let moves = moves::compatible(found.into_iter().flatten().collect());
    moves::note(journal, &moves)?;
    moves::carry_out(slices, &moves)?;
    let landed: HashSet<Digest> = moves.into_iter().map(|one| one.digest).collect();
    // What is left of other blobs must not be taken for the beginning of those that come.
    for entry in new.blobs().iter().filter(|entry| !landed.contains(&entry.blob.digest)) {
        slices.punch(entry.extent);
    }
    Ok(landed)
}

/// Writes everything but the blobs. What stood there before is of no use any more.
fn write_skeleton(slices: &Slices, layout: &Layout) -> io::Result<()> {
    slices.write_all_at(layout.head(), 0)?;
    let zeros = [0; 2 * size_of::<header::Block>()];
    for entry in layout.blobs() {
        slices.write_all_at(&entry.header, entry.extent.offset - entry.header.len() as u64)?;
        let padding = usize::try_from(header::padding(entry.extent.size)).unwrap_or_default();
        slices.write_all_at(zeros.get(..padding).unwrap_or_default(), entry.extent.end())?;
    }
    slices.write_all_at(&zeros, layout.length() - header::END)
}

fn forget(journal: &Path) -> io::Result<()> {
    match fs::remove_file(journal) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
