//! How images are copied: which platforms they must have, which attachments are copied, and what is checked.

use super::{RequiredSignatures, usage};
use crate::{
    cli::{CopyArgs, PlatformArgs, ReferrerArgs},
    confirm::CheckLevel,
    error::{Failure, escape},
    graph::{ForeignLayers, ReferrerSelection, Referrers},
    oci::Platform,
    pipeline::Options,
    vendor,
    waiver::{Waiver, Waivers},
};

/// Which platforms every image must have.
#[derive(Debug, Clone)]
pub(crate) struct Platforms {
    pub(crate) required: Vec<Platform>,
    pub(crate) waivers: Vec<Waiver>,
}

impl From<PlatformArgs> for Platforms {
    fn from(PlatformArgs { platform, allow_missing_platform }: PlatformArgs) -> Self {
        Self { required: platform, waivers: allow_missing_platform }
    }
}

impl Platforms {
    /// The default platforms.
    pub(crate) fn default_required() -> Vec<Platform> {
        vendor::PLATFORMS.iter().filter_map(|platform| platform.parse().ok()).collect()
    }

    /// The waivers: which images may lack which platforms.
    pub(crate) fn waivers(&self) -> Waivers {
        Waivers::new(self.waivers.clone())
    }
}

/// Which signatures, attestations and SBOMs: as typed, and what that means.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReferrerSettings {
    pub(crate) referrers: Referrers,
    /// Globs on artifact types.
    pub(crate) types: Vec<String>,
    pub(crate) selection: ReferrerSelection,
}

impl ReferrerSettings {
    pub(super) fn new(ReferrerArgs { referrers, referrer_type }: ReferrerArgs) -> Result<Self, Failure> {
        let selection = ReferrerSelection::new(referrers, &referrer_type).map_err(|error| {
            let pattern = error.glob().unwrap_or_default();
            usage(format!("--referrer-type: `{}` is not a glob: {}", escape(pattern), error.kind()))
                .with_hint("`*` matches any text: --referrer-type '*spdx*'")
        })?;
        Ok(Self { referrers, types: referrer_type, selection })
    }
}

/// How images are copied.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate setting")]
pub(crate) struct CopySettings {
    /// What is checked at the destination, before and after copying.
    pub(crate) check: CheckLevel,
    /// Which attachments of the images are copied.
    pub(crate) referrers: ReferrerSettings,
    /// Whether a tag that points to another digest may be moved.
    pub(crate) overwrite: bool,
    /// Plan without copying.
    pub(crate) dry_run: bool,
    /// How many blobs are copied at once, if set.
    pub(crate) jobs: Option<u16>,
    /// Start no more images after the first failure.
    pub(crate) fail_fast: bool,
    /// Fail optional images that the source does not provide.
    pub(crate) strict: bool,
    /// Whose signatures images need at the source.
    pub(crate) signatures: RequiredSignatures,
}

impl CopySettings {
    /// The flags that `sync` and `bundle import` share.
    pub(super) fn new(args: CopyArgs, referrers: ReferrerArgs) -> Result<Self, Failure> {
        let CopyArgs { check, no_overwrite, jobs, fail_fast } = args;
        let referrers = ReferrerSettings::new(referrers)?;
        Ok(Self { check, referrers, overwrite: !no_overwrite, jobs, fail_fast, ..Self::default() })
    }
}

impl Default for CopySettings {
    fn default() -> Self {
        Self {
            check: CheckLevel::Manifests,
            referrers: ReferrerSettings::default(),
            overwrite: true,
            dry_run: false,
            jobs: None,
            fail_fast: false,
            strict: false,
            signatures: RequiredSignatures::None,
        }
    }
}

impl CopySettings {
    /// These settings as the pipeline takes them.
    pub(crate) fn options(
        &self,
        platforms: Vec<Platform>,
        waivers: Waivers,
        foreign_layers: ForeignLayers,
    ) -> Options {
        Options {
            platforms,
            waivers,
            check: self.check.level(),
            foreign_layers,
            referrers: self.referrers.selection.clone(),
            overwrite: self.overwrite,
            dry_run: self.dry_run,
            jobs: self.jobs.map_or(Options::default().jobs, usize::from),
            fail_fast: self.fail_fast,
            strict: self.strict,
            ..Options::default()
        }
    }
}
