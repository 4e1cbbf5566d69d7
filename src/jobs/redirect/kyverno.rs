//! A Kyverno policy that rewrites the images of pods when they are created.
//!
//! It works on text only. Kyverno's image data lookups would ask the source registry, which is not there behind an air
//! gap. Only Pods are matched, not their controllers: Argo CD and Flux would see a rewritten Deployment as drift.

use std::fmt::Write as _;

use super::{super::file_comments::comment, ConfigFile, Move, Settings, quoted};

/// The lists of containers in a pod.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

pub(super) fn policy(moves: &[Move], settings: &Settings<'_>) -> ConfigFile {
    let Settings { root, name, .. } = settings;
    let mirror = root.registry();
    let mut text = comment(&format!(
        "Kyverno rewrites the images of new pods to their names in {root}. Apply with `kubectl apply -f`.\n\
         Works with any --naming: each repository has its own expression. The policy rewrites text and asks no registry.\n\
         Nothing falls back to the source: apply the policy when the mirror is complete, and again after each sync.\n\
         Login: the rewritten pods name {mirror}, so they need its pull secret (thoras-mirror pull-secret) in their \
         namespace: in imagePullSecrets of the pod or of its service account, or on the nodes, for example as a kubelet \
         credential provider."
    ));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata:
  name: {}
  annotations:
    pod-policies.kyverno.io/autogen-controllers: none
spec:
  background: false
  rules:
",
        quoted(name)
    );
    for list in LISTS {
        let _ = write!(
            text,
            "    - name: {}
      match:
        any:
          - resources:
              kinds:
                - Pod
              operations:
                - CREATE
                - UPDATE
      preconditions:
        all:
          - key: {}
            operator: GreaterThanOrEquals
            value: 1
      mutate:
        foreach:
",
            rule_name(list),
            quoted(&format!("{{{{ request.object.spec.{list}[] || `[]` | length(@) }}}}")),
        );
        for one in moves {
            text.push_str(&rewriting(list, one));
        }
    }
    ConfigFile { path: format!("{name}-policy.yaml").into(), text }
}

fn rule_name(list: &str) -> String {
    format!("rewrite-{}", list.to_ascii_lowercase())
}

/// Rewrites one repository in one list of containers.
fn rewriting(list: &str, one: &Move) -> String {
    let names = written_names(one).iter().map(|name| pattern(name)).collect::<Vec<_>>().join("|");
    let is_it = format!("{{{{ regex_match('^(?:{names})(?:[:@].*)?$', element.image) }}}}");
    let rewritten =
        format!("{{{{ regex_replace_all_literal('^(?:{names})', element.image, '{}') }}}}", one.mirror);
    format!(
        "          - list: {}
            preconditions:
              all:
                - key: {}
                  operator: Equals
                  value: true
            patchStrategicMerge:
              spec:
                {list}:
                  - (name): {}
                    image: {}
",
        quoted(&format!("request.object.spec.{list}")),
        quoted(&is_it),
        quoted("{{ element.name }}"),
        quoted(&rewritten),
    )
}

/// The names under which manifests write a repository. Those of Docker Hub have short forms.
fn written_names(one: &Move) -> Vec<String> {
    let (registry, path) = (one.source.registry(), one.source.path());
    if registry != "docker.io" {
        return vec![one.source.to_string()];
    }
    let short = path.strip_prefix("library/");
    let paths: Vec<&str> = [Some(path), short].into_iter().flatten().collect();
    let hosts = ["docker.io/", "index.docker.io/", "registry-1.docker.io/", ""];
    hosts.iter().flat_map(|host| paths.iter().map(move |path| format!("{host}{path}"))).collect()
}

/// A regular expression for a name. Without backslashes, which YAML, `JMESPath` and Kyverno would each read in their own
/// way: a dot is a class, and the brackets of an IPv6 address are any character.
fn pattern(name: &str) -> String {
    name.replace(['[', ']'], "\u{0}").replace('.', "[.]").replace('\u{0}', ".")
}
