//! What is done with every image: resolve, plan, transfer, confirm; or the same without the transfer. Jobs only choose
//! endpoints and options.

pub mod mirror;
pub mod verify;

pub use mirror::{Options, mirror};
pub use verify::{Expectation, verify};
