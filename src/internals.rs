//! Private items that this repository's own tests and fuzz targets use. They may change or disappear in any release.

#![allow(missing_docs, reason = "everything is documented where it is defined")]

pub use crate::cli::command;

pub mod bundle {
    use std::path::Path;

    use crate::endpoint::bundle::{Bundle, BundleError};
    pub use crate::endpoint::bundle::{
        draft::Draft,
        incoming::Incoming,
        index::write as write_index,
        layout::Layout,
        slices::{Extent, Slices},
        volumes::{Volume, VolumeSet},
    };

    pub fn open_slices(slices: Slices, path: &Path) -> Result<Bundle, BundleError> {
        Bundle::from_slices(slices, path, None)
    }

    #[must_use]
    pub fn layout(bundle: &Bundle) -> Option<&Layout> {
        bundle.layout()
    }
}

pub mod confirm {
    pub use crate::confirm::{Coverage, Expected, problems_of, survey};
}

pub mod enumerate {
    pub use crate::enumerate::{
        ChartOptions, Confidence, EnumerateError, Enumeration, ErrorKind, Input, SelectedFrom, Selection,
        enumerate,
    };
}

pub mod fuzzing {
    pub use crate::{
        endpoint::registry::fuzzing::{content_range, location, refusal, retry_after},
        enumerate::fuzzing::rendered,
        serve::fuzzing::{chunk, range, repository},
    };
}

pub mod jobs {
    pub use crate::jobs::bundle_verify::{Required, check};
}

pub mod plan {
    pub use crate::plan::{Action, Plan, Planner, Presence};
}

pub mod registry {
    pub use crate::endpoint::registry::{
        auth::{
            authfile::parse as parse_authfile,
            challenge::{Challenge, parse as parse_challenges},
            realm::check as check_realm,
        },
        network::Network,
    };
}

pub mod resolve {
    pub use crate::resolve::{resolve, survey};
}

pub mod trust {
    pub use crate::trust::{
        Attached, Identity, Keys, Matcher, Policy, Reason, Rejection, Requirement, Rule, Signer,
        UnlistedImages, Verdict, Verifier, signature_layers,
    };
}
