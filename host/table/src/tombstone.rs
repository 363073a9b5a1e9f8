//! Uids that are gone, so that a late event cannot bring them back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How it is known that an object is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// This host deleted it while this many lists had begun; nothing has
    /// confirmed it yet. Hides every state but those of a later list.
    Own { lists: u64 },
    /// A watch or a list said so: states up to this resourceVersion are older.
    Confirmed { resource_version: u64 },
}

/// The tombstones of one table; the oldest go when there are too many.
#[derive(Debug)]
pub(crate) struct Tombstones {
    gone: HashMap<Arc<str>, (Gone, u64)>,
    /// In the order of their making; an entry whose number is not the uid's is
    /// left over from an earlier tombstone.
    order: VecDeque<(Arc<str>, u64)>,
    made: u64,
    limit: usize,
}

impl Tombstones {
    pub(crate) fn new(limit: usize) -> Tombstones {
        Tombstones {
            gone: HashMap::new(),
            order: VecDeque::new(),
            made: 0,
            limit,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.gone.len()
    }

    pub(crate) fn clear(&mut self) {
        self.gone.clear();
        self.order.clear();
    }

    /// This host deleted the object. What is confirmed stays so.
    pub(crate) fn own(&mut self, uid: &str, lists: u64) {
        if !uid.is_empty() && !self.gone.contains_key(uid) {
            self.make(uid, Gone::Own { lists });
        }
    }

    /// A watch or a list said that the object is gone.
    pub(crate) fn confirm(&mut self, uid: &str, resource_version: u64) {
        let known = match self.gone.get(uid) {
            Some((Gone::Confirmed { resource_version }, _)) => *resource_version,
            _ => 0,
        };
        if !uid.is_empty() && resource_version > known {
            self.make(uid, Gone::Confirmed { resource_version });
        }
    }

    /// Whether a state of this uid is to be ignored. One that proves that the
    /// object is not gone removes the tombstone. `list` is the number of the
    /// list that the state is from.
    pub(crate) fn hides(&mut self, uid: &str, resource_version: u64, list: Option<u64>) -> bool {
        let Some((gone, _)) = self.gone.get(uid) else {
            return false;
        };
        let hides = match gone {
            Gone::Own { lists } => list.is_none_or(|list| list <= *lists),
            Gone::Confirmed {
                resource_version: gone,
            } => resource_version != 0 && resource_version <= *gone,
        };
        if !hides {
            self.gone.remove(uid);
        }
        hides
    }

    /// Whether this uid is known to be gone later than this resourceVersion; what was confirmed
    /// earlier is forgotten, for a list at that resourceVersion holds the object.
    pub(crate) fn gone_after(&mut self, uid: &str, listed: u64) -> bool {
        let after = match self.gone.get(uid) {
            None => return false,
            Some((Gone::Own { .. }, _)) => true,
            Some((Gone::Confirmed { resource_version }, _)) => *resource_version > listed,
        };
        if !after {
            self.gone.remove(uid);
        }
        after
    }

    /// A list that did not hold them confirms the own deletes from before it began.
    pub(crate) fn list_ended(&mut self, list: u64, list_resource_version: u64) {
        for (gone, _) in self.gone.values_mut() {
            if matches!(gone, Gone::Own { lists } if *lists < list) {
                *gone = Gone::Confirmed {
                    resource_version: list_resource_version,
                };
            }
        }
    }

    fn make(&mut self, uid: &str, gone: Gone) {
        let uid: Arc<str> = uid.into();
        self.made += 1;
        self.gone.insert(Arc::clone(&uid), (gone, self.made));
        self.order.push_back((uid, self.made));
        while self.gone.len() > self.limit || self.order.len() > self.limit.saturating_mul(2) {
            let Some((uid, number)) = self.order.pop_front() else {
                return;
            };
            if self.gone.get(&uid).is_some_and(|(_, made)| *made == number) {
                self.gone.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_delete_hides_until_confirmed() {
        let mut tombstones = Tombstones::new(10);
        tombstones.own("a", 1);
        assert!(tombstones.hides("a", 1_000, None));
        assert!(tombstones.hides("a", 1_000, Some(1)), "an earlier list");
        tombstones.confirm("a", 50);
        assert!(tombstones.hides("a", 50, None));
        assert!(!tombstones.hides("a", 51, None), "came back into scope");
        assert_eq!(tombstones.len(), 0);
    }

    #[test]
    fn a_later_list_confirms_or_refutes() {
        let mut tombstones = Tombstones::new(10);
        tombstones.own("a", 1);
        tombstones.own("b", 1);
        assert!(!tombstones.hides("a", 10, Some(2)), "it was not gone");
        tombstones.list_ended(2, 30);
        assert!(tombstones.hides("b", 30, None));
        assert!(!tombstones.hides("b", 31, None));
    }

    #[test]
    fn the_oldest_go() {
        let mut tombstones = Tombstones::new(2);
        for round in 0..100 {
            tombstones.confirm("hot", round + 1);
        }
        tombstones.own("b", 0);
        tombstones.own("c", 0);
        assert_eq!(tombstones.len(), 2);
        assert!(!tombstones.hides("hot", 1, None));
        assert!(tombstones.hides("b", 1, None) && tombstones.hides("c", 1, None));
        assert!(tombstones.order.len() <= 4);
    }
}
