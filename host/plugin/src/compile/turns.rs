//! Who compiles now: a few at once, one for the same bytes, and never again what met a limit.

use super::TooDear;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Components that are remembered to be too dear; the first of them are forgotten first.
const REMEMBERED: usize = 256;

/// Gives turns to compile.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Places that nobody has.
    free: usize,
    /// Digests that somebody looks after.
    busy: BTreeSet<String>,
    too_dear: BTreeMap<String, TooDear>,
    /// Those, as they came.
    order: VecDeque<String>,
}

/// Nobody else looks after this component while this lives.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    digest: String,
}

/// One of the places to compile.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    turns: &'a Turns,
}

impl Turns {
    /// For so many at once, at least one.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: places.max(1),
                busy: BTreeSet::new(),
                too_dear: BTreeMap::new(),
                order: VecDeque::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits until nobody else looks after these bytes: then their code may be there.
    pub(crate) fn begin(&self, digest: &str) -> Turn<'_> {
        let mut state = self.state.lock();
        self.changed
            .wait_while(&mut state, |state| state.busy.contains(digest));
        state.busy.insert(digest.to_owned());
        Turn {
            turns: self,
            digest: digest.to_owned(),
        }
    }

    /// What was remembered of these bytes.
    pub(crate) fn too_dear(&self, digest: &str) -> Option<TooDear> {
        self.state.lock().too_dear.get(digest).copied()
    }

    /// Remembers it.
    pub(crate) fn remember(&self, digest: &str, why: TooDear) {
        let mut state = self.state.lock();
        if state.too_dear.insert(digest.to_owned(), why).is_none() {
            state.order.push_back(digest.to_owned());
        }
        if state.order.len() > REMEMBERED
            && let Some(first) = state.order.pop_front()
        {
            state.too_dear.remove(&first);
        }
    }
}

impl Turn<'_> {
    /// Waits for a place. Who has one ends: its child does.
    pub(crate) fn place(&self) -> Place<'_> {
        let mut state = self.turns.state.lock();
        self.turns
            .changed
            .wait_while(&mut state, |state| state.free == 0);
        state.free = state.free.saturating_sub(1);
        Place { turns: self.turns }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.state.lock().busy.remove(&self.digest);
        self.turns.changed.notify_all();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        state.free = state.free.saturating_add(1);
        drop(state);
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Exceeded;
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(30);

    #[test]
    fn as_many_compile_as_there_are_places_and_the_next_waits() {
        let turns = Turns::new(2);
        let (a, b) = (turns.begin("a"), turns.begin("b"));
        let (first, _second) = (a.place(), b.place());
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let turns = &turns;
            scope.spawn(move || {
                let turn = turns.begin("c");
                let _place = turn.place();
                tell.send(()).unwrap();
            });
            assert!(told.recv_timeout(SOON).is_err());
            drop(first);
            told.recv_timeout(LATE).unwrap();
        });
    }

    #[test]
    fn the_same_bytes_have_one_turn_at_a_time_and_others_do_not_wait_for_it() {
        let turns = Turns::new(2);
        let first = turns.begin("a");
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let turns = &turns;
            scope.spawn(move || {
                let _turn = turns.begin("a");
                tell.send(()).unwrap();
            });
            assert!(told.recv_timeout(SOON).is_err());
            drop(turns.begin("b"));
            drop(first);
            told.recv_timeout(LATE).unwrap();
        });
    }

    #[test]
    fn what_met_a_limit_is_remembered_but_not_all_for_ever() {
        let turns = Turns::new(1);
        let why = TooDear {
            exceeded: Exceeded::Code(1),
            bytes: 2,
            largest: 1,
        };
        for number in 0..=REMEMBERED {
            turns.remember(&number.to_string(), why);
        }
        assert_eq!(turns.too_dear("0"), None);
        assert_eq!(turns.too_dear("1"), Some(why));
        assert_eq!(turns.too_dear(&REMEMBERED.to_string()), Some(why));
        let state = turns.state.lock();
        assert_eq!(
            (state.too_dear.len(), state.order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
