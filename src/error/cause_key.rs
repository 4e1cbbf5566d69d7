//! The cause of a failure as a value, by which the report finds failures with the same cause.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::oci::Platform;

/// A side of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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

/// Where and why an endpoint failed, without the image, digest, upload and time that its texts name. Failures with an
/// equal key have one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CauseKey {
    /// The side of the copy.
    pub side: Side,
    /// The registry as the object's name has it, `HOST[:PORT]`; `None` for files.
    pub registry: Option<String>,
    /// Why; `None` if only the texts of the failure say it.
    pub fault: Option<Fault>,
}

/// What went wrong, for failures whose texts differ although their cause is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no such manifest.
    NoManifest,
    /// A manifest that an index references, possibly for this platform, does not exist.
    NoChild(Option<Box<Platform>>),
    /// A blob that a manifest references does not exist.
    NoBlob,
    /// A server answered with an error. Its own words may differ from request to request.
    Answered {
        /// The server, unless it is the registry.
        by: Option<String>,
        /// The HTTP status.
        status: u16,
        /// The error code, for example `MANIFEST_UNKNOWN`.
        code: Option<String>,
    },
    /// A server refused access.
    Denied {
        /// The registry or the token server.
        by: String,
        /// `pull`, `push`, …
        action: String,
        /// Where the credential came from; `None` without one.
        credential: Option<String>,
    },
}
