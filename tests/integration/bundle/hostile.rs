//! Hostile bundles: each is refused with a message that names the problem, within bounded memory, and nothing is
//! written.

use std::fmt::Write as _;

use serde_json::json;
use tar::{EntryType, Header};
use thoras_mirror::oci::{Digest, media_type::OCI_INDEX};

use crate::support::{built_bundle::BundleBuilder, images::SampleImage, process::Mirror, programs};

/// One entry: its header after `change`, its content, the padding.
fn raw(path: &[u8], kind: EntryType, content: &[u8], change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    change(&mut header);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(path: &str, content: &[u8]) -> Vec<u8> {
    raw(path.as_bytes(), EntryType::Regular, content, |_| ())
}

fn blob(content: &[u8]) -> Vec<u8> {
    file(&format!("blobs/sha256/{}", Digest::sha256(content).hex()), content)
}

/// A complete layout around these entries.
fn around(entries: &[Vec<u8>]) -> Vec<u8> {
    let image = SampleImage::single_platform("v1", "amd64");
    let root = json!({ "mediaType": image.root().media_type, "digest": image.root().digest, "size": image.root().bytes.len() });
    let mut bytes = layout(&index(&[root]), entries);
    bytes.truncate(bytes.len() - 1024);
    for content in image.manifests.iter().map(|manifest| &manifest.bytes).chain(image.blobs.values()) {
        bytes.extend(blob(content));
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn index(manifests: &[serde_json::Value]) -> String {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }).to_string()
}

fn layout(index: &str, entries: &[Vec<u8>]) -> Vec<u8> {
    let head = [
        file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        file("index.json", index.as_bytes()),
        entries.concat(),
        vec![0; 1024],
    ];
    head.concat()
}

fn extended(records: &[u8], entry: Vec<u8>) -> Vec<u8> {
    [raw(b"PaxHeaders/entry", EntryType::XHeader, records, |_| ()), entry].concat()
}

/// Asserts that a bundle is refused with this code and text, and that nothing is written.
async fn assert_refused(called: &str, bundle: &[u8], code: i32, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    std::fs::write(&path, bundle).unwrap();
    let outcome = Mirror::new(["bundle", "verify"]).arg(&path).run().await;
    assert_eq!(outcome.status.code(), Some(code), "{called}: {outcome}");
    assert!(outcome.stderr.contains(text), "{called}: {outcome}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{called}: {outcome}");
    for folder in [outcome.folder().as_path(), folder.path()] {
        let expected = usize::from(folder == path.parent().unwrap());
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), expected, "{called}: something was written");
    }
}

#[tokio::test]
async fn the_bundle_around_hostile_entries_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    std::fs::write(&path, around(&[file("manifest.json", b"[]")])).unwrap();
    Mirror::new(["bundle", "verify"]).arg(&path).run().await.expect_success();
}

#[tokio::test]
async fn hostile_entries_are_refused_by_name() {
    let huge = |header: &mut Header| {
        header.as_mut_bytes()[124..136]
            .copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    };
    let larger = |header: &mut Header| header.set_size(1 << 32);
    let stray = format!("blobs/sha256/{}", "A".repeat(64));
    let long = [b"../".repeat(80), b"etc/passwd\0".to_vec()].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("parent", file("../../etc/passwd", b"x"), "`../../etc/passwd` is refused: its name leads out"),
        ("absolute", file("/etc/passwd", b"x"), "`/etc/passwd` is refused"),
        ("inner parent", file("blobs/sha256/../../x", b"x"), "`blobs/sha256/../../x` is refused"),
        ("backslash", file("blobs\\x", b"x"), "is refused"),
        ("control characters", file("a\u{1b}[2Jb", b"x"), "is refused"),
        ("stray blob", file(&stray, b"x"), "its name is not a digest"),
        ("other algorithm", file("blobs/md5/0123", b"x"), "its name is not a digest"),
        ("not UTF-8", raw(b"\xff\xfe", EntryType::Regular, b"x", |_| ()), "not UTF-8"),
        ("symbolic link", raw(b"blobs", EntryType::Symlink, b"", |_| ()), "`blobs` is a symbolic link"),
        ("hard link", raw(b"x", EntryType::Link, b"", |_| ()), "`x` is a hard link"),
        ("device", raw(b"x", EntryType::Char, b"", |_| ()), "`x` is a device"),
        ("pipe", raw(b"x", EntryType::Fifo, b"", |_| ()), "`x` is a named pipe"),
        ("sparse file", raw(b"x", EntryType::GNUSparse, b"", |_| ()), "`x` is a sparse file"),
        ("twice", file("./oci-layout", b"{}"), "`./oci-layout` appears twice"),
        ("size beyond the end", raw(b"x", EntryType::Regular, b"x", larger), "`x` is truncated"),
        ("size near 2^64", raw(b"x", EntryType::Regular, b"x", huge), "`x` is truncated"),
        (
            "size too small",
            raw(b"x", EntryType::Regular, &[b'x'; 600], |header| header.set_size(1)),
            "there is no tar header",
        ),
        ("two sizes", extended(b"9 size=7\n", file("x", b"x")), "1 bytes in its header, 7 in its extended"),
        (
            "size of many digits",
            extended(b"28 size=99999999999999999999\n", file("x", b"x")),
            "extended header cannot be read",
        ),
        (
            "record that lies about its length",
            extended(b"99 path=x\n", file("x", b"x")),
            "extended header cannot be read",
        ),
        (
            "long name",
            [raw(b"././@LongLink", EntryType::GNULongName, &long, |_| ()), file("x", b"x")].concat(),
            "its name leads out",
        ),
        ("large extension", raw(b"x", EntryType::XHeader, &vec![b'x'; 70_000], |_| ()), "it is too large"),
        ("global size", raw(b"x", EntryType::XGlobalHeader, b"9 size=7\n", |_| ()), "a global record"),
        (
            "file named as a folder",
            raw(b"blobs/", EntryType::Regular, b"x", |_| ()),
            "`blobs/` is a file with a folder's name",
        ),
    ];
    for (called, entry, text) in cases {
        assert_refused(called, &around(&[entry]), 6, text).await;
    }
}

#[tokio::test]
async fn impossible_layouts_are_refused() {
    let digest = Digest::sha256(b"elsewhere");
    let descriptor = |digest: &str| json!({ "mediaType": OCI_INDEX, "digest": digest, "size": 10 });
    let mut cut = around(&[]);
    cut.truncate(cut.len() - 1025);
    let mut endless = around(&[]);
    endless.truncate(endless.len() - 1024);
    // An index cannot contain its own digest, but it can be stored under a digest that it lists.
    let looped = index(&[descriptor(digest.as_str())]);
    let looped_entry = file(&format!("blobs/sha256/{}", digest.hex()), looped.as_bytes());
    let cases = [
        ("nothing", Vec::new(), 3, "is not a bundle: it is empty"),
        ("no tar", b"PK\x03\x04".repeat(400), 3, "is not a bundle: it is a zip archive"),
        ("empty archive", vec![0; 1024], 3, "is not an OCI image layout"),
        ("cut off", cut, 6, "is truncated"),
        ("no end mark", endless, 6, "has no end mark"),
        (
            "no index",
            [file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#), vec![0; 1024]].concat(),
            3,
            "no `index.json` file",
        ),
        ("index is no JSON", layout("{", &[]), 6, "index.json cannot be read"),
        (
            "digest is none",
            layout(&index(&[descriptor("sha256:../../x")]), &[]),
            6,
            "index.json cannot be read",
        ),
        ("loop", layout(&index(&[descriptor(digest.as_str())]), &[looped_entry]), 6, digest.as_str()),
        ("missing root", layout(&index(&[descriptor(digest.as_str())]), &[]), 6, digest.as_str()),
        ("deep JSON", layout(&"[".repeat(100_000), &[]), 6, "index.json cannot be read"),
        ("no lock", around(&[file("thoras-mirror.lock", b"{}")]), 6, "thoras-mirror.lock cannot be read"),
    ];
    for (called, bundle, code, text) in cases {
        assert_refused(called, &bundle, code, text).await;
    }
}

/// An input that was never a bundle is unreadable (3), not damaged (6).
#[tokio::test]
async fn a_file_that_is_not_a_bundle_is_distinguished_from_a_damaged_bundle() {
    let readme = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let whole = around(&[]);
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let foreign = "not a tar archive";
    let cases = [
        ("README", readme, 3, foreign),
        ("a few bytes", b"hello".to_vec(), 3, foreign),
        ("gzip", [vec![0x1f, 0x8b, 8], vec![7; 2000]].concat(), 3, "it is compressed (gzip)"),
        ("zstd", [vec![0x28, 0xb5, 0x2f, 0xfd], vec![7; 2000]].concat(), 3, "it is compressed (zstd)"),
        ("its first header", damaged(0), 6, "there is no tar header"),
        ("the mark of its first header", damaged(258), 6, "there is no tar header"),
        ("the checksum of its first header", damaged(149), 6, "there is no tar header"),
        ("its second header", damaged(1024), 6, "there is no tar header"),
    ];
    for (called, bundle, code, text) in cases {
        assert_refused(called, &bundle, code, text).await;
    }
}

#[tokio::test]
async fn endlessly_nested_indexes_are_refused() {
    let mut entries = Vec::new();
    let mut inner = index(&[]);
    for _ in 0..3000 {
        entries.push(blob(inner.as_bytes()));
        inner = index(&[
            json!({ "mediaType": OCI_INDEX, "digest": Digest::sha256(inner.as_bytes()), "size": inner.len() }),
        ]);
    }
    assert_refused("nested", &layout(&inner, &entries), 6, "nested more than").await;
}

/// Runs `bundle verify` in a process that is limited to 200 MiB of memory.
async fn assert_refused_within_bounded_memory(called: &str, bundle: &[u8], text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    std::fs::write(&path, bundle).unwrap();
    let mut command = tokio::process::Command::new(programs::find("THORAS_MIRROR_TEST_PRLIMIT", "prlimit"));
    command.arg("--data=209715200").arg(env!("CARGO_BIN_EXE_thoras-mirror"));
    let outcome = command.args(["bundle", "verify"]).arg(&path).kill_on_drop(true).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    let end = stderr.chars().take(2000).collect::<String>();
    assert_eq!(outcome.status.code(), Some(6), "{called}: {} {end}", outcome.status);
    assert!(stderr.contains(text), "{called}: {end}");
}

#[tokio::test]
async fn a_million_entries_are_refused_within_bounded_memory() {
    let entry = file("x", b"");
    let bundle = [entry.repeat(250_000), vec![0; 1024]].concat();
    assert_refused_within_bounded_memory("entries", &bundle, "more than 200000 entries").await;
}

#[tokio::test]
async fn huge_heads_are_refused_within_bounded_memory() {
    let lock = |version: &str, member: &str, value: &str| {
        let values = vec![value; 10_000_000 / (value.len() + 1)].join(",");
        let lock = format!(r#"{{"schema":"thoras-mirror/lock/{version}","{member}":[{values}]}}"#);
        around(&[file("thoras-mirror.lock", lock.as_bytes())])
    };
    let cases = [
        (
            "index over its limit",
            layout(&" ".repeat((32 << 20) + 1), &[]),
            "index.json is larger than 32.0 MiB",
        ),
        ("index of many images", layout(&index_of(120_000), &[]), "more than 100000 entries"),
        ("old lock of unknown members", lock("v1", "unknown", "0"), "thoras-mirror.lock cannot be read"),
        ("lock of unknown members", lock("v2", "unknown", "0"), "thoras-mirror.lock cannot be read"),
        (
            "old lock of many platforms",
            lock("v1", "platforms", r#""a/b""#),
            "thoras-mirror.lock cannot be read",
        ),
        ("lock of many platforms", lock("v2", "platforms", r#""a/b""#), "thoras-mirror.lock cannot be read"),
    ];
    for (called, bundle, text) in cases {
        assert_refused_within_bounded_memory(called, &bundle, text).await;
    }
}

/// An index that lists the same manifest many times.
fn index_of(count: usize) -> String {
    let one = json!({ "mediaType": "m", "digest": Digest::sha256(b"x"), "size": 0 }).to_string();
    format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![one.as_str(); count].join(","))
}

#[tokio::test]
async fn huge_manifests_are_refused_within_bounded_memory() {
    let mut manifests = String::new();
    let mut entries = Vec::new();
    for number in 0..7 {
        let big = format!(r#"{{"schemaVersion":2,"number":{number},{}"#, index_of(70_000).split_off(19));
        let separator = if number > 0 { "," } else { "" };
        let named =
            json!({ "mediaType": OCI_INDEX, "digest": Digest::sha256(big.as_bytes()), "size": big.len() });
        write!(manifests, "{separator}{named}").unwrap();
        entries.push(blob(big.as_bytes()));
    }
    let manifests = format!(r#"{{"schemaVersion":2,"manifests":[{manifests}]}}"#);
    let bundle = layout(&manifests, &entries);
    assert_refused_within_bounded_memory("manifests", &bundle, "its manifests exceed 48.0 MiB").await;
}

/// A lock of 23 MiB with 400,000 values was refused: 10,000 images need that.
#[tokio::test]
async fn a_bundle_of_ten_thousand_images_is_read_within_bounded_memory() {
    const IMAGES: usize = 10_000;
    let image = SampleImage::single_platform("v1", "amd64");
    let names: Vec<String> =
        (0..IMAGES).map(|number| format!("reg.example.com/team/app{number}:1")).collect();
    let images: Vec<(&str, &SampleImage)> = names.iter().map(|name| (name.as_str(), &image)).collect();
    let waived: Vec<String> = (0..40).map(|number| format!("linux/{}{number}", "x".repeat(40))).collect();
    let bundle = BundleBuilder::new(&images).lock(|lock| {
        lock["images"].as_array_mut().unwrap().iter_mut().for_each(|image| image["waived"] = json!(waived));
    });
    let bundle = bundle.build();
    let lock = &bundle.entries["thoras-mirror.lock"];
    assert!(lock.len() > 22 << 20, "{}", lock.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    std::fs::write(&path, &bundle.bytes).unwrap();
    let mut command = tokio::process::Command::new(programs::find("THORAS_MIRROR_TEST_PRLIMIT", "prlimit"));
    command.arg("--data=419430400").arg(env!("CARGO_BIN_EXE_thoras-mirror"));
    let outcome = command.args(["bundle", "inspect", "-o", "json"]).arg(&path).output().await.unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    let document: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(document["images"].as_array().unwrap().len(), IMAGES);
}
