//! The steps for every image: resolve, plan, transfer, confirm; or only confirm. Jobs choose endpoints and options.

pub mod mirror;
pub mod verify;

pub use mirror::{Options, mirror};
pub use verify::{Expectation, verify};
