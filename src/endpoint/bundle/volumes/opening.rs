//! From files to a single range of bytes: recognizes volumes and their set, and finds volumes that were not passed.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    super::{
        error::BundleError,
        header::{BLOCK, other_than_an_archive},
        open::metadata,
        slices::{Part, Slices},
    },
    BEGINNING, SCHEMA, SUFFIX, Volume, VolumeError, VolumeSet, read_index,
};
use crate::oci::{Algorithm, Digest, Hasher};

/// The number of bytes read at a time to hash a whole volume.
const PIECE: usize = 1024 * 1024;

/// The result of looking at the files.
pub(crate) enum OpenedFiles {
    /// A file or folder that is not a volume.
    Single(PathBuf),
    /// Volumes, with the index that describes them and the path that names them in messages.
    Set(Box<VolumeSet>, Slices, PathBuf),
    /// Numbered files without an index, with the path of the first.
    Numbered(Slices, PathBuf),
}

/// Recognizes the files: opens them, reads an index and the first bytes of every volume.
pub(crate) fn open(paths: &[PathBuf]) -> Result<OpenedFiles, BundleError> {
    for path in paths {
        metadata(path)?;
    }
    if let [folder] = paths
        && folder.is_dir()
    {
        return Ok(OpenedFiles::Single(folder.clone()));
    }
    if let Some(folder) = paths.iter().find(|path| path.is_dir()) {
        return Err(VolumeError::Folder(folder.clone()).into());
    }
    let (indexes, files): (Vec<PathBuf>, Vec<PathBuf>) =
        paths.iter().cloned().partition(|path| is_index(path));
    let mut candidates = files.iter().map(|path| Candidate::open(path)).collect::<Result<Vec<_>, _>>()?;
    let found = if indexes.is_empty() {
        indexes_in_same_folders(&mut candidates)?
    } else {
        let read = |path: &PathBuf| Ok((path.clone(), read_index(path)?));
        indexes.iter().map(read).collect::<Result<Vec<_>, VolumeError>>()?
    };
    let mut sets = found.into_iter();
    if let Some((path, set)) = sets.next() {
        if let Some((other, _)) = sets.find(|(_, other)| !other.is_cut_like(&set)) {
            return Err(VolumeError::Mixed { first: path, second: other }.into());
        }
        let slices = assemble(&set, &path, candidates)?;
        return Ok(OpenedFiles::Set(Box::new(set), slices, path));
    }
    match files.as_slice() {
        [path] if is_volume(path) => Err(VolumeError::Alone(path.clone()).into()),
        [path] => Ok(OpenedFiles::Single(path.clone())),
        _ => numbered(candidates, files.len()),
    }
}

/// Whether a file is the index of volumes, by its name or by its first bytes.
fn is_index(path: &Path) -> bool {
    // macOS adds such files when it copies to other disks.
    if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("._")) {
        return false;
    }
    if path.to_string_lossy().ends_with(SUFFIX) {
        return true;
    }
    let beginning = File::open(path).and_then(|file| {
        let mut text = Vec::new();
        file.take(256).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    });
    beginning.is_ok_and(|text| text.starts_with('{') && text.contains(SCHEMA))
}

/// A file that may be a volume.
struct Candidate {
    path: PathBuf,
    file: File,
    size: u64,
    beginning: Digest,
}

impl Candidate {
    fn open(path: &Path) -> Result<Self, BundleError> {
        let open = || -> io::Result<Self> {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            let mut beginning = Vec::new();
            Read::by_ref(&mut file).take(BEGINNING).read_to_end(&mut beginning)?;
            Ok(Self { path: path.to_owned(), file, size, beginning: Digest::sha256(&beginning) })
        };
        open().map_err(|error| BundleError::unreadable(path, error))
    }

    fn name(&self) -> Option<&str> {
        self.path.file_name().and_then(|name| name.to_str())
    }

    /// Whether it has the size and the first bytes of this volume.
    fn resembles(&self, volume: &Volume) -> bool {
        self.size == volume.size && self.beginning == volume.beginning
    }

    /// Which volume it is. Volumes with the same first bytes are distinguished by name, or else by all their bytes.
    fn position(&mut self, set: &VolumeSet) -> Result<Option<usize>, BundleError> {
        let alike: Vec<(usize, &Volume)> =
            set.volumes.iter().enumerate().filter(|(_, volume)| self.resembles(volume)).collect();
        match alike.as_slice() {
            [] => return Ok(None),
            [(only, _)] => return Ok(Some(*only)),
            _ => {}
        }
        if let Some((named, _)) = alike.iter().find(|(_, volume)| self.name() == Some(&volume.name)) {
            return Ok(Some(*named));
        }
        let digest = hash(&mut self.file).map_err(|error| BundleError::unreadable(&self.path, error))?;
        Ok(alike.iter().find(|(_, volume)| volume.sha256 == digest).map(|(position, _)| *position))
    }
}

fn hash(file: &mut File) -> io::Result<Digest> {
    use std::os::unix::fs::FileExt;
    let (mut hasher, mut buffer, mut offset) = (Hasher::new(Algorithm::Sha256), vec![0; PIECE], 0);
    loop {
        let length = file.read_at(&mut buffer, offset)?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(hasher.finish()),
            Some(piece) => hasher.update(piece),
        }
        offset += length as u64;
    }
}

/// The indexes in the same folders that describe any of the files.
fn indexes_in_same_folders(candidates: &mut [Candidate]) -> Result<Vec<(PathBuf, VolumeSet)>, BundleError> {
    let folder = |path: &Path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let folders: BTreeSet<PathBuf> = candidates.iter().map(|candidate| folder(&candidate.path)).collect();
    let mut found = Vec::new();
    for folder in folders {
        let entries = folder.read_dir().map_err(|error| BundleError::unreadable(&folder, error))?;
        let mut indexes: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(SUFFIX))
            .collect();
        indexes.sort();
        for path in indexes {
            // An unreadable index that was not passed may be unrelated to these files.
            let Ok(set) = read_index(&path) else { continue };
            let describes = |candidate: &Candidate| {
                set.volumes
                    .iter()
                    .any(|volume| candidate.resembles(volume) || candidate.name() == Some(&volume.name))
            };
            if candidates.iter().any(describes) {
                found.push((path, set));
            }
        }
    }
    // An equal set under other names may be there too. Errors name the volumes as they were passed.
    let is_named = |set: &VolumeSet| {
        let names =
            |volume: &Volume| candidates.iter().any(|candidate| candidate.name() == Some(&volume.name));
        set.volumes.iter().any(names)
    };
    found.sort_by_key(|(_, set)| !is_named(set));
    Ok(found)
}

/// Puts the files in the order of the set. Volumes that were not passed are searched for in the folder of the index.
fn assemble(set: &VolumeSet, index: &Path, candidates: Vec<Candidate>) -> Result<Slices, BundleError> {
    let mut parts: Vec<Part> =
        set.volumes.iter().map(|volume| (volume.name.clone(), None, volume.size)).collect();
    for mut candidate in candidates {
        let called = |volume: &Volume| candidate.name() == Some(&volume.name);
        let called = set.volumes.iter().position(called);
        let Some(position) = candidate.position(set)?.or(called) else {
            let Candidate { path, size, .. } = candidate;
            return Err(VolumeError::Stranger { path, size, bundle: set.bundle.clone() }.into());
        };
        if let Some(part) = parts.get_mut(position) {
            if candidate.name() != Some(&part.0) {
                part.0 = format!("{} ({})", part.0, candidate.path.display());
            }
            fill(part, candidate.file, candidate.size);
        }
    }
    for part in parts.iter_mut().filter(|(_, file, _)| file.is_none()) {
        let path = index.with_file_name(&part.0);
        match File::open(&path).and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, file)) if metadata.is_file() => fill(part, file, metadata.len()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BundleError::unreadable(path, error)),
        }
    }
    Ok(Slices::new(parts).with_head(set.head.clone()))
}

/// A volume of the right size is used: if it is damaged, the digests of its blobs show that. A volume of another size
/// counts as missing, because its bytes may be shifted.
fn fill(part: &mut Part, found: File, found_size: u64) {
    let (label, file, size) = part;
    if found_size != *size {
        *label = format!("{label} (it has {found_size} bytes instead of {size})");
    } else if file.is_none() {
        *file = Some(found);
    }
}

/// The number in a volume's name.
fn number_of(path: &Path) -> Option<usize> {
    let digits = path.extension()?.to_str()?;
    let is_number = digits.len() >= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Whether a file without an index is named like a volume and cannot be the whole bundle.
fn is_volume(path: &Path) -> bool {
    let is_no_beginning = || {
        let mut beginning = Vec::new();
        let read = File::open(path).and_then(|file| file.take(BLOCK).read_to_end(&mut beginning));
        read.is_ok() && other_than_an_archive(&beginning).is_some()
    };
    match number_of(path) {
        Some(1) => path.with_extension("002").is_file(),
        Some(_) => is_no_beginning(),
        None => false,
    }
}

/// Files called `NAME.001`, `NAME.002` and so on, all of them, in any order.
fn numbered(mut candidates: Vec<Candidate>, count: usize) -> Result<OpenedFiles, BundleError> {
    let number = |candidate: &Candidate| -> Option<(PathBuf, usize)> {
        Some((candidate.path.with_extension(""), number_of(&candidate.path)?))
    };
    candidates.sort_by_cached_key(number);
    let numbers: Option<Vec<(PathBuf, usize)>> = candidates.iter().map(number).collect();
    let is_contiguous = |numbers: &[(PathBuf, usize)]| {
        let stem = numbers.first().map(|(path, _)| path.file_name());
        let mut pairs = numbers.iter().zip(1..);
        pairs.all(|((path, number), wanted)| *number == wanted && Some(path.file_name()) == stem)
    };
    if !numbers.is_some_and(|numbers| is_contiguous(&numbers)) {
        return Err(VolumeError::NoIndex { count }.into());
    }
    let first = candidates.first().map(|first| first.path.clone()).unwrap_or_default();
    let part =
        |candidate: Candidate| (candidate.path.display().to_string(), Some(candidate.file), candidate.size);
    Ok(OpenedFiles::Numbered(Slices::new(candidates.into_iter().map(part).collect()), first))
}
