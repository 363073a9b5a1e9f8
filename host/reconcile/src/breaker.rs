//! The breaker of a plugin that fails whatever it is asked.
//!
//! # Contract
//! It opens when calls for ten CRs in a row failed by the plugin's own fault (it crashed, broke its
//! limits, or its plan was refused) and none in between returned; for a plugin that has returned
//! often, a tenth of that many CRs, but never more than a hundred. While it is open the plugin's
//! passes run one at a time, and after each that fails again only live changes start one for a
//! while: a second at first, twice as long each time, 30 s at most. The first call that returns
//! closes it. A pass that did not call the plugin says nothing.
//!
//! # Limits
//! It remembers at most a hundred keys.

use crate::why::Priority;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// CRs that fail in a row until it opens: so many at least, and at most.
const FEW: usize = 10;
const MANY: usize = 100;
/// One CR for so many calls that returned.
const SHARE: usize = 10;
/// How long only live changes start a pass after one that failed: at first, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// What a pass knows about its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    /// It was not called, or what failed was not its fault.
    No,
    /// It returned: a plan that was accepted, or an error that its interface has for that.
    Returned,
    /// It failed by its own fault.
    Failed,
}

/// How a call changed the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    Opened,
    Closed,
}

/// The breaker of one plugin.
#[derive(Debug)]
pub(crate) struct Breaker<K> {
    /// Keys that failed since the last call that returned.
    failed: BTreeSet<K>,
    /// Calls that returned.
    returned: usize,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    delay: Duration,
    /// Until when only live changes start a pass.
    until: Option<Instant>,
}

impl<K> Default for Breaker<K> {
    fn default() -> Self {
        Self {
            failed: BTreeSet::new(),
            returned: 0,
            open: None,
        }
    }
}

impl<K: Ord + Clone> Breaker<K> {
    /// A pass over `key` has ended. Says whether that opened or closed it.
    pub(crate) fn hear(&mut self, key: &K, called: Called, now: Instant) -> Option<Turned> {
        match called {
            Called::No => None,
            Called::Returned => {
                self.returned = self.returned.saturating_add(1);
                self.failed.clear();
                self.open.take().map(|_| Turned::Closed)
            }
            Called::Failed => self.fail(key, now),
        }
    }

    fn fail(&mut self, key: &K, now: Instant) -> Option<Turned> {
        if let Some(open) = &mut self.open {
            open.delay = open.delay.saturating_mul(2).min(LONGEST);
            open.until = Some(now + open.delay);
            return None;
        }
        self.failed.insert(key.clone());
        if self.failed.len() < (self.returned / SHARE).clamp(FEW, MANY) {
            return None;
        }
        self.failed.clear();
        self.open = Some(Open {
            delay: FIRST,
            until: Some(now + FIRST),
        });
        Some(Turned::Opened)
    }
}

impl<K> Breaker<K> {
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What is over now is over.
    pub(crate) fn wake(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.until = open.until.filter(|until| *until > now);
        }
    }

    /// When passes that are not live may start again; none if they may now.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.open.as_ref().and_then(|open| open.until)
    }

    /// Whether a pass of this priority may start while `running` others of the plugin run.
    pub(crate) fn admits(&self, priority: Priority, running: usize) -> bool {
        match &self.open {
            None => true,
            Some(open) => running == 0 && (priority == Priority::Live || open.until.is_none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Opened by ten keys.
    fn opened(now: Instant) -> Breaker<usize> {
        let mut breaker = Breaker::default();
        let turns: Vec<_> = (0..10)
            .map(|key| breaker.hear(&key, Called::Failed, now))
            .collect();
        assert_eq!(turns[..9], [None; 9]);
        assert_eq!(turns[9], Some(Turned::Opened));
        breaker
    }

    #[test]
    fn one_key_that_fails_again_and_again_opens_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..1_000 {
            assert_eq!(breaker.hear(&1, Called::Failed, now), None);
        }
        // One call that returns, and what was before it no longer counts.
        for key in 2..9 {
            assert_eq!(breaker.hear(&key, Called::Failed, now), None);
        }
        breaker.hear(&99, Called::Returned, now);
        for key in 0..9 {
            assert_eq!(breaker.hear(&key, Called::Failed, now), None);
        }
        // What did not call the plugin neither helps nor harms.
        assert_eq!(breaker.hear(&50, Called::No, now), None);
        assert_eq!(breaker.hear(&9, Called::Failed, now), Some(Turned::Opened));
    }

    #[test]
    fn a_plugin_that_has_returned_often_needs_more_keys_up_to_a_hundred() {
        let now = Instant::now();
        for (returned, enough) in [(0, 10), (100, 10), (500, 50), (100_000, 100)] {
            let mut breaker = Breaker::default();
            for _ in 0..returned {
                breaker.hear(&0, Called::Returned, now);
            }
            let turned = |key| breaker.hear(&key, Called::Failed, now).is_some();
            assert_eq!((1..200).position(turned), Some(enough - 1), "{returned}");
        }
    }

    #[test]
    fn an_open_one_admits_one_live_pass_at_once_and_others_after_a_growing_while() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert!(breaker.admits(Priority::Live, 0));
            assert!(!breaker.admits(Priority::Live, 1));
            assert!(!breaker.admits(Priority::Retry, 0));
            let until = breaker.until().unwrap();
            waits.push((until - now).as_secs());
            now = until;
            breaker.wake(now);
            assert_eq!(breaker.until(), None);
            assert!(breaker.admits(Priority::StartUp, 0));
            assert!(!breaker.admits(Priority::StartUp, 1));
            // A pass that calls nobody does not use it up.
            breaker.hear(&1, Called::No, now);
            assert!(breaker.admits(Priority::Retry, 0));
            assert_eq!(breaker.hear(&1, Called::Failed, now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(
            breaker.hear(&1, Called::Returned, now + seconds(1)),
            Some(Turned::Closed)
        );
        assert!(breaker.admits(Priority::StartUp, 7));
    }
}
