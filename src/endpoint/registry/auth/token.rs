//! Requesting a token: the distribution specification's token authentication (GET with Basic) and its `OAuth2` variant
//! (POST) for identity tokens.

use std::time::{Duration, Instant};

use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION},
};
use reqwest::{Client, Request};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{
    super::{answer, host_state::HostState, refusal::Refusal},
    credential::{Credential, FoundCredential},
    error::{AuthError, Denial},
    exchange::{Answer, message, refusal, send},
    origin::{Origin, redacted},
};
use crate::{
    error::{escape, remember_secret},
    oci::Repository,
};

/// The lifetime in seconds of a token without `expires_in`, and the shortest lifetime of any token: with servers that
/// say 0, every request would need a new token.
const MIN_LIFETIME: u64 = 60;

/// The longest lifetime in seconds, even if the server says more.
const MAX_LIFETIME: u64 = 24 * 60 * 60;

/// The `client_id` of the POST form, which is a required parameter.
const CLIENT_ID: &str = "thoras-mirror";

/// A token as its header. `Debug` does not show it: the header is marked as sensitive.
#[derive(Debug, Clone)]
pub(super) struct Token {
    header: HeaderValue,
    refresh_at: Instant,
}

impl Token {
    /// `Bearer …`, marked as sensitive.
    #[must_use]
    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }

    #[cfg(test)]
    pub(super) fn until(refresh_at: Instant, header: &'static str) -> Self {
        Self { header: HeaderValue::from_static(header), refresh_at }
    }

    /// Whether it is usable at `now`. This ends before the token expires, so that it does not expire in transit.
    #[must_use]
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.refresh_at
    }
}

/// A token request.
pub(super) struct TokenRequest<'a> {
    pub(super) client: &'a Client,
    /// What is known about the token server.
    pub(super) state: &'a HostState,
    /// A URL that passed [`super::realm::check`].
    pub(super) realm: Url,
    pub(super) service: Option<&'a str>,
    /// The scope with push first: some servers read only the first.
    pub(super) scopes: &'a [String],
    pub(super) found: Option<&'a FoundCredential>,
    /// For the error if access is denied.
    pub(super) repository: &'a Repository,
    pub(super) action: &'a str,
    /// How long each attempt waits for data.
    pub(super) stall: Duration,
}

#[derive(Deserialize)]
struct Body {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<Value>,
}

impl TokenRequest<'_> {
    /// Sends the request; falls back from POST to GET.
    pub(super) async fn send(&self) -> Result<Token, AuthError> {
        if let Some(Credential::IdentityToken(token)) = self.found.map(|found| &found.credential) {
            let asked_at = Instant::now();
            let answer = send(self.client, self.state, self.post(token.expose_secret()), self.stall).await?;
            // Servers without the POST form answer in different ways, so try a GET.
            if !matches!(answer.status.as_u16(), 400 | 401 | 404 | 405) {
                return self.read_answer(&answer, asked_at);
            }
        }
        let asked_at = Instant::now();
        let answer = send(self.client, self.state, self.get(), self.stall).await?;
        self.read_answer(&answer, asked_at)
    }

    fn get(&self) -> Request {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scopes.iter().map(|scope| ("scope", scope)));
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        let mut request = Request::new(Method::GET, url);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(found) = self.found {
            request.headers_mut().insert(AUTHORIZATION, found.credential.basic_header());
        }
        request
    }

    fn post(&self, refresh_token: &str) -> Request {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .extend_pairs(self.service.map(|service| ("service", service)))
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &self.scopes.join(" "))
            .append_pair("refresh_token", refresh_token)
            .finish();
        let mut request = Request::new(Method::POST, self.realm.clone());
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        *request.body_mut() = Some(form.into());
        request
    }

    fn read_answer(&self, answer: &Answer, asked_at: Instant) -> Result<Token, AuthError> {
        let url = redacted(&self.realm);
        if answer.status.is_success() {
            if answer::is_web_page(&answer.headers) || answer::starts_as_web_page(&answer.body) {
                let host = host_and_port(&self.realm);
                return Err(AuthError::WebPage { url, host });
            }
            return read_token(answer, asked_at).map_err(|problem| AuthError::Answer { url, problem });
        }
        let words = message(&answer.body);
        // A server may repeat what it received.
        let message =
            words.map(|words| self.found.map_or(words.clone(), |found| found.credential.redact(&words)));
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(AuthError::Denied(Box::new(Denial {
                by: format!("the token server {url}"),
                repository: self.repository.clone(),
                action: self.action.to_owned(),
                provenance: self.found.map(|found| found.provenance.clone()),
                message,
            })));
        }
        if matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            let (host, status) = (host_and_port(&self.realm), answer.status.as_u16());
            return Err(AuthError::Redirected { url, host, status, target: self.target(answer) });
        }
        let refusal = Refusal { message: escape(&message.unwrap_or_default()), ..refusal(answer) };
        let tried = (answer.attempts, answer.elapsed);
        Err(AuthError::TokenServer {
            url,
            host: host_and_port(&self.realm),
            refusal: Box::new(refusal),
            tried,
        })
    }
}

impl TokenRequest<'_> {
    /// Where a response redirects, without the query.
    fn target(&self, answer: &Answer) -> Option<String> {
        let location = answer.headers.get(LOCATION)?.to_str().ok()?;
        let mut target = self.realm.join(location).ok()?;
        target.set_query(None);
        Some(redacted(&target))
    }
}

fn host_and_port(url: &Url) -> String {
    Origin::of(url).map_or_else(|_| redacted(url), |origin| origin.host_and_port())
}

fn read_token(answer: &Answer, asked_at: Instant) -> Result<Token, &'static str> {
    if answer.is_cut {
        return Err("it is longer than 128 KiB");
    }
    let body: Body = serde_json::from_slice(&answer.body).map_err(|_| "it is not a JSON token response")?;
    let token = [body.token, body.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let token = token.ok_or("it has neither `token` nor `access_token`")?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "the token is not a valid header value")?;
    header.set_sensitive(true);
    remember_secret(&token);
    Ok(Token { header, refresh_at: asked_at + usable_for(body.expires_in.as_ref()) })
}

/// How long to use a token: its lifetime minus a quarter, at most a minute. `issued_at` is ignored: it depends on the
/// server's clock.
fn usable_for(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_u64(),
        None => None,
    };
    let life = seconds.unwrap_or(MIN_LIFETIME).clamp(MIN_LIFETIME, MAX_LIFETIME);
    Duration::from_secs(life - (life / 4).min(60))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(body: &[u8]) -> Result<Token, &'static str> {
        let (status, headers) = (StatusCode::OK, HeaderMap::new());
        let answer = Answer { status, headers, body: body.to_vec(), ..Answer::default() };
        read_token(&answer, Instant::now())
    }

    #[test]
    fn token_and_access_token_are_both_accepted() {
        for body in [
            r#"{"token":"t"}"#,
            r#"{"access_token":"t"}"#,
            r#"{"token":"","access_token":"t"}"#,
            r#"{"token":null,"access_token":"t","expires_in":null,"issued_at":"yesterday"}"#,
            r#"{"token":"t","access_token":"other"}"#,
        ] {
            let token = read(body.as_bytes()).unwrap();
            assert_eq!(token.header().to_str().unwrap(), "Bearer t", "{body}");
            assert!(token.header().is_sensitive());
        }
    }

    #[test]
    fn an_answer_without_a_token_is_an_error_that_repeats_nothing() {
        for body in ["{}", "", "<html>", r#"{"token":""}"#, r#"{"token":"s3\ncret"}"#, r#"{"token":7}"#, "[]"]
        {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        assert!(!format!("{:?}", read(br#"{"token":"s3cret"}"#).unwrap()).contains("s3cret"));
    }

    #[test]
    fn lifetimes_have_a_default_a_minimum_and_a_margin() {
        let usable = |value: Value| usable_for(Some(&value)).as_secs();
        assert_eq!(usable_for(None).as_secs(), 45);
        for (value, expected) in [
            (json!(0), 45),
            (json!(-5), 45),
            (json!(10), 45),
            (json!("x"), 45),
            (json!(300), 240),
            (json!("300"), 240),
            (json!(3600), 3540),
            (json!(u64::MAX), MAX_LIFETIME - 60),
        ] {
            assert_eq!(usable(value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn a_token_is_fresh_until_shortly_before_it_expires() {
        let token = read(br#"{"token":"t","expires_in":300}"#).unwrap();
        let now = Instant::now();
        assert!(token.is_fresh(now + Duration::from_secs(230)));
        assert!(!token.is_fresh(now + Duration::from_secs(250)));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), seconds in any::<f64>()) {
            let _ = read(&body);
            let _ = read(format!(r#"{{"token":"t","expires_in":{seconds}}}"#).as_bytes());
        }
    }
}
