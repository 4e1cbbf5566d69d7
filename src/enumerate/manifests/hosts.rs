//! Decides whether the host of a reference is a registry.

use crate::oci::Reference;

use super::not_images::is_release;

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

/// Registries that hold only images: anything below an organization there is an image, even without a tag.
const IMAGE_REGISTRIES: &[&str] =
    &["quay.io", "ghcr.io", "nvcr.io", "docker.io", "registry.k8s.io", "public.ecr.aws"];

/// Top-level domains with which the name of a Java or Go package begins: `org.apache/spark-avro:3.5.0`.
const PACKAGE_DOMAINS: &[&str] = &["com", "org", "net", "io", "edu", "gov"];
/// Top-level domains of registries that are longer than those of countries, and are not the name of a project.
const LONG_DOMAINS: &[&str] = &[
    "cloud",
    "company",
    "corp",
    "digital",
    "engineering",
    "global",
    "home",
    "host",
    "info",
    "internal",
    "intranet",
    "local",
    "localdomain",
    "network",
    "online",
    "private",
    "services",
    "site",
    "software",
    "solutions",
    "systems",
    "team",
    "tech",
    "tools",
    "world",
    "zone",
];

/// Hosts, by their first label, that are a service of another kind.
const SERVICES: &[&str] = &[
    "amqp",
    "api",
    "cassandra",
    "clickhouse",
    "collector",
    "consul",
    "database",
    "db",
    "docs",
    "elasticsearch",
    "etcd",
    "grafana",
    "graphite",
    "grpc",
    "influxdb",
    "jaeger",
    "kafka",
    "ldap",
    "loki",
    "mail",
    "mariadb",
    "memcached",
    "minio",
    "mongo",
    "mongodb",
    "mqtt",
    "mysql",
    "nats",
    "opensearch",
    "otel",
    "otel-collector",
    "postgres",
    "postgresql",
    "prometheus",
    "rabbitmq",
    "redis",
    "s3",
    "smtp",
    "statsd",
    "syslog",
    "tempo",
    "vault",
    "wiki",
    "www",
    "zipkin",
    "zookeeper",
];

/// Endings of file names, which are not the top-level domain of a registry.
pub(super) const FILE_ENDINGS: &[&str] = &[
    "cfg", "conf", "crt", "css", "go", "gz", "html", "ini", "jar", "js", "json", "key", "log", "md", "pem",
    "py", "sh", "sock", "tar", "toml", "ts", "txt", "xml", "yaml", "yml", "zip",
];

/// The endings of file names that are top-level domains as well: `docker.scarf.sh/acme/web:1.2`.
const FILE_DOMAINS: &[&str] = &["md", "py", "sh", "zip"];

/// Whether a name without a version can only be an image: `quay.io/acme/web`, not the organization `quay.io/acme`.
pub(super) fn is_on_image_registry(written: &str) -> bool {
    written.split_once('/').is_some_and(|(host, path)| IMAGE_REGISTRIES.contains(&host) && path.contains('/'))
}

/// Whether a name can only be an organization, because the registry has images only below organizations.
pub(super) fn is_organization(written: &str) -> bool {
    let is_above = |(host, path): (&str, &str)| {
        matches!(host, "quay.io" | "ghcr.io" | "public.ecr.aws") && !path.contains('/')
    };
    !super::objects::has_version(written)
        && written.trim_end_matches('/').split_once('/').is_some_and(is_above)
}

/// Whether a reference with a host can be on a registry, regardless of how strong the evidence is.
pub(super) fn can_be_registry(reference: &Reference) -> bool {
    host_evidence(reference) != HostEvidence::NotRegistry
}

/// Whether a host is a registry that is known, or has the shape of a registry rather than that of a module's domain.
pub(super) fn is_distinct_registry(host: &str) -> bool {
    SHORT_REGISTRIES.contains(&host) || host.contains(':') || host.split('.').count() > 2
}

/// Whether a host is a registry that is known to hold images.
pub(super) fn is_known_registry(host: &str) -> bool {
    SHORT_REGISTRIES.contains(&host) || IMAGE_REGISTRIES.contains(&host)
}

/// How strongly the host of a complete reference suggests an image.
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
    let may_be_file = FILE_ENDINGS.contains(&top);
    let is_file = may_be_file && !FILE_DOMAINS.contains(&top);
    if !has_port && !is_address && host != "localhost" && (!is_domain || is_file) {
        return HostEvidence::NotRegistry;
    }
    let is_short = labels.len() == 2
        && !has_port
        && !repository.path().contains('/')
        && !SHORT_REGISTRIES.contains(&host);
    let is_release = reference.digest().is_some() || tag == "latest" || is_release(tag);
    let is_script = may_be_file && !has_port && (labels.len() == 2 || !is_release);
    let is_other = is_package(&labels) || is_service(&labels) || matches!(tag, "true" | "false") || is_script;
    if is_other || is_short && !is_release { HostEvidence::Weak } else { HostEvidence::Plausible }
}

/// Whether a host looks like the start of a package name, which is a reversed domain.
fn is_package(labels: &[&str]) -> bool {
    let [first, .., last] = labels else { return false };
    PACKAGE_DOMAINS.contains(first) && last.len() > 3 && !last.contains(':') && !LONG_DOMAINS.contains(last)
}

/// Whether a host is a service of another kind: `minio.local:9000`, `kafka-0.kafka.svc`.
/// Whether a host can be that of the images around it. A schema registry has the same key: it is a service in the
/// cluster, as a rule, whose name says what it is.
pub(super) fn may_be_image_registry(registry: &str) -> bool {
    let host = registry.split('/').next().unwrap_or(registry);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let labels: Vec<&str> = name.split('.').collect();
    let is_in_cluster = matches!(labels.last(), Some(&("svc" | "local")));
    let is_other = labels.first().is_some_and(|first| {
        first
            .strip_suffix("-registry")
            .is_some_and(|of| !matches!(of, "docker" | "image" | "images" | "container"))
    });
    name == "localhost" || labels.len() > 1 && !is_in_cluster && !is_other
}

fn is_service(labels: &[&str]) -> bool {
    let first = labels.first().copied().unwrap_or_default();
    let first = first.split(':').next().unwrap_or(first);
    let without_number = first.trim_end_matches(|character: char| character.is_ascii_digit());
    SERVICES.contains(&first) || SERVICES.contains(&without_number.trim_end_matches('-'))
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
        for text in [
            "cert-manager.io/issuer:main",
            "vendor.com/fpga:2",
            "org.apache/spark-avro:3.5.0",
            "com.acme.widgets/lib:1.2.3",
            "minio.local:9000/bucket:1",
            "kafka-0.kafka.svc:9092/topic:3",
            "node.example.io/create-disk:true",
            "install.sh/web:1.2.3",
            "docker.scarf.sh/acme/web:main",
        ] {
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
            "io.example.com/a/b:1",
            "com.acme.de/a/b:1",
            "registry.internal/a/b:1",
            "docker.scarf.sh/acme/web:1.2.3",
            "registry.acme.md:5000/web:1",
        ] {
            assert_eq!(evidence(text), HostEvidence::Plausible, "{text}");
        }
    }
}
