use std::{fs, path::PathBuf};

use super::{
    super::{
        Bundle, BundleError,
        tests::{Sample, sample},
    },
    *,
};

/// A set of volumes of these sizes in a folder, the last as large as it must be.
pub(crate) struct Sliced {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) set: VolumeSet,
}

impl Sliced {
    pub(crate) fn new(sample: &Sample, sizes: &[u64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut offset, mut volumes) = (0, Vec::new());
        let length = sample.bytes.len() as u64;
        for (position, size) in sizes.iter().copied().chain([u64::MAX]).enumerate() {
            let size = size.min(length - offset);
            let bytes = &sample.bytes[usize::try_from(offset).unwrap()..][..usize::try_from(size).unwrap()];
            let name = format!("thoras.tar.{:03}", position + 1);
            fs::write(folder.path().join(&name), bytes).unwrap();
            let beginning = Digest::sha256(&bytes[..bytes.len().min(64 * 1024)]);
            volumes.push(Volume { name, offset, size, sha256: Digest::sha256(bytes), beginning });
            offset += size;
        }
        let id = super::super::tests::open(&sample.bytes).unwrap().head().id().clone();
        let set = VolumeSet::new(id, length, sample.layout.head().unwrap().clone(), volumes);
        let sliced = Self { folder, set };
        fs::write(sliced.index(), sliced.set.to_bytes()).unwrap();
        sliced
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.folder.path().join("thoras.tar.volumes.json")
    }

    pub(crate) fn volume(&self, position: usize) -> PathBuf {
        self.folder.path().join(&self.set.volumes[position].name)
    }

    fn volumes(&self) -> Vec<PathBuf> {
        (0..self.set.volumes.len()).map(|position| self.volume(position)).collect()
    }
}

const SIZES: [u64; 3] = [100_000, 1, 300_000];

fn refused(paths: &[PathBuf]) -> VolumeError {
    match Bundle::open_all(paths).unwrap_err() {
        BundleError::Volumes(error) => error,
        other => panic!("{other}"),
    }
}

fn missing_from(bundle: &Bundle, sample: &Sample) -> Vec<String> {
    bundle.blob(&sample.layer).unwrap().unwrap().absent()
}

#[test]
fn what_is_written_reads_back() {
    let sliced = Sliced::new(&sample(), &SIZES);
    assert_eq!(VolumeSet::from_slice(&sliced.set.to_bytes()).unwrap(), sliced.set);
    let mut other = sliced.set.clone();
    other.schema = "thoras-mirror/volumes/v2".to_owned();
    assert!(VolumeSet::from_slice(&other.to_bytes()).unwrap_err().contains("v2"));
}

#[test]
fn an_index_that_leads_elsewhere_or_has_gaps_is_refused() {
    let set = Sliced::new(&sample(), &SIZES).set;
    let refused = |change: &dyn Fn(&mut VolumeSet)| {
        let mut set = set.clone();
        change(&mut set);
        VolumeSet::from_slice(&set.to_bytes()).unwrap_err()
    };
    assert!(refused(&|set| set.volumes[0].name = "../x".to_owned()).contains("not a file name"));
    assert!(refused(&|set| set.volumes[1].offset += 1).contains("does not begin"));
    assert!(refused(&|set| drop(set.volumes.remove(1))).contains("does not begin"));
    assert!(refused(&|set| set.length += 1).contains("bytes in total"));
    assert!(refused(&|set| set.volumes.clear()).contains("0 volumes"));
}

#[test]
fn volumes_are_found_from_the_index_alone_or_from_any_of_them() {
    let sample = sample();
    let sliced = Sliced::new(&sample, &SIZES);
    let mut backwards = sliced.volumes();
    backwards.reverse();
    for paths in
        [vec![sliced.index()], vec![sliced.volume(2)], backwards, vec![sliced.volume(1), sliced.index()]]
    {
        let bundle = Bundle::open_all(&paths).unwrap();
        assert_eq!(bundle.head().id(), &sliced.set.bundle);
        assert!(missing_from(&bundle, &sample).is_empty(), "{paths:?}");
    }
}

#[test]
fn volumes_under_other_names_in_other_folders_are_recognized() {
    let sample = sample();
    let sliced = Sliced::new(&sample, &SIZES);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut paths = vec![sliced.index()];
    for (position, name) in ["c", "b", "a", "d"].into_iter().enumerate() {
        let path = elsewhere.path().join(name);
        fs::rename(sliced.volume(position), &path).unwrap();
        paths.push(path);
    }
    let bundle = Bundle::open_all(&paths).unwrap();
    assert!(missing_from(&bundle, &sample).is_empty());
}

#[test]
fn volumes_with_the_same_beginning_are_distinguished_by_all_their_bytes() {
    let mut sample = sample();
    let begins = sample.layout.blob(&sample.layer).unwrap().extent.offset;
    // The layer repeats a single byte; now two of its volumes differ in one byte at their end.
    sample.bytes[usize::try_from(begins).unwrap() + 199_999] = 9;
    let sliced = Sliced::new(&sample, &[begins, 100_000, 100_000]);
    assert_eq!(sliced.set.volumes[1].beginning, sliced.set.volumes[2].beginning);
    let [x, y] = ["x", "y"].map(|name| sliced.folder.path().join(name));
    fs::rename(sliced.volume(1), &x).unwrap();
    fs::rename(sliced.volume(2), &y).unwrap();
    let bundle = Bundle::open_all(&[y, x, sliced.index()]).unwrap();
    let mut byte = [0];
    bundle.blob(&sample.layer).unwrap().unwrap().read_exact_at(&mut byte, 199_999).unwrap();
    assert_eq!(byte, [9]);
}

#[test]
fn the_first_volume_can_be_lost() {
    let sample = sample();
    let sliced = Sliced::new(&sample, &[1000]);
    fs::remove_file(sliced.volume(0)).unwrap();
    let bundle = Bundle::open_all(&[sliced.volume(1)]).unwrap();
    assert_eq!(bundle.head().id(), &sliced.set.bundle);
    assert!(missing_from(&bundle, &sample).is_empty());
}

#[test]
fn a_missing_volume_and_one_that_is_cut_off_are_named() {
    let sample = sample();
    let sliced = Sliced::new(&sample, &SIZES);
    fs::remove_file(sliced.volume(2)).unwrap();
    fs::File::options().write(true).open(sliced.volume(3)).unwrap().set_len(5).unwrap();
    let bundle = Bundle::open_all(&[sliced.index()]).unwrap();
    let missing = missing_from(&bundle, &sample);
    assert_eq!(missing[0], "thoras.tar.003");
    assert!(missing[1].starts_with("thoras.tar.004 (it has 5 bytes instead of "), "{missing:?}");
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let sample = sample();
    let sliced = Sliced::new(&sample, &SIZES);
    let stranger = sliced.folder.path().join("holiday.jpg");
    fs::write(&stranger, "x").unwrap();
    assert!(
        matches!(refused(&[sliced.index(), stranger.clone()]), VolumeError::Stranger { path, size: 1, .. } if path == stranger)
    );
    let folder = sliced.folder.path().to_owned();
    assert!(matches!(refused(&[sliced.index(), folder]), VolumeError::Folder(_)));

    let mut other = Sliced::new(&sample, &[5000]).set;
    other.bundle = Digest::sha256(b"other");
    let second = sliced.folder.path().join("other.volumes.json");
    fs::write(&second, other.to_bytes()).unwrap();
    let both = refused(&[sliced.index(), second.clone()]);
    assert!(
        matches!(&both, VolumeError::Mixed { first, second: other } if *first == sliced.index() && *other == second),
        "{both}"
    );
    assert!(matches!(refused(&[second]), VolumeError::Head { .. }));
}

/// The same export, written again under another name into the same folder.
#[test]
fn an_equal_set_under_other_names_is_not_mixed_up() {
    let sample = sample();
    let sliced = Sliced::new(&sample, &SIZES);
    let mut copy = sliced.set.clone();
    for volume in &mut copy.volumes {
        let name = volume.name.replace("thoras", "a-copy");
        fs::copy(sliced.folder.path().join(&volume.name), sliced.folder.path().join(&name)).unwrap();
        volume.name = name;
    }
    fs::write(sliced.folder.path().join("a-copy.tar.volumes.json"), copy.to_bytes()).unwrap();
    let mut volumes = sliced.volumes();
    assert!(Bundle::open_all(&volumes).is_ok());

    fs::File::options().write(true).open(volumes.pop().unwrap()).unwrap().set_len(5).unwrap();
    let missing = missing_from(&Bundle::open_all(&sliced.volumes()).unwrap(), &sample);
    assert!(missing[0].starts_with("thoras.tar.004 (it has 5 bytes instead of "), "{missing:?}");
}

#[test]
fn numbered_files_need_no_index_when_all_are_there() {
    let sample = sample();
    let sliced = Sliced::new(&sample, &SIZES);
    fs::remove_file(sliced.index()).unwrap();
    let mut volumes = sliced.volumes();
    volumes.reverse();
    assert!(missing_from(&Bundle::open_all(&volumes).unwrap(), &sample).is_empty());
    assert!(matches!(refused(&volumes[..3]), VolumeError::NoIndex { count: 3 }));
    fs::write(sliced.volume(0), vec![b'x'; 100_000]).unwrap();
    assert!(matches!(refused(&volumes), VolumeError::NotABeginning(_)));
}
