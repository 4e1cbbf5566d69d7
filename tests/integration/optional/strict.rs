//! `--strict`: what may be missing must not be.

use super::*;

#[tokio::test]
async fn a_missing_mention_fails_strict_runs() {
    let site = Site::start().await;
    let gone = site.image("team/gone:9");
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&gone]);
    let outcome = site.sync(&rendered, &["--strict", "-o", "json"]).run().await.expect_code(1);
    assert_eq!(entry(&document(&outcome), &gone)["status"], "failed");
    assert_eq!(entry(&site.lock(), &gone).get("optional"), None);
    site.run(&["verify"], &[]).run().await.expect_code(5);
    let export = ["bundle", "export", "-o", "out.tar", "--rendered", rendered.to_str().unwrap(), "--strict"];
    site.run(&export, &[]).run().await.expect_code(1);
    assert!(!site.folder.path().join("out.tar").exists());
    let sync = site.sync(&rendered, &[]).env("THORAS_MIRROR_STRICT", "true");
    sync.run().await.expect_code(1);
}

#[tokio::test]
async fn a_chart_that_is_not_rendered_fails_strict_runs_before_any_request() {
    let site = Site::start().await;
    let application = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: cache}\nspec:\n  source: \
                       {repoURL: https://charts.example.com, chart: redis, targetRevision: 1.2.3}\n";
    let pod = std::fs::read_to_string(site.manifests(&[&site.image("team/app:1")], &[])).unwrap();
    let rendered = site.file(&format!("{pod}---\n{application}"));
    site.sync(&rendered, &[]).run().await.expect_success();
    site.source.clear();
    let (to, rendered) = (site.to(), rendered.to_str().unwrap());
    for command in [
        &["sync", "--to", &to][..],
        &["images"],
        &["verify", "--against", "source", "--to", &to],
        &["bundle", "export", "-o", "out.tar"],
    ] {
        let strict = ["--strict", "--rendered", rendered];
        let outcome = site.run(command, &strict).run().await.expect_code(3);
        assert!(outcome.stderr.contains("error: a chart is named here and not rendered"), "{outcome}");
        assert!(outcome.stderr.contains("chart redis not rendered (Application cache"), "{outcome}");
    }
    assert_eq!(site.source.requests().len(), 0);
    let doctor = ["doctor", "--to", &to, "--strict", "--rendered", rendered];
    site.run(&doctor, &[]).run().await.expect_code(3);
}

#[tokio::test]
async fn the_repair_command_repeats_strict() {
    let site = Site::start().await;
    let rendered = site.manifests(&[&site.image("team/app:1")], &[]);
    site.sync(&rendered, &[]).run().await.expect_success();
    site.destination.with_store(|store| store.repositories.clear());
    let outcome = site.run(&["verify", "--strict"], &[]).run().await.expect_code(5);
    let repair = outcome.stderr.lines().find(|line| line.contains("repair:")).unwrap();
    assert!(repair.ends_with("--strict"), "{repair}");
}
