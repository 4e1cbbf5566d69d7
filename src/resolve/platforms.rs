//! Which platforms an image is for.

use bytes::Bytes;
use futures::TryStreamExt as _;
use serde::Deserialize;

use crate::{
    endpoint::{Cause, Error, Operation, Source, VerifiedBody},
    graph::{Graph, PlatformManifest},
    oci::{Contents, Descriptor, Platform, Repository},
};

/// The largest config that is read to learn a platform, in bytes.
const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;
/// The largest config that is kept in memory, in bytes. Those of real images have a few thousand.
const LARGEST_KEPT: u64 = 64 * 1024;

/// Learns the platforms of all image manifests. An index names them; where it does not, the config does. Returns why the
/// first of the configs whose bytes are not what they should be is unusable.
pub(super) async fn learn<S: Source>(
    place: &S,
    repository: &Repository,
    graph: &mut Graph,
) -> Result<Option<Error>, Error> {
    let mut damaged = None;
    for node in &graph.nodes {
        let Contents::Image { config, .. } = &node.contents else { continue };
        let platform = match &node.descriptor.platform {
            Some(_) => node.descriptor.runnable_platform().cloned(),
            None if node.descriptor.attestation => None,
            None => {
                let bytes = match read(place, repository, config).await {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => continue,
                    Err(error @ Error { cause: Cause::Mismatch(_), .. }) => {
                        damaged.get_or_insert(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let platform = platform_of(&bytes);
                if config.size <= LARGEST_KEPT {
                    graph.configs.insert(config.digest.clone(), bytes);
                }
                platform
            }
        };
        if let Some(platform) = platform {
            graph.platforms.push(PlatformManifest { platform, digest: node.descriptor.digest.clone() });
        }
    }
    Ok(damaged)
}

/// The fields of an image config that name its platform (OCI image specification, "Image Configuration").
#[derive(Deserialize)]
struct Config {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

/// The platform that a config names.
fn platform_of(config: &[u8]) -> Option<Platform> {
    let Config { os, architecture, variant } = serde_json::from_slice(config).ok()?;
    let platform = Platform::new(&os?, &architecture?, variant.as_deref());
    (!platform.is_unknown()).then_some(platform)
}

/// A config's bytes; `None` when it is not an image's config or is not there.
async fn read<S: Source>(
    place: &S,
    repository: &Repository,
    config: &Descriptor,
) -> Result<Option<Bytes>, Error> {
    if config.size > LARGEST_CONFIG || !config.media_type.is_image_config() {
        return Ok(None);
    }
    let stream = match place.open_blob(repository, config, 0).await {
        Ok(stream) => stream,
        // Its absence is found, and reported, where blobs are looked at.
        Err(Error { cause: Cause::NoSuchBlob, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let at = place.blob_place(repository, &config.digest);
    let error = Error::new(Operation::ReadBlob, place.side(), at, Cause::NoSuchBlob);
    let body = VerifiedBody::new(stream, config, error, Box::new(|_| ()));
    let bytes = body.try_fold(Vec::new(), |mut whole, piece| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    });
    Ok(Some(bytes.await?.into()))
}
