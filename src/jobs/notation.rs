//! Runs the program `notation` on one signature: a registry on this machine serves the image's manifest and the
//! signature, and notation reads nothing else.
//!
//! It runs in a private folder with a trust policy made from the user's, and with an environment of its own: it finds no
//! credential, no configuration and no plugin of the user.

use std::{
    env, fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    process::Command,
    sync::{Semaphore, oneshot},
};

use crate::{
    error::{Failure, Kind, escape, without_temporary_name},
    oci::{Digest, RawManifest, mapping::Naming},
    request::RequiredSignatures,
    serve::{self, Names, Server},
    trust::{NotationAnswer, NotationProgram, NotationQuestion, NotationTrust, TrustFiles, Verifier},
};

/// How many signatures are verified at once. Each needs a process.
const CONCURRENCY: usize = 4;
/// How long one verification may take. notation may ask whether a certificate was revoked.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How much of notation's error output is kept, in bytes.
const MAX_MESSAGE_SIZE: u64 = 64 * 1024;
/// How much of it is shown, in lines and characters.
const MAX_LINES: usize = 4;
const MAX_LINE_LENGTH: usize = 400;
/// The name of the trust store.
const STORE: &str = "policy";
/// The image in the registry on this machine.
const IMAGE: &str = "image";
/// Variables that notation gets: it may be a script, and it may have to ask a certificate's authority whether it was
/// revoked.
const KEPT_VARIABLES: [&str; 9] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Reads the files that say whose signatures images need. `None` if no signature is verified.
pub(super) fn verifier(required: &RequiredSignatures) -> Result<Option<Arc<Verifier>>, Failure> {
    Ok(required.verifier()?.map(with_notation))
}

/// The same with the files of a bundle, whose signature has been checked.
pub(super) fn verifier_with(
    required: &RequiredSignatures,
    files: TrustFiles,
) -> Result<Arc<Verifier>, Failure> {
    required.verifier_with(files).map(with_notation)
}

fn with_notation(verifier: Verifier) -> Arc<Verifier> {
    Arc::new(verifier.with_notation(Arc::new(Notation { turns: Semaphore::new(CONCURRENCY) })))
}

struct Notation {
    turns: Semaphore,
}

impl NotationProgram for Notation {
    fn verify<'a>(&'a self, question: NotationQuestion<'a>) -> BoxFuture<'a, NotationAnswer> {
        async move {
            let Some(program) = find() else { return NotationAnswer::Missing };
            // It is never closed.
            let _turn = self.turns.acquire().await;
            match tokio::time::timeout(TIMEOUT, verify(&program, question)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => NotationAnswer::Failed(format!("notation could not be run: {error}")),
                Err(_) => NotationAnswer::Failed(format!("notation did not finish within {TIMEOUT:?}")),
            }
        }
        .boxed()
    }
}

/// The program on `PATH`.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let absolute = env::split_paths(&path).filter(|folder| folder.is_absolute());
    absolute.map(|folder| folder.join("notation")).find(|file| file.is_file())
}

async fn verify(program: &Path, question: NotationQuestion<'_>) -> Result<NotationAnswer, String> {
    let NotationQuestion { image, signature, trust } = question;
    let unusable = |error: io::Error| without_temporary_name(error).to_string();
    let workspace = tempfile::Builder::new().prefix("thoras-mirror-notation-").tempdir().map_err(unusable)?;
    write_configuration(workspace.path(), trust).map_err(unusable)?;
    let layout = workspace.path().join("layout");
    write_layout(&layout, image, signature).map_err(unusable)?;
    let names = Names { naming: Some(Naming::Last), source_prefix: None };
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let options = serve::Options { listen, writable: false, names, ..serve::Options::new(layout) };
    let server =
        Server::bind(options).await.map_err(|error| Failure::from_error(Kind::Image, &error).message)?;
    let name = format!("{}/{IMAGE}@{}", server.address(), image.digest());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.run(stopped.map(|_| ()));
    let running = run(program, &workspace, &name);
    tokio::select! {
        answer = running => {
            drop(stop);
            answer.map_err(unusable)
        }
        () = serving => Err("the local registry for notation stopped".to_owned()),
    }
}

/// The trust policy and the trust stores, as notation reads them.
fn write_configuration(folder: &Path, trust: &NotationTrust) -> io::Result<()> {
    let configuration = folder.join("notation");
    let stores = configuration.join("truststore/x509");
    let kinds = [("ca", &trust.authorities), ("tsa", &trust.timestamp_authorities)];
    let mut names = Vec::new();
    for (kind, files) in kinds.into_iter().filter(|(_, files)| !files.is_empty()) {
        let store = stores.join(kind).join(STORE);
        fs::create_dir_all(&store)?;
        for (number, bytes) in files.iter().enumerate() {
            fs::write(store.join(format!("{number}.pem")), bytes)?;
        }
        names.push(format!("{kind}:{STORE}"));
    }
    let policy = json!({ "version": "1.0", "trustPolicies": [{
        "name": "policy",
        "registryScopes": ["*"],
        "signatureVerification": { "level": "strict" },
        "trustStores": names,
        "trustedIdentities": trust.identities,
    }]});
    fs::write(configuration.join("trustpolicy.json"), policy.to_string())
}

/// An OCI image layout with these two manifests and the layers of the signature.
fn write_layout(
    folder: &Path,
    image: &RawManifest,
    (signature, layers): (&RawManifest, &[(Digest, Bytes)]),
) -> io::Result<()> {
    let write = |digest: &Digest, bytes: &[u8]| {
        let file = folder.join("blobs").join(digest.as_str().replace(':', "/"));
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(file, bytes)
    };
    let named = json!({
        "mediaType": image.media_type(),
        "digest": image.digest(),
        "size": image.size(),
        "annotations": { "org.opencontainers.image.ref.name": format!("example.invalid/{IMAGE}:latest") },
    });
    let attached = json!({
        "mediaType": signature.media_type(),
        "digest": signature.digest(),
        "size": signature.size(),
    });
    let index = json!({ "schemaVersion": 2, "manifests": [named, attached] });
    for manifest in [image, signature] {
        write(manifest.digest(), manifest.bytes())?;
    }
    for (digest, bytes) in layers {
        write(digest, bytes)?;
    }
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

async fn run(program: &Path, workspace: &TempDir, image: &str) -> io::Result<NotationAnswer> {
    let home = workspace.path();
    let mut command = Command::new(program);
    command
        // Otherwise it does not say why.
        .args(["verify", "--verbose", "--insecure-registry", image])
        .current_dir(home)
        .env_clear()
        .envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?))))
        .envs(["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DOCKER_CONFIG"].map(|name| (name, home)))
        .env("NOTATION_CONFIG", home.join("notation"))
        .env("NOTATION_CACHE", home.join("cache"))
        .env("NOTATION_LIBEXEC", home.join("libexec"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut message = Vec::new();
    if let Some(mut said) = child.stderr.take() {
        (&mut said).take(MAX_MESSAGE_SIZE).read_to_end(&mut message).await?;
        // It must not wait for somebody to read the rest.
        tokio::io::copy(&mut said, &mut tokio::io::sink()).await?;
    }
    Ok(if child.wait().await?.success() {
        NotationAnswer::Valid
    } else {
        NotationAnswer::Refused(reason(&message, image))
    })
}

/// What notation complains about, in one line, without the name that the image has only here.
fn reason(message: &[u8], image: &str) -> String {
    let text = String::from_utf8_lossy(message).replace(image, "the image");
    let after = |prefix: &str| {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let found = lines.filter_map(|line| line.trim().strip_prefix(prefix));
        let found = found.map(|line| escape(line).chars().take(MAX_LINE_LENGTH).collect::<String>());
        found.take(MAX_LINES).collect::<Vec<_>>()
    };
    let why = ["level=error msg=", "Error: ", ""].into_iter().map(after).find(|lines| !lines.is_empty());
    let why = why.unwrap_or_default().join("; ");
    if why.trim().is_empty() { "it gave no reason".to_owned() } else { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_notation_logs_as_an_error() {
        let of = |text: &str| reason(text.as_bytes(), "127.0.0.1:1/image@sha256:0");
        let all = "Error: signature verification failed for 127.0.0.1:1/image@sha256:0\n";
        let logged = "level=info msg=Checking\nlevel=error msg=authenticity validation failed. Failure reason: expired\n";
        assert_eq!(of(&format!("{logged}{all}")), "authenticity validation failed. Failure reason: expired");
        assert_eq!(of(all), "signature verification failed for the image");
        assert_eq!(of("\u{1b}[31mno\n\n"), "\\u{1b}[31mno");
        assert_eq!(of(""), "it gave no reason");
        assert!(of(&"x".repeat(5000)).len() <= MAX_LINE_LENGTH);
        assert!(of(&"x\n".repeat(5000)).len() <= MAX_LINES * 3);
    }
}
