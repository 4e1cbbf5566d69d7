//! CRI-O, Podman and skopeo (`registries.conf`), and `OpenShift`, which generates that file from mirror sets.
//!
//! Both replace a prefix of the source's name with the mirror's; the longest matching prefix applies.

use std::fmt::Write as _;

use super::{ConfigFile, Move, Settings, moves::prefix_rules, quoted};
use crate::error::{Failure, Kind};

/// A drop-in file for `/etc/containers/registries.conf.d`.
pub(super) fn drop_in(moves: &[Move], settings: &Settings<'_>) -> ConfigFile {
    let Settings { root, name, fallback, connection } = settings;
    let mirror = root.registry();
    let file = format!("50-{name}.conf");
    let mut text = format!(
        "\
# CRI-O, Podman and skopeo pull these images from {root}.
# Install as /etc/containers/registries.conf.d/{file} on every node; CRI-O reads it after `systemctl reload crio`.
# Every naming works: the longest matching prefix is replaced.
# Login: Kubernetes selects pull secrets by the name in the pod, and CRI-O never sends them to a mirror. Put the login of
# {mirror} into an auth file on the nodes, and name it in global_auth_file in /etc/crio/crio.conf (section crio.image);
# for Podman and skopeo: podman login {mirror}.
"
    );
    if !fallback {
        text.push_str("# Nothing is pulled from the source registries (blocked).\n");
    }
    if let Some(authority) = &connection.authority {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "# These programs find certificate authorities by path: link {} as /etc/containers/certs.d/{mirror}/ca.crt.",
            quoted(authority)
        );
    }
    let is_insecure = !connection.origin.is_https() || !connection.checks_certificate;
    for rule in prefix_rules(moves) {
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
    let mut text = format!(
        "\
# OpenShift nodes pull these images from {root}. Apply with `oc apply -f`; nodes take it over one after the other.
# Every naming works: the longest matching source is replaced.
# Login: Kubernetes selects pull secrets by the name in the pod, and CRI-O never sends them to a mirror. Add the login of
# {mirror} to the cluster's global pull secret: oc set data secret/pull-secret -n openshift-config
# --from-file=.dockerconfigjson=FILE, where FILE also has the present content.
"
    );
    // Writing to a string cannot fail.
    if let Some(authority) = &connection.authority {
        let _ = writeln!(
            text,
            "# Certificate authority: put {} into the ConfigMap that additionalTrustedCA in image.config.openshift.io/cluster names.",
            quoted(authority)
        );
    }
    if !connection.origin.is_https() || !connection.checks_certificate {
        let _ = writeln!(
            text,
            "# {mirror} is used without a checked certificate: list it in registrySources.insecureRegistries of image.config.openshift.io/cluster."
        );
    }
    for (kind, field) in
        [("ImageDigestMirrorSet", "imageDigestMirrors"), ("ImageTagMirrorSet", "imageTagMirrors")]
    {
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
