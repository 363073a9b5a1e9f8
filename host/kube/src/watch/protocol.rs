//! What the state machine is told, and what it asks for.

use std::time::Duration;

use bytes::Bytes;
use kybern_table::{Batch, Change};

use super::{
    event::Event,
    failure::Failure,
    observe::{Interruption, Observation, Phase},
};

/// What the machine is told.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A line of the open stream. Error events come as [`Input::Failed`].
    Event(Event),
    /// The page that was asked for.
    Page {
        items: Vec<Bytes>,
        resource_version: u64,
        token: Option<String>,
    },
    /// The server closed the stream, or the connection broke while reading it.
    Ended,
    /// What the probe found: the resourceVersion that the API server is at.
    Probed { resource_version: u64 },
    /// The stream said nothing for too long.
    Idle,
    /// What was asked for failed.
    Failed(Failure),
    /// The wait is over.
    Resumed,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open a streaming list.
    StreamList,
    /// Read a page of a list.
    ReadPage {
        token: Option<String>,
        limit: Option<u32>,
    },
    /// Ask for the resourceVersion that the API server is at, by a consistent list of one object.
    Probe,
    /// Open a watch.
    Watch { from: u64 },
    /// Go on reading the open stream.
    Read,
    /// Wait, without any stream.
    Wait(Wait),
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) reason: WaitReason,
    /// Counts up from 0 as long as nothing gets better.
    pub(crate) attempt: u32,
    /// The server's own wish.
    pub(crate) at_least: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitReason {
    /// It may work by itself.
    Retry,
    /// Somebody must change something first.
    Refused,
}

/// What follows from an input.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) batch: Batch,
    pub(crate) observations: Vec<Observation>,
    pub(crate) action: Action,
}

impl Output {
    pub(super) fn push(&mut self, change: Change) {
        self.batch.changes.push(change);
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        self.observations.push(Observation::Phase(phase));
    }

    pub(super) fn interrupted(&mut self, cause: Interruption, reason: &str) {
        self.observations.push(Observation::Interrupted {
            cause,
            reason: reason.to_owned(),
        });
    }
}
