//! Running Helm: what it may see, where charts come from, and how its failures are reported.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf, absolute},
    sync::Arc,
};

use thoras_mirror::{
    error::{Failure, Kind},
    internals::enumerate::{ChartOptions, EnumerateError, ErrorKind},
    oci::Digest,
};

use super::{SAMPLE, chart, images_of};
use crate::support::{
    helm,
    http_server::{Answer, HttpServer},
    programs,
};

/// A folder with a link to one of the programs that stand in for Helm.
fn stand_in(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("helm");
    symlink(absolute(format!("testdata/programs/{name}")).unwrap(), &program).unwrap();
    (folder, program)
}

/// The real Helm, with a record of how it is called.
fn recording() -> (tempfile::TempDir, PathBuf) {
    let (folder, program) = stand_in("recording-helm");
    symlink(absolute(helm::program()).unwrap(), folder.path().join("real")).unwrap();
    (folder, program)
}

const SECRETS: [&str; 4] = ["typed-hunter2", "text-hunter2", "license-hunter2", "destination-hunter2"];

/// Runs itself again with secrets in the environment, because a test must not change its own.
#[tokio::test]
async fn no_secret_appears_in_helms_arguments_or_environment() {
    if std::env::var_os("THORAS_LICENSE").is_none() {
        let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", "enumerate::run_helm::no_secret_appears_in_helms_arguments_or_environment"])
            .env("THORAS_LICENSE", "license-hunter2")
            .env("THORAS_LICENSE_FILE", "/license-hunter2")
            .env("THORAS_MIRROR_TO_PASSWORD", "destination-hunter2");
        let output = again.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let (folder, program) = recording();
    let options = ChartOptions {
        set: vec!["password=typed-hunter2".into()],
        set_string: vec!["engine.extra=text-hunter2".into()],
        set_file: vec!["password=Cargo.toml".into()],
        values: vec!["testdata/charts/sample/values.yaml".to_owned()],
        namespace: Some("thoras".to_owned()),
        kube_version: Some("1.30.0".to_owned()),
        api_versions: vec!["example.com/v1".to_owned()],
        helm_args: vec!["--skip-tests".to_owned()],
        helm: Some(program),
        ..chart(SAMPLE)
    };
    images_of(options).await.unwrap();

    let record = std::fs::read_to_string(folder.path().join("record")).unwrap();
    for secret in SECRETS.iter().chain(&["THORAS_"]) {
        let line = record.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} reaches Helm");
    }
    let here = std::env::current_dir().unwrap().display().to_string();
    for expected in [
        "argument: --namespace=thoras".to_owned(),
        "argument: --kube-version=1.30.0".to_owned(),
        "argument: --api-versions=example.com/v1".to_owned(),
        "argument: --skip-tests".to_owned(),
        "argument: --values=-".to_owned(),
        format!("argument: --values={here}/testdata/charts/sample/values.yaml"),
        format!("argument: --set-file=password={here}/Cargo.toml"),
        format!("argument: {here}/testdata/charts/sample"),
    ] {
        assert!(record.lines().any(|line| line == expected), "{expected}\n{record}");
    }
    for folder in record.lines().filter(|line| line.starts_with("folder: ")) {
        assert!(folder.ends_with(": "), "Helm runs in an empty folder: {folder}");
    }
}

/// Serves `index.yaml` and the packages in `folder`.
async fn repository(folder: PathBuf) -> HttpServer {
    HttpServer::start(None, &Arc::new(folder), |folder, request| async move {
        let file = folder.join(request.uri().path().trim_start_matches('/'));
        Ok(std::fs::read(file).map_or_else(|_| Answer::status(404), |bytes| Answer::status(200).body(bytes)))
    })
    .await
}

/// Packages the sample under another name and version, and returns the package.
async fn package(folder: &Path, name: &str, version: &str) -> PathBuf {
    let copy = folder.join("source");
    programs::run("cp".into(), ["-r".as_ref(), SAMPLE.as_ref(), copy.as_os_str()]).await;
    let yaml = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    std::fs::write(copy.join("Chart.yaml"), yaml).unwrap();
    let (copy_text, folder_text) = (copy.display().to_string(), folder.display().to_string());
    helm::run(&["package", &copy_text, "--destination", &folder_text]).await;
    std::fs::remove_dir_all(copy).unwrap();
    folder.join(format!("{name}-{version}.tgz"))
}

#[tokio::test]
async fn a_package_is_identified_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), "packed", "2.0.0").await;
    let found = images_of(chart(&package.display().to_string())).await.unwrap();
    let identity = found.chart.unwrap();
    assert_eq!((identity.name.as_str(), identity.version.as_str()), ("packed", "2.0.0"));
    assert_eq!(identity.digest, Some(Digest::sha256(&std::fs::read(package).unwrap())));
    assert_eq!(found.images.len(), 10);
}

/// The chart is called `tests`, as a folder here is: Helm would take the folder.
#[tokio::test]
async fn a_bare_name_means_the_repository_even_if_a_folder_has_that_name() {
    assert!(Path::new("tests").is_dir());
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "tests", "1.0.0").await;
    let newer = package(folder.path(), "tests", "3.1.4").await;
    helm::run(&["repo", "index", &folder.path().display().to_string()]).await;
    let server = repository(folder.path().to_owned()).await;

    let options = |version: Option<&str>| ChartOptions {
        repository: server.address().url(),
        version: version.map(str::to_owned),
        ..chart("tests")
    };
    let newest = images_of(options(None)).await.unwrap().chart.unwrap();
    assert_eq!(newest.version, "3.1.4");
    assert_eq!(newest.digest, Some(Digest::sha256(&std::fs::read(newer).unwrap())));
    assert_eq!(images_of(options(Some("~1.0"))).await.unwrap().chart.unwrap().version, "1.0.0");

    let failure = Failure::from(images_of(options(Some("9.9.9"))).await.unwrap_err());
    assert_eq!(failure.kind, Kind::Input);
    assert!(
        failure
            .message
            .starts_with("helm pull failed (exit status: 1): chart \"tests\" version \"9.9.9\" not found"),
        "{failure}"
    );
    let hint = failure.hint.unwrap();
    assert!(hint.contains("--chart ./tests") && hint.contains("--rendered"), "{hint}");
}

#[tokio::test]
async fn a_missing_helm_is_reported_with_every_alternative() {
    let options = ChartOptions { helm: Some("no-such-helm".into()), ..chart(SAMPLE) };
    let failure = Failure::from(images_of(options).await.unwrap_err());
    assert_eq!(failure.kind, Kind::Input);
    assert_eq!(failure.message, "`no-such-helm` was not found; rendering a chart requires Helm");
    let hint = failure.hint.unwrap();
    for way in ["https://helm.sh/docs/intro/install/", "--rendered", "--images"] {
        assert!(hint.contains(way), "{hint}");
    }
}

#[tokio::test]
async fn helms_message_is_shown_without_the_values_that_were_set() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    std::fs::write(folder.path().join("Chart.yaml"), "apiVersion: v2\nname: failing\nversion: 0.1.0\n")
        .unwrap();
    let template = r#"{{ fail (printf "\u001b[31mthe password %s is too short" .Values.password) }}"#;
    std::fs::write(folder.path().join("templates/a.yaml"), template).unwrap();
    let path = folder.path().display().to_string();
    let options = ChartOptions { set: vec!["password=hunter2".into()], ..chart(&path) };
    let error = images_of(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let message = error.to_string();
    assert!(message.contains(r"\u{1b}[31mthe password *** is too short"), "{message}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_assignment_that_cannot_be_used_is_counted_not_quoted() {
    let set = vec!["a=1".into(), "password=abc,hunter2".into()];
    let error = images_of(ChartOptions { set, ..chart(SAMPLE) }).await.unwrap_err();
    assert_eq!(error.to_string(), "`--set` number 2 has a key without a value");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.hint().unwrap().contains("\\,"));

    let options = ChartOptions { set: vec!["image.tag=20240101".into()], ..chart(SAMPLE) };
    let error = images_of(options).await.unwrap_err();
    assert!(matches!(error, EnumerateError::Set { .. }) && error.hint().unwrap().contains("--set-string"));
}

/// The stand-in keeps a pipe open while it runs: reading to the end waits until it exits.
#[tokio::test]
async fn dropping_the_future_kills_helm() {
    let (folder, program) = stand_in("hanging-helm");
    let pipe = folder.path().join("pipe");
    programs::run("mkfifo".into(), [pipe.as_os_str()]).await;
    let reader = tokio::task::spawn_blocking(move || {
        let mut reader = BufReader::new(std::fs::File::open(pipe).unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "running\n");
        reader
    });
    let options = ChartOptions { helm: Some(program), ..chart(SAMPLE) };
    let mut reader = tokio::select! {
        ended = images_of(options) => panic!("it should hang: {:?}", ended.map(|found| found.images.len())),
        reader = reader => reader.unwrap(),
    };
    let rest = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()).unwrap());
    assert_eq!(rest.await.unwrap(), 0);
}
