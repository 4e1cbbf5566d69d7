//! The requests of `sync` and `verify`. A `verify` can be turned into the `sync` that repairs what it finds.

use std::path::{Path, PathBuf};

use super::{
    CopySettings, Destination, ImagesFrom, LockedChart, Login, NamingRule, Platforms, RegistrySettings,
    Stdin, check_stdin,
    destination::root,
    selection::{chart_name, chart_options, selection},
    setting::variable,
    usage,
};
use crate::{
    cli::{self, DEFAULT_LOCK, variable as names},
    confirm::Level,
    enumerate::{SelectedFrom, Selection},
    error::Failure,
    lock::{Lock, Placement},
    oci::{chart::is_local_chart, mapping::Root},
    waiver::Waiver,
};

/// `sync`
#[derive(Debug, Clone)]
pub(crate) struct Sync {
    pub(crate) images: ImagesFrom,
    /// The lock to write, and to read with [`ImagesFrom::Lock`]; by default `thoras-mirror.lock`.
    pub(crate) lock: Option<PathBuf>,
    pub(crate) destination: Destination,
    pub(crate) registries: RegistrySettings,
    pub(crate) platforms: Platforms,
    /// Copy foreign layers. With [`ImagesFrom::Lock`], the lock can enable this as well.
    pub(crate) foreign_layers: bool,
    pub(crate) copy: CopySettings,
}

impl Sync {
    pub(super) fn new(args: cli::Sync) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            selection: Some(&args.selection),
            registries: Some(&args.registries),
            login: Some(&args.destination.login),
            ..Stdin::default()
        })?;
        let destination = Destination::new(args.destination)?;
        Ok(Self {
            images: ImagesFrom::new(args.selection, args.locked, args.with_chart)?
                .except_below(&destination.root),
            lock: Some(args.lock),
            destination,
            registries: RegistrySettings::new(args.registries)?,
            platforms: args.platforms.into(),
            foreign_layers: args.foreign_layers,
            copy: CopySettings {
                check: args.check,
                overwrite: !args.no_overwrite,
                dry_run: args.dry_run,
                jobs: args.jobs,
                fail_fast: args.fail_fast,
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
    pub(crate) login: Option<Login>,
    pub(crate) registries: RegistrySettings,
}

/// What `verify` compares the mirror with.
#[derive(Debug, Clone)]
pub(crate) enum CompareWith {
    /// A lock file.
    Lock {
        path: PathBuf,
        /// Where to find the packaged chart of the lock's run: a repair packages it again.
        chart: Box<LockedChart>,
    },
    /// The source.
    Source {
        selection: Box<Selection>,
        /// The mirror: `--to`.
        root: Root,
        naming: NamingRule,
        /// Whether foreign layers are required.
        foreign_layers: bool,
    },
}

impl Verify {
    pub(super) fn new(args: cli::Verify) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            selection: Some(&args.selection),
            registries: Some(&args.registries),
            login: Some(&args.login),
            ..Stdin::default()
        })?;
        let login = Login::new(args.login)?;
        let registries = RegistrySettings::new(args.registries)?;
        let with = match lock_or_mirror(args.lock, args.to) {
            LockOrMirror::Mirror(to) => {
                let root = root(&to)?;
                CompareWith::Source {
                    selection: Box::new(selection(args.selection, false).except_below(&root)),
                    root,
                    naming: args.naming.into(),
                    foreign_layers: args.foreign_layers,
                }
            }
            LockOrMirror::Lock(_) if !args.selection.image.is_empty() => {
                return Err(usage("images were given without --to").with_hint(
                    "verify checks the images in the lock; to check other images, pass --to REGISTRY/PATH",
                ));
            }
            LockOrMirror::Lock(path) => {
                let name = chart_name(&args.selection).map(|chart| chart.value);
                let version = args.selection.chart_version.clone();
                let options = chart_options(args.selection);
                CompareWith::Lock { path, chart: Box::new(LockedChart { name, version, options }) }
            }
        };
        Ok(Self { with, level: args.level, platforms: args.platforms.into(), login, registries })
    }

    /// The `sync` that repairs a mirror that was compared with its source; `None` if it was compared with a lock.
    pub(crate) fn sync_from_source(&self) -> Option<Sync> {
        // Without `..`: every new setting needs a decision whether the repair repeats it.
        let Self { with, level: _, platforms, login, registries } = self;
        let CompareWith::Source { selection, root, naming, foreign_layers } = with else { return None };
        Some(Sync {
            images: ImagesFrom::Selection(selection.clone()),
            lock: None,
            destination: Destination { root: root.clone(), naming: naming.clone(), login: login.clone() },
            registries: registries.clone(),
            platforms: platforms.clone(),
            foreign_layers: *foreign_layers,
            copy: CopySettings::default(),
        })
    }

    /// The `sync` that repairs one destination of the lock that the mirror was compared with; `None` without a lock.
    pub(crate) fn sync_from_lock(&self, lock: &Lock, placement: &Placement, root: &Root) -> Option<Sync> {
        let Self { with, level: _, platforms, login, registries } = self;
        let CompareWith::Lock { path, chart } = with else { return None };
        let mut waivers = platforms.waivers.clone();
        for image in &lock.images {
            waivers.extend(image.waived.iter().filter_map(|waived| Waiver::exact(&image.source, waived)));
        }
        // An image that failed before its digest was known cannot be copied by digest.
        let all_known = lock.images.iter().all(|image| image.digest.is_some());
        let (images, naming) = if all_known {
            let identity = lock.chart.as_ref().filter(|_| packaged_chart(placement).is_some());
            let packaged = identity.map(|identity| {
                let name = chart.name.clone().unwrap_or_else(|| identity.name.clone());
                Box::new(LockedChart { name: Some(name), ..(**chart).clone() })
            });
            (ImagesFrom::Lock { chart: packaged }, NamingRule::default())
        } else {
            let sources = lock.images.iter().map(|image| &image.source);
            let sources = sources.filter(|source| Some(*source) != packaged_chart(placement));
            let references = SelectedFrom::References(sources.map(ToString::to_string).collect());
            let naming =
                NamingRule { naming: Some(placement.naming), source_prefix: placement.source_prefix.clone() };
            (ImagesFrom::Selection(Box::new(Selection::all_of(references))), naming)
        };
        Some(Sync {
            images,
            lock: Some(path.clone()),
            destination: Destination { root: root.clone(), naming, login: login.clone() },
            registries: registries.clone(),
            platforms: Platforms { required: lock.platforms.clone(), waivers },
            // With --locked, the lock decides.
            foreign_layers: lock.foreign_layers && !all_known,
            copy: CopySettings::default(),
        })
    }
}

/// The chart of a lock that was packaged on this machine: a copy of it has to be packaged again.
fn packaged_chart(placement: &Placement) -> Option<&crate::oci::Reference> {
    placement.chart.as_ref().filter(|chart| is_local_chart(chart))
}

enum LockOrMirror {
    Lock(PathBuf),
    Mirror(String),
}

/// Flags win over the environment. In the environment, the lock's variable wins over that of `--to`.
fn lock_or_mirror(lock: Option<PathBuf>, to: Option<String>) -> LockOrMirror {
    let typed = to.map(LockOrMirror::Mirror).or_else(|| lock.map(LockOrMirror::Lock));
    typed
        .or_else(|| variable(names::LOCK).map(|path| LockOrMirror::Lock(path.value.into())))
        .or_else(|| variable(names::TO).map(|to| LockOrMirror::Mirror(to.value)))
        .unwrap_or_else(|| LockOrMirror::Lock(DEFAULT_LOCK.into()))
}
