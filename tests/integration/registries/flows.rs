//! The copies that every registry has to pass.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{
    profile::{Blobs, Broken, Chunks, Login, Mounts, Profile, Whole},
    simulation::{LOGIN, SIGNATURE, Simulated, hosts},
};
use crate::support::{
    images::SampleImage,
    process::{Mirror, Outcome},
    proxy::Proxy,
    scripted::Scripted,
    secrets,
    tls::Authority,
};

const MIB: usize = 1024 * 1024;
/// Uploads of blobs of this size are resumed.
const RESUMABLE: usize = 33 * MIB;
/// After how many bytes an upload is interrupted.
const BREAK: usize = 10 * MIB;

/// A simulated registry, and a registry on loopback without a login at the other end of the copy.
pub(super) struct World {
    authority: Authority,
    proxy: Proxy,
    pub registry: Simulated,
    pub other: Scripted,
}

impl World {
    pub(super) async fn start(profile: &'static Profile) -> Self {
        let names = hosts(profile);
        let authority = Authority::for_names(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let (proxy, other) = tokio::join!(Proxy::start(), Scripted::start());
        let registry = Simulated::start(profile, &authority, &proxy).await;
        Self { authority, proxy, registry, other }
    }

    /// One to which images of these names can be pushed.
    pub(super) async fn with_repositories(profile: &'static Profile, names: &[&str]) -> Self {
        let world = Self::start(profile).await;
        for name in names {
            let needed = profile.repositories.needed(&world.repository(name));
            world.registry.state().existing.insert(needed);
        }
        world
    }

    /// The repository of an image that was pushed.
    pub(super) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.profile.folder)
    }

    /// Puts an image into the registry on loopback, and returns its reference.
    pub(super) fn offer(&self, name: &str, image: &SampleImage) -> String {
        self.other.with_store(|store| store.insert(&format!("vendor/{name}"), image));
        self.other.address().image(&format!("vendor/{name}"), &image.tag)
    }

    /// Copies images to the simulated registry.
    pub(super) fn sync(&self, images: &[String]) -> Mirror {
        let Profile { registry, folder, .. } = self.registry.profile;
        self.run(&["sync", "--to", &format!("{registry}/{folder}")]).arguments(images)
    }

    /// A command with the login for the simulated registry.
    pub(super) fn run(&self, arguments: &[&str]) -> Mirror {
        Mirror::new(arguments)
            .arg("--ca-cert")
            .arg(self.authority.certificate_file())
            .env("HTTPS_PROXY", self.proxy.url())
            .env("DOCKER_AUTH_CONFIG", login(self.registry.profile).to_string())
    }

    /// The tag of an image at the simulated registry.
    pub(super) fn tag(&self, name: &str, tag: &str) -> Option<String> {
        let repository = self.repository(name);
        let mut state = self.registry.state();
        state.store.repository(&repository).tags.get(tag).map(ToString::to_string)
    }

    /// Asserts that the simulated registry has all of an image.
    pub(super) fn holds(&self, name: &str, image: &SampleImage) {
        let repository = self.repository(name);
        assert_eq!(self.tag(name, &image.tag), Some(image.root().digest.to_string()), "{name}");
        let mut state = self.registry.state();
        let contents = state.store.repository(&repository);
        for (digest, bytes) in &image.blobs {
            assert!(contents.blobs.get(digest) == Some(bytes), "{name}: {digest}");
        }
    }

    /// How many requests could change the registry.
    pub(super) fn writes(&self) -> usize {
        ["POST", "PATCH", "PUT", "DELETE"]
            .map(|method| self.registry.count(method, "/blobs/uploads"))
            .iter()
            .sum::<usize>()
            + self.registry.count("PUT", "")
    }
}

/// An image is pushed to a repository that does not exist: the error says each of these.
pub(super) async fn a_missing_repository_is_named(profile: &'static Profile, says: &[&str]) {
    let world = World::start(profile).await;
    let reference = world.offer("app", &SampleImage::multi_platform("1"));
    let outcome = ends(world.sync(&[reference]), 1).await;
    for expected in says {
        assert!(outcome.stderr.contains(expected), "{expected}: {outcome}");
    }
}

/// The Docker configuration that the registry's own tool writes.
fn login(profile: &Profile) -> serde_json::Value {
    let key = match profile.registry {
        "docker.io" => "https://index.docker.io/v1/",
        registry => registry,
    };
    let auth = |password: &str| BASE64_STANDARD.encode(format!("{}:{password}", LOGIN.0));
    let entry = match profile.login {
        Login::Token { is_posted: true, .. } => json!({ "auth": auth(""), "identitytoken": LOGIN.1 }),
        _ => json!({ "auth": auth(LOGIN.1) }),
    };
    json!({ "auths": { key: entry } })
}

/// Asserts the exit code, and that no secret was printed.
pub(super) async fn ends(run: Mirror, code: i32) -> Outcome {
    let outcome = run.run().await.expect_code(code);
    secrets::assert_hidden(&outcome, &[LOGIN, ("", SIGNATURE), ("", "t0ken-")]);
    outcome
}

/// Two images for two platforms that share blobs, and one with a large layer.
pub(super) async fn images_arrive(profile: &'static Profile) {
    let world = World::with_repositories(profile, &["app", "tool", "large"]).await;
    let images = [
        ("app", SampleImage::multi_platform("1")),
        ("tool", SampleImage::multi_platform("2")),
        ("large", SampleImage::multi_platform_with_large_layer("3", profile.large_layer)),
    ];
    let offered: Vec<String> = images.iter().map(|(name, image)| world.offer(name, image)).collect();
    let first = ends(world.sync(&offered), 0).await;
    for (name, image) in &images {
        world.holds(name, image);
    }
    let shared = images[0].1.blobs.keys().find(|digest| images[1].1.blobs.contains_key(*digest)).unwrap();
    let read = world.other.count("GET", shared.as_str());
    let most = match (profile.mounts, profile.whole) {
        // Nothing can be mounted before its image is complete, so other images upload it meanwhile.
        (Mounts::Committed, _) => images.len(),
        // The first blobs are sent again in chunks.
        (_, Whole::Unsupported(_)) => 2,
        _ => 1,
    };
    assert!((1..=most).contains(&read), "a shared blob was read {read} times");

    world.registry.clear();
    let second = ends(world.sync(&offered).in_folder(&first.folder()), 0).await;
    assert_eq!(world.writes(), 0, "a second run is idle: {second}");
    let verified = ends(world.run(&["verify", "--level", "blobs"]).in_folder(&first.folder()), 0).await;
    assert_eq!(world.writes(), 0, "{verified}");
}

/// The tag at the source moves to another image.
pub(super) async fn a_tag_moves(profile: &'static Profile) {
    let world = World::with_repositories(profile, &["app"]).await;
    let old = SampleImage::multi_platform("1");
    let new = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("next") };
    let reference = world.offer("app", &old);
    let first = ends(world.sync(std::slice::from_ref(&reference)), 0).await;
    world.offer("app", &new);
    if profile.immutable.is_some() {
        world.registry.state().is_immutable = true;
        let outcome = ends(world.sync(&[reference]).in_folder(&first.folder()), 1).await;
        let (registry, old) = (profile.registry, &old.root().digest);
        let said = format!("the tag already points to {old}, and the registry does not allow moving it");
        assert!(outcome.stderr.contains(&said), "{registry}: {outcome}");
        assert!(
            outcome.stderr.contains("delete the tag at the destination, or allow overwriting tags"),
            "{outcome}"
        );
        assert_eq!(world.tag("app", "1"), Some(old.to_string()));
        world.registry.state().is_immutable = false;
    }
    let reference = world.offer("app", &new);
    ends(world.sync(&[reference]).in_folder(&first.folder()), 0).await;
    world.holds("app", &new);
}

/// The connection breaks while a large blob is sent.
pub(super) async fn an_upload_is_interrupted(profile: &'static Profile) {
    let world = World::with_repositories(profile, &["large"]).await;
    let image = SampleImage::multi_platform_with_large_layer("1", RESUMABLE);
    let reference = world.offer("large", &image);
    let limits_chunks = matches!(profile.chunks, Chunks::UpTo(..));
    let is_sent_whole = matches!(profile.whole, Whole::Accepted);
    world.registry.state().breaks = vec![if is_sent_whole { BREAK } else { MIB }];
    ends(world.sync(&[reference]), 0).await;
    world.holds("large", &image);
    assert!(world.registry.state().breaks.is_empty(), "nothing was interrupted");
    let patched = world.registry.count("PATCH", "");
    match (profile.broken, profile.chunks) {
        _ if !is_sent_whole => {}
        (Broken::Kept, Chunks::Accepted(_)) => assert_eq!(patched, 1, "the rest is sent at once"),
        (Broken::Kept, Chunks::UpTo(_, most, _)) => {
            let rest = u64::try_from(RESUMABLE - BREAK).unwrap();
            assert_eq!(patched as u64, rest.div_ceil(most), "the rest in chunks that the registry accepts");
        }
        _ => assert_eq!(patched, 0, "a lost upload starts over"),
    }
    assert!(!limits_chunks || patched > 1);
}

/// Images are copied from it to a registry without a login.
pub(super) async fn images_are_read(profile: &'static Profile) {
    let world = World::start(profile).await;
    let image = SampleImage::multi_platform("1");
    let needed = profile.repositories.needed(profile.source_path);
    {
        let mut state = world.registry.state();
        state.existing.insert(needed);
        state.store.insert(profile.source_path, &image);
    }
    let to = format!("{}/mirror", world.other.address().host_port);
    let reference = format!("{}:1", profile.source);
    let first = ends(world.run(&["sync", "--to", &to, &reference]), 0).await;
    let name = profile.source_path.rsplit('/').next().unwrap();
    world.other.with_store(|store| {
        let contents = store.repository(&format!("mirror/{name}"));
        assert_eq!(contents.tags.get("1"), Some(&image.root().digest));
        assert!(image.blobs.iter().all(|(digest, bytes)| contents.blobs.get(digest) == Some(bytes)));
    });
    if let Blobs::Redirected { .. } = profile.blobs {
        let signed = world.registry.state().signed.len();
        assert_eq!(signed, image.blobs.len(), "each blob is asked for once");
    }
    world.registry.clear();
    ends(world.run(&["sync", "--to", &to, &reference]).in_folder(&first.folder()), 0).await;
    assert_eq!(world.registry.count("GET", "/blobs/"), 0, "a second run reads no blob");
    let asked = world.registry.requests("", "/manifests/").into_iter();
    // Without a login, the registry only says how to log in.
    let asked: Vec<_> = asked
        .filter(|asked| asked.header("authorization").is_some())
        .map(|asked| format!("{} {}", asked.method, asked.path))
        .collect();
    assert_eq!(
        asked,
        [format!("HEAD /v2/{}/manifests/1", profile.source_path)],
        "and asks for the tag alone"
    );
}
