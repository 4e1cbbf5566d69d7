//! Reading what a registry says when it refuses: the specification's error envelope, or anything else.

use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::{Response, header::RETRY_AFTER};

use super::{limits, retry};
use crate::{endpoint::Cause, error::escape};

/// The longest message that is repeated to a person, in characters.
const LONGEST_MESSAGE: usize = 400;

/// Turns an error answer into a cause. Reads at most [`limits::ERROR_BODY`] bytes of it.
pub(super) async fn refusal(mut response: Response) -> Cause {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(retry::retry_after);
    let mut body = Vec::new();
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(limits::STALL, response.chunk()).await {
        let room = limits::ERROR_BODY - body.len();
        body.extend(piece.iter().take(room));
        if body.len() == limits::ERROR_BODY {
            break;
        }
    }
    let (code, message) = read_envelope(&body);
    Cause::Refused { status, code, message, retry_after }
}

/// The first error's code and message, with all further messages appended; of anything that is not an
/// envelope, the first line of text.
pub(super) fn read_envelope(body: &[u8]) -> (Option<String>, String) {
    match serde_json::from_slice::<OciEnvelope>(body) {
        Ok(envelope) if !envelope.errors.is_empty() => {
            let code = envelope.errors.first().map(|error| code_text(&error.code));
            let messages: Vec<String> = envelope
                .errors
                .iter()
                .map(|error| match &error.detail {
                    serde_json::Value::Null => error.message.clone(),
                    detail => format!("{} ({detail})", error.message),
                })
                .filter(|message| !message.is_empty())
                .collect();
            (code, shorten(&messages.join("; ")))
        }
        _ => (None, shorten(&plain_text(body))),
    }
}

fn code_text(code: &OciErrorCode) -> String {
    match code {
        OciErrorCode::Other(text) => escape(text),
        known => match serde_json::to_value(known) {
            Ok(serde_json::Value::String(text)) => text,
            _ => format!("{known:?}"),
        },
    }
}

/// A proxy's HTML page says nothing that helps; a line of plain text often does.
fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if line.starts_with('<') { String::new() } else { line.to_owned() }
}

fn shorten(text: &str) -> String {
    let text = escape(text).replace('\n', " ");
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_pages_and_lines() {
        let envelope = br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"x"}},{"code":"X","message":"y"}]}"#;
        assert_eq!(
            read_envelope(envelope),
            (Some("MANIFEST_BLOB_UNKNOWN".into()), r#"blob unknown ({"digest":"x"}); y"#.into())
        );
        assert_eq!(read_envelope(b"<html>\n<body>"), (None, String::new()));
        assert_eq!(read_envelope(b"\n upstream gone \n"), (None, "upstream gone".into()));
        assert_eq!(read_envelope(b"").1, "");
    }

    /// A registry must not be able to write to the terminal of the person who reads its message.
    #[test]
    fn control_characters_in_a_message_are_escaped() {
        let (code, message) =
            read_envelope(b"{\"errors\":[{\"code\":\"\\u001b[31mX\",\"message\":\"a\\u001b[2Jb\"}]}");
        assert_eq!(code.as_deref(), Some("\\u{1b}[31mX"));
        assert_eq!(message, "a\\u{1b}[2Jb");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let (_, message) = read_envelope("ü".repeat(2000).as_bytes());
        assert_eq!(message.chars().count(), LONGEST_MESSAGE + 1);
    }
}
