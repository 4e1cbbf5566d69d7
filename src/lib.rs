//! Mirrors the images of a Helm chart into a private registry and proves that every platform arrived.
//!
//! # The map
//!
//! A run passes through the modules in this order, and each knows only those below it:
//!
//! | what is done | where |
//! |---|---|
//! | what was typed, and what it means | [`cli`], [`request`] |
//! | one small file for each command | [`jobs`] |
//! | which images does the chart need, and why each | [`enumerate`] |
//! | the journey of every image | [`pipeline`] |
//! | a reference becomes a graph of manifests and blobs | [`resolve`] |
//! | graph and destination become steps | [`plan`] |
//! | the steps are done | [`transfer`] |
//! | the destination is read again | [`confirm`], with what can be wrong in [`problem`] |
//! | what happened is shown, and recorded | [`event`], [`outcome`], [`report`], [`lock`] |
//! | what would go wrong, found out before | [`jobs::doctor`] |
//! | places that hold images | [`endpoint`]: [`endpoint::registry`] and [`endpoint::bundle`] |
//! | a registry of our own | [`serve`] |
//! | the vocabulary, without I/O | [`oci`] |
//! | what a person sees when something failed | [`error`] |
//!
//! # The invariants
//!
//! Each has tests that fail when it breaks.
//!
//! 1. Manifest bytes are never re-serialized: what was read is what is pushed. ([`oci::RawManifest`])
//! 2. Children before parents, the tag last: no tag ever names an incomplete graph, whenever the run dies.
//!    ([`transfer`])
//! 3. Bytes that do not match their digest and size are never committed: they are hashed once, while
//!    streaming, and the last piece is held back until the digest matches. ([`endpoint::body`])
//! 4. Credentials go only to the scheme, host and port they are configured for, judged anew at every
//!    redirect and `Location`. ([`endpoint::registry::auth`])
//! 5. No secret appears in a log, an error, a lock, a report or a process list, and control characters from
//!    outside are escaped. ([`error::escape`], [`enumerate`])
//! 6. Work emits events; only [`report`] prints.
//! 7. Everything asked for is confirmed, or named as a problem with an exit code other than zero.
//!    ([`confirm`])
//! 8. A second run converges: it repairs what its check sees and moves no blob that is there.
//! 9. Memory does not grow with the size of blobs. ([`endpoint::body`])
//! 10. Files appear whole or not at all. ([`lock`], [`endpoint::bundle::Writer`])
//!
//! # ARCHITECTURE
//!
//! - The planner elects which image brings a shared blob before anything moves; the claims in [`transfer`]
//!   make the others wait for it, and pass to one of them when it fails.
//! - [`confirm::survey`] serves three purposes: it tells `sync` what is there, confirms what was pushed, and
//!   is all that `verify` does. Whatever it has read is not read again from the source.
//! - A bundle is written by the same pipeline as a mirror, twice: once against [`endpoint::empty`], to learn every size,
//!   and once for the blobs, from a source whose manifests are known ([`endpoint::pinned`]).

pub mod cli;
pub mod confirm;
pub mod endpoint;
pub mod enumerate;
pub mod error;
pub mod event;
pub mod graph;
pub mod jobs;
pub mod lock;
pub mod oci;
pub mod outcome;
pub mod pipeline;
pub mod plan;
pub mod problem;
pub mod report;
pub mod request;
pub mod resolve;
pub mod serve;
pub mod transfer;
pub mod waiver;
