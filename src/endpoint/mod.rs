//! Places that hold images. A copy reads from a [`Source`] and writes to a [`Destination`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where images come from.
    Source,
    /// Where images go.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}
