//! Archives from anywhere, opened and read whole.

#![no_main]

use std::{io::Write as _, path::Path, sync::Arc};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use thoras_mirror::{
    event::Silent,
    internals::{
        bundle::{Slices, open_slices},
        jobs::{Required, check},
    },
    problem::FoundBy,
};
use thoras_mirror_fuzz::{assert_printable, mutate};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

fuzz_target!(|archive: &[u8]| {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(archive).expect("room for it");
    let slices = Slices::new(vec![("fuzz.tar".to_owned(), Some(file), archive.len() as u64)]);
    match open_slices(slices, Path::new("fuzz.tar")) {
        Err(error) => assert_printable(&error.failure().to_string()),
        Ok(bundle) => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let checked = runtime.block_on(check(&Arc::new(bundle), &Required::default(), Arc::new(Silent)));
            for problem in &checked.problems {
                assert_printable(&problem.failure(FoundBy::BundleVerify).to_string());
            }
        }
    }
});
