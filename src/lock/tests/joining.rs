//! Joining a run to the lock that exists: with another destination, and with what the lock knows.

use super::{super::merge::Disagreement, *};

#[test]
fn joining_adds_a_destination_and_keeps_the_others() {
    let prod = run(PROD, vec![image("app", PROD, "app"), image("web", PROD, "web")]);
    let stage = run(STAGE, vec![image("app", STAGE, "app"), image("web", STAGE, "web")]);
    let both = prod.clone().with_destination(stage.clone()).unwrap();
    assert_eq!(both.destinations, [placement(PROD), placement(STAGE)]);
    for (image, name) in both.images.iter().zip(["app", "web"]) {
        let references: Vec<String> =
            image.destinations.iter().map(|copy| copy.reference.to_string()).collect();
        assert_eq!(references, [format!("{PROD}/{name}:1"), format!("{STAGE}/{name}:1")]);
    }
    assert_eq!(both.blobs, prod.blobs);
    assert_eq!(Lock::from_slice(&both.to_bytes()).as_ref(), Ok(&both));
    assert_eq!(stage.with_destination(prod.clone()).unwrap().to_bytes(), both.to_bytes(), "in any order");
    assert_eq!(both.clone().with_destination(prod).unwrap(), both, "the same run again changes nothing");
}

#[test]
fn joining_replaces_only_what_the_run_did() {
    let both = run(PROD, vec![image("app", PROD, "app")])
        .with_destination(run(STAGE, vec![image("app", STAGE, "app")]))
        .unwrap();
    let mut failed = image("app", STAGE, "app");
    failed.destinations[0].confirmed = false;
    failed.destinations[0].reference = format!("{STAGE}/deep/app:1").parse().unwrap();
    (failed.platforms, failed.blobs, failed.media_type) = (Vec::new(), Vec::new(), None);
    let renamed = Placement { naming: Naming::Full, ..placement(STAGE) };
    let again = Lock { destinations: vec![renamed.clone()], ..run(STAGE, vec![failed.clone()]) };
    let joined = both.clone().with_destination(again).unwrap();
    assert_eq!(joined.destinations, [placement(PROD), renamed]);
    let [app] = joined.images.as_slice() else { panic!("{joined:?}") };
    assert_eq!(app.destinations, [both.images[0].destinations[0].clone(), failed.destinations[0].clone()]);
    assert_eq!(
        (&app.blobs, &app.platforms, &app.media_type),
        (&both.images[0].blobs, &both.images[0].platforms, &both.images[0].media_type),
        "what the lock knows of the image stays known"
    );
    assert_eq!(joined.blobs, both.blobs);
}

#[test]
fn joining_refuses_another_digest_unless_the_others_do_not_have_the_image() {
    let prod = run(PROD, vec![image("app", PROD, "old")]);
    let other = run(STAGE, vec![image("app", STAGE, "new")]);
    let error = prod.clone().with_destination(other).unwrap_err();
    let expected = Disagreement::Digest { image: source("app"), earlier: digest("old"), run: digest("new") };
    assert_eq!(error, expected);
    let replaced = prod.with_destination(run(PROD, vec![image("app", PROD, "new")])).unwrap();
    assert_eq!(replaced, run(PROD, vec![image("app", PROD, "new")]), "blobs of the old one are gone");
}

#[test]
fn joining_refuses_foreign_layers_at_some_destinations_only() {
    let prod = run(PROD, vec![image("app", PROD, "app")]);
    let with = |to| Lock { foreign_layers: true, ..run(to, vec![image("app", to, "app")]) };
    assert_eq!(prod.check_foreign_layers(&[&STAGE.parse().unwrap()], true), Err(Disagreement::ForeignLayers));
    assert_eq!(prod.check_foreign_layers(&[&PROD.parse().unwrap()], true), Ok(()));
    assert_eq!(prod.clone().with_destination(with(STAGE)), Err(Disagreement::ForeignLayers));
    assert_eq!(prod.with_destination(with(PROD)), Ok(with(PROD)));
}

#[test]
fn joining_refuses_two_sizes_of_a_blob_unless_no_other_destination_has_it() {
    let prod = run(PROD, vec![image("app", PROD, "app")]);
    let resized = |to| {
        let mut lock = run(to, vec![image("app", to, "app")]);
        lock.blobs.insert(digest("config"), 8);
        lock
    };
    let expected = Disagreement::Size { blob: digest("config"), earlier: 7, run: 8 };
    assert_eq!(prod.clone().with_destination(resized(STAGE)), Err(expected));
    assert_eq!(prod.with_destination(resized(PROD)), Ok(resized(PROD)));
}

#[test]
fn an_excluded_image_is_so_until_a_run_has_it() {
    let excluding = |names: &[&str]| names.iter().map(|name| source(name)).collect::<Vec<_>>();
    let prod = Lock { excluded: excluding(&["app", "web"]), ..run(PROD, vec![image("db", PROD, "db")]) };
    let joined = prod.with_destination(run(STAGE, vec![image("app", STAGE, "app")])).unwrap();
    assert_eq!(joined.excluded, excluding(&["web"]));
}

/// The lock of a run in which `app` failed before anything was known of it, with a change.
fn failed(change: impl Fn(&mut LockedImage)) -> Lock {
    let mut image = image("app", PROD, "app");
    (image.digest, image.blobs) = (None, Vec::new());
    image.destinations[0].confirmed = false;
    change(&mut image);
    run(PROD, vec![image])
}

#[test]
fn a_run_that_could_not_read_the_source_keeps_what_the_lock_knows() {
    let earlier = run(PROD, vec![image("app", PROD, "app")]);
    let kept = |run: Lock| {
        let mut lock = run;
        lock.keep_known(&earlier);
        lock
    };
    for digest in [None, Some(digest("app"))] {
        let lock = kept(failed(|image| image.digest.clone_from(&digest)));
        let ([app], [known]) = (lock.images.as_slice(), earlier.images.as_slice()) else {
            panic!("{lock:?}")
        };
        assert_eq!((&app.digest, &app.blobs), (&known.digest, &known.blobs));
        assert_eq!(lock.blobs, earlier.blobs);
        assert!(!app.is_confirmed(), "it failed");
    }
    let changes: [fn(&mut LockedImage); 4] = [
        |image| image.digest = Some(digest("new")),
        |image| image.blobs = vec![digest("other")],
        |image| image.destinations[0].confirmed = true,
        |image| image.source = source("web"),
    ];
    for change in changes {
        assert_eq!(kept(failed(change)), failed(change), "the lock knows nothing about this image");
    }
    let with_foreign_layers = Lock { foreign_layers: true, ..failed(|_| ()) };
    assert_eq!(kept(with_foreign_layers.clone()), with_foreign_layers, "it has other blobs");
}

#[test]
fn an_image_that_was_skipped_stays_confirmed_where_the_lock_confirms_it() {
    let earlier = run(PROD, vec![image("app", PROD, "app")]);
    let is_confirmed = |change: fn(&mut LockedCopy)| {
        let mut lock = failed(|image| {
            image.optional = true;
            change(&mut image.destinations[0]);
        });
        lock.keep_known(&earlier);
        lock.images[0].is_confirmed()
    };
    assert!(is_confirmed(|_| ()));
    assert!(!is_confirmed(|copy| copy.to = Some(STAGE.to_owned())), "it is confirmed at another destination");
    assert!(
        !is_confirmed(|copy| copy.reference = format!("{PROD}/app:2").parse().unwrap()),
        "under another name"
    );
}

#[test]
fn joining_to_the_lock_of_a_bundle_leaves_the_run_alone() {
    let mut bundle = run(PROD, vec![image("app", PROD, "app")]);
    bundle.destinations[0].to = None;
    bundle.images[0].destinations[0].to = None;
    let stage = run(STAGE, vec![image("app", STAGE, "app")]);
    assert_eq!(bundle.with_destination(stage.clone()), Ok(stage));
}
