//! The pool of effects: which run, and which is next.
//!
//! # Contract
//! One job for each (CR, name, key). The registration with the fewest under way is next, first in
//! first out inside one, so that slow effects of one keep no other's waiting while there is room. A
//! job that has not begun goes when its plan no longer names it; one that has begun ends by itself,
//! or is cancelled when its CR or its registration goes.
//!
//! # Limits
//! Under way: `EngineConfig::effects`, and `effects_of_one` of one registration. Waiting: as many as
//! the last plans of all CRs name.

use crate::effects::EffectTask;
use crate::key::CrKey;
use crate::outcomes::Identity;
use crate::owner::Owner;
use crate::remember::Ledger;
use crate::revision::Registered;
use kybern_interface::EffectPhase;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One effect that is to run, with all that it needs.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) key: CrKey,
    pub(crate) registered: Arc<Registered>,
    pub(crate) owner: Owner,
    pub(crate) ledger: Ledger,
    pub(crate) task: EffectTask,
    pub(crate) cancel: CancellationToken,
}

impl Job {
    fn name(&self) -> Name {
        let Identity { name, key, .. } = &self.task.identity;
        (name.clone(), key.clone())
    }
}

/// Whether a job that was added will run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It waits or runs.
    There,
    /// One that was cancelled has its name until it has ended.
    Taken,
}

type Name = (String, String);

/// Where an effect in the pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    Running,
}

#[derive(Debug)]
enum State {
    /// Since when, by the pool's own count.
    Waiting(u64, Box<Job>),
    /// Has a place, and has not begun yet.
    Starting,
    Begun,
}

#[derive(Debug)]
struct Entry {
    state: State,
    identity: Identity,
    phase: EffectPhase,
    uid: String,
    cancel: CancellationToken,
}

impl Entry {
    fn waits(&self) -> bool {
        matches!(self.state, State::Waiting(..))
    }
}

#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeMap<u64, (CrKey, Name)>,
    running: usize,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct Jobs {
    of: BTreeMap<CrKey, BTreeMap<Name, Entry>>,
    lanes: BTreeMap<Arc<str>, Lane>,
    running: usize,
    stamp: u64,
    limit: usize,
    limit_of_one: usize,
}

impl Jobs {
    pub(crate) fn new(limit: usize, limit_of_one: usize) -> Self {
        Self {
            of: BTreeMap::new(),
            lanes: BTreeMap::new(),
            running: 0,
            stamp: 0,
            limit: limit.max(1),
            limit_of_one: limit_of_one.max(1),
        }
    }

    /// A job is to run, unless the effect is in the pool already.
    pub(crate) fn add(&mut self, job: Job) -> Added {
        let name = job.name();
        let of = self.of.entry(job.key.clone()).or_default();
        if let Some(entry) = of.get_mut(&name) {
            // It goes on to wait, as the newest plan wants it.
            if let State::Waiting(_, waiting) = &mut entry.state {
                entry.identity = job.task.identity.clone();
                entry.phase = job.task.phase;
                entry.uid.clone_from(&job.owner.uid);
                entry.cancel = job.cancel.clone();
                **waiting = job;
            } else if entry.cancel.is_cancelled() {
                return Added::Taken;
            }
            return Added::There;
        }
        let lane = self.lanes.entry(Arc::clone(&job.key.plugin)).or_default();
        self.stamp = self.stamp.wrapping_add(1);
        let place = (job.key.clone(), name.clone());
        lane.waiting.insert(self.stamp, place);
        let entry = Entry {
            identity: job.task.identity.clone(),
            phase: job.task.phase,
            uid: job.owner.uid.clone(),
            cancel: job.cancel.clone(),
            state: State::Waiting(self.stamp, Box::new(job)),
        };
        of.insert(name, entry);
        Added::There
    }

    /// The job that starts now, if one may.
    pub(crate) fn next(&mut self) -> Option<Job> {
        if self.running >= self.limit {
            return None;
        }
        let lanes = self.lanes.values_mut();
        let lane = lanes
            .filter(|lane| !lane.waiting.is_empty() && lane.running < self.limit_of_one)
            .min_by_key(|lane| lane.running)?;
        let (_, (key, name)) = lane.waiting.pop_first()?;
        let entry = self.of.get_mut(&key)?.get_mut(&name)?;
        let state = std::mem::replace(&mut entry.state, State::Starting);
        let State::Waiting(_, job) = state else {
            return None;
        };
        lane.running += 1;
        self.running += 1;
        Some(*job)
    }

    /// A job has begun: from now on it ends by itself.
    pub(crate) fn begun(&mut self, job: &Job) {
        if let Some(entry) = self.entry(job) {
            entry.state = State::Begun;
        }
    }

    fn entry(&mut self, job: &Job) -> Option<&mut Entry> {
        self.of.get_mut(&job.key)?.get_mut(&job.name())
    }

    /// A job that had a place has ended.
    pub(crate) fn ended(&mut self, job: &Job) {
        let Some(of) = self.of.get_mut(&job.key) else {
            return;
        };
        of.remove(&job.name());
        if of.is_empty() {
            self.of.remove(&job.key);
        }
        self.running = self.running.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(&job.key.plugin) {
            lane.running = lane.running.saturating_sub(1);
        }
        self.close_if_idle(&job.key.plugin);
    }

    fn close_if_idle(&mut self, plugin: &str) {
        let idle = |lane: &Lane| lane.running == 0 && lane.waiting.is_empty();
        if self.lanes.get(plugin).is_some_and(idle) {
            self.lanes.remove(plugin);
        }
    }

    /// Of a CR, drops what has not begun and is none of these.
    pub(crate) fn forget(&mut self, key: &CrKey, named: &[&Identity]) {
        self.drop_if(key, |entry| {
            let begun = matches!(entry.state, State::Begun);
            !begun && !named.contains(&&entry.identity)
        });
    }

    /// Ends what is of another CR of the same name, or, without a uid, all of it.
    pub(crate) fn cancel(&mut self, key: &CrKey, but: Option<&str>) {
        self.drop_if(key, |entry| Some(entry.uid.as_str()) != but);
    }

    /// Ends what is of a registration.
    pub(crate) fn close(&mut self, plugin: &str) {
        let keys = self.of.keys().filter(|key| &*key.plugin == plugin);
        for key in keys.cloned().collect::<Vec<_>>() {
            self.cancel(&key, None);
        }
    }

    fn drop_if(&mut self, key: &CrKey, goes: impl Fn(&Entry) -> bool) {
        let (Some(of), Some(lane)) = (self.of.get_mut(key), self.lanes.get_mut(&key.plugin)) else {
            return;
        };
        of.retain(|_, entry| {
            if !goes(entry) {
                return true;
            }
            entry.cancel.cancel();
            match entry.state {
                State::Waiting(stamp, _) => lane.waiting.remove(&stamp).is_none(),
                // What runs is there until it has ended.
                State::Starting | State::Begun => true,
            }
        });
        if of.is_empty() {
            self.of.remove(key);
        }
        self.close_if_idle(&key.plugin);
    }

    /// Whether an effect of the CR has a place.
    pub(crate) fn runs(&self, key: &CrKey) -> bool {
        self.any(key, |entry| !entry.waits())
    }

    /// Whether one has that is of a living CR.
    pub(crate) fn runs_normal(&self, key: &CrKey) -> bool {
        self.any(key, |entry| {
            !entry.waits() && entry.phase == EffectPhase::Normal
        })
    }

    fn any(&self, key: &CrKey, is: impl Fn(&Entry) -> bool) -> bool {
        self.of.get(key).is_some_and(|of| of.values().any(is))
    }

    /// Effects of a registration under way.
    pub(crate) fn running_of(&self, plugin: &str) -> usize {
        self.lanes.get(plugin).map_or(0, |lane| lane.running)
    }

    /// What is in the pool: of which CR, which effect, and whether it waits.
    pub(crate) fn all(&self) -> Vec<(CrKey, Identity, EffectPhase, Place)> {
        let mut all = Vec::new();
        for (key, of) in &self.of {
            for entry in of.values() {
                let place = match entry.state {
                    State::Waiting(..) => Place::Waiting,
                    State::Starting | State::Begun => Place::Running,
                };
                all.push((key.clone(), entry.identity.clone(), entry.phase, place));
            }
        }
        all
    }

    /// Effects under way, and those that wait.
    pub(crate) fn counts(&self) -> [usize; 2] {
        let waiting = self.lanes.values().map(|lane| lane.waiting.len()).sum();
        [self.running, waiting]
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
