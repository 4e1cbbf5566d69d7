//! Decides what a key says about its value: a field's name, an environment variable, a flag, a key of a `ConfigMap`.
//!
//! Keys are compared by their words, so that `sidecarImage`, `SIDECAR_IMAGE`, `--sidecar-image` and
//! `sidecar.image` mean the same.

mod words;

use self::words::{ADDRESSES, ATTRIBUTES, COLLECTIONS, COMPOUNDS, EXTENSIONS, OPTIONAL, PICTURES};

/// What the value of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyMeaning {
    /// An image. Without a tag, the default one is meant: `image`, `SIDECAR_IMAGE`, `RELATED_IMAGE_DB`, `imageRef`.
    Image,
    /// An image if it has a tag or a digest, else a part of one: `imageName`, `baseImage`, `IMAGE_WORKER`.
    ImageOrPart,
    /// A part of an image.
    Part(Part),
    /// Something about an image: `imagePullPolicy`, `IMAGE_SIZE`.
    AboutImage,
    /// The key does not mention images.
    Other,
}

impl KeyMeaning {
    /// Whether a complete reference below this key is an image because the key says so.
    pub(super) fn is_image(self) -> bool {
        matches!(self, Self::Image | Self::ImageOrPart)
    }
}

/// The parts in which an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// The name, without a version.
    Image,
    /// A host, perhaps with a path.
    Registry,
    /// The path between the host and the name.
    Organization,
    /// The path, perhaps with the host.
    Repository,
    Tag,
    /// A version, which often is the tag, and often is not.
    Version,
    Digest,
}

/// Says what a key's value is.
pub(super) fn meaning(key: &str) -> KeyMeaning {
    let words = words(key);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(at) = words.iter().rposition(|word| is_image_word(word)) else {
        return words.last().and_then(|word| part(word)).map_or(KeyMeaning::Other, KeyMeaning::Part);
    };
    let (before, after) = (words.get(..at).unwrap_or_default(), words.get(at + 1..).unwrap_or_default());
    if before.last() == Some(&"related") {
        return if after.last() == Some(&"name") { KeyMeaning::ImageOrPart } else { KeyMeaning::Image };
    }
    if before.last().is_some_and(|word| PICTURES.contains(word)) {
        return KeyMeaning::AboutImage;
    }
    match after {
        [] if before.contains(&"base") || words.get(at).is_some_and(|word| word.starts_with("base")) => {
            KeyMeaning::ImageOrPart
        }
        [] | ["ref" | "reference" | "pullspec"] | ["pull", "spec"] | ["with", _] => KeyMeaning::Image,
        [last] if last.trim_start_matches('v').bytes().all(|byte| byte.is_ascii_digit()) => KeyMeaning::Image,
        [.., last] if part(last).is_some() && after.len() == 1 => {
            part(last).map_or(KeyMeaning::Other, KeyMeaning::Part)
        }
        [last] if is_organization(last) => KeyMeaning::Part(Part::Organization),
        _ if after.iter().any(|word| ATTRIBUTES.contains(word)) => KeyMeaning::AboutImage,
        [.., last] if part(last).is_some() => part(last).map_or(KeyMeaning::Other, KeyMeaning::Part),
        _ => KeyMeaning::ImageOrPart,
    }
}

/// Whether a key says that its value is a picture or a disk: `backgroundImage`.
pub(super) fn is_picture(key: &str) -> bool {
    let words = words(key);
    words.windows(2).any(|pair| match pair {
        [before, word] => is_image_word(word) && PICTURES.contains(&before.as_str()),
        _ => false,
    })
}

/// Whether the children of this key are images: `images`, `relatedImages`, `KAFKA_IMAGES`, `IMAGE_MAP`.
pub(super) fn is_images_key(key: &str) -> bool {
    let words = words(key);
    let mut before = words.as_slice();
    while let [rest @ .., last] = before
        && COLLECTIONS.contains(&last.as_str())
    {
        before = rest;
    }
    before
        .last()
        .is_some_and(|word| word.ends_with("images") || before.len() < words.len() && is_image_word(word))
}

/// Whether a key says that an image is what a build makes (`output`, `destinationImage`), or what a policy describes:
/// `exemptImages`, `verifyImages`, and Kyverno's condition `(image)`. Not a component: `pushGateway`.
pub(super) fn is_optional_key(key: &str) -> bool {
    let words = words(key);
    let names_images = words.last().is_some_and(|last| is_image_word(last) || part(last).is_some());
    key.starts_with('(')
        || matches!(key, "output" | "destination")
        || names_images && words.iter().any(|word| OPTIONAL.contains(&word.as_str()))
}

/// Whether a key says that its value is an address or a link: `MINIO_ENDPOINT`, `bootstrap.servers`.
pub(super) fn is_address_key(key: &str) -> bool {
    let words = words(key);
    let is_registry = words.iter().any(|word| is_image_word(word) || part(word) == Some(Part::Registry));
    !is_registry && words.iter().any(|word| ADDRESSES.contains(&word.as_str()))
}

/// The words that keys of one image share: `sidecar` for `SIDECAR_IMAGE`, `SIDECAR_IMAGE_TAG` and
/// `sidecar.tag`; nothing for `image` and `tag`.
pub(super) fn stem(key: &str) -> Vec<String> {
    let mut words = words(key);
    let says_image = words.iter().any(|word| is_image_word(word));
    if words
        .last()
        .is_some_and(|word| part(word).is_some() || word == "name" || says_image && is_organization(word))
    {
        words.pop();
    }
    words.retain(|word| !matches!(word.as_str(), "image" | "images" | "img"));
    // `X_CONTAINER_REGISTRY` together with `X_IMAGE_NAME`.
    if words.last().is_some_and(|word| word == "container") {
        words.pop();
    }
    if words.last().is_some_and(|word| matches!(word.as_str(), "base" | "default")) {
        words.pop();
    }
    words
}

/// A key without the ending that says how its value is written: `images` for `images.yaml`.
pub(super) fn without_extension(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((name, extension)) if EXTENSIONS.contains(&extension) => name,
        _ => key,
    }
}

fn is_image_word(word: &str) -> bool {
    word.ends_with("image") || word.ends_with("images") || matches!(word, "img" | "imgs")
}

/// Whether a word behind `image` is the path between a registry and a name.
fn is_organization(word: &str) -> bool {
    matches!(word, "namespace" | "org" | "organization")
}

fn part(word: &str) -> Option<Part> {
    Some(match word {
        "registry" | "hub" => Part::Registry,
        "repository" | "repo" => Part::Repository,
        "tag" => Part::Tag,
        "version" => Part::Version,
        "digest" | "sha" | "sha256" => Part::Digest,
        _ => return None,
    })
}

/// Splits a key at punctuation and where its case changes, in lower case.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let characters: Vec<char> = key.chars().collect();
    for (at, &character) in characters.iter().enumerate() {
        if !character.is_ascii_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| characters.get(before));
        let after = characters.get(at + 1);
        let begins_word = character.is_ascii_uppercase()
            && (before.is_some_and(|before| before.is_ascii_lowercase() || before.is_ascii_digit())
                || before.is_some_and(char::is_ascii_uppercase)
                    && after.is_some_and(char::is_ascii_lowercase));
        if begins_word {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(character.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words.into_iter().flat_map(split_compound).collect()
}

/// `imagename` and `dockerimagetag`, which no capital letter divides.
fn split_compound(word: String) -> Vec<String> {
    let ending = word.rfind("image").and_then(|at| word.get(at + "image".len()..)).unwrap_or_default();
    if COMPOUNDS.contains(&ending) {
        let beginning = word.strip_suffix(ending).unwrap_or_default().to_owned();
        return vec![beginning, ending.to_owned()];
    }
    vec![word]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_or_only_described_is_optional() {
        for key in ["output", "destinationImage", "exemptImages", "allowedRepository", "(image)"] {
            assert!(is_optional_key(key), "{key}");
        }
        for key in ["pushGateway", "outputPlugin", "image", "sidecarImage", "verify", "imagePushJob"] {
            assert!(!is_optional_key(key), "{key}");
        }
    }

    #[test]
    fn keys_of_every_spelling_mean_an_image() {
        for key in [
            "image",
            "natsImage",
            "dockerImage",
            "SIDECAR_IMAGE",
            "--acme-http01-solver-image",
            "-nop-image",
            "RELATED_IMAGE_DB",
            "RELATED_IMAGE_registry_url",
            "imageRef",
            "KAFKA_IMAGES",
            "relatedImages",
            "sidecar.istio.io/proxyImage",
            "spark.kubernetes.container.image",
            "dockerimage",
            "image_1",
            "HTTPImage",
            "workImagePullSpec",
            "imageWithTag",
            "imageref",
            "RELATED_IMAGE_NAMESPACE_LISTER",
        ] {
            assert_eq!(meaning(key), KeyMeaning::Image, "{key}");
        }
        for key in [
            "imageName",
            "imagename",
            "dockerimageurl",
            "RELATED_IMAGE_DB_NAME",
            "baseImage",
            "--thanos-default-base-image",
            "IMAGE_WORKER",
            "image-renderer",
        ] {
            assert_eq!(meaning(key), KeyMeaning::ImageOrPart, "{key}");
        }
    }

    #[test]
    fn parts_and_attributes_are_distinguished_from_images() {
        for (key, expected) in [
            ("IMAGE_TAG", Part::Tag),
            ("imagerepository", Part::Repository),
            ("x.repository", Part::Repository),
            ("imageRepository", Part::Repository),
            ("hub", Part::Registry),
            ("OPERATOR_VERSION", Part::Version),
            ("image.digest", Part::Digest),
        ] {
            assert_eq!(meaning(key), KeyMeaning::Part(expected), "{key}");
        }
        for key in [
            "imagePullPolicy",
            "IMAGE_SIZE",
            "backgroundImage",
            "imagePullSecrets",
            "osImage",
            "IMAGE_CACHE_DIR",
        ] {
            assert_eq!(meaning(key), KeyMeaning::AboutImage, "{key}");
        }
        for key in ["imagine", "SIDECARS", "4.0", "", "name"] {
            assert_eq!(meaning(key), KeyMeaning::Other, "{key}");
        }
    }

    #[test]
    fn collections_of_images_and_addresses_are_known() {
        for key in ["images", "relatedImages", "KAFKA_IMAGES", "IMAGE_MAP", "images-json", "image.overrides"]
        {
            assert!(is_images_key(key), "{key}");
        }
        for key in ["image", "IMAGE_SIZE", "map", "overrides", "imageConfigPath"] {
            assert!(!is_images_key(key), "{key}");
        }
        for key in
            ["MINIO_ENDPOINT", "bootstrap.servers", "redis-address", "url", "advertisedAddresses", "upstream"]
        {
            assert!(is_address_key(key), "{key}");
        }
        for key in ["REGISTRY_URL", "imageURL", "hub", "worker", "server", "broker", "dockerRegistryHost"] {
            assert!(!is_address_key(key), "{key}");
        }
    }

    #[test]
    fn keys_of_one_image_share_a_stem() {
        for key in [
            "SIDECAR_CONTAINER_REGISTRY",
            "sidecar_container_tag",
            "SIDECAR_IMAGE",
            "SIDECAR_IMAGE_TAG",
            "sidecar.tag",
            "sidecar.image.repository",
            "sidecarImageName",
        ] {
            assert_eq!(stem(key), ["sidecar"], "{key}");
        }
        for key in ["image", "tag", "hub", "IMAGE_TAG", "image.registry"] {
            assert_eq!(stem(key), Vec::<String>::new(), "{key}");
        }
        assert_eq!(without_extension("images.yaml"), "images");
        assert_eq!(without_extension("a.image"), "a.image");
    }
}
