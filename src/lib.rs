//! Mirrors the images of a Helm chart into a private registry and proves that every platform arrived.
//!
//! The modules, in the order in which a run passes through them:
//!
//! - [`enumerate`]: which images does the chart need, and why each;
//! - [`oci`]: the vocabulary, without I/O.
//!
//! Beside the flow stands [`serve`], a registry over a folder.

pub mod enumerate;
pub mod oci;
pub mod serve;
