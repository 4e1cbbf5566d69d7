//! Which blob is on its way to which repository, so that nobody brings it twice and everybody can wait.
//!
//! Whoever plans to bring a blob takes a [`Ticket`] at once, before anything is awaited; whoever needs the
//! same blob later finds it. A ticket that is dropped without success tells those who wait to help
//! themselves. Waiting holds no transfer slot: the one that is waited for may need the last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::oci::{Digest, Repository};

/// A blob in a repository of the destination.
pub(super) type Place = (Digest, Repository);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    OnItsWay,
    Landed,
    Abandoned,
}

/// Everything that is on its way, or was.
#[derive(Debug, Default)]
pub(super) struct Board {
    places: Mutex<HashMap<Place, watch::Receiver<State>>>,
}

/// The duty to bring one blob to one repository.
#[derive(Debug)]
pub(super) struct Ticket {
    state: watch::Sender<State>,
}

impl Ticket {
    /// The blob is there.
    pub(super) fn landed(self) {
        self.state.send_replace(State::Landed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.state.send_if_modified(|state| {
            let gives_up = *state == State::OnItsWay;
            if gives_up {
                *state = State::Abandoned;
            }
            gives_up
        });
    }
}

impl Board {
    /// Takes the duty, unless somebody has it or has done it.
    pub(super) fn claim(&self, place: &Place) -> Option<Ticket> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = places.get(place)
            && *current.borrow() != State::Abandoned
        {
            return None;
        }
        let (state, seen) = watch::channel(State::OnItsWay);
        places.insert(place.clone(), seen);
        Some(Ticket { state })
    }

    /// Waits until the blob has landed (true) or was given up (false). What nobody ever claimed has been
    /// there all along.
    pub(super) async fn wait(&self, place: &Place) -> bool {
        let current = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned();
        let Some(mut current) = current else { return true };
        match current.wait_for(|state| *state != State::OnItsWay).await {
            Ok(state) => *state == State::Landed,
            Err(_) => false,
        }
    }
}

/// Waits until somebody else has brought the blob, or gives the duty to whoever asks first after a failure.
pub(super) async fn wait_or_take_over(board: &Arc<Board>, place: &Place) -> Option<Ticket> {
    loop {
        if board.wait(place).await {
            return None;
        }
        if let Some(ticket) = board.claim(place) {
            return Some(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn place() -> Place {
        (Digest::sha256(b"x"), "reg.example.com/a".parse().unwrap())
    }

    #[test]
    fn a_landed_blob_wakes_those_who_wait() {
        let (board, place) = (Board::default(), place());
        let ticket = board.claim(&place).unwrap();
        assert!(board.claim(&place).is_none());
        let mut waiting = board.wait(&place).boxed();
        assert!((&mut waiting).now_or_never().is_none());
        ticket.landed();
        assert_eq!(waiting.now_or_never(), Some(true));
        assert!(board.claim(&place).is_none(), "it is there");
    }

    #[test]
    fn a_dropped_ticket_passes_the_duty_on_exactly_once() {
        let (board, place) = (Arc::new(Board::default()), place());
        drop(board.claim(&place).unwrap());
        let first = wait_or_take_over(&board, &place).now_or_never().unwrap();
        assert!(first.is_some());
        let mut second = wait_or_take_over(&board, &place).boxed();
        assert!((&mut second).now_or_never().is_none());
        first.unwrap().landed();
        assert!(second.now_or_never().unwrap().is_none());
    }
}
