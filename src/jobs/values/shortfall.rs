//! What the proof finds wrong with images, as errors. Images with the same shortfall share one error.

use super::mirror::MirrorNames;
use crate::{
    error::{Failure, Kind},
    oci::Reference,
    units::counted,
};

/// How many images a hint names.
const MAX_NAMED: usize = 3;

/// What is wrong with an image that the chart pulls with these values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shortfall<'a> {
    /// It is pulled from outside the mirror.
    Outside,
    /// The filters leave out this source, but a value moves it to the mirror.
    LeftOut(&'a Reference),
    /// It is below the mirror's path, under a name that no mirrored image has.
    NoSuchName,
    /// The lock lacks it.
    NotLocked,
    /// The lock does not record it as confirmed.
    NotConfirmed,
    /// The lock records another digest than the pinned one.
    OtherDigest,
}

impl Shortfall<'_> {
    /// One error for all the images with this shortfall, each with the first place that names it.
    pub(super) fn failure(self, images: &[(&Reference, String)], mirror: &MirrorNames) -> Failure {
        let (is, them) = if images.len() == 1 { ("is", "it") } else { ("are", "them") };
        let names = match images {
            [(image, _)] => image.to_string(),
            images => counted(images.len(), "image"),
        };
        let root = &mirror.root;
        let lock = mirror.lock.as_ref().map(|known| known.path.display().to_string()).unwrap_or_default();
        let message = match self {
            Self::Outside => format!("{names} {is} still pulled from outside {root}"),
            Self::LeftOut(source) => format!(
                "{source} is left out by --include or --exclude, but the chart pulls it from the mirror as {names}"
            ),
            Self::NoSuchName => format!("{names} {is} below {root}, but sync copies no image to that name"),
            Self::NotLocked => format!("{names} {is} not in the lock {lock}"),
            Self::NotConfirmed => format!("{names} {is} not confirmed in the lock {lock}"),
            Self::OtherDigest => {
                format!("{names} {is} pinned to a different digest than the lock {lock} records")
            }
        };
        let mut failure = match images {
            [(_, location)] => Failure::new(Kind::Difference, format!("{message} ({location})")),
            _ => Failure::new(Kind::Difference, message),
        };
        if images.len() > 1 {
            failure.causes = images.iter().map(|(image, location)| format!("{image} ({location})")).collect();
        }
        failure.hint = Some(match self {
            Self::Outside => format!(
                "no value of the chart moves {them}; redirect {them} on the nodes (`thoras-mirror redirect`), or \
                 change the chart"
            ),
            Self::LeftOut(_) => {
                "one chart value moves it together with the others: mirror it as well, or set its own values to its current location"
                    .to_owned()
            }
            Self::NoSuchName => format!(
                "no value of the chart gives {them} the right name: set it in your own values, or choose other names \
                 with --naming"
            ),
            Self::NotLocked | Self::NotConfirmed | Self::OtherDigest => sync_hint(images, mirror),
        });
        failure
    }
}

/// How to mirror the images. Names a few of them, for a run with other values.
fn sync_hint(images: &[(&Reference, String)], mirror: &MirrorNames) -> String {
    let sync =
        format!("run `thoras-mirror sync --to {}` with the same --chart, --values and --set", mirror.root);
    let sources: Vec<_> = images.iter().filter_map(|(image, _)| mirror.source_of(image)).collect();
    if sources.is_empty() || sources.len() > MAX_NAMED {
        return sync;
    }
    let flags: Vec<String> = sources.iter().map(|source| format!("--add {source}")).collect();
    format!("{sync}, or add `{}`", flags.join(" "))
}
