//! Parses `htpasswd` files. No I/O. No message repeats a hash.

use std::collections::BTreeMap;

use bcrypt::HashParts;

/// The accepted costs. A check takes about 1 ms at 4, 50 ms at 10, and 2 s at 15, the longest acceptable wait for a
/// client.
const COSTS: std::ops::RangeInclusive<u32> = 4..=15;

/// A hashed password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PasswordHash {
    /// `$2y$COST$…`
    pub(super) text: String,
    /// The binary logarithm of the number of rounds.
    pub(super) cost: u32,
}

/// An invalid line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct HtpasswdError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// The problem of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Not `NAME:HASH`.
    #[error("expected NAME:HASH, as `htpasswd -B FILE NAME` writes it")]
    Shape,
    /// The name is on an earlier line as well.
    #[error("the user {0:?} appears twice")]
    Twice(String),
    /// The password is not hashed with bcrypt.
    #[error("the password of {name:?} is {how}; only bcrypt is accepted: set it again with `htpasswd -B FILE {name}`", name = .name.escape_debug().to_string())]
    NotBcrypt {
        /// The user.
        name: String,
        /// How the password is stored.
        how: &'static str,
    },
    /// A bcrypt hash that is cheap to guess or too expensive to check.
    #[error("the password of {name:?} has the bcrypt cost {cost}; 4 to 15 are accepted: set it again with `htpasswd -B -C 10 FILE {name}`", name = .name.escape_debug().to_string())]
    Cost {
        /// The user.
        name: String,
        /// The cost.
        cost: u32,
    },
}

/// Parses the users, by name. Empty lines and lines that begin with `#` are skipped.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, PasswordHash>, HtpasswdError> {
    let mut users = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |problem| HtpasswdError { line: index + 1, problem };
        let (name, hash) = parse_line(line).map_err(wrong)?;
        if users.insert(name.to_owned(), hash).is_some() {
            return Err(wrong(LineProblem::Twice(name.to_owned())));
        }
    }
    Ok(users)
}

fn parse_line(line: &str) -> Result<(&str, PasswordHash), LineProblem> {
    let (name, text) = line.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(LineProblem::Shape)?;
    let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix));
    let parts = text.parse::<HashParts>().ok().filter(|_| is_bcrypt);
    let Some(parts) = parts else {
        return Err(LineProblem::NotBcrypt { name: name.to_owned(), how: how_it_is_kept(text) });
    };
    let cost = parts.get_cost();
    if !COSTS.contains(&cost) {
        return Err(LineProblem::Cost { name: name.to_owned(), cost });
    }
    Ok((name, PasswordHash { text: text.to_owned(), cost }))
}

fn how_it_is_kept(text: &str) -> &'static str {
    let kinds = [
        ("$2", "a damaged bcrypt hash"),
        ("$apr1$", "hashed with MD5"),
        ("$1$", "hashed with MD5"),
        ("{SHA}", "hashed with SHA-1"),
        ("$5$", "hashed with SHA-256"),
        ("$6$", "hashed with SHA-512"),
        ("$argon2", "hashed with Argon2"),
    ];
    kinds
        .iter()
        .find(|(prefix, _)| text.starts_with(prefix))
        .map_or("hashed with crypt, or not at all", |kind| kind.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";

    #[test]
    fn users_are_read_and_comments_are_not() {
        let users =
            parse(&format!("# staff\n\nann:{HASH}\r\nbob:{}\n", HASH.replace("2y$05", "2b$10"))).unwrap();
        assert_eq!(users.keys().collect::<Vec<_>>(), ["ann", "bob"]);
        assert_eq!(users["ann"].text, HASH);
        assert_eq!((users["ann"].cost, users["bob"].cost), (5, 10));
    }

    #[test]
    fn whatever_is_not_bcrypt_is_refused_with_its_line_and_without_its_hash() {
        for (hash, how) in [
            ("$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", "MD5"),
            ("{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "SHA-1"),
            ("$6$abc$def", "SHA-512"),
            ("secret", "not at all"),
            ("", "not at all"),
            ("$2y$05$short", "damaged"),
            ("$2x$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", "damaged"),
        ] {
            let error = parse(&format!("ann:{HASH}\nbob:{hash}\n")).err().unwrap();
            let text = error.to_string();
            assert!(text.starts_with("line 2: the password of \"bob\" is"), "{text}");
            assert!(text.contains(how) && text.contains("`htpasswd -B FILE bob`"), "{text}");
            assert!(hash.is_empty() || !text.contains(hash), "{text}");
        }
    }

    #[test]
    fn lines_that_are_not_users_are_refused() {
        for line in ["ann", ":x", ":"] {
            assert_eq!(
                parse(line).err(),
                Some(HtpasswdError { line: 1, problem: LineProblem::Shape }),
                "{line}"
            );
        }
        let twice = parse(&format!("ann:{HASH}\nann:{HASH}")).err().unwrap();
        assert_eq!(twice.to_string(), "line 2: the user \"ann\" appears twice");
        let costly = parse(&format!("ann:{}", HASH.replace("$05$", "$31$"))).err().unwrap();
        assert!(costly.to_string().contains("the bcrypt cost 31"), "{costly}");
    }
}
