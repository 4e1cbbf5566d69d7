//! `values`: finds the Helm values that make a chart pull everything from the mirror, and proves them by rendering.
//!
//! 1. [`mirror`] knows where each image is in the mirror, and so what each reference must become.
//! 2. [`leaf`] picks the values that may be part of a reference; [`markers`] renders the chart with markers in their places
//!    and sees what each reference is made of, as a [`pattern`]. Charts that reject markers are taken apart.
//! 3. [`solve`] finds the fewest values that make every reference right: [`relocate`] for the mirror, [`pin`] for digests.
//! 4. [`thoras`] adds what the vendor's guide recommends; [`facts`] holds all that is known about particular charts.
//! 5. [`proof`] renders the chart with the values and says where every image comes from. [`yaml`] writes the values.

mod comments;
mod facts;
mod leaf;
mod markers;
mod mirror;
mod outcome;
mod path;
mod pattern;
mod pin;
mod proof;
mod relocate;
mod shortfall;
mod solve;
mod thoras;
pub(crate) mod yaml;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value};

pub(crate) use self::outcome::ValuesOutcome;
#[cfg(test)]
pub(crate) use self::proof::{ImageState, InstalledImage};
use self::{
    markers::{ChartAnswers, ChartProbe},
    mirror::{KnownLock, MirrorNames},
    proof::Proof,
    relocate::{Setting, with_settings},
};
use super::{images::fetch_package, write_file::check_absent};
use crate::{
    enumerate::{self, ChartSession, LighterChart, Precedence, RenderedImages, WrittenUse},
    error::{Failure, Kind},
    event::{self, EventSink},
    oci::{Reference, mapping::Root},
    request::{Access, Values},
};

/// Finds and proves the values.
pub(crate) async fn run(request: &Values, events: Arc<dyn EventSink>) -> Result<ValuesOutcome, Failure> {
    if let Some(path) = &request.write {
        check_absent(path, request.force)?;
    }
    let access = Access::open(&request.registries, Arc::clone(&events))?;
    let fetched = fetch_package(&request.chart, &access).await?;
    let session = ChartSession::open(fetched.as_deref().unwrap_or(&request.chart)).await?;
    let known = ChartValues::read(&session).await?;
    thoras::check(request, &session, &known)?;
    let mut outcome = ValuesOutcome::new(session.identity().clone(), request.root.as_ref());
    let mut settings = thoras::settings(request, &session, &known, &mut outcome)?;
    if let Some(root) = &request.root {
        to_mirror(request, root, &session, &known, &mut settings, &mut outcome, &*events).await?;
    } else {
        outcome.values = with_settings(&Map::new(), &known.effective, &settings);
        let rendered = session.render(Some((&outcome.values, Precedence::OverFiles))).await;
        outcome.failures.extend(rendered.err().map(proof::rejected));
    }
    comments::explain(&settings, &known, &mut outcome);
    outcome.write(request)?;
    Ok(outcome)
}

/// What is known about the chart's values.
pub(super) struct ChartValues {
    /// What the templates see.
    effective: Map<String, Value>,
    /// What the chart itself sets.
    own: Map<String, Value>,
    /// What the user's files and assignments set.
    given: Map<String, Value>,
    /// What the assignments alone set.
    assigned: Map<String, Value>,
    /// The keys that templates read.
    template_keys: Vec<Vec<String>>,
    /// The keys below which the values of subcharts are.
    subchart_keys: Vec<String>,
}

impl ChartValues {
    async fn read(session: &ChartSession) -> Result<Self, Failure> {
        Ok(Self {
            effective: session.effective_values().await?,
            own: session.own_values(),
            given: session.given_values().await?,
            assigned: session.assigned_values()?,
            template_keys: session.template_keys(),
            subchart_keys: session.subchart_keys(),
        })
    }
}

/// The values for the mirror, and their proof.
async fn to_mirror(
    request: &Values,
    root: &Root,
    session: &ChartSession,
    known: &ChartValues,
    settings: &mut Vec<Setting>,
    outcome: &mut ValuesOutcome,
    events: &dyn EventSink,
) -> Result<(), Failure> {
    let lock = KnownLock::read(&request.lock.path, request.lock.is_required)?;
    if request.pin && lock.is_none() {
        let message = format!("--pin needs a lock, but {} does not exist", request.lock.path.display());
        let hint = format!("run `thoras-mirror sync --to {root}` first, or name its lock with --lock FILE");
        return Err(Failure::new(Kind::Usage, message).with_hint(hint));
    }
    let fixed = with_settings(&Map::new(), &known.effective, settings);
    // The size of an installation decides which images it needs.
    let manifests = session.render(Some((&fixed, Precedence::OverFiles))).await?;
    let lighter = markers::lighter(session, &request.selection, &fixed, &manifests).await?;
    let RenderedImages { found, uses } =
        enumerate::enumerate_rendering(&request.selection, session, manifests).await?;
    for note in &found.notes {
        event::note(events, note.message());
    }
    let mirrored: BTreeSet<&Reference> = found.images.iter().map(|image| &image.reference).collect();
    let excluded: BTreeSet<Reference> =
        uses.iter().map(|place| place.reference.clone()).filter(|found| !mirrored.contains(found)).collect();
    let mirror = MirrorNames::new(root, &request.naming, lock, &found)?;
    outcome.has_lock = mirror.lock.is_some();
    let finder = Finder { request, session, known, mirror: &mirror, excluded, fixed, uses };
    let found = finder.find_accepted(lighter.as_ref()).await?;
    settings.splice(0..0, found.settings);
    // The mirror's values first.
    let mut ordered = with_settings(&Map::new(), &known.effective, settings);
    markers::merge(&mut ordered, &found.values);
    outcome.values = ordered;
    outcome.unpinned = found.unpinned;
    outcome.images = found.proof.images;
    outcome.failures.extend(found.proof.failures);
    outcome.failures.extend(comments::overridden(settings, known));
    Ok(())
}

/// Finds the values for the mirror.
struct Finder<'a> {
    request: &'a Values,
    session: &'a ChartSession,
    known: &'a ChartValues,
    mirror: &'a MirrorNames,
    /// The images that the filters leave out.
    excluded: BTreeSet<Reference>,
    /// What the options ask for.
    fixed: Map<String, Value>,
    /// The places that name images.
    uses: Vec<WrittenUse>,
}

/// The values for the mirror, and their proof.
struct ProvenValues {
    settings: Vec<Setting>,
    values: Map<String, Value>,
    /// With `--pin`: the places that no value pins.
    unpinned: Vec<WrittenUse>,
    proof: Proof,
}

impl Finder<'_> {
    /// Finds values that the chart accepts, if there are any.
    async fn find_accepted(&self, lighter: Option<&LighterChart>) -> Result<ProvenValues, Failure> {
        let (known, known_of_lighter) = (Arc::default(), Arc::default());
        if lighter.is_some() {
            let found = self.find(lighter, true, &known_of_lighter).await?;
            // The lighter copy can lack a template that refuses the values.
            if !found.proof.is_rejected {
                return Ok(found);
            }
        }
        let found = self.find(None, true, &known).await?;
        if !found.proof.is_rejected {
            return Ok(found);
        }
        let without_guesses = self.find(None, false, &known).await?;
        Ok(if without_guesses.proof.is_rejected { found } else { without_guesses })
    }

    /// Tries values on the lighter copy, if there is one. The proof is a rendering of the chart itself.
    async fn find(
        &self,
        lighter: Option<&LighterChart>,
        guesses: bool,
        answers: &Arc<ChartAnswers>,
    ) -> Result<ProvenValues, Failure> {
        let Self { request, session, known, mirror, .. } = self;
        let selection = &request.selection;
        let mut probe = ChartProbe {
            session,
            selection,
            effective: &known.effective,
            fixed: self.fixed.clone(),
            uses: self.uses.clone(),
            lighter,
            guesses,
            known: Arc::clone(answers),
        };
        let mut settings = relocate::relocate(&mut probe, mirror, &known.template_keys).await?;
        let mut values = with_settings(&probe.fixed, &known.effective, &settings);
        let mut unpinned = Vec::new();
        // The proof reports a rejection.
        if request.pin
            && let Some(uses) = proof::moved(session, selection, &values, lighter).await?
        {
            let mut effective = known.effective.clone();
            markers::merge(&mut effective, &values);
            let probe = ChartProbe {
                effective: &effective,
                fixed: values.clone(),
                uses,
                known: Arc::default(),
                ..probe
            };
            let pins = pin::pin(&probe, mirror, &known.template_keys).await?;
            unpinned = pins.unpinned.iter().filter_map(|&index| probe.uses.get(index)).cloned().collect();
            let more = thoras::pins_of_unused_keys(session, known, &pins.settings, &probe.uses);
            values = with_settings(&values, &effective, &pins.settings);
            values = with_settings(&values, &effective, &more);
            settings.splice(0..0, pins.settings.into_iter().chain(more));
        }
        let proof = proof::prove(session, selection, &values, mirror, &self.excluded).await?;
        Ok(ProvenValues { settings, values, unpinned, proof })
    }
}
