//! Archives from anywhere, read through a pipe. What is read there is what the file shows.

#![no_main]

use std::{io::Write as _, path::Path};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use thoras_mirror::{
    endpoint::bundle::{Bundle, BundleError},
    internals::bundle::{Incoming, Slices, open_slices},
};
use thoras_mirror_fuzz::{assert_printable, mutate};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

fuzz_target!(|archive: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    match runtime.block_on(read(archive)) {
        Err(error) => assert_printable(&error.failure().to_string()),
        Ok((bundle, bytes)) => {
            assert!(bytes <= archive.len() as u64, "{bytes} bytes of blobs");
            let Ok(opened) = open(archive) else { return };
            assert_eq!(bundle.head().id(), opened.head().id());
            assert_eq!(bundle.head().index.images.len(), opened.head().index.images.len());
        }
    }
});

/// Reads to the end; returns what stood before the blobs, and how many bytes of blobs came.
async fn read(archive: &[u8]) -> Result<(Bundle, u64), BundleError> {
    let mut incoming = Incoming::new(archive);
    let (bundle, kept, mut next) = incoming.head().await?;
    let mut total: u64 = kept.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    while let Some((_, size)) = next {
        let mut read = 0;
        while let Some(piece) = incoming.piece().await? {
            assert!(!piece.is_empty());
            read += piece.len() as u64;
        }
        assert_eq!(read, size);
        total += read;
        next = incoming.next_blob().await?;
    }
    Ok((bundle, total))
}

fn open(archive: &[u8]) -> Result<Bundle, BundleError> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(archive).expect("room for it");
    let slices = Slices::new(vec![("fuzz.tar".to_owned(), Some(file), archive.len() as u64)]);
    open_slices(slices, Path::new("fuzz.tar"))
}
