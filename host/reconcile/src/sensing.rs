//! Sensing: which queries a pass asks, and whether their answers leave anything to do.

use crate::active::Active;
use crate::error::DecideError;
use crate::intent::fingerprint;
use crate::memory::{Memory, Settled, resource_version};
use crate::owner::{Owner, inventory};
use crate::patch;
use crate::traits::Answer;
use kybern_interface::{Query, Sensing, names};
use kybern_table::{Path, Row, Segment, Snapshot};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// Queries of one pass.
const MAX_QUERIES: usize = 64;

/// The value at a path, if there is one.
pub(crate) fn at<'v>(object: &'v Value, path: &Path) -> Option<&'v Value> {
    path.from_root()
        .segments()
        .iter()
        .try_fold(object, |node, segment| match segment {
            Segment::Key(key) => node.get(key),
            Segment::Index(index) => node.get(*index),
        })
}

/// What plugins do not see of a CR.
fn managed(path: &Path) -> bool {
    let managed = ["metadata", "managedFields"].map(|key| Segment::Key(key.into()));
    path.from_root().segments().starts_with(&managed)
}

/// The manifest's queries, parameters taken from the CR.
pub(crate) fn static_queries(active: &Active, object: &Value) -> Vec<Query> {
    active
        .manifest
        .queries
        .iter()
        .map(|query| Query {
            name: query.name.clone(),
            sql: query.sql.clone(),
            params: query
                .params
                .iter()
                .map(|path| {
                    let value = path
                        .parse()
                        .ok()
                        .filter(|path| !managed(path))
                        .and_then(|path| at(object, &path).cloned());
                    match value {
                        // A parameter is a scalar; structure goes in as its JSON text.
                        Some(inner @ (Value::Object(_) | Value::Array(_))) => {
                            Value::from(inner.to_string())
                        }
                        Some(scalar) => scalar,
                        None => Value::Null,
                    }
                })
                .collect(),
        })
        .collect()
}

/// What comes after a call of the sense hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is to be done for the CR.
    Skip,
    /// The queries are answered; then it is decided.
    Answer,
    /// The queries are answered, and the hook is called once more.
    AnswerAndAsk,
}

/// The queries of one pass: the manifest's, and those that the sense hook adds in rounds.
#[derive(Debug)]
pub(crate) struct Asking {
    queries: Vec<Query>,
    /// So many of them were taken to be answered.
    taken: usize,
    rounds: usize,
}

impl Asking {
    /// With the manifest's queries.
    pub(crate) fn new(queries: Vec<Query>) -> Self {
        Self {
            queries,
            taken: 0,
            rounds: 0,
        }
    }

    /// Adds what the hook asks for. What it asked for before, word for word, is asked once.
    pub(crate) fn next(&mut self, sensing: Sensing) -> Result<Next, DecideError> {
        let (more, next) = match sensing {
            Sensing::Skip => return Ok(Next::Skip),
            Sensing::Queries(more) => (more, Next::Answer),
            Sensing::Again(more) => (more, Next::AnswerAndAsk),
        };
        if next == Next::AnswerAndAsk {
            if self.rounds == Sensing::ROUNDS {
                let most = Sensing::ROUNDS;
                return Err(wrong(format!(
                    "sense asked more than {most} times in one pass to be called again"
                )));
            }
            self.rounds += 1;
        }
        let before = self.queries.len();
        for query in more {
            let known = self.queries.get(..before).unwrap_or_default();
            if self.rounds == 0 || !known.contains(&query) {
                self.queries.push(query);
            }
        }
        let names: BTreeSet<&str> = self.queries.iter().map(|q| q.name.as_str()).collect();
        if names.len() < self.queries.len() {
            return Err(wrong("two queries have the same name"));
        }
        if self.queries.len() > MAX_QUERIES {
            return Err(wrong(format!("a pass asks at most {MAX_QUERIES} queries")));
        }
        Ok(next)
    }

    /// The queries that nobody has taken yet.
    pub(crate) fn take(&mut self) -> &[Query] {
        let from = std::mem::replace(&mut self.taken, self.queries.len());
        self.queries.get(from..).unwrap_or_default()
    }
}

fn wrong(message: impl Into<String>) -> DecideError {
    DecideError::Crashed {
        kind: crate::error::Crash::Output,
        message: message.into(),
    }
}

/// What a pass may depend on in the CR itself: not its status.
pub(crate) fn object_fingerprint(row: &Row, object: &Value) -> u128 {
    let metadata = |key: &str| object.pointer(&format!("/metadata/{key}"));
    let version = match row.generation() {
        Some(generation) => json!(generation),
        // Kinds without a generation: any change may matter.
        None => json!(row.resource_version().to_string()),
    };
    fingerprint(&json!([
        row.uid(),
        version,
        metadata("labels"),
        metadata("annotations"),
        metadata("deletionTimestamp"),
        metadata("finalizers"),
    ]))
}

/// Name and fingerprint of each answer.
pub(crate) fn fingerprints(answers: &[Answer]) -> Vec<(String, u128)> {
    answers
        .iter()
        .map(|answer| (answer.name.clone(), answer.fingerprint))
        .collect()
}

/// Whether nothing that a plan could depend on, and nothing that the last plan made, has changed.
pub(crate) fn unchanged(
    now: &Settled,
    memory: &mut Memory,
    snapshot: &Snapshot,
    active: &Active,
    owner: &Owner,
    object: &Value,
) -> bool {
    let Some(last) = &memory.settled else {
        return false;
    };
    let same = last.digest == now.digest
        && last.registration == now.registration
        && last.object == now.object
        && last.answers == now.answers
        && last.outcomes == now.outcomes
        && memory.effect_at.is_none_or(|at| at > Instant::now());
    if !same {
        return false;
    }
    let mut found = 0usize;
    let Ok(children) = inventory(snapshot, active, owner) else {
        return false;
    };
    for child in children {
        let uid = child.row.uid();
        match memory.children.get_mut(uid.as_ref()) {
            Some(baseline) => {
                if !baseline.settled(&child.row) {
                    return false;
                }
                found += 1;
            }
            None if last.extras.contains(uid.as_ref()) => {}
            None => return false,
        }
    }
    let version = resource_version(object);
    let status = memory.status.as_mut();
    let status = status.is_none_or(|status| status.settled(version, object));
    let manager = active.patch_manager(&owner.uid);
    let patched = patch::hold(&mut memory.patched, snapshot, &manager);
    found == memory.children.len() && status && patched
}

/// Whether the CR's `force-resync` annotation has a value that no pass has honoured yet. The
/// first pass after a start honours none: it cannot know which are new.
pub(crate) fn forced(row: &Row, memory: &mut Memory) -> bool {
    let value = row.annotation(names::FORCE_RESYNC);
    let before = memory.resynced.get_or_insert_with(|| value.clone());
    value.is_some() && *before != value
}

/// Whether the CR asks to be left alone.
pub(crate) fn paused(row: &Row, active: &Active) -> Option<&'static str> {
    if active.registration.spec.paused {
        return Some("the registration is paused");
    }
    row.annotation(names::PAUSED)
        .filter(|value| value != "false")
        .map(|_| "paused by the annotation kybern.dev/paused")
}

/// The revision that a CR names.
pub(crate) fn pin(row: &Row) -> Option<String> {
    row.annotation(names::PLUGIN_REVISION)
}

/// Why a CR that names a revision cannot have it.
pub(crate) fn pinned_elsewhere(row: &Row, active: &Active) -> Option<String> {
    let wanted = pin(row)?;
    (wanted != active.digest).then(|| {
        format!(
            "the annotation {} asks for {wanted}, which this host has not got: it keeps those that status.previous of the Plugin names; name one of them, or remove the annotation to go on with the one that decides for the others",
            names::PLUGIN_REVISION,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_what_it_names() {
        let object = json!({ "metadata": { "labels": { "a/b": "x" } }, "spec": { "l": [1, 2] } });
        let read = |text: &str| at(&object, &text.parse().unwrap()).cloned();
        assert_eq!(read("metadata.labels['a/b']"), Some(json!("x")));
        assert_eq!(read("labels['a/b']"), Some(json!("x")));
        assert_eq!(read("spec.l[1]"), Some(json!(2)));
        assert_eq!(read("spec.l[2]"), None);
        let hidden = |text: &str| managed(&text.parse().unwrap());
        assert!(hidden("metadata.managedFields[0].manager"));
        assert!(!hidden("metadata.name"));
    }

    #[test]
    fn two_queries_of_one_name_are_refused() {
        let query = |name: &str| Query {
            name: name.into(),
            sql: "SELECT 1".into(),
            params: vec![],
        };
        let ask = |own: Vec<Query>, more: Vec<Query>| Asking::new(own).next(Sensing::Queries(more));
        assert_eq!(
            ask(vec![query("a")], vec![query("b")]).unwrap(),
            Next::Answer
        );
        assert!(ask(vec![query("a")], vec![query("a")]).is_err());
        assert!(ask(vec![], (0..65).map(|n| query(&n.to_string())).collect()).is_err());
    }

    #[test]
    fn rounds_add_up_and_end() {
        let query = |name: &str| Query::new(name, "SELECT 1");
        let taken = |asking: &mut Asking| {
            let names = asking.take().iter().map(|query| query.name.clone());
            names.collect::<Vec<_>>().join(" ")
        };
        let mut asking = Asking::new(vec![query("own")]);
        let again = |names: &[&str]| Sensing::Again(names.iter().map(|name| query(name)).collect());
        assert_eq!(asking.next(again(&["a"])).unwrap(), Next::AnswerAndAsk);
        assert_eq!(taken(&mut asking), "own a");
        // What is known is not asked again; another statement of its name is refused.
        assert_eq!(asking.next(again(&["a", "b"])).unwrap(), Next::AnswerAndAsk);
        assert_eq!(taken(&mut asking), "b");
        let other = Sensing::Queries(vec![Query::new("a", "SELECT 2")]);
        assert!(
            Asking {
                queries: vec![query("a")],
                taken: 1,
                rounds: 1
            }
            .next(other)
            .is_err()
        );
        for _ in 2..Sensing::ROUNDS {
            assert_eq!(asking.next(again(&[])).unwrap(), Next::AnswerAndAsk);
        }
        let error = asking.next(again(&[])).unwrap_err().to_string();
        assert!(error.contains("more than 4 times"), "{error}");
        let last = Sensing::Queries(vec![query("b"), query("c")]);
        assert_eq!(asking.next(last).unwrap(), Next::Answer);
        assert_eq!(taken(&mut asking), "c");
    }
}
