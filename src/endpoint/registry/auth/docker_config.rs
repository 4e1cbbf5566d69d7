//! A Docker configuration: `auths`, `credHelpers` and `credsStore`.
//!
//! The `docker_credential` crate decodes an `auths` entry. This module selects the entry, because the crate misses keys
//! with a path and lets others match a whole host (see [`super::config_key`]). It passes the crate a single entry
//! without empty fields: the crate would return an empty `identitytoken` as a token and reject an empty `auth`.
//! Credential helpers are run by [`super::helper`].

use docker_credential::{CredentialRetrievalError, DockerCredential};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{
    config_key::{ConfigKey, host_server},
    credential::{Credential, CredentialError, FoundCredential, Provenance},
    helper::Helpers,
    origin::Origin,
};
use crate::oci::Repository;

/// A parsed configuration. `Debug` shows keys, never values.
pub struct DockerConfig {
    /// Its file, or the name of its environment variable.
    source: String,
    entries: Vec<Entry>,
    store: Option<String>,
}

struct Entry {
    key: ConfigKey,
    content: EntryContent,
}

/// In order of precedence among entries whose keys fit equally well.
enum EntryContent {
    /// `credHelpers`: the helper's short name.
    Helper(String),
    /// `auths`: the entry without its empty fields.
    Auth(Map<String, Value>),
    /// `auths`: an empty entry. `docker login` writes one when it stores the secret elsewhere.
    Placeholder,
}

impl EntryContent {
    const fn rank(&self) -> u8 {
        match self {
            Self::Helper(_) => 0,
            Self::Auth(_) => 1,
            Self::Placeholder => 2,
        }
    }
}

impl DockerConfig {
    /// Reads the parsed JSON of a `config.json` or an `auth.json`.
    pub(crate) fn from_value(value: &Value, source: &str) -> Result<Self, CredentialError> {
        let refused =
            |reason: &str| CredentialError::Config { origin: source.to_owned(), reason: reason.to_owned() };
        let object = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(refused(&format!("`{name}` is not an object"))),
        };
        if !value.is_object() {
            return Err(refused("it is not a JSON object"));
        }
        let mut entries = Vec::new();
        for (key, helper) in object("credHelpers")?.into_iter().flatten() {
            let name = helper.as_str().ok_or_else(|| refused("a value in `credHelpers` is not a string"))?;
            if let (Some(key), false) = (ConfigKey::parse(key), name.is_empty()) {
                entries.push(Entry { key, content: EntryContent::Helper(name.to_owned()) });
            }
        }
        for (key, entry) in object("auths")?.into_iter().flatten() {
            let content = match entry {
                Value::Object(entry) => content_of(entry),
                Value::Null => EntryContent::Placeholder,
                _ => return Err(refused("a value in `auths` is not an object")),
            };
            if let Some(key) = ConfigKey::parse(key) {
                entries.push(Entry { key, content });
            }
        }
        let store = match value.get("credsStore") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()).filter(|name| !name.is_empty()),
            Some(_) => return Err(refused("`credsStore` is not a string")),
        };
        Ok(Self { source: source.to_owned(), entries, store })
    }

    /// The credential for a repository at `registry`. The closest key wins (full path, each parent, the host); for
    /// equal keys, the helper precedes the entry. The general store comes last.
    pub(crate) async fn find(
        &self,
        registry: &Origin,
        repository: &Repository,
        helpers: &Helpers,
    ) -> Result<Option<FoundCredential>, CredentialError> {
        for entry in self.fitting(registry, repository) {
            let found = match &entry.content {
                EntryContent::Helper(name) => self.ask(helpers, name, entry.key.server()).await?,
                EntryContent::Auth(fields) => Some(self.decode(&entry.key, fields)?),
                EntryContent::Placeholder => match &self.store {
                    Some(store) => self.ask(helpers, store, entry.key.server()).await?,
                    None => None,
                },
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        match &self.store {
            Some(store) => self.ask(helpers, store, host_server(repository)).await,
            None => Ok(None),
        }
    }

    fn fitting(&self, registry: &Origin, repository: &Repository) -> Vec<&Entry> {
        let mut fitting: Vec<(usize, &Entry)> = self
            .entries
            .iter()
            .filter_map(|entry| entry.key.fit(registry, repository).map(|length| (length, entry)))
            .collect();
        // The sort is stable: entries that fit equally well stay in the order of the file.
        fitting.sort_by_key(|(length, entry)| (std::cmp::Reverse(*length), entry.content.rank()));
        fitting.into_iter().map(|(_, entry)| entry).collect()
    }

    async fn ask(
        &self,
        helpers: &Helpers,
        name: &str,
        server: &str,
    ) -> Result<Option<FoundCredential>, CredentialError> {
        let answer = helpers.ask(name, server, &self.source).await?;
        Ok(answer.map(|credential| FoundCredential {
            credential,
            provenance: Provenance::Helper {
                program: Helpers::program(name),
                source: self.source.clone(),
                server: server.to_owned(),
            },
        }))
    }

    fn decode(
        &self,
        key: &ConfigKey,
        fields: &Map<String, Value>,
    ) -> Result<FoundCredential, CredentialError> {
        // One entry under one key, so that the crate finds no other.
        let alone = json!({ "auths": { "registry": fields } }).to_string();
        let credential = docker_credential::get_credential_from_reader(alone.as_bytes(), "registry");
        let credential = match credential {
            Ok(DockerCredential::IdentityToken(token)) => {
                Credential::IdentityToken(SecretString::from(token))
            }
            // Docker pads some stored passwords with NUL and strips it when reading.
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                Credential::basic(username, password.trim_end_matches('\0'))
            }
            Err(error) => {
                let (origin, key) = (self.source.clone(), key.written().to_owned());
                return Err(CredentialError::Entry { origin, key, reason: reason(&error).to_owned() });
            }
        };
        let provenance = Provenance::Entry { source: self.source.clone(), key: key.written().to_owned() };
        Ok(FoundCredential { credential, provenance })
    }
}

/// Drops empty fields. `auth` takes precedence over `username` and `password`, as in Docker, Podman and the kubelet;
/// the crate would reject an entry where they differ.
fn content_of(entry: &Map<String, Value>) -> EntryContent {
    let is_empty =
        |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    let has = |name: &str| entry.get(name).is_some_and(|value| !is_empty(value));
    let mut fields = Map::new();
    for name in ["auth", "username", "password", "identitytoken"] {
        if let Some(value) = entry.get(name).filter(|value| !is_empty(value)) {
            let value = match (name, value) {
                ("auth", Value::String(text)) => Value::String(text.trim().to_owned()),
                _ => value.clone(),
            };
            fields.insert(name.to_owned(), value);
        }
    }
    if has("auth") {
        fields.remove("username");
        fields.remove("password");
    }
    // `docker logout` and hand-written files leave a user without a password, which is not a credential.
    let usable = has("auth") || has("identitytoken") || (has("username") && has("password"));
    if usable { EntryContent::Auth(fields) } else { EntryContent::Placeholder }
}

/// Our own message: the crate's may repeat its input.
fn reason(error: &CredentialRetrievalError) -> &'static str {
    match error {
        CredentialRetrievalError::CredentialDecodingError => "`auth` is not the base64 of USER:PASSWORD",
        CredentialRetrievalError::ConfigReadError => "a field is not a string",
        _ => "it holds no usable credential",
    }
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&str> = self.entries.iter().map(|entry| entry.key.written()).collect();
        formatter
            .debug_struct("DockerConfig")
            .field("source", &self.source)
            .field("keys", &keys)
            .field("store", &self.store)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::endpoint::registry::auth::{helper::tests::helper, origin::Scheme};

    fn config(value: &Value) -> DockerConfig {
        DockerConfig::from_value(value, "/h/config.json").unwrap()
    }

    fn auth(text: &str) -> Value {
        json!({ "auth": STANDARD.encode(text) })
    }

    async fn find(
        config: &DockerConfig,
        repository: &str,
    ) -> Result<Option<FoundCredential>, CredentialError> {
        let repository: Repository = repository.parse().unwrap();
        let registry = Origin::of_registry(repository.registry(), Scheme::Https).unwrap();
        config.find(&registry, &repository, &Helpers::default()).await
    }

    async fn user(config: &DockerConfig, repository: &str) -> Option<String> {
        match find(config, repository).await.unwrap()?.credential {
            Credential::Basic { username, password } => {
                Some(format!("{username}:{}", password.expose_secret()))
            }
            Credential::IdentityToken(token) => Some(format!("<token>:{}", token.expose_secret())),
        }
    }

    #[tokio::test]
    async fn the_closest_key_wins() {
        let config = config(&json!({ "auths": {
            "us-east4-docker.pkg.dev": auth("host:1"),
            "us-east4-docker.pkg.dev/thoras-registry/platform": auth("path:2"),
            "https://us-east4-docker.pkg.dev/thoras-registry/platform/services": auth("full:3"),
        }}));
        let below = |name: &str| format!("us-east4-docker.pkg.dev/thoras-registry/{name}");
        assert_eq!(user(&config, &below("platform/services")).await.unwrap(), "full:3");
        assert_eq!(user(&config, &below("platform/nginx")).await.unwrap(), "path:2");
        assert_eq!(user(&config, &below("other")).await.unwrap(), "host:1");
        assert_eq!(user(&config, "quay.io/a/b").await, None);
        let found = find(&config, &below("platform/nginx")).await.unwrap().unwrap();
        assert_eq!(
            found.provenance.to_string(),
            "/h/config.json, key `us-east4-docker.pkg.dev/thoras-registry/platform`"
        );
    }

    #[tokio::test]
    async fn entries_are_read_as_docker_reads_them() {
        let cases = [
            (auth("u:p:q"), Some("u:p:q")),
            (json!({ "auth": "dTpw" }), Some("u:p")),
            (json!({ "auth": "dTpwcA" }), Some("u:pp")),
            (json!({ "auth": " dTpw\n" }), Some("u:p")),
            (auth("u:p\0\0"), Some("u:p")),
            (json!({ "username": "u", "password": "p" }), Some("u:p")),
            (json!({ "auth": "", "username": "u", "password": "p" }), Some("u:p")),
            (json!({ "auth": "dTpw", "username": "x", "password": "y" }), Some("u:p")),
            (json!({ "auth": "dTpw", "identitytoken": "" }), Some("u:p")),
            (json!({ "auth": "dTo=", "identitytoken": "t" }), Some("<token>:t")),
            (json!({ "identitytoken": "" }), None),
            (json!({ "auth": "" }), None),
            (json!({ "auth": null, "email": "a@b" }), None),
            (json!({}), None),
            (Value::Null, None),
            (json!({ "username": "u" }), None),
        ];
        for (entry, expected) in cases {
            let config = config(&json!({ "auths": { "quay.io": entry } }));
            assert_eq!(user(&config, "quay.io/a").await.as_deref(), expected, "{entry}");
        }
    }

    #[tokio::test]
    async fn an_undecodable_entry_is_named_without_its_content() {
        for entry in [json!({ "auth": "s3cret!" }), auth("nocolon"), json!({ "auth": 7 })] {
            let config = config(&json!({ "auths": { "quay.io": entry } }));
            let error = find(&config, "quay.io/a").await.unwrap_err();
            assert!(matches!(error, CredentialError::Entry { .. }));
            let shown = format!("{error} {error:?} {config:?}");
            assert!(shown.contains("quay.io") && shown.contains("/h/config.json"), "{shown}");
            assert!(!shown.contains("s3cret") && !shown.contains("nocolon"), "{shown}");
            assert!(find(&config, "ghcr.io/a").await.unwrap().is_none(), "others are not affected");
        }
    }

    #[tokio::test]
    async fn a_key_that_is_empty_falls_back_to_its_parent() {
        let config = config(&json!({ "auths": { "quay.io/team": {}, "quay.io": auth("u:p") } }));
        assert_eq!(user(&config, "quay.io/team/app").await.unwrap(), "u:p");
    }

    /// A helper that returns the server as the user name, except for servers below `quay.io/none`.
    fn echo() -> (tempfile::TempDir, Helpers) {
        let answer = r#"echo "{\"Username\":\"$server\",\"Secret\":\"p\"}""#;
        let body = format!(
            "case $server in quay.io/none*) echo 'credentials not found in native keychain'; exit 1;; esac\n{answer}"
        );
        helper("echo", &body)
    }

    #[tokio::test]
    async fn helpers_receive_the_key_as_written() {
        let (_folder, helpers) = echo();
        let config = config(&json!({
            "credsStore": "echo",
            "credHelpers": { "quay.io/team": "echo", "quay.io/none": "echo", "ghcr.io": "gone", "e.io": "" },
            "auths": {
                "quay.io/team": auth("not:asked"),
                "quay.io": auth("host:p"),
                "gcr.io/stored": {},
                "https://index.docker.io/v1/": {},
                "e.io": auth("entry:p"),
            },
        }));
        for (repository, expected) in [
            ("quay.io/team/app", "quay.io/team"),
            ("quay.io/none/app", "host"),
            ("gcr.io/stored/app", "gcr.io/stored"),
            ("gcr.io/other/app", "gcr.io"),
            ("docker.io/library/nginx", "https://index.docker.io/v1/"),
            ("e.io/a", "entry"),
        ] {
            let repository: Repository = repository.parse().unwrap();
            let registry = Origin::of_registry(repository.registry(), Scheme::Https).unwrap();
            let found = config.find(&registry, &repository, &helpers).await.unwrap().unwrap();
            assert!(
                matches!(&found.credential, Credential::Basic { username, .. } if username == expected),
                "{repository}: {found:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_error_for_a_missing_helper_names_it_and_its_file() {
        let (_folder, helpers) = echo();
        let config = config(&json!({ "credHelpers": { "ghcr.io": "gone" } }));
        let repository: Repository = "ghcr.io/a".parse().unwrap();
        let registry = Origin::of_registry("ghcr.io", Scheme::Https).unwrap();
        let error = config.find(&registry, &repository, &helpers).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("docker-credential-gone") && text.contains("/h/config.json"), "{text}");
    }

    #[test]
    fn malformed_configurations_are_refused_without_their_content() {
        for value in [
            json!([]),
            json!("s3cret"),
            json!({ "auths": "s3cret" }),
            json!({ "auths": { "quay.io": "s3cret" } }),
            json!({ "credHelpers": { "quay.io": ["s3cret"] } }),
            json!({ "credsStore": 3 }),
        ] {
            let error = DockerConfig::from_value(&value, "f").unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
        assert!(DockerConfig::from_value(&json!({ "auths": null, "credsStore": "" }), "f").is_ok());
    }

    proptest! {
        #[test]
        fn any_entry_is_read_without_panic(key in "\\PC{0,30}", auth in "\\PC{0,30}", token in "\\PC{0,9}") {
            let value = json!({ "auths": { key: { "auth": auth, "identitytoken": token } } });
            let config = DockerConfig::from_value(&value, "f").unwrap();
            for entry in &config.entries {
                if let EntryContent::Auth(fields) = &entry.content {
                    let _ = config.decode(&entry.key, fields);
                }
            }
        }
    }
}
