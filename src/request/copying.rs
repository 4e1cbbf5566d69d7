//! The requests of `sync` and `verify`. A `verify` can be turned into the `sync` that repairs what it finds.

use std::path::{Path, PathBuf};

use super::{
    CopySettings, Destination, Destinations, ImagesFrom, LockedChart, Login, NamingRule, Platforms,
    ReferrerSettings, RegistrySettings, RequiredSignatures, ShardSettings, Stdin, check_stdin,
    destination::roots,
    selection::{chart_name, chart_options, selection},
    setting::{Setting, SettingOrigin, variable},
    usage,
};
use crate::{
    cli::{self, Against, DEFAULT_LOCK, NamingArgs, PlatformArgs, SelectionArgs, variable as names},
    confirm::Level,
    enumerate::{SelectedFrom, Selection},
    error::Failure,
    lock::{Lock, LockedImage, Placement},
    oci::{Platform, Reference, chart::is_local_chart, mapping::Root},
    quota::RunRegistries,
    waiver::Waiver,
};

/// `sync`
#[derive(Debug, Clone)]
pub(crate) struct Sync {
    pub(crate) images: ImagesFrom,
    /// The lock to write, and to read with [`ImagesFrom::Lock`]; by default `thoras-mirror.lock`.
    pub(crate) lock: Option<PathBuf>,
    pub(crate) destinations: Destinations,
    pub(crate) registries: RegistrySettings,
    pub(crate) platforms: Platforms,
    /// Copy foreign layers. With [`ImagesFrom::Lock`], the lock can enable this as well.
    pub(crate) foreign_layers: bool,
    pub(crate) copy: CopySettings,
    /// Which part of the images; all of them if `None`.
    pub(crate) shard: Option<ShardSettings>,
}

impl Sync {
    pub(super) fn new(args: cli::Sync) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            selection: Some(&args.selection),
            registries: Some(&args.registries),
            login: Some(&args.destination.login),
            ..Stdin::default()
        })?;
        let strict = args.selection.strict;
        let signatures = RequiredSignatures::new(args.trust)?;
        let destinations = Destinations::new(args.destination)?;
        let shard = ShardSettings::new(args.sharding)?;
        if destinations.are_several() && shard.is_some() {
            return Err(usage("--shard copies to one destination, but --to names several").with_hint(
                "run the shards once for each destination: --locked copies the same digests to another one",
            ));
        }
        Ok(Self {
            images: ImagesFrom::new(args.selection, args.locked, args.with_chart)?
                .except_below(destinations.roots()),
            lock: Some(args.lock),
            destinations,
            registries: RegistrySettings::new(args.registries)?.with_rates(args.rates)?,
            platforms: args.platforms.into(),
            foreign_layers: args.foreign_layers,
            shard,
            copy: CopySettings {
                strict,
                dry_run: args.dry_run,
                signatures,
                ..CopySettings::new(args.copy, args.referrers)?
            },
        })
    }

    /// The path of the lock.
    pub(crate) fn lock(&self) -> &Path {
        self.lock.as_deref().unwrap_or(Path::new(DEFAULT_LOCK))
    }
}

/// `verify`
#[derive(Debug, Clone)]
pub(crate) struct Verify {
    pub(crate) with: CompareWith,
    pub(crate) level: Level,
    pub(crate) platforms: Platforms,
    /// The platforms that were passed: with a lock, in addition to those of the lock.
    pub(crate) more_platforms: Vec<Platform>,
    /// Fail optional images that are missing, and charts that are not rendered.
    pub(crate) strict: bool,
    /// Which attached manifests are checked.
    pub(crate) referrers: ReferrerSettings,
    /// Whose signatures images need in the mirror.
    pub(crate) signatures: RequiredSignatures,
    pub(crate) login: Option<Login>,
    pub(crate) registries: RegistrySettings,
}

/// Which images of a lock are verified: all that nothing excludes.
#[derive(Debug, Clone, Default)]
pub(crate) struct LockedImages {
    /// References as they were typed; all images if empty.
    pub(crate) references: Vec<String>,
    /// Globs: only images that one of them matches.
    pub(crate) include: Vec<String>,
    /// Globs: no image that one of them matches.
    pub(crate) exclude: Vec<String>,
}

/// What `verify` compares the mirror with.
#[derive(Debug, Clone)]
pub(crate) enum CompareWith {
    /// A lock file.
    Lock {
        path: PathBuf,
        /// `--to`: only these of its destinations; all if it names none.
        mirrors: Option<Setting<Vec<Root>>>,
        /// Which of its images.
        only: LockedImages,
        /// Where to find the packaged chart of the lock's run: a repair packages it again.
        chart: Box<LockedChart>,
    },
    /// The source.
    Source {
        selection: Box<Selection>,
        /// The mirrors: `--to`, at least one.
        roots: Vec<Root>,
        naming: NamingRule,
        /// Whether foreign layers are required.
        foreign_layers: bool,
        /// The lock that `sync` would follow for names, if it exists.
        lock: PathBuf,
    },
}

impl CompareWith {
    fn lock(
        path: PathBuf,
        to: Option<Setting<Vec<String>>>,
        selection: SelectionArgs,
    ) -> Result<Self, Failure> {
        let name = chart_name(&selection).map(|chart| chart.value);
        let version = selection.chart_version.clone();
        // Not the variables: they may be set for other commands, and would hide images of the lock.
        let only = LockedImages {
            references: selection.image.clone(),
            include: selection.filters.include.clone(),
            exclude: selection.filters.exclude.clone(),
        };
        let options = chart_options(selection);
        let chart = Box::new(LockedChart { name, version, options });
        let mirrors = match to {
            Some(to) => Some(Setting::new(roots(&to.value)?, to.origin)),
            None => None,
        };
        Ok(Self::Lock { path, mirrors, only, chart })
    }

    fn source(
        to: Option<Setting<Vec<String>>>,
        lock: PathBuf,
        images: SelectionArgs,
        naming: NamingArgs,
        foreign_layers: bool,
    ) -> Result<Self, Failure> {
        let to = to
            .ok_or_else(|| usage("--against source needs the mirror").with_hint("pass --to REGISTRY/PATH"))?;
        let roots = roots(&to.value)?;
        let selection = Box::new(selection(images, false).except_below(&roots));
        Ok(Self::Source { selection, roots, naming: naming.into(), foreign_layers, lock })
    }
}

impl Verify {
    pub(super) fn new(args: cli::Verify) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            selection: Some(&args.selection),
            registries: Some(&args.registries),
            login: Some(&args.login),
            ..Stdin::default()
        })?;
        let to = if args.to.is_empty() {
            variable(names::TO).map(|to| Setting::new(vec![to.value], to.origin))
        } else {
            Some(Setting::new(args.to.clone(), SettingOrigin::Flag))
        };
        let named = to.as_ref().filter(|_| args.login.to_username.is_some());
        let named = named.map(|to| roots(&to.value)).transpose()?;
        let login = Login::for_one_of(args.login, named.as_deref().unwrap_or_default())?;
        let strict = args.selection.strict;
        let registries = RegistrySettings::new(args.registries)?.with_rates(args.rates)?;
        let lock = args.lock.clone().or_else(|| variable(names::LOCK).map(|path| path.value.into()));
        let with = match comparison(args.lock.as_ref(), !args.to.is_empty(), args.against) {
            Baseline::Source => {
                let lock = lock.unwrap_or_else(|| DEFAULT_LOCK.into());
                CompareWith::source(to, lock, args.selection, args.naming, args.foreign_layers)?
            }
            Baseline::Lock(path) if to.is_none() && !args.selection.image.is_empty() && !path.exists() => {
                return Err(usage("images were given without --to").with_hint(
                    "verify checks the images in the lock; to check other images, pass --to REGISTRY/PATH",
                ));
            }
            Baseline::Lock(path) => CompareWith::lock(path, to, args.selection)?,
        };
        let PlatformArgs { platform: platforms, allow_missing_platform: waivers } = args.platforms;
        let required = if platforms.is_empty() { Platforms::default_required() } else { platforms.clone() };
        Ok(Self {
            with,
            level: args.level,
            platforms: Platforms { required, waivers },
            more_platforms: platforms,
            strict,
            referrers: ReferrerSettings::new(args.referrers)?,
            signatures: RequiredSignatures::new(args.trust)?,
            login,
            registries,
        })
    }

    /// The `sync` that repairs one of the mirrors that were compared with their source; `None` if they were compared
    /// with a lock. `sources` are their images.
    pub(crate) fn sync_from_source(&self, root: &Root, sources: &[Reference]) -> Option<Sync> {
        // Without `..`: every new setting needs a decision whether the repair repeats it.
        let Self {
            with,
            level: _,
            platforms,
            more_platforms: _,
            strict,
            referrers,
            signatures,
            login,
            registries: _,
        } = self;
        let CompareWith::Source { selection, roots: _, naming, foreign_layers, lock: _ } = with else {
            return None;
        };
        Some(Sync {
            images: ImagesFrom::Selection(selection.clone()),
            shard: None,
            lock: None,
            destinations: Destinations::from(Destination {
                root: root.clone(),
                naming: naming.clone(),
                login: Login::for_root(login.as_ref(), root),
            }),
            registries: self.registries_to_copy(sources, root),
            platforms: platforms.clone(),
            foreign_layers: *foreign_layers,
            copy: repairing(*strict, referrers, signatures),
        })
    }

    /// The `sync` that repairs one destination of the lock that the mirror was compared with; `None` without a lock.
    pub(crate) fn sync_from_lock(&self, lock: &Lock, placement: &Placement, root: &Root) -> Option<Sync> {
        let Self {
            with,
            level: _,
            platforms,
            more_platforms,
            strict,
            referrers,
            signatures,
            login,
            registries: _,
        } = self;
        let CompareWith::Lock { path, mirrors: _, only: _, chart } = with else { return None };
        let mut waivers = platforms.waivers.clone();
        for image in &lock.images {
            waivers.extend(image.waived.iter().filter_map(|waived| Waiver::exact(&image.source, waived)));
        }
        // An image that failed before its digest was known cannot be copied by digest.
        let is_known = |image: &LockedImage| image.digest.is_some() || image.optional && !*strict;
        let all_known = lock.images.iter().all(is_known);
        let (images, naming) = if all_known {
            let identity = lock.chart.as_ref().filter(|_| packaged_chart(placement).is_some());
            let packaged = identity.map(|identity| {
                let name = chart.name.clone().unwrap_or_else(|| identity.name.clone());
                Box::new(LockedChart { name: Some(name), ..(**chart).clone() })
            });
            (ImagesFrom::Lock { chart: packaged }, NamingRule::default())
        } else {
            let wanted =
                lock.images.iter().filter(|image| *strict || !(image.optional && image.digest.is_none()));
            let sources = wanted.map(|image| &image.source);
            let sources = sources.filter(|source| Some(*source) != packaged_chart(placement));
            let references = SelectedFrom::References(sources.map(ToString::to_string).collect());
            let naming =
                NamingRule { naming: Some(placement.naming), source_prefix: placement.source_prefix.clone() };
            (ImagesFrom::Selection(Box::new(Selection::all_of(references))), naming)
        };
        Some(Sync {
            images,
            shard: None,
            lock: Some(path.clone()),
            destinations: Destinations::from(Destination {
                root: root.clone(),
                naming,
                login: Login::for_root(login.as_ref(), root),
            }),
            registries: self.registries_to_copy(lock.images.iter().map(|image| &image.source), root),
            platforms: Platforms { required: united(&lock.platforms, more_platforms), waivers },
            // With --locked, the lock decides.
            foreign_layers: lock.foreign_layers && !all_known,
            copy: repairing(*strict, referrers, signatures),
        })
    }

    /// How a repair connects: without quotas of other mirrors, which count none of its requests.
    fn registries_to_copy<'a>(
        &self,
        sources: impl IntoIterator<Item = &'a Reference>,
        root: &Root,
    ) -> RegistrySettings {
        let read = sources.into_iter().map(|source| source.repository().registry()).collect();
        let run = RunRegistries { read, written: vec![root.registry()], has_dry_run: true };
        RegistrySettings { quotas: self.registries.quotas.of_run(&run), ..self.registries.clone() }
    }
}

/// How a repair copies: the settings of a verification that decide what is right.
fn repairing(strict: bool, referrers: &ReferrerSettings, signatures: &RequiredSignatures) -> CopySettings {
    let (referrers, signatures) = (referrers.clone(), signatures.clone());
    CopySettings { referrers, strict, signatures, ..CopySettings::default() }
}

/// All platforms, each once.
pub(crate) fn united(platforms: &[Platform], more: &[Platform]) -> Vec<Platform> {
    let mut united = platforms.to_vec();
    united.extend(more.iter().filter(|platform| !platforms.contains(platform)).cloned());
    united
}

/// The chart of a lock that was packaged on this machine: a copy of it has to be packaged again.
fn packaged_chart(placement: &Placement) -> Option<&Reference> {
    placement.chart.as_ref().filter(|chart| is_local_chart(chart))
}

/// What a mirror is compared with.
pub(super) enum Baseline {
    /// The lock at this path, which may not exist.
    Lock(PathBuf),
    /// The source.
    Source,
}

/// The lock, unless the user chose the source or there is none. A lock that is named on the command line must exist; one
/// that a variable names may be missing if `--to` is typed.
pub(super) fn comparison(lock: Option<&PathBuf>, has_to: bool, against: Option<Against>) -> Baseline {
    let by_variable = variable(names::LOCK).map(|path| PathBuf::from(path.value));
    let is_named = by_variable.is_some();
    let path = lock.cloned().or(by_variable).unwrap_or_else(|| DEFAULT_LOCK.into());
    let is_implied = lock.is_none() && !path.exists();
    match against {
        Some(Against::Source) => Baseline::Source,
        None if is_implied && (has_to || (!is_named && variable(names::TO).is_some())) => Baseline::Source,
        Some(Against::Lock) | None => Baseline::Lock(path),
    }
}
