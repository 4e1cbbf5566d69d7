//! What looks like an image reference but is not one.

use crate::oci::Reference;

/// Domains in front of label keys, resource names, modules and links, never a registry themselves. Their
/// sub-domains count as well, except `*.k8s.io` and `*.gcr.io`, which are registries.
const NOT_REGISTRIES: &[&str] = &[
    "kubernetes.io",
    "x-k8s.io",
    "githubusercontent.com",
    "bitbucket.org",
    "golang.org",
    "gopkg.in",
    "w3.org",
];
/// The same, but a sub-domain is a registry: `registry.k8s.io`, `registry.gitlab.com`.
const NOT_REGISTRIES_THEMSELVES: &[&str] = &[
    "k8s.io",
    "sigs.k8s.io",
    "node.k8s.io",
    "gitlab.com",
    "github.com",
    "helm.sh",
    "nvidia.com",
    "amd.com",
    "intel.com",
];

/// Registries with a host of two labels that have images directly below the host.
const SHORT_REGISTRIES: &[&str] =
    &["docker.io", "dhi.io", "quay.io", "ghcr.io", "gcr.io", "nvcr.io", "cgr.dev"];

/// Registries that hold nothing but images: what is below an organization there is one, even without a tag.
const IMAGE_REGISTRIES: &[&str] =
    &["quay.io", "ghcr.io", "nvcr.io", "docker.io", "registry.k8s.io", "public.ecr.aws"];

/// Endings of file names, which are not the top-level domain of a registry.
const FILE_ENDINGS: &[&str] = &[
    "cfg", "conf", "crt", "css", "go", "gz", "html", "ini", "jar", "js", "json", "key", "log", "md", "pem",
    "py", "sh", "sock", "tar", "toml", "ts", "txt", "xml", "yaml", "yml", "zip",
];

/// Placeholders for an image that someone fills in.
const PLACEHOLDERS: &[&str] = &[
    "auto",
    "none",
    "null",
    "nil",
    "default",
    "n/a",
    "na",
    "todo",
    "tbd",
    "changeme",
    "change-me",
    "replaceme",
    "replace-me",
    "placeholder",
    "image",
    "your-image",
    "my-image",
    "string",
    "example",
    "true",
    "false",
    "yes",
    "no",
    "unset",
    "undefined",
    "unused",
    "disabled",
    "dummy",
    "overridden",
    "not-used",
];

/// Official images of Docker Hub that are commonly written as a single word.
const OFFICIAL: &[&str] = &[
    "alpine",
    "amazoncorretto",
    "amazonlinux",
    "bash",
    "buildpack-deps",
    "busybox",
    "caddy",
    "cassandra",
    "centos",
    "consul",
    "couchbase",
    "couchdb",
    "debian",
    "docker",
    "eclipse-temurin",
    "elasticsearch",
    "erlang",
    "fedora",
    "fluentd",
    "gcc",
    "golang",
    "gradle",
    "haproxy",
    "hello-world",
    "httpd",
    "influxdb",
    "kibana",
    "kong",
    "logstash",
    "mariadb",
    "maven",
    "memcached",
    "mongo",
    "mysql",
    "nats",
    "neo4j",
    "nginx",
    "node",
    "openjdk",
    "oraclelinux",
    "perl",
    "php",
    "postgres",
    "python",
    "rabbitmq",
    "redis",
    "registry",
    "rockylinux",
    "ruby",
    "rust",
    "solr",
    "sonarqube",
    "tomcat",
    "traefik",
    "ubuntu",
    "vault",
    "wordpress",
    "zookeeper",
];

const PICTURE_ENDINGS: [&str; 10] =
    [".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp", ".ico", ".iso", ".img", ".qcow2"];

/// Whether an annotation holds a copy of the resource, or examples.
pub(super) fn is_closed_annotation(key: &str) -> bool {
    key.contains("last-applied")
        || key.ends_with("/original-configuration")
        || key == "kapp.k14s.io/original"
        || key == "alm-examples"
        || key.starts_with("checksum/")
}

/// Why a value under an image key is not an image, if it is a placeholder.
pub(super) fn placeholder(written: &str) -> Option<&'static str> {
    let lower = written.to_ascii_lowercase();
    if lower == "auto" {
        return Some("`auto` is filled in by a sidecar injector");
    }
    let has_template =
        ["{{", "}}", "${", "$(", "<", ">", "%", "@@", "__"].iter().any(|mark| written.contains(mark))
            && written.parse::<Reference>().is_err();
    let is_shouted = written.len() > 1
        && written.bytes().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-' | b'0'..=b'9'))
        && written.bytes().any(|byte| byte.is_ascii_uppercase());
    let is_yours = lower.split('/').any(|component| component.starts_with("your-"));
    if is_yours || PLACEHOLDERS.contains(&lower.as_str()) || has_template || is_shouted {
        return Some("it is a placeholder");
    }
    is_pattern(written).then_some("it is a pattern")
}

/// Whether a value describes images, as policies do: `!*:latest`.
pub(super) fn is_pattern(written: &str) -> bool {
    written.contains(['*', '?', '!', '^', '|']) && written.parse::<Reference>().is_err()
}

/// Whether a value names a picture or a disk rather than an image.
pub(super) fn is_picture(written: &str) -> bool {
    let lower = written.to_ascii_lowercase();
    PICTURE_ENDINGS.iter().any(|ending| lower.ends_with(ending)) && !super::objects::has_version(written)
}

/// Whether a name without a version can only be an image: `quay.io/acme/web`, not the organization `quay.io/acme`.
pub(super) fn is_on_image_registry(written: &str) -> bool {
    written.split_once('/').is_some_and(|(host, path)| IMAGE_REGISTRIES.contains(&host) && path.contains('/'))
}

/// Whether a name can only be an organization: the registry has images nowhere but below one.
pub(super) fn is_organization(written: &str) -> bool {
    let is_above = |(host, path): (&str, &str)| {
        matches!(host, "quay.io" | "ghcr.io" | "public.ecr.aws") && !path.contains('/')
    };
    !super::objects::has_version(written)
        && written.trim_end_matches('/').split_once('/').is_some_and(is_above)
}

/// The host of a name that is nothing but one: `registry.k8s.io:3.5.10` has a tag, but no path.
pub(super) fn bare_host(written: &str) -> Option<&str> {
    let host = written.split([':', '@']).next().unwrap_or(written);
    let (_, top) = host.rsplit_once('.')?;
    let is_domain = top.len() > 1 && top.bytes().all(|byte| byte.is_ascii_lowercase());
    (!written.contains('/') && is_domain && !FILE_ENDINGS.contains(&top)).then_some(host)
}

/// Whether a single word is an image of Docker Hub's own library.
pub(super) fn is_official(name: &str) -> bool {
    OFFICIAL.contains(&name)
}

/// How far the host of a complete reference can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostEvidence {
    /// It can be a registry.
    Plausible,
    /// Only a registry that other images are on: this may be a label (`example.com/role:web`) or a resource's amount.
    Weak,
    /// It is not a registry.
    NotRegistry,
}

/// Judges the host of a reference that was written with one, a path, and a tag or a digest.
pub(super) fn host_evidence(reference: &Reference) -> HostEvidence {
    let repository = reference.repository();
    let host = repository.registry();
    let is_among = |domains: &[&str]| {
        domains.iter().any(|domain| host == *domain || host.ends_with(&format!(".{domain}")))
    };
    let tag = reference.tag().unwrap_or_default();
    let is_taint = matches!(tag, "NoSchedule" | "NoExecute" | "PreferNoSchedule");
    let has_letter = repository.path().bytes().any(|byte| byte.is_ascii_lowercase());
    if is_among(NOT_REGISTRIES) || NOT_REGISTRIES_THEMSELVES.contains(&host) || is_taint || !has_letter {
        return HostEvidence::NotRegistry;
    }
    let has_port = host.contains(':');
    let labels: Vec<&str> = host.split('.').collect();
    let top = labels.last().copied().unwrap_or_default();
    let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
    let is_domain = labels.len() > 1
        && top.len() > 1
        && top.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !has_port && !is_address && host != "localhost" && (!is_domain || FILE_ENDINGS.contains(&top)) {
        return HostEvidence::NotRegistry;
    }
    let is_short = labels.len() == 2
        && !has_port
        && !repository.path().contains('/')
        && !SHORT_REGISTRIES.contains(&host);
    let is_release = reference.digest().is_some() || tag == "latest" || is_release(tag);
    if is_short && !is_release { HostEvidence::Weak } else { HostEvidence::Plausible }
}

/// Whether a tag looks like that of a release rather than a port or a role: `1.2`, `v3.0.1-alpine`.
pub(super) fn is_release(tag: &str) -> bool {
    let digits = tag.strip_prefix('v').unwrap_or(tag);
    digits.starts_with(|first: char| first.is_ascii_digit()) && digits.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(text: &str) -> HostEvidence {
        host_evidence(&text.parse().unwrap())
    }

    #[test]
    fn labels_resources_files_and_modules_are_not_on_a_registry() {
        for text in [
            "node-role.kubernetes.io/control-plane:NoSchedule",
            "example.com/dedicated:NoExecute",
            "topology.kubernetes.io/zone:a",
            "nvidia.com/gpu:1",
            "github.com/team/web:1.0",
            "main.go/x:1",
            "10.0.0.0/8:1",
            "1.2.3/x:1",
            "app.yaml/x:1",
            "sigs.k8s.io/kind:v1",
        ] {
            assert_eq!(evidence(text), HostEvidence::NotRegistry, "{text}");
        }
        for text in ["cert-manager.io/issuer:main", "vendor.com/fpga:2"] {
            assert_eq!(evidence(text), HostEvidence::Weak, "{text}");
        }
        for text in [
            "registry.k8s.io/pause:3",
            "quay.io/a/b:1",
            "docker.io/nginx:1",
            "reg.io/pause:3.9",
            "10.0.0.1:5000/a/b:1",
            "localhost/a:1",
            "registry:5000/a:1",
            "registry.gitlab.com/a/b:1",
            "public.ecr.aws/a/b:1",
        ] {
            assert_eq!(evidence(text), HostEvidence::Plausible, "{text}");
        }
    }

    #[test]
    fn placeholders_are_known() {
        for text in [
            "auto",
            "none",
            "REPLACE_ME",
            "{{ .Values.image }}",
            "${IMAGE}",
            "<image>",
            "quay.io/a/b:$(TAG)",
            "*:latest",
        ] {
            assert!(placeholder(text).is_some(), "{text}");
        }
        for text in ["nginx", "automation/web:1", "a__b/c", "quay.io/a/b:v1_X"] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_not_a_name() {
        assert_eq!(bare_host("registry.k8s.io:3.5.10-0"), Some("registry.k8s.io"));
        for text in ["registry.k8s.io/pause:3", "nginx:1.25.io", "my.app.v2:1", "nginx", "1.2.3:4"] {
            assert_eq!(bare_host(text), None, "{text}");
        }
    }

    #[test]
    fn pictures_are_not_images() {
        assert!(is_picture("logo.PNG") && !is_picture("a/logo.png:1") && !is_picture("alpine"));
    }
}
