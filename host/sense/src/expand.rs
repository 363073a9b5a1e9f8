//! A statement of a plan as the actions that it stands for, object by object.
//!
//! # Contract
//!
//! - UPDATE becomes patches: they are kept while the plan has the statement and its condition holds
//!   for the object, and taken back when either ends. So the statement may not read what it sets,
//!   or its own patch would end it.
//! - DELETE becomes deletes with the uid that was seen. INSERT and APPLY become children.
//! - What the rows were read from starts the next pass.

use crate::{failure, unfit};
use kybern_interface::{Action, DeleteObject, PatchObject, Propagation, SqlWrite, Target};
use kybern_reconcile::{Expanded, SenseError};
use kybern_sql::{
    AccessSet, Assignment, Change, Engine, FieldPath, FieldStep, Mode, Param, PreparedWrite,
    SetsStatus, Verb,
};
use kybern_table::Snapshot;
use serde_json::{Map, Value, json};

/// Most objects that one statement of a plan may be about.
const MAX_OBJECTS: usize = 1000;

/// Expands one statement on one snapshot. `name` says which action it is.
pub(crate) async fn expand(
    engine: &Engine,
    access: &AccessSet,
    name: &str,
    write: &SqlWrite,
    snapshot: &Snapshot,
) -> Result<Expanded, SenseError> {
    let failed = |error: &kybern_sql::SqlError| failure(name, error);
    let prepared = engine.prepare_write(&write.statement, access).await;
    let prepared = prepared.map_err(|error| failed(&error))?;
    let refused = |message: String| SenseError::Query {
        query: name.to_owned(),
        message,
    };
    if let Some(fault) = fault(&prepared) {
        return Err(refused(fault));
    }
    let params: Vec<Param> = write.params.iter().cloned().map(Param::from).collect();
    let changes = engine.changes(&prepared, &params, snapshot).await;
    let changes = changes.map_err(|error| failed(&error))?;
    if changes.len() > MAX_OBJECTS {
        return Err(SenseError::Limit {
            query: name.to_owned(),
            message: format!(
                "the statement is about {} objects; at most {MAX_OBJECTS} are taken: write a narrower WHERE",
                changes.len()
            ),
        });
    }
    let read_set = prepared.rows().read_set_at(&params, snapshot);
    let read_set = read_set.map_err(|error| failed(&error))?;
    let actions = changes
        .into_iter()
        .map(|change| action(&prepared, change).map_err(refused));
    Ok(Expanded {
        actions: actions.collect::<Result<_, _>>()?,
        read_set,
    })
}

/// Why a statement cannot be part of a plan.
fn fault(write: &PreparedWrite) -> Option<String> {
    if write.mode() != Mode::Write {
        return Some("a plan says what is to be: leave out DRY RUN and EXPLAIN".to_owned());
    }
    if write.has_returning() {
        return Some("a plan gets no rows back: leave out RETURNING".to_owned());
    }
    if matches!(write.verb(), Verb::Apply { force: true }) {
        return Some("FORCE is for people: a plan's own fields are its own already".to_owned());
    }
    if let Some(fault) = unfit(write.rows()) {
        return Some(format!("the statement {fault}"));
    }
    if write.verb() != Verb::Update {
        return None;
    }
    if write.sets_status() == SetsStatus::AndMore {
        return Some(
            "status is written apart from the rest: set it in an action of its own".into(),
        );
    }
    let through_list = |path: &&FieldPath| {
        let steps = path.segments().iter();
        steps
            .clone()
            .any(|step| matches!(step, FieldStep::Index(_)))
    };
    if let Some(path) = write.targets().iter().find(through_list) {
        return Some(format!(
            "{path} is an element of a list, which server-side apply knows by its keys and not by its number: write a patch action, or set the whole list"
        ));
    }
    let Some(reads) = write.reads() else {
        return Some("the statement reads whole objects or their versions, which its own patch changes: read the fields that count".to_owned());
    };
    let is_generation = |read: &&FieldPath| {
        let name = read.to_string();
        ["metadata.generation", "status.observedGeneration"].contains(&name.as_str())
    };
    if let Some(path) = reads.iter().find(is_generation) {
        return Some(format!(
            "the statement reads {path}, which its own patch changes: read the fields that count"
        ));
    }
    let own = write
        .targets()
        .iter()
        .find(|set| reads.iter().any(|read| read.overlaps(set)));
    own.map(|path| {
        format!("the statement reads {path}, which it sets: its own patch would change or end what it asks for; read another field")
    })
}

/// What becomes of one object.
fn action(write: &PreparedWrite, change: Change) -> Result<Action, String> {
    match change.action {
        kybern_sql::Action::Set(ref assignments) => {
            let mut patch = PatchObject::new(target(write, &change)?, fields(assignments)?);
            if write.sets_status() == SetsStatus::Only {
                patch.subresource = Some("status".to_owned());
            }
            Ok(Action::Patch(patch))
        }
        kybern_sql::Action::Delete(propagation) => {
            let mut delete = DeleteObject::new(target(write, &change)?);
            delete.propagation = match propagation {
                kybern_sql::Propagation::Background => Propagation::Background,
                kybern_sql::Propagation::Foreground => Propagation::Foreground,
                kybern_sql::Propagation::Orphan => Propagation::Orphan,
            };
            Ok(Action::Delete(delete))
        }
        kybern_sql::Action::Create(object) | kybern_sql::Action::Apply(object) => {
            let apply = serde_json::from_value(json!({ "object": object }));
            apply.map(Action::Apply).map_err(|error| error.to_string())
        }
    }
}

fn target(write: &PreparedWrite, change: &Change) -> Result<Target, String> {
    let table = write.table().ok_or("the statement names no table")?;
    let key = &table.def.key;
    Ok(Target {
        cluster: None,
        group: key.group.to_string(),
        version: key.version.to_string(),
        kind: key.kind.to_string(),
        namespace: change.namespace.clone().unwrap_or_default(),
        name: change.name.clone(),
        uid: Some(change.uid.clone()),
    })
}

/// The fields of a patch.
fn fields(assignments: &[Assignment]) -> Result<Value, String> {
    let mut patch = json!({});
    for Assignment { path, value } in assignments {
        let Some(value) = value else {
            return Err(format!(
                "{path} is set to NULL: a patch takes away only what it set before, by not saying it any more"
            ));
        };
        let mut here = &mut patch;
        for step in path.segments() {
            let FieldStep::Key(key) = step else {
                return Err(format!("{path} is an element of a list"));
            };
            if !here.is_object() {
                *here = Value::Object(Map::new());
            }
            let Some(members) = here.as_object_mut() else {
                return Err(format!("{path} has no place"));
            };
            here = members.entry(key.clone()).or_insert(Value::Null);
        }
        *here = value.clone();
    }
    Ok(patch)
}
