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

pub(super) mod authenticator;
pub(crate) mod authfile;
pub(crate) mod challenge;
mod config_key;
mod credential;
mod credentials;
mod docker_config;
mod error;
mod exchange;
pub(crate) mod helper;
mod license;
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
    origin::Reach,
};
pub use self::{
    authfile::read as read_authfile,
    credential::{Credential, CredentialError, Provenance},
    credentials::{Credentials, Environment},
    docker_config::DockerConfig,
    error::{AuthError, Denial},
    license::License,
    origin::{Origin, OriginError, Scheme},
    realm::RealmRefusal,
};
