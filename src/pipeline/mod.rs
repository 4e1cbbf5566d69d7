//! The steps for every image: resolve, plan, transfer, confirm; or only confirm. Jobs choose endpoints and options.

pub(crate) mod mirror;
pub(crate) mod several;
pub(crate) mod shared_tags;
mod signatures;
mod verify;

pub(crate) use self::verify::{AttachedAt, verify_against};
pub use self::{
    mirror::{Options, mirror},
    verify::{Expectation, Unknown, verify},
};
pub use crate::confirm::Level;
