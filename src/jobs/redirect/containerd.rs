//! containerd: a `hosts.toml` for each source registry, below the folder of `config_path`.
//!
//! containerd appends the path of the source to the address of the mirror. It can add a path in front (`override_path`),
//! but it cannot remove one.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use super::{super::file_comments::comment, ConfigFile, Move, Settings, quoted};
use crate::{
    endpoint::registry::auth::{Origin, Scheme},
    error::{Failure, Kind},
};

/// How many images an error names.
const MAX_NAMED: usize = 3;

pub(super) fn files(moves: &[Move], settings: &Settings<'_>) -> Result<Vec<ConfigFile>, Failure> {
    let mut hosts: BTreeMap<&str, Vec<&Move>> = BTreeMap::new();
    for entry in moves {
        hosts.entry(entry.source.registry()).or_default().push(entry);
    }
    let refused: Vec<&Move> = moves.iter().filter(|entry| path_before(entry).is_none()).collect();
    if !refused.is_empty() {
        return Err(cannot_strip(&refused, settings));
    }
    let mut files = Vec::new();
    for (host, moves) in hosts {
        let mut paths: Vec<&str> = moves.iter().filter_map(|entry| path_before(entry)).collect();
        paths.sort_unstable();
        paths.dedup();
        let [path] = paths.as_slice() else { return Err(several_paths(host, &paths, settings)) };
        // The name of a folder is the host as it is written in image names.
        files.push(ConfigFile {
            path: PathBuf::from(host).join("hosts.toml"),
            text: hosts_toml(host, path, settings),
        });
    }
    Ok(files)
}

/// The path that the mirror has in front of the source's whole path; empty if there is none. `None` if the mirror does
/// not keep the whole path.
fn path_before(entry: &Move) -> Option<&str> {
    let before = entry.mirror.path().strip_suffix(entry.source.path())?;
    if before.is_empty() { Some(before) } else { before.strip_suffix('/') }
}

fn cannot_strip(refused: &[&Move], settings: &Settings<'_>) -> Failure {
    let mut names: Vec<String> = refused
        .iter()
        .take(MAX_NAMED)
        .map(|entry| format!("{} is {} in the mirror", entry.source, entry.mirror))
        .collect();
    if refused.len() > MAX_NAMED {
        names.push(match refused.len() - MAX_NAMED {
            1 => "1 more has another path there".to_owned(),
            more => format!("{more} more have other paths there"),
        });
    }
    let message =
        "containerd cannot use this mirror: it appends the whole source path and cannot strip a prefix";
    let mut failure = Failure::new(Kind::Usage, message).with_hint(format!(
        "mirror with the whole paths: thoras-mirror sync --to {} --naming full; or redirect with --format crio, idms or kyverno",
        settings.root
    ));
    failure.causes = names;
    failure
}

fn several_paths(host: &str, paths: &[&str], settings: &Settings<'_>) -> Failure {
    let message = format!(
        "containerd cannot use this mirror: the images of {host} are below several paths ({}), and each registry has one",
        paths.join(", ")
    );
    Failure::new(Kind::Usage, message).with_hint(format!(
        "mirror with one path for each registry: thoras-mirror sync --to {} --naming full",
        settings.root
    ))
}

fn hosts_toml(host: &str, path: &str, settings: &Settings<'_>) -> String {
    let Settings { connection, fallback, .. } = settings;
    let address = if path.is_empty() {
        connection.origin.to_string()
    } else {
        format!("{}/v2/{path}", connection.origin)
    };
    let mut keys = "capabilities = [\"pull\", \"resolve\"]\n".to_owned();
    if !path.is_empty() {
        keys.push_str("override_path = true\n");
    }
    // Writing to a string cannot fail.
    if let Some(authority) = &connection.authority {
        let _ = writeln!(keys, "ca = {}", quoted(authority));
    }
    if !connection.checks_certificate {
        keys.push_str("skip_verify = true\n");
    }
    let mut text = comments(host, settings);
    // Without a `host` section, containerd 1.6 ignores the whole file and contacts the source.
    let indented = keys.trim_end().replace('\n', "\n  ");
    let section = format!("[host.{}]\n  {indented}\n", quoted(&address));
    if *fallback {
        let _ = write!(text, "server = {}\n\n{section}", quoted(&upstream(host)));
    } else {
        let _ = write!(text, "server = {}\n{keys}\n{section}", quoted(&address));
    }
    text
}

/// The address of the source. Docker Hub is served by another host than its name says.
fn upstream(host: &str) -> String {
    Origin::of_registry(host, Scheme::Https)
        .map_or_else(|_| format!("https://{host}"), |origin| origin.to_string())
}

fn comments(host: &str, settings: &Settings<'_>) -> String {
    let mirror = settings.root.registry();
    let fallback = if settings.fallback {
        format!(
            "Images missing from the mirror are pulled from {host}; thoras-mirror redirect --no-fallback prevents that."
        )
    } else {
        format!("Nothing is pulled from {host}.")
    };
    comment(&format!(
        "containerd pulls the images of {host} from {root}.\n\
         Install as /etc/containerd/certs.d/{host}/hosts.toml on every node; containerd reads it at the next pull if its \
         config.toml has config_path = \"/etc/containerd/certs.d\" (in the registry section of the CRI plugin).\n\
         {fallback}\n\
         The images keep the path of the source in the mirror (--naming full): containerd cannot strip a prefix.\n\
         Login: Kubernetes selects pull secrets by the name in the pod, here {host}, so a secret for {mirror} is not used. \
         Either\n\
         - add a [host.\"ADDRESS\".header] section to this file on the nodes: authorization = \"Basic BASE64\", mode 0600; \
         or\n\
         - set the user and password of {mirror} in containerd's config.toml (registry.configs.\"{mirror}\".auth); or\n\
         - give pods a secret, or the kubelet a credential provider, for {host} that holds the login of {mirror}: \
         containerd sends it to the mirror, and to {host} if it falls back.",
        root = settings.root,
    ))
}
