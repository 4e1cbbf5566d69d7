//! Indexes of volumes, which travel beside them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thoras_mirror::{endpoint::bundle::VolumeError, internals::bundle::VolumeSet};
use thoras_mirror_fuzz::assert_printable;

fuzz_target!(|text: &[u8]| {
    match VolumeSet::from_slice(text) {
        Err(reason) => {
            let path = "thoras.tar.volumes.json".into();
            assert_printable(&VolumeError::Index { path, reason }.to_string());
        }
        Ok(set) => {
            assert_eq!(VolumeSet::from_slice(&set.to_bytes()), Ok(set.clone()));
            let total: u64 = set.volumes.iter().map(|volume| volume.size).sum();
            assert_eq!(total, set.length);
            assert!(set.volumes.iter().all(|volume| !volume.name.contains('/')), "a name that is a path");
        }
    }
});
