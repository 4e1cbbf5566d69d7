//! Authentication to registries: credentials on disk, the vendor's license, challenges and tokens.
//!
//! In the order in which a request uses them:
//!
//! - [`origin`]: scheme, host and port, the unit of trust;
//! - [`authenticator`]: one for each side; answers challenges. The rest serves it:
//! - [`challenge`]: parses a 401; [`realm`]: decides whether its token server is trusted;
//! - [`credentials`]: finds the credential for a repository and its provenance; [`environment`], [`license`],
//!   [`authfile`], [`docker_config`], [`config_key`] and [`helper`] are its sources;
//! - [`login_file`]: stores and removes logins;
//! - [`token`]: requests a token; `token_cache`: requests it once.
//!
//! A credential leaves this module only as a header for the origin it is configured for (invariant 4) and never appears
//! in text (invariant 5).

pub(super) mod authenticator;
pub(crate) mod authfile;
pub(crate) mod challenge;
mod config_key;
mod credential;
mod credentials;
mod docker_config;
mod environment;
mod error;
mod exchange;
pub(crate) mod helper;
mod license;
pub(crate) mod login_file;
pub(super) mod origin;
pub(crate) mod realm;
mod token;
mod token_cache;

#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    authenticator::{Access, Authenticator, Scope},
    credential::FoundCredential,
    origin::Reach,
};
pub use self::{
    authfile::read as read_authfile,
    credential::{Credential, CredentialError, Provenance},
    credentials::Credentials,
    docker_config::DockerConfig,
    environment::Environment,
    error::{AuthError, Denial},
    license::License,
    origin::{Origin, OriginError, Scheme},
    realm::RealmRefusal,
};
