//! Bytes that are not those of the descriptor are never committed.

use proptest::{prelude::*, sample::Index};
use thoras_mirror::{
    error::Kind,
    oci::{
        Digest,
        media_type::{OCI_INDEX, OCI_MANIFEST},
    },
    outcome::Status,
    problem::Side,
};

use super::{
    cases,
    failures::{assert_converges, assert_failed, separate_world, try_all, victim, wrong_bytes},
    with_status,
    world::{World, layer},
};
use crate::support::memory_registry::{
    Act,
    faults::{Effect, Fault},
};

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn a_source_with_wrong_bytes_commits_nothing(world in separate_world(), index in any::<Index>(), wrong_bytes in wrong_bytes()) {
        let Some((victim, _)) = victim(&world, index) else { return Ok(()) };
        let is_empty = world.images.iter().any(|image| image.blobs.get(&victim).is_some_and(bytes::Bytes::is_empty));
        prop_assume!(!is_empty);
        world.source.plan(Fault::always(Side::Source, Act::OpenBlob, &victim, Effect::WrongBytes(wrong_bytes)));
        let mirrored = try_all(&world);
        assert_failed(&world, &mirrored, (&victim, Kind::Integrity), |image| image.blobs.contains_key(&victim));
        let commits = world.destination.history().commits;
        prop_assert!(commits.iter().all(|(_, digest, _)| *digest != victim));
        assert_converges(&world);
    }
}

#[test]
fn a_layer_declared_empty_that_has_bytes_is_refused() {
    let world = World::of_layers(&[&[8], &[2]]);
    let image = &world.images[0];
    let text = String::from_utf8(image.manifests[&image.root].to_vec()).unwrap();
    let manifest = bytes::Bytes::from(text.replace("\"size\":1000", "\"size\":0"));
    world.source.edit(image.mapping.source.repository(), |contents| {
        let digest = Digest::sha256(&manifest);
        contents.manifests.insert(digest.clone(), (Some(OCI_MANIFEST.to_owned()), manifest));
        contents.tags.insert("t0".to_owned(), digest);
    });
    let mirrored = try_all(&world);
    assert_eq!(mirrored[0].outcome.failure.as_ref().unwrap().kind, Kind::Integrity);
    assert_eq!(with_status(&mirrored, &[Status::Failed]), [0]);
    let (layer, _) = layer(8);
    assert!(world.destination.history().commits.iter().all(|commit| commit.1 != layer));
}

#[test]
fn a_manifest_longer_than_its_descriptor_says_is_refused() {
    let world = World::of_layers(&[&[1], &[2]]);
    let image = &world.images[0];
    let (child, bytes) = image.manifests.first_key_value().unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{child}","size":{}}}]}}"#,
        bytes.len() - 1
    );
    let index = bytes::Bytes::from(index);
    world.source.edit(image.mapping.source.repository(), |contents| {
        let digest = Digest::sha256(&index);
        contents.manifests.insert(digest.clone(), (Some(OCI_INDEX.to_owned()), index));
        contents.tags.insert("t0".to_owned(), digest);
    });
    let mirrored = try_all(&world);
    let failure = mirrored[0].outcome.failure.as_ref().unwrap();
    assert_eq!(failure.kind, Kind::Integrity, "{failure:?}");
    assert!(mirrored[1].outcome.is_confirmed());
    assert_eq!(with_status(&mirrored, &[Status::Failed]), [0]);
}
