//! Missing volumes of a bundle: one cause, however many blobs are in them.

use std::collections::BTreeSet;

use super::Problem;
use crate::error::{Failure, Reason};

/// The missing volumes behind these problems. `None` if there is no problem, or a problem of another kind.
#[must_use]
pub(crate) fn absent_volumes<'a>(
    problems: impl IntoIterator<Item = &'a Problem>,
) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for problem in problems {
        match problem {
            Problem::MissingVolume { name } => {
                names.insert(name.clone());
            }
            Problem::UnreadableBlob { volumes, .. } if !volumes.is_empty() => {
                names.extend(volumes.iter().cloned());
            }
            _ => return None,
        }
    }
    (!names.is_empty()).then_some(names)
}

/// The missing volumes in words: the same words for an image as for the bundle.
#[must_use]
pub(crate) fn say_absent(names: impl IntoIterator<Item = String>) -> String {
    let texts = names.into_iter().map(|name| Problem::MissingVolume { name }.to_string());
    texts.collect::<Vec<_>>().join("; ")
}

/// Whether a failure is only about missing volumes, which are no wrong bytes.
#[must_use]
pub(crate) fn is_about_absent_volumes(failure: &Failure) -> bool {
    failure.reason == Some(Reason::AbsentVolumes)
}
