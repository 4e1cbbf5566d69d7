//! Stores and removes logins in a Docker configuration, as `docker login` and `docker logout` do, without Docker.
//!
//! The file keeps its other fields and their order. If it names a credential helper for the registry, the helper gets the
//! password and the file only an empty entry.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize as _;
use serde_json::{Map, Value, json, ser::PrettyFormatter};

use super::{
    config_key::{ConfigKey, login_key},
    credential::CredentialError,
    environment::Environment,
    helper::Helpers,
};
use crate::{
    atomic_file::{AtomicFile, Name, Readers, folder_of},
    bounded_read::{self, MAX_SETTINGS_SIZE},
};

/// Fields of an entry that a new login replaces. The others, such as `email`, stay.
const SECRETS: [&str; 5] = ["auth", "username", "password", "identitytoken", "registrytoken"];

/// A Docker configuration in which logins are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginFile {
    path: PathBuf,
}

/// Where a login is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// In the file.
    File(PathBuf),
    /// In the store of this credential helper.
    Helper(String),
}

impl LoginFile {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// `config.json` in the folder `DOCKER_CONFIG` or in `~/.docker`. `None` without a home folder.
    pub(crate) fn of_docker(environment: &Environment) -> Option<Self> {
        let home = || environment.home.as_ref().map(|home| home.join(".docker"));
        environment.docker_config.clone().or_else(home).map(|folder| Self::new(folder.join("config.json")))
    }

    /// Stores a login for a whole registry, and removes its entries under other spellings.
    pub(crate) async fn store(
        &self,
        registry: &str,
        username: &str,
        password: &SecretString,
        helpers: &Helpers,
    ) -> Result<Stored, CredentialError> {
        let mut config = self.read()?;
        let helper = helper(&config, registry);
        if let Some((name, server)) = &helper {
            helpers.store(name, server, username, password, &self.shown()).await?;
        }
        let key = login_key(registry);
        let auths = self.object(&mut config, "auths")?;
        let known = remove_spellings(auths, registry, Some(key));
        let mut entry = known.unwrap_or_default();
        entry.retain(|field, _| !SECRETS.contains(&field.as_str()));
        if helper.is_none() {
            let encoded = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
            entry.insert("auth".to_owned(), Value::String(encoded));
        }
        auths.insert(key.to_owned(), Value::Object(entry));
        self.write(&config)?;
        Ok(helper.map_or_else(
            || Stored::File(self.path.clone()),
            |(name, _)| Stored::Helper(Helpers::program(&name)),
        ))
    }

    /// Removes the login for a registry under all spellings. `None` if there was none.
    pub(crate) async fn erase(
        &self,
        registry: &str,
        helpers: &Helpers,
    ) -> Result<Option<Stored>, CredentialError> {
        let mut config = self.read()?;
        let helper = helper(&config, registry);
        let in_helper = match &helper {
            Some((name, server)) => helpers.erase(name, server, &self.shown()).await?,
            None => false,
        };
        let auths = self.object(&mut config, "auths")?;
        let count = auths.len();
        remove_spellings(auths, registry, None);
        let in_file = auths.len() < count;
        if in_file {
            self.write(&config)?;
        }
        Ok(match helper {
            Some((name, _)) if in_helper => Some(Stored::Helper(Helpers::program(&name))),
            _ => in_file.then(|| Stored::File(self.path.clone())),
        })
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The file's object; an empty one if the file is empty or does not exist.
    fn read(&self) -> Result<Map<String, Value>, CredentialError> {
        let text = match bounded_read::read_text(&self.path, MAX_SETTINGS_SIZE) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(CredentialError::unreadable(&self.path, &error)),
        };
        if text.trim().is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
            Ok(Value::Object(config)) => Ok(config),
            Ok(_) => Err(self.refused("it is not a JSON object")),
            // Only the position: a parser's message may quote its input.
            Err(error) => Err(self.refused(&format!(
                "not valid JSON at line {}, column {}",
                error.line(),
                error.column()
            ))),
        }
    }

    fn object<'a>(
        &self,
        config: &'a mut Map<String, Value>,
        name: &str,
    ) -> Result<&'a mut Map<String, Value>, CredentialError> {
        let value = config.entry(name).or_insert(Value::Null);
        if value.is_null() {
            *value = json!({});
        }
        value.as_object_mut().ok_or_else(|| self.refused(&format!("`{name}` is not an object")))
    }

    fn refused(&self, reason: &str) -> CredentialError {
        CredentialError::Config { origin: self.shown(), reason: reason.to_owned() }
    }

    /// Replaces the file with one that only its owner may read. A symbolic link stays: its target is replaced.
    fn write(&self, config: &Map<String, Value>) -> Result<(), CredentialError> {
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = folder_of(&target);
        let written = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let name = Name::Random(".thoras-mirror-login-");
            let mut file = AtomicFile::create(&target, name, Readers::Owner)?;
            file.write_all(&serialized(config)?)?;
            file.replace()
        };
        written().map_err(|error| CredentialError::Unwritable {
            path: self.path.clone(),
            folder: folder.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Docker's own layout: indented with tabs, no line break at the end.
fn serialized(config: &Map<String, Value>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
    config.serialize(&mut serializer)?;
    Ok(bytes)
}

/// The credential helper for a registry and the server to name to it: the registry's own, else the general store.
fn helper(config: &Map<String, Value>, registry: &str) -> Option<(String, String)> {
    let own =
        config.get("credHelpers").and_then(Value::as_object).into_iter().flatten().find_map(|(key, name)| {
            let key = ConfigKey::parse(key).filter(|key| key.is_for_whole(registry))?;
            let name = name.as_str().filter(|name| !name.is_empty())?;
            Some((name.to_owned(), key.server().to_owned()))
        });
    own.or_else(|| {
        let store = config.get("credsStore")?.as_str().filter(|name| !name.is_empty())?;
        Some((store.to_owned(), login_key(registry).to_owned()))
    })
}

/// Removes all entries for the whole registry but that under the key `kept`, whose content is returned. Without that
/// entry, returns the content of another.
fn remove_spellings(
    auths: &mut Map<String, Value>,
    registry: &str,
    kept: Option<&str>,
) -> Option<Map<String, Value>> {
    let mut content = kept.and_then(|key| auths.get(key)).and_then(Value::as_object).cloned();
    let is_other =
        |key: &str| kept != Some(key) && ConfigKey::parse(key).is_some_and(|key| key.is_for_whole(registry));
    auths.retain(|key, entry| {
        if !is_other(key) {
            return true;
        }
        if content.is_none() {
            content = entry.as_object().cloned();
        }
        false
    });
    content
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use std::path::Path;

    use super::*;
    use crate::{
        endpoint::registry::auth::{
            credential::Credential,
            helper::tests::helper as fake_helper,
            origin::{Origin, Scheme},
        },
        oci::Repository,
    };

    const HUB: &str = "https://index.docker.io/v1/";

    fn file(content: &str) -> (tempfile::TempDir, LoginFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker/config.json");
        if !content.is_empty() {
            fs::create_dir(folder.path().join("docker")).unwrap();
            fs::write(&path, content).unwrap();
        }
        (folder, LoginFile::new(path))
    }

    fn text(file: &LoginFile) -> String {
        fs::read_to_string(&file.path).unwrap()
    }

    async fn store(file: &LoginFile, registry: &str) -> Result<Stored, CredentialError> {
        file.store(registry, "me", &SecretString::from("s3:cret".to_owned()), &Helpers::default()).await
    }

    async fn found(file: &LoginFile, repository: &str) -> Option<String> {
        let value = serde_json::from_str(&text(file)).unwrap();
        let config = super::super::docker_config::DockerConfig::from_value(&value, "f").unwrap();
        let repository: Repository = repository.parse().unwrap();
        let registry = Origin::of_registry(repository.registry(), Scheme::Https).unwrap();
        match config.find(&registry, &repository, &Helpers::default()).await.unwrap()?.credential {
            Credential::Basic { username, password } => {
                Some(format!("{username}:{}", password.expose_secret()))
            }
            Credential::IdentityToken(_) => None,
        }
    }

    #[tokio::test]
    async fn a_login_is_stored_in_a_new_private_file() {
        let (folder, file) = file("");
        assert_eq!(store(&file, "reg.example:5000").await.unwrap(), Stored::File(file.path.clone()));
        assert_eq!(
            text(&file),
            "{\n\t\"auths\": {\n\t\t\"reg.example:5000\": {\n\t\t\t\"auth\": \"bWU6czM6Y3JldA==\"\n\t\t}\n\t}\n}"
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.path), mode(&folder.path().join("docker"))), (0o600, 0o700));
        assert_eq!(found(&file, "reg.example:5000/a/b").await.as_deref(), Some("me:s3:cret"));
        assert_eq!(fs::read_dir(folder.path().join("docker")).unwrap().count(), 1, "nothing else stays");
    }

    #[tokio::test]
    async fn other_fields_and_their_order_stay() {
        let before = json!({
            "zeta": {"b": [1, 2.5], "a": null},
            "auths": {"z.example": {"auth": "eDp5"}, "reg.example": {"auth": "eDp5", "email": "e"}, "a.example": {}},
            "HttpHeaders": {"X": "y"},
            "credHelpers": {"gcr.io": "gcloud"},
        });
        let (_folder, file) = file(&before.to_string());
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o644)).unwrap();
        store(&file, "reg.example").await.unwrap();
        let mut expected = before.clone();
        expected["auths"]["reg.example"] = json!({ "email": "e", "auth": "bWU6czM6Y3JldA==" });
        let after: Value = serde_json::from_str(&text(&file)).unwrap();
        assert_eq!(after.to_string(), expected.to_string());
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        file.erase("reg.example", &Helpers::default()).await.unwrap().unwrap();
        let mut expected = before;
        expected["auths"].as_object_mut().unwrap().shift_remove("reg.example");
        let after: Value = serde_json::from_str(&text(&file)).unwrap();
        assert_eq!(after.to_string(), expected.to_string());
        assert_eq!(file.erase("reg.example", &Helpers::default()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn other_spellings_of_the_registry_do_not_hide_the_new_login() {
        for (registry, spelling, key) in [
            ("reg.example", "https://reg.example/v2/", "reg.example"),
            ("docker.io", "docker.io", HUB),
            ("docker.io", "https://index.docker.io/v1/", HUB),
        ] {
            let old = json!({ "auths": { spelling: { "auth": "b2xkOm9sZA==" }, "reg.example/team": {} } });
            let (_folder, file) = file(&old.to_string());
            store(&file, registry).await.unwrap();
            let auths: Value = serde_json::from_str(&text(&file)).unwrap();
            let keys: Vec<&String> = auths["auths"].as_object().unwrap().keys().collect();
            assert!(keys.len() == 2 && keys.iter().any(|found| *found == key), "{keys:?}");
            assert_eq!(found(&file, &format!("{registry}/x/y")).await.as_deref(), Some("me:s3:cret"));
        }
    }

    #[tokio::test]
    async fn a_helper_gets_the_password_and_the_file_only_an_entry() {
        let body = "cat > got; echo \"$1\" > asked; echo \"$server\" >> asked";
        for config in [json!({ "credsStore": "test" }), json!({ "credHelpers": { "reg.example": "test" } })] {
            let (folder, helpers) = fake_helper("test", body);
            let (_folder, file) = file(&config.to_string());
            let password = SecretString::from("s3cret".to_owned());
            let stored = file.store("reg.example", "me", &password, &helpers).await.unwrap();
            assert_eq!(stored, Stored::Helper("docker-credential-test".to_owned()));
            let mut expected = config;
            expected["auths"] = json!({ "reg.example": {} });
            assert_eq!(text(&file).parse::<Value>().unwrap(), expected);
            let asked = || fs::read_to_string(folder.path().join("asked")).unwrap();
            assert_eq!(
                asked(),
                "store\n{\"ServerURL\":\"reg.example\",\"Username\":\"me\",\"Secret\":\"s3cret\"}\n"
            );
            file.erase("reg.example", &helpers).await.unwrap().unwrap();
            assert_eq!(asked(), "erase\nreg.example\n");
        }
    }

    #[tokio::test]
    async fn a_helper_that_fails_changes_nothing_and_its_message_hides_the_password() {
        let (_folder, helpers) = fake_helper("test", "echo \"cannot store $server\"; exit 1");
        let config = json!({ "credsStore": "test" }).to_string();
        let (_folder, file) = file(&config);
        let password = SecretString::from("s3cret".to_owned());
        let error = file.store("reg.example", "me", &password, &helpers).await.unwrap_err();
        assert!(
            error.to_string().contains("cannot store") && !error.to_string().contains("s3cret"),
            "{error}"
        );
        assert_eq!(text(&file), config);
    }

    #[tokio::test]
    async fn a_broken_file_is_refused_without_its_content_and_kept() {
        for content in ["{\"auths\": s3cret", "[\"s3cret\"]", "{\"auths\": \"s3cret\"}"] {
            let (_folder, file) = file(content);
            let error = store(&file, "reg.example").await.unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert_eq!(text(&file), content);
        }
    }

    #[tokio::test]
    async fn a_link_stays_a_link() {
        let (folder, file) = file("{}");
        let link = LoginFile::new(folder.path().join("link.json"));
        std::os::unix::fs::symlink(&file.path, &link.path).unwrap();
        store(&link, "reg.example").await.unwrap();
        assert!(fs::symlink_metadata(&link.path).unwrap().is_symlink());
        assert!(found(&file, "reg.example/a").await.is_some());
    }
}
