//! Mirrors the images of a Helm chart into a private registry and proves that every platform arrived.
//!
//! # Using the library
//!
//! The program is built on a small library: mirror a list of images between two [endpoints](endpoint), verify them,
//! read a bundle, run a registry. It prints nothing; [events](event) report progress.
//!
//! - Open registries with a [`Connector`](endpoint::registry::Connector) and bundles with
//!   [`Bundle::open`](endpoint::bundle::Bundle::open), or write another [`Source`](endpoint::Source) or
//!   [`Destination`](endpoint::Destination).
//! - Decide where each image goes: a [`Mapping`](oci::Mapping), by hand or from a [`Namer`](oci::Namer).
//! - [`pipeline::mirror()`] copies and confirms, [`pipeline::verify()`] only reads. Both return what happened to each image;
//!   no failure of one image stops the others.
//!
//! ```
//! use std::{future, sync::Arc};
//!
//! use thoras_mirror::{
//!     endpoint::registry::{
//!         Connector, NetworkSettings,
//!         auth::{Credentials, Environment},
//!     },
//!     event::Silent,
//!     oci::{Namer, Naming},
//!     pipeline::{self, Expectation, Level, Options},
//!     problem::Side,
//!     serve::{self, Server},
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Two registries to try it with: one serves a bundle, the other an empty folder.
//! let folder = tempfile::tempdir()?;
//! let mut addresses = Vec::new();
//! for path in ["testdata/lock-v1/bundle.tar".into(), folder.path().join("registry")] {
//!     let listen = ([127, 0, 0, 1], 0).into();
//!     let server = Server::bind(serve::Options { listen, ..serve::Options::new(path) }).await?;
//!     addresses.push(server.address());
//!     tokio::spawn(server.run(future::pending()));
//! }
//!
//! let events = Arc::new(Silent);
//! let connector = Connector::new(NetworkSettings::default(), events.clone());
//! let credentials = || Credentials::new(&Environment::of_process());
//! let source = Arc::new(connector.open(Side::Source, credentials()));
//! let destination = Arc::new(connector.open(Side::Destination, credentials()));
//!
//! let images = [format!("{}/app:1", addresses[0]).parse()?];
//! let namer = Namer::new(format!("{}/mirror", addresses[1]).parse()?, Naming::Last, None);
//! let mappings = namer.map_all(&images)?;
//! let options = Options { platforms: vec!["linux/amd64".parse()?], ..Options::default() };
//! let mirrored =
//!     pipeline::mirror(source, destination.clone(), mappings.clone(), options, events.clone()).await;
//! assert!(mirrored.iter().all(|image| image.outcome.is_confirmed()));
//!
//! // Some other day: is every byte still there?
//! let digests = mirrored.into_iter().filter_map(|image| image.outcome.digest);
//! let expected = mappings.into_iter().zip(digests).map(|(image, digest)| Expectation::new(image, digest));
//! let verified = pipeline::verify(destination, expected.collect(), Level::Bytes, events).await;
//! assert!(verified.iter().all(|outcome| outcome.problems.is_empty() && outcome.failure.is_none()));
//! # Ok(())
//! # }
//! ```
//!
//! The map below names the private modules of the program as well.
//!
//! # The map
//!
//! enumerate → resolve → plan → transfer → confirm → report. A module uses only modules below it; `tests/layering.rs`
//! reads this table and fails on any other edge.
//!
//! | module | what it does |
//! |---|---|
//! | [`internals`] | private items for the tests and fuzz targets of this repository |
//! | [`run`] | the program: starts the runtime, runs a job, presents its outcome; signals and exit codes |
//! | [`report`] | prints: one document, a renderer for each format, progress from events |
//! | [`jobs`] | a job for each command: takes a request and an event sink, returns a complete outcome, prints nothing |
//! | [`request`] | turns flags, environment and defaults into one typed value for each job |
//! | [`cli`] | the command line: clap types only |
//! | [`serve`] | a registry over a folder, a bundle or an OCI layout |
//! | [`pipeline`] | mirrors images from a source to a destination, and verifies them without a transfer |
//! | [`confirm`] | reads a destination and returns everything that is wrong |
//! | [`transfer`] | executes plans: orders blobs, shares them between images, copies one |
//! | [`plan`] | pure: compares a graph with what the destination has and returns steps |
//! | [`resolve`] | resolves a reference to a pinned digest and reads its graph |
//! | [`enumerate`] | finds the images of a chart, of rendered manifests or of a list, and why each is needed |
//! | [`endpoint`] | what holds images: the traits, [`endpoint::registry`], [`endpoint::bundle`] |
//! | [`lock`] | the record of a run |
//! | [`event`] | what happens while a job runs |
//! | [`outcome`] | what happened to each image |
//! | [`output`] | output formats and verbosity |
//! | [`quota`] | the quotas of registries: how many requests they allow, unless `--quota` says otherwise |
//! | [`units`] | sizes, counts and times for people |
//! | [`trust`] | decides whether the signatures of an image satisfy the user's policy: no requests |
//! | [`graph`] | what a manifest references, and what an image consists of |
//! | [`waiver`] | which image may lack which platform |
//! | [`problem`] | problems of an image or a bundle, and their remedies |
//! | [`signing`] | signatures of files, as cosign makes and checks them |
//! | [`atomic_file`] | writes a file completely or not at all |
//! | [`bounded_read`] | reads files that have a size limit |
//! | [`error`] | a failure as the user sees it, and its exit code |
//! | [`shard`] | divides images between several machines |
//! | [`oci`] | references, digests, platforms, media types, verified reading: no I/O |
//! | [`vendor`] | what is built in about the vendor: the default chart, its registry, its platforms |
//!
//! # The invariants
//!
//! Each has tests that fail when it breaks.
//!
//! 1. Manifests are pushed byte for byte as they were read, never serialized again. ([`oci::RawManifest`])
//! 2. Children are pushed before their parents, then signatures and other attachments, and the tag last, so
//!    no tag ever names an incomplete image, or comes before its signatures, even if the process is killed. ([`transfer`])
//! 3. Bytes that do not match their digest and size are never committed. They are hashed once, while streaming; the last
//!    piece is held back until the digest matches. ([`endpoint::body`])
//! 4. Credentials are sent only to the scheme, host and port they are configured for. Every redirect and every `Location`
//!    is checked again. ([`endpoint::registry::auth`])
//! 5. No log, error, lock, report or process list contains a secret, and control characters from outside are escaped. Only
//!    `pull-secret` prints one, because that is its purpose. ([`error::escape`], [`enumerate`])
//! 6. Jobs emit events; only [`report`] prints.
//! 7. Every requested image is confirmed or reported as a problem, and a problem means a nonzero exit code. ([`confirm`])
//! 8. Runs converge: a second run repairs what its check finds and transfers no blob that the destination has.
//! 9. Memory use depends neither on the size of blobs nor on what the images that are not in progress contain.
//!    ([`endpoint::body`], [`pipeline::mirror()`])
//! 10. Files are written completely or not at all. ([`lock`], [`endpoint::bundle`])
//!
//! # Where to change what
//!
//! | task | file |
//! |---|---|
//! | add a flag | the command's file in `cli/` (`cli/mod.rs` lists them), or `cli/shared.rs` for several commands; then its type in `request/` |
//! | change the built-in chart, vendor registry or platforms | `vendor.rs`; what the values of its chart mean: `jobs/values/facts.rs` |
//! | change the default of a flag | its `default_value` in `cli/`; of `--jobs` `pipeline/mirror.rs`, of `--retries` `endpoint/retry.rs`, of timeouts `endpoint/registry/limits.rs` |
//! | refuse a flag that has no effect together with another | `request/ineffective.rs` |
//! | say which environment variable decided a setting | `request/origins.rs` |
//! | repeat a flag in the printed repair command | `request/repair_command.rs`; it does not compile until a new setting is handled |
//! | find images in one more field or resource | `enumerate/manifests/`: `objects.rs` knows the shapes, `keys.rs` what a key means, `installers.rs` what installs charts and operators |
//! | report something that is not mirrored | a `Note`, from the file that sees it; `enumerate/note.rs` words it |
//! | change which image belongs to which machine | `shard/assign.rs`; what it knows about sizes: `jobs/sharding/contents.rs` |
//! | read the number of a machine from one more engine | `ENGINES` in `request/shard.rs` |
//! | change the artifact that holds a shard's lock | `jobs/sharding/artifact.rs`; how locks are joined: `lock/shards.rs` |
//! | change the names at the destination | `oci/mapping.rs` for the rules, `jobs/names.rs` for what a lock or an optional image decides |
//! | add a kind of problem | `problem/mod.rs`: the variant, its message, remedy and exit code; `confirm.rs` finds those of a destination |
//! | follow one more kind of reference | `graph/successors.rs` names it, `resolve.rs` reads it |
//! | recognize one more kind of signature or SBOM | `oci/attachment_kind.rs`; what is followed and when: `resolve/attached.rs` |
//! | accept one more kind of signature, or explain why one is rejected | `trust/sigstore/` for the formats, `trust/rejection.rs` for the words |
//! | change how the program notation is run, or what it gets | `jobs/notation.rs`; its trust policy: `trust/notation.rs` |
//! | add a kind of file to `bundle export --trust` | `trust/files.rs`; how a bundle holds it: `endpoint/bundle/trust.rs` |
//! | change how signatures and other referrers are found or recorded in a registry | `endpoint/registry/referrers/`; whether a registry has the API: `endpoint/registry/referrers_support.rs` |
//! | change which referrers are pushed, or in which order | `plan.rs` says which, `transfer/attached.rs` in which order |
//! | say what a file is that is not a bundle | `endpoint/bundle/other_kinds.rs`; that is not a tar archive: `endpoint/bundle/header.rs` |
//! | change what is retried | `endpoint/registry/retry.rs`; how often and after which pause: `endpoint/retry.rs` |
//! | say which failures have one cause and are reported once | `fault` of the endpoint's error for `error/cause_key.rs`; texts are compared in `report/same_cause.rs` |
//! | explain one more error of a registry | `endpoint/registry/error.rs` for the message, `endpoint_error.rs` in the same folder for the hint, `endpoint/cause.rs` for those that bundles share |
//! | handle a quirk of one registry | `endpoint/registry/capabilities.rs` for what one answer says about all later requests, `endpoint/registry/message_text.rs` if only a text tells |
//! | refuse or skip an image for one more reason | `pipeline/mirror/resolve.rs`, before anything of it is copied |
//! | add an exit code | `Kind` and `exit` in `error.rs`; each error type decides its kind: `endpoint/registry/refusal.rs` for answers of registries |
//! | change how many images are in progress, or which comes first | `pipeline/mirror/window.rs`, `transfer/queue.rs` |
//! | change what several destinations share, or when one is left behind | `endpoint/shared_source/`, `endpoint/shared_source/reads/room.rs` for the latter; from standard input: `transfer/fan_out.rs` |
//! | add the quota of a registry | `QUOTAS` in `quota.rs`: a dry run counts it, a run keeps to it, and `--quota` knows its name |
//! | change what `--quota` accepts, or when it has no effect | `quota/change.rs` |
//! | change how a run adapts to a registry that throttles an action | `endpoint/registry/throttle.rs` |
//! | limit bytes per second | `endpoint/registry/rate.rs` |
//! | change a timeout or another limit | `endpoint/registry/limits.rs`; for the size of manifests `oci/manifest.rs`, for the number of manifests in an image `resolve.rs` |
//! | change when a blob is uploaded in chunks, or their size | `endpoint/registry/capabilities.rs`; how they are sent: `endpoint/registry/upload/chunks.rs` |
//! | change when several connections read one blob | `endpoint/registry/download/width.rs` for the rule; in the same folder `part_size.rs` for the size of the parts, `parts.rs` for the parts |
//! | change how many requests run at once | `endpoint/registry/limits.rs` for the numbers, `endpoint/registry/pace.rs` for the rule |
//! | look for credentials in one more place | `endpoint/registry/auth/environment.rs`; which of several wins: `credentials.rs` in the same folder |
//! | change what `login` stores | `endpoint/registry/auth/login_file.rs` |
//! | add a kind of endpoint | the traits in `endpoint/mod.rs`; the job opens it (`jobs/sync/mod.rs`, for example), registries through `request/access.rs` |
//! | record one more field for an image | `lock/model.rs`, and its schema `lock/schema.v2.json` |
//! | change the lock's format | `lock/parse.rs` reads every version; `lock/v1.rs` is an example of an old one |
//! | add a table column | `report/terminal/run.rs` for `sync`, `verify` and `bundle`; each other command has its file in `report/terminal/` |
//! | add a field to the JSON | `outcome/image.rs` for an image, `outcome.rs` for a run, `report/document.rs` for what follows from them |
//! | add an output format | the table in `report/mod.rs` |
//! | add a format to `redirect` | a variant of `output::RedirectFormat`, a file in `jobs/redirect/` |
//! | add a check to `doctor` | a variant of `DoctorCheck` in `jobs/doctor/mod.rs`, run in `jobs/doctor/job.rs` |
//! | teach `values` a fact about a chart | `jobs/values/facts.rs`; it finds everything else by rendering |
//! | change progress, or the lines on standard error (`--log-format`) | `report/progress/` for what is said, `report/log.rs` for how it is written |
//! | simulate a registry as it is, or one more quirk of it | its profile in `tests/integration/registries/` |
//! | test a registry that misbehaves | `tests/integration/faults/`, with the registry of `tests/integration/support/scripted/`; `tests/integration/core/` for the pipeline alone |
//! | change an answer of `serve` | `serve/routes.rs` and `serve/service.rs` choose; `blobs`, `manifests`, `uploads`, `discovery` answer |
//!
//! # Architecture
//!
//! - The planner decides which image copies a shared blob before any transfer. The other images wait for it through the
//!   claims in [`transfer`]; if the copy fails, one of them takes over.
//! - [`confirm::survey`] reads a destination for three purposes: it tells `sync` what is there, confirms what was pushed,
//!   and does all of `verify`. Manifests that it has read are not read from the source again.
//! - [Attachments](graph::Attached) of an image are requested as soon as a digest is known, while the image is read. The
//!   destination is asked only about manifests that have attachments.
//! - Several destinations have a pipeline each, which run concurrently ([`pipeline`]). They share one source
//!   ([`endpoint::shared_source`]): it reads each manifest and each blob once, buffers at most 8 MiB for a
//!   destination that falls behind, and never waits long for one.
//! - The pipeline that fills a mirror also writes bundles, in two passes: the first, against [`endpoint::empty`], learns
//!   every size; the second copies the blobs, and takes the manifests from the first ([`endpoint::pinned`]).

mod atomic_file;
mod bounded_read;
mod cli;
#[cfg(test)]
mod committed_schema;
mod confirm;
pub mod endpoint;
mod enumerate;
pub mod error;
pub mod event;
pub mod graph;
#[doc(hidden)]
pub mod internals;
mod jobs;
pub mod lock;
pub mod oci;
pub mod outcome;
mod output;
pub mod pipeline;
mod plan;
pub mod problem;
mod quota;
mod report;
mod request;
mod resolve;
mod run;
pub mod serve;
mod shard;
mod signing;
mod transfer;
mod trust;
mod units;
mod vendor;
pub mod waiver;

#[doc(hidden)]
pub use self::run::main;
