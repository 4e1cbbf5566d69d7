//! The complete list of a run's images, in one form: the same images give the same bytes in any order.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::oci::{Digest, Reference};

/// One image of the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListedImage {
    /// Its source.
    pub(crate) source: Reference,
    /// `REGISTRY/REPOSITORY:TAG`
    pub(crate) destination: Reference,
    /// The digest to copy, if a lock pins it.
    pub(crate) pinned: Option<Digest>,
}

/// All images of a run, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageList(BTreeSet<ListedImage>);

impl ImageList {
    pub(crate) fn new(images: impl IntoIterator<Item = ListedImage>) -> Self {
        Self(images.into_iter().collect())
    }

    /// The images, sorted.
    pub(crate) fn images(&self) -> impl Iterator<Item = &ListedImage> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A line for each image: `SOURCE DESTINATION`, and the pinned digest if there is one.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for ListedImage { source, destination, pinned } in &self.0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{source} {destination}");
            let _ = pinned.iter().try_for_each(|digest| write!(text, " {digest}"));
            text.push('\n');
        }
        text
    }

    /// The digest of [`ImageList::to_text`].
    pub(crate) fn digest(&self) -> Digest {
        Digest::sha256(self.to_text().as_bytes())
    }

    /// Reads what [`ImageList::to_text`] wrote; `None` if it is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (source, destination) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let pinned = words.next().map(str::parse).transpose().ok()?;
            words.next().is_none().then_some(ListedImage { source, destination, pinned })
        };
        text.lines().map(line).collect::<Option<BTreeSet<_>>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(source: &str, pinned: Option<Digest>) -> ListedImage {
        let destination = format!("reg.example/m/{source}").parse().unwrap();
        ListedImage { source: format!("quay.io/{source}").parse().unwrap(), destination, pinned }
    }

    #[test]
    fn the_order_does_not_matter_and_every_part_does() {
        let [a, b] = [image("a:1", None), image("b:1", None)];
        let list = ImageList::new([a.clone(), b.clone()]);
        assert_eq!(list.digest(), ImageList::new([b.clone(), a.clone(), b.clone()]).digest());
        let moved = ListedImage { destination: "reg.example/n/b:1".parse().unwrap(), ..b.clone() };
        for other in [vec![a.clone()], vec![a.clone(), image("b:2", None)], vec![a.clone(), moved]] {
            assert_ne!(ImageList::new(other).digest(), list.digest());
        }
        let pinned = image("b:1", Some(Digest::sha256(b"x")));
        assert_ne!(ImageList::new([a, pinned]).digest(), list.digest());
    }

    #[test]
    fn what_is_written_reads_back() {
        let digest = Digest::sha256(b"x");
        let by_digest = format!("c@{digest}");
        let other = ListedImage {
            source: format!("quay.io/{by_digest}").parse().unwrap(),
            destination: "reg.example/m/c:mirror-1".parse().unwrap(),
            pinned: None,
        };
        let list = ImageList::new([image("b:1", Some(digest)), image("a:1", None), other]);
        assert_eq!(ImageList::parse(&list.to_text()), Some(list));
        assert_eq!(ImageList::parse("quay.io/a:1\n"), None);
        assert_eq!(ImageList::parse("quay.io/a:1 reg.example/a:1 x\n"), None);
    }
}
