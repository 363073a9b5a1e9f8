//! Decides what a watch does next: a pure state machine.
//!
//! # States
//! ```text
//!            +--------- expired, suspicious ----------+
//!            v                                        |
//!   start -> Listing ---- list complete ----------> Watching <-+ ended, idle
//!            |   ^  \                                 |   |    |
//!            |   |   +- transient -> Waiting <--------+   +----+
//!            |   +------------------ | ^
//!            +- refused, unusable: Fail+
//! ```
//! *Listing* is one streaming list, or pages where the server has no streaming lists. A streaming
//! list's connection goes on as the watch. *Waiting* knows which state follows.

use bytes::Bytes;
use kybern_table::{Batch, Change, Deleted, KindKey, Origin};

use super::{
    event::Event,
    failure::Failure,
    observe::{Observation, Phase},
    protocol::{Action, Input, Output, Wait, WaitReason},
};

/// The machine; [`Machine::step`] turns it into its successor.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    key: KindKey,
    page: u32,
    state: State,
    memory: Memory,
}

#[derive(Clone, Debug)]
enum State {
    /// Reading a list; `begun` once `ListBegin` was sent for it.
    Listing { how: How, begun: bool },
    /// Following events after `from`; `progressed` once this connection delivered one.
    Watching { from: u64, progressed: bool },
    /// Nothing is open.
    Waiting { then: Then },
}

#[derive(Clone, Debug)]
enum How {
    Streaming,
    Paged {
        token: Option<String>,
        limit: Option<u32>,
    },
}

#[derive(Clone, Debug)]
enum Then {
    /// A list from its beginning.
    List,
    /// The rest of a list in pages.
    Page {
        token: Option<String>,
        limit: Option<u32>,
        begun: bool,
    },
    Watch {
        from: u64,
    },
}

/// What outlives a state.
#[derive(Clone, Debug)]
struct Memory {
    /// Whether streaming lists may be asked for.
    streaming: bool,
    /// Failures since a watch last made progress.
    attempts: u32,
    /// Refusals since a list last completed.
    refusals: u32,
    /// Watches in a row that ended without having said anything.
    silent: u32,
    /// Continue tokens that expired since a list last completed.
    expired_tokens: u32,
    /// The highest resourceVersion that the server vouched for.
    highest: u64,
    /// Complete lists in a row that were older than that.
    older_lists: u32,
    /// The reason of the last `Fail`, until a list begins.
    failed: Option<String>,
}

impl Machine {
    pub(crate) fn new(key: KindKey, streaming: bool, page: u32) -> (Machine, Action) {
        let memory = Memory {
            streaming,
            attempts: 0,
            refusals: 0,
            silent: 0,
            expired_tokens: 0,
            highest: 0,
            older_lists: 0,
            failed: None,
        };
        let state = State::Waiting { then: Then::List };
        let mut machine = Machine {
            key,
            page: page.max(1),
            state,
            memory,
        };
        let action = machine.list();
        (machine, action)
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
            Input::Ended => self.on_ended(&mut out),
            Input::Idle => self.on_idle(&mut out),
            Input::Failed(failure) => self.on_failure(failure, &mut out),
            Input::Resumed => self.on_resumed(&mut out),
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
            State::Listing { .. } | State::Waiting { .. } => self.wait(self.then(), None, out),
        }
    }

    fn on_list_event(&mut self, event: Event, out: &mut Output) -> Action {
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
                out.interrupted("the server has no streaming lists: reading pages");
                self.memory.streaming = false;
                self.list()
            }
            Event::Error(_) => self.wait(Then::List, None, out),
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
                out.interrupted("the watch went backwards: listing again");
                return self.list_again(out);
            }
            Event::Bookmark {
                resource_version, ..
            } => (None, resource_version),
            Event::Error(_) => return self.wait(Then::Watch { from }, None, out),
        };
        out.batch.changes.extend(change);
        let from = from.max(resource_version);
        self.memory.highest = self.memory.highest.max(from);
        self.memory.attempts = 0;
        self.memory.silent = 0;
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
            return self.wait(self.then(), None, out);
        };
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

    fn on_ended(&mut self, out: &mut Output) -> Action {
        match self.state {
            State::Watching {
                from,
                progressed: true,
            } => {
                self.state = State::Watching {
                    from,
                    progressed: false,
                };
                self.action()
            }
            State::Watching { .. } | State::Listing { .. } | State::Waiting { .. } => {
                out.interrupted("the server closed the connection");
                self.wait(self.then(), None, out)
            }
        }
    }

    fn on_idle(&mut self, out: &mut Output) -> Action {
        out.interrupted("the connection was silent for too long");
        match self.state {
            // A watch at a resourceVersion from before etcd was restored is silent for ever, so the
            // second silence in a row is answered with a list.
            State::Watching {
                progressed: false, ..
            } if self.memory.silent > 0 => {
                self.memory.silent = 0;
                self.list_again(out)
            }
            State::Watching { from, .. } => {
                self.memory.silent = self.memory.silent.saturating_add(1);
                self.state = State::Watching {
                    from,
                    progressed: false,
                };
                self.action()
            }
            // A server that ignores `sendInitialEvents` never ends the list.
            State::Listing {
                how: How::Streaming,
                ..
            } => {
                self.memory.streaming = false;
                self.list()
            }
            State::Listing { .. } | State::Waiting { .. } => self.wait(self.then(), None, out),
        }
    }

    fn on_failure(&mut self, failure: Failure, out: &mut Output) -> Action {
        match failure {
            Failure::Expired => self.on_expired(out),
            Failure::BadRequest(reason) => match self.state {
                State::Listing {
                    how: How::Streaming,
                    ..
                } => {
                    out.interrupted(&format!("no streaming list, reading pages: {reason}"));
                    self.memory.streaming = false;
                    self.list()
                }
                _ => self.fail(reason, out),
            },
            Failure::PageTooLarge(reason) => match &self.state {
                State::Listing {
                    how: How::Paged { token, limit },
                    begun,
                } if *limit != Some(1) => {
                    let limit = limit.map_or(self.page, |limit| (limit / 4).max(1));
                    let how = How::Paged {
                        token: token.clone(),
                        limit: Some(limit),
                    };
                    self.state = State::Listing { how, begun: *begun };
                    self.action()
                }
                _ => self.fail(reason, out),
            },
            Failure::Refused(reason) | Failure::Unusable(reason) => self.fail(reason, out),
            Failure::Transient {
                reason,
                retry_after,
            } => {
                out.interrupted(&reason);
                self.wait(self.then(), retry_after, out)
            }
        }
    }

    fn on_expired(&mut self, out: &mut Output) -> Action {
        match self.state {
            State::Watching { .. } => {
                out.interrupted("the watch's resourceVersion expired: listing again");
                self.list_again(out)
            }
            State::Listing {
                how: How::Paged { .. },
                ..
            } => {
                out.interrupted("the list expired between pages: starting it again");
                self.memory.expired_tokens = self.memory.expired_tokens.saturating_add(1);
                self.list_again(out)
            }
            State::Listing { .. } | State::Waiting { .. } => self.wait(Then::List, None, out),
        }
    }

    fn on_resumed(&mut self, out: &mut Output) -> Action {
        let State::Waiting { then } = &self.state else {
            return self.action();
        };
        match then.clone() {
            Then::List => self.list(),
            Then::Page {
                token,
                limit,
                begun,
            } => {
                self.state = State::Listing {
                    how: How::Paged { token, limit },
                    begun,
                };
                self.action()
            }
            Then::Watch { from } => {
                self.state = State::Watching {
                    from,
                    progressed: false,
                };
                out.phase(Phase::Watching);
                self.action()
            }
        }
    }

    /// Sends `ListBegin` once per list.
    fn begin(&mut self, out: &mut Output) {
        if let State::Listing { begun, .. } = &mut self.state
            && !*begun
        {
            *begun = true;
            self.memory.failed = None;
            out.phase(Phase::Listing);
            out.push(Change::ListBegin {
                table: self.key.clone(),
            });
        }
    }

    /// The list is whole; `next` goes on from it.
    fn complete(&mut self, resource_version: u64, next: Action, out: &mut Output) -> Action {
        if resource_version < self.memory.highest {
            return self.older(resource_version, out);
        }
        self.memory.highest = resource_version;
        self.memory.older_lists = 0;
        self.memory.refusals = 0;
        self.memory.expired_tokens = 0;
        self.state = State::Watching {
            from: resource_version,
            progressed: false,
        };
        out.push(Change::ListEnd {
            table: self.key.clone(),
            resource_version,
        });
        out.observations
            .push(Observation::Listed { resource_version });
        out.phase(Phase::Watching);
        next
    }

    /// A consistent list is older than what the same server said before. Once can be a confused
    /// proxy; twice in a row is another etcd.
    fn older(&mut self, resource_version: u64, out: &mut Output) -> Action {
        self.memory.older_lists = self.memory.older_lists.saturating_add(1);
        if self.memory.older_lists < 2 {
            out.interrupted(&format!(
                "a list at resourceVersion {resource_version} is older than the table at {}: listing again",
                self.memory.highest
            ));
            return self.wait(Then::List, None, out);
        }
        self.memory.older_lists = 0;
        self.memory.highest = 0;
        out.push(Change::NewEpoch {
            table: self.key.clone(),
        });
        out.observations.push(Observation::NewEpoch);
        self.list()
    }

    /// A list from its beginning, at once.
    fn list(&mut self) -> Action {
        let how = if self.memory.streaming {
            How::Streaming
        } else {
            // Where tokens expire faster than pages can be read, only a whole list ends.
            let limit = (self.memory.expired_tokens < 2).then_some(self.page);
            How::Paged { token: None, limit }
        };
        self.state = State::Listing { how, begun: false };
        self.action()
    }

    /// A list because the watch cannot go on: at once the first time, then with growing waits.
    fn list_again(&mut self, out: &mut Output) -> Action {
        if self.memory.attempts == 0 {
            self.memory.attempts = 1;
            self.list()
        } else {
            self.wait(Then::List, None, out)
        }
    }

    fn wait(
        &mut self,
        then: Then,
        at_least: Option<std::time::Duration>,
        out: &mut Output,
    ) -> Action {
        let attempt = self.memory.attempts;
        self.memory.attempts = attempt.saturating_add(1);
        self.state = State::Waiting { then };
        out.phase(Phase::Waiting);
        Action::Wait(Wait {
            reason: WaitReason::Retry,
            attempt,
            at_least,
        })
    }

    /// The table cannot be kept: say so, and start over after a long wait.
    fn fail(&mut self, reason: String, out: &mut Output) -> Action {
        let attempt = self.memory.refusals;
        self.memory.refusals = attempt.saturating_add(1);
        if self.memory.failed.as_ref() != Some(&reason) {
            out.push(Change::Fail {
                table: self.key.clone(),
                reason: reason.clone(),
            });
        }
        out.interrupted(&reason);
        out.phase(Phase::Failed);
        self.memory.failed = Some(reason);
        self.state = State::Waiting { then: Then::List };
        Action::Wait(Wait {
            reason: WaitReason::Refused,
            attempt,
            at_least: None,
        })
    }

    /// What to do after a wait, from here.
    fn then(&self) -> Then {
        match &self.state {
            State::Listing {
                how: How::Streaming,
                ..
            } => Then::List,
            State::Listing {
                how: How::Paged { token, limit },
                begun,
            } => Then::Page {
                token: token.clone(),
                limit: *limit,
                begun: *begun,
            },
            State::Watching { from, .. } => Then::Watch { from: *from },
            State::Waiting { then } => then.clone(),
        }
    }

    /// What opens the state that the machine is in.
    fn action(&self) -> Action {
        match &self.state {
            State::Listing {
                how: How::Streaming,
                ..
            } => Action::StreamList,
            State::Listing {
                how: How::Paged { token, limit },
                ..
            } => Action::ReadPage {
                token: token.clone(),
                limit: *limit,
            },
            State::Watching { from, .. } => Action::Watch { from: *from },
            State::Waiting { .. } => Action::Wait(Wait {
                reason: WaitReason::Retry,
                attempt: self.memory.attempts,
                at_least: None,
            }),
        }
    }
}
