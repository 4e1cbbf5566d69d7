//! Who we are to a registry: credentials on disk, the vendor's license, challenges and tokens.
//!
//! In the order in which a request meets them:
//!
//! - [`origin`]: scheme, host and port, the unit of trust;
//! - [`authenticator`]: one for each side; answers what registries ask for. Everything else serves it:
//! - [`challenge`]: what a 401 asks for; [`realm`]: whether the token server it names may be asked;
//! - [`credentials`]: which credential, if any, is for a repository, and where it came from;
//!   [`license`], [`authfile`], [`docker_config`], [`config_key`] and [`helper`] are its sources;
//! - [`token`]: asking the token server; `token_cache`: asking it once.
//!
//! A credential leaves this module only as a header for an origin it is configured for (invariant 4), and
//! never in words (invariant 5).

pub mod authenticator;
pub mod authfile;
pub mod challenge;
pub mod config_key;
pub mod credential;
pub mod credentials;
pub mod docker_config;
pub mod error;
mod exchange;
pub mod helper;
pub mod license;
pub mod origin;
pub mod realm;
pub mod token;
mod token_cache;

#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

pub use authenticator::{Access, Authenticator, Clients, Scope};
pub use credential::{Credential, CredentialError, Found, Provenance};
pub use credentials::{Credentials, Environment};
pub use error::{AuthError, Denial};
pub use license::License;
pub use origin::{Origin, Reach, Scheme};
