//! Mentions and added images never rename others, and a lock keeps its names.

use super::*;

/// `team/app`, `other/app` and `team/web`, all with the tag 1.
async fn two_apps() -> Site {
    let site = Site::start().await;
    site.add("other/app", &SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("other") });
    site.add("team/web", &SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("web") });
    site
}

const YIELDED: [&str; 3] = ["mirror/127.0.0.1-PORT/other/app:1", "mirror/app:1", "mirror/web:1"];

#[tokio::test]
async fn a_mention_does_not_change_the_common_prefix_and_gives_way() {
    let site = two_apps().await;
    let (app, web, other) = (site.image("team/app:1"), site.image("team/web:1"), site.image("other/app:1"));
    let rendered = site.manifests(&[&app, &web], &[&other]);
    site.sync(&rendered, &["--naming", "last"]).run().await.expect_success();
    assert_eq!(site.tags(), YIELDED);
    site.run(&["verify"], &[]).run().await.expect_success();
    let (to, rendered) = (site.to(), rendered.to_str().unwrap());
    let verify = ["verify", "--against", "source", "--to", &to, "--naming", "last", "--rendered", rendered];
    site.run(&verify, &[]).run().await.expect_success();
}

#[tokio::test]
async fn an_added_image_gives_way_too() {
    let site = two_apps().await;
    let (app, web, other) = (site.image("team/app:1"), site.image("team/web:1"), site.image("other/app:1"));
    let rendered = site.manifests(&[&app, &web], &[]);
    site.sync(&rendered, &["--naming", "last", "--add", &other]).run().await.expect_success();
    assert_eq!(site.tags(), YIELDED);
}

#[tokio::test]
async fn two_pod_specs_with_one_name_are_still_refused() {
    let site = two_apps().await;
    let rendered = site.manifests(&[&site.image("team/app:1"), &site.image("other/app:1")], &[]);
    let outcome = site.sync(&rendered, &["--naming", "last"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("2 sources would be pushed to"), "{outcome}");
}

#[tokio::test]
async fn a_bundle_gives_the_same_names_where_it_is_imported() {
    for more in ["--add", ""] {
        let site = two_apps().await;
        let (app, web, other) =
            (site.image("team/app:1"), site.image("team/web:1"), site.image("other/app:1"));
        let mentions: &[&str] = if more.is_empty() { &[&other] } else { &[] };
        let rendered = site.manifests(&[&app, &web], mentions);
        let export = ["bundle", "export", "-o", "b.tar", "--naming", "last", "--rendered"];
        let added: &[&str] = if more.is_empty() { &[] } else { &[more, &other] };
        let arguments = [&[rendered.to_str().unwrap()], added].concat();
        site.run(&export, &arguments).run().await.expect_success();
        site.run(&["bundle", "import", "--to", &site.to(), "b.tar"], &[]).run().await.expect_success();
        assert_eq!(site.tags(), YIELDED);
        site.run(&["verify"], &[]).run().await.expect_success();
    }
}

/// The images `team/app` and `team/web` were mirrored; then `other/app` joins them, which has no path in common.
#[tokio::test]
async fn an_image_from_elsewhere_does_not_rename_what_the_lock_lists() {
    let site = two_apps().await;
    let (app, web, other) = (site.image("team/app:1"), site.image("team/web:1"), site.image("other/app:1"));
    site.sync(&site.manifests(&[&app, &web], &[]), &[]).run().await.expect_success();
    assert_eq!(site.tags(), ["mirror/app:1", "mirror/web:1"]);
    let all = site.manifests(&[&app, &web, &other], &[]);
    let expected = ["mirror/app:1", "mirror/other/app:1", "mirror/web:1"];
    site.sync(&all, &["--dry-run"]).run().await.expect_success();
    site.sync(&all, &[]).run().await.expect_success();
    assert_eq!(site.tags(), expected);
    let (to, all) = (site.to(), all.to_str().unwrap());
    site.run(&["verify", "--against", "source", "--to", &to, "--rendered", all], &[])
        .run()
        .await
        .expect_success();
    let doctor = site.run(&["doctor", "--to", &to, "-o", "json", "--rendered", all], &[]).run().await;
    let doctor: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let name = |source: &str| {
        let names = doctor["names"].as_array().unwrap();
        names.iter().find(|name| name["source"] == source).unwrap()["destination"].clone()
    };
    assert_eq!(
        (name(&app), name(&other)),
        (format!("{to}/app:1").into(), format!("{to}/other/app:1").into())
    );

    // Without the lock, nothing keeps the names.
    std::fs::remove_file(site.folder.path().join("thoras-mirror.lock")).unwrap();
    site.destination.with_store(|store| store.repositories.clear());
    site.run(&["sync", "--to", &to, "--rendered", all], &[]).run().await.expect_success();
    assert_eq!(site.tags(), ["mirror/other/app:1", "mirror/team/app:1", "mirror/team/web:1"]);
}

#[tokio::test]
async fn flags_win_over_the_names_in_the_lock() {
    let site = two_apps().await;
    let rendered = site.manifests(&[&site.image("team/app:1")], &[]);
    site.sync(&rendered, &[]).run().await.expect_success();
    site.sync(&rendered, &["--naming", "full"]).run().await.expect_success();
    assert_eq!(site.tags(), ["mirror/127.0.0.1-PORT/team/app:1", "mirror/app:1"]);
}

#[tokio::test]
async fn a_locked_run_keeps_the_names_and_a_new_destination_gets_them() {
    let site = two_apps().await;
    let (app, web, other) = (site.image("team/app:1"), site.image("team/web:1"), site.image("other/app:1"));
    let rendered = site.manifests(&[&app, &web], &[&other]);
    site.sync(&rendered, &["--naming", "last"]).run().await.expect_success();
    site.destination.with_store(|store| store.repositories.clear());
    site.run(&["sync", "--locked", "--to", &site.to()], &[]).run().await.expect_success();
    assert_eq!(site.tags(), YIELDED);
    let prod = format!("{}/prod/deep", site.destination.address().host_port);
    site.destination.with_store(|store| store.repositories.clear());
    site.run(&["sync", "--locked", "--to", &prod], &[]).run().await.expect_success();
    assert_eq!(site.tags(), YIELDED.map(|name| name.replace("mirror/", "prod/deep/")));
}

#[tokio::test]
async fn an_import_keeps_the_names_of_the_lock_beside_it() {
    let site = two_apps().await;
    let (app, web, other) = (site.image("team/app:1"), site.image("team/web:1"), site.image("other/app:1"));
    for (images, file) in [(&[&app[..], &web][..], "1.tar"), (&[&app[..], &web, &other], "2.tar")] {
        let rendered = site.manifests(images, &[]);
        let export = ["bundle", "export", "-o", file, "--rendered", rendered.to_str().unwrap()];
        site.run(&export, &[]).run().await.expect_success();
        site.run(&["bundle", "import", "--to", &site.to(), file], &[]).run().await.expect_success();
    }
    assert_eq!(site.tags(), ["mirror/app:1", "mirror/other/app:1", "mirror/web:1"]);
}

/// An edited lock must not direct a push to another registry.
#[tokio::test]
async fn a_lock_cannot_name_a_place_outside_the_destination() {
    let site = two_apps().await;
    let rendered = site.manifests(&[&site.image("team/app:1")], &[]);
    site.sync(&rendered, &[]).run().await.expect_success();
    let mut lock = site.lock();
    let elsewhere = format!("{}/elsewhere/app:1", site.destination.address().host_port);
    lock["images"][0]["destinations"][0]["reference"] = elsewhere.into();
    std::fs::write(site.folder.path().join("thoras-mirror.lock"), lock.to_string()).unwrap();
    site.sync(&rendered, &[]).run().await.expect_success();
    assert_eq!(site.tags(), ["mirror/app:1"]);
}
