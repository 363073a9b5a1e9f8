//! Rules, read.

use super::Command;
use crate::diagnostic::Place;
use crate::jinja::Source;
use crate::sql::Statement;
use kybern_sdk::Gvk;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Like `maintain[0]`.
    pub path: String,
    /// Where it stands.
    pub place: Place,
    /// Sense.
    pub watch: Watch,
    /// Rows.
    pub query: Vec<(String, Statement)>,
    /// Decide.
    pub when: Option<Source>,
    /// Names.
    pub set: Vec<(String, Source)>,
    /// Act.
    pub action: Vec<Command>,
    /// Whether templates read `old`.
    pub old: bool,
}

/// What is watched.
#[derive(Debug)]
pub struct Watch {
    /// The point in the lifecycle.
    pub category: Category,
    /// The kind; none = the CR itself.
    pub kind: Option<Gvk>,
    /// Its plural.
    pub plural: String,
    /// Which objects.
    pub scope: Scope,
    /// A condition.
    pub filter: Option<Statement>,
    /// Milliseconds.
    pub every: Option<u64>,
}

/// Which objects are watched.
#[derive(Debug)]
pub enum Scope {
    /// Those of the CR.
    Owned,
    /// Those in its namespace.
    Namespace,
    /// All.
    Cluster,
    /// Those with labels.
    Selector {
        /// Labels.
        labels: Vec<(String, Source)>,
        /// Everywhere.
        everywhere: bool,
    },
}

/// The points of the lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the published names")]
pub enum Category {
    DidMount,
    DidChange,
    ShouldUpdate,
    DidUpdate,
    WillUnmount,
    DidUnmount,
    DidCatch,
}

impl Category {
    /// The category of a published name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("Resource")? {
            "DidMount" => Self::DidMount,
            "DidChange" => Self::DidChange,
            "ShouldUpdate" => Self::ShouldUpdate,
            "DidUpdate" => Self::DidUpdate,
            "WillUnmount" => Self::WillUnmount,
            "DidUnmount" => Self::DidUnmount,
            "DidCatch" => Self::DidCatch,
            _ => return None,
        })
    }
}
