//! Which images: from a chart, manifests, a list or the command line, or from a lock.

use secrecy::SecretString;

use super::{
    setting::{Setting, SettingOrigin, flag_or_variable, flags_or_variable},
    usage,
};
use crate::{
    cli::{SelectionArgs, variable},
    enumerate::{ChartOptions, Input, SelectedFrom, Selection},
    error::Failure,
    oci::{ChartIdentity, mapping::Root},
    vendor,
};

/// Where `sync` takes its images from.
#[derive(Debug, Clone)]
pub(crate) enum ImagesFrom {
    /// A chart, manifests, a list or the command line.
    Selection(Box<Selection>),
    /// The lock, at the digests that it records.
    Lock {
        /// With `--with-chart`: where to find the chart that the lock's run packaged.
        chart: Option<Box<LockedChart>>,
    },
}

/// How to find the chart of an earlier run.
#[derive(Debug, Clone)]
pub(crate) struct LockedChart {
    /// Its location; by default, its name in the lock.
    pub(crate) name: Option<String>,
    /// Its version; by default, its version in the lock.
    pub(crate) version: Option<String>,
    /// Helm's other settings; `name` and `version` take precedence.
    pub(crate) options: ChartOptions,
}

impl LockedChart {
    /// The settings for helm.
    pub(crate) fn options_for(&self, locked: &ChartIdentity) -> ChartOptions {
        ChartOptions {
            chart: self.name.clone().unwrap_or_else(|| locked.name.clone()),
            version: Some(self.version.clone().unwrap_or_else(|| locked.version.clone())),
            ..self.options.clone()
        }
    }
}

impl ImagesFrom {
    /// With `--locked`, the lock names the images; the chart flags only locate the chart for `--with-chart`.
    pub(super) fn new(args: SelectionArgs, locked: bool, with_chart: bool) -> Result<Self, Failure> {
        if !locked {
            return Ok(Self::Selection(Box::new(selection(args, with_chart))));
        }
        let name = chart_name(&args);
        if with_chart {
            let (name, version) = (name.map(|chart| chart.value), args.chart_version.clone());
            let options = chart_options(args);
            return Ok(Self::Lock { chart: Some(Box::new(LockedChart { name, version, options })) });
        }
        if name.is_some_and(|chart| chart.origin == SettingOrigin::Flag) {
            return Err(usage("--locked cannot be used with --chart")
                .with_hint("the lock names the images; --chart is only needed for --with-chart"));
        }
        Ok(Self::Lock { chart: None })
    }
}

impl ImagesFrom {
    /// See [`Selection::except_below`].
    pub(super) fn except_below<'a>(self, mirrors: impl IntoIterator<Item = &'a Root>) -> Self {
        match self {
            Self::Selection(selection) => Self::Selection(Box::new(selection.except_below(mirrors))),
            locked @ Self::Lock { .. } => locked,
        }
    }
}

/// The request to [`crate::enumerate`].
pub(super) fn selection(args: SelectionArgs, with_chart: bool) -> Selection {
    let image_prefixes = args.image_prefix.clone();
    let include = flags_or_variable(args.filters.include.clone(), variable::INCLUDE);
    let exclude = flags_or_variable(args.filters.exclude.clone(), variable::EXCLUDE);
    let base = Selection {
        image_prefixes,
        mentions: args.mentions,
        add: args.add.clone(),
        add_lists: args.add_images.iter().map(|file| Input::from(file.as_str())).collect(),
        add_running: args.add_running.iter().map(|file| Input::from(file.as_str())).collect(),
        annotated: args.annotated,
        test_hooks: !args.no_test_hooks,
        include,
        exclude,
        with_chart,
        ..Selection::all_of(SelectedFrom::References(Vec::new()))
    };
    let from = if let Some(rendered) = &args.rendered {
        SelectedFrom::Rendered(Input::from(rendered.as_str()))
    } else if let Some(images) = &args.images {
        SelectedFrom::List(Input::from(images.as_str()))
    } else if !args.image.is_empty() {
        SelectedFrom::References(args.image)
    } else {
        SelectedFrom::Chart(Box::new(chart_options(args)))
    };
    Selection { from, ..base }
}

/// The chart that was passed, if any.
pub(super) fn chart_name(args: &SelectionArgs) -> Option<Setting<String>> {
    flag_or_variable(args.chart.clone(), variable::CHART)
}

pub(super) fn chart_options(args: SelectionArgs) -> ChartOptions {
    let chart = chart_name(&args);
    let secret = |texts: Vec<String>| texts.into_iter().map(SecretString::from).collect();
    ChartOptions {
        chart: chart.map_or_else(|| vendor::CHART.to_owned(), |chart| chart.value),
        repository: args.repo.unwrap_or_else(|| vendor::CHART_REPOSITORY.to_owned()),
        version: args.chart_version,
        values: args.values,
        set: secret(args.set),
        set_string: secret(args.set_string),
        set_file: args.set_file,
        namespace: args.namespace,
        kube_version: args.kube_version,
        api_versions: args.api_versions,
        include_crds: args.include_crds,
        helm_args: args.helm_arg,
        helm: args.helm,
        package: None,
    }
}
