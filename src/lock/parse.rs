//! Reads a lock of any version, and checks that it is consistent.
//!
//! People edit and merge locks. Unknown fields, dangling names and later versions are refused: a lock that is only
//! partly understood would be verified or copied only in part.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    io::{self, BufReader, Read, Seek},
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::{
    error::{Contradiction, LockError, NotALock, WrongContent},
    model::{Lock, LockedImage, SCHEMA},
    v1,
};
use crate::oci::{Digest, ManifestError, Reference, json_problem::json_problem_in_line};

/// The name of a lock in a bundle, in messages.
const IN_A_BUNDLE: &str = "thoras-mirror.lock";
/// The name of a destination without `to` in messages.
const UNNAMED: &str = "an unnamed destination";
/// How much of a file is read at once, in bytes.
const PIECE: usize = 64 * 1024;
/// The prefix of the schemas of all versions.
const FAMILY: &str = "thoras-mirror/lock/";

/// The only field that every version has.
#[derive(Deserialize)]
struct Header {
    schema: Option<String>,
}

impl Lock {
    /// Reads a lock from inside a bundle. Errors are one line of text.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, String> {
        Self::parse(bytes, Path::new(IN_A_BUNDLE)).map_err(|error| error.reason_in_one_line())
    }

    /// The same, piece by piece. Each reader gives the content from its beginning: the first is read for the version,
    /// the second for the rest, and to the end unless that fails.
    pub(crate) fn from_readers(first: impl Read, second: impl Read) -> Result<Self, LockError> {
        let path = Path::new(IN_A_BUNDLE);
        let version = version(schema_of(BufReader::with_capacity(PIECE, first)), path)?;
        Self::parse_version(&version, second, path)
    }

    /// Reads a lock's content. `path` names it in errors.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, LockError> {
        match version(schema_of(bytes), path)? {
            Version::Second => content::<Self>(serde_json::from_slice(bytes), path)?.checked(path),
            Version::First => {
                content::<v1::Lock>(serde_json::from_slice(bytes), path).map(Self::from)?.checked(path)
            }
        }
    }

    /// Reads a lock's file piece by piece: that of 10,000 images has 16 MB.
    pub(super) fn parse_file(file: &mut (impl Read + Seek), path: &Path) -> Result<Self, LockError> {
        let version = version(schema_of(BufReader::new(&mut *file)), path)?;
        file.rewind().map_err(|error| LockError::Unreadable(path.to_owned(), error))?;
        Self::parse_version(&version, file, path)
    }

    fn parse_version(version: &Version, reader: impl Read, path: &Path) -> Result<Self, LockError> {
        let reader = BufReader::with_capacity(PIECE, reader);
        match version {
            Version::Second => content::<Self>(serde_json::from_reader(reader), path)?.checked(path),
            Version::First => {
                content::<v1::Lock>(serde_json::from_reader(reader), path).map(Self::from)?.checked(path)
            }
        }
    }

    /// Checks that every copy is below the destination that it is recorded for. Names elsewhere give no names to a run
    /// ([`Lock::names_at`]), but a verification would read another registry and say that the destination is complete.
    pub(crate) fn check_copies_are_below(&self, path: &Path) -> Result<(), LockError> {
        let elsewhere = self.copies().find_map(|(image, copy)| {
            let to = copy.to.as_deref().filter(|to| !copy.reference.repository().is_below(to))?;
            let (image, reference) = (image.source.to_string(), copy.reference.to_string());
            Some(Contradiction::Elsewhere { image, reference, to: to.to_owned() })
        });
        elsewhere.map_or(Ok(()), |error| Err(LockError::Contradiction(path.to_owned(), error)))
    }

    fn checked(mut self, path: &Path) -> Result<Self, LockError> {
        self.check().map_err(|error| LockError::Contradiction(path.to_owned(), error))?;
        Ok(self)
    }

    /// A manifest that is attached to several images, or is a blob as well, has one size.
    fn check_sizes(&self) -> Result<(), ManifestError> {
        let mut sizes: HashMap<&Digest, u64> =
            self.blobs.iter().map(|(digest, size)| (digest, *size)).collect();
        for attached in self.images.iter().flat_map(|image| &image.attached) {
            let known = sizes.insert(&attached.digest, attached.size).unwrap_or(attached.size);
            if known != attached.size {
                let sizes = (known, attached.size);
                return Err(ManifestError::TwoSizes { digest: attached.digest.clone(), sizes });
            }
        }
        Ok(())
    }

    /// Checks what the format alone does not guarantee. Afterwards, equal digests share memory.
    fn check(&mut self) -> Result<(), Contradiction> {
        if self.destinations.is_empty() {
            return Err(Contradiction::NoDestination);
        }
        let mut destinations = HashSet::new();
        for placement in &self.destinations {
            let to = placement.to.as_deref();
            if !destinations.insert(to) {
                return Err(Contradiction::DestinationTwice(to.unwrap_or(UNNAMED).to_owned()));
            }
        }
        if let Some(shard) = self.shard.as_ref().filter(|shard| shard.index >= shard.count) {
            return Err(Contradiction::Shard { index: shard.index, count: shard.count });
        }
        self.check_sizes().map_err(Contradiction::TwoSizes)?;
        let mut sources: HashSet<&Reference> = HashSet::new();
        for image in &mut self.images {
            check_copies(image, &destinations)?;
            for blob in &mut image.blobs {
                let Some((shared, _)) = self.blobs.get_key_value(blob) else {
                    let (image, blob) = (image.source.to_string(), blob.clone());
                    return Err(Contradiction::NoSize { image, blob });
                };
                *blob = shared.clone();
            }
            if !sources.insert(&image.source) {
                return Err(Contradiction::ImageTwice(image.source.to_string()));
            }
        }
        self.images.shrink_to_fit();
        let copies = self.images.iter().flat_map(|image| &image.destinations);
        let used: HashSet<Option<&str>> = copies.map(|copy| copy.to.as_deref()).collect();
        let unused = destinations.iter().find(|to| !used.contains(*to)).filter(|_| !self.images.is_empty());
        if let Some(to) = unused {
            return Err(Contradiction::NoImageAt(to.unwrap_or(UNNAMED).to_owned()));
        }
        Ok(())
    }
}

/// Reads the table of blobs. JSON permits a key twice; of two sizes, one would win silently.
pub(super) fn blobs<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<Digest, u64>, D::Error> {
    struct Table;
    impl<'de> Visitor<'de> for Table {
        type Value = BTreeMap<Digest, u64>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a map of digests to sizes")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut table = BTreeMap::new();
            while let Some((digest, size)) = entries.next_entry::<Digest, u64>()? {
                if let Some(known) = table.insert(digest.clone(), size).filter(|known| *known != size) {
                    return Err(A::Error::custom(ManifestError::TwoSizes { digest, sizes: (known, size) }));
                }
            }
            Ok(table)
        }
    }
    input.deserialize_map(Table)
}

fn check_copies(image: &LockedImage, destinations: &HashSet<Option<&str>>) -> Result<(), Contradiction> {
    if image.destinations.is_empty() {
        return Err(Contradiction::NoCopy(image.source.to_string()));
    }
    for copy in &image.destinations {
        if !destinations.contains(&copy.to.as_deref()) {
            let to = copy.to.as_deref().unwrap_or(UNNAMED).to_owned();
            return Err(Contradiction::UnknownDestination { image: image.source.to_string(), to });
        }
    }
    Ok(())
}

/// Explains an error of the parser, or of the file behind it.
fn content<T>(parsed: serde_json::Result<T>, path: &Path) -> Result<T, LockError> {
    parsed.map_err(|error| {
        if error.is_io() {
            LockError::Unreadable(path.to_owned(), error.into())
        } else {
            LockError::Malformed(path.to_owned(), WrongContent(json_problem_in_line(&error)))
        }
    })
}

/// A version that this program reads.
enum Version {
    First,
    Second,
}

fn version(schema: io::Result<Result<String, NotALock>>, path: &Path) -> Result<Version, LockError> {
    let schema = schema.map_err(|error| LockError::Unreadable(path.to_owned(), error))?;
    let schema = schema.map_err(|reason| LockError::NotALock(path.to_owned(), reason))?;
    match schema.as_str() {
        SCHEMA => Ok(Version::Second),
        v1::SCHEMA => Ok(Version::First),
        _ => Err(LockError::Version { path: path.to_owned(), schema }),
    }
}

/// The version of a lock, or why it is none; the outer error is that of the reader. The rest is not kept: a tree of
/// arbitrary JSON takes many times its length in memory.
pub(super) fn schema_of(content: impl Read) -> io::Result<Result<String, NotALock>> {
    let header: Header = match serde_json::from_reader(content) {
        Ok(header) => header,
        Err(error) if error.is_io() => return Err(error.into()),
        Err(error) if error.is_syntax() || error.is_eof() => {
            return Ok(Err(NotALock::NotJson { line: error.line(), column: error.column() }));
        }
        Err(_) => return Ok(Err(NotALock::NoSchema)),
    };
    Ok(match header.schema {
        Some(schema) if schema.starts_with(FAMILY) => Ok(schema),
        Some(schema) => Err(NotALock::OtherSchema(schema)),
        None => Err(NotALock::NoSchema),
    })
}

/// Whether this program reads a version.
pub(super) fn is_known(schema: &str) -> bool {
    schema == SCHEMA || schema == v1::SCHEMA
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A lock of one image with one blob.
    fn document() -> Value {
        let digest = Digest::sha256(b"blob");
        json!({
            "schema": SCHEMA,
            "destinations": [{"to": "prod.example.com/a", "naming": "last"}],
            "platforms": [],
            "images": [{
                "source": "source.example.com/app:1",
                "platforms": [],
                "blobs": [digest],
                "destinations": [
                    {"to": "prod.example.com/a", "reference": "prod.example.com/a/app:1", "confirmed": true}
                ]
            }],
            "blobs": {digest.as_str(): 7}
        })
    }

    fn parsed(document: &Value) -> Result<Lock, LockError> {
        Lock::parse(document.to_string().as_bytes(), Path::new("a.lock"))
    }

    #[test]
    fn a_copy_outside_its_destination_contradicts_the_lock() {
        let check = |document: &Value| parsed(document).unwrap().check_copies_are_below(Path::new("a.lock"));
        check(&document()).unwrap();
        let mut elsewhere = document();
        elsewhere["images"][0]["destinations"][0]["reference"] = json!("prod.example.com/ab/app:1");
        let Err(LockError::Contradiction(_, Contradiction::Elsewhere { reference, to, .. })) =
            check(&elsewhere)
        else {
            panic!("it is below another path");
        };
        assert_eq!((reference.as_str(), to.as_str()), ("prod.example.com/ab/app:1", "prod.example.com/a"));
    }

    #[test]
    fn what_is_attached_has_one_size() {
        let attach = |digest: &Digest, sizes: &[u64]| {
            let subject = Digest::sha256(b"subject");
            let attached =
                |size: &u64| json!({"digest": digest, "type": "x/y", "subject": subject, "size": size});
            let mut document = document();
            document["images"][0]["attached"] = sizes.iter().map(attached).collect();
            parsed(&document)
        };
        let (blob, other) = (Digest::sha256(b"blob"), Digest::sha256(b"signature"));
        attach(&other, &[3, 3]).unwrap();
        attach(&blob, &[7]).unwrap();
        for (digest, sizes) in [(&other, &[3, 4][..]), (&blob, &[8])] {
            let error = attach(digest, sizes).unwrap_err();
            assert!(matches!(error, LockError::Contradiction(_, Contradiction::TwoSizes(_))), "{error:?}");
        }
    }

    #[test]
    fn a_blob_that_is_listed_twice_has_one_size() {
        let with = |size: u64| {
            let digest = Digest::sha256(b"blob");
            let once = format!("\"{digest}\":7");
            let text = document().to_string();
            assert!(text.contains(&once));
            Lock::from_slice(text.replace(&once, &format!("{once},\"{digest}\":{size}")).as_bytes())
        };
        with(7).unwrap();
        assert!(with(8).unwrap_err().contains("two sizes: 7 and 8 bytes"));
    }

    #[test]
    fn a_table_of_blobs_that_is_a_list_is_refused() {
        let mut document = document();
        document["blobs"] = json!([]);
        let source = std::error::Error::source(&parsed(&document).unwrap_err()).unwrap().to_string();
        assert!(source.contains("a list, not an object"), "{source}");
    }
}
