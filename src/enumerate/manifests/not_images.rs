//! Recognizes text that looks like an image reference but is not one.

use crate::oci::Reference;

use super::hosts::FILE_ENDINGS;

/// Placeholders that something replaces with an image.
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

/// Whether a resource describes images, and names none: a constraint of Gatekeeper, an exception of Kyverno.
pub(super) fn is_policy(group: &str, kind: &str) -> bool {
    matches!(group, "constraints.gatekeeper.sh" | "policy.sigstore.dev") || kind == "PolicyException"
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

/// Whether a value names an image of a virtual machine, as Google's API writes it: `projects/acme/global/images/ubuntu`.
pub(super) fn is_machine_image(written: &str) -> bool {
    written.starts_with("projects/") && written.contains("/global/images/")
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

/// Whether a tag looks like that of a release rather than a port or a role: `1.2`, `v3.0.1-alpine`.
pub(super) fn is_release(tag: &str) -> bool {
    let digits = tag.strip_prefix('v').unwrap_or(tag);
    digits.starts_with(|first: char| first.is_ascii_digit()) && digits.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

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
