//! `doctor`: every check runs whatever the others find, nothing is left behind, and the exit code gives the kind of
//! problem.

use crate::support::{
    ClosedPort, documents, helm,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::{Options, Registry},
    scripted::{Action, Answer, Scripted},
    secrets,
    tls::Authority,
    token_server::TokenServer,
};

const LOGIN: (&str, &str) = ("pusher", "d0ctor-s3cret");

async fn source() -> Scripted {
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("team/app", &SampleImage::multi_platform("1")));
    source
}

fn doctor(source: &Scripted, to: &str) -> Mirror {
    Mirror::new(["doctor", &source.address().image("team/app", "1"), "--to", to])
}

/// Compares standard output with the snapshot `name`, without what differs from run to run.
fn assert_output(name: &str, outcome: &Outcome, source: &str, destination: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(source, "SOURCE");
    settings.add_filter(destination, "DESTINATION");
    settings.add_filter(r"in \d+ ms", "in [time]");
    settings.add_filter(r"in \d+\.\d s", "in [time]");
    settings.bind(|| insta::assert_snapshot!(name, outcome.stdout));
}

#[tokio::test]
async fn a_healthy_setup_passes_and_nothing_is_left_behind() {
    let (source, mirror) = (source().await, Registry::start().await);
    let to = &mirror.address().host_port;
    let outcome = doctor(&source, &format!("{to}/mirror")).run().await.expect_success();
    assert_output("all_is_well", &outcome, &source.address().host_port, to);
    assert_eq!(outcome.stderr, "");
    assert_eq!(mirror.count("POST", "/v2/mirror/app/blobs/uploads/").await, 1);
    assert_eq!(mirror.count("DELETE", "/v2/mirror/app/blobs/uploads/").await, 1);
    assert_eq!(mirror.count("PUT", "").await + mirror.count("PATCH", "").await, 0);
    assert_eq!(std::fs::read_dir(outcome.folder()).unwrap().count(), 0, "no lock, nothing beside it");
}

#[tokio::test]
async fn the_document_follows_its_schema_and_names_every_destination() {
    let (source, mirror) = (source().await, Registry::start().await);
    let to = format!("{}/mirror", mirror.address().host_port);
    let outcome = doctor(&source, &to).arg("--output").arg("json").run().await.expect_success();
    let document = documents::parse(&outcome.stdout, "doctor.v1.json");
    assert_eq!(document["names"][0]["destination"], format!("{to}/app:1"));
    assert_eq!(document["exitCode"], 0);
}

#[tokio::test]
async fn a_refused_connection_is_a_problem_and_the_other_checks_run() {
    let source = source().await;
    let closed = ClosedPort::new();
    let to = &closed.host_port;
    let outcome = doctor(&source, to).run().await.expect_code(1);
    assert_output("nothing_listening", &outcome, &source.address().host_port, to);
}

/// It passed with a green line for the registry.
#[tokio::test]
async fn a_web_page_in_place_of_the_registry_is_a_problem() {
    let (source, portal) = (source().await, Scripted::start().await);
    let page = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
    for path in ["/v2/", "/v2/mirror/"] {
        portal.on("", path).answer(Answer::status(200).header("content-type", "text/html").body(page));
    }
    let to = format!("{}/mirror", portal.address().host_port);
    let outcome = doctor(&source, &to).run().await.expect_code(1);
    assert!(outcome.stdout.contains("problem   destination  cannot reach registry"), "{outcome}");
    assert!(outcome.stdout.contains("the response is a web page, not that of a registry"), "{outcome}");
    assert!(outcome.stdout.contains("captive portal"), "{outcome}");
    assert!(!outcome.stdout.contains("ok        destination"), "{outcome}");
}

#[tokio::test]
async fn an_unknown_authority_is_named_with_the_remedy() {
    let (source, authority) = (source().await, Authority::new());
    let mirror = Registry::start_with(Options::default().tls(&authority)).await;
    let to = &mirror.address().host_port;
    let outcome = doctor(&source, to).run().await.expect_code(1);
    assert_output("unknown_authority", &outcome, &source.address().host_port, to);
    let trusting = doctor(&source, to).arg("--ca-cert").arg(authority.certificate_file());
    let trusted = trusting.run().await.expect_success();
    assert!(trusted.stdout.contains("over https with a trusted certificate"), "{trusted}");
    assert!(
        trusted.stdout.contains("ok        certificate  issued by CN=test authority; valid until "),
        "{trusted}"
    );
    let careless = doctor(&source, to).arg("--insecure").arg(to).run().await.expect_success();
    assert!(careless.stdout.contains("warning   destination  "), "{careless}");
}

#[tokio::test]
async fn https_to_a_plain_http_registry_is_a_problem() {
    let (source, mirror) = (source().await, Registry::start().await);
    let to = &mirror.address().host_port;
    // A certificate setting for a registry implies TLS.
    let outcome = doctor(&source, to).arg("--insecure").arg(to).run().await.expect_code(1);
    assert!(outcome.stdout.contains("problem   destination  cannot reach registry"), "{outcome}");
    assert!(outcome.stdout.contains(&format!("--plain-http {to}")), "{outcome}");
}

#[tokio::test]
async fn a_wrong_password_exits_with_4_and_its_origin_is_named() {
    let source = source().await;
    let mirror = Registry::start_with(Options::default().htpasswd(LOGIN.0, "right")).await;
    let to = &mirror.address().host_port;
    let run =
        doctor(&source, to).arg("--to-username").arg(LOGIN.0).env("THORAS_MIRROR_TO_PASSWORD", LOGIN.1).run();
    let outcome = run.await.expect_code(4);
    assert_output("wrong_password", &outcome, &source.address().host_port, to);
    secrets::assert_hidden(&outcome, &[LOGIN]);
}

#[tokio::test]
async fn a_pull_only_login_is_reported() {
    let (source, tokens) = (source().await, TokenServer::start(None).await);
    tokens.allow(LOGIN.0, LOGIN.1, "*", &["pull"]);
    let mirror = Registry::start_with(Options::default().tokens(&tokens)).await;
    let run = doctor(&source, &mirror.address().host_port)
        .arg("--to-username")
        .arg(LOGIN.0)
        .env("THORAS_MIRROR_TO_PASSWORD", LOGIN.1)
        .run();
    let outcome = run.await.expect_code(4);
    assert!(outcome.stdout.contains("denied push access to"), "{outcome}");
    assert!(outcome.stdout.contains("with --to-username"), "{outcome}");
    secrets::assert_hidden(&outcome, &[LOGIN]);
}

#[tokio::test]
async fn a_refused_login_from_a_variable_is_not_blamed_on_a_flag_bug() {
    let (source, tokens) = (source().await, TokenServer::start(None).await);
    tokens.allow(LOGIN.0, LOGIN.1, "*", &["pull"]);
    let mirror = Registry::start_with(Options::default().tokens(&tokens)).await;
    let run = doctor(&source, &mirror.address().host_port)
        .env("THORAS_MIRROR_TO_USERNAME", LOGIN.0)
        .env("THORAS_MIRROR_TO_PASSWORD", LOGIN.1);
    let outcome = run.run().await.expect_code(4);
    assert!(outcome.stdout.contains("with THORAS_MIRROR_TO_USERNAME"), "{outcome}");
}

#[tokio::test]
async fn missing_repositories_are_all_named() {
    let (source, mirror) = (source().await, Scripted::start().await);
    source.with_store(|store| store.insert("team/two", &SampleImage::multi_platform("1")));
    mirror.on("POST", "/blobs/uploads/").then(Action::error(404, "NAME_UNKNOWN"));
    let to = mirror.address().host_port.clone();
    let run = doctor(&source, &to).arg(source.address().image("team/two", "1")).run().await.expect_code(1);
    let line = format!("problem   push         these repositories do not exist: {to}/app, {to}/two\n");
    assert!(run.stdout.contains(&line), "{run}");
}

#[tokio::test]
async fn a_hanging_registry_is_a_problem_after_the_timeout() {
    let (source, mirror) = (source().await, Scripted::start().await);
    mirror.on("POST", "/blobs/uploads/").then(Action::Stall);
    source.on("HEAD", "/manifests/").then(Action::Answer(Answer::status(503).header("retry-after", "60")));
    source.on("GET", "/manifests/").then(Action::Answer(Answer::status(503).header("retry-after", "60")));
    let to = &mirror.address().host_port;
    let run = doctor(&source, to).arg("--timeout").arg("1").run().await.expect_code(1);
    assert!(
        run.stdout.contains(&format!("problem   push         {to}/app did not answer within 1 s\n")),
        "{run}"
    );
    let said = "did not answer within 1 s (last error: cannot read manifest";
    assert!(run.stdout.contains(said) && run.stdout.contains("503 Service Unavailable"), "{run}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_a_warning() {
    let (source, mirror) = (source().await, Scripted::start().await);
    mirror.on("GET", "/v2/").then(Action::header("date", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let run = doctor(&source, &mirror.address().host_port).run().await.expect_success();
    assert!(run.stdout.contains("warning   clock        this machine's clock is "), "{run}");
    assert!(run.stdout.contains(" h ahead of that of "), "in days and hours, not in seconds: {run}");
    assert!(run.stdout.contains("no problems, 1 warning"), "{run}");
}

#[tokio::test]
async fn an_existing_index_proves_that_indexes_are_supported() {
    let (source, mirror) = (source().await, Scripted::start().await);
    mirror.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    let to = &mirror.address().host_port;
    let run = doctor(&source, to).run().await.expect_success();
    let told = format!(
        "ok        indexes      the registry accepts multi-platform images: {to}/app:1 is an image index"
    );
    assert!(run.stdout.contains(&told), "{run}");
}

#[tokio::test]
async fn an_unwritable_lock_and_colliding_names_are_usage_problems() {
    let (source, mirror) = (source().await, Registry::start().await);
    source.with_store(|store| store.insert("other/app", &SampleImage::multi_platform("1")));
    let run = doctor(&source, &mirror.address().host_port)
        .arg(source.address().image("other/app", "1"))
        .arg("--naming")
        .arg("last")
        .arg("--lock")
        .arg("/no/such/folder/a.lock");
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stdout.contains("problem   names        2 sources would be pushed to"), "{outcome}");
    assert!(outcome.stdout.contains("untested  push"), "{outcome}");
    assert!(outcome.stdout.contains("problem   lock         cannot write the lock"), "{outcome}");
}

#[tokio::test]
async fn a_chart_is_rendered_and_the_helm_version_shown() {
    let mirror = Registry::start().await;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/charts/sample");
    let doctor = |helm: std::path::PathBuf| {
        Mirror::new([
            "doctor",
            "--chart",
            chart,
            "--to",
            &mirror.address().host_port,
            "--timeout",
            "2",
            "--helm",
        ])
        .arg(helm)
        .run()
    };
    let outcome = doctor(helm::program()).await;
    assert!(outcome.stdout.contains(" is v3."), "{outcome}");
    assert!(outcome.stdout.contains(" in chart sample "), "{outcome}");

    let without = doctor("/no/such/helm".into()).await.expect_code(3);
    assert!(without.stdout.contains("problem   helm         /no/such/helm was not found"), "{without}");
    assert!(without.stdout.contains("untested  push"), "{without}");
    assert!(without.stdout.contains("ok        destination"), "the other checks run: {without}");
}
