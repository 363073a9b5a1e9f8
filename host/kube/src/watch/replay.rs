//! Reads a recorded watch: the lines of a streaming list and of what followed, without a connection.
//!
//! What a line becomes is decided by the same code as for a live watch. For benches and for
//! looking at a recording.

use kybern_table::{Batch, TableDef};

use crate::resource::Resource;

use super::{
    WatchConfig,
    event::{Event, EventError, parse},
    lines::{LineTooLong, Lines},
    machine::{Machine, Start},
    protocol::{Action, Input},
};

/// A recording is not that of one unbroken watch. Reading on does not help.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A line is longer than [`WatchConfig::max_line_bytes`].
    #[error("the recording has a line that no watch would accept")]
    Line(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A line is no watch event.
    #[error("the recording has a line that is no watch event")]
    Event(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The watch would be opened again after this line.
    #[error("the recorded watch ends within the recording: {0}")]
    Ended(String),
}

impl From<LineTooLong> for ReplayError {
    fn from(error: LineTooLong) -> ReplayError {
        ReplayError::Line(Box::new(error))
    }
}

impl From<EventError> for ReplayError {
    fn from(error: EventError) -> ReplayError {
        ReplayError::Event(Box::new(error))
    }
}

/// A recorded watch of one table, from its streaming list on.
#[derive(Debug)]
pub struct Replay {
    resource: Resource,
    lines: Lines,
    /// Always there between two calls.
    machine: Option<Machine>,
}

impl Replay {
    /// Nothing read yet.
    #[must_use]
    pub fn new(def: &TableDef, config: &WatchConfig) -> Replay {
        let resource = Resource::from(def);
        let (machine, _) = Machine::new(Start {
            key: def.key.clone(),
            what: resource.qualified(),
            streaming: true,
            page: config.page,
            patience: config.patience.clone(),
            readable: false,
            highest: 0,
        });
        Replay {
            resource,
            lines: Lines::new(config.max_line_bytes),
            machine: Some(machine),
        }
    }

    /// More of the recording, cut anywhere.
    pub fn push(&mut self, chunk: &[u8]) {
        self.lines.push(chunk);
    }

    /// Adds what the next whole line says to the batch; false when more must be pushed.
    ///
    /// # Errors
    /// [`ReplayError`], when this is no recording of one unbroken watch.
    pub fn next(&mut self, batch: &mut Batch) -> Result<bool, ReplayError> {
        let Some(line) = self.lines.next()? else {
            return Ok(false);
        };
        let event = parse(&line, &self.resource, false)?;
        if let Event::Error(error) = &event {
            return Err(ReplayError::Ended(error.to_string()));
        }
        let Some(machine) = self.machine.take() else {
            return Ok(false);
        };
        let (machine, output) = machine.step(Input::Event(event));
        self.machine = Some(machine);
        batch.changes.extend(output.batch.changes);
        match output.action {
            Action::Read => Ok(true),
            action => Err(ReplayError::Ended(format!("{action:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kybern_table::{KindKey, StoreConfig, store};

    fn maps() -> TableDef {
        TableDef {
            key: KindKey::new("", "v1", "ConfigMap"),
            schema: "core".to_owned(),
            plural: "configmaps".to_owned(),
            namespaced: true,
            label_keys: Vec::new(),
            path_indexes: Vec::new(),
        }
    }

    fn line(event: &str, name: &str, version: u64) -> String {
        format!(
            r#"{{"type":"{event}","object":{{"metadata":{{"name":"{name}","namespace":"n","uid":"{name}","resourceVersion":"{version}"}}}}}}"#
        )
    }

    const LISTED: &str = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;

    #[test]
    fn a_recording_ends_in_the_table_that_the_watch_had() {
        let recording = [
            line("ADDED", "a", 1),
            line("ADDED", "b", 2),
            LISTED.to_owned(),
            line("MODIFIED", "a", 3),
            line("DELETED", "b", 4),
            line("ADDED", "c", 5),
            String::new(),
        ];
        let mut replay = Replay::new(&maps(), &WatchConfig::default());
        let (mut writer, reader) = store(StoreConfig::default());
        let mut batch = Batch {
            changes: vec![kybern_table::Change::Define(maps())],
        };
        for chunk in recording.join("\n").as_bytes().chunks(7) {
            replay.push(chunk);
            while replay.next(&mut batch).expect("a watch") {}
        }
        assert_eq!(writer.apply(batch).errors, vec![]);
        let view = reader.snapshot().table(&maps().key).expect("defined");
        let index = kybern_table::Index::Name;
        let version = |name: &str| {
            let rows = view.lookup(&index, &format!("n/{name}")).expect("readable");
            rows.first().map(kybern_table::Row::resource_version)
        };
        assert_eq!(
            [version("a"), version("b"), version("c")],
            [Some(3), None, Some(5)]
        );
    }

    #[test]
    fn what_would_open_the_watch_again_is_an_error() {
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#
            .to_owned();
        for bad in [gone, "{}".to_owned(), line("ADDED", "a", 1) + "x"] {
            let mut replay = Replay::new(&maps(), &WatchConfig::default());
            replay.push(format!("{bad}\n").as_bytes());
            assert!(replay.next(&mut Batch::default()).is_err(), "{bad}");
        }
    }
}
