//! Manifests and indexes, from any registry.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use thoras_mirror::oci::{
    RawManifest,
    media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
};

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    let types = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].map(Some);
    for content_type in types.into_iter().chain([None]) {
        let Ok(manifest) = RawManifest::read(content_type, bytes.clone(), None) else { continue };
        assert_eq!(manifest.bytes(), input);
        assert!(manifest.digest().matches(input));
        let _ = manifest.contents();
    }
});
