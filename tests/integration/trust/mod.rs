//! Signatures are accepted and rejected as by cosign, which judges the same images.

mod judge;
mod keyless;
mod keys;
mod mirrored;
mod policies;
mod syncing;
