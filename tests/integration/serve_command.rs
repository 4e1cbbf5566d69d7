//! `serve` as a program: its address, log and shutdown, and a mirror made with it.

use std::{path::Path, time::Duration};

use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::support::{
    client,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    serving::Serving,
    strace::Strace,
    tls::Authority,
};

async fn serve(arguments: &[&str]) -> Outcome {
    Mirror::new(["serve"].iter().chain(arguments)).run().await
}

#[tokio::test]
async fn a_mirror_is_created_verified_and_survives_a_restart() {
    let image = SampleImage::multi_platform("web");
    let source = Registry::start().await;
    client::push(&image, source.address(), "vendor/web").await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new");

    let serving = Serving::start(&root, &[]).await;
    let to = format!("{}/mirror", serving.address.host_port);
    let reference = source.address().image("vendor/web", "web");
    let synced = Mirror::new(["sync", "--to", &to, &reference]).run().await.expect_success();
    let verify = Mirror::new(["verify", "--level", "bytes"]).in_folder(&synced.folder());
    let _ = verify.run().await.expect_success();
    let host_port = serving.address.host_port.clone();
    let (code, log) = serving.end(Signal::INT).await;
    assert_eq!(code, Some(0), "{log:#?}");
    let pushed = |line: &&String| line.contains("PUT /v2/mirror/web/manifests/web 201");
    assert_eq!(log.iter().filter(pushed).count(), 1, "{log:#?}");
    assert_eq!(log[0], format!("push:   thoras-mirror sync --to {host_port}"));
    assert_eq!(log[1], format!("pull:   docker pull {host_port}/REPOSITORY:TAG"));
    assert!(log[2..].iter().all(|line| line.starts_with("127.0.0.1:")), "a log and no errors: {log:#?}");

    let serving = Serving::start(&root, &["--quiet"]).await;
    client::assert_present(&image, &serving.address, "mirror/web").await;
    let (code, log) = serving.end(Signal::TERM).await;
    assert_eq!((code, log), (Some(0), Vec::new()), "quiet means no access log");
}

#[tokio::test]
async fn a_folder_with_other_content_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let path = folder.path().to_str().unwrap();
    let outcome = serve(&["--listen", "127.0.0.1:0", path]).await.expect_code(2);
    assert!(outcome.stderr.contains("pass an empty or new folder"), "{outcome}");
    assert!(outcome.stderr.contains(path), "{outcome}");
    assert_eq!(outcome.stdout, "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_created_is_reported_with_a_remedy() {
    for (path, hint) in [
        ("/proc/no-such-process/registry", "hint: pass a folder that exists or can be created"),
        ("/dev/null/registry", "hint: pass a folder that exists or can be created"),
    ] {
        let outcome = serve(&["--listen", "127.0.0.1:0", path]).await.expect_code(2);
        assert!(outcome.stderr.contains(path) && outcome.stderr.contains(hint), "{outcome}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_bundle_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let outcome = serve(&["--listen", "127.0.0.1:0", file.path().to_str().unwrap()]).await.expect_code(3);
    assert!(outcome.stderr.contains(file.path().to_str().unwrap()), "{outcome}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let outcome = serve(&["--listen", &address, folder.path().to_str().unwrap()]).await.expect_code(2);
    assert!(
        outcome.stderr.contains(&format!("cannot listen on {address}\n"))
            && outcome.stderr.contains("the port may be in use"),
        "{outcome}"
    );
    assert!(outcome.stderr.contains("already in use"), "{outcome}");
}

#[tokio::test]
async fn one_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Serving::start(folder.path(), &[]).await;
    let outcome = serve(&["--listen", "127.0.0.1:0", folder.path().to_str().unwrap()]).await.expect_code(2);
    assert!(outcome.stderr.contains(folder.path().to_str().unwrap()), "{outcome}");
}

#[tokio::test]
async fn an_invalid_address_is_a_usage_error() {
    let outcome = serve(&["--listen", "nowhere", "x"]).await.expect_code(2);
    assert!(outcome.stderr.contains("--listen"), "{outcome}");
}

/// A production setup with TLS and users: a mirror is pushed to it, and a certificate renewal needs no restart.
#[tokio::test]
async fn a_registry_with_a_login_is_pushed_to_over_tls() {
    let (image, authority, folder) =
        (SampleImage::multi_platform("web"), Authority::new(), tempfile::tempdir().unwrap());
    let source = Registry::start().await;
    client::push(&image, source.address(), "vendor/web").await;
    let htpasswd = folder.path().join("htpasswd");
    let line = |name: &str, password: &str| format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap());
    std::fs::write(&htpasswd, line("ann", "pen") + &line("bob", "cup")).unwrap();
    let (certificate, key) = (authority.server_certificate_file(), authority.server_key_file());
    let log = folder.path().join("access.log");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "--tls-cert",
        &path(&certificate),
        "--tls-key",
        &path(&key),
        "--htpasswd",
        &path(&htpasswd),
        "--push-user",
        "ann",
        "--access-log",
        &path(&log),
    ];
    let serving = Serving::start(&folder.path().join("registry"), &arguments).await;
    let to = format!("{}/mirror", serving.address.host_port);
    let reference = source.address().image("vendor/web", "web");
    let sync = async |name: &str, password: &str| {
        let run = Mirror::new(["sync", "--to", &to, "--to-username", name, "--to-password-stdin"]);
        run.arg("--ca-cert").arg(authority.certificate_file()).arg(&reference).stdin(password).run().await
    };
    sync("ann", "cup").await.expect_code(4);
    sync("bob", "cup").await.expect_code(4);
    let _ = sync("ann", "pen").await.expect_success();
    let written = std::fs::read_to_string(&log).unwrap();
    assert!(
        written
            .lines()
            .any(|line| line.contains(" ann [") && line.contains("PUT /v2/mirror/web/manifests/web 201"))
    );
    assert!(written.lines().any(|line| line.contains(" bob [") && line.contains(" 403 ")), "{written}");

    // What logrotate does, and a password that was changed.
    std::fs::rename(&log, folder.path().join("access.log.1")).unwrap();
    std::fs::write(&htpasswd, line("ann", "quill")).unwrap();
    serving.signal(Signal::HUP);
    while !log.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sync("ann", "pen").await.expect_code(4);
    let _ = sync("ann", "quill").await.expect_success();
    assert!(std::fs::read_to_string(&log).unwrap().contains(" ann ["));
    let (code, lines) = serving.end(Signal::TERM).await;
    assert_eq!(code, Some(0));
    assert!(lines[0].starts_with("log in: docker login 127.0.0.1:"), "{lines:#?}");
    assert_eq!(lines.len(), 3, "the log is in its file: {lines:#?}");
}

#[tokio::test]
async fn insecure_listeners_give_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let start = |more: &[&str]| {
        let mut arguments = vec!["--listen", "0.0.0.0:0"];
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let warnings = async |more: &[&str]| {
        let arguments = start(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let serving = Serving::start_at(&folder.path().join("registry"), &arguments).await;
        let (_, log) = serving.end(Signal::TERM).await;
        log.into_iter().filter(|line| line.starts_with("warning:")).collect::<Vec<_>>()
    };
    let open = warnings(&[]).await;
    assert!(open.len() == 1 && open[0].contains("can push and delete: pass --htpasswd"), "{open:#?}");
    assert_eq!(warnings(&["--read-only"]).await, Vec::<String>::new());
    let htpasswd = folder.path().join("htpasswd");
    std::fs::write(&htpasswd, format!("ann:{}", bcrypt::hash("pen", 4).unwrap())).unwrap();
    let unencrypted = warnings(&["--htpasswd", htpasswd.to_str().unwrap()]).await;
    assert!(unencrypted.len() == 1 && unencrypted[0].contains("unencrypted"), "{unencrypted:#?}");
}

#[tokio::test]
async fn a_hash_other_than_bcrypt_is_refused_with_its_line_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let htpasswd = folder.path().join("users");
    std::fs::write(&htpasswd, "# staff\nann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n").unwrap();
    let root = folder.path().join("registry");
    let outcome =
        serve(&["--htpasswd", htpasswd.to_str().unwrap(), root.to_str().unwrap()]).await.expect_code(2);
    assert!(outcome.stderr.contains("users") && outcome.stderr.contains("line 2"), "{outcome}");
    assert!(outcome.stderr.contains("`htpasswd -B FILE ann`"), "{outcome}");
    assert!(!outcome.stderr.contains("VBPuJHI7"), "{outcome}");
}

#[tokio::test]
async fn a_folder_is_served_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(folder.path(), &[]).await;
    let image = SampleImage::multi_platform("web");
    client::push(&image, &serving.address, "web").await;
    serving.end(Signal::TERM).await;
    let serving = Serving::start(folder.path(), &["--read-only"]).await;
    client::assert_present(&image, &serving.address, "web").await;
    let upload = format!("http://{}/v2/web/blobs/uploads/", serving.address.host_port);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.post(upload).send().await.unwrap().status(), 405);
    let (code, lines) = serving.end(Signal::TERM).await;
    assert_eq!(code, Some(0));
    assert!(!lines.iter().any(|line| line.starts_with("push:")), "{lines:#?}");
}

/// A client that has read 201 does not send the bytes again: they and their names must survive a power cut.
#[tokio::test]
async fn everything_is_durable_before_a_push_is_answered() {
    let image = SampleImage::multi_platform("web");
    let (folder, strace) = (tempfile::tempdir().unwrap(), Strace::new());
    let root = folder.path().join("registry");
    std::fs::create_dir(&root).unwrap();
    let serving = Serving::traced_by(&strace, &root).await;
    // Requests are sequential, so every rename belongs to the next answer.
    client::push(&image, &serving.address, "team/web").await;
    serving.end(Signal::TERM).await;
    let trace = strace.trace().await;

    let pushed = image.blobs.keys().chain(image.manifests.iter().map(|manifest| &manifest.digest));
    for digest in pushed {
        trace.durable_rename_to(&root.join("blobs/sha256").join(digest.hex()));
    }
    let first = trace.calls.iter().find(|call| call.answers(202) || call.answers(201)).unwrap();
    let last = trace.answers(201).last().unwrap();
    let is_named = |path: &Path| path.starts_with(&root) && !path.starts_with(root.join("uploads"));
    let mut named = 0;
    for call in trace.calls.iter().filter(|call| first.is_before(call) && call.is_before(last)) {
        let Some(path) = call.renamed().map(|(_, to)| to).or_else(|| call.created()) else { continue };
        if !is_named(&path) || !call.succeeded() {
            continue;
        }
        named += 1;
        if call.renamed().is_some() {
            trace.durable_rename_to(&path);
        }
        let answer = trace.answers(201).find(|answer| call.is_before(answer)).unwrap();
        let sync = trace.sync_of_folder(path.parent().unwrap(), call);
        assert!(sync.is_before(answer), "201 is answered before the name of {} is synced", path.display());
    }
    // A blob's bytes and its link; a manifest's bytes and its link; a tag.
    let files = 2 * image.blobs.len() + 2 * image.manifests.len() + 1;
    assert!(named >= files, "{named} names were seen, and there are {files} files");
}

#[tokio::test]
async fn short_listen_addresses_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("registry");
    for (listen, expected) in [("localhost:0", "127.0.0.1:"), (":0", "0.0.0.0:"), ("0", "127.0.0.1:")] {
        let serving = Serving::start_at(&root, &["--listen", listen]).await;
        assert!(serving.address.host_port.starts_with(expected), "{listen}: {}", serving.address.host_port);
        serving.end(Signal::TERM).await;
    }
    for listen in ["localhost", "no-such-host.invalid:5000", "localhost:http"] {
        let outcome = serve(&["--listen", listen, "x"]).await.expect_code(2);
        assert!(outcome.stderr.contains("--listen"), "{outcome}");
    }
}

#[tokio::test]
async fn the_content_of_a_folder_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(folder.path(), &[]).await;
    let image = SampleImage::multi_platform("web");
    for repository in ["mirror/services", "mirror/ui"] {
        client::push(&image, &serving.address, repository).await;
    }
    serving.end(Signal::TERM).await;
    let serving = Serving::start(folder.path(), &[]).await;
    let host = serving.address.host_port.clone();
    let (_, lines) = serving.end(Signal::TERM).await;
    for expected in [
        format!("serves: {host}/mirror/services:web"),
        format!("serves: {host}/mirror/ui:web"),
        format!("chart:  --set imageCredentials.registry={host}/mirror"),
    ] {
        assert!(lines.contains(&expected), "{expected}: {lines:#?}");
    }
}

/// The peak memory of a process in bytes.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// 512 connections could take 4 GiB: each kept its whole manifest in memory, and parsed it.
#[tokio::test]
async fn manifests_in_flight_take_bounded_memory() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const CONNECTIONS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(&folder.path().join("registry"), &["--quiet"]).await;
    let digest = thoras_mirror::oci::Digest::sha256(b"x");
    let layer = format!(r#"{{"mediaType":"m","digest":"{digest}","size":1}}"#);
    let layers = vec![layer.as_str(); 4_000_000 / (layer.len() + 1)].join(",");
    let body = format!(r#"{{"schemaVersion":2,"config":{layer},"layers":[{layers}]}}"#);
    let head = format!("PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = tokio::net::TcpStream::connect(&serving.address.host_port).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body.as_bytes()[..body.len() - 1]).await.unwrap();
        streams.push(stream);
    }
    let waiting = peak_memory(serving.process());
    assert!(waiting < 100 << 20, "{} MiB while they arrive", waiting >> 20);
    let answers = streams.into_iter().map(async |mut stream| {
        stream.write_all(&body.as_bytes()[body.len() - 1..]).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 400", "its layers are missing");
    });
    futures::future::join_all(answers).await;
    let parsed = peak_memory(serving.process());
    assert!(parsed < 300 << 20, "{} MiB while they are parsed", parsed >> 20);
}
