//! Tests of the state machine, and what they share.

mod decisions;
mod failures;
mod histories;

use std::time::Duration;

use bytes::Bytes;
use kybern_table::{Batch, Change, Deleted, KindKey, Origin};

use super::{
    super::{
        Patience,
        event::Event,
        failure::Failure,
        observe::{Interruption, Observation, Phase},
        protocol::{Action, Input, Output, WaitReason},
        state::State,
    },
    Machine, Start,
};

fn key() -> KindKey {
    KindKey::new("", "v1", "ConfigMap")
}

fn machine(streaming: bool, page: u32) -> (Machine, Action) {
    start(streaming, page, false)
}

fn start(streaming: bool, page: u32, readable: bool) -> (Machine, Action) {
    start_above(0, streaming, page, readable)
}

/// A machine whose table knows of this resourceVersion.
fn start_above(highest: u64, streaming: bool, page: u32, readable: bool) -> (Machine, Action) {
    Machine::new(Start {
        key: key(),
        what: "configmaps in namespace a".to_owned(),
        streaming,
        page,
        patience: Patience {
            tries: 5,
            time: Duration::from_secs(20),
        },
        readable,
        highest,
    })
}

fn present(name: &str, resource_version: u64) -> Input {
    let raw = Bytes::from(format!("{name}:{resource_version}"));
    Input::Event(Event::Present {
        raw,
        resource_version,
    })
}

fn bookmark(resource_version: u64, initial_events_end: bool) -> Input {
    Input::Event(Event::Bookmark {
        resource_version,
        initial_events_end,
    })
}

fn probed(resource_version: u64) -> Input {
    Input::Probed { resource_version }
}

fn refused(reason: &str) -> Input {
    Input::Failed(Failure::Refused(reason.to_owned()))
}

fn transient() -> Input {
    Input::Failed(Failure::Transient {
        reason: "broken".to_owned(),
        retry_after: None,
    })
}

/// Feeds inputs and returns the machine with the last output.
fn feed(machine: Machine, inputs: impl IntoIterator<Item = Input>) -> (Machine, Output) {
    let mut last = None;
    let mut machine = machine;
    for input in inputs {
        let (next, output) = machine.step(input);
        machine = next;
        last = Some(output);
    }
    (machine, last.expect("at least one input"))
}

fn names(output: &Output) -> Vec<&'static str> {
    output
        .batch
        .changes
        .iter()
        .map(|change| match change {
            Change::Define(_) => "define",
            Change::Drop(_) => "drop",
            Change::Upsert { .. } => "upsert",
            Change::Delete { .. } => "delete",
            Change::ListBegin { .. } => "begin",
            Change::ListEnd { .. } => "end",
            Change::Fail { .. } => "fail",
            Change::NewEpoch { .. } => "epoch",
        })
        .collect()
}

fn watching() -> Machine {
    let (machine, _) = machine(true, 500);
    feed(machine, [present("a", 3), bookmark(10, true)]).0
}
