//! The challenge in a 401: `WWW-Authenticate`, RFC 9110 section 11.6.1, with the `Bearer` parameters of the
//! distribution specification's token authentication.
//!
//! `http_auth` parses valid headers. Registries and proxies also send invalid ones: URLs without quotes, two spaces,
//! semicolons, characters beyond ASCII. `tolerant` parses those; it cannot fail.

use http::{HeaderMap, header::WWW_AUTHENTICATE};
use http_auth::parser::ChallengeParser;

/// The authentication that a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from a token server.
    Bearer(Bearer),
}

/// Where to get a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The token server's URL, as sent: see [`super::realm`] before using it.
    pub realm: String,
    /// The registry's name at the token server.
    pub service: Option<String>,
    /// What the refused request needed, for example `repository:team/app:pull`.
    pub scopes: Vec<String>,
}

/// An uninterpreted challenge: scheme and parameters.
type Raw = (String, Vec<(String, String)>);

impl Challenge {
    /// The challenge to answer: the first `Bearer` of all header lines, else the first `Basic`.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let all: Vec<Self> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .flat_map(|line| parse(&String::from_utf8_lossy(line.as_bytes())))
            .collect();
        let bearer = all.iter().find(|challenge| matches!(challenge, Self::Bearer(_)));
        bearer.or(all.first()).cloned()
    }

    fn from_raw((scheme, parameters): Raw) -> Option<Self> {
        let parameter = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let scopes = parameter("scope").unwrap_or_default();
        Some(Self::Bearer(Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
            scopes: scopes.split_ascii_whitespace().map(str::to_owned).collect(),
        }))
    }
}

/// All `Bearer` and `Basic` challenges of one header line.
#[must_use]
pub fn parse(line: &str) -> Vec<Challenge> {
    strict(line).unwrap_or_else(|| tolerant(line)).into_iter().filter_map(Challenge::from_raw).collect()
}

fn strict(line: &str) -> Option<Vec<Raw>> {
    let mut challenges = Vec::new();
    for challenge in ChallengeParser::new(line) {
        let challenge = challenge.ok()?;
        let parameters = challenge.params.iter();
        let parameters = parameters.map(|(key, value)| ((*key).to_owned(), value.to_unescaped())).collect();
        challenges.push((challenge.scheme.to_owned(), parameters));
    }
    Some(challenges)
}

/// Scheme names. Any other bare word belongs to the value before it.
const SCHEMES: [&str; 5] = ["basic", "bearer", "digest", "negotiate", "ntlm"];

/// Finds `name=value` pairs and scheme names anywhere in the line. The first value of a name counts.
fn tolerant(line: &str) -> Vec<Raw> {
    let mut challenges: Vec<Raw> = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(is_separator);
        if rest.is_empty() {
            return challenges;
        }
        let end = rest.find(|character| is_separator(character) || character == '=').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let current = challenges.last_mut();
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = take_value(value.trim_start());
            rest = after;
            if let Some((_, parameters)) = current {
                parameters.push((word.to_owned(), value));
            }
            continue;
        }
        rest = after;
        if SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme)) {
            challenges.push((word.to_owned(), Vec::new()));
        } else if let Some((_, value)) = current.and_then(|(_, parameters)| parameters.last_mut()) {
            // `scope=repository:a:pull,push` without quotes.
            value.push(',');
            value.push_str(word);
        }
    }
}

fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, ',' | ';')
}

/// Splits the value off the start of a text. An unclosed quote ends with the line.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(is_separator).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        })
    }

    fn preferred(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Challenge::from_headers(&headers)
    }

    #[test]
    fn ordinary_challenges_are_parsed() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#
            ),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                &["repository:library/nginx:pull,push"]
            )]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Bearer realm="https://a/t",scope="repository:a:pull repository:b:pull""#),
            [bearer("https://a/t", None, &["repository:a:pull", "repository:b:pull"])]
        );
    }

    #[test]
    fn names_may_have_any_case() {
        assert_eq!(
            parse(r#"bEARER Realm="https://a/t",SERVICE="s""#),
            [bearer("https://a/t", Some("s"), &[])]
        );
        assert_eq!(parse("BASIC"), [Challenge::Basic]);
    }

    #[test]
    fn quoted_commas_and_escapes_belong_to_the_value() {
        assert_eq!(
            parse(r#"Bearer realm="https://a/t?x=1,2",service="say \"hi\", you""#),
            [bearer("https://a/t?x=1,2", Some("say \"hi\", you"), &[])]
        );
    }

    #[test]
    fn bearer_is_preferred_among_several_on_one_line_or_many() {
        let wanted = Some(bearer("https://a/t", Some("s"), &[]));
        assert_eq!(preferred(&[r#"Basic realm="x", Bearer realm="https://a/t",service="s""#]), wanted);
        assert_eq!(preferred(&[r#"Bearer realm="https://a/t", service="s", Basic realm="x""#]), wanted);
        assert_eq!(preferred(&[r#"Basic realm="x""#, r#"Bearer realm="https://a/t",service="s""#]), wanted);
        assert_eq!(preferred(&["Negotiate", r#"Basic realm="x""#]), Some(Challenge::Basic));
        assert_eq!(preferred(&["Negotiate", "NTLM"]), None);
        assert_eq!(preferred(&[]), None);
    }

    #[test]
    fn invalid_headers_are_parsed_leniently() {
        let wanted = [bearer("https://a/t", Some("s"), &["repository:a:pull,push"])];
        for line in [
            r#"Bearer  realm="https://a/t",service="s",scope="repository:a:pull,push""#,
            r"Bearer realm=https://a/t,service=s,scope=repository:a:pull,push",
            r"Bearer realm=https://a/t,scope=repository:a:pull,push,service=s",
            r#"Bearer realm="https://a/t"; service="s"; scope="repository:a:pull,push""#,
            r#"Bearer realm = "https://a/t" service="s" scope="repository:a:pull,push"#,
            r#"Bearer realm="https://a/t",service="s",scope="repository:a:pull,push",error="é""#,
            r#"Bearer,realm="https://a/t",service="s",scope="repository:a:pull,push""#,
            r#"Basic realm=é, Bearer realm="https://a/t",service="s",scope="repository:a:pull,push", NTLM"#,
        ] {
            let found: Vec<_> = parse(line).into_iter().filter(|one| *one != Challenge::Basic).collect();
            assert_eq!(found, wanted, "{line}");
        }
    }

    #[test]
    fn a_bare_scheme_before_another_does_not_hide_it() {
        for line in [
            r#"Negotiate, Bearer realm="https://a/t",service="s""#,
            r#"Negotiate, Bearer service="s", realm="https://a/t""#,
            r#"NTLM,Negotiate,Bearer realm="https://a/t",service="s""#,
            r#"Bearer realm="https://a/t",service="s",Negotiate"#,
            "bEARER REALM=\"https://a/t\" , SERVICE=\"s\",error=\"insufficient_scope\"",
            r#"Basic realm="x, y", Bearer realm="https://a/t",service="s""#,
        ] {
            let found: Vec<_> = parse(line).into_iter().filter(|one| *one != Challenge::Basic).collect();
            assert_eq!(found, [bearer("https://a/t", Some("s"), &[])], "{line}");
        }
    }

    #[test]
    fn a_bearer_challenge_without_a_realm_is_ignored() {
        assert_eq!(parse(r#"Bearer service="s""#), []);
        assert_eq!(parse(r#"Bearer realm="",service="s""#), []);
        assert_eq!(preferred(&[r#"Bearer error="invalid_token", Basic realm="x""#]), Some(Challenge::Basic));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,120}") {
            let _ = parse(&line);
            let _ = tolerant(&line);
        }

        #[test]
        fn no_line_like_a_challenge_makes_it_panic(
            line in "((Basic|Bearer|x|realm|scope|=|,| |;|\"|\\\\|é|https://a/b){0,1}){0,24}"
        ) {
            let _ = parse(&line);
            let _ = tolerant(&line);
        }

        #[test]
        fn both_parsers_agree_on_valid_headers(
            realm in "https://[a-z]{1,8}/[a-z,=?&]{0,9}",
            service in "[a-z][ -~&&[^\"\\\\]]{0,12}[a-z]",
            scope in "repository:[a-z/]{1,9}:pull(,push)?",
        ) {
            let line = format!(r#"Basic realm="b", Bearer realm="{realm}",service="{service}",scope="{scope}""#);
            let wanted = vec![Challenge::Basic, bearer(&realm, Some(&service), &[&scope])];
            let understood = |raw: Vec<Raw>| raw.into_iter().filter_map(Challenge::from_raw).collect::<Vec<_>>();
            prop_assert_eq!(understood(strict(&line).unwrap()), wanted.clone());
            prop_assert_eq!(understood(tolerant(&line)), wanted);
        }
    }
}
