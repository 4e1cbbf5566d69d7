//! Mirrors the images of a Helm chart into a private registry and proves that every platform arrived.
//!
//! The modules, in the order in which a run passes through them:
//!
//! - [`enumerate`]: which images does the chart need, and why each;
//! - [`oci`]: the vocabulary, without I/O.

pub mod confirm;
pub mod endpoint;
pub mod enumerate;
pub mod error;
pub mod event;
pub mod oci;
pub mod outcome;
pub mod pipeline;
pub mod plan;
pub mod problem;
pub mod report;
pub mod resolve;
pub mod serve;
pub mod transfer;
pub mod waiver;
