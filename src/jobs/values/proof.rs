//! The proof: renders the chart with the values as they will be installed, and compares the images.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{markers::is_rejection, mirror::MirrorNames};
use crate::{
    enumerate::{self, ChartSession, EnumerateError, LighterChart, Precedence, Selection, WrittenUse},
    error::{Failure, Kind},
    oci::Reference,
};

/// An image of the chart as it will be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstalledImage {
    /// The reference with the printed values.
    pub(crate) reference: Reference,
    /// Where it is.
    pub(crate) state: ImageState,
    /// The first place that names it.
    pub(crate) location: String,
}

/// Where an image of the chart will be pulled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ImageState {
    /// From the mirror, and the lock records that it was confirmed there.
    Confirmed,
    /// From the mirror; there is no lock to compare with.
    NotChecked,
    /// From the mirror, but the lock does not record it as confirmed with this digest.
    NotMirrored,
    /// From elsewhere, because the filters leave it out.
    Excluded,
    /// From elsewhere.
    Outside,
}

/// What the rendering showed.
pub(super) struct Proof {
    pub(super) images: Vec<InstalledImage>,
    pub(super) failures: Vec<Failure>,
    /// Whether the chart cannot be rendered with the values.
    pub(super) is_rejected: bool,
}

/// Renders the chart with `values` over the user's files, and says where every image comes from.
pub(super) async fn prove(
    session: &ChartSession,
    selection: &Selection,
    values: &Map<String, Value>,
    mirror: &MirrorNames,
    excluded: &BTreeSet<Reference>,
) -> Result<Proof, Failure> {
    let uses = match render(session, selection, values, None).await {
        Ok(uses) => uses,
        Err(error) if is_rejection(&error) => {
            return Ok(Proof { images: Vec::new(), failures: vec![rejected(error)], is_rejected: true });
        }
        Err(error) => return Err(error.into()),
    };
    let mut by_reference: BTreeMap<&Reference, &WrittenUse> = BTreeMap::new();
    for place in &uses {
        by_reference.entry(&place.reference).or_insert(place);
    }
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for (reference, place) in by_reference {
        let (state, failure) = state_of(reference, place, mirror, excluded);
        let (reference, location) = (reference.clone(), place.found_at.location());
        images.push(InstalledImage { reference, state, location });
        failures.extend(failure);
    }
    Ok(Proof { images, failures, is_rejected: false })
}

/// The places that name images with these values; `None` if the chart cannot be rendered with them.
pub(super) async fn moved(
    session: &ChartSession,
    selection: &Selection,
    values: &Map<String, Value>,
    lighter: Option<&LighterChart>,
) -> Result<Option<Vec<WrittenUse>>, Failure> {
    match render(session, selection, values, lighter).await {
        Ok(uses) => Ok(Some(uses)),
        Err(error) if is_rejection(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The failure of a rendering with the values.
pub(super) fn rejected(error: EnumerateError) -> Failure {
    if !is_rejection(&error) {
        return error.into();
    }
    let cause = Failure::from_error(Kind::Difference, &error);
    let mut failure = Failure::new(Kind::Difference, "the chart cannot be rendered with these values");
    failure.causes = std::iter::once(cause.message).chain(cause.causes).collect();
    failure
}

async fn render(
    session: &ChartSession,
    selection: &Selection,
    values: &Map<String, Value>,
    lighter: Option<&LighterChart>,
) -> Result<Vec<WrittenUse>, EnumerateError> {
    let more = Some((values, Precedence::OverFiles));
    let manifests = match lighter {
        Some(lighter) => session.render_lighter(lighter, more).await?,
        None => session.render(more).await?,
    };
    // The filters name images by their sources, so they do not apply to references in the mirror.
    let unfiltered = Selection {
        include: Vec::new(),
        exclude: Vec::new(),
        add: Vec::new(),
        add_lists: Vec::new(),
        ..selection.clone()
    };
    Ok(enumerate::enumerate_rendering(&unfiltered, session, manifests).await?.uses)
}

/// Where an image comes from, and what is wrong with that.
fn state_of(
    reference: &Reference,
    place: &WrittenUse,
    mirror: &MirrorNames,
    excluded: &BTreeSet<Reference>,
) -> (ImageState, Option<Failure>) {
    let location = place.found_at.location();
    let failure =
        |message: String, hint: String| Some(Failure::new(Kind::Difference, message).with_hint(hint));
    if excluded.contains(reference) {
        return (ImageState::Excluded, None);
    }
    let root = &mirror.root;
    if !mirror.is_below(reference) {
        let message = format!("{reference} is still pulled from outside {root} ({location})");
        let hint =
            "no value of the chart moves it; redirect it on the nodes (`thoras-mirror redirect`), or change \
                    the chart"
                .to_owned();
        return (ImageState::Outside, failure(message, hint));
    }
    let left_out = excluded.iter().find(|source| {
        let name =
            |reference: &Reference| reference.repository().path().rsplit('/').next().map(str::to_owned);
        name(source) == name(reference) && source.tag() == reference.tag()
    });
    if let Some(source) = left_out.filter(|_| mirror.source_of(reference).is_none()) {
        let message = format!(
            "{source} is left out by --include or --exclude, but the chart pulls it from the mirror as {reference} \
             ({location})"
        );
        let hint = "one value of the chart moves it with the others: mirror it as well, or set its own values to where it is";
        return (ImageState::NotMirrored, failure(message, hint.to_owned()));
    }
    let Some(known) = &mirror.lock else {
        if mirror.is_name_of_an_image(reference) {
            return (ImageState::NotChecked, None);
        }
        let message =
            format!("{reference} is below {root}, but sync copies no image to that name ({location})");
        let hint = "no value of the chart gives it the right name: set it in your own values, or choose other names \
                    with --naming";
        return (ImageState::NotMirrored, failure(message, hint.to_owned()));
    };
    locked_state(reference, &location, &known.path, mirror)
}

/// The state of an image in the mirror, by the lock.
fn locked_state(
    reference: &Reference,
    location: &str,
    path: &Path,
    mirror: &MirrorNames,
) -> (ImageState, Option<Failure>) {
    let (root, path) = (&mirror.root, path.display());
    let failure =
        |message: String, hint: String| Some(Failure::new(Kind::Difference, message).with_hint(hint));
    let sync = match mirror.source_of(reference) {
        Some(source) => format!(
            "run `thoras-mirror sync --to {root}` with the values that you install with, or add `--add {source}`"
        ),
        None => format!("run `thoras-mirror sync --to {root}` with the values that you install with"),
    };
    match mirror.locked(reference) {
        None => {
            let message = format!("{reference} is not in the lock {path} ({location})");
            (ImageState::NotMirrored, failure(message, sync))
        }
        Some((_, copy)) if !copy.confirmed => {
            let message = format!("{reference} is not confirmed in the lock {path} ({location})");
            (ImageState::NotMirrored, failure(message, sync))
        }
        Some((image, _)) if reference.digest().is_some() && reference.digest() != image.digest.as_ref() => {
            let message =
                format!("{reference} is pinned to another digest than the lock {path} records ({location})");
            (ImageState::NotMirrored, failure(message, sync))
        }
        Some(_) => (ImageState::Confirmed, None),
    }
}
