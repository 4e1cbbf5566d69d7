//! Layers that may not be passed on.

use thoras_mirror::event::Event;

use super::{Case, REPOSITORY};
use crate::support::images::SampleImage;

#[tokio::test]
async fn foreign_layers_are_left_out_with_a_warning_and_are_no_problem() {
    let (image, layers) = SampleImage::with_foreign_layers("1", &["https://layers.example.com/x"]);
    let case = Case::with(image).await;
    let ended = case.survives().await;
    let warning = |event: &Event| match event {
        Event::Warning { message, .. } => Some(message.clone()),
        _ => None,
    };
    let warnings: Vec<String> = ended.events.iter().filter_map(warning).collect();
    assert!(warnings.len() == 1 && warnings[0].starts_with("2 foreign layers are left out"), "{warnings:?}");
    assert_eq!(layers.len(), 2);
    for digest in layers.keys() {
        for registry in [&case.source, &case.destination] {
            assert_eq!(registry.count("", digest.as_str()), 0, "nobody was asked for {digest}");
        }
    }
    case.destination.with_store(|store| {
        let root = case.image.root();
        let (_, bytes) = &store.repository(REPOSITORY).manifests[&root.digest];
        assert_eq!(bytes, &root.bytes, "the manifest names them as before");
    });
}
