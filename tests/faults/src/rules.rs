//! The faults that are in force.

use crate::ask::Ask;
use crate::fault::{Deed, Fault, Happening};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Locks what a panic of somebody else cannot have left half done.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    matched: u64,
    happened: Vec<Happening>,
}

/// A fault in force; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "a fault ends with its handle"]
pub struct Injected(Arc<Rule>);

impl Injected {
    /// How often it happened.
    #[must_use]
    pub fn hits(&self) -> usize {
        lock(&self.0.counts).happened.len()
    }

    /// What happened, oldest first.
    #[must_use]
    pub fn happened(&self) -> Vec<Happening> {
        lock(&self.0.counts).happened.clone()
    }
}

/// The faults that are in force, oldest first. Each counts for itself; the first that is due acts.
#[derive(Debug, Default)]
pub(crate) struct Rules(Mutex<Vec<Weak<Rule>>>);

impl Rules {
    pub(crate) fn add(&self, fault: Fault) -> Injected {
        let rule = Arc::new(Rule {
            fault,
            counts: Mutex::default(),
        });
        lock(&self.0).push(Arc::downgrade(&rule));
        Injected(rule)
    }

    /// What is done to a request before the API server hears of it.
    pub(crate) fn before(&self, ask: &Ask) -> Option<Deed> {
        self.due(ask, None)
    }

    /// What is done to the answer of a write that took effect.
    pub(crate) fn after(&self, ask: &Ask, code: u16) -> Option<Deed> {
        if ask.verb.writes() && (200..300).contains(&code) {
            self.due(ask, Some(code))
        } else {
            None
        }
    }

    fn due(&self, ask: &Ask, code: Option<u16>) -> Option<Deed> {
        let mut due = None;
        for rule in self.in_force() {
            let is_meant = rule.fault.deed.follows_effect() == code.is_some();
            if !is_meant || !rule.fault.pattern.matches(ask) {
                continue;
            }
            let mut counts = lock(&rule.counts);
            counts.matched = counts.matched.saturating_add(1);
            if due.is_none() && rule.fault.when.is_due(counts.matched) {
                let ask = ask.clone();
                counts.happened.push(Happening { ask, code });
                due = Some(rule.fault.deed.clone());
            }
        }
        due
    }

    fn in_force(&self) -> Vec<Arc<Rule>> {
        let mut rules = lock(&self.0);
        rules.retain(|rule| rule.strong_count() > 0);
        rules.iter().filter_map(Weak::upgrade).collect()
    }
}
