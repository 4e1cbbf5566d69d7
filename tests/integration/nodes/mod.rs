//! `pull-secret`, `running` and `redirect`: what a cluster needs after `sync`, tried with the programs that nodes run.

mod add_running;
mod kyverno;
mod next_steps;
mod pull_secret;
mod redirect;
mod running;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::process::Mirror;

/// The digest that consists of one hexadecimal digit.
fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// An image of a lock: its source, its name below `reg.example.com/m`, and the digits of the digests of its index and of
/// its two platforms.
type Locked<'a> = (&'a str, &'a str, [char; 3]);

/// A lock with these images, mirrored to `reg.example.com/m`.
fn write_lock(folder: &Path, images: &[Locked<'_>]) -> PathBuf {
    let image = |(source, name, [index, amd64, arm64]): &Locked<'_>| {
        json!({
            "source": source,
            "digest": digest(*index),
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "platforms": [
                {"platform": "linux/amd64", "digest": digest(*amd64)},
                {"platform": "linux/arm64", "digest": digest(*arm64)},
            ],
            "blobs": [digest('f')],
            "destinations": [{"to": "reg.example.com/m", "reference": format!("reg.example.com/m/{name}"), "confirmed": true}],
        })
    };
    let lock = json!({
        "schema": "thoras-mirror/lock/v2",
        "destinations": [{"to": "reg.example.com/m", "naming": "relative"}],
        "platforms": ["linux/amd64", "linux/arm64"],
        "images": images.iter().map(image).collect::<Vec<_>>(),
        "blobs": {digest('f'): 5},
    });
    let path = folder.join("test.lock");
    std::fs::write(&path, lock.to_string()).unwrap();
    path
}

/// A pod of namespace `shop` whose containers have these images and image IDs.
fn pod(name: &str, containers: &[(&str, String)]) -> Value {
    let numbered = || containers.iter().enumerate();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": numbered()
            .map(|(at, (image, _))| json!({"name": format!("c{at}"), "image": image})).collect::<Vec<_>>()},
        "status": {"containerStatuses": numbered()
            .map(|(at, (_, id))| json!({"name": format!("c{at}"), "imageID": id})).collect::<Vec<_>>()},
    })
}

/// `kubectl get pods -A -o json`
fn list(pods: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string()
}

/// `thoras-mirror COMMAND --lock LOCK MORE…`
fn with_lock(command: &str, lock: &Path, more: &[&str]) -> Mirror {
    Mirror::new([command, "--lock"]).arg(lock).arguments(more.iter().copied())
}
