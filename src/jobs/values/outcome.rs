//! The result of `values`.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    super::write_file::{Readers, write_file},
    path::ValuePath,
    proof::InstalledImage,
    yaml::{self, Comments},
};
use crate::{
    enumerate::WrittenUse,
    error::Failure,
    oci::{ChartIdentity, mapping::Root},
    request::Values,
};

/// Replaces a password everywhere but in the file.
pub(super) const HIDDEN: &str = "***";

/// Values, what each is for, and the images that the chart pulls with them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValuesOutcome {
    /// The chart.
    pub(crate) chart: ChartIdentity,
    /// `REGISTRY[/PATH]`; absent for an install from the vendor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<String>,
    /// The values. A password is shown as `***`; only the file of `--write` contains it.
    pub(crate) values: Map<String, Value>,
    /// Notes about single values, by path.
    pub(crate) comments: Comments,
    /// Notes about all values.
    pub(crate) notes: Vec<String>,
    /// The images with these values; empty for an install from the vendor.
    pub(crate) images: Vec<InstalledImage>,
    /// What is wrong.
    pub(crate) failures: Vec<Failure>,
    /// The file that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written: Option<PathBuf>,
    /// The passwords among the values.
    #[serde(skip)]
    pub(super) passwords: Vec<(ValuePath, SecretString)>,
    /// With `--pin`: the places that no value pins.
    #[serde(skip)]
    pub(super) unpinned: Vec<WrittenUse>,
    /// Whether there was a lock to compare with.
    #[serde(skip)]
    pub(super) has_lock: bool,
}

impl PartialEq for ValuesOutcome {
    /// Compares what is shown.
    fn eq(&self, other: &Self) -> bool {
        let shown = |outcome: &Self| serde_json::to_value(outcome).ok();
        shown(self) == shown(other)
    }
}

impl ValuesOutcome {
    pub(crate) fn new(chart: ChartIdentity, root: Option<&Root>) -> Self {
        Self {
            chart,
            destination: root.map(ToString::to_string),
            values: Map::new(),
            comments: Comments::new(),
            notes: Vec::new(),
            images: Vec::new(),
            failures: Vec::new(),
            written: None,
            passwords: Vec::new(),
            unpinned: Vec::new(),
            has_lock: false,
        }
    }

    /// The values file, passwords hidden.
    pub(crate) fn yaml(&self) -> String {
        yaml::write(&self.notes, &self.values, &self.comments)
    }

    pub(super) fn comment(&mut self, path: &ValuePath, line: impl Into<String>) {
        self.comments.entry(path.to_string()).or_default().push(line.into());
    }

    pub(super) fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// Writes the file, if one was asked for.
    pub(super) fn write(&mut self, request: &Values) -> Result<(), Failure> {
        let Some(path) = &request.write else { return Ok(()) };
        let mut values = self.values.clone();
        for (path, password) in &self.passwords {
            path.set(&mut values, &Map::new(), password.expose_secret().into());
        }
        let text = yaml::write(&self.notes, &values, &self.comments);
        let readers = if self.passwords.is_empty() { Readers::Everyone } else { Readers::Owner };
        write_file(path, text.as_bytes(), readers, request.force)?;
        self.written = Some(path.clone());
        Ok(())
    }
}
