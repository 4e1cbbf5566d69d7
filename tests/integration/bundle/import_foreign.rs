//! Layouts written by skopeo, crane, oras and Docker.

use std::fs;

use serde_json::json;

use super::importing::*;
use crate::support::{client, programs, skopeo};

/// Pulls an image from a registry to `destination`, which may end in a name, with skopeo.
async fn pulled_by_skopeo(image: &SampleImage, destination: &str) {
    let source = Registry::start().await;
    client::push(image, source.address(), "team/app").await;
    let from = format!("docker://{}", source.address().image("team/app", &image.tag));
    skopeo::run(&["copy", "--all", "--src-tls-verify=false", &from, destination]).await;
}

#[tokio::test]
async fn a_skopeo_archive_with_a_full_name_is_imported() {
    let team = Team::start().await;
    let file = team.folder.path().join("skopeo.tar");
    pulled_by_skopeo(&team.app, &format!("oci-archive:{}:{APP}", file.display())).await;
    import(&file, &team.to(), &[]).run().await.expect_success();
    assert_eq!(team.registry.storage().tags()["mirror/app:1"], team.app.root().digest);
}

#[tokio::test]
async fn a_skopeo_archive_without_a_name_is_named_with_as() {
    let team = Team::start().await;
    let file = team.folder.path().join("skopeo.tar");
    pulled_by_skopeo(&team.app, &format!("oci-archive:{}", file.display())).await;
    let outcome = import(&file, &team.to(), &[]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--as registry.example.com/team/app:1.0"), "{outcome}");
    assert!(outcome.stderr.contains(team.app.root().digest.as_str()), "{outcome}");
    team.assert_untouched().await;
    import(&file, &team.to(), &["--as", APP]).run().await.expect_success();
    assert_eq!(team.registry.storage().tags()["mirror/app:1"], team.app.root().digest);
}

/// Written by the tools themselves. The functions below write the same forms by hand.
#[tokio::test]
async fn crane_and_oras_layouts_are_imported() {
    let team = Team::start().await;
    let source = Registry::start().await;
    client::push(&team.app, source.address(), "team/app").await;
    let from = source.address().image("team/app", &team.app.tag);
    let crane = programs::find("THORAS_MIRROR_TEST_CRANE", "crane");
    let folder = team.folder.path().join("crane");
    let to = folder.display().to_string();
    programs::run(crane, ["pull", "--insecure", "--format=oci", &from, &to]).await;
    import(&folder, &team.to(), &["--as", APP]).run().await.expect_success();
    assert_eq!(team.registry.storage().tags()["mirror/app:1"], team.app.root().digest);
    let oras = programs::find("THORAS_MIRROR_TEST_ORAS", "oras");
    let folder = team.folder.path().join("oras");
    let to = format!("{}:1", folder.display());
    programs::run(oras, ["copy", "--from-plain-http", "--to-oci-layout", &from, &to]).await;
    import(&folder, &team.to(), &["--as", &format!("1={WEB}")]).run().await.expect_success();
    assert_eq!(team.registry.storage().tags()["mirror/web:2"], team.app.root().digest);
}

/// What `crane pull --format=oci` writes: a folder whose index has no names.
fn as_crane(image: &SampleImage, folder: &Path) {
    image.write_oci_layout(folder);
    change_index(folder, |index| drop(index["manifests"][0].as_object_mut().unwrap().remove("annotations")));
}

/// What `oras cp --to-oci-layout` writes: children are listed after their index, without a name.
fn as_oras(image: &SampleImage, folder: &Path) {
    image.write_oci_layout(folder);
    let children: Vec<Value> = image.manifests[..image.manifests.len() - 1]
        .iter()
        .map(|child| json!({ "mediaType": child.media_type, "digest": child.digest, "size": child.bytes.len() }))
        .collect();
    change_index(folder, |index| index["manifests"].as_array_mut().unwrap().extend(children));
}

/// What `docker save` writes since Docker 25: a layout that classic `docker load` reads as well.
fn as_docker(image: &SampleImage, folder: &Path, name: &str) {
    image.write_oci_layout(folder);
    change_index(folder, |index| {
        index["manifests"][0]["annotations"]["io.containerd.image.name"] = name.into();
    });
    let manifest = json!([{ "Config": "blobs/sha256/x", "RepoTags": [name], "Layers": [] }]);
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(folder.join("repositories"), "{}").unwrap();
}

fn change_index(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut index);
    fs::write(path, index.to_string()).unwrap();
}

/// An archive of a folder as GNU tar writes it: with entries for folders, and the index not first.
fn archive_of(folder: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", folder).unwrap();
    builder.into_inner().unwrap()
}

/// Its index lists the children of both images, without a name.
#[tokio::test]
async fn children_that_oras_lists_are_not_shown_as_images_bug() {
    let team = Team::start().await;
    let source = Registry::start().await;
    let other = SampleImage::multi_platform("2");
    for image in [&team.app, &other] {
        client::push(image, source.address(), "team/app").await;
    }
    let from = format!("{}/team/app", source.address().host_port);
    let file = team.folder.path().join("backup.tar");
    let to = file.display().to_string();
    let oras = programs::find("THORAS_MIRROR_TEST_ORAS", "oras");
    programs::run(oras, ["backup", "--plain-http", "--output", &to, &from]).await;
    let inspected = Mirror::new(["bundle", "inspect", &to]).run().await.expect_success();
    assert_eq!(inspected.stdout.matches("sha256:").count(), 3, "the bundle and two images: {inspected}");
    let verified = Mirror::new(["bundle", "verify", &to]).run().await.expect_success();
    assert!(verified.stdout.contains("2 images verified"), "{verified}");
    let names = ["--as", &format!("{}={APP}", team.app.tag), "--as", &format!("2={WEB}")];
    import(&file, &team.to(), &names).run().await.expect_success();
    let tags = team.registry.storage().tags();
    assert_eq!(
        (&tags["mirror/app:1"], &tags["mirror/web:2"]),
        (&team.app.root().digest, &other.root().digest)
    );
}

#[tokio::test]
async fn a_crane_layout_is_named_with_as() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    as_crane(&team.app, folder.path());
    import(folder.path(), &team.to(), &["--as", APP]).run().await.expect_success();
    assert_eq!(team.registry.storage().tags()["mirror/app:1"], team.app.root().digest);
}

#[tokio::test]
async fn an_oras_layout_has_one_image_although_its_index_lists_the_children() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    as_oras(&team.app, folder.path());
    let file = team.file(&archive_of(folder.path()));
    let outcome = import(&file, &team.to(), &[]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("`1` is sha256:"), "{outcome}");
    import(&file, &team.to(), &["--as", &format!("1={APP}")]).run().await.expect_success();
    let tags = team.registry.storage().tags();
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["mirror/app:1"]);
    assert_eq!(tags["mirror/app:1"], team.app.root().digest);
}

#[tokio::test]
async fn a_docker_save_archive_is_imported_with_a_warning_about_digests() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    as_docker(&team.app, folder.path(), "docker.io/library/app:1");
    let file = team.file(&archive_of(folder.path()));
    let outcome = import(&file, &team.to(), &[]).run().await.expect_success();
    assert!(outcome.stderr.contains("written by Docker"), "{outcome}");
    assert_eq!(team.registry.storage().tags()["mirror/app:1"], team.app.root().digest);
}

#[tokio::test]
async fn several_unnamed_images_are_listed_and_named_individually() {
    let team = Team::start().await;
    let folder = tempfile::tempdir().unwrap();
    team.web.write_oci_layout(folder.path());
    let web: Value = serde_json::from_slice(&fs::read(folder.path().join("index.json")).unwrap()).unwrap();
    as_crane(&team.app, folder.path());
    change_index(folder.path(), |index| {
        index["manifests"].as_array_mut().unwrap().push(web["manifests"][0].clone());
    });
    let outcome = import(folder.path(), &team.to(), &["--as", APP]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("2 images in "), "{outcome}");
    assert!(outcome.stderr.contains("`2` is "), "{outcome}");
    let app = format!("{}={APP}", team.app.root().digest);
    let web = format!("2={WEB}");
    import(folder.path(), &team.to(), &["--as", &web, "--as", &app]).run().await.expect_success();
    team.assert_imported();
    let unknown =
        import(folder.path(), &team.to(), &["--as", &web, "--as", &app, "--as", "x=y:1"]).run().await;
    assert!(unknown.expect_code(2).stderr.contains("has no unnamed image"));
}
