//! What is done with every image: resolve, plan, transfer, confirm; or the same without the transfer. Commands only choose
//! endpoints and options.

mod blocking;
pub mod export;
mod export_events;
pub mod mirror;
pub mod verify;

pub use export::{Exported, Exporter, Record, Written};
pub use mirror::{Options, mirror};
pub use verify::{Expectation, verify};
