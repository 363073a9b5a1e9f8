//! The open watches, and what is done to their events.

use crate::ask::Ask;
use crate::events::{Event, EventPattern};
use crate::pattern::Pattern;
use crate::rules::lock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::{oneshot, watch};

/// What is done to events that come after a list; those of a streaming list itself always pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Nothing; they are counted.
    Pass,
    /// They wait, and all of their watch behind them, until the handle is dropped. Events of other
    /// kinds go on: so kinds change their order.
    Hold,
    /// They are lost; bookmarks go on, so that resuming does not bring them back.
    Drop,
    /// They come twice.
    Repeat,
}

/// What becomes of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Once,
    Twice,
    Never,
    Later,
}

#[derive(Debug)]
struct Rule {
    pattern: EventPattern,
    flow: Flow,
    hits: AtomicUsize,
}

impl Rule {
    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// A disturbance of watches in force; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "a disturbance ends with its handle"]
pub struct Flowing {
    rule: Option<Arc<Rule>>,
    watches: Arc<Watches>,
}

impl Flowing {
    /// How many events it was done to. Of what is held only the first of each watch is counted:
    /// the others wait behind it.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.rule.as_ref().map_or(0, |rule| rule.hits())
    }
}

impl Drop for Flowing {
    fn drop(&mut self) {
        self.rule = None;
        self.watches.changed();
    }
}

#[derive(Debug)]
struct Open {
    ask: Ask,
    cut: oneshot::Sender<()>,
}

/// All open watches and the disturbances in force.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    rules: Mutex<Vec<Weak<Rule>>>,
    open: Mutex<Vec<Open>>,
    changes: watch::Sender<u64>,
}

impl Watches {
    pub(crate) fn disturb(self: &Arc<Self>, pattern: EventPattern, flow: Flow) -> Flowing {
        let rule = Arc::new(Rule {
            pattern,
            flow,
            hits: AtomicUsize::new(0),
        });
        lock(&self.rules).push(Arc::downgrade(&rule));
        Flowing {
            rule: Some(rule),
            watches: Arc::clone(self),
        }
    }

    /// Breaks the watches that match; how many.
    pub(crate) fn cut(&self, pattern: &Pattern) -> usize {
        let mut open = lock(&self.open);
        let (cut, kept) = open
            .drain(..)
            .partition::<Vec<_>, _>(|one| pattern.matches(&one.ask));
        *open = kept;
        drop(open);
        cut.into_iter()
            .filter_map(|one| one.cut.send(()).ok())
            .count()
    }

    /// A watch opens; it breaks when the receiver hears of it.
    pub(crate) fn opened(&self, ask: &Ask) -> oneshot::Receiver<()> {
        let (cut, heard) = oneshot::channel();
        let mut open = lock(&self.open);
        open.retain(|one| !one.cut.is_closed());
        let ask = ask.clone();
        open.push(Open { ask, cut });
        heard
    }

    /// How many watches that match are open.
    pub(crate) fn count(&self, pattern: &Pattern) -> usize {
        let is_open = |one: &&Open| !one.cut.is_closed() && pattern.matches(&one.ask);
        lock(&self.open).iter().filter(is_open).count()
    }

    /// Tells of each disturbance that ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// What becomes of an event; it is counted when it is looked at for the first time.
    pub(crate) fn fate(&self, event: &Event, first: bool) -> Pass {
        for rule in self.in_force() {
            if !rule.pattern.matches(event) {
                continue;
            }
            if first {
                rule.hits.fetch_add(1, Ordering::SeqCst);
            }
            return match rule.flow {
                Flow::Pass => Pass::Once,
                Flow::Hold => Pass::Later,
                Flow::Drop => Pass::Never,
                Flow::Repeat => Pass::Twice,
            };
        }
        Pass::Once
    }

    fn in_force(&self) -> Vec<Arc<Rule>> {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| rule.strong_count() > 0);
        rules.iter().filter_map(Weak::upgrade).collect()
    }
}
