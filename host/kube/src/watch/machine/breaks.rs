//! What breaks a watch, and what the machine does about it.

use super::{
    super::{
        failure::Failure,
        observe::Interruption,
        protocol::{Action, Output},
        state::{How, State, Then},
    },
    Machine,
};

impl Machine {
    pub(super) fn on_ended(&mut self, out: &mut Output) -> Action {
        match self.state {
            State::Watching {
                from,
                progressed: true,
            } => {
                // Most ends are the server's own time limit. But one that was restarted over another
                // etcd ends its watches just so.
                self.state = State::Probing { from };
                self.action()
            }
            State::Watching { .. }
            | State::Listing { .. }
            | State::Probing { .. }
            | State::Doubting
            | State::Waiting { .. } => {
                let closed = "the server closed the connection";
                self.retry(self.then(), Interruption::Closed, closed, None, out)
            }
        }
    }

    /// The API server is at this resourceVersion.
    pub(super) fn on_probed(&mut self, resource_version: u64, out: &mut Output) -> Action {
        let from = match self.state {
            State::Probing { from } => from,
            State::Doubting => return self.doubted(Some(resource_version), out),
            _ => return self.unasked(out),
        };
        if resource_version < self.memory.highest {
            return self.older(resource_version, out);
        }
        self.watch(from, out)
    }

    pub(super) fn on_idle(&mut self, out: &mut Output) -> Action {
        let silent = "the connection was silent for too long";
        out.interrupted(Interruption::Silent, silent);
        match self.state {
            // Whatever it is that keeps this watch silent: the second silence in a row is answered
            // with a list.
            State::Watching {
                progressed: false, ..
            } if self.memory.silent > 0 => {
                self.memory.silent = 0;
                self.list_again(silent, out)
            }
            State::Watching { from, .. } => {
                self.memory.silent = self.memory.silent.saturating_add(1);
                self.state = State::Probing { from };
                self.action()
            }
            // A server that ignores `sendInitialEvents` never ends the list; a broken connection
            // does not either, but not twice in a row.
            State::Listing {
                how: How::Streaming,
                ..
            } => {
                self.memory.silent_lists = self.memory.silent_lists.saturating_add(1);
                self.memory.streaming &= self.memory.silent_lists < 2;
                self.list_in_pages()
            }
            State::Listing { .. }
            | State::Probing { .. }
            | State::Doubting
            | State::Waiting { .. } => self.wait(self.then(), silent, None, out),
        }
    }

    pub(super) fn on_failure(&mut self, failure: Failure, out: &mut Output) -> Action {
        // What cannot be asked for is no reason to stop watching: the watch says what is wrong.
        if !matches!(failure, Failure::Transient { .. }) {
            match self.state {
                State::Probing { from } => return self.watch(from, out),
                State::Doubting => return self.doubted(None, out),
                _ => {}
            }
        }
        match failure {
            Failure::Expired => self.on_expired(out),
            Failure::BadRequest(reason) => match self.state {
                State::Listing {
                    how: How::Streaming,
                    ..
                } => {
                    let none = format!("no streaming list, reading pages: {reason}");
                    out.interrupted(Interruption::NotStreaming, &none);
                    self.memory.streaming = false;
                    self.list()
                }
                _ => self.fail(Interruption::Refused, reason, out),
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
                _ => self.fail(Interruption::Unusable, reason, out),
            },
            Failure::Refused(reason) => self.fail(Interruption::Refused, reason, out),
            Failure::Unusable(reason) => self.fail(Interruption::Unusable, reason, out),
            Failure::Transient {
                reason,
                retry_after,
            } => self.retry(self.then(), Interruption::Failed, &reason, retry_after, out),
        }
    }

    pub(super) fn on_expired(&mut self, out: &mut Output) -> Action {
        match self.state {
            State::Watching { .. } => {
                let expired = "the watch's resourceVersion expired: listing again";
                out.interrupted(Interruption::Expired, expired);
                self.list_again(expired, out)
            }
            State::Listing {
                how: How::Paged { .. },
                ..
            } => {
                let expired = "the list expired between pages: starting it again";
                out.interrupted(Interruption::Expired, expired);
                self.memory.expired_tokens = self.memory.expired_tokens.saturating_add(1);
                self.list_again(expired, out)
            }
            State::Listing { .. }
            | State::Probing { .. }
            | State::Doubting
            | State::Waiting { .. } => {
                let expired = "the list expired";
                self.retry(Then::List, Interruption::Expired, expired, None, out)
            }
        }
    }
}
