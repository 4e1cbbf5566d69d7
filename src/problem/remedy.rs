//! What helps against a problem, and how that is said.

/// What helps against a problem or a failure. Several problems often share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Copy the image to the destination again.
    Sync,
    /// Copy it again and look for every blob: without that, a manifest that is there stands for its blobs.
    SyncCheckingBlobs,
    /// Delete it at the destination first: a registry keeps a blob that it seems to have.
    DeleteThenSync,
    /// Copy the bundle again from where it was written.
    CopyBundleAgain,
    /// Name the missing volumes, or put them beside the others.
    AddVolumes,
    /// Export the bundle again.
    ExportAgain,
    /// Run the same command again: it resumes.
    RunAgain,
    /// Make room on the disk, then run the same command again.
    FreeSpace,
    /// Run the same command again, or use another disk.
    TryAnotherDisk,
}

impl Remedy {
    /// The remedies of problems at a registry, the simplest first.
    pub const OF_MIRRORS: [Self; 3] = [Self::Sync, Self::SyncCheckingBlobs, Self::DeleteThenSync];

    /// What to do, in one line.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Sync => "sync it again",
            Self::SyncCheckingBlobs => "sync it again with --check blobs",
            Self::DeleteThenSync => "delete it in that registry, then sync it again with --check blobs",
            Self::CopyBundleAgain => {
                "copy the bundle again from where it was written (`bundle verify` there shows whether it is intact)"
            }
            Self::AddVolumes => "name every volume, or put the missing ones beside the others",
            Self::ExportAgain => "export it again, without --keep-going, where its source can be read",
            Self::RunAgain => "run the same command again: it resumes",
            Self::FreeSpace => "free disk space and run the same command again: it resumes",
            Self::TryAnotherDisk => {
                "the disk may be failing: run the same command again, or write to another disk"
            }
        }
    }

    /// The command line that applies it, made from the `sync` command that brings the images again.
    #[must_use]
    pub(crate) fn command(self, sync: &str) -> String {
        match self {
            Self::SyncCheckingBlobs => format!("{sync} --check blobs"),
            Self::DeleteThenSync => format!(
                "delete it in that registry and run the registry's garbage collection, because a registry\n    \
                 keeps blobs that it seems to have; then: {sync} --check blobs"
            ),
            _ => sync.to_owned(),
        }
    }
}
