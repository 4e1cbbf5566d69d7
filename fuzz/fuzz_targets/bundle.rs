//! Archives from anywhere, opened and read whole.

#![no_main]

use std::{fs::File, io::Write as _, path::Path, sync::Arc};

use libfuzzer_sys::fuzz_target;
use thoras_mirror::{
    endpoint::bundle::{
        Bundle, Slices,
        check::{self, Required},
    },
    event::Silent,
};

fuzz_target!(|archive: &[u8]| {
    let Ok(mut file) = tempfile::tempfile() else { return };
    let written: std::io::Result<File> = file.write_all(archive).map(|()| file);
    let Ok(file) = written else { return };
    let slices = Slices::new(vec![("fuzz.tar".to_owned(), Some(file), archive.len() as u64)]);
    match Bundle::from_slices(slices, Path::new("fuzz.tar")) {
        Err(error) => {
            let shown = error.failure().to_string();
            assert!(
                !shown.contains(|character: char| character.is_control() && character != '\n'),
                "{shown:?}"
            );
        }
        Ok(bundle) => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let checked =
                runtime.block_on(check::check(&Arc::new(bundle), &Required::default(), Arc::new(Silent)));
            for fault in &checked.faults {
                let shown = fault.failure().to_string();
                assert!(
                    !shown.contains(|character: char| character.is_control() && character != '\n'),
                    "{shown:?}"
                );
            }
        }
    }
});
