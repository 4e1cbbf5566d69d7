//! The proof: renders the chart with the values as they will be installed, and compares the images.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{markers::is_rejection, mirror::MirrorNames, shortfall::Shortfall};
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
    let mut images = Vec::new();
    let mut wrong: BTreeMap<Shortfall<'_>, Vec<(&Reference, String)>> = BTreeMap::new();
    for (reference, place) in by_reference {
        let (state, shortfall) = state_of(reference, mirror, excluded);
        let location = place.found_at.location();
        if let Some(shortfall) = shortfall {
            wrong.entry(shortfall).or_default().push((reference, location.clone()));
        }
        images.push(InstalledImage { reference: reference.clone(), state, location });
    }
    let failures = wrong.iter().map(|(shortfall, images)| shortfall.failure(images, mirror)).collect();
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

/// Where the image will come from, and what is wrong, if anything.
fn state_of<'a>(
    reference: &Reference,
    mirror: &MirrorNames,
    excluded: &'a BTreeSet<Reference>,
) -> (ImageState, Option<Shortfall<'a>>) {
    if excluded.contains(reference) {
        return (ImageState::Excluded, None);
    }
    if !mirror.is_below(reference) {
        return (ImageState::Outside, Some(Shortfall::Outside));
    }
    let left_out = excluded.iter().find(|source| {
        let name =
            |reference: &Reference| reference.repository().path().rsplit('/').next().map(str::to_owned);
        name(source) == name(reference) && source.tag() == reference.tag()
    });
    let shortfall = if let Some(source) = left_out.filter(|_| mirror.source_of(reference).is_none()) {
        Shortfall::LeftOut(source)
    } else if mirror.lock.is_none() {
        if mirror.is_name_of_an_image(reference) {
            return (ImageState::NotChecked, None);
        }
        Shortfall::NoSuchName
    } else {
        match mirror.locked(reference) {
            None => Shortfall::NotLocked,
            Some((_, copy)) if !copy.confirmed => Shortfall::NotConfirmed,
            Some((image, _))
                if reference.digest().is_some() && reference.digest() != image.digest.as_ref() =>
            {
                Shortfall::OtherDigest
            }
            Some(_) => return (ImageState::Confirmed, None),
        }
    };
    (ImageState::NotMirrored, Some(shortfall))
}
