//! How the machine goes from one state to the next.

use std::time::Duration;

use kybern_table::Change;

use super::{
    super::{
        observe::{Interruption, Observation, Phase},
        protocol::{Action, Output, Wait, WaitReason},
        state::{How, State, Then, Verdict},
    },
    Machine,
};

impl Machine {
    /// Sends `ListBegin` once per list.
    pub(super) fn begin(&mut self, out: &mut Output) {
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
    pub(super) fn complete(
        &mut self,
        resource_version: u64,
        next: Action,
        out: &mut Output,
    ) -> Action {
        if resource_version < self.memory.highest {
            return self.older(resource_version, out);
        }
        self.memory.highest = resource_version;
        self.memory.older_lists = 0;
        self.memory.refused_doubts = 0;
        if let State::Listing {
            how: How::Streaming,
            ..
        } = self.state
        {
            // Pages tell nothing of whether a watch is granted: without that they would be read
            // again and again.
            self.memory.refusals = 0;
            self.memory.silent_lists = 0;
        }
        self.memory.expired_tokens = 0;
        self.memory.readable = true;
        self.memory.trouble.over(self.now);
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

    /// A consistent list, a probe's included, is older than what the same server said before. Once
    /// can be a confused proxy; twice in a row may be another etcd, or a server that is behind: a
    /// consistent list of one object says which.
    pub(super) fn older(&mut self, resource_version: u64, out: &mut Output) -> Action {
        self.memory.older_lists = self.memory.older_lists.saturating_add(1);
        if self.memory.older_lists < 2 {
            let older = format!(
                "a list at resourceVersion {resource_version} is older than the table at {}: listing again",
                self.memory.highest
            );
            return self.retry(Then::List, Interruption::Older, &older, None, out);
        }
        self.state = State::Doubting;
        self.action()
    }

    /// The API server is at this resourceVersion, if that could be asked for, after lists that were
    /// older than the table.
    pub(super) fn doubted(&mut self, at: Option<u64>, out: &mut Output) -> Action {
        let highest = self.memory.highest;
        if at.is_none() && self.memory.refused_doubts == 0 {
            // A server that starts refuses whom it will know in a moment.
            self.memory.refused_doubts = 1;
            let refused = format!(
                "lists are older than the table at {highest}, and a list of one object is refused: listing again"
            );
            return self.retry(Then::List, Interruption::Older, &refused, None, out);
        }
        self.memory.refused_doubts = 0;
        if let Some(at) = at.filter(|at| *at >= highest) {
            self.memory.older_lists = 1;
            let behind = format!(
                "lists are older than the table at {highest}, and a list of one object is not, at resourceVersion {at}: listing again"
            );
            return self.retry(Then::List, Interruption::Older, &behind, None, out);
        }
        self.new_epoch(at.unwrap_or_default(), out)
    }

    /// Another etcd: what the table holds is of a history that is lost.
    fn new_epoch(&mut self, at: u64, out: &mut Output) -> Action {
        self.memory.older_lists = 0;
        self.memory.highest = at;
        self.memory.readable = false;
        self.memory.trouble.over(self.now);
        out.push(Change::NewEpoch {
            table: self.key.clone(),
        });
        out.observations.push(Observation::NewEpoch);
        self.list()
    }

    /// A list from its beginning, at once.
    pub(super) fn list(&mut self) -> Action {
        if !self.memory.streaming {
            return self.list_in_pages();
        }
        self.state = State::Listing {
            how: How::Streaming,
            begun: false,
        };
        self.action()
    }

    /// This one list in pages, whatever the server can do.
    pub(super) fn list_in_pages(&mut self) -> Action {
        // Where tokens expire faster than pages can be read, only a whole list ends.
        let limit = (self.memory.expired_tokens < 2).then_some(self.page);
        self.state = State::Listing {
            how: How::Paged { token: None, limit },
            begun: false,
        };
        self.action()
    }

    /// The watch goes on after this resourceVersion.
    pub(super) fn watch(&mut self, from: u64, out: &mut Output) -> Action {
        self.state = State::Watching {
            from,
            progressed: false,
        };
        out.phase(Phase::Watching);
        self.action()
    }

    /// A list because the watch cannot go on: at once the first time, then with growing waits.
    pub(super) fn list_again(&mut self, why: &str, out: &mut Output) -> Action {
        if self.memory.attempts == 0 {
            self.memory.attempts = 1;
            self.list()
        } else {
            self.wait(Then::List, why, None, out)
        }
    }

    /// Nothing is open that could have said this.
    pub(super) fn unasked(&mut self, out: &mut Output) -> Action {
        self.wait(self.then(), "an answer came unasked", None, out)
    }

    /// Says what went wrong and tries again.
    pub(super) fn retry(
        &mut self,
        then: Then,
        cause: Interruption,
        why: &str,
        at_least: Option<Duration>,
        out: &mut Output,
    ) -> Action {
        out.interrupted(cause, why);
        self.wait(then, why, at_least, out)
    }

    pub(super) fn wait(
        &mut self,
        then: Then,
        why: &str,
        at_least: Option<Duration>,
        out: &mut Output,
    ) -> Action {
        let attempt = self.memory.attempts;
        self.memory.attempts = attempt.saturating_add(1);
        let pause = at_least.unwrap_or_default();
        let gives_up = !self.memory.readable
            && self.memory.trouble.more(self.now, pause, &self.patience) == Verdict::GiveUp;
        if gives_up {
            let what = &self.what;
            let reason =
                format!("{what} cannot be listed for now: {why}; this host goes on trying");
            self.unreadable(reason, out);
        } else {
            self.state = State::Waiting { then };
            out.phase(Phase::Waiting);
        }
        Action::Wait(Wait {
            reason: WaitReason::Retry,
            attempt,
            at_least,
        })
    }

    /// The table cannot be kept: say so, and start over after a long wait. An API server that starts
    /// refuses whom it will know in a moment, so a complete table outlives one refusal.
    pub(super) fn fail(&mut self, cause: Interruption, reason: String, out: &mut Output) -> Action {
        let attempt = self.memory.refusals;
        self.memory.refusals = attempt.saturating_add(1);
        out.interrupted(cause, &reason);
        if cause == Interruption::Refused && self.memory.readable && attempt == 0 {
            self.state = State::Waiting { then: self.then() };
            out.phase(Phase::Waiting);
        } else {
            self.unreadable(reason, out);
        }
        Action::Wait(Wait {
            reason: WaitReason::Refused,
            attempt,
            at_least: None,
        })
    }

    /// Fails the table for this reason, unless it says so already; a whole list heals it.
    pub(super) fn unreadable(&mut self, reason: String, out: &mut Output) {
        if self.memory.failed.as_ref() != Some(&reason) {
            out.push(Change::Fail {
                table: self.key.clone(),
                reason: reason.clone(),
            });
        }
        out.phase(Phase::Failed);
        self.memory.failed = Some(reason);
        self.memory.readable = false;
        self.state = State::Waiting { then: Then::List };
    }

    /// What to do after a wait, from here.
    pub(super) fn then(&self) -> Then {
        match &self.state {
            State::Listing {
                how: How::Streaming,
                ..
            }
            | State::Doubting => Then::List,
            State::Listing {
                how: How::Paged { token, limit },
                begun,
            } => Then::Page {
                token: token.clone(),
                limit: *limit,
                begun: *begun,
            },
            State::Probing { from } | State::Watching { from, .. } => Then::Watch { from: *from },
            State::Waiting { then } => then.clone(),
        }
    }

    /// What opens the state that the machine is in.
    pub(super) fn action(&self) -> Action {
        match (&self.state, self.then()) {
            (State::Waiting { .. }, _) => Action::Wait(Wait {
                reason: WaitReason::Retry,
                attempt: self.memory.attempts,
                at_least: None,
            }),
            (State::Probing { .. } | State::Doubting, _) => Action::Probe,
            (_, Then::List) => Action::StreamList,
            (_, Then::Page { token, limit, .. }) => Action::ReadPage { token, limit },
            (_, Then::Watch { from }) => Action::Watch { from },
        }
    }
}
