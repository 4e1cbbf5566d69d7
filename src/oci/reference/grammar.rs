//! The grammar of a reference's parts: that of the OCI distribution specification ("Pulling manifests").

use std::net::Ipv6Addr;

use super::ReferenceError;

const MAX_REPOSITORY_LENGTH: usize = 255;
const MAX_TAG_LENGTH: usize = 128;

/// `HOST` or `HOST:PORT`; a host is a name, an IPv4 address or an IPv6 address in brackets.
pub(super) fn check_registry(registry: &str) -> Result<(), ReferenceError> {
    let refused = || ReferenceError::Registry(registry.to_owned());
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or_else(refused)?;
            address.parse::<Ipv6Addr>().map_err(|_| refused())?;
            match after.strip_prefix(':') {
                Some(port) => ("v6", Some(port)),
                None if after.is_empty() => ("v6", None),
                None => return Err(refused()),
            }
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    let label = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let host_is_fine = host.len() <= 253 && host.split('.').all(label);
    let port_is_fine = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if host_is_fine && port_is_fine { Ok(()) } else { Err(refused()) }
}

/// `COMPONENT[/COMPONENT]...`
pub(super) fn check_path(path: &str) -> Result<(), ReferenceError> {
    let fine = path.len() <= MAX_REPOSITORY_LENGTH && path.split('/').all(is_path_component);
    if fine { Ok(()) } else { Err(ReferenceError::Repository(path.to_owned())) }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bounded = component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().next_back().is_some_and(alphanumeric);
    bounded
        && component
            .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
            })
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
pub(super) fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let fine = (1..=MAX_TAG_LENGTH).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if fine { Ok(()) } else { Err(ReferenceError::Tag(tag.to_owned())) }
}
