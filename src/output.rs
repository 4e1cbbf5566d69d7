//! What users choose about output: its format and how much progress is shown.
//!
//! These types carry a choice from the command line to [`crate::report`], so they are below both.

/// `--output`: the format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table.
    Table,
    /// One JSON document.
    Json,
    /// One name per line, for the next program in a pipe. Only `images` offers it.
    #[value(skip)]
    List,
}

/// `images --output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ImagesOutput {
    /// One reference a line, sorted.
    List,
    /// A table.
    Table,
    /// One JSON document.
    Json,
}

impl From<ImagesOutput> for Format {
    fn from(output: ImagesOutput) -> Self {
        match output {
            ImagesOutput::List => Self::List,
            ImagesOutput::Table => Self::Table,
            ImagesOutput::Json => Self::Json,
        }
    }
}

/// How much is written to standard error during a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: warnings and errors.
    Quiet,
    /// Progress, and the result of every image.
    #[default]
    Normal,
    /// `-v`: also every blob, every retry and every detail.
    Verbose,
}
