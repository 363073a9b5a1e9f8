//! What made a pass due: for the report, `explain` and tables.
//!
//! # Limits
//! The first trigger is kept, of the others the number; texts that come from objects are cut.

use kybern_table::KindKey;
use std::fmt;
use std::sync::Arc;

/// Characters of a text that is kept of an object.
const LONGEST: usize = 128;

/// What made a pass due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The first trigger since the pass before.
    pub by: StartedBy,
    /// How many came after it.
    pub others: u32,
}

/// One trigger of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartedBy {
    /// The host began to run passes, the registration is new, or the CR came with the first list
    /// of its table.
    StartUp,
    /// The registration has another plugin, other settings or grants.
    Registration,
    /// Another registration of the same kind came or went.
    Rival,
    /// The CR was made, changed or deleted.
    Resource,
    /// A child of the CR changed.
    Child(Arc<RowName>),
    /// An object that the CR patches changed.
    Patched(Arc<RowName>),
    /// A row changed that an answer was read from.
    Answer(Arc<RowName>, Arc<Matched>),
    /// A name changed hands that a child could not have, or a namespace that was missing came.
    Name(Arc<RowName>),
    /// A table can be read now.
    Table(KindKey),
    /// The changes since the last look are not known any more, so that everything is looked at.
    LogLost,
    /// The delay after a failure, a wait or a conflict is over.
    Retry,
    /// The plugin's own delay is over.
    Timer,
    /// An effect has ended.
    Outcome(Arc<str>),
    /// An effect is to run again.
    Effect,
    /// The CR has come to rest and is no longer slowed down.
    Rested,
    /// Nothing has happened for long.
    Resync,
}

impl StartedBy {
    /// The row that changed, if it was one and not the CR's own.
    pub fn row(&self) -> Option<&RowName> {
        match self {
            Self::Child(row) | Self::Patched(row) | Self::Answer(row, _) | Self::Name(row) => {
                Some(row)
            }
            _ => None,
        }
    }

    /// What it is in one word, without names or values: for spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StartUp => "start",
            Self::Registration => "registration",
            Self::Rival => "rival",
            Self::Resource => "resource",
            Self::Child(_) => "child",
            Self::Patched(_) => "patched",
            Self::Answer(..) => "answer",
            Self::Name(_) => "name",
            Self::Table(_) => "table",
            Self::LogLost => "log_lost",
            Self::Retry => "retry",
            Self::Timer => "timer",
            Self::Outcome(_) => "outcome",
            Self::Effect => "effect",
            Self::Rested => "rested",
            Self::Resync => "resync",
        }
    }
}

/// A row by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowName {
    /// Its table.
    pub table: KindKey,
    /// Empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// By what a changed row matched a read set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The index and the value that was looked up; none if every row counts.
    pub key: Option<String>,
    /// The first column read that has another value; none if the row came, went or moved to or from
    /// the key, or if all of it is read.
    pub column: Option<String>,
}

impl Matched {
    pub(crate) fn new(key: Option<String>, column: Option<&str>) -> Self {
        Self {
            key: key.map(|key| cut(&key)),
            column: column.map(cut),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = crate::key::name_key(&self.namespace, &self.name);
        write!(f, "{} {name}", self.table.kind)
    }
}

impl fmt::Display for StartedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartUp => f.write_str("start"),
            Self::Registration => f.write_str("the registration changed"),
            Self::Rival => f.write_str("another registration of the kind came or went"),
            Self::Resource => f.write_str("the resource changed"),
            Self::Child(row) => write!(f, "child {row} changed"),
            Self::Patched(row) => write!(f, "{row} changed, which is patched"),
            Self::Answer(row, matched) => {
                write!(f, "{row} changed, which a query reads")?;
                if let Some(key) = &matched.key {
                    write!(f, " by {key}")?;
                }
                match &matched.column {
                    Some(column) => write!(f, ", in {column}"),
                    None => Ok(()),
                }
            }
            Self::Name(row) => write!(f, "the name {row} changed hands"),
            Self::Table(table) => write!(f, "{table} can be read"),
            Self::LogLost => f.write_str("the change log was too short"),
            Self::Retry => f.write_str("retry"),
            Self::Timer => f.write_str("the plugin's timer"),
            Self::Outcome(name) => write!(f, "effect {name} has ended"),
            Self::Effect => f.write_str("an effect is due"),
            Self::Rested => f.write_str("it has come to rest"),
            Self::Resync => f.write_str("resync"),
        }
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.others {
            0 => self.by.fmt(f),
            others => write!(f, "{} and {others} more", self.by),
        }
    }
}

/// One trigger of a pass, and how many came after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Causes(Option<Started>);

impl Causes {
    pub(crate) fn of(by: StartedBy) -> Self {
        Self(Some(Started { by, others: 0 }))
    }

    /// What came later.
    pub(crate) fn merge(&mut self, later: Self) {
        match (&mut self.0, later.0) {
            (Some(first), Some(later)) => {
                let more = later.others.saturating_add(1);
                first.others = first.others.saturating_add(more);
            }
            (none @ None, later) => *none = later,
            (Some(_), None) => {}
        }
    }

    /// The first; what has no cause is a retry of the queue's own.
    pub(crate) fn kind(&self) -> &'static str {
        self.0
            .as_ref()
            .map_or(StartedBy::Retry.kind(), |first| first.by.kind())
    }

    /// The form for tables; none if there is no cause.
    pub(crate) fn told(self) -> Option<Started> {
        self.0
    }

    /// The report's form; what has no cause is a retry of the queue's own.
    pub(crate) fn started(&self) -> Started {
        self.0.clone().unwrap_or(Started {
            by: StartedBy::Retry,
            others: 0,
        })
    }
}
