//! Whose turn it is to fetch: so many at once, and fewer from one place, so that a slow registry
//! leaves turns to the others.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns of all fetches.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    each: usize,
    /// Of places that somebody has or waits for a turn at.
    places: Mutex<BTreeMap<String, Weak<Place>>>,
}

struct Place(Arc<Semaphore>);

/// A turn, for as long as it lives.
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _each: OwnedSemaphorePermit,
    /// Whoever comes meanwhile finds it.
    _place: Arc<Place>,
}

impl Turns {
    /// So many at once, and so many of these at one place.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            places: Mutex::default(),
        }
    }

    /// Waits for a turn at a place; none if there are none any more.
    pub(super) async fn take(&self, name: &str) -> Option<Turn> {
        let place = self.place(name);
        // Who waits for its place holds no turn of another's.
        let each = Arc::clone(&place.0).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn {
            _all: all,
            _each: each,
            _place: place,
        })
    }

    fn place(&self, name: &str) -> Arc<Place> {
        let mut places = self.places.lock();
        if let Some(place) = places.get(name).and_then(Weak::upgrade) {
            return place;
        }
        places.retain(|_, place| place.strong_count() > 0);
        let place = Arc::new(Place(Arc::new(Semaphore::new(self.each))));
        places.insert(name.to_owned(), Arc::downgrade(&place));
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// A turn that is to be had now.
    fn now(turns: &Turns, place: &str) -> Option<Turn> {
        turns.take(place).now_or_never().flatten()
    }

    #[test]
    fn one_place_takes_its_share_and_what_is_left_is_the_others() {
        let turns = Turns::new(4, 2);
        let slow = [now(&turns, "slow"), now(&turns, "slow")];
        assert!(slow.iter().all(Option::is_some));
        let mut waiting = Box::pin(turns.take("slow"));
        assert!(waiting.as_mut().now_or_never().is_none());
        let other = now(&turns, "other");
        assert!(other.is_some());
        let third = now(&turns, "third");
        assert!(third.is_some());
        assert!(now(&turns, "fourth").is_none(), "four at once");
        drop((slow, other));
        assert!(waiting.now_or_never().flatten().is_some());
    }

    #[test]
    fn places_are_forgotten_with_their_last_turn() {
        let turns = Turns::new(4, 2);
        for number in 0..100 {
            assert!(now(&turns, &format!("r{number}")).is_some());
        }
        assert_eq!(turns.places.lock().len(), 1);
    }
}
