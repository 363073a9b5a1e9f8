//! Decides what a watch does next: a pure state machine.
//!
//! # States
//! ```text
//!            +--------- expired, suspicious ----------+
//!            v                                        |
//!   start -> Listing ---- list complete ----------> Watching
//!            |   ^  \                                |  |  ^
//!            |   |   +- transient -> Waiting <-------+  |  |
//!            |   +------------------ | ^ |        ended, idle
//!            +- refused, unusable: Fail+ +-> Probing <--+  |
//!                                              | |         |
//!                            Listing: older ---+ +---------+
//! ```
//! *Listing* is one streaming list, or pages where the server has no streaming lists. A streaming
//! list's connection goes on as the watch. *Waiting* knows which state follows.
//!
//! *Probing*: an API server whose etcd was restored from a snapshot accepts a watch from a
//! resourceVersion that it has not reached, says nothing until it has, and then sends what follows
//! as if nothing were missing. So after every break the resourceVersion that it is at is asked for
//! first.
//!
//! *Doubting*, after two lists in a row that were older than the table: a restored etcd says the same
//! to a consistent list of one object, a server that is only behind does not. Its lists are no state
//! to act on.
//!
//! A transient failure leaves a table that was complete as it is, old but readable. One that is not
//! complete says the reason after a [`Patience`], and is tried again all the same.

mod breaks;
#[cfg(test)]
mod tests;
mod transitions;

use std::time::Duration;

use bytes::Bytes;
use kybern_table::{Batch, Change, Deleted, KindKey, Origin};

use super::{
    Patience,
    event::Event,
    observe::{Interruption, Observation},
    protocol::{Action, Input, Output},
    state::{How, Memory, State, Then, Trouble},
};

/// The machine; [`Machine::step`] turns it into its successor.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    key: KindKey,
    what: String,
    page: u32,
    patience: Patience,
    /// On any clock that does not go backwards.
    now: Duration,
    state: State,
    memory: Memory,
}

/// How a machine starts.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) key: KindKey,
    /// What is listed, for messages: `pods in namespace a`.
    pub(crate) what: String,
    /// Whether streaming lists may be asked for.
    pub(crate) streaming: bool,
    /// Objects per page.
    pub(crate) page: u32,
    pub(crate) patience: Patience,
    /// Whether the table holds a complete list of an earlier watch.
    pub(crate) readable: bool,
    /// The highest resourceVersion that the table knows of.
    pub(crate) highest: u64,
}

impl Machine {
    pub(crate) fn new(start: Start) -> (Machine, Action) {
        let memory = Memory {
            streaming: start.streaming,
            readable: start.readable,
            trouble: Trouble::default(),
            attempts: 0,
            refusals: 0,
            silent_lists: 0,
            silent: 0,
            expired_tokens: 0,
            highest: start.highest,
            older_lists: 0,
            refused_doubts: 0,
            failed: None,
        };
        let mut machine = Machine {
            key: start.key,
            what: start.what,
            page: start.page.max(1),
            patience: start.patience,
            now: Duration::ZERO,
            state: State::Waiting { then: Then::List },
            memory,
        };
        let action = machine.list();
        (machine, action)
    }

    /// The time since the machine was made.
    pub(crate) fn at(mut self, now: Duration) -> Machine {
        self.now = now;
        self
    }

    /// Whether a list is being read.
    pub(crate) fn is_listing(&self) -> bool {
        matches!(self.state, State::Listing { .. })
    }

    pub(crate) fn step(mut self, input: Input) -> (Machine, Output) {
        let mut out = Output {
            batch: Batch::default(),
            observations: Vec::new(),
            action: Action::Read,
        };
        out.action = match input {
            Input::Event(event) => self.on_event(event, &mut out),
            Input::Page {
                items,
                resource_version,
                token,
            } => self.on_page(items, resource_version, token, &mut out),
            Input::Probed { resource_version } => self.on_probed(resource_version, &mut out),
            Input::Ended => self.on_ended(&mut out),
            Input::Idle => self.on_idle(&mut out),
            Input::Failed(failure) => self.on_failure(failure, &mut out),
            Input::Resumed => self.on_resumed(),
        };
        (self, out)
    }

    fn on_event(&mut self, event: Event, out: &mut Output) -> Action {
        match self.state {
            State::Listing {
                how: How::Streaming,
                ..
            } => self.on_list_event(event, out),
            State::Watching { from, .. } => self.on_watch_event(from, event, out),
            // Nothing is open, so there is nothing to read: ask for what the state wants.
            State::Listing { .. }
            | State::Probing { .. }
            | State::Doubting
            | State::Waiting { .. } => self.unasked(out),
        }
    }

    fn on_list_event(&mut self, event: Event, out: &mut Output) -> Action {
        self.memory.trouble.heard(self.now);
        match event {
            Event::Present { raw, .. } => {
                self.begin(out);
                out.push(Change::Upsert {
                    table: self.key.clone(),
                    raw,
                    origin: Origin::List,
                });
                Action::Read
            }
            Event::Absent { raw, .. } => {
                self.begin(out);
                let target = Deleted::Raw(raw);
                out.push(Change::Delete {
                    table: self.key.clone(),
                    target,
                });
                Action::Read
            }
            Event::Bookmark {
                resource_version,
                initial_events_end: true,
            } => {
                self.begin(out);
                self.complete(resource_version, Action::Read, out)
            }
            // A plain bookmark during a streaming list: the server took it for an ordinary watch.
            Event::Bookmark { .. } => {
                let none = "the server has no streaming lists: reading pages";
                out.interrupted(Interruption::NotStreaming, none);
                self.memory.streaming = false;
                self.list()
            }
            Event::Error(error) => {
                let cause = Interruption::Failed;
                self.retry(Then::List, cause, &error.to_string(), None, out)
            }
        }
    }

    fn on_watch_event(&mut self, from: u64, event: Event, out: &mut Output) -> Action {
        let (change, resource_version) = match event {
            Event::Present {
                raw,
                resource_version,
            } => {
                let table = self.key.clone();
                (
                    Some(Change::Upsert {
                        table,
                        raw,
                        origin: Origin::Watch,
                    }),
                    resource_version,
                )
            }
            Event::Absent {
                raw,
                resource_version,
            } => {
                let table = self.key.clone();
                (
                    Some(Change::Delete {
                        table,
                        target: Deleted::Raw(raw),
                    }),
                    resource_version,
                )
            }
            Event::Bookmark {
                resource_version, ..
            } if resource_version < from => {
                let backwards = "the watch went backwards: listing again";
                out.interrupted(Interruption::Older, backwards);
                return self.list_again(backwards, out);
            }
            Event::Bookmark {
                resource_version, ..
            } => {
                out.observations
                    .push(Observation::Bookmark { resource_version });
                (None, resource_version)
            }
            Event::Error(error) => {
                let then = Then::Watch { from };
                return self.retry(then, Interruption::Failed, &error.to_string(), None, out);
            }
        };
        out.batch.changes.extend(change);
        let from = from.max(resource_version);
        self.memory.highest = self.memory.highest.max(from);
        self.memory.attempts = 0;
        self.memory.silent = 0;
        self.memory.refusals = 0;
        self.state = State::Watching {
            from,
            progressed: true,
        };
        Action::Read
    }

    fn on_page(
        &mut self,
        items: Vec<Bytes>,
        resource_version: u64,
        token: Option<String>,
        out: &mut Output,
    ) -> Action {
        let State::Listing {
            how: How::Paged { limit, .. },
            ..
        } = self.state
        else {
            return self.unasked(out);
        };
        self.memory.trouble.over(self.now);
        self.begin(out);
        out.batch
            .changes
            .extend(items.into_iter().map(|raw| Change::Upsert {
                table: self.key.clone(),
                raw,
                origin: Origin::List,
            }));
        match token {
            Some(token) => {
                let how = How::Paged {
                    token: Some(token),
                    limit,
                };
                self.state = State::Listing { how, begun: true };
                self.action()
            }
            None => self.complete(
                resource_version,
                Action::Watch {
                    from: resource_version,
                },
                out,
            ),
        }
    }

    fn on_resumed(&mut self) -> Action {
        let State::Waiting { then } = &self.state else {
            return self.action();
        };
        match then.clone() {
            Then::List => return self.list(),
            Then::Page {
                token,
                limit,
                begun,
            } => {
                let how = How::Paged { token, limit };
                self.state = State::Listing { how, begun };
            }
            Then::Watch { from } => self.state = State::Probing { from },
        }
        self.action()
    }
}
