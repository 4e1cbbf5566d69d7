//! Connection settings: plain http, certificates, proxies, for every registry or for a single host.

use std::{collections::BTreeSet, path::PathBuf};

use super::{RegistrySettings, access::read_file, setting::variable, usage};
use crate::{
    endpoint::registry::{
        NetworkSettings, Proxies, SettingScope, Trust, Tuning,
        auth::{Origin, Scheme},
    },
    error::Failure,
    oci::{mapping::Root, reference::normalize_registry},
};

/// Reads and checks everything; opens no connection.
pub(super) fn settings(args: &RegistrySettings) -> Result<NetworkSettings, Failure> {
    let plain_http = registries("--plain-http", &args.plain_http)?;
    let mut trust = Trust::default();
    for text in &args.ca_cert {
        let file = ScopedFile::parse(text)?;
        let pem = read_file(&file.path, "--ca-cert")?;
        trust
            .add_authorities(file.scope, &pem)
            .map_err(|error| usage(format!("--ca-cert {}: {error}", file.path.display())))?;
    }
    add_identities(&mut trust, args)?;
    for name in registries("--insecure", &args.insecure)? {
        trust.accept_any(origin(&name)?);
    }
    Ok(NetworkSettings {
        plain_http,
        trust,
        proxies: Proxies::of_process(),
        connect_timeout: args.connect_timeout,
        rates: args.rates,
        quotas: args.quotas.clone(),
    })
}

/// A host with its own setting on the command line.
pub(super) struct NamedHost {
    /// `--plain-http` or `--insecure`
    pub(super) flag: &'static str,
    /// `HOST[:PORT]`
    pub(super) name: String,
    /// The only origin that the setting concerns.
    pub(super) origin: Origin,
}

/// The hosts of `--plain-http` and `--insecure`. A variable may be set for other commands.
pub(super) fn named_hosts(args: &RegistrySettings) -> Result<Vec<NamedHost>, Failure> {
    let mut hosts = Vec::new();
    for (flag, name, values, scheme) in [
        ("--plain-http", "THORAS_MIRROR_PLAIN_HTTP", &args.plain_http, Scheme::Http),
        ("--insecure", "THORAS_MIRROR_INSECURE", &args.insecure, Scheme::Https),
    ] {
        if variable(name).is_some_and(|set| set.value.split(',').eq(values)) {
            continue;
        }
        for name in registries(flag, values)? {
            let origin = Origin::of_registry(&name, scheme)
                .map_err(|error| usage(format!("{flag} {name}: {error}")))?;
            hosts.push(NamedHost { flag, name, origin });
        }
    }
    Ok(hosts)
}

/// Timeouts. The stall timeout also limits how long a registry may take to commit a blob.
pub(super) fn tuning(args: &RegistrySettings) -> Tuning {
    let usual = Tuning::default();
    let Some(stall) = args.stall_timeout else { return usual };
    Tuning { stall, commit: usual.commit.max(stall), ..usual }
}

/// Combines every client certificate with its key: from the same file, or from the `--client-key` with the same scope.
fn add_identities(trust: &mut Trust, args: &RegistrySettings) -> Result<(), Failure> {
    let parse =
        |texts: &[String]| texts.iter().map(|text| ScopedFile::parse(text)).collect::<Result<Vec<_>, _>>();
    let mut keys = parse(&args.client_key)?;
    for certificate in parse(&args.client_cert)? {
        let mut pem = read_file(&certificate.path, "--client-cert")?;
        let mut shown = format!("--client-cert {}", certificate.path.display());
        if let Some(at) = keys.iter().position(|key| key.scope == certificate.scope) {
            let key = keys.remove(at);
            pem.push(b'\n');
            pem.extend(read_file(&key.path, "--client-key")?);
            shown = format!("{shown} with --client-key {}", key.path.display());
        }
        trust.add_identity(certificate.scope, &pem).map_err(|error| {
            usage(format!("{shown}: {error}")).with_hint(
                "both are PEM files; the key may be in the certificate's file or in --client-key FILE, and both flags \
                 must have the same HOST= or none",
            )
        })?;
    }
    match keys.first() {
        Some(key) => Err(usage(format!("--client-key {} has no matching --client-cert", key.path.display()))
            .with_hint("pass --client-cert with the same HOST= or none")),
        None => Ok(()),
    }
}

/// `[HOST[:PORT]=]FILE`
#[derive(Debug, PartialEq, Eq)]
struct ScopedFile {
    scope: SettingScope,
    path: PathBuf,
}

impl ScopedFile {
    /// The text before the first `=` is the registry if it is a valid host. A file with such a name can be passed
    /// as `./HOST=FILE`.
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Some((name, path)) = text.split_once('=')
            && let Some(name) = registry(name)
        {
            return Ok(Self { scope: SettingScope::only(origin(&name)?), path: path.into() });
        }
        Ok(Self { scope: SettingScope::EVERY, path: text.into() })
    }
}

/// The hosts of a flag in normal form.
fn registries(flag: &str, names: &[String]) -> Result<BTreeSet<String>, Failure> {
    // A password may contain the comma that separates values, so no value is repeated if any contains an at sign.
    if names.iter().any(|name| name.contains('@')) {
        return Err(usage(format!("{flag}: expected HOST or HOST:PORT, without a user")));
    }
    let refused = |name: &String| usage(format!("{flag} {name}: expected HOST or HOST:PORT"));
    names.iter().map(|name| registry(name).ok_or_else(|| refused(name))).collect()
}

/// `HOST[:PORT]` in its normal form.
fn registry(name: &str) -> Option<String> {
    let normal = normalize_registry(name);
    let root: Root = normal.parse().ok()?;
    (root.to_string() == normal && !normal.contains('/')).then_some(normal)
}

/// The TLS origin of a registry: certificates are configured per origin.
fn origin(registry: &str) -> Result<Origin, Failure> {
    Origin::of_registry(registry, Scheme::Https).map_err(|error| usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (SettingScope, String) {
        let file = ScopedFile::parse(text).unwrap();
        (file.scope, file.path.display().to_string())
    }

    #[test]
    fn a_file_is_for_one_registry_or_for_all() {
        let only = |name: &str| SettingScope::only(Origin::of_registry(name, Scheme::Https).unwrap());
        assert_eq!(parsed("ca.pem"), (SettingScope::EVERY, "ca.pem".to_owned()));
        assert_eq!(parsed("reg.example=a=b.pem"), (only("reg.example"), "a=b.pem".to_owned()));
        assert_eq!(parsed("[::1]:5000=/etc/ca.pem"), (only("[::1]:5000"), "/etc/ca.pem".to_owned()));
        assert_eq!(parsed("docker.io=ca.pem"), (only("registry-1.docker.io"), "ca.pem".to_owned()));
        assert_eq!(parsed("./reg.example=ca.pem"), (SettingScope::EVERY, "./reg.example=ca.pem".to_owned()));
    }

    #[test]
    fn a_registry_is_a_host_and_a_port() {
        let read = |name: &str| registries("--insecure", &[name.to_owned()]);
        for name in ["reg.example", "localhost:5000", "[::1]:5000", "10.0.0.1"] {
            assert_eq!(read(name).unwrap(), BTreeSet::from([name.to_owned()]));
        }
        for name in ["", "https://reg.example", "reg.example/path", "a b", "reg.example:x"] {
            let failure = read(name).unwrap_err();
            assert_eq!(failure.message, format!("--insecure {name}: expected HOST or HOST:PORT"));
        }
    }

    #[test]
    fn a_password_with_a_comma_is_not_repeated_bug() {
        let typed = ["user:s3".to_owned(), "cret@reg.example".to_owned()];
        let failure = registries("--plain-http", &typed).unwrap_err();
        assert_eq!(failure.message, "--plain-http: expected HOST or HOST:PORT, without a user");
    }
}
