//! The settings of kubeadm, which name a registry and a tag and leave the name of the image to kubeadm.

use serde_json::{Map, Value};

use crate::enumerate::{Note, NoteKind};

use super::{charts, resource::Resource, walk::Walker};

/// kubeadm's own registry, on which the image of `CoreDNS` has a longer path than on any other.
const DEFAULT_REGISTRY: &str = "registry.k8s.io";

/// Where a resource holds a `ClusterConfiguration`.
const PLACES: [(&str, &str, &[&str]); 5] = [
    ("kubeadm.k8s.io", "ClusterConfiguration", &[]),
    ("controlplane.cluster.x-k8s.io", "KubeadmControlPlane", &["spec", "kubeadmConfigSpec"]),
    (
        "controlplane.cluster.x-k8s.io",
        "KubeadmControlPlaneTemplate",
        &["spec", "template", "spec", "kubeadmConfigSpec"],
    ),
    ("bootstrap.cluster.x-k8s.io", "KubeadmConfig", &["spec"]),
    ("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate", &["spec", "template", "spec"]),
];

/// The fields of a resource with the names that kubeadm adds to its repositories, and the registry of the images that
/// the configuration does not name: the control plane and the pause image.
pub(super) fn with_image_names(resource: &Resource<'_>) -> Option<(Map<String, Value>, String)> {
    let group = charts::group(resource);
    let (.., path) = PLACES.iter().find(|(of, kind, _)| *of == group && *kind == resource.kind)?;
    let mut fields = Value::Object(resource.fields.clone());
    let mut configuration = path.iter().try_fold(&mut fields, |value, key| value.get_mut(*key))?;
    if !path.is_empty() {
        configuration = configuration.get_mut("clusterConfiguration")?;
    }
    let common = charts::text(configuration, "imageRepository").unwrap_or(DEFAULT_REGISTRY).to_owned();
    if let Some(dns) = configuration.get_mut("dns") {
        add_name(dns, &common, |registry| match registry {
            DEFAULT_REGISTRY => "coredns/coredns",
            _ => "coredns",
        });
    }
    if let Some(etcd) = configuration.get_mut("etcd").and_then(|etcd| etcd.get_mut("local")) {
        add_name(etcd, &common, |_| "etcd");
    }
    match fields {
        Value::Object(fields) => Some((fields, common)),
        _ => None,
    }
}

/// The tag of an image without one, which only kubeadm knows.
fn add_name(image: &mut Value, common: &str, name: impl Fn(&str) -> &'static str) {
    if charts::text(image, "imageTag").is_none() {
        return;
    }
    let registry = charts::text(image, "imageRepository").unwrap_or(common).trim_end_matches('/').to_owned();
    if let Value::Object(fields) = image {
        let repository = format!("{registry}/{}", name(&registry));
        fields.insert("imageRepository".to_owned(), Value::String(repository));
    }
}

impl Walker<'_> {
    /// Notes that kubeadm chooses images of this registry itself.
    pub(super) fn note_kubeadm(&mut self, registry: &str) {
        let reason = format!("kubeadm chooses images of {registry} that are not named here");
        let remedy = "list them with kubeadm config images list, and add them with --add-images FILE";
        let found_at = self.found_at(self.named());
        self.note(Note::new(NoteKind::NoImage, found_at, None, &reason).with_remedy(remedy.to_owned()));
    }
}
