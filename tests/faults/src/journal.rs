//! What was asked and what came of it, for oracles.

use crate::ask::{Ask, Verb};
use crate::rules::lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

const CAPACITY: usize = 65_536;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The API server's answer was passed on, if who asked was still there.
    Answered,
    /// Answered by a fault; the API server never heard of it.
    Refused,
    /// Never answered; the API server never heard of it.
    Silenced,
    /// The API server answered, and nobody was told.
    AnswerLost,
    /// The API server could not be reached, or broke off.
    Unreachable,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it asked for.
    pub ask: Ask,
    /// What became of it.
    pub fate: Fate,
    /// The API server's code, if it answered.
    pub code: Option<u16>,
    /// Of the object in a write's answer.
    pub uid: Option<String>,
    /// Of the object in a write's answer.
    pub resource_version: Option<String>,
}

impl Entry {
    /// Whether it is a write that the API server accepted.
    #[must_use]
    pub fn took_effect(&self) -> bool {
        self.ask.writes() && self.code.is_some_and(|code| (200..300).contains(&code))
    }
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// What was done to one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Creates that took effect.
    pub creates: u64,
    /// Deletes that took effect.
    pub deletes: u64,
    /// Writes of all kinds that took effect.
    pub writes: u64,
    /// Writes of all kinds that were asked for.
    pub asked: u64,
}

/// The requests of the past, bounded.
#[derive(Debug)]
pub struct Journal {
    kept: Mutex<Kept>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    lost: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Journal {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            kept: Mutex::default(),
            capacity: capacity.max(1),
        }
    }

    pub(crate) fn write(&self, entry: Entry) {
        let mut kept = lock(&self.kept);
        if kept.entries.len() >= self.capacity {
            kept.entries.pop_front();
            kept.lost = kept.lost.saturating_add(1);
        }
        kept.entries.push_back(entry);
    }

    /// The place behind everything that has ended until now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let kept = lock(&self.kept);
        let length = u64::try_from(kept.entries.len()).unwrap_or(u64::MAX);
        Mark(kept.lost.saturating_add(length))
    }

    /// What has ended since, oldest first.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Vec<Entry> {
        let kept = lock(&self.kept);
        let skip = usize::try_from(mark.0.saturating_sub(kept.lost)).unwrap_or(usize::MAX);
        kept.entries.iter().skip(skip).cloned().collect()
    }

    /// Everything that is kept, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Entry> {
        self.since(Mark(0))
    }

    /// How many entries it had no room for: with any, an oracle knows nothing for certain.
    #[must_use]
    pub fn lost(&self) -> u64 {
        lock(&self.kept).lost
    }

    /// Writes of the objects called `name` and of those that they own, by group, plural and name.
    #[must_use]
    pub fn tallies(&self, name: &str) -> BTreeMap<(String, String, String), Tally> {
        let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
        for entry in &lock(&self.kept).entries {
            let ask = &entry.ask;
            if ask.is_about(name) && ask.writes() {
                let called = ask.name.clone().unwrap_or_default();
                let key = (ask.group.clone(), ask.resource.clone(), called);
                tallies.entry(key).or_default().add(entry);
            }
        }
        tallies
    }
}

impl Tally {
    fn add(&mut self, entry: &Entry) {
        let one = |is: bool| u64::from(is);
        let done = entry.took_effect();
        let whole = done && entry.ask.subresource.is_none();
        self.asked = self.asked.saturating_add(1);
        self.writes = self.writes.saturating_add(one(done));
        let (create, delete) = (Verb::Create, Verb::Delete);
        self.creates += one(whole && entry.ask.verb == create);
        self.deletes += one(whole && entry.ask.verb == delete);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn entry(method: &str, name: &str, code: u16) -> Entry {
        let uri = format!("/api/v1/namespaces/a/services/{name}");
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        Entry {
            ask: Ask::of(&request.into_parts().0, b""),
            fate: Fate::Answered,
            code: Some(code),
            uid: None,
            resource_version: None,
        }
    }

    #[test]
    fn it_is_bounded_and_says_what_it_lost() {
        let journal = Journal::with_capacity(2);
        journal.write(entry("PUT", "a", 200));
        let mark = journal.mark();
        journal.write(entry("PUT", "b", 200));
        journal.write(entry("PUT", "c", 200));
        assert_eq!((journal.all().len(), journal.lost()), (2, 1));
        assert_eq!(journal.since(mark).len(), 2);
        assert!(journal.since(journal.mark()).is_empty());
    }

    #[test]
    fn only_what_took_effect_is_counted() {
        let journal = Journal::default();
        for (method, code) in [
            ("DELETE", 404),
            ("DELETE", 200),
            ("PUT", 409),
            ("PATCH", 200),
            ("GET", 200),
        ] {
            journal.write(entry(method, "a", code));
        }
        let tally = Tally {
            creates: 0,
            deletes: 1,
            writes: 2,
            asked: 4,
        };
        let expected = BTreeMap::from([(
            (String::new(), "services".to_owned(), "a".to_owned()),
            tally,
        )]);
        assert_eq!(journal.tallies("a"), expected);
    }
}
