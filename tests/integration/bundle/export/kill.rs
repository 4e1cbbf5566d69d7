//! SIGKILL at a hundred moments: no file has its final name before it is complete, and later runs reuse what is intact.

use std::{ops::Range, time::Duration};

use super::*;
use crate::support::{
    dice::Dice,
    kill::{Moment, at_a_hundred_seeds, for_each_seed, kill},
};

/// The last writes follow the source's last answer within this time.
const LATEST: Duration = Duration::from_millis(40);

/// The blobs that a killed run left complete, according to its head.
fn kept_by(site: &Site, expected: &[u8]) -> HashSet<Digest> {
    let bytes = site.joined("b.tar");
    let head = usize::try_from(extents(expected)[0].1.offset).unwrap();
    if bytes.get(..head) == Some(&expected[..head]) { intact(&bytes, expected) } else { HashSet::new() }
}

/// Kills a run at a moment. A file with its final name is then complete.
async fn kill_export(
    site: &Site,
    split: &[&str],
    more: &[&str],
    expected: &[u8],
    moment: Moment,
    seed: usize,
) {
    site.source.clear();
    kill(site.export("b.tar", &[split, more].concat()), moment.comes(Some(&site.source))).await;
    let volume = if split.is_empty() { usize::MAX } else { 70_000 };
    for name in site.files() {
        let is_final = !name.contains("partial") && !name.ends_with("json");
        if is_final {
            let number: usize = name.strip_prefix("b.tar.").map_or(1, |number| number.parse().unwrap());
            let slice = expected.chunks(volume).nth(number - 1).unwrap();
            assert!(site.read(&name) == slice, "seed {seed}: {name} is not whole");
        }
    }
}

async fn kill_and_run_again(seed: usize) {
    let moment = |turn: usize, requests| {
        Moment::draw(&mut Dice::new(&format!("export {seed} {turn}")), requests, LATEST)
    };
    let split: &[&str] = if seed.is_multiple_of(2) { &[] } else { &["--split", "70000"] };
    let mut site = Site::with(&[&SampleImage::multi_platform("a"), &SampleImage::docker("b")]).await;
    let mut expected = site.undisturbed(&[]).await;
    let blobs = extents(&expected).len();
    kill_export(&site, split, &[], &expected, moment(0, blobs + 6), seed).await;
    let mut kept = kept_by(&site, &expected);
    if seed % 4 >= 2 {
        // The images change, and the run that relocates the blobs is killed too.
        site.retag("a", &SampleImage::multi_platform("new"));
        for number in 0..seed % 5 {
            site.add(&SampleImage::multi_platform(&format!("more{number}")));
        }
        let more = ["--platform", "linux/amd64"];
        let other = site.undisturbed(&more).await;
        let all = [split, &more].concat();
        // A killed run may have left a complete set of the old images.
        site.files()
            .iter()
            .filter(|name| !name.contains("partial"))
            .for_each(|name| std::fs::remove_file(site.path(name)).unwrap());
        kill_export(&site, split, &more, &other, moment(1, 8), seed).await;
        kept = kept_by(&site, &other);
        expected = other;
        site.source.clear();
        site.export("b.tar", &all).run().await.expect_success();
    } else {
        site.source.clear();
        site.export("b.tar", split).run().await.expect_success();
    }
    let fetched = site.fetched();
    let again: Vec<&Digest> = fetched.iter().filter(|blob| kept.contains(*blob)).collect();
    assert!(again.is_empty(), "seed {seed}: intact blobs were fetched again: {again:?}");
    let mut files: Vec<String> =
        site.files().into_iter().filter(|name| !name.ends_with(".volumes.json")).collect();
    files.sort();
    assert!(!files.iter().any(|name| name.contains("partial")), "seed {seed}: {files:?}");
    assert!(files.iter().flat_map(|name| site.read(name)).eq(expected), "seed {seed}: {files:?}");
}

async fn kill_at_seeds(seeds: Range<usize>) {
    for_each_seed(seeds, kill_and_run_again).await;
}

at_a_hundred_seeds!(kill_at_seeds);
