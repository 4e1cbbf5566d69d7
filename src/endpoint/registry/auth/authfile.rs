//! Parses files that hold credentials: a Docker configuration, or the Kubernetes Secret made from one.
//! [`super::credentials`] decides which files are read.
//!
//! Platform engineers often have only the second: the cluster's pull secret, as `kubectl get secret -o yaml` prints it
//! or as it is kept in a Git repository.

use std::path::Path;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Value, json};

use super::{credential::CredentialError, docker_config::DockerConfig};
use crate::bounded_read;

/// Far more bytes than any file of credentials has.
const MAX_FILE_SIZE: u64 = 4 * 1024 * 1024;

/// Kubernetes writes padding; people sometimes drop it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys of a Secret that hold a configuration, and whether it is a whole one or only its `auths`.
const SECRET_KEYS: [(&str, bool); 2] = [(".dockerconfigjson", true), (".dockercfg", false)];

/// Reads a file that the user named (`--authfile`, `REGISTRY_AUTH_FILE`). It must exist.
pub fn read(path: &Path) -> Result<DockerConfig, CredentialError> {
    let text = bounded_read::read_text(path, MAX_FILE_SIZE);
    let text = text.map_err(|error| CredentialError::unreadable(path, &error))?;
    parse(&text, &path.display().to_string())
}

/// Reads a file that need not exist. An unreadable file is an error.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<DockerConfig>, CredentialError> {
    match std::fs::metadata(path) {
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        _ => read(path).map(Some),
    }
}

/// Parses the content of such a file. `source` names it in errors, which never contain the content.
pub fn parse(text: &str, source: &str) -> Result<DockerConfig, CredentialError> {
    let refused =
        |reason: &str| CredentialError::Config { origin: source.to_owned(), reason: reason.to_owned() };
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        // Docker and Podman treat an empty file as an empty configuration.
        return DockerConfig::from_value(&json!({}), source);
    }
    let documents = documents(text).map_err(|reason| refused(&reason))?;
    let is_secret = |value: &&Value| value.get("kind").is_some() || value.get("apiVersion").is_some();
    if documents.iter().any(|document| is_secret(&document)) {
        let mut secrets = documents.iter().flat_map(items);
        let content = secrets.find_map(secret_content);
        let (key, content) =
            content.ok_or_else(|| refused("none of its Secrets holds .dockerconfigjson or .dockercfg"))?;
        let config = content.and_then(|text| unwrap_secret(key, &text)).map_err(|reason| refused(&reason))?;
        return DockerConfig::from_value(&config, &format!("{source} ({key})"));
    }
    match documents.as_slice() {
        [document] if is_bare_auths(document) => {
            DockerConfig::from_value(&json!({ "auths": document }), source)
        }
        [document] => DockerConfig::from_value(document, source),
        _ => Err(refused("it holds several documents, but no Kubernetes Secret")),
    }
}

/// JSON first: its errors are better for a file that should be JSON.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(vec![value]),
        // Only the position: a parser's message may quote its input.
        Err(error) if text.trim_start().starts_with('{') => {
            Err(format!("not valid JSON at line {}, column {}", error.line(), error.column()))
        }
        Err(_) => serde_saphyr::from_multiple(text).map_err(|_| "neither JSON nor YAML".to_owned()),
    }
}

/// The objects of a `List`, or the object itself.
fn items(document: &Value) -> Vec<&Value> {
    match document.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![document],
    }
}

type SecretContent = Result<String, String>;

/// The first known key of a Secret and its decoded text. `stringData` takes precedence over `data`, as in Kubernetes.
fn secret_content(object: &Value) -> Option<(&'static str, SecretContent)> {
    if object.get("kind").and_then(Value::as_str) != Some("Secret") {
        return None;
    }
    let text = |field: &str, key: &str| object.get(field)?.get(key)?.as_str();
    SECRET_KEYS.into_iter().find_map(|(key, _)| {
        let plain = text("stringData", key).map(|text| Ok(text.to_owned()));
        let content = plain.or_else(|| text("data", key).map(|encoded| decode(key, encoded)))?;
        Some((key, content))
    })
}

fn decode(key: &str, encoded: &str) -> SecretContent {
    let compact: String = encoded.split_ascii_whitespace().collect();
    let bytes = BASE64.decode(compact).map_err(|_| format!("data[\"{key}\"] is not base64"))?;
    String::from_utf8(bytes).map_err(|_| format!("data[\"{key}\"] is not text"))
}

fn unwrap_secret(key: &str, text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("the JSON in {key} is not valid at line {}, column {}", error.line(), error.column())
    })?;
    let whole = SECRET_KEYS.into_iter().any(|(name, whole)| name == key && whole);
    Ok(if whole { value } else { json!({ "auths": value }) })
}

/// Whether this is a bare `.dockercfg`: entries by host name, not wrapped in `auths`.
fn is_bare_auths(document: &Value) -> bool {
    let is_entry = |value: &Value| {
        ["auth", "username", "identitytoken"]
            .into_iter()
            .any(|field| value.get(field).is_some_and(Value::is_string))
    };
    document
        .as_object()
        .is_some_and(|map| !map.is_empty() && !map.contains_key("auths") && map.values().all(is_entry))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as PADDED;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        endpoint::registry::auth::{
            credential::{Credential, FoundCredential},
            helper::Helpers,
            origin::{Origin, Scheme},
        },
        oci::Repository,
    };

    const CONFIG: &str = r#"{"auths":{"quay.io/team":{"username":"u","password":"p","auth":"dTpw"}}}"#;
    const BARE: &str = r#"{"quay.io/team":{"auth":"dTpw"}}"#;

    async fn found(text: &str) -> FoundCredential {
        let config = parse(text, "secret.yaml").unwrap();
        let repository: Repository = "quay.io/team/app".parse().unwrap();
        let registry = Origin::of_registry("quay.io", Scheme::Https).unwrap();
        let found = config.find(&registry, &repository, &Helpers::default()).await.unwrap().unwrap();
        assert!(matches!(&found.credential, Credential::Basic { username, .. } if username == "u"));
        found
    }

    fn secret(field: &str, key: &str, content: &str) -> String {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "x" }, field: { key: content } })
            .to_string()
    }

    #[tokio::test]
    async fn docker_configurations_and_bare_ones_are_read() {
        found(CONFIG).await;
        found(&format!("\u{feff}{CONFIG}\n")).await;
        found(BARE).await;
    }

    #[tokio::test]
    async fn secrets_are_read_in_json_and_yaml() {
        let encoded = PADDED.encode(CONFIG);
        let found_in = found(&secret("data", ".dockerconfigjson", &encoded)).await;
        assert_eq!(found_in.provenance.to_string(), "secret.yaml (.dockerconfigjson), key `quay.io/team`");
        found(&secret("data", ".dockerconfigjson", encoded.trim_end_matches('='))).await;
        found(&secret("stringData", ".dockerconfigjson", CONFIG)).await;
        found(&secret("data", ".dockercfg", &PADDED.encode(BARE))).await;
        found(&secret("stringData", ".dockercfg", BARE)).await;
        let (first, second) = encoded.split_at(20);
        found(&format!(
            "# pull secret\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockerconfigjson\n\
             data:\n  .dockerconfigjson: |\n    {first}\n    {second}\n"
        ))
        .await;
        found(&format!("kind: ConfigMap\n---\nkind: Secret\nstringData:\n  .dockerconfigjson: '{CONFIG}'\n"))
            .await;
        let list: Value = serde_json::from_str(&secret("stringData", ".dockercfg", BARE)).unwrap();
        found(&json!({ "kind": "List", "items": [{ "kind": "ConfigMap" }, list] }).to_string()).await;
    }

    #[test]
    fn other_content_is_refused_without_repeating_it() {
        for (text, reason) in [
            ("{\"auths\": s3cret}", "line 1, column 11"),
            ("s3cret", "not a JSON object"),
            ("kind: Secret\nstringData:\n  password: s3cret\n", ".dockerconfigjson"),
            ("kind: Secret\ndata:\n  .dockerconfigjson: s3cret!\n", "not base64"),
            ("kind: Secret\nstringData:\n  .dockerconfigjson: '{s3cret'\n", "not valid at line 1"),
            ("kind: ConfigMap\ndata:\n  .dockerconfigjson: s3cret\n", "none of its Secrets"),
            ("a: 1\n---\nb: s3cret\n", "several documents"),
            ("a: [s3cret", "neither JSON nor YAML"),
        ] {
            let error = parse(text, "file").unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_named_file_must_exist_and_a_default_one_need_not() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("config.json");
        assert!(matches!(read(&absent).unwrap_err(), CredentialError::File { .. }));
        assert!(read_if_present(&absent).unwrap().is_none());
        assert!(read_if_present(folder.path()).is_err(), "a folder cannot be read");
        std::fs::write(&absent, "").unwrap();
        assert!(read_if_present(&absent).unwrap().is_some(), "empty is an empty configuration");
        assert!(read_if_present(&absent.join("below")).unwrap().is_none());
    }

    /// The characters are cut at the limit.
    #[test]
    fn a_file_that_is_too_large_or_not_text_is_named_in_the_hint_bug() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for (content, reason) in [
            ("é".repeat(3 * 1024 * 1024).into_bytes(), "it is larger than 4 MiB"),
            (vec![0xff; 10], "it is not UTF-8 text"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot read {}: {reason}", path.display()));
            let hint = format!(
                "check that {} is a Docker config.json or a Kubernetes Secret, or pass another file with --authfile",
                path.display()
            );
            assert_eq!(error.hint(), hint);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|\\n){0,200}") {
            let _ = parse(&text, "file");
        }

        #[test]
        fn no_secret_makes_it_panic(field in "(data|stringData)", content in "\\PC{0,80}") {
            let _ = parse(&secret(&field, ".dockerconfigjson", &content), "file");
            let _ = parse(&secret(&field, ".dockercfg", &content), "file");
        }
    }
}
