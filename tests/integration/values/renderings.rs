//! How often `values` renders a chart, and what it renders: Helm takes seconds for a large chart.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{TO, printed, rendered, values, write_chart};
use crate::support::{
    helm,
    process::{Mirror, Outcome},
};

/// A Helm that writes down what it renders.
struct CountingHelm {
    folder: tempfile::TempDir,
}

impl CountingHelm {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "#!/bin/sh\necho \"$@\" >> {}/log\nexec {} \"$@\"\n",
            folder.path().display(),
            helm::program().display()
        );
        let helm = Self { folder };
        std::fs::write(helm.program(), text).unwrap();
        std::fs::set_permissions(helm.program(), std::fs::Permissions::from_mode(0o755)).unwrap();
        helm
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("helm")
    }

    /// The command lines of the renderings.
    fn renderings(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.lines().filter(|line| line.starts_with("template")).map(str::to_owned).collect()
    }

    async fn values(&self, chart: &str) -> Outcome {
        let run = Mirror::new(["values", "--to", TO, "--chart", chart]);
        run.env("THORAS_MIRROR_HELM", self.program()).run().await
    }
}

/// A chart whose markers are rejected one by one costs a rendering for each; the switch costs one.
#[tokio::test]
async fn a_chart_that_allows_only_known_registries_is_rendered_a_few_times() {
    let helm = CountingHelm::new();
    values("registry").env("THORAS_MIRROR_HELM", helm.program()).run().await.expect_success();
    assert!(helm.renderings().len() <= 8, "{:#?}", helm.renderings());
}

const REFUSES_OTHERS: &str = "{{- if not .Values.global.security.allowInsecureImages }}\n\
    {{- if ne .Values.image.registry \"quay.io\" }}{{ fail (print \"unrecognized \" .Values.image.registry) }}{{ end }}\n\
    {{- end }}\n";

/// The parent's values do not show the switch of a subchart's `global`.
#[tokio::test]
async fn the_switch_of_a_subchart_is_set_for_all_charts() {
    let (folder, helm) = (tempfile::tempdir().unwrap(), CountingHelm::new());
    let image = "{{ .Values.image.registry }}/{{ .Values.image.repository }}:1";
    let image_values = "image: {registry: quay.io, repository: team/web}\n";
    let parent = write_chart(folder.path(), image_values, &[image]);
    let switch = "global: {security: {allowInsecureImages: false}}\n";
    write_chart(&folder.path().join("charts/db"), &format!("{image_values}{switch}"), &[image]);
    std::fs::write(folder.path().join("charts/db/Chart.yaml"), "apiVersion: v2\nname: db\nversion: 1.0.0\n")
        .unwrap();
    std::fs::write(folder.path().join("charts/db/templates/NOTES.txt"), REFUSES_OTHERS).unwrap();
    let outcome = helm.values(&parent).await.expect_success();
    assert!(outcome.stdout.contains("    allowInsecureImages: true"), "{outcome}");
    let found = rendered(&parent, &[&printed(&outcome)]).await;
    assert_eq!(found, [format!("{TO}/web:1")].into());
    assert!(helm.renderings().len() <= 6, "{:#?}", helm.renderings());
}

/// 24 components, of which three refuse other images and say so.
#[tokio::test]
async fn markers_that_the_chart_complains_about_are_tried_apart() {
    let (folder, helm) = (tempfile::tempdir().unwrap(), CountingHelm::new());
    let names: Vec<String> = (0..24).map(|number| format!("part{number}")).collect();
    let values: String = names
        .iter()
        .map(|name| format!("{name}: {{image: quay.io/team/{name}}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let images: Vec<String> = names.iter().map(|name| format!("{{{{ .Values.{name}.image }}}}:1")).collect();
    let chart = write_chart(folder.path(), &values, &images.iter().map(String::as_str).collect::<Vec<_>>());
    let mut checks = String::new();
    for name in ["part3", "part11", "part20"] {
        let _ = writeln!(
            checks,
            "{{{{ if not (hasSuffix \"/{name}\" .Values.{name}.image) }}}}{{{{ fail (print \"not {name}: \" .Values.{name}.image) }}}}{{{{ end }}}}"
        );
    }
    std::fs::write(folder.path().join("templates/checks.yaml"), checks).unwrap();
    let outcome = helm.values(&chart).await.expect_success();
    let found = rendered(&chart, &[&printed(&outcome)]).await;
    assert_eq!(found, names.iter().map(|name| format!("{TO}/{name}:1")).collect::<BTreeSet<_>>());
    assert!(helm.renderings().len() <= 10, "{:#?}", helm.renderings());
}

/// Values that are empty in the chart, one for each component, are tried together.
#[tokio::test]
async fn empty_values_of_different_images_are_tried_together() {
    let (folder, helm) = (tempfile::tempdir().unwrap(), CountingHelm::new());
    let names: Vec<String> = (0..16).map(|number| format!("part{number}")).collect();
    let values: String =
        names.iter().map(|name| format!("{name}: {{image: }}\n")).collect::<Vec<_>>().concat();
    let image = |name: &String| format!("{{{{ .Values.{name}.image | default \"quay.io/team/{name}\" }}}}:1");
    let images: Vec<String> = names.iter().map(image).collect();
    let chart = write_chart(folder.path(), &values, &images.iter().map(String::as_str).collect::<Vec<_>>());
    let outcome = helm.values(&chart).await.expect_success();
    let found = rendered(&chart, &[&printed(&outcome)]).await;
    assert_eq!(found, names.iter().map(|name| format!("{TO}/{name}:1")).collect::<BTreeSet<_>>());
    assert!(helm.renderings().len() <= 7, "{:#?}", helm.renderings());
}

/// A chart with two images and 400 KiB of dashboards, whose template may check a value.
fn write_large_chart(folder: &Path, check: &str) -> String {
    let values = "hub: quay.io\nweb: team/web\njob: team/job\nname: web\n";
    let chart = write_chart(
        folder,
        values,
        &["{{ .Values.hub }}/{{ .Values.web }}:1", "{{ .Values.hub }}/{{ .Values.job }}:1"],
    );
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: d{{ . }}}\ndata: {board: {{ repeat 100000 \"x\" }}}\n";
    let dashboards = format!("{check}{{{{ range (list 1 2 3 4) }}}}\n{map}{{{{ end }}}}\n");
    std::fs::write(folder.join("templates/dashboards.yaml"), dashboards).unwrap();
    // Its checksum is part of another resource, as in many charts.
    let pod = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: a\n  annotations: {checksum: {{ include (print $.Template.BasePath \"/dashboards.yaml\") . | sha256sum }}}\n";
    std::fs::write(folder.join("templates/account.yaml"), pod).unwrap();
    chart
}

#[tokio::test]
async fn of_a_large_chart_only_the_templates_that_name_images_are_rendered_with_markers() {
    let (folder, helm) = (tempfile::tempdir().unwrap(), CountingHelm::new());
    let chart = write_large_chart(folder.path(), "");
    let outcome = helm.values(&chart).await.expect_success();
    let found = rendered(&chart, &[&printed(&outcome)]).await;
    assert_eq!(found, ["web:1", "job:1"].map(|name| format!("{TO}/{name}")).into());
    let renderings = helm.renderings();
    let whole = renderings.iter().filter(|line| line.ends_with(&chart)).count();
    assert_eq!(whole, 2, "before and after: {renderings:#?}");
    assert!(renderings.len() <= 6, "{renderings:#?}");
}

/// A check in a template without images is not in the lighter copy.
#[tokio::test]
async fn a_check_that_the_lighter_copy_lacks_is_respected() {
    let (folder, helm) = (tempfile::tempdir().unwrap(), CountingHelm::new());
    let check = "{{ if ne .Values.hub \"quay.io\" }}{{ fail \"hub is fixed\" }}{{ end }}";
    let chart = write_large_chart(folder.path(), check);
    let outcome = helm.values(&chart).await.expect_code(5);
    assert!(outcome.stderr.contains("2 images are still pulled from outside"), "{outcome}");
    assert!(outcome.stderr.contains("because quay.io/team/web:1 (Pod p0"), "{outcome}");
    assert!(!outcome.stderr.contains("hub is fixed"), "{outcome}");
}

/// What a template changes in the values is known, although the chart is asked for its values without its templates.
#[tokio::test]
async fn values_that_a_template_changes_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let image = "{{ .Values.hub }}/web:1";
    let chart = write_chart(folder.path(), "_defaults: {hub: quay.io/team}\n", &[image]);
    let changes = "{{- $_ := set $ \"Values\" (mustMergeOverwrite (deepCopy $.Values._defaults) (omit $.Values \"_defaults\")) }}\n";
    std::fs::write(folder.path().join("templates/zzz.yaml"), changes).unwrap();
    let outcome = CountingHelm::new().values(&chart).await.expect_success();
    assert!(outcome.stdout.contains("# replaces the chart's quay.io/team"), "{outcome}");
    assert!(rendered(&chart, &[&printed(&outcome)]).await.contains(&format!("{TO}/web:1")), "{outcome}");
}
