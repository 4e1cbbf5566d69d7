//! Authentication to registries: credentials on disk, the vendor's license, challenges and tokens.
//!
//! In the order in which a request uses them:
//!
//! - [`origin`]: scheme, host and port, the unit of trust;
//! - [`authenticator`]: one for each side; answers challenges. The rest serves it:
//! - [`challenge`]: parses a 401; [`realm`]: decides whether its token server is trusted;
//! - [`credentials`]: finds the credential for a repository and its provenance; [`license`], [`authfile`],
//!   [`docker_config`], [`config_key`] and [`helper`] are its sources;
//! - [`token`]: requests a token; `token_cache`: requests it once.
//!
//! A credential leaves this module only as a header for the origin it is configured for (invariant 4) and never appears
//! in text (invariant 5).

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
