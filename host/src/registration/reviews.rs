//! When it is asked whether registrations have the rights that they need.
//!
//! *Why.* Nobody tells when rights change. They are asked for when the registration changes, when the
//! API server refused something, less and less often while something is missing, and now and then.

use super::problem::Again;
use crate::kinds::Served;
use crate::rights::{Answered, Asked, Depth, Found, Refused, Reviewer};
use kybern_kube::RequestError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What came of a look; none while it runs.
type Outcome = Arc<Mutex<Option<Result<Found, RequestError>>>>;

/// A look under way.
struct Look {
    outcome: Outcome,
    depth: Depth,
    task: AbortOnDropHandle<()>,
}

/// What a registration's needs were read from.
#[derive(Clone)]
pub(super) struct Made {
    /// uid and generation.
    pub(super) of: (String, i64),
    /// Where plurals come from.
    pub(super) served: Arc<Served>,
}

impl Made {
    fn is(&self, other: &Self) -> bool {
        self.of == other.of && Arc::ptr_eq(&self.served, &other.served)
    }
}

/// One registration.
struct Entry {
    made: Made,
    asked: Arc<Asked>,
    /// What looks were answered so far; one at a time has it.
    answered: Arc<tokio::sync::Mutex<Answered>>,
    found: Option<Found>,
    look: Option<Look>,
    /// When the last look ended, and when the next begins, on the monotonic clock.
    ended: Option<Duration>,
    again: Option<Duration>,
    depth: Depth,
    /// Looks in a row that did not find all in order.
    tries: u32,
}

impl Entry {
    fn new(made: Made, asked: Asked, now: Duration) -> Self {
        Self {
            made,
            asked: Arc::new(asked),
            answered: Arc::default(),
            found: None,
            look: None,
            ended: None,
            again: Some(now),
            depth: Depth::Rules,
            tries: 0,
        }
    }

    /// Takes in what ended, and says when to look again.
    fn settle(&mut self, refresh: Duration, now: Duration) {
        let Some(look) = self.look.take_if(|look| look.has_ended()) else {
            return;
        };
        let came = look.outcome.lock().take();
        // A look after a refusal is no all-clear: what refuses may not be a right.
        let in_order = matches!(&came, Some(Ok(found)) if found.is_granted());
        let unsure = matches!(&came, Some(Ok(found)) if found.is_unsure());
        self.tries = match in_order && look.depth == Depth::Rules {
            true => 0,
            false => self.tries.saturating_add(1),
        };
        match came {
            Some(Ok(found)) => self.found = Some(found),
            Some(Err(error)) => tracing::debug!(%error, "rights could not be asked for"),
            None => {}
        }
        self.ended = Some(now);
        if look.depth != Depth::Rules && !in_order {
            // A list of rules gives what was refused, and would say so again.
            self.depth = Depth::Each;
        } else if unsure && self.depth == Depth::Rules {
            // What was refused may be among those that the bound of one look has left.
            self.depth = Depth::Rest;
        }
        // What was doubted meanwhile is looked at once more.
        let rests = in_order && self.depth == Depth::Rules;
        self.again = Some(now.saturating_add(match rests {
            true => refresh,
            false => pause(self.tries),
        }));
    }

    /// Something was refused: looks closely, but not more often than without it.
    fn doubt(&mut self, now: Duration) {
        self.depth = Depth::Each;
        let after = self.ended.map(|at| at.saturating_add(pause(self.tries)));
        let at = after.unwrap_or(now).max(now);
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }
}

impl Look {
    /// Whether nothing more comes of it: a task that panicked leaves nothing.
    fn has_ended(&self) -> bool {
        self.outcome.lock().is_some() || self.task.is_finished()
    }
}

fn pause(tries: u32) -> Duration {
    Again::Growing.pause(tries).unwrap_or(Duration::MAX)
}

/// All registrations.
#[derive(Default)]
pub(super) struct Reviews {
    all: BTreeMap<String, Entry>,
    news: Arc<Notify>,
}

impl Reviews {
    /// What is known of a registration that needs this; begins a look if one is due.
    pub(super) fn follow(
        &mut self,
        name: &str,
        made: Made,
        asked: impl FnOnce() -> Asked,
        reviewer: &Reviewer,
        now: Duration,
    ) -> Option<&Found> {
        let entry = self.entry(name, made, asked, now);
        entry.settle(reviewer.config().refresh, now);
        if entry.look.is_none() && entry.again.is_some_and(|again| again <= now) {
            let (depth, reviewer) = (entry.depth, reviewer.clone());
            let (asked, answered) = (Arc::clone(&entry.asked), Arc::clone(&entry.answered));
            let looking = async move {
                let mut answered = answered.lock().await;
                reviewer.look(&asked, depth, &mut answered).await
            };
            self.begin(name, depth, looking);
        }
        self.all.get(name)?.found.as_ref()
    }

    /// The entry of a registration; a new one if it needs something else than before.
    fn entry(
        &mut self,
        name: &str,
        made: Made,
        asked: impl FnOnce() -> Asked,
        now: Duration,
    ) -> &mut Entry {
        let before = self.all.remove(name);
        let entry = match before {
            Some(entry) if entry.made.is(&made) => entry,
            before => {
                let asked = asked();
                match before.filter(|entry| *entry.asked == asked) {
                    Some(entry) => Entry { made, ..entry },
                    None => Entry::new(made, asked, now),
                }
            }
        };
        self.all.entry(name.to_owned()).or_insert(entry)
    }

    fn begin(
        &mut self,
        name: &str,
        depth: Depth,
        looking: impl Future<Output = Result<Found, RequestError>> + Send + 'static,
    ) {
        let Some(entry) = self.all.get_mut(name) else {
            return;
        };
        let outcome = Outcome::default();
        let (ended, news) = (Arc::clone(&outcome), Arc::clone(&self.news));
        let task = TaskTracker::new().spawn(async move {
            let came = looking.await;
            *ended.lock() = Some(came);
            news.notify_one();
        });
        entry.again = None;
        entry.depth = Depth::Rules;
        entry.look = Some(Look {
            outcome,
            depth,
            task: AbortOnDropHandle::new(task),
        });
    }

    /// A write was refused.
    pub(super) fn refused(&mut self, refused: &Refused, now: Duration) {
        let Some(entry) = self.all.get_mut(&refused.plugin) else {
            return;
        };
        let (host, account) = (&entry.asked.host, entry.asked.account.as_ref());
        let mut needs = host
            .iter()
            .chain(account.iter().flat_map(|(_, needs)| needs));
        let named = |resource: &str| resource.split('/').next() == Some(&*refused.plural);
        if needs.any(|right| right.group == refused.group && named(&right.resource)) {
            entry.doubt(now);
        }
    }

    /// A kind that it needs cannot be read any more.
    pub(super) fn unreadable(&mut self, name: &str, now: Duration) {
        if let Some(entry) = self.all.get_mut(name) {
            entry.doubt(now);
        }
    }

    /// When the next look is due.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let waiting = self.all.values().filter(|entry| entry.look.is_none());
        let next = waiting.filter_map(|entry| entry.again).min();
        next.map(|next| next.saturating_sub(now))
    }

    /// Whether a look is due or has ended.
    pub(super) fn due(&self, now: Duration) -> bool {
        let ended = |entry: &Entry| entry.look.as_ref().is_some_and(Look::has_ended);
        self.all.values().any(ended) || self.wait(now).is_some_and(|wait| wait.is_zero())
    }

    /// Keeps these registrations; nothing is missing of the others any more.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool, reviewer: &Reviewer) {
        self.all.retain(|name, _| {
            let is_kept = kept(name);
            if !is_kept {
                reviewer.told(name, None);
            }
            is_kept
        });
    }

    /// Until a look has ended.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
#[path = "reviews_tests.rs"]
mod tests;
