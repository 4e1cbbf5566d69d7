//! Every image belongs to one shard, for any list and any number of machines; what is divided, and how evenly.

use proptest::prelude::*;

use super::*;

/// Images as `repository:tag`, each with its blobs as numbers, if they are known; a blob's size follows from its number.
#[derive(Debug, Clone)]
struct Given {
    sources: Vec<Reference>,
    blobs: Vec<Option<Vec<(Digest, u64)>>>,
}

impl Given {
    fn new(images: &[(String, Option<Vec<u64>>)]) -> Self {
        let blob = |number: &u64| (Digest::sha256(&number.to_be_bytes()), number * 1024 * 1024);
        let blobs =
            |numbers: &Option<Vec<u64>>| numbers.as_ref().map(|numbers| numbers.iter().map(blob).collect());
        Self {
            sources: images
                .iter()
                .map(|(name, _)| format!("reg.example/m/{name}").parse().unwrap())
                .collect(),
            blobs: images.iter().map(|(_, numbers)| blobs(numbers)).collect(),
        }
    }

    fn assign(&self, count: u32) -> Assignment {
        self.assign_in_order(&(0..self.sources.len()).collect::<Vec<_>>(), count)
    }

    fn assign_in_order(&self, order: &[usize], count: u32) -> Assignment {
        let image = |position: &usize| {
            let source = &self.sources[*position];
            let (repository, tag) = (source.repository(), source.tag().unwrap());
            ToAssign { source, repository, tag, known: self.blobs[*position].as_deref() }
        };
        assign(&order.iter().map(image).collect::<Vec<_>>(), count)
    }
}

fn unknown(names: impl IntoIterator<Item = String>) -> Given {
    Given::new(&names.into_iter().map(|name| (name, None)).collect::<Vec<_>>())
}

fn sizes(assignment: &Assignment, count: u32) -> Vec<usize> {
    (0..count).map(|shard| assignment.shards.iter().filter(|found| **found == shard).count()).collect()
}

fn images() -> impl Strategy<Value = Given> {
    let known = prop::option::weighted(0.8, prop::collection::vec(0_u64..40, 0..5));
    let image = (0_u8..12, 0_u8..6, known);
    prop::collection::vec(image, 0..60).prop_map(|images| {
        let named =
            images.into_iter().map(|(repository, tag, known)| (format!("r{repository}:{tag}"), known));
        Given::new(&named.collect::<Vec<_>>())
    })
}

proptest! {
    #[test]
    fn every_image_is_in_one_shard_whatever_the_order(
        given in images(),
        count in 1_u32..20,
        order in Just((0..60).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let order: Vec<usize> = order.into_iter().filter(|position| *position < given.sources.len()).collect();
        let assigned = given.assign(count);
        prop_assert_eq!(assigned.shards.len(), given.sources.len());
        prop_assert!(assigned.shards.iter().all(|shard| *shard < count));
        let shuffled = given.assign_in_order(&order, count);
        let found: Vec<u32> = order.iter().map(|position| assigned.shards[*position]).collect();
        // Images with one destination and different contents are one unit, in any order.
        prop_assert_eq!(&shuffled.shards, &found);
        prop_assert_eq!(shuffled.repeated, assigned.repeated);
        for (one, first) in given.sources.iter().zip(&assigned.shards) {
            for (other, second) in given.sources.iter().zip(&assigned.shards) {
                prop_assert!(one != other || first == second, "{} has one destination", one);
            }
        }
    }

    /// The bound of the largest-first rule: no shard has more than a fair part and one group more.
    #[test]
    fn no_shard_has_much_more_than_its_part(given in images(), count in 1_u32..20) {
        let units: BTreeSet<_> = given.sources.iter().collect();
        let assigned = given.assign(count);
        let mut loads = vec![0_u64; count as usize];
        let mut largest = 0;
        let mut all: BTreeMap<&Digest, u64> = BTreeMap::new();
        let mut bases = 0;
        let known: Vec<&Vec<(Digest, u64)>> = given.blobs.iter().flatten().collect();
        let sum: u64 = known.iter().flat_map(|blobs| blobs.iter()).map(|(_, size)| size).sum();
        let average = sum.checked_div(known.len() as u64).unwrap_or(0);
        let base = |position: usize| IMAGE + given.blobs[position].as_ref().map_or(average, |_| 0);
        for unit in units {
            let mut blobs: BTreeMap<&Digest, u64> = BTreeMap::new();
            let mut weight = 0;
            for (position, _) in given.sources.iter().enumerate().filter(|(_, source)| *source == unit) {
                weight += base(position);
                bases += base(position);
                blobs.extend(given.blobs[position].iter().flatten().map(|(digest, size)| (digest, *size)));
            }
            largest = largest.max(weight + blobs.values().sum::<u64>());
            all.extend(blobs);
        }
        for shard in 0..count {
            let mut blobs: BTreeMap<&Digest, u64> = BTreeMap::new();
            for (position, _) in assigned.shards.iter().enumerate().filter(|(_, found)| **found == shard) {
                loads[shard as usize] += base(position);
                blobs.extend(given.blobs[position].iter().flatten().map(|(digest, size)| (digest, *size)));
            }
            loads[shard as usize] += blobs.values().sum::<u64>();
        }
        let total = bases + all.values().sum::<u64>() + assigned.repeated.bytes;
        let fair = total.div_ceil(u64::from(count)).max(largest);
        prop_assert!(loads.iter().all(|load| *load <= 2 * fair), "{:?}, fair: {}", loads, fair);
    }
}

#[test]
fn without_sizes_images_are_divided_evenly() {
    let given = unknown((0..1000).map(|number| format!("app-{number}:1")));
    for count in [1, 2, 3, 4, 7, 8, 64, 1000] {
        let found = sizes(&given.assign(count), count);
        let (least, most) = (found.iter().min().unwrap(), found.iter().max().unwrap());
        assert!(most - least <= 1, "{count}: {found:?}");
    }
}

#[test]
fn images_of_one_repository_stay_together() {
    let given = unknown((0..40).map(|number| format!("app-{}:{}", number % 10, number / 10)));
    let assigned = given.assign(5);
    assert_eq!(sizes(&assigned, 5), [8; 5]);
    assert!(assigned.split.is_empty());
    for (source, shard) in given.sources.iter().zip(&assigned.shards) {
        let same = |other: &Reference| other.repository() == source.repository();
        let mut others = given.sources.iter().zip(&assigned.shards).filter(|(other, _)| same(other));
        assert!(others.all(|(_, other)| other == shard));
    }
}

#[test]
fn a_repository_that_is_too_large_is_split() {
    let given =
        unknown((0..60).map(|tag| format!("large:{tag}")).chain((0..20).map(|n| format!("small-{n}:1"))));
    let assigned = given.assign(4);
    assert_eq!(sizes(&assigned, 4), [20; 4]);
    assert_eq!(assigned.split, ["reg.example/m/large".parse().unwrap()]);
}

#[test]
fn images_that_share_a_large_layer_stay_together() {
    let group = |name: &'static str, layer: u64| {
        (0..4).map(move |number| (format!("{name}-{number}:1"), Some(vec![layer, 100 + layer + number])))
    };
    let images: Vec<_> = group("a", 5000).chain(group("b", 6000)).chain(group("c", 5500)).collect();
    let assigned = Given::new(&images).assign(3);
    assert_eq!(sizes(&assigned, 3), [4, 4, 4]);
    assert!(assigned.shards.chunks(4).all(|group| group.iter().all(|shard| *shard == group[0])));
    assert_eq!(assigned.repeated, Repeated::default());
}

#[test]
fn a_layer_that_several_shards_need_is_counted() {
    // Ten images of 200 MiB each, with a layer of 10 MiB that all share.
    let images: Vec<_> = (0..10).map(|n| (format!("app-{n}:1"), Some(vec![10, 200 + n]))).collect();
    let given = Given::new(&images);
    assert_eq!(sizes(&given.assign(5), 5), [2; 5]);
    assert_eq!(given.assign(5).repeated, Repeated { transfers: 4, bytes: 40 * 1024 * 1024 });
    assert_eq!(given.assign(1).repeated, Repeated::default());
}

#[test]
fn sizes_decide_and_an_unknown_image_counts_as_an_average_one() {
    let mut images: Vec<_> = (0..3).map(|n| (format!("large-{n}:1"), Some(vec![900 + n]))).collect();
    images.extend((0..9).map(|n| (format!("small-{n}:1"), Some(vec![300 + n]))));
    let assigned = Given::new(&images).assign(3);
    assert_eq!(sizes(&assigned, 3), [4; 3], "each has a large one and three small ones");
    // 900 and 300 MiB together are as much as two images of which nothing is known.
    let images = [("a:1", Some(vec![900])), ("b:1", Some(vec![300])), ("c:1", None), ("d:1", None)];
    let assigned = Given::new(&images.map(|(name, known)| (name.to_owned(), known))).assign(2);
    assert_eq!(assigned.shards, [0, 0, 1, 1]);
}

#[test]
fn more_shards_than_images_leaves_some_empty() {
    let assigned = unknown(["a:1".to_owned(), "b:1".to_owned()]).assign(5);
    assert_eq!(assigned.shards, [0, 1]);
    assert!(unknown([]).assign(3).shards.is_empty());
}

/// So many that a quadratic algorithm would take minutes.
#[test]
fn ten_thousand_images_that_share_layers_are_assigned() {
    let images: Vec<_> = (0..10_000_u64)
        .map(|n| (format!("app-{n:05}:1"), Some(vec![n % 100, 100 + n % 7, 1000 + 2 * n, 1001 + 2 * n])))
        .collect();
    let given = Given::new(&images);
    let assigned = given.assign(64);
    assert!(sizes(&assigned, 64).iter().all(|size| *size > 0));
}
