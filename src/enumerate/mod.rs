//! What to copy: the images that a chart, a rendered manifest or a list names.
//!
//! [`enumerate`] turns a [`Selection`] (what was asked for) into an [`Enumeration`] (the images, each with
//! every place that names it). Manifests are read as YAML, never as lines, in two passes: `manifests`
//! first collects what is an image by its position (a container of a pod spec, a field of a custom
//! resource), then looks for mentions of the registries seen there in environment values, arguments and
//! `ConfigMap`s. Rendered manifests hold Secrets: they stay in memory, and no error repeats their text.

mod chart;
mod error;
mod filter;
pub(crate) mod fuzzing;
mod image;
mod input;
mod list;
mod manifests;

pub use self::{
    chart::ChartOptions,
    error::{EnumerateError, ErrorKind},
    image::{Confidence, Enumeration},
    input::Input,
};
pub(crate) use self::{
    chart::{ChartPackage, DEFAULT_CHART, DEFAULT_REPOSITORY, package_chart},
    image::{Image, ImageUse, Note},
};

use crate::oci::{Reference, mapping};
use filter::Filter;
use image::ImageSet;

/// Where the images are named.
#[derive(Debug, Clone)]
pub enum Source {
    /// A chart that Helm renders.
    Chart(Box<ChartOptions>),
    /// Manifests that somebody has rendered already.
    Rendered(Input),
    /// A list: one reference a line, `#` comments and blank lines allowed.
    List(Input),
    /// References as they were typed.
    References(Vec<String>),
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Where the images are named.
    pub source: Source,
    /// Registry prefixes (`HOST[/PATH]`) whose mention in an environment value, an argument or a
    /// `ConfigMap` names an image, besides those that pod specs and custom resources show.
    pub image_prefixes: Vec<String>,
    /// Globs on the normalized reference, with and without its tag: keep only what matches one of them.
    pub include: Vec<String>,
    /// Globs on the normalized reference, with and without its tag: drop what matches one of them. It wins
    /// over `include`.
    pub exclude: Vec<String>,
    /// Whether the chart itself is wanted, as a [`ChartPackage`].
    pub with_chart: bool,
}

impl Selection {
    /// Everything that `source` names, unfiltered.
    #[must_use]
    pub fn all_of(source: Source) -> Self {
        Self {
            source,
            image_prefixes: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            with_chart: false,
        }
    }
}

/// Finds the images that `selection` asks for.
///
/// Dropping the future ends Helm, if it is running. Zero images, before or after the filters, are an error:
/// an empty mirror is never what was meant.
pub async fn enumerate(selection: &Selection) -> Result<Enumeration, EnumerateError> {
    let filter = Filter::new(&selection.include, &selection.exclude)?;
    let prefixes = manifests::parse_prefixes(&selection.image_prefixes)?;
    let mut images = ImageSet::default();
    let mut notes = Vec::new();
    let (mut identity, mut package) = (None, None);
    let from = match &selection.source {
        Source::Chart(options) => {
            let rendered = chart::render(options, selection.with_chart).await?;
            let name = format!("chart {}", options.chart);
            notes = manifests::scan(&name, &rendered.manifests, &prefixes, &mut images)?;
            (identity, package) = (Some(rendered.identity), rendered.package);
            name
        }
        Source::Rendered(input) => {
            let text = input.read().await?;
            notes = manifests::scan(&input.to_string(), &text, &prefixes, &mut images)?;
            input.to_string()
        }
        Source::List(input) => {
            list::scan(&input.to_string(), &input.read().await?, &mut images)?;
            input.to_string()
        }
        Source::References(references) => {
            list::parse_arguments(references, &mut images)?;
            "the command line".to_owned()
        }
    };
    if selection.with_chart && package.is_none() {
        return Err(EnumerateError::NoChart { from });
    }
    let images = images.into_sorted();
    if images.is_empty() {
        return Err(match &selection.source {
            Source::List(_) => EnumerateError::EmptyList { input: from },
            _ => EnumerateError::NoImages { from },
        });
    }
    // Names at the destination must not depend on the filters, so the prefix is taken before them.
    let references: Vec<Reference> = images.iter().map(|image| image.reference.clone()).collect();
    let source_prefix = mapping::common_prefix(&references);
    let found = images.len();
    let images: Vec<Image> = images.into_iter().filter(|image| filter.keeps(&image.reference)).collect();
    if images.is_empty() {
        return Err(EnumerateError::FilteredOut { found });
    }
    let idle_filters = filter.idle(&references);
    Ok(Enumeration { images, chart: identity, package, source_prefix, notes, idle_filters })
}
