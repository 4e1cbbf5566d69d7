//! The steps for every image: resolve, plan, transfer, confirm; or only confirm. Jobs choose endpoints and options.

pub(crate) mod mirror;
mod verify;

pub use self::{
    mirror::{Options, mirror},
    verify::{Expectation, Unknown, verify},
};
pub use crate::confirm::Level;
