//! Parses error responses: the specification's envelope, or anything else.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::Response;
use serde_json::Value;

use super::{limits, message_text::says_tls_is_missing, refusal::Refusal};
use crate::{
    error::{escape, hide_repeated},
    oci::truncated,
};

/// The longest message to show, in characters.
const MAX_MESSAGE_LENGTH: usize = 400;
/// The longest detail to show, in characters.
const MAX_DETAIL_LENGTH: usize = 200;

/// The `Authorization` of a request, stored in its response: some registries repeat it in an error.
#[derive(Clone)]
struct Sent(HeaderValue);

impl Sent {
    /// Removes the credential from the registry's text.
    fn redact(&self, text: &str) -> String {
        let header = String::from_utf8_lossy(self.0.as_bytes());
        let credential = header.split_once(' ').map_or(&*header, |(_, credential)| credential);
        let decoded = STANDARD.decode(credential).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let password = decoded.as_deref().and_then(|pair| pair.split_once(':')).map(|(_, password)| password);
        [Some(credential), password]
            .into_iter()
            .flatten()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"))
    }
}

/// Stores the `Authorization` of a request in its response.
pub(super) fn remember(response: &mut Response, authorization: Option<&HeaderValue>) {
    if let Some(authorization) = authorization {
        response.extensions_mut().insert(Sent(authorization.clone()));
    }
}

/// Reads an error response, at most [`limits::MAX_ERROR_BODY_SIZE`] bytes.
pub(super) async fn refusal(mut response: Response) -> Refusal {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let mut body = Vec::new();
    // On a timeout, use what has arrived: the status matters more than the body.
    let _ = tokio::time::timeout(limits::ERROR_BODY_TIMEOUT, read_start(&mut response, &mut body)).await;
    let sent = response.extensions().get::<Sent>();
    // Redact before truncating and escaping, which could leave an unrecognized part of a secret.
    let redact = |text: &str| {
        let text = hide_repeated(text);
        sent.map_or_else(|| text.clone(), |sent| sent.redact(&text))
    };
    let (code, message) = read_envelope(&body, redact);
    let wants_tls = says_tls_is_missing(status, &message);
    Refusal { status, code, message, retry_after, wants_tls, ..Refusal::default() }
}

/// The pause that a response asks for.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(parse_retry_after)
}

/// Parses `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
#[must_use]
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

/// Whether a response is a web page by its type. Registries send JSON and blobs.
pub(super) fn is_web_page(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|page| essence.eq_ignore_ascii_case(page))
}

/// Whether bytes start as a web page does. No JSON starts like this.
pub(super) fn starts_as_web_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Reads at most [`limits::MAX_ERROR_BODY_SIZE`] bytes.
async fn read_start(response: &mut Response, body: &mut Vec<u8>) {
    while let Ok(Some(piece)) = response.chunk().await {
        let room = limits::MAX_ERROR_BODY_SIZE - body.len();
        body.extend(piece.iter().take(room));
        if body.len() == limits::MAX_ERROR_BODY_SIZE {
            return;
        }
    }
}

/// The first error's code and the messages of all errors. If the body is not an envelope, its first line of text.
pub(super) fn read_envelope(body: &[u8], redact: impl Fn(&str) -> String) -> (Option<String>, String) {
    match serde_json::from_slice::<OciEnvelope>(body) {
        Ok(envelope) if !envelope.errors.is_empty() => {
            let code = envelope.errors.first().map(|error| redact(&code_text(&error.code)));
            let messages: Vec<String> = envelope
                .errors
                .iter()
                .map(|error| {
                    with_detail(&error.message, &detail_text(&redact_within(&error.detail, &redact)))
                })
                .filter(|message| !message.is_empty())
                .collect();
            (code, shorten(&redact(&messages.join("; "))))
        }
        _ => read_exception(body, &redact).unwrap_or_else(|| (None, shorten(&redact(&plain_text(body))))),
    }
}

/// The error of an AWS API: `{"__type":"ThrottlingException","message":"Rate exceeded"}`. The type may have a prefix that
/// ends in `#`.
fn read_exception(body: &[u8], redact: &impl Fn(&str) -> String) -> Option<(Option<String>, String)> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let code = text("__type").or_else(|| text("code"))?.rsplit('#').next()?;
    let message = text("message").or_else(|| text("Message")).unwrap_or_default();
    Some((Some(escape(&redact(code))), shorten(&redact(message))))
}

/// A message with its detail, unless it contains that already.
fn with_detail(message: &str, detail: &str) -> String {
    match (message, detail) {
        (_, "") => message.to_owned(),
        ("", _) => detail.to_owned(),
        _ if message.contains(detail) => message.to_owned(),
        _ => format!("{message} ({detail})"),
    }
}

/// The detail without secrets. Its strings are redacted one by one: in JSON, a secret with quotes would be escaped and
/// not recognized.
fn redact_within(detail: &Value, redact: &impl Fn(&str) -> String) -> Value {
    match detail {
        Value::String(text) => Value::String(redact(text)),
        Value::Array(items) => items.iter().map(|item| redact_within(item, redact)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (redact(name), redact_within(value, redact))).collect()
        }
        other => other.clone(),
    }
}

fn code_text(code: &OciErrorCode) -> String {
    match code {
        OciErrorCode::Other(text) => escape(text),
        known => match serde_json::to_value(known) {
            Ok(Value::String(text)) => text,
            _ => format!("{known:?}"),
        },
    }
}

/// The first line of plain text. HTML pages of proxies are not helpful.
fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if line.starts_with('<') { String::new() } else { line.to_owned() }
}

fn shorten(text: &str) -> String {
    truncated(&escape(text).replace('\n', " "), MAX_MESSAGE_LENGTH, str::to_owned)
}

/// Formats an error's `detail`, whose type the specification leaves open: strings as they are, objects as `name=value`,
/// without empty values, truncated. The caller escapes control characters.
fn detail_text(detail: &Value) -> String {
    truncated(&written(detail), MAX_DETAIL_LENGTH, str::to_owned)
}

fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) => join(items.iter().map(written), "; "),
        Value::Object(fields) => join(fields.iter().map(|(name, value)| field(name, value)), ", "),
        other => other.to_string(),
    }
}

fn field(name: &str, value: &Value) -> String {
    match (value, written(value)) {
        (_, text) if text.is_empty() => String::new(),
        (Value::Object(_), text) => format!("{name}: {{{text}}}"),
        (_, text) => format!("{name}={text}"),
    }
}

fn join(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn envelopes_html_pages_and_plain_text() {
        let envelope = br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"x"}},{"code":"X","message":"y"}]}"#;
        assert_eq!(
            read_envelope(envelope, str::to_owned),
            (Some("MANIFEST_BLOB_UNKNOWN".into()), "blob unknown (digest=x); y".into())
        );
        assert_eq!(read_envelope(b"<html>\n<body>", str::to_owned), (None, String::new()));
        assert_eq!(read_envelope(b"\n upstream gone \n", str::to_owned), (None, "upstream gone".into()));
        assert_eq!(read_envelope(b"", str::to_owned).1, "");
        let exception = br#"{"__type":"com.amazonaws.ecr#ThrottlingException","message":"Rate exceeded"}"#;
        let (code, message) = read_envelope(exception, str::to_owned);
        assert_eq!((code.as_deref(), message.as_str()), (Some("ThrottlingException"), "Rate exceeded"));
    }

    /// A registry must not be able to write to the terminal of the person who reads its message.
    #[test]
    fn control_characters_in_a_message_are_escaped() {
        let envelope =
            br#"{"errors":[{"code":"\u001b[31mX","message":"a\u001b[2Jb","detail":{"k\u0007":["c\nd"]}}]}"#;
        let (code, message) = read_envelope(envelope, str::to_owned);
        assert_eq!(code.as_deref(), Some("\\u{1b}[31mX"));
        assert_eq!(message, "a\\u{1b}[2Jb (k\\u{7}=c d)");
    }

    #[test]
    fn the_credential_is_redacted() {
        let basic =
            Sent(HeaderValue::from_str(&format!("Basic {}", STANDARD.encode("me:pa55:word"))).unwrap());
        let bearer = Sent(HeaderValue::from_static("Bearer t0ken.x"));
        assert_eq!(
            basic.redact(&format!("no pa55:word, {}", STANDARD.encode("me:pa55:word"))),
            "no [redacted], [redacted]"
        );
        assert_eq!(bearer.redact("no Bearer t0ken.x"), "no Bearer [redacted]");
    }

    #[test]
    fn long_messages_are_truncated_at_a_character() {
        let (_, message) = read_envelope("ü".repeat(2000).as_bytes(), str::to_owned);
        assert_eq!(message.chars().count(), MAX_MESSAGE_LENGTH + 1);
    }

    #[test]
    fn details_of_well_known_registries_are_readable() {
        for (detail, read) in [
            (json!(null), ""),
            (json!({}), ""),
            (json!("http: request body too large"), "http: request body too large"),
            (json!({ "Tag": "1.0" }), "Tag=1.0"),
            // CNCF distribution
            (
                json!([{ "Type": "repository", "Class": "", "Name": "team/app", "Action": "pull" }]),
                "Type=repository, Name=team/app, Action=pull",
            ),
            (json!({ "name": "a", "digest": "sha256:0" }), "name=a, digest=sha256:0"),
            (
                json!({ "limit": 5, "hit": true, "who": { "ip": "10.0.0.1" } }),
                "limit=5, hit=true, who: {ip=10.0.0.1}",
            ),
            (json!(["one", "two"]), "one; two"),
        ] {
            assert_eq!(detail_text(&detail), read, "{detail}");
        }
    }

    #[test]
    fn a_long_detail_is_truncated_at_a_character() {
        assert_eq!(detail_text(&json!("ü".repeat(1000))).chars().count(), MAX_DETAIL_LENGTH + 1);
    }
}
