//! CRI-O, Podman and skopeo (`registries.conf`), and `OpenShift`, which generates that file from mirror sets.
//!
//! Both replace a prefix of the source's name with the mirror's; the longest matching prefix applies.

use std::fmt::Write as _;

use super::{
    super::file_comments::{comment, write_comment},
    ConfigFile, Move, Settings,
    moves::prefix_rules,
    quoted,
};
use crate::error::{Failure, Kind};

/// A drop-in file for `/etc/containers/registries.conf.d`.
pub(super) fn drop_in(moves: &[Move], settings: &Settings<'_>) -> ConfigFile {
    let Settings { root, name, fallback, connection } = settings;
    let mirror = root.registry();
    let file = format!("50-{name}.conf");
    let mut text = comment(&format!(
        "CRI-O, Podman and skopeo pull these images from {root}.\n\
         Install as /etc/containers/registries.conf.d/{file} on every node; CRI-O reads it after \
         `systemctl reload crio`.\n\
         Works with any --naming: the longest matching prefix is replaced.\n\
         Login: Kubernetes selects pull secrets by the name in the pod, and CRI-O never sends them to a mirror. Put the \
         login of {mirror} into an auth file on the nodes, and name it in global_auth_file in /etc/crio/crio.conf (section \
         crio.image); for Podman and skopeo:\n  podman login {mirror}"
    ));
    if !fallback {
        write_comment(&mut text, 0, "Nothing is pulled from the source registries (blocked).");
    }
    if let Some(authority) = &connection.authority {
        let authority = quoted(authority);
        let line = format!(
            "These programs find certificate authorities by path: link {authority} as \
             /etc/containers/certs.d/{mirror}/ca.crt."
        );
        write_comment(&mut text, 0, &line);
    }
    let is_insecure = !connection.origin.is_https() || !connection.checks_certificate;
    for rule in prefix_rules(moves) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n[[registry]]\nprefix = {0}\nlocation = {0}\n", quoted(&rule.source));
        if !fallback {
            text.push_str("blocked = true\n");
        }
        let _ = write!(text, "\n[[registry.mirror]]\nlocation = {}\n", quoted(&rule.mirror));
        if is_insecure {
            text.push_str("insecure = true\n");
        }
    }
    ConfigFile { path: file.into(), text }
}

/// An `ImageDigestMirrorSet` for images by digest, and an `ImageTagMirrorSet` for images by tag.
pub(super) fn mirror_sets(moves: &[Move], settings: &Settings<'_>) -> Result<ConfigFile, Failure> {
    let Settings { root, name, fallback, connection } = settings;
    let rules = prefix_rules(moves);
    let names = rules.iter().flat_map(|rule| [&rule.source, &rule.mirror]);
    if let Some(address) = names.into_iter().find(|name| name.starts_with('[')) {
        let message = format!("OpenShift accepts no IPv6 address as a registry: {address}");
        return Err(
            Failure::new(Kind::Usage, message).with_hint("mirror to a host name, or use --format crio")
        );
    }
    let mirror = root.registry();
    let policy = if *fallback { "AllowContactingSource" } else { "NeverContactSource" };
    let mut text = comment(&format!(
        "OpenShift nodes pull these images from {root}. Apply with `oc apply -f`; nodes apply it one after the other.\n\
         Works with any --naming: the longest matching source is replaced.\n\
         Login: Kubernetes selects pull secrets by the name in the pod, and CRI-O never sends them to a mirror. Add the \
         login of {mirror} to the cluster's global pull secret, with a FILE that also has the current content:\n  \
         oc set data secret/pull-secret -n openshift-config \\\n    --from-file=.dockerconfigjson=FILE"
    ));
    if let Some(authority) = &connection.authority {
        let authority = quoted(authority);
        let line = format!(
            "Certificate authority: put {authority} into the ConfigMap that additionalTrustedCA in \
             image.config.openshift.io/cluster names."
        );
        write_comment(&mut text, 0, &line);
    }
    if !connection.origin.is_https() || !connection.checks_certificate {
        let line = format!(
            "{mirror} is used without a checked certificate: list it in registrySources.insecureRegistries of \
             image.config.openshift.io/cluster."
        );
        write_comment(&mut text, 0, &line);
    }
    for (kind, field) in
        [("ImageDigestMirrorSet", "imageDigestMirrors"), ("ImageTagMirrorSet", "imageTagMirrors")]
    {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "---\napiVersion: config.openshift.io/v1\nkind: {kind}\nmetadata:\n  name: {}\nspec:\n  {field}:\n",
            quoted(name)
        );
        for rule in &rules {
            let _ = write!(
                text,
                "    - source: {}\n      mirrors:\n        - {}\n      mirrorSourcePolicy: {policy}\n",
                quoted(&rule.source),
                quoted(&rule.mirror)
            );
        }
    }
    Ok(ConfigFile { path: format!("{name}-mirror-sets.yaml").into(), text })
}
