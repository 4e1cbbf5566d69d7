//! Signatures are accepted and rejected as by cosign, which judges the same images.

mod in_bundles;
mod judge;
mod keyless;
mod keys;
mod mirrored;
mod notation;
mod policies;
mod syncing;
