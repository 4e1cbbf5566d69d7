//! The token server of a registry: it decides on access and signs tokens, as in distribution's `spec/auth/token`.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Address,
    http_server::{Answer, HttpServer},
    tls::Authority,
};

const ISSUER: &str = "test issuer";
const SERVICE: &str = "test registry";

/// A request to the token server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// `GET`, or `POST` for an OAuth 2 grant.
    pub method: Method,
    /// The scopes in the order in which they were written.
    pub scopes: Vec<String>,
    /// The `Authorization` header, if there was one.
    pub authorization: Option<String>,
    /// The form of a `POST`: `grant_type`, `refresh_token`, …
    pub form: Vec<(String, String)>,
    /// What was answered.
    pub status: StatusCode,
}

/// A running token server. Nothing is allowed by default.
#[derive(Debug)]
pub struct TokenServer {
    server: HttpServer,
    issuer: Arc<Issuer>,
    folder: TempDir,
}

#[derive(Debug)]
struct Issuer {
    key: KeyPair,
    certificate: rcgen::Certificate,
    policy: Mutex<Policy>,
    requests: Mutex<Vec<TokenRequest>>,
}

#[derive(Debug, Default)]
struct Policy {
    rights: Vec<Right>,
    expires_in: Option<u64>,
}

/// What one user may do in one repository; without a user, what every client may do.
#[derive(Debug)]
struct Right {
    user: Option<(String, String)>,
    repository: String,
    actions: BTreeSet<String>,
}

impl TokenServer {
    /// Starts a server, over https if there is an authority.
    pub async fn start(authority: Option<&Authority>) -> Self {
        // RSA, because rcgen's ECDSA signatures are not in the form that a JWT has.
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, ISSUER);
        let certificate = params.self_signed(&key).unwrap();

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("issuer.pem"), certificate.pem()).unwrap();
        let issuer =
            Arc::new(Issuer { key, certificate, policy: Mutex::default(), requests: Mutex::default() });
        let server = HttpServer::start(authority, &issuer, |issuer, request| async move {
            Ok(issuer.answer(request).await)
        });
        Self { server: server.await, issuer, folder }
    }

    /// Allows a user `actions` (`pull`, `push`) in a repository; `*` is every repository.
    ///
    /// The password is also accepted as a refresh token.
    pub fn allow(&self, user: &str, password: &str, repository: &str, actions: &[&str]) {
        self.add(Some((user.to_owned(), password.to_owned())), repository, actions);
    }

    /// Allows every client `actions`, logged in or not.
    pub fn allow_everyone(&self, repository: &str, actions: &[&str]) {
        self.add(None, repository, actions);
    }

    fn add(&self, user: Option<(String, String)>, repository: &str, actions: &[&str]) {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        self.issuer.policy().rights.push(Right { user, repository: repository.to_owned(), actions });
    }

    /// Revokes all rights. Issued tokens stay valid.
    pub fn deny_all(&self) {
        self.issuer.policy().rights.clear();
    }

    /// Sets the `expires_in` of tokens in seconds (300 by default). Tokens are actually valid for an hour.
    pub fn set_expires_in(&self, seconds: u64) {
        self.issuer.policy().expires_in = Some(seconds);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.issuer.requests.lock().unwrap().clone()
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    /// The URL that a registry names in its challenge.
    pub fn realm(&self) -> String {
        format!("{}/token", self.address().url())
    }

    /// The `auth.token` part of a registry's configuration.
    pub fn registry_configuration(&self) -> Value {
        json!({
            "realm": self.realm(),
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": self.folder.path().join("issuer.pem"),
        })
    }
}

impl Issuer {
    fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let form = pairs(&body);
        let asked = if head.method == Method::POST {
            form.clone()
        } else {
            pairs(head.uri.query().unwrap_or_default().as_bytes())
        };
        let values = |key| asked.iter().filter(move |pair| pair.0 == key).map(|pair| pair.1.clone());
        // One parameter may hold several scopes, as OAuth 2 writes them.
        let scopes: Vec<String> = values("scope")
            .flat_map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let authorization = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let answer = match self.user(authorization.as_deref(), values("refresh_token").next()) {
            Ok(user) => self.grant(user.as_deref(), &scopes),
            Err(Refused) => Answer::error(401, "UNAUTHORIZED"),
        };
        let status = answer.status;
        let method = head.method;
        self.requests.lock().unwrap().push(TokenRequest { method, scopes, authorization, form, status });
        answer
    }

    /// The user of a request: anonymous, known, or refused for a wrong password.
    fn user(&self, authorization: Option<&str>, refresh: Option<String>) -> Result<Option<String>, Refused> {
        let policy = self.policy();
        let mut users = policy.rights.iter().filter_map(|right| right.user.as_ref());
        let known = if let Some(refresh) = refresh {
            users.find(|(_, password)| *password == refresh)
        } else if let Some(header) = authorization {
            users.find(|(user, password)| {
                header.strip_prefix("Basic ") == Some(&BASE64_STANDARD.encode(format!("{user}:{password}")))
            })
        } else {
            return Ok(None);
        };
        known.map(|(user, _)| Some(user.clone())).ok_or(Refused)
    }

    /// A token for the requested actions that the policy allows, possibly none.
    fn grant(&self, user: Option<&str>, scopes: &[String]) -> Answer {
        let policy = self.policy();
        let access: Vec<Value> = scopes.iter().filter_map(|scope| policy.intersect(user, scope)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = self.sign(&json!({
            "iss": ISSUER, "aud": SERVICE, "sub": user.unwrap_or_default(),
            "iat": now, "nbf": now - 60, "exp": now + 3600, "jti": format!("{now}-{access:?}"),
            "access": access,
        }));
        Answer::json(200, &json!({ "token": token, "expires_in": policy.expires_in.unwrap_or(300) }))
    }

    fn sign(&self, claims: &Value) -> String {
        let certificate = BASE64_STANDARD.encode(self.certificate.der());
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [certificate] });
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Policy {
    /// The part of `repository:NAME:ACTION,ACTION` that is allowed.
    fn intersect(&self, user: Option<&str>, scope: &str) -> Option<Value> {
        let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        let holds = |right: &&Right| {
            let for_user = right.user.as_ref().is_none_or(|(owner, _)| Some(owner.as_str()) == user);
            for_user && (right.repository == "*" || right.repository == name)
        };
        let allowed: BTreeSet<&String> =
            self.rights.iter().filter(holds).flat_map(|right| &right.actions).collect();
        let granted: Vec<&str> =
            actions.split(',').filter(|&action| allowed.iter().any(|&right| right == action)).collect();
        (!granted.is_empty()).then(|| json!({ "type": "repository", "name": name, "actions": granted }))
    }
}

struct Refused;

/// The pairs of a query or a form.
fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}
