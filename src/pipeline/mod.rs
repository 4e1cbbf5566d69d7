//! The journey of every image: resolve, plan, transfer, confirm; and the same without the transfer.
//! Commands only choose endpoints and options.

pub mod export;
pub mod mirror;
mod telling;
pub mod verify;
mod waiting;

pub use export::{Exported, Exporter, Record, Written};
pub use mirror::{Options, mirror};
pub use verify::{Expectation, verify};
