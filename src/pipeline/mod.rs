//! What is done with every image: resolve, plan, transfer, confirm; or the same without the transfer. Jobs only choose
//! endpoints and options.

pub(crate) mod mirror;
mod verify;

pub use self::{
    mirror::{Options, mirror},
    verify::{Expectation, Unknown, verify},
};
pub use crate::confirm::Level;
