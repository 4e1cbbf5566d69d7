//! Decides which connection is served next: a limited number at once, and no address starves the others. No I/O.
//!
//! Connections are accepted before they are admitted, because only an accepted connection shows its address. One
//! address gets at most three quarters of the slots. A free slot goes to the waiting address that has the fewest. If
//! there is no free slot, the address with the most connections is asked to end those that are idle, and the others
//! after their current response.

use std::collections::{HashMap, VecDeque};

use tokio::sync::watch;

use super::client::Client;

/// The most connections that wait. Beyond that, the address with the most waiting connections loses its newest.
const MAX_WAITING: usize = 256;

/// The connections that are served, and those that wait.
#[derive(Debug)]
pub(super) struct Admission<T> {
    limit: usize,
    served: HashMap<Client, Served>,
    total: usize,
    waiting: VecDeque<(Client, T)>,
}

/// The connections of one client that are served.
#[derive(Debug)]
struct Served {
    count: usize,
    /// Asks them to end.
    asking: watch::Sender<()>,
    /// Whether the current ones were asked.
    asked: bool,
}

/// Completes when a connection should make room for another client.
pub(super) type MakeRoom = watch::Receiver<()>;

impl<T> Admission<T> {
    /// Serves at most `limit` connections.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, served: HashMap::new(), total: 0, waiting: VecDeque::new() }
    }

    /// Adds a connection. Returns a connection that must be closed, if too many wait.
    pub(super) fn arrive(&mut self, client: Client, connection: T) -> Option<T> {
        self.waiting.push_back((client, connection));
        if self.waiting.len() <= MAX_WAITING.min(self.limit.max(16)) {
            return None;
        }
        let mut counts: HashMap<Client, usize> = HashMap::new();
        for (client, _) in &self.waiting {
            *counts.entry(*client).or_default() += 1;
        }
        let most = counts.values().max().copied()?;
        let newest = self.waiting.iter().rposition(|(client, _)| counts.get(client) == Some(&most))?;
        self.waiting.remove(newest).map(|(_, connection)| connection)
    }

    /// The next connection to serve, if a slot is free for it.
    pub(super) fn admit(&mut self) -> Option<(Client, T, MakeRoom)> {
        if self.total >= self.limit {
            return None;
        }
        let share = self.share();
        let candidates = self.waiting.iter().enumerate();
        let candidates = candidates.map(|(position, (client, _))| (self.count(*client), position));
        let (_, position) = candidates.filter(|(count, _)| *count < share).min()?;
        let (client, connection) = self.waiting.remove(position)?;
        let served = self.served.entry(client).or_insert_with(|| Served {
            count: 0,
            asking: watch::Sender::new(()),
            asked: false,
        });
        served.count += 1;
        served.asked = false;
        self.total += 1;
        Some((client, connection, served.asking.subscribe()))
    }

    /// A connection of this client has ended.
    pub(super) fn leave(&mut self, client: Client) {
        let Some(served) = self.served.get_mut(&client) else { return };
        served.count -= 1;
        self.total -= 1;
        if served.count == 0 {
            self.served.remove(&client);
        }
    }

    /// Asks the client with the most connections to make room, if a client with fewer has to wait.
    pub(super) fn make_room(&mut self) {
        if self.total < self.limit {
            return;
        }
        let Some(fewest) = self.waiting.iter().map(|(client, _)| self.count(*client)).min() else { return };
        let Some(largest) = self.served.values_mut().max_by_key(|served| served.count) else { return };
        let is_unfair = largest.count > fewest + 1 || (fewest == 0 && largest.count > 0);
        if is_unfair && !largest.asked {
            largest.asked = true;
            largest.asking.send_replace(());
        }
    }

    /// Closes the connections that wait.
    pub(super) fn dismiss_waiting(&mut self) {
        self.waiting.clear();
    }

    fn count(&self, client: Client) -> usize {
        self.served.get(&client).map_or(0, |served| served.count)
    }

    /// The most connections of one client.
    fn share(&self) -> usize {
        if self.limit < 4 { self.limit } else { self.limit - self.limit / 4 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::at(([192, 0, 2, number], 1).into())
    }

    fn admitted(admission: &mut Admission<u32>) -> Vec<u32> {
        std::iter::from_fn(|| admission.admit().map(|(_, connection, _)| connection)).collect()
    }

    #[test]
    fn one_address_leaves_a_quarter_to_the_others() {
        let mut admission = Admission::new(8);
        for number in 0..8 {
            assert!(admission.arrive(client(1), number).is_none());
        }
        assert_eq!(admitted(&mut admission), [0, 1, 2, 3, 4, 5]);
        admission.arrive(client(2), 10);
        assert_eq!(admitted(&mut admission), [10]);
        admission.leave(client(1));
        assert_eq!(admitted(&mut admission), [6]);
    }

    #[test]
    fn a_free_slot_goes_to_the_address_with_the_fewest() {
        let mut admission = Admission::new(2);
        for number in 0..3 {
            admission.arrive(client(1), number);
        }
        assert_eq!(admitted(&mut admission), [0, 1]);
        admission.arrive(client(2), 10);
        assert_eq!(admitted(&mut admission), Vec::<u32>::new());
        admission.leave(client(1));
        assert_eq!(admitted(&mut admission), [10]);
    }

    #[test]
    fn the_address_with_the_most_is_asked_once_to_make_room() {
        let mut admission = Admission::new(2);
        admission.arrive(client(1), 0);
        admission.arrive(client(1), 1);
        let mut asked: Vec<MakeRoom> =
            std::iter::from_fn(|| admission.admit().map(|(_, _, asked)| asked)).collect();
        admission.arrive(client(1), 2);
        admission.make_room();
        assert!(asked.iter().all(|asked| !asked.has_changed().unwrap()), "only another address counts");
        admission.arrive(client(2), 10);
        admission.make_room();
        assert!(asked.iter_mut().all(|asked| asked.has_changed().unwrap()));
    }

    #[test]
    fn the_address_with_the_most_waiting_connections_loses_its_newest() {
        let mut admission = Admission::new(1);
        admission.arrive(client(2), 1000);
        for number in 0..15 {
            assert_eq!(admission.arrive(client(1), number), None);
        }
        assert_eq!(admission.arrive(client(1), 15), Some(15));
        assert_eq!(admission.arrive(client(3), 2000), Some(14));
        assert_eq!(admitted(&mut admission), [1000]);
    }
}
