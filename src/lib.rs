//! Mirrors the images of a Helm chart into a private registry and proves that every platform arrived.
//!
//! # The map
//!
//! enumerate → resolve → plan → transfer → confirm → report. A module uses only modules below it; `tests/layering.rs` reads this
//! table and fails on any other edge.
//!
//! | module | what it does |
//! |---|---|
//! | [`run`] | starts the runtime, runs a job, presents its outcome; signals and exit codes |
//! | [`report`] | prints: one document, one renderer for each format; progress from events |
//! | [`jobs`] | one job for each command: a request and an event sink in, a complete outcome out; prints nothing |
//! | [`request`] | what was typed means: flags, environment and defaults become one typed value for each job |
//! | [`cli`] | what can be typed: clap types only |
//! | [`serve`] | a registry over a folder, a bundle or an OCI layout |
//! | [`pipeline`] | takes images from a source to a destination, all at once; the same without the transfer |
//! | [`confirm`] | reads a destination and returns everything that is wrong |
//! | [`transfer`] | executes plans: which blob next, who waits for it, one blob's transfer |
//! | [`plan`] | pure: a graph and what the destination has become steps |
//! | [`resolve`] | a reference becomes a pinned digest and a graph |
//! | [`enumerate`] | which images a chart, rendered manifests or a list name, and why |
//! | [`endpoint`] | what holds images: the traits, [`endpoint::registry`], [`endpoint::bundle`] |
//! | [`lock`] | the record of a run |
//! | [`event`] | what happens while the work is done |
//! | [`outcome`] | how each image ended |
//! | [`output`] | how output is requested |
//! | [`units`] | sizes, counts and times as people read them |
//! | [`graph`] | what a manifest references, and what an image is made of |
//! | [`waiver`] | which image may lack which platform |
//! | [`problem`] | what can be wrong, and where |
//! | [`error`] | a failure as a person sees it, and its exit code |
//! | [`oci`] | references, digests, platforms, media types, verified reading: no I/O |
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
//! # Where to change what
//!
//! | task | file |
//! |---|---|
//! | add a flag | `cli/` (`commands`, `bundle`, or `shared` and `registries` for several commands), then its type in `request/` |
//! | repeat a flag in the printed repair command | `request/repair_command.rs`; it does not compile until a new setting is handled |
//! | find images in one more field or resource | `enumerate/manifests/`: `fields.rs` knows the shapes |
//! | follow one more kind of reference, such as referrers | `graph/successors.rs` names it, `resolve.rs` reads it |
//! | change what is retried | `endpoint/registry/retry.rs`; how often and after which pause: `endpoint/retry.rs` |
//! | change how many requests run at once | `endpoint/registry/limits.rs` for the numbers, `pace.rs` for the rule |
//! | look for credentials in one more place | `endpoint/registry/auth/credentials.rs` |
//! | add a kind of endpoint | the traits in `endpoint/mod.rs`; `request/access.rs` opens it for a job |
//! | record one more field for an image | `lock/model.rs`, and its schema |
//! | add a table column, a JSON field or a format | the table in `report/mod.rs` |
//! | add a check to `doctor` | a variant of `Check` in `jobs/doctor/mod.rs`, run in `jobs/doctor/job.rs` |
//! | change an answer of `serve` | `serve/routes.rs` and `serve/service.rs` choose; `blobs`, `manifests`, `uploads`, `discovery` answer |
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
#[cfg(test)]
mod committed_schema;
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
pub mod output;
pub mod pipeline;
pub mod plan;
pub mod problem;
pub(crate) mod report;
mod request;
pub mod resolve;
pub mod run;
pub mod serve;
pub mod transfer;
pub mod units;
pub mod waiver;
