//! Real registries: `serve` has the referrers API, CNCF distribution 2.8 has none.

use thoras_mirror::{
    endpoint::{Destination, Source},
    oci::{Link, Target},
    problem::Side,
};

use super::{digests, links, referrer, registries, repository, subject, tag_of};
use crate::support::{Address, client::RepositoryClient, registry::Registry, serving::Serving};

const NAME: &str = "team/app";

/// Pushes two referrers, one of which has a referrer of its own, and lists them with another client.
async fn push_and_list(address: &Address) {
    let image = subject("1");
    RepositoryClient::new(address, NAME).await.push(&image).await.unwrap();
    let digest = image.root().digest.clone();
    let repository = repository(address, NAME);
    let mirror = registries(Side::Destination);
    let manifests = ["1", "2"].map(|name| referrer(&digest, name));
    let nested = referrer(manifests[0].digest(), "signature of an SBOM");
    for manifest in manifests.iter().chain([&nested]) {
        let target = Target::Digest(manifest.digest().clone());
        mirror.put_manifest(&repository, &target, manifest).await.unwrap();
    }
    let signature = Target::Tag(format!("{}.sig", tag_of(&digest)));
    mirror.put_manifest(&repository, &signature, &nested).await.unwrap();
    for client in [mirror, registries(Side::Source)] {
        let found = client.attachments(&repository, &digest).await.unwrap();
        let (tagged, mut by_subject) = (found[2].clone(), digests(&found[..2]));
        by_subject.sort();
        let mut expected = manifests.each_ref().map(|manifest| manifest.digest());
        expected.sort();
        assert_eq!(by_subject, expected);
        assert_eq!(found[0].artifact_type.as_deref(), Some("application/x.signature"));
        assert_eq!(tagged.link, Link::Tag(format!("{}.sig", tag_of(&digest))));
        assert_eq!(tagged.descriptor, nested.descriptor());
        let below = client.attachments(&repository, manifests[0].digest()).await.unwrap();
        assert_eq!((digests(&below), links(&below)), (vec![nested.digest()], vec![&Link::Subject]));
        assert_eq!(client.attachments(&repository, manifests[1].digest()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn serve_lists_referrers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(&folder.path().join("registry"), &[]).await;
    push_and_list(&server.address).await;
    let tags = server.address.http_client().get(format!("{}/v2/{NAME}/tags/list", server.address.url()));
    let tags = tags.send().await.unwrap().text().await.unwrap();
    assert_eq!(tags.matches("sha256-").count(), 1, "only the tag that was pushed: {tags}");
}

#[tokio::test]
async fn distribution_without_the_api_gets_indexes() {
    let registry = Registry::start().await;
    push_and_list(registry.address()).await;
    let index = format!("/manifests/{}", tag_of(&subject("1").root().digest));
    assert_eq!(registry.count("PUT", &format!("{index}.sig")).await, 1);
    assert_eq!(registry.count("PUT", &index).await, 1 + 2, "one for each referrer");
}
