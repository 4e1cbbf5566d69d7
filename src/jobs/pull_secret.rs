//! `pull-secret`: the Kubernetes Secret with which a cluster pulls from the mirror, or from the vendor's registry.
//!
//! The only job whose result is a secret. It never becomes a document of [`crate::report`], an event or an error.

use std::{fmt::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    file_comments::comment,
    write_file::{Readers, check_absent, write_file},
};
use crate::{
    endpoint::registry::auth::{Credential, FoundCredential, Provenance},
    error::{Failure, Kind, escape},
    event::{EventSink, warn},
    oci::mapping::Root,
    request::{Access, PullFrom, PullSecret},
};

/// The key of Docker Hub, for the kubelet and for Docker.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Returns the Secret as YAML, or, if it was written to a file, the name of the file.
pub(crate) async fn run(request: &PullSecret, events: Arc<dyn EventSink>) -> Result<String, Failure> {
    let PullSecret { registry, name, namespace, file, registries } = request;
    if let Some(file) = file {
        check_absent(&file.path, file.overwrite)?;
    }
    let access = Access::open(registries, Arc::clone(&events))?;
    let (key, found) = match registry {
        PullFrom::Mirror { root, login } => {
            let found = access.login_for(root, login.as_ref()).await?;
            (key(root), found.ok_or_else(|| no_credential(root))?)
        }
        PullFrom::Vendor => {
            let license =
                access.license().ok_or_else(|| Failure::new(Kind::Usage, "no license was given"))?;
            let found = FoundCredential { credential: license.credential(), provenance: Provenance::License };
            (license.pull_secret_key(), found)
        }
    };
    let (username, password) = password(&key, &found.credential)?;
    if let Some(lifetime) = lifetime(&key, username) {
        warn(
            &*events,
            format!(
                "the password for {key} {lifetime}: nodes cannot pull after that; prefer a permanent login"
            ),
        );
    }
    let text =
        secret(&Secret { key: &key, name, namespace, username, password, provenance: &found.provenance });
    let Some(file) = file else { return Ok(text) };
    write_file(&file.path, text.as_bytes(), Readers::Owner, file.overwrite)?;
    Ok(escape(&file.path.display().to_string()))
}

/// The registry's host: clients that know no paths find it as well.
fn key(root: &Root) -> String {
    match root.registry() {
        "docker.io" => DOCKER_HUB_KEY.to_owned(),
        registry => registry.to_owned(),
    }
}

fn no_credential(root: &Root) -> Failure {
    Failure::new(Kind::Authentication, format!("no credential for {} is configured", root.registry())).with_hint(
        "run `docker login`, or pass --to-username with --to-password-stdin, or --authfile FILE; a mirror that permits \
         anonymous pulls needs no secret",
    )
}

/// What the kubelet can use: a user name and a password.
fn password<'c>(key: &str, credential: &'c Credential) -> Result<(&'c str, &'c SecretString), Failure> {
    match credential {
        Credential::Basic { username, password } => Ok((username, password)),
        Credential::IdentityToken(_) => {
            let message = format!("the credential for {key} is an identity token, which nodes cannot use");
            Err(Failure::new(Kind::Authentication, message).with_hint(
                "create a login that may only pull (for Azure: a repository token or a service principal), and pass it \
                 with --to-username and --to-password-stdin",
            ))
        }
    }
}

/// How long a cloud's password works, if it is known to expire.
fn lifetime(registry: &str, username: &str) -> Option<&'static str> {
    match username {
        "AWS" if registry.contains(".dkr.ecr") => Some("expires after 12 hours"),
        "oauth2accesstoken" | "_dcgcr_0_0_0_token" | "_dcgcr_2_1_token" => Some("expires after an hour"),
        "00000000-0000-0000-0000-000000000000" => Some("expires after 3 hours"),
        _ => None,
    }
}

struct Secret<'a> {
    key: &'a str,
    name: &'a str,
    namespace: &'a str,
    username: &'a str,
    password: &'a SecretString,
    provenance: &'a Provenance,
}

fn secret(secret: &Secret<'_>) -> String {
    let Secret { key, name, namespace, username, password, provenance } = secret;
    let password = password.expose_secret();
    let auth = STANDARD.encode(format!("{username}:{password}"));
    let entry = json!({ "username": username, "password": password, "auth": auth });
    let config = json!({ "auths": { (*key): entry } }).to_string();
    let mut text = comment(&format!(
        "The login for {key}, from {provenance}.\n\
         Everyone who can read this secret can use the login: prefer one that may only pull.\n\
         Name the secret in the chart's values. For Thoras:\n  imageCredentials.secretRef: {name}"
    ));
    // Writing to a string cannot fail. A JSON string is a YAML string.
    let _ = write!(
        text,
        "\
apiVersion: v1
kind: Secret
metadata:
  name: {}
  namespace: {}
type: kubernetes.io/dockerconfigjson
data:
  .dockerconfigjson: {}
",
        json!(name),
        json!(namespace),
        STANDARD.encode(config),
    );
    text
}
