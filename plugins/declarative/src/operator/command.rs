//! Commands, read.

use crate::diagnostic::Place;
use crate::jinja::Source;
use crate::sql::Statement;
use crate::yaml::Node;

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Like `deploy[0]`.
    pub path: String,
    /// Where it stands.
    pub place: Place,
    /// Only if this holds.
    pub when: Option<Source>,
    /// Once for each item.
    pub foreach: Option<Source>,
    /// Whether the others go on when it fails.
    pub goes_on: bool,
    /// What it does.
    pub what: What,
}

/// What a command does.
#[derive(Debug)]
pub enum What {
    /// Children from a chart.
    Helm(Box<Helm>),
    /// Children from templates, or from files as they stand.
    Files {
        /// Paths.
        files: Vec<String>,
        /// Whether they are templates.
        templates: bool,
        /// An object beside them.
        object: Option<Inline>,
        /// Files of values.
        values: Vec<String>,
        /// How they are kept.
        child: Child,
    },
    /// A change of an object.
    Patch(Patch),
    /// An object that goes.
    Delete {
        /// Which; none = the watched one.
        target: Option<Target>,
        /// Background, Foreground or Orphan.
        propagation: Option<String>,
    },
    /// Changes by a statement.
    Sql(Statement),
    /// Fields of the status.
    Status(Inline),
    /// An Event.
    Event {
        /// Whether it is a warning.
        warning: bool,
        /// For machines.
        reason: Source,
        /// For people.
        message: Source,
    },
    /// A barrier.
    Wait {
        /// What must hold.
        until: Option<Source>,
        /// What is waited for.
        message: Option<Source>,
    },
    /// A request.
    Http(Http),
}

/// A chart.
#[derive(Debug)]
pub struct Helm {
    /// Its path.
    pub chart: String,
    /// Files of values.
    pub values: Vec<String>,
    /// Values over them.
    pub set: Option<Inline>,
    /// The release's name.
    pub release: Option<Source>,
    /// Its namespace.
    pub namespace: Option<Source>,
    /// Where notes go.
    pub notes: Option<String>,
    /// A missing value is an error.
    pub strict: bool,
    /// Without the chart's schema.
    pub skip_schema: bool,
    /// Without the folder crds.
    pub skip_crds: bool,
    /// How they are kept.
    pub child: Child,
}

/// How children are kept.
#[derive(Debug, Clone, Default)]
pub struct Child {
    /// Made if absent, then left alone.
    pub create_once: bool,
    /// Later ones wait for it.
    pub ready: bool,
    /// Deleted and made again when a field cannot change.
    pub recreate: bool,
    /// Taken over.
    pub adopt: bool,
    /// delete, orphan or keep.
    pub prune: Option<String>,
    /// Fields of others.
    pub ignore_paths: Vec<String>,
    /// Also while the CR is being deleted.
    pub during_deletion: bool,
}

/// A value in the operator file whose texts may be templates.
#[derive(Debug, Clone)]
pub struct Inline {
    /// The file.
    pub file: String,
    /// The value.
    pub node: Node,
}

/// A patch.
#[derive(Debug)]
pub struct Patch {
    /// A template.
    pub file: Option<String>,
    /// Or here.
    pub inline: Option<Inline>,
    /// Which object.
    pub target: Option<Target>,
    /// apply, merge, json or strategic.
    pub kind: String,
    /// status
    pub subresource: Option<String>,
}

/// An object by its name.
#[derive(Debug)]
pub struct Target {
    /// apiVersion.
    pub api_version: Source,
    /// Kind.
    pub kind: Source,
    /// Name.
    pub name: Source,
    /// Namespace.
    pub namespace: Option<Source>,
    /// Uid.
    pub uid: Option<Source>,
}

/// A request.
#[derive(Debug)]
pub struct Http {
    /// The name of the outcome.
    pub name: Option<String>,
    /// Method.
    pub method: String,
    /// Where.
    pub url: Source,
    /// Headers.
    pub headers: Vec<(String, Source)>,
    /// Name, secret, prefix.
    pub secrets: Vec<(String, String, String)>,
    /// Body.
    pub body: Option<Inline>,
    /// Good status codes.
    pub expect: Vec<u64>,
    /// How long an answer is good.
    pub every: Option<u64>,
    /// Milliseconds of an attempt.
    pub timeout: Option<u64>,
}

impl Command {
    /// The templates of files that it names.
    pub fn templates(&self) -> Vec<&str> {
        let all: Vec<&String> = match &self.what {
            What::Files {
                files,
                templates: true,
                values,
                ..
            } => files.iter().chain(values).collect(),
            What::Files { values, .. } => values.iter().collect(),
            What::Helm(helm) => helm.values.iter().collect(),
            What::Patch(patch) => patch.file.iter().collect(),
            _ => Vec::new(),
        };
        all.into_iter().map(String::as_str).collect()
    }
}
