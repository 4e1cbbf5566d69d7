//! Logins of a simulated registry: Basic, or tokens with scopes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use serde_json::json;

use super::{
    profile::{Login, Profile, Repositories, error},
    simulation::{LOGIN, Shared, State, split},
    uploads,
};
use crate::support::{http_server::Answer, scripted::Recorded};

/// `Basic …` of [`LOGIN`].
fn basic() -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", LOGIN.0, LOGIN.1)))
}

/// Whether a request is for the token server.
pub(super) fn is_realm(profile: &Profile, host: &str, path: &str) -> bool {
    let Login::Token { realm, .. } = profile.login else { return false };
    format!("https://{host}{}", path.split('?').next().unwrap_or_default()) == realm
}

/// The answer of the token server: a token for all requested scopes, or none without the right login.
pub(super) fn token(shared: &Shared, request: &Recorded, body: &[u8]) -> Answer {
    let Login::Token { service, is_posted, .. } = shared.profile.login else { return Answer::status(404) };
    let query = request.path.split_once('?').map_or("", |(_, query)| query).as_bytes();
    let is_post = request.method == Method::POST;
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(if is_post { body } else { query }).into_owned().collect();
    let values =
        |name: &'static str| pairs.iter().filter(move |pair| pair.0 == name).map(|pair| pair.1.clone());
    let is_right = if is_posted {
        is_post && values("grant_type").eq(["refresh_token"]) && values("refresh_token").eq([LOGIN.1])
    } else {
        !is_post && request.header("authorization") == Some(&basic())
    };
    let state = &mut *shared.state();
    if !values("service").eq([service]) {
        state.violations.push(format!("a token for another service: {pairs:?}"));
    }
    if !is_right {
        return error(401, "UNAUTHORIZED", "incorrect username or password");
    }
    let scopes: Vec<String> =
        values("scope").flat_map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    if let Repositories::MustExistForToken(_, answer) = shared.profile.repositories {
        let names = scopes.iter().filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'));
        let absent = |name: &&str| !state.existing.contains(&shared.profile.repositories.needed(name));
        if let Some(name) = names.map(|(name, _)| name).find(absent) {
            return answer(name);
        }
    }
    let token = format!("t0ken-{}", state.tokens.len());
    state.tokens.insert(token.clone(), scopes);
    // Azure and others name it differently.
    let name = if is_posted { "access_token" } else { "token" };
    Answer::json(200, &json!({ name: token, "expires_in": 300 }))
}

/// Why a request is refused.
pub(super) fn refusal(shared: &Shared, request: &Recorded) -> Option<Answer> {
    let state = &mut *shared.state();
    if request.header("cookie").is_some() {
        // https://github.com/openai/tart/issues/295: with a cookie, Harbor asks for a CSRF token.
        state.violations.push(format!("a cookie came back: {}", request.path));
    }
    let name =
        uploads::repository_of(state, &request.path).unwrap_or_else(|| split(&request.path).0.to_owned());
    let action = if matches!(request.method, Method::GET | Method::HEAD) { "pull" } else { "push" };
    let given = request.header("authorization");
    match shared.profile.login {
        Login::Basic(challenge) if given != Some(&basic()) => {
            Some(Answer::status(401).header("www-authenticate", challenge).body("Not Authorized\n"))
        }
        Login::Token { realm, service, .. } if !allows(state, given, &name, action) => {
            let actions = if action == "push" { "pull,push" } else { "pull" };
            let scope = match name.as_str() {
                "" => String::new(),
                name => format!(",scope=\"repository:{name}:{actions}\""),
            };
            let reason = if given.is_some() { ",error=\"insufficient_scope\"" } else { "" };
            let challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}{reason}");
            let refusal = error(401, "UNAUTHORIZED", "authentication required");
            Some(refusal.header("www-authenticate", &challenge))
        }
        _ => None,
    }
}

/// Whether a token allows an action.
fn allows(state: &State, given: Option<&str>, name: &str, action: &str) -> bool {
    let token = given.and_then(|given| given.strip_prefix("Bearer "));
    let Some(scopes) = token.and_then(|token| state.tokens.get(token)) else { return false };
    let grants = |scope: &String| {
        let (repository, actions) = scope.rsplit_once(':').unwrap_or_default();
        repository == format!("repository:{name}") && actions.split(',').any(|granted| granted == action)
    };
    name.is_empty() || scopes.iter().any(grants)
}

/// Whether a request may read another repository, to mount a blob from it.
pub(super) fn may_pull(profile: &Profile, state: &State, request: &Recorded, name: &str) -> bool {
    matches!(profile.login, Login::Basic(_)) || allows(state, request.header("authorization"), name, "pull")
}
