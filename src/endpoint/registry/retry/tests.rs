use super::*;
use crate::endpoint::registry::{
    answer::parse_retry_after,
    connection_problem::{CertificateProblem, ConnectionProblem},
};

fn refused(status: u16, code: Option<&str>) -> RegistryError {
    let code = code.map(str::to_owned);
    RegistryError::Refused(Refusal { status, code, ..Refusal::default() })
}

fn unreachable(problem: ConnectionProblem, reason: &str) -> RegistryError {
    RegistryError::Unreachable { problem, reason: reason.to_owned() }
}

#[test]
fn the_retry_table() {
    let table: Vec<String> = [
        unreachable(ConnectionProblem::Other, "refused"),
        unreachable(ConnectionProblem::UnknownHost, "no such name"),
        unreachable(ConnectionProblem::Tunnel, "tunnel error"),
        unreachable(ConnectionProblem::ClientCertificate, "received fatal alert"),
        unreachable(ConnectionProblem::Certificate(CertificateProblem::Expired), "expired"),
        RegistryError::NotTls,
        RegistryError::NotHttp("invalid".into()),
        RegistryError::NeitherScheme { http: "cut".into(), https: "cut".into() },
        RegistryError::ProxyRefused(403),
        RegistryError::ProxyRefused(407),
        RegistryError::ProxyRefused(503),
        RegistryError::Broken("reset".into()),
        RegistryError::Stalled(Duration::from_secs(60)),
        RegistryError::Redirect("x".into()),
        RegistryError::Protocol("x".into()),
        RegistryError::Settings("x".into()),
        RegistryError::Immutable(crate::oci::Digest::sha256(b"")),
        RegistryError::NoChunks(405),
        RegistryError::TooSlow { bytes: 3000, time: Duration::from_secs(60) },
        RegistryError::WebPage,
        RegistryError::UploadRedirected,
        RegistryError::Elsewhere { host: "cdn".into(), error: Box::new(refused(503, None)) },
        RegistryError::Elsewhere {
            host: "cdn".into(),
            error: Box::new(unreachable(ConnectionProblem::Other, "refused")),
        },
    ]
    .into_iter()
    .chain(
        [400, 401, 403, 404, 405, 408, 409, 413, 416, 429, 499, 500, 501, 502, 503, 504, 522]
            .map(|status| refused(status, None)),
    )
    .chain([
        refused(404, Some("BLOB_UPLOAD_UNKNOWN")),
        refused(409, Some("BLOB_UPLOAD_INVALID")),
        refused(409, Some("BLOB_UPLOAD_UNKNOWN")),
        refused(400, Some("DIGEST_INVALID")),
        refused(400, Some("ThrottlingException")),
    ])
    .map(|error| format!("{:12} {error}", format!("{:?}", remedy(&error))))
    .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn retry_after_is_honored_in_both_forms_up_to_five_minutes() {
    assert_eq!(parse_retry_after(" 7 "), Some(Duration::from_secs(7)));
    assert_eq!(parse_retry_after("soon"), None);
    let past = parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(past, Some(Duration::ZERO));
    let asked = |seconds| {
        let retry_after = Some(Duration::from_secs(seconds));
        RegistryError::Refused(Refusal { status: 429, retry_after, ..Refusal::default() })
    };
    assert_eq!(pause(&asked(300)), Pause::Fixed(MAX_RETRY_AFTER));
    assert_eq!(of_transfer(&asked(300)).unwrap().pause, Pause::Fixed(MAX_RETRY_AFTER));
    assert_eq!(of_transfer(&asked(301)), None, "it fails at once");
    assert!(asked(9000).to_string().ends_with("it asks to wait 2 h 30 min"), "{}", asked(9000));
    let lasting = Refusal { status: 403, retry_after: Some(Duration::from_secs(9000)), ..Refusal::default() };
    assert_eq!(too_long_a_pause(&RegistryError::Refused(lasting)), None, "it is not temporary");
}

#[test]
fn only_a_temporary_failure_may_ask_for_a_pause() {
    let asking = |status| {
        let retry_after = Some(Duration::from_secs(7));
        RegistryError::Refused(Refusal { status, retry_after, ..Refusal::default() })
    };
    assert_eq!(asked_for(&asking(503)), Some(Duration::from_secs(7)));
    assert_eq!(asked_for(&asking(403)), None);
}

#[test]
fn an_upload_has_more_attempts_only_if_the_registry_serves_others() {
    let attempts_of = |status, serves_others| {
        let refusal = Refusal { status, serves_others, ..Refusal::default() };
        of_transfer(&RegistryError::Refused(refusal)).unwrap().attempts
    };
    assert_eq!(attempts_of(429, true), THROTTLED_UPLOADS);
    assert_eq!(attempts_of(429, false), attempts());
    assert_eq!(attempts_of(500, true), attempts(), "it is broken, not busy");
}

#[test]
fn a_damaged_answer_is_requested_again() {
    let damaged =
        Cause::from(crate::oci::Mismatch::TooLong { digest: crate::oci::Digest::sha256(b""), expected: 1 });
    assert!(damaged.is_damage());
    let mut tries = Attempts::new(ATTEMPTS);
    tries.begin();
    assert_eq!(tries.next_pause(&damaged, 0), Some(Duration::ZERO));
    tries.begin();
    assert_eq!(tries.next_pause(&damaged, 0), None);
}

#[test]
fn throttling_is_recognized_by_status_and_by_code() {
    for (status, code, expected) in [
        (429, None, true),
        (503, None, true),
        (400, Some("ThrottlingException"), true),
        (400, Some("TOOMANYREQUESTS"), true),
        (403, Some("TOOMANYREQUESTS"), true),
        (400, Some("RequestLimitExceeded"), true),
        (400, Some("SlowDown"), true),
        (400, Some("MANIFEST_INVALID"), false),
        (403, Some("DENIED"), false),
        (500, None, false),
    ] {
        let error = refused(status, code);
        assert_eq!(is_throttled(&error), expected, "{error}");
        assert_eq!(is_transient(&error), expected || status == 500, "{error}");
    }
}

#[test]
fn an_upload_is_retried_at_once_unless_the_registry_is_busy() {
    for error in [refused(413, None), refused(404, Some("BLOB_UPLOAD_UNKNOWN")), refused(401, None)] {
        assert_eq!(of_transfer(&error).unwrap().pause, Pause::None, "{error}");
    }
    let busy = refused(409, Some("BLOB_UPLOAD_INVALID"));
    assert_eq!(of_transfer(&busy).unwrap().pause, Pause::Backoff, "an upload becomes free by itself");
    assert_eq!(of_transfer(&refused(401, None)).unwrap().attempts, DAMAGED_ATTEMPTS);
    assert_eq!(of_transfer(&refused(403, None)), None);
    assert!(is_busy_upload(&busy));
    assert!(!is_busy_upload(&refused(503, None)), "the registry is busy, not the upload");
}

#[tokio::test(start_paused = true)]
async fn connections_that_fail_slowly_are_tried_twice() {
    let cause = Cause::from(unreachable(ConnectionProblem::Other, "name or service not known"));
    let broken = Cause::from(RegistryError::Broken("reset".to_owned()));
    for (cause, milliseconds, expected) in [
        (&cause, 0, ATTEMPTS),
        (&cause, 1000, ATTEMPTS),
        // The third attempt begins at the limit, which is not beyond it.
        (&cause, 2500, 3),
        (&cause, 4000, 2),
        (&cause, 30_000, 2),
        (&broken, 30_000, ATTEMPTS),
    ] {
        let mut tries = Attempts::new(ATTEMPTS);
        loop {
            tries.begin();
            tokio::time::advance(Duration::from_millis(milliseconds)).await;
            if tries.next_pause(cause, 0).is_none() {
                break;
            }
        }
        assert_eq!(tries.count(), expected, "{milliseconds} ms: {cause}");
    }
}

#[test]
fn a_throttled_request_fails_only_when_the_registry_makes_no_progress() {
    const LONG: u32 = 500;
    // The registry serves other requests during the first `LONG` attempts.
    let tries_until_the_end = |error: &RegistryError, answers_each_time: u64| {
        let cause = Cause::from(error.clone());
        let mut tries = Attempts::new(ATTEMPTS);
        let mut answers = 0;
        loop {
            tries.begin();
            answers += if tries.count() <= LONG { answers_each_time } else { 0 };
            match tries.next_pause(&cause, answers) {
                None => return tries.count(),
                Some(pause) => assert!(pause <= Duration::from_secs(5), "{pause:?}"),
            }
        }
    };
    for throttled in [refused(503, None), refused(429, None), refused(400, Some("ThrottlingException"))] {
        assert_eq!(tries_until_the_end(&throttled, 0), ATTEMPTS, "{throttled}");
        assert_eq!(tries_until_the_end(&throttled, 1), LONG + ATTEMPTS - 1, "{throttled}");
    }
    assert_eq!(tries_until_the_end(&refused(500, None), 1), ATTEMPTS, "it is broken, not busy");
    assert_eq!(tries_until_the_end(&refused(404, None), 1), 1);
}
