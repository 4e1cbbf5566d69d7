//! The jobs: each takes a typed request and an event sink, and returns one complete outcome. Nothing here prints.
//!
//! | job | file |
//! |---|---|
//! | `images`, `inspect`, `sync`, `verify`, `serve` | the file of that name |
//! | `doctor` | [`doctor`] |
//! | `values` | [`values`] |
//! | `bundle export`, `bundle import` | [`export`], [`import`] |
//! | `bundle verify`, `bundle inspect` | [`bundle_verify`], [`bundle_inspect`] |
//!
//! [`record`] ends the jobs that copy images: it writes the lock and completes the outcome. [`open_bundle`] opens bundles.

pub(crate) mod bundle_inspect;
pub(crate) mod bundle_verify;
pub(crate) mod doctor;
pub(crate) mod export;
mod first_images;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod inspect;
mod open_bundle;
mod record;
pub(crate) mod serve;
pub(crate) mod sync;
pub(crate) mod values;
pub(crate) mod verify;
