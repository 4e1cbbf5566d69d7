//! Finds what to copy: the images that a chart, a rendered manifest or a list names.
//!
//! [`enumerate`] turns a [`Selection`] (what was asked for) into an [`Enumeration`] (the images, each with
//! every place that names it). Manifests are read as YAML, never as lines: [`manifests`] collects what is an image by
//! its position (a container of a pod spec, a field of a custom resource), by its key, or by its shape, and writes a
//! [`Note`] for what looks like an image and does not count. Rendered manifests hold Secrets: they stay in memory,
//! Secrets are not read, and no error repeats the text of a manifest.

mod annotations;
mod chart;
mod error;
mod filter;
pub(crate) mod fuzzing;
mod image;
mod input;
mod list;
mod manifests;
mod note;
mod read_as;
mod running;

pub use self::{
    chart::ChartOptions,
    error::{EnumerateError, ErrorKind},
    image::{Confidence, Enumeration},
    input::Input,
};
pub(crate) use self::{
    chart::{
        ChartPackage, ChartSession, LighterChart, Precedence, ValueKey, fetch_published, package_chart,
        values_naming,
    },
    filter::Filter,
    image::{Image, ImageUse, WrittenUse},
    note::{Note, NoteKind},
    running::{RunningContainer, read_running},
};

use std::{collections::BTreeSet, fmt};

use crate::oci::{
    ChartIdentity, Reference, Repository,
    mapping::{self, Root},
};
use image::ImageSet;
use manifests::ScanOptions;
use read_as::ReadAs;

/// What names the images.
#[derive(Debug, Clone)]
pub enum SelectedFrom {
    /// A chart that Helm renders.
    Chart(Box<ChartOptions>),
    /// Rendered manifests.
    Rendered(Input),
    /// A list: one reference a line, `#` comments and blank lines allowed.
    List(Input),
    /// References as they were typed.
    References(Vec<String>),
}

/// Which images count that are only mentioned in settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mentions {
    /// Complete references, and values whose key says that they are an image.
    #[default]
    All,
    /// Only values whose key says that they are an image, and references below --image-prefix.
    Named,
    /// Only pod specs and custom resources.
    None,
}

impl fmt::Display for Mentions {
    /// As the user types it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::All => "all",
            Self::Named => "named",
            Self::None => "none",
        })
    }
}

impl Mentions {
    fn include(self, image: &Image) -> bool {
        match self {
            _ if !image.optional => true,
            Self::All => true,
            Self::Named => image.uses.iter().any(|found_at| found_at.confidence == Confidence::Named),
            Self::None => false,
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What names the images.
    pub from: SelectedFrom,
    /// Registry prefixes (`HOST[/PATH]`) below which a mention in an environment value, an argument or a `ConfigMap`
    /// is an image, however short it is written.
    pub image_prefixes: Vec<String>,
    /// Which images count that are only mentioned.
    pub mentions: Mentions,
    /// References to add to what a chart or manifests name.
    pub add: Vec<String>,
    /// Lists of references to add.
    pub add_lists: Vec<Input>,
    /// What a cluster runs, as `kubectl get pods -o json` prints it: images to add.
    pub add_running: Vec<Input>,
    /// The mirrors: what a cluster runs from there is not added.
    pub mirrors: Vec<Root>,
    /// Whether to add the images that the chart's annotations list.
    pub annotated: bool,
    /// Whether resources that only `helm test` creates count.
    pub test_hooks: bool,
    /// Globs on the normalized reference, with and without its tag: keep only what matches one of them.
    pub include: Vec<String>,
    /// Globs on the normalized reference, with and without its tag: drop what matches one of them. It wins
    /// over `include`.
    pub exclude: Vec<String>,
    /// Whether the chart itself is wanted, as a [`ChartPackage`].
    pub with_chart: bool,
}

impl Selection {
    /// Everything that `from` names, unfiltered.
    #[must_use]
    pub fn all_of(from: SelectedFrom) -> Self {
        Self {
            from,
            image_prefixes: Vec::new(),
            mentions: Mentions::All,
            add: Vec::new(),
            add_lists: Vec::new(),
            add_running: Vec::new(),
            mirrors: Vec::new(),
            annotated: false,
            test_hooks: true,
            include: Vec::new(),
            exclude: Vec::new(),
            with_chart: false,
        }
    }

    /// The same for a run to these mirrors: images that a cluster runs from there are copies already.
    #[must_use]
    pub(crate) fn except_below<'a>(self, mirrors: impl IntoIterator<Item = &'a Root>) -> Self {
        Self { mirrors: mirrors.into_iter().cloned().collect(), ..self }
    }
}

/// The images of one rendering of a chart, and every place that names one of them.
#[derive(Debug)]
pub(crate) struct RenderedImages {
    /// As [`enumerate`] returns them.
    pub(crate) found: Enumeration,
    /// In the order of the rendering. Images that the filters drop are among them, mentions that do not count are not.
    pub(crate) uses: Vec<WrittenUse>,
}

/// The images of a rendering that the session has made.
pub(crate) async fn enumerate_rendering(
    selection: &Selection,
    session: &ChartSession,
    manifests: String,
) -> Result<RenderedImages, EnumerateError> {
    let mut collected = collect(selection, Some(session.rendered(manifests))).await?;
    let mut uses = collected.images.take_uses();
    let counted: BTreeSet<Reference> = collected.images.found().cloned().collect();
    let found = finish(selection, collected)?;
    let excluded = |reference: &Reference| found.images.iter().all(|image| image.reference != *reference);
    let mention =
        |found_at: &WrittenUse| found_at.found_at.confidence.is_mention() && excluded(&found_at.reference);
    uses.retain(|found_at| counted.contains(&found_at.reference) && !mention(found_at));
    Ok(RenderedImages { found, uses })
}

/// Every place of a rendering that names an image, before the selection's filters.
pub(crate) fn written_uses(
    selection: &Selection,
    from: &str,
    manifests: &str,
) -> Result<Vec<WrittenUse>, EnumerateError> {
    let prefixes = manifests::parse_prefixes(&selection.image_prefixes)?;
    let options = ScanOptions { prefixes: &prefixes, test_hooks: selection.test_hooks };
    let mut images = ImageSet::default();
    manifests::scan(from, manifests, options, &mut images)?;
    Ok(images.take_uses())
}

impl Selection {
    /// Whether the chart is in a registry, to be fetched before [`enumerate()`].
    pub(crate) fn needs_registry(&self) -> bool {
        matches!(&self.from, SelectedFrom::Chart(options) if options.chart.starts_with("oci://"))
    }

    /// The repository of the chart, if it is in a registry.
    pub(crate) fn chart_repository(&self) -> Option<Repository> {
        let SelectedFrom::Chart(options) = &self.from else { return None };
        let reference = options.chart.strip_prefix("oci://")?.parse::<Reference>().ok()?;
        Some(reference.repository().clone())
    }
}

/// What the reading of charts, manifests and lists collects.
#[derive(Default)]
struct Collected {
    images: ImageSet,
    notes: Vec<Note>,
    chart: Option<ChartIdentity>,
    package: Option<ChartPackage>,
    /// What was read, for messages.
    from: String,
}

/// Finds the images that `selection` asks for.
///
/// Dropping the future ends Helm, if it is running. Zero images, before or after the filters, are an error:
/// an empty mirror is never what was meant.
pub async fn enumerate(selection: &Selection) -> Result<Enumeration, EnumerateError> {
    // Before anything is rendered.
    Filter::new(&selection.include, &selection.exclude)?;
    finish(selection, collect(selection, None).await?)
}

/// Applies the filters, and decides on the prefix for names.
fn finish(selection: &Selection, collected: Collected) -> Result<Enumeration, EnumerateError> {
    let filter = Filter::new(&selection.include, &selection.exclude)?;
    let Collected { images, notes, chart, package, from } = collected;
    if selection.with_chart && package.is_none() {
        return Err(EnumerateError::NoChart { from });
    }
    let mut images = images.into_sorted();
    images.retain(|image| selection.mentions.include(image));
    if images.is_empty() {
        return Err(match &selection.from {
            SelectedFrom::List(_) => EnumerateError::EmptyList { input: from },
            from_what => EnumerateError::NoImages {
                from,
                is_chart: matches!(from_what, SelectedFrom::Chart(_)),
                notes: note::deduplicated(notes).iter().map(Note::message).collect(),
            },
        });
    }
    // Names at the destination must not depend on the filters, so the prefix is taken before them.
    let source_prefix = source_prefix(&images);
    let references: Vec<Reference> = images.iter().map(|image| image.reference.clone()).collect();
    images.retain(|image| filter.keeps(&image.reference));
    if images.is_empty() {
        return Err(EnumerateError::FilteredOut { found: references.len() });
    }
    let idle_filters = filter.idle(&references);
    let notes = note::deduplicated(notes);
    Ok(Enumeration { images, chart, package, source_prefix, notes, idle_filters })
}

/// Reads what the selection names; `rendered` is the chart if it is rendered already.
async fn collect(
    selection: &Selection,
    rendered: Option<chart::Rendered>,
) -> Result<Collected, EnumerateError> {
    let prefixes = manifests::parse_prefixes(&selection.image_prefixes)?;
    let options = ScanOptions { prefixes: &prefixes, test_hooks: selection.test_hooks };
    let mut collected = Collected::default();
    let images = &mut collected.images;
    let mut annotated = Vec::new();
    collected.from = match &selection.from {
        SelectedFrom::Chart(chart) => {
            let rendered = match rendered {
                Some(rendered) => rendered,
                None => chart::render(chart, selection.with_chart).await?,
            };
            let from = format!("chart {}", chart.chart);
            (*images, collected.notes) =
                manifests::scan_on_thread(&from, rendered.manifests, options).await?;
            annotated = rendered.annotated;
            (collected.chart, collected.package) = (Some(rendered.identity), rendered.package);
            from
        }
        SelectedFrom::Rendered(input) => {
            let from = input.to_string();
            (*images, collected.notes) =
                manifests::scan_on_thread(&from, input.read(ReadAs::Manifests).await?, options).await?;
            from
        }
        SelectedFrom::List(input) => {
            list::scan(&input.to_string(), &input.read(ReadAs::List).await?, images)?;
            input.to_string()
        }
        SelectedFrom::References(references) => {
            list::parse_arguments(references, images)?;
            "the command line".to_owned()
        }
    };
    add_selected(selection, &annotated, &mut collected).await?;
    Ok(collected)
}

/// Adds what the user adds to what was found, and leaves out the notes on it.
async fn add_selected(
    selection: &Selection,
    annotated: &[annotations::AnnotatedImage],
    collected: &mut Collected,
) -> Result<(), EnumerateError> {
    let images = &mut collected.images;
    for written in &selection.add {
        let written = written.trim();
        images.add_extra(written.parse().map_err(EnumerateError::Add)?, written);
    }
    for input in &selection.add_lists {
        list::add_extras(&input.to_string(), &input.read(ReadAs::List).await?, images)?;
    }
    for input in &selection.add_running {
        let containers = running::read_running(input).await?;
        collected.notes.extend(running::add_extras(containers, &selection.mirrors, images));
    }
    if selection.annotated {
        for image in annotated {
            images.add_extra(image.reference.clone(), &image.written);
        }
    } else if let Some(chart) = &collected.chart {
        collected.notes.extend(annotations::compare(&chart.name, annotated, images));
    }
    let is_added = |note: &Note| {
        let reference = note.reference.as_deref().and_then(|text| text.parse::<Reference>().ok());
        note.kind == NoteKind::NotTaken && reference.is_some_and(|reference| images.contains(&reference))
    };
    collected.notes.retain(|note| !is_added(note));
    Ok(())
}

/// What relative naming cuts off. Only images whose names do not yield to others decide it, so that a mention or an
/// added image never renames the rest.
fn source_prefix(images: &[Image]) -> Option<String> {
    let deciding: Vec<Reference> =
        images.iter().filter(|image| !image.yields_name()).map(|image| image.reference.clone()).collect();
    mapping::common_prefix(&deciding)
}
