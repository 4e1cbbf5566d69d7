//! The scripted registry is correct by default and fails exactly as scripted.

use reqwest::{Client, RequestBuilder};

use crate::support::{
    client::{self, RepositoryClient},
    images::SampleImage,
    is_request,
    scripted::{Action, Answer, End, Gate, Scripted},
    skopeo,
    tls::Authority,
};

/// A registry with an image of one manifest, and one of its layers.
struct Held {
    registry: Scripted,
    layer_path: String,
    layer: Vec<u8>,
    client: Client,
}

impl Held {
    async fn start() -> Self {
        let registry = Scripted::start().await;
        let image = SampleImage::single_platform("1", "amd64");
        registry.with_store(|store| store.insert("app", &image));
        let (digest, layer) = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let client = registry.address().http_client();
        Self { layer_path: format!("/v2/app/blobs/{digest}"), layer: layer.to_vec(), registry, client }
    }

    fn get_layer(&self) -> RequestBuilder {
        self.client.get(format!("{}{}", self.registry.address().url(), self.layer_path))
    }

    async fn begin_upload(&self) -> String {
        let url = self.registry.address().url();
        let begun = self.client.post(format!("{url}/v2/app/blobs/uploads/")).send().await.unwrap();
        assert_eq!(begun.status(), 202);
        format!("{url}{}", begun.headers()["location"].to_str().unwrap())
    }
}

#[tokio::test]
async fn without_a_script_it_is_a_correct_registry() {
    let authority = Authority::new();
    for registry in [Scripted::start().await, Scripted::start_tls(&authority).await] {
        let image = SampleImage::nested("1");
        client::push(&image, registry.address(), "team/app").await;
        client::assert_present(&image, registry.address(), "team/app").await;
        assert_eq!(skopeo::manifest(registry.address(), "team/app:1").await, image.root().bytes);
        assert_eq!(registry.take_violations(), [""; 0]);
        assert_eq!(registry.count("PUT", "/manifests/"), 4);
    }
}

#[tokio::test]
async fn a_manifest_before_its_children_is_a_violation() {
    let registry = Scripted::start().await;
    let image = SampleImage::multi_platform("1");
    for reference in ["1", image.root().digest.as_str()] {
        let url = format!("{}/v2/app/manifests/{reference}", registry.address().url());
        let put = registry.address().http_client().put(url).body(image.root().bytes.clone());
        assert_eq!(put.send().await.unwrap().status(), 400);
        let [violation] = &registry.take_violations()[..] else { panic!("one violation") };
        assert!(violation.contains(reference), "{violation}");
    }
    assert!(RepositoryClient::new(registry.address(), "app").await.manifest("1").await.is_err());
}

#[tokio::test]
#[should_panic(expected = "manifests named what was absent")]
async fn a_violation_that_no_test_expects_fails_it() {
    let registry = Scripted::start().await;
    let image = SampleImage::single_platform("1", "amd64");
    let url = format!("{}/v2/app/manifests/{}", registry.address().url(), image.root().digest);
    let put = registry.address().http_client().put(url).body(image.root().bytes.clone());
    assert_eq!(put.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn answers_are_changed_for_matching_requests() {
    let held = Held::start().await;
    held.registry.on("GET", "/blobs/").nth(2).answer(Answer::status(429).header("retry-after", "1"));
    held.registry.on("GET", "/blobs/").nth(3).then(Action::redirect("http://elsewhere.example/x"));
    held.registry.on("GET", "/blobs/").nth(4).then(Action::flip_bit(7));
    let mut statuses = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..5 {
        let answer = held.get_layer().send().await.unwrap();
        statuses.push(answer.status().as_u16());
        bodies.push(answer.bytes().await.unwrap());
    }
    assert_eq!(statuses, [200, 429, 307, 200, 200]);
    assert!(bodies[0] == held.layer && bodies[4] == held.layer);
    let changed: Vec<usize> = (0..held.layer.len()).filter(|&at| bodies[3][at] != held.layer[at]).collect();
    assert_eq!(changed, [7]);
}

#[tokio::test]
async fn bodies_break_off_where_scripted() {
    let held = Held::start().await;
    for length in [0, 1, held.layer.len() - 1] {
        held.registry.on("GET", "/blobs/").then(Action::end(End::CutAfter(length)));
        let mut answer = held.get_layer().send().await.unwrap();
        assert_eq!(answer.content_length(), Some(held.layer.len() as u64));
        let mut received = Vec::new();
        let error = loop {
            match answer.chunk().await {
                Ok(piece) => received.extend(piece.expect("the body must not end well")),
                Err(error) => break error,
            }
        };
        assert!(received == held.layer[..length], "{} bytes of {length}: {error}", received.len());
    }
}

#[tokio::test]
async fn lengths_are_wrong_where_scripted() {
    let held = Held::start().await;
    for (claimed, is_whole) in [(held.layer.len() + 1, false), (5, true)] {
        held.registry.on("GET", "/blobs/").then(Action::header("content-length", &claimed.to_string()));
        let answer = held.get_layer().send().await.unwrap();
        assert_eq!(answer.content_length(), Some(claimed as u64));
        assert_eq!(answer.bytes().await.is_ok(), is_whole);
    }
}

#[tokio::test]
async fn connections_close_before_and_after_a_request_is_served() {
    let held = Held::start().await;
    let manifest = SampleImage::single_platform("1", "amd64").root().bytes.clone();
    let url = format!("{}/v2/app/manifests/new", held.registry.address().url());
    for (action, is_done) in [(Action::Close, false), (Action::ServeThenClose, true)] {
        held.registry.on("PUT", "/manifests/new").then(action);
        assert!(held.client.put(&url).body(manifest.clone()).send().await.is_err());
        let tags = held.registry.with_store(|store| store.repository("app").tags.clone());
        assert_eq!(tags.contains_key("new"), is_done);
    }
}

#[tokio::test]
async fn a_gate_holds_requests_and_a_stall_never_ends() {
    let held = Held::start().await;
    let gate = Gate::default();
    held.registry.on("GET", "/blobs/").nth(1).then(Action::Hold(gate.clone()));
    held.registry.on("GET", "/blobs/").nth(2).then(Action::Stall);
    let answer = tokio::spawn(held.get_layer().send());
    gate.reached_by(1).await;
    assert!(!answer.is_finished());

    let stalled = tokio::spawn(held.get_layer().send());
    held.registry.wait_for(2, "GET", &held.layer_path).await;
    gate.open();
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert!(!stalled.is_finished());
    let path = held.layer_path.clone();
    drop(held);
    assert!(stalled.await.unwrap().is_err(), "{path}: the server is gone");
}

#[tokio::test]
async fn a_range_is_served_and_an_upload_resumed() {
    let held = Held::start().await;
    let part = held.get_layer().header("range", "bytes=100-").send().await.unwrap();
    assert_eq!(part.status(), 206);
    let size = held.layer.len();
    assert_eq!(part.headers()["content-range"], format!("bytes 100-{}/{size}", size - 1));
    assert!(part.bytes().await.unwrap() == held.layer[100..]);

    for (keep, expected) in [(true, "0-999"), (false, "0-0")] {
        held.registry.on("PUT", "/blobs/uploads/").then(Action::CutUpload { after: 1000, keep });
        let session = held.begin_upload().await;
        assert!(held.client.put(&session).body(held.layer.clone()).send().await.is_err());
        let status = held.client.get(&session).send().await.unwrap();
        assert_eq!(status.status(), 204);
        assert_eq!(status.headers()["range"], expected);
    }
}

#[tokio::test]
async fn blobs_are_mounted_between_repositories() {
    let held = Held::start().await;
    let digest = held.layer_path.rsplit('/').next().unwrap();
    let url = format!("{}/v2/other/blobs/uploads/?mount={digest}", held.registry.address().url());
    for (from, status) in [("app", 201), ("nowhere", 202)] {
        let answer = held.client.post(format!("{url}&from={from}")).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn authorization_is_required() {
    let held = Held::start().await;
    held.registry.demand("Bearer realm=\"http://x.example\"", &["Bearer good"]);
    for (token, status) in [("bad", 401), ("good", 200)] {
        let answer = held.get_layer().bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401);
    }
    let requests = held.registry.requests();
    assert_eq!(requests[1].header("authorization"), Some("Bearer good"));
    assert_eq!(requests[1].body_length, Some(0));
}

#[tokio::test]
async fn an_empty_method_counts_all_requests_bug() {
    let held = Held::start().await;
    let _ = held.get_layer().send().await.unwrap();
    assert_eq!((held.registry.count("", "/v2/"), held.registry.count("GET", "/v2/")), (1, 1));
    assert!(std::panic::catch_unwind(|| is_request(("GET", "/v2/"), "get", "")).is_err());
}
