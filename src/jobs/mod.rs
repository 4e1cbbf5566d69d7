//! The jobs: each takes a typed request and an event sink, and returns one complete outcome. Nothing here prints.
//!
//! | job | file |
//! |---|---|
//! | `images`, `inspect`, `sync`, `verify`, `serve` | the module of that name |
//! | `login`, `logout` | [`login`] |
//! | `doctor` | [`doctor`] |
//! | `values` | [`values`] |
//! | `lock merge` | [`lock_merge`] |
//! | `pull-secret`, `redirect`, `running` | [`pull_secret`], [`redirect`], [`running`] |
//! | `bundle export`, `bundle import` | [`export`], [`import`] |
//! | `bundle verify`, `bundle inspect` | [`bundle_verify`], [`bundle_inspect`] |
//!
//! The jobs that copy images share four steps: [`names`] gives each image its name at the destination, [`own_source`]
//! refuses a copy onto itself, [`first_images`] decides for which image progress counts a shared blob, and [`record`]
//! writes the lock and completes the outcome. [`open_bundle`] opens bundles for the jobs that read one. [`locked_names`]
//! reads from a lock what the mirror calls each image, and [`sharding`] divides a `sync` between machines. [`write_file`]
//! writes results to files, [`file_comments`] the comments in them, and [`signing`] signs them.

pub(crate) mod bundle_inspect;
pub(crate) mod bundle_verify;
pub(crate) mod doctor;
pub(crate) mod export;
mod file_comments;
mod first_images;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod lock_merge;
mod locked_digests;
mod locked_names;
pub(crate) mod login;
mod names;
mod notation;
mod open_bundle;
mod own_source;
pub(crate) mod pull_secret;
mod receipt;
mod record;
pub(crate) mod redirect;
pub(crate) mod running;
pub(crate) mod serve;
mod sharding;
mod signing;
pub(crate) mod sync;
mod trust_files;
pub(crate) mod values;
pub(crate) mod verify;
mod write_file;
