//! Renders a chart with markers in place of values, and sees which marker ends up in which image.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, stream};
use serde_json::{Map, Value};

use super::{
    leaf::Leaf,
    pattern::{Pattern, Span, align, from_spans, parse},
    pin::labels,
    solve::Alternative,
};
use crate::{
    enumerate::{
        self, ChartSession, EnumerateError, ImageUse, LighterChart, Precedence, Selection, WrittenUse,
    },
    error::Failure,
};

/// How many renderings may be spent on finding the values whose markers a chart rejects.
const MAX_RENDERINGS: usize = 96;
/// The maximum number of concurrent renderings.
const CONCURRENCY: usize = 4;

/// A chart whose rendering is known, and how to render it again.
pub(super) struct ChartProbe<'a> {
    pub(super) session: &'a ChartSession,
    pub(super) selection: &'a Selection,
    /// The values that the templates see.
    pub(super) effective: &'a Map<String, Value>,
    /// Set over the user's values in every rendering.
    pub(super) fixed: Map<String, Value>,
    /// The places that name images, without any marker.
    pub(super) uses: Vec<WrittenUse>,
    /// A copy of the chart that renders the same images in less time; used instead of the chart.
    pub(super) lighter: Option<&'a LighterChart>,
    /// Whether to guess the slots of values whose markers the chart rejects.
    pub(super) guesses: bool,
    /// What has been rendered, by the values.
    pub(super) known: Arc<ChartAnswers>,
}

/// How the chart rendered, by the values.
pub(super) type ChartAnswers = Mutex<BTreeMap<String, ChartAnswer>>;

/// What a chart makes of markers.
#[derive(Clone)]
pub(super) enum ChartAnswer {
    Accepted(Arc<Marked>),
    /// It fails. The message contains the markers of these values.
    Rejected(BTreeSet<usize>),
}

/// A copy of the chart that renders the same images in less time, if there is one.
pub(super) async fn lighter(
    session: &ChartSession,
    selection: &Selection,
    fixed: &Map<String, Value>,
    manifests: &str,
) -> Result<Option<LighterChart>, Failure> {
    let uses = enumerate::written_uses(selection, "the chart", manifests)?;
    let naming = uses.iter().filter_map(|place| place.found_at.template.as_deref()).collect();
    let Some(lighter) = session.lighter(manifests, &naming)? else { return Ok(None) };
    let rendering = session.render_lighter(&lighter, Some((fixed, Precedence::OverFiles))).await;
    let is_same = rendering
        .and_then(|rendering| enumerate::written_uses(selection, "the lighter chart", &rendering))
        .is_ok_and(|found| found == uses);
    Ok(is_same.then_some(lighter))
}

/// What the markers showed.
pub(super) struct MarkerSurvey {
    /// What each place is made of, with the values that were marked.
    pub(super) patterns: Vec<Pattern>,
    /// What places are made of when a marked value changed more than its slot.
    pub(super) alternatives: Vec<Vec<Alternative>>,
    /// The values whose markers the chart accepts.
    pub(super) accepted: Vec<usize>,
    /// The text of each rendering's labels: a marker in it belongs to a value that labels contain.
    pub(super) labels: Vec<String>,
}

/// One rendering with markers.
pub(super) struct Marked {
    leaves: Vec<usize>,
    /// The text at each place, if the place is still there.
    texts: Vec<Option<String>>,
    labels: String,
}

impl ChartProbe<'_> {
    /// Marks these values: all at once if the chart accepts it, else in parts.
    pub(super) async fn survey(&self, leaves: &[Leaf], among: &[usize]) -> Result<MarkerSurvey, Failure> {
        let mut budget = MAX_RENDERINGS;
        let mut groups = vec![among.to_vec()];
        let (mut marked, mut rejected) = (Vec::new(), Vec::new());
        while !groups.is_empty() {
            groups.retain(|group| !group.is_empty());
            rejected.extend(groups.split_off(budget.min(groups.len())).concat());
            budget -= groups.len();
            let renderings = groups.iter().map(|group| self.render(leaves, group));
            let answers: Vec<_> = stream::iter(renderings).buffered(at_once()).collect().await;
            let mut parts = Vec::new();
            for (group, answer) in groups.iter().zip(answers) {
                // Any failure can be the marker's: an invalid reference as well as a `fail` in a template.
                match (answer?, group.as_slice()) {
                    (ChartAnswer::Accepted(found), _) => marked.push(found),
                    (ChartAnswer::Rejected(_), [leaf]) => rejected.push(*leaf),
                    (ChartAnswer::Rejected(quoted), more) => parts.extend(split(more, &quoted)),
                }
            }
            groups = parts;
        }
        Ok(self.conclude(leaves, &marked, &rejected))
    }

    /// Whether the chart accepts the markers of all these values at once.
    pub(super) async fn accepts(&self, leaves: &[Leaf], among: &[usize]) -> Result<bool, Failure> {
        Ok(matches!(self.render(leaves, among).await?, ChartAnswer::Accepted(_)))
    }

    async fn render(&self, leaves: &[Leaf], among: &[usize]) -> Result<ChartAnswer, EnumerateError> {
        let mut values = self.fixed.clone();
        for leaf in among.iter().filter_map(|&leaf| leaves.get(leaf)) {
            leaf.path.set(&mut values, self.effective, Value::String(leaf.value(&leaf.marker)));
        }
        let key = Value::Object(values.clone()).to_string();
        if let Some(answer) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(answer.clone());
        }
        let more = Some((&values, Precedence::OverAssignments));
        let rendering = match self.lighter {
            Some(lighter) => self.session.render_lighter(lighter, more).await,
            None => self.session.render(more).await,
        };
        let marked = |rendering: String| {
            let found = enumerate::written_uses(self.selection, "the chart with markers", &rendering)?;
            let (texts, labels) = (self.texts_at_places(&found), labels(&rendering));
            Ok(ChartAnswer::Accepted(Arc::new(Marked { leaves: among.to_vec(), texts, labels })))
        };
        let answer = match rendering.and_then(marked) {
            Err(error) if is_rejection(&error) => ChartAnswer::Rejected(quoted(&error, leaves, among)),
            other => other?,
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer.clone());
        Ok(answer)
    }

    /// The text at each place. A resource whose name contains a marker is found by its template.
    fn texts_at_places(&self, found: &[WrittenUse]) -> Vec<Option<String>> {
        type Key<'k> = (&'k str, &'k str, &'k str, &'k str, &'k str);
        fn exact(place: &ImageUse) -> Key<'_> {
            let (namespace, template) = (place.namespace.as_deref(), place.template.as_deref());
            (
                &place.kind,
                namespace.unwrap_or_default(),
                &place.name,
                &place.path,
                template.unwrap_or_default(),
            )
        }
        fn nameless(place: &ImageUse) -> Key<'_> {
            let (kind, _, _, path, template) = exact(place);
            (kind, "", "", path, template)
        }
        let mut by_place: BTreeMap<Key<'_>, VecDeque<usize>> = BTreeMap::new();
        for (index, found) in found.iter().enumerate() {
            by_place.entry(exact(&found.found_at)).or_default().push_back(index);
        }
        let mut texts: Vec<Option<String>> = vec![None; self.uses.len()];
        let mut taken = BTreeSet::new();
        for (text, place) in texts.iter_mut().zip(&self.uses) {
            let queue = by_place.get_mut(&exact(&place.found_at));
            if let Some(index) = queue.and_then(VecDeque::pop_front) {
                taken.insert(index);
                *text = found.get(index).map(|found| found.written.clone());
            }
        }
        let mut rest: BTreeMap<Key<'_>, VecDeque<usize>> = BTreeMap::new();
        for (index, found) in found.iter().enumerate().filter(|(index, _)| !taken.contains(index)) {
            rest.entry(nameless(&found.found_at)).or_default().push_back(index);
        }
        for (text, place) in texts.iter_mut().zip(&self.uses).filter(|(text, _)| text.is_none()) {
            let queue = rest.get_mut(&nameless(&place.found_at));
            *text = queue
                .and_then(VecDeque::pop_front)
                .and_then(|index| found.get(index))
                .map(|found| found.written.clone());
        }
        texts
    }

    fn conclude(&self, leaves: &[Leaf], marked: &[Arc<Marked>], rejected: &[usize]) -> MarkerSurvey {
        let mut patterns = Vec::new();
        let mut alternatives = Vec::new();
        for (place, found) in self.uses.iter().enumerate() {
            let text = found.written.as_str();
            let (mut spans, mut others) = (Vec::new(), Vec::new());
            for rendering in marked {
                let Some(Some(marked)) = rendering.texts.get(place) else { continue };
                let pattern = parse(marked, leaves, &rendering.leaves);
                let set: BTreeSet<usize> = super::pattern::slots(&pattern).into_iter().collect();
                let aligned = align(&pattern, text);
                let optional: BTreeSet<usize> =
                    set.iter().copied().filter(|&leaf| is_optional(leaves, leaf)).collect();
                match aligned {
                    Some(aligned) if optional.is_empty() => spans.extend(aligned),
                    Some(aligned) => {
                        let pattern = from_spans(text, aligned, |span| slice(text, span));
                        others.push(Alternative { needs: optional, pattern });
                    }
                    None if set.is_empty() => {}
                    None => others.push(Alternative {
                        needs: if optional.is_empty() { set } else { optional },
                        pattern,
                    }),
                }
            }
            let guessed = rejected.iter().filter(|_| self.guesses);
            spans.extend(guessed.filter_map(|&leaf| suspected(leaves, leaf, text)));
            patterns.push(from_spans(text, spans, |span| slice(text, span)));
            alternatives.push(others);
        }
        let accepted = marked.iter().flat_map(|marked| marked.leaves.iter().copied()).collect();
        let labels = marked.iter().map(|marked| marked.labels.clone()).collect();
        MarkerSurvey { patterns, alternatives, accepted, labels }
    }
}

/// The parts of a rejected group to try next. The values that the message quotes are the likely reason and are tried
/// separately.
fn split(group: &[usize], quoted: &BTreeSet<usize>) -> [Vec<usize>; 2] {
    let (suspects, others): (Vec<usize>, Vec<usize>) =
        group.iter().copied().partition(|leaf| quoted.contains(leaf));
    if !suspects.is_empty() && !others.is_empty() {
        return [others, suspects];
    }
    let (one, other) = group.split_at(group.len() / 2);
    [one.to_vec(), other.to_vec()]
}

/// The values whose markers are in the chart's error message. Only a hint: the others are found by trying.
fn quoted(error: &EnumerateError, leaves: &[Leaf], among: &[usize]) -> BTreeSet<usize> {
    let EnumerateError::HelmFailed { message, .. } = error else { return BTreeSet::new() };
    let is_quoted =
        |leaf: &usize| leaves.get(*leaf).is_some_and(|leaf| message.contains(leaf.marker.as_str()));
    among.iter().copied().filter(is_quoted).collect()
}

/// How many renderings run at once. Helm uses one core, and large charts need some 200 MB.
pub(super) fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(CONCURRENCY)
}

fn slice(text: &str, span: &Span) -> String {
    text.get(span.start..span.end).unwrap_or_default().to_owned()
}

fn is_optional(leaves: &[Leaf], leaf: usize) -> bool {
    leaves.get(leaf).is_some_and(|leaf| leaf.is_optional)
}

/// Guesses where the text of a value is if the chart rejects its marker: the proof tells whether the guess was right.
fn suspected(leaves: &[Leaf], leaf: usize, text: &str) -> Option<Span> {
    let slot = leaves.get(leaf).map(|leaf| leaf.slot.as_str()).filter(|slot| !slot.is_empty())?;
    let mut found = text.match_indices(slot).filter(|(start, _)| {
        let before = *start == 0 || text.get(..*start).is_some_and(|before| before.ends_with(['/', ':']));
        let after = text.get(start + slot.len()..).unwrap_or_default();
        before && (after.is_empty() || after.starts_with(['/', ':', '@']))
    });
    let (start, _) = found.next()?;
    found.next().is_none().then_some(Span { start, end: start + slot.len(), leaf })
}

/// Merges maps as Helm merges values files: everything else is replaced.
pub(super) fn merge(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => merge(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

/// Whether the chart, not this machine, is the reason.
pub(super) fn is_rejection(error: &EnumerateError) -> bool {
    !matches!(
        error,
        EnumerateError::HelmMissing { .. }
            | EnumerateError::HelmUnusable { .. }
            | EnumerateError::Workspace(_)
    )
}
