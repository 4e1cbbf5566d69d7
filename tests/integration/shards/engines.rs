//! `--shard auto`, with the variables that engines set.

use super::*;

async fn refused(variables: &[(&str, &str)], more: &[&str]) -> String {
    let arguments = ["sync", "--to", "registry.example/m", "registry.example/a/b:1", "--shard", "auto"];
    let mut mirror = Mirror::new(arguments).arguments(more.iter().copied());
    for (name, value) in variables {
        mirror = mirror.env(name, *value);
    }
    mirror.run().await.expect_code(2).stderr
}

#[tokio::test]
async fn an_engine_numbers_the_shards() {
    let fleet = Fleet::with(3).await;
    let run = |variables: &[(&str, &str)], more: &[&str]| {
        let mut mirror =
            fleet.sync(&["--dry-run", "--shard", "auto", "--output", "json"]).arguments(more.iter().copied());
        for (name, value) in variables {
            mirror = mirror.env(name, *value);
        }
        async move {
            let outcome = mirror.run().await.expect_success();
            let shard = document(&outcome)["shard"].clone();
            format!("{}/{}", shard["index"], shard["count"])
        }
    };
    assert_eq!(run(&[("JOB_COMPLETION_INDEX", "2")], &["--shards", "4"]).await, "2/4");
    let slurm = [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_MAX", "4")];
    assert_eq!(run(&slurm, &[]).await, "2/4");
    assert_eq!(run(&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "2")], &[]).await, "0/2");
}

#[tokio::test]
async fn what_is_set_and_what_is_missing_is_named() {
    let none = refused(&[], &[]).await;
    assert!(none.contains("none of these variables is set: JOB_COMPLETION_INDEX"), "{none}");
    let kubernetes = refused(&[("JOB_COMPLETION_INDEX", "0")], &[]).await;
    assert!(
        kubernetes.contains("JOB_COMPLETION_INDEX is set") && kubernetes.contains("--shards N"),
        "{kubernetes}"
    );
    let two = refused(&[("JOB_COMPLETION_INDEX", "0"), ("CIRCLE_NODE_INDEX", "0")], &["--shards", "2"]).await;
    assert!(two.contains("only one engine"), "{two}");
}
