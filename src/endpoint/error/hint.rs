//! What a person can do about an error of an endpoint.

use super::{Cause, Error, Operation};
use crate::{error::Kind, oci::manifest::ManifestError, problem::Side};

/// The advice for an error, where there is any.
pub(super) fn hint(error: &Error) -> Option<String> {
    let registry = error.place.split('/').next().unwrap_or(&error.place);
    match &error.cause {
        Cause::Auth(auth) => auth.hint(error.side),
        Cause::Bundle(bundle) => bundle.hint().map(str::to_owned),
        Cause::NotPackaged => Some(
            "add --with-chart, with the --chart and --repo of the run that wrote the lock, to package it again"
                .to_owned(),
        ),
        cause if error.operation == Operation::ReadForeignLayer && cause.kind() != Kind::Integrity => Some(
            "the registry does not hold this layer, and such URLs are asked without credentials; without \
             --foreign-layers it is left out"
                .to_owned(),
        ),
        Cause::Refused { status, message, .. } => on_refusal(error, *status, message, registry),
        Cause::Unreachable(reason) => Some(on_no_connection(reason, registry)),
        cause => on_connection(error.operation, cause, registry).or_else(|| on_content(cause)),
    }
}

/// The registry answered with an error.
fn on_refusal(error: &Error, status: u16, message: &str, registry: &str) -> Option<String> {
    let advice = match status {
        401 | 403 => match error.side {
            Side::Source => format!("check the credentials for {registry} and that they may pull this image"),
            Side::Destination => {
                format!("check that the credentials for {registry} may push to this repository")
            }
        },
        _ if error.lacks_repository() => {
            let repository = error.place.split('@').next().unwrap_or(&error.place);
            format!("this registry does not create repositories by itself: create {repository} first")
        }
        413 => format!(
            "{registry}, or a proxy in front of it, limits how large a request may be: raise that limit (nginx: \
             client_max_body_size)"
        ),
        _ if error.operation == Operation::PushManifest && error.cause.refuses_manifest() => format!(
            "{registry} does not take manifests like this one: allow its type there, or leave the image out with \
             --exclude"
        ),
        400 => return on_another_scheme(message, registry),
        _ => return None,
    };
    Some(advice)
}

/// No connection came about, for the reason that the system or TLS gave.
fn on_no_connection(reason: &str, registry: &str) -> String {
    if reason.contains("fatal alert") && reason.contains("ertificate") {
        // The server's words about our certificate, or about its absence.
        format!(
            "{registry} accepts only clients with a certificate that it knows: --client-cert FILE --client-key FILE"
        )
    } else if reason.contains("tunnel error") {
        format!(
            "the proxy does not lead to {registry}: check HTTPS_PROXY, or except the registry with NO_PROXY"
        )
    } else if reason.contains("ertificate") || reason.contains("UnknownIssuer") {
        on_certificate(registry, reason)
    } else {
        format!(
            "check the name and port of {registry}, the network, and whether it speaks plain http (--plain-http \
             {registry})"
        )
    }
}

/// What helps against a certificate that TLS refused, for this reason.
fn on_certificate(registry: &str, reason: &str) -> String {
    let remedy = if reason.contains("expired") {
        format!("have the certificate of {registry} renewed, and check this machine's clock")
    } else if reason.contains("not valid yet") {
        "check this machine's clock".to_owned()
    } else if reason.contains("not valid for name") {
        format!("use a name that the certificate is for in place of {registry}")
    } else {
        "pass the registry's certificate authority with --ca-cert FILE".to_owned()
    };
    format!("{remedy}, or accept any certificate of it with --insecure {registry}")
}

/// A connection came about that did not carry the question to the registry, or no answer back.
fn on_connection(operation: Operation, cause: &Cause, registry: &str) -> Option<String> {
    let advice = match cause {
        Cause::ProxyRefused(407) => format!(
            "give the proxy's user and password in HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT), or except \
             {registry} with NO_PROXY"
        ),
        Cause::ProxyRefused(_) => format!(
            "the proxy does not lead to {registry}: have it allowed there, or except the registry with NO_PROXY"
        ),
        Cause::NotTls => {
            format!("if {registry} is meant to be asked without encryption: --plain-http {registry}")
        }
        Cause::NeitherScheme { .. } => format!(
            "check that a healthy registry listens there; if it speaks plain http, say so with --plain-http \
             {registry}"
        ),
        Cause::Stalled(_) if operation == Operation::Connect => format!(
            "check the network between here and {registry}; a slow one needs --connect-timeout SECONDS"
        ),
        Cause::Stalled(_) => format!(
            "check {registry} and the network between here and there; where both are only slow, wait longer with \
             --stall-timeout SECONDS"
        ),
        Cause::Broken(reason) => return on_another_scheme(reason, registry),
        _ => return None,
    };
    Some(advice)
}

/// A TLS alert in place of a status line, or what Go's servers say instead.
fn on_another_scheme(words: &str, registry: &str) -> Option<String> {
    let speaks_https =
        words.contains("invalid HTTP version") || words.contains("HTTP request to an HTTPS server");
    speaks_https.then(|| format!("{registry} may speak https: if so, leave out --plain-http {registry}"))
}

/// What came, or what is there, is not what it should be.
fn on_content(cause: &Cause) -> Option<String> {
    let advice = match cause {
        Cause::Immutable(_) => "delete the tag at the destination, or allow tags to be overwritten there",
        Cause::NoSuchManifest => {
            "check the spelling and the tag; some registries hide what the credentials may not pull"
        }
        Cause::NoSuchChild(_) => {
            "the image is incomplete there: have whoever publishes it push it again, or leave it out with --exclude"
        }
        Cause::Mismatch(_)
        | Cause::Manifest(ManifestError::Digest { .. } | ManifestError::Unstable { .. }) => {
            "nothing wrong was stored; if it happens again, the bytes are damaged where they come from"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}
