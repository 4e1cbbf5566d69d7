//! Decides whether to trust the token server that a registry names, and with which credential.
//!
//! The registry chooses the realm of a challenge. Docker Hub and GitLab name another host, so other hosts must be
//! allowed; but a registry must not make us send a credential over plain http, to this machine, or to a cloud's
//! metadata service.

use url::Url;

use super::{
    credential::Provenance,
    origin::{Origin, Reach},
};

/// Why a token server is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RealmRefusal {
    /// It is not an http or https URL.
    #[error("it is not an http or https URL")]
    NotAUrl,
    /// The connection would be unencrypted.
    #[error("it is plain http on another host, or the registry itself is reached over https")]
    PlainHttp,
    /// A remote registry names this machine or this network segment.
    #[error("it is a loopback or link-local address, but the registry is not")]
    Local,
    /// The registry was reached over plain http, where an attacker on the network can name a token server.
    #[error("it is on another host, named over plain http, and would receive a credential")]
    NamedInPlainText,
    /// The license is valid for its own host only.
    #[error("the license is sent only to a token server on the registry's own host")]
    NotTheLicensedHost,
}

/// Checks the realm that `registry` named, for a request that would carry a credential from `provenance` (`None`:
/// anonymous). Returns the URL to request, without user, password and fragment.
pub fn check(registry: &Origin, realm: &str, provenance: Option<&Provenance>) -> Result<Url, RealmRefusal> {
    let url = parse(registry, realm).ok_or(RealmRefusal::NotAUrl)?;
    let server = Origin::of(&url).map_err(|_| RealmRefusal::NotAUrl)?;
    let both_loopback = server.reach() == Reach::Loopback && registry.reach() == Reach::Loopback;
    let is_near = server.host() == registry.host() || both_loopback;
    if server.reach() != Reach::Remote && server.reach() != registry.reach() {
        return Err(RealmRefusal::Local);
    }
    if !server.is_https() && (registry.is_https() || !is_near) {
        return Err(RealmRefusal::PlainHttp);
    }
    match provenance {
        Some(Provenance::License) if server != *registry => Err(RealmRefusal::NotTheLicensedHost),
        Some(_) if !registry.is_https() && !is_near => Err(RealmRefusal::NamedInPlainText),
        _ => Ok(url),
    }
}

fn parse(registry: &Origin, realm: &str) -> Option<Url> {
    let mut url = match Url::parse(realm) {
        Err(url::ParseError::RelativeUrlWithoutBase) if realm.starts_with('/') => {
            registry.url("/").ok()?.join(realm).ok()?
        }
        parsed => parsed.ok()?,
    };
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static SOMEONE: Provenance = Provenance::Explicit(String::new());

    fn checked(registry: &str, realm: &str, provenance: Option<&Provenance>) -> Result<String, RealmRefusal> {
        let registry = Origin::of(&Url::parse(registry).unwrap()).unwrap();
        check(&registry, realm, provenance).map(String::from)
    }

    #[test]
    fn over_https_a_realm_on_another_host_may_receive_the_credential() {
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://10.0.0.1:5000", "https://10.0.0.2/token"),
            ("https://localhost:5000", "https://auth.example/token"),
        ] {
            assert_eq!(checked(registry, realm, Some(&SOMEONE)).unwrap(), realm);
            assert_eq!(checked(registry, realm, None).unwrap(), realm);
        }
    }

    #[test]
    fn a_realm_at_the_host_with_a_trailing_dot_gets_no_license_bug() {
        for realm in ["https://a.example./token", "https://A.EXAMPLE./token", "https://a.example.:443/token"]
        {
            assert_eq!(
                checked("https://a.example", realm, Some(&Provenance::License)),
                Err(RealmRefusal::NotTheLicensedHost),
                "{realm}"
            );
        }
        assert!(checked("https://a.example", "https://a.example/token", Some(&Provenance::License)).is_ok());
        let by_name =
            checked("http://localhost:5000", "http://localhost.:5000/token", Some(&Provenance::License));
        assert_eq!(by_name, Err(RealmRefusal::NotTheLicensedHost));
        let local = checked("https://a.example", "https://localhost./token", None);
        assert_eq!(local, Err(RealmRefusal::Local));
    }

    #[test]
    fn an_https_registry_never_gets_a_plain_http_realm() {
        for realm in ["http://a.example/token", "http://other.example/token", "http://a.example:443/token"] {
            for provenance in [None, Some(&SOMEONE), Some(&Provenance::License)] {
                assert_eq!(
                    checked("https://a.example", realm, provenance),
                    Err(RealmRefusal::PlainHttp),
                    "{realm}"
                );
            }
        }
        assert_eq!(
            checked("https://127.0.0.1:5000", "http://127.0.0.1:5001/t", Some(&SOMEONE)),
            Err(RealmRefusal::PlainHttp)
        );
    }

    #[test]
    fn a_public_registry_never_gets_a_loopback_or_link_local_realm() {
        for realm in [
            "https://127.0.0.1/token",
            "https://localhost/token",
            "https://[::1]:8443/token",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/",
            "https://0x7f000001/",
            "http://127.0.0.1/token",
        ] {
            for registry in ["https://a.example", "http://a.example", "https://10.1.2.3"] {
                assert_eq!(checked(registry, realm, None), Err(RealmRefusal::Local), "{registry} {realm}");
            }
        }
        assert_eq!(
            checked("http://localhost:5000", "https://169.254.169.254/", None),
            Err(RealmRefusal::Local)
        );
    }

    #[test]
    fn a_plain_http_registry_may_name_its_own_host_or_loopback_from_loopback() {
        for (registry, realm) in [
            ("http://a.example:5000", "http://a.example:5001/token"),
            ("http://a.example:5000", "https://a.example/token"),
            ("http://localhost:5000", "http://127.0.0.1:5001/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token"),
        ] {
            assert_eq!(checked(registry, realm, Some(&SOMEONE)).unwrap(), realm);
        }
        let checked = |realm, provenance| checked("http://a.example:5000", realm, provenance);
        assert_eq!(checked("http://b.example/t", Some(&SOMEONE)), Err(RealmRefusal::PlainHttp));
        assert_eq!(checked("http://b.example/t", None), Err(RealmRefusal::PlainHttp));
        assert_eq!(checked("https://b.example/t", Some(&SOMEONE)), Err(RealmRefusal::NamedInPlainText));
        assert!(checked("https://b.example/t", None).is_ok(), "nothing secret is sent");
    }

    #[test]
    fn only_a_realm_on_the_same_scheme_host_and_port_gets_the_license() {
        let checked = |realm| checked("https://us-east4-docker.pkg.dev", realm, Some(&Provenance::License));
        assert!(checked("https://us-east4-docker.pkg.dev/v2/token").is_ok());
        assert!(checked("https://us-east4-docker.pkg.dev:443/v2/token").is_ok());
        for realm in [
            "https://us-east4-docker.pkg.dev:8443/v2/token",
            "https://auth.pkg.dev/token",
            "https://us-east4-docker.pkg.dev.evil.example/token",
            "https://us-east4-docker.pkg.dev@evil.example/token",
        ] {
            assert_eq!(checked(realm), Err(RealmRefusal::NotTheLicensedHost), "{realm}");
        }
    }

    #[test]
    fn odd_realms_are_cleaned_or_refused() {
        assert_eq!(checked("https://a.example", "/token?x=1", None).unwrap(), "https://a.example/token?x=1");
        assert_eq!(
            checked("https://a.example", "https://u:p@b.example/t#f", None).unwrap(),
            "https://b.example/t"
        );
        assert_eq!(checked("https://a.example", "//127.0.0.1/t", None), Err(RealmRefusal::Local));
        for realm in ["", "token", "Registry Realm", "file:///etc/passwd", "ftp://a.example/", "https://"] {
            assert_eq!(checked("https://a.example", realm, None), Err(RealmRefusal::NotAUrl), "{realm}");
        }
    }

    proptest! {
        #[test]
        fn no_realm_makes_it_panic_or_leave_tls(realm in "(https?:/{0,2})?\\PC{0,40}") {
            if let Ok(url) = checked("https://a.example", &realm, Some(&SOMEONE)) {
                prop_assert!(url.starts_with("https://"));
            }
        }
    }
}
