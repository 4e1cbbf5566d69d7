//! What the vendor's install guide asks for besides the registry: workers, storage and the pull secret.

use super::*;

#[tokio::test]
async fn workers_and_storage_follow_the_number_of_workloads() {
    let outcome = values("operator").arguments(["--workloads", "201", "--storage", "fixed"]).run().await;
    let outcome = outcome.expect_success();
    let printed = lines(&outcome).join("\n");
    for expected in ["    replicas: 3", "    enabled: true\n    pvcStorageRequestSize: \"201Gi\""] {
        assert!(printed.contains(expected), "{outcome}");
    }
    let outcome = values("operator").arguments(["--workloads", "201", "--storage", "growable"]).run().await;
    let outcome = outcome.expect_success();
    assert!(!outcome.stdout.contains("pvcStorageRequestSize"), "{outcome}");
    let outcome = values("operator").arguments(["--volume-name", "data"]).run().await.expect_success();
    let printed = lines(&outcome).join("\n");
    assert!(printed.contains("    enabled: true\n    volumeName: data"), "{outcome}");
}

/// A copy of the sample operator whose forecast workers have these values, and its path.
fn with_workers(worker: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("operator");
    std::fs::create_dir_all(copy.join("templates")).unwrap();
    for file in ["Chart.yaml", "templates/secret.yaml", "templates/workloads.yaml"] {
        std::fs::copy(Path::new(&chart("operator")).join(file), copy.join(file)).unwrap();
    }
    let values = std::fs::read_to_string(Path::new(&chart("operator")).join("values.yaml")).unwrap();
    assert!(values.contains("    replicas: 1\n"));
    std::fs::write(copy.join("values.yaml"), values.replace("    replicas: 1\n", worker)).unwrap();
    let copy = copy.display().to_string();
    (folder, copy)
}

async fn for_300_workloads(chart: &str, more: &[&str]) -> Outcome {
    Mirror::new(["values", "--to", TO, "--chart", chart, "--workloads", "300"])
        .arguments(more.iter().copied())
        .env("THORAS_MIRROR_HELM", helm::program())
        .run()
        .await
        .expect_success()
}

#[tokio::test]
async fn a_chart_that_scales_its_workers_is_left_to_do_so() {
    let (_folder, copy) =
        with_workers("    replicas:\n    scaler: {minReplicas: 1, maxReplicas: 100, astsPerReplica: 67}\n");
    let outcome = for_300_workloads(&copy, &[]).await;
    assert!(!lines(&outcome).iter().any(|line| line.contains("replicas")), "{outcome}");
    assert!(unfolded(&outcome).contains("scales the forecast workers itself"), "{outcome}");
    assert!(unfolded(&outcome).contains("1 to 100, one per 67"), "{outcome}");
    let outcome = for_300_workloads(&copy, &["--fixed-workers"]).await;
    assert!(lines(&outcome).contains(&"    replicas: 3"), "{outcome}");
}

#[tokio::test]
async fn a_scaler_with_a_switch_is_read_by_its_switch() {
    let scaler = |enabled: bool| {
        format!(
            "    replicas: 1\n    scaler: {{enabled: {enabled}, minReplicas: 1, maxReplicas: 100, astsPerReplica: 67}}\n"
        )
    };
    let (_folder, off) = with_workers(&scaler(false));
    let outcome = for_300_workloads(&off, &[]).await;
    assert!(lines(&outcome).contains(&"    replicas: 3"), "{outcome}");
    assert!(!outcome.stdout.contains("scale"), "{outcome}");

    let (_folder, on) = with_workers(&scaler(true));
    let outcome = for_300_workloads(&on, &[]).await;
    assert!(lines(&outcome).contains(&"    replicas: 3"), "{outcome}");
    assert!(unfolded(&outcome).contains("then scales them itself"), "{outcome}");
    assert!(!outcome.stdout.contains("enabled: false"), "{outcome}");
    let outcome = for_300_workloads(&on, &["--fixed-workers"]).await;
    assert!(lines(&outcome).contains(&"    replicas: 3"), "{outcome}");
    assert!(lines(&outcome).contains(&"      enabled: false"), "{outcome}");
}

#[tokio::test]
async fn workers_that_are_switched_off_get_a_comment() {
    let (_folder, copy) = with_workers("    enabled: false\n    replicas: 1\n");
    let outcome = for_300_workloads(&copy, &[]).await;
    assert!(lines(&outcome).contains(&"    replicas: 3"), "{outcome}");
    assert!(unfolded(&outcome).contains("thorasForecast.worker.enabled is false"), "{outcome}");
}

/// A chart with the storage and pull secrets of the vendor's chart. Old ones have no access mode and no secret in pods.
fn write_storage_chart(folder: &Path, is_old: bool) -> String {
    let values = format!(
        "imageCredentials: {{registry: {VENDOR}, secretRef: \"\"}}\nthorasVersion: \"4.90.0\"\n\
         metricsCollector:\n  persistence: {{enabled: false, pvcStorageRequestSize: 3Gi, storageClassName: \"\"}}\n"
    );
    let template = r"
{{- $disk := .Values.metricsCollector.persistence }}
{{- $login := .Values.imageCredentials }}
{{- with ($disk.createEFSStorageClass).fileSystemId }}
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: {{ $disk.storageClassName }}}
provisioner: efs.csi.aws.com
parameters: {fileSystemId: {{ . }}}
---
{{- end }}
{{- if $disk.enabled }}
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [{{ ACCESS_MODE }}]
  storageClassName: {{ $disk.storageClassName }}
  resources: {requests: {storage: {{ $disk.pvcStorageRequestSize }}}}
---
{{- end }}
apiVersion: v1
kind: Pod
metadata: {name: collector}
spec:
  {{- if IN_PODS }}
  imagePullSecrets: [{name: {{ $login.secretRef }}}]
  {{- end }}
  containers:
  - name: collector
    image: {{ $login.registry }}/services:{{ .Values.thorasVersion }}
";
    let (access_mode, in_pods) = if is_old {
        ("`ReadWriteMany`", "false")
    } else {
        ("$disk.accessMode", "$login.imagePullSecretInDeployment")
    };
    let template = template.replace("ACCESS_MODE", access_mode).replace("IN_PODS", in_pods);
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: thoras\nversion: 4.90.0\n").unwrap();
    std::fs::write(folder.join("values.yaml"), values).unwrap();
    std::fs::write(folder.join("templates/all.yaml"), template).unwrap();
    folder.display().to_string()
}

/// The resource of this kind in the rendering with the printed values.
async fn rendered_resource(chart: &str, outcome: &Outcome, kind: &str) -> Value {
    let file = printed(outcome).display().to_string();
    let text = helm::run(&["template", "x", chart, "--values", &file]).await;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut of_kind = documents.into_iter().filter(|document| document["kind"] == kind);
    of_kind.next().unwrap_or_else(|| panic!("no {kind} in {text}"))
}

const STORAGE_AND_SECRET: [&str; 9] = [
    "--efs-file-system",
    "fs-0abc",
    "--storage-class",
    "efs",
    "--access-mode",
    "ReadWriteOnce",
    "--pull-secret",
    "regcred",
    "--pull-secret-in-pods",
];

#[tokio::test]
async fn a_file_system_an_access_mode_and_a_secret_in_pods_reach_the_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let chart = write_storage_chart(folder.path(), false);
    let outcome = values_of(&chart, &STORAGE_AND_SECRET).await.expect_success();
    let claim = &rendered_resource(&chart, &outcome, "PersistentVolumeClaim").await["spec"];
    assert_eq!(claim["accessModes"], json!(["ReadWriteOnce"]), "{outcome}");
    assert_eq!(claim["storageClassName"], "efs", "{outcome}");
    let class = rendered_resource(&chart, &outcome, "StorageClass").await;
    assert_eq!(
        (&class["metadata"]["name"], &class["parameters"]["fileSystemId"]),
        (&json!("efs"), &json!("fs-0abc"))
    );
    let pod = rendered_resource(&chart, &outcome, "Pod").await;
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "regcred"}]), "{outcome}");
    // Without the flag, only the service accounts name the secret.
    let outcome = values_of(&chart, &["--pull-secret", "regcred"]).await.expect_success();
    let pod = rendered_resource(&chart, &outcome, "Pod").await;
    assert_eq!(pod["spec"]["imagePullSecrets"], Value::Null, "{outcome}");
}

#[tokio::test]
async fn what_an_older_chart_does_not_have_is_left_out_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let chart = write_storage_chart(folder.path(), true);
    let outcome = values_of(&chart, &STORAGE_AND_SECRET).await.expect_success();
    for key in ["metricsCollector.persistence.accessMode", "imageCredentials.imagePullSecretInDeployment"] {
        assert!(unfolded(&outcome).contains(&format!("{key} is left out")), "{key}: {outcome}");
        let last = key.rsplit('.').next().unwrap();
        assert!(!lines(&outcome).iter().any(|line| line.contains(last)), "{key}: {outcome}");
    }
    assert!(lines(&outcome).contains(&"    enabled: true"), "{outcome}");
}

#[tokio::test]
async fn a_password_is_written_only_to_a_file_of_its_owner() {
    let login = ["--to-username", "robot", "--to-password-stdin"];
    let refused = values("operator").arguments(login).stdin("pa55word\n").run().await.expect_code(2);
    assert!(refused.stderr.contains("needs --write FILE"), "{refused}");
    let outcome = values("operator")
        .arguments(login)
        .arguments(["--write", "mirror.yaml", "--output", "json"])
        .stdin("pa55word\n")
        .run()
        .await
        .expect_success();
    let file = outcome.folder().join("mirror.yaml");
    assert!(!format!("{outcome}").contains("pa55word"), "{outcome}");
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["values"]["imageCredentials"]["password"], "***");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("password: pa55word") && text.contains("username: robot"), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let again = values("operator").in_folder(&outcome.folder()).arguments(["--write", "mirror.yaml"]);
    let again = again.run().await.expect_code(2);
    assert!(again.stderr.contains("mirror.yaml exists") && again.stderr.contains("--force"), "{again}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let forced =
        values("operator").in_folder(&outcome.folder()).arguments(["--write", "mirror.yaml", "--force"]);
    forced.run().await.expect_success();
    assert!(!std::fs::read_to_string(&file).unwrap().contains("pa55word"));
}

/// The login of `sync` in the environment is not the chart's.
#[tokio::test]
async fn a_named_secret_wins_over_a_login_in_the_environment() {
    let in_environment = |more: &[&'static str]| {
        let run = values("operator").arguments(["--pull-secret", "regcred"]).arguments(more.iter().copied());
        run.env("THORAS_MIRROR_TO_USERNAME", "robot").env("THORAS_MIRROR_TO_PASSWORD", "pa55word").run()
    };
    let outcome = in_environment(&["--write", "mirror.yaml"]).await.expect_success();
    let text = std::fs::read_to_string(outcome.folder().join("mirror.yaml")).unwrap();
    assert!(text.contains("secretRef: regcred") && !text.contains("robot"), "{text}");
    let refused = in_environment(&["--to-username", "robot"]).await.expect_code(2);
    assert!(refused.stderr.contains("--pull-secret cannot be used with --to-username"), "{refused}");
}
