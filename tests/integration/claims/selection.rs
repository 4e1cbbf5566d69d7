//! `bundle import --include/--exclude`.

use serde_json::{Value, json};

use super::{assert_says, run, vendor};
use crate::support::{documents, images::SampleImage, registry::Registry};

#[tokio::test]
async fn an_import_takes_filters_and_records_what_they_left_out() {
    let [web, api, worker] = ["web", "api", "worker"].map(SampleImage::multi_platform);
    let (_source, references) = vendor(&[&web, &api, &worker]).await;
    let folder = tempfile::tempdir().unwrap();
    let run_here = |command: &str| run(command, &[]).in_folder(folder.path());
    let all = run("bundle export -o b.tar", &references).in_folder(folder.path());
    let _ = all.run().await.expect_success();
    let bytes = std::fs::read(folder.path().join("b.tar")).unwrap();
    for (file, filters, left) in [
        ("b.tar", "--include *web* --include *api*", [2].as_slice()),
        ("b.tar", "--exclude *vendor/w*", &[0, 2]),
        ("-", "--include *w* --exclude *worker*", &[1, 2]),
    ] {
        let mirror = Registry::start().await;
        let command = format!("bundle import {file} --to {}/m -o json {filters}", mirror.address().host_port);
        let outcome = run_here(&command).stdin(bytes.clone()).run().await.expect_success();
        let mut excluded: Vec<&String> = left.iter().map(|at| &references[*at]).collect();
        excluded.sort();
        let document = documents::run(&outcome);
        assert_eq!(document["excluded"], json!(excluded), "{filters}");
        assert_eq!(document["totals"]["images"], 3 - left.len());
        // Names do not depend on the filters.
        let tags = mirror.storage().tags();
        assert_eq!(tags.len(), 3 - left.len(), "{tags:?}");
        assert!(tags.keys().all(|tag| tag.split('/').count() == 2), "{tags:?}");
        let path = folder.path().join("thoras-mirror.lock");
        let lock: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(lock["excluded"], json!(excluded));
        let _ = run_here("verify").run().await.expect_success();
        std::fs::remove_file(path).unwrap();
    }
    let outcome =
        run_here("bundle import b.tar --to 127.0.0.1:1/m --exclude *api* --include *api*").run().await;
    assert_says(&outcome.expect_code(2), "--include/--exclude leave out all 3 images");
    let exported =
        run_here("bundle import b.tar --to 127.0.0.1:1/m").env("THORAS_MIRROR_INCLUDE", "*nothing*");
    assert_says(&exported.run().await.expect_code(2), "`--include *nothing*` matches no image");
}
