//! Remedies for problems, and their wording.

/// A remedy for a problem or a failure. Several problems often share the same remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Copy the image to the destination again.
    Sync,
    /// Copy it again and check every blob: without that, an existing manifest counts as complete.
    SyncCheckingBlobs,
    /// Delete it at the destination first: a registry does not replace a blob that it already has.
    DeleteThenSync,
    /// Delete the tag of cosign's older format at the destination first: it has entries that would be lost.
    DeleteTagThenSync,
    /// Copy the bundle again from where it was written.
    CopyBundleAgain,
    /// Name the missing volumes, or put them in the same folder.
    AddVolumes,
    /// Export the bundle again.
    ExportAgain,
    /// Run the same command again: it resumes.
    RunAgain,
    /// Free disk space, then run the same command again.
    FreeSpace,
    /// Run the same command again, or use another disk.
    TryAnotherDisk,
}

impl Remedy {
    /// The remedies of problems at a registry, the simplest first.
    pub const OF_MIRRORS: [Self; 4] =
        [Self::Sync, Self::SyncCheckingBlobs, Self::DeleteThenSync, Self::DeleteTagThenSync];

    /// The hint, in one line.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Sync => "sync again",
            Self::SyncCheckingBlobs => "sync again with --check blobs",
            Self::DeleteThenSync => "delete it in that registry, then sync again with --check blobs",
            Self::DeleteTagThenSync => {
                "delete that tag at the destination, sync again, then sign or attest there again"
            }
            Self::CopyBundleAgain => {
                "copy the bundle again from where it was written (first run `bundle verify` there)"
            }
            Self::AddVolumes => "name every volume, or put the missing volumes in the same folder",
            Self::ExportAgain => "export the bundle again without --keep-going, with access to the source",
            Self::RunAgain => "run the same command again: it resumes",
            Self::FreeSpace => "free disk space and run the same command again: it resumes",
            Self::TryAnotherDisk => {
                "the disk may be failing: run the same command again, or write to another disk"
            }
        }
    }

    /// The command line of the remedy, based on the `sync` command that copies the images again.
    #[must_use]
    pub(crate) fn command(self, sync: &str) -> String {
        match self {
            Self::SyncCheckingBlobs => format!("{sync} --check blobs"),
            Self::DeleteThenSync => format!(
                "delete it in that registry and run the registry's garbage collection, because a push does not\n    \
                 replace a blob that the registry has; then: {sync} --check blobs"
            ),
            Self::DeleteTagThenSync => {
                format!("delete that tag at the destination; then: {sync}; then sign or attest there again")
            }
            _ => sync.to_owned(),
        }
    }
}
