use std::{io::Write as _, sync::Arc};

use proptest::{
    prelude::{Rng as _, *},
    test_runner::{RngAlgorithm, TestRng},
};

use super::*;
use crate::{
    endpoint::bundle::{
        header,
        tests::{Sample, sample},
    },
    event::Silent,
    problem::Problem,
};

async fn checked(bytes: &[u8]) -> Result<Checked, BundleError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let bundle = Arc::new(Bundle::open(file.path())?);
    Ok(check(&bundle, &Required::default(), Arc::new(Silent)).await)
}

/// Every reported problem, or the error of opening the bundle.
async fn complaints(bytes: &[u8]) -> Vec<String> {
    match checked(bytes).await {
        Err(error) => vec![error.to_string()],
        Ok(checked) => {
            let of_image = |image: &ImageOutcome| {
                let problems: Vec<String> = image.problems.iter().map(ToString::to_string).collect();
                problems.into_iter().chain(image.failure.iter().map(ToString::to_string)).collect::<Vec<_>>()
            };
            let images = checked.images.iter().flat_map(of_image);
            images.chain(checked.problems.iter().map(ToString::to_string)).collect()
        }
    }
}

fn is_sound(checked: &Checked) -> bool {
    checked.problems.is_empty() && checked.images.iter().all(|image| image.failure_kind().is_none())
}

#[tokio::test]
async fn a_whole_bundle_is_sound() {
    let checked = checked(&sample().bytes).await.unwrap();
    assert!(is_sound(&checked), "{checked:?}");
    assert_eq!(checked.images[0].platforms.len(), 2);
}

/// The first byte of every region of a bundle, and bytes within.
fn structural_offsets(sample: &Sample) -> Vec<usize> {
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let mut offsets: Vec<usize> = (0..sample.layout.head().unwrap().len()).step_by(64).collect();
    for entry in sample.layout.blobs() {
        let header = at(entry.extent.offset) - entry.header().len();
        // Name, mode, size, checksum and the byte behind it, type, the end of the block.
        offsets.extend([0, 100, 124, 148, 154, 155, 156, 257, 511].map(|field| header + field));
        offsets.extend([at(entry.extent.offset), at(entry.extent.end()) - 1]);
        if header::padding(entry.extent.size) > 0 {
            let padding = at(header::padding(entry.extent.size));
            offsets.extend([at(entry.extent.end()), at(entry.extent.end()) + padding - 1]);
        }
    }
    offsets.extend([sample.bytes.len() - 1024, sample.bytes.len() - 1]);
    offsets
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_wherever_it_is() {
    let sample = sample();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut offsets = structural_offsets(&sample);
    // Most of the bundle is one layer: half of the offsets are in the head.
    offsets.extend((0..100).map(|_| random.next_u32() as usize % sample.layout.head().unwrap().len()));
    offsets.extend((0..100).map(|_| random.next_u32() as usize % sample.bytes.len()));
    for offset in offsets {
        let bit = 1_u8 << (random.next_u32() % 8);
        let mut bytes = sample.bytes.clone();
        bytes[offset] ^= bit;
        let complaints = complaints(&bytes).await;
        assert!(!complaints.is_empty(), "bit {bit:#x} at {offset} was not noticed");
    }
}

#[tokio::test]
async fn a_damaged_blob_is_named_by_the_image_that_it_affects() {
    let sample = sample();
    let mut bytes = sample.bytes.clone();
    let entry = sample.layout.blob(&sample.layer).unwrap();
    bytes[usize::try_from(entry.extent.offset).unwrap() + 1000] ^= 1;
    let checked = checked(&bytes).await.unwrap();
    assert!(checked.problems.is_empty(), "{checked:?}");
    let problems = &checked.images[0].problems;
    assert!(
        matches!(problems.as_slice(), [Problem::CorruptBlob { digest, .. }] if *digest == sample.layer),
        "{problems:?}"
    );
}

#[tokio::test]
async fn regions_that_no_image_needs_are_named() {
    let sample = sample();
    let entry = sample.layout.blob(&sample.layer).unwrap();
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let cases = [
        (at(entry.extent.offset) - 1, "the header of blob sha256:"),
        (at(entry.extent.end()), "the padding of blob sha256:"),
        (sample.bytes.len() - 1, "the end mark is damaged at byte"),
    ];
    for (offset, expected) in cases {
        let mut bytes = sample.bytes.clone();
        bytes[offset] ^= 0x40;
        let complaints = complaints(&bytes).await;
        assert!(
            matches!(complaints.as_slice(), [complaint] if complaint.starts_with(expected)),
            "{complaints:?}"
        );
    }
}

#[tokio::test]
async fn trailing_and_missing_bytes_are_counted() {
    let sample = sample();
    let mut longer = sample.bytes.clone();
    longer.extend([0; 512]);
    assert!(complaints(&longer).await[0].starts_with("512 bytes follow the end"), "{longer:?}");
    let shorter = &sample.bytes[..sample.bytes.len() - 2048];
    let complaints = complaints(shorter).await;
    assert!(complaints.iter().any(|text| text.contains("last 2048 bytes are missing")), "{complaints:?}");
    assert!(complaints.iter().any(|text| text.contains(sample.layer.as_str())), "{complaints:?}");
}

#[tokio::test]
async fn a_folder_is_checked_like_an_archive() {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(sample.bytes.as_slice()).unpack(folder.path()).unwrap();
    let bundle = Arc::new(Bundle::open(folder.path()).unwrap());
    let sound = check(&bundle, &Required::default(), Arc::new(Silent)).await;
    assert!(is_sound(&sound), "{sound:?}");
    std::fs::write(folder.path().join("blobs/sha256").join(sample.layer.hex()), b"other").unwrap();
    let damaged = check(&bundle, &Required::default(), Arc::new(Silent)).await;
    assert!(matches!(damaged.images[0].problems.as_slice(), [Problem::WrongSize { found: 5, .. }]));
}

#[tokio::test]
async fn a_missing_volume_is_named_with_the_images_that_it_affects() {
    let sample = sample();
    let (first, second) = sample.bytes.split_at(sample.layout.head().unwrap().len() + 4096);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(first).unwrap();
    let slices = crate::endpoint::bundle::Slices::new(vec![
        ("t.tar.001".to_owned(), Some(file), first.len() as u64),
        ("t.tar.002".to_owned(), None, second.len() as u64),
    ]);
    let bundle = Arc::new(Bundle::from_slices(slices, std::path::Path::new("t.tar"), None).unwrap());
    let checked = check(&bundle, &Required::default(), Arc::new(Silent)).await;
    assert!(
        matches!(checked.problems.as_slice(), [Problem::MissingVolume { name }] if name == "t.tar.002"),
        "{checked:?}"
    );
    let problems = &checked.images[0].problems;
    assert!(
        matches!(problems.as_slice(), [Problem::UnreadableBlob { volumes, .. }] if *volumes == ["t.tar.002"]),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_required_platform_that_is_missing_is_a_problem_unless_it_is_waived() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&sample().bytes).unwrap();
    let bundle = Arc::new(Bundle::open(file.path()).unwrap());
    let platforms = Some(vec!["linux/s390x".parse().unwrap()]);
    let required = Required { platforms: platforms.clone(), ..Required::default() };
    let missing = check(&bundle, &required, Arc::new(Silent)).await;
    assert!(matches!(missing.images[0].problems.as_slice(), [Problem::MissingPlatform { .. }]));
    let waivers = Waivers::new(vec!["app=linux/s390x".parse().unwrap()]);
    let waived = check(&bundle, &Required { platforms, waivers }, Arc::new(Silent)).await;
    assert!(is_sound(&waived), "{waived:?}");
    assert_eq!(waived.images[0].waived.len(), 1);
}

/// Corrects the checksum of every entry's header, so that changed headers are parsed instead of refused.
fn mend_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            let mut header = tar::Header::from_byte_slice(block).clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}

proptest! {
    #[test]
    fn archives_changed_at_random_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sample().bytes;
        let head = bytes.len() - 700_001;
        for (index, byte) in changes {
            bytes[index.index(head)] = byte;
        }
        mend_checksums(&mut bytes);
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for text in runtime.block_on(complaints(&bytes)) {
            prop_assert!(!text.contains(|character: char| character.is_control() && character != '\n'), "{text:?}");
        }
    }
}
