//! What several destinations do not permit, and whose credentials go where.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::*;

fn refused(outcome: &Outcome, text: &str) {
    assert!(outcome.stderr.contains(text), "{text}: {outcome}");
}

#[tokio::test]
async fn destinations_that_contradict_each_other_are_refused() {
    let names = vec!["quay.io/team/app:1".to_owned()];
    let to = |to: &[&str]| to.iter().map(|to| (*to).to_owned()).collect::<Vec<_>>();
    let run = async |roots: &[&str], more: &[&str]| sync(&names, &to(roots), more).run().await.expect_code(2);
    refused(&run(&["127.0.0.1:1/a", "127.0.0.1:1/a/"], &[]).await, "--to 127.0.0.1:1/a is given twice");
    refused(&run(&["127.0.0.1:1/a,127.0.0.1:1/a"], &[]).await, "is given twice");
    refused(
        &run(&["127.0.0.1:1/a", "127.0.0.1:1/b"], &["--shard", "0/2"]).await,
        "--shard copies to one destination",
    );
    let both = ["127.0.0.1:1/a", "127.0.0.1:2/b"];
    let user = sync(&names, &to(&both), &["--to-username", "ci"]).env("THORAS_MIRROR_TO_PASSWORD", "s3cret");
    refused(&user.run().await.expect_code(2), "write it as HOST=NAME");
    let other = sync(&names, &to(&both), &["--to-username", "reg.example.com=ci"]);
    refused(
        &other.env("THORAS_MIRROR_TO_PASSWORD", "s3cret").run().await.expect_code(2),
        "not the registry of --to",
    );
    // One below the other: `x/a` below the first is `a` below the second.
    let nested = ["quay.io/team/x/a:1".to_owned(), "quay.io/team/a:1".to_owned()];
    let run = sync(&nested, &to(&["127.0.0.1:1/m", "127.0.0.1:1/m/x"]), &[]).run().await.expect_code(2);
    refused(&run, "would both push to 127.0.0.1:1/m/x/a");
    // Other commands take one.
    let values = Mirror::new(["values"]).env("THORAS_MIRROR_TO", "127.0.0.1:1/a,127.0.0.1:2/b").run().await;
    refused(&values.expect_code(2), "names several registries");
    let receipt =
        Mirror::new(["import", "b.tar", "--receipt", "r", "--to", "127.0.0.1:1/a", "--to", "127.0.0.1:1/b"]);
    refused(&receipt.run().await.expect_code(2), "--receipt records one destination");
}

#[tokio::test]
async fn the_variable_is_a_list() {
    let (_source, images, names) = source().await;
    let (one, two) = tokio::join!(serving(), serving());
    let run = sync(&names, &[], &[]).env("THORAS_MIRROR_TO", format!("{}, {}", one.2, two.2));
    let outcome = run.run().await.expect_success();
    for server in [&one.1, &two.1] {
        assert_mirrored(&images, &server.address, "mirror").await;
    }
    let list = format!("{} {}", one.2, two.2);
    verify(&outcome.folder(), &[]).env("THORAS_MIRROR_TO", list).run().await.expect_success();
}

/// Each registry receives its own credential, and the source none of them.
#[tokio::test]
async fn every_registry_gets_only_its_own_login() {
    let (source, images, names) = source().await;
    let (one, two) = tokio::join!(Scripted::start(), Scripted::start());
    let basic = |user: &str| format!("Basic {}", BASE64_STANDARD.encode(user));
    one.demand("Basic realm=\"r\"", &[&basic("ci:first")]);
    two.demand("Basic realm=\"r\"", &[&basic("robot:second")]);
    let to = [&one, &two].map(|there| format!("{}/mirror", there.address().host_port));
    let auth = serde_json::json!({ "auths": {
        two.address().host_port.clone(): { "auth": BASE64_STANDARD.encode("robot:second") }
    } });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("auth.json"), auth.to_string()).unwrap();
    let user = format!("{}=ci", one.address().host_port);
    let login = ["--to-username", &user, "--authfile", "auth.json"];
    let run = sync(&names, &to, &login).in_folder(folder.path()).env("THORAS_MIRROR_TO_PASSWORD", "first");
    run.run().await.expect_success();
    let login = ["--to-username", &user, "--authfile", "auth.json", "--to", &to[0], "--to", &to[1]];
    let checked = verify(folder.path(), &login).env("THORAS_MIRROR_TO_PASSWORD", "first");
    checked.run().await.expect_success();
    let sent = |there: &Scripted| {
        let requests = there.requests();
        let mut sent: Vec<String> = requests
            .iter()
            .filter_map(|request| request.header("authorization").map(str::to_owned))
            .collect();
        sent.sort();
        sent.dedup();
        sent
    };
    assert_eq!(sent(&one), [basic("ci:first")]);
    assert_eq!(sent(&two), [basic("robot:second")]);
    assert_eq!(sent(&source), Vec::<String>::new());
    drop(images);
}
