//! From rows of the lowered SELECT to what each object is to become.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use kybern_statement::{Path, Rewritten, TableShape, TableUse, Verb, Write};
use serde_json::{Map, Value, json};

use super::value::{Wants, taken};
use super::{Action, Assignment, Change, PreparedWrite, edit};
use crate::Answer;
use crate::json::value;

/// What a statement reads of the objects of its table, if that is known: the fields behind columns
/// and paths. The columns that say which object a row is about are fixed or looked at anyway.
pub(super) fn reads(write: &Write, shape: &Arc<TableShape>, rows: &Rewritten) -> Option<Vec<Path>> {
    if write.reads_version() {
        return None;
    }
    // The same objects in another version.
    let twin = |used: &&TableUse| used.shape.table == shape.table && used.shape != *shape;
    if rows.tables.iter().any(|used| twin(&used)) {
        return None;
    }
    let mut paths = Vec::new();
    for used in rows.tables.iter().filter(|used| used.shape == *shape) {
        if !used.unnested.is_empty() || !used.elements.is_empty() {
            return None;
        }
        paths.extend(used.paths.values().cloned());
        for name in &used.columns {
            if name == "resource_version" {
                continue;
            }
            let column = shape.columns.iter().find(|column| column.name == *name)?;
            paths.push(column.root.clone()?);
        }
    }
    Some(paths)
}

/// What the rows ask for. The error is a sentence for people.
pub(super) fn changes(write: &PreparedWrite, answer: &Answer) -> Result<Vec<Change>, String> {
    let mut changes = Vec::with_capacity(answer.rows);
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let row = Row {
                write,
                answer,
                batch,
                row,
            };
            changes.push(match write.verb() {
                Verb::Update => row.update()?,
                Verb::Delete { propagation } => row.object(Action::Delete(propagation)),
                Verb::Insert { .. } => row.insert()?,
                Verb::Apply { .. } => row.apply()?,
            });
        }
    }
    match write.verb() {
        Verb::Update | Verb::Delete { .. } => once(changes),
        Verb::Insert { .. } | Verb::Apply { .. } => Ok(changes),
    }
}

/// Each object once.
fn once(changes: Vec<Change>) -> Result<Vec<Change>, String> {
    let mut by_key: BTreeMap<(Option<String>, String, String), Change> = BTreeMap::new();
    for change in changes {
        let key = (
            change.namespace.clone(),
            change.name.clone(),
            change.uid.clone(),
        );
        match by_key.get(&key) {
            Some(before) if before.action == change.action => {}
            Some(_) => {
                let object = called(&change);
                return Err(format!(
                    "{object} stands beside several rows that give it different values: make the join find one row for each object, or aggregate"
                ));
            }
            None => drop(by_key.insert(key, change)),
        }
    }
    Ok(by_key.into_values().collect())
}

/// `namespace/name`.
pub(super) fn called(change: &Change) -> String {
    match &change.namespace {
        Some(namespace) => format!("{namespace}/{}", change.name),
        None => change.name.clone(),
    }
}

struct Row<'a> {
    write: &'a PreparedWrite,
    answer: &'a Answer,
    batch: &'a RecordBatch,
    row: usize,
}

impl Row<'_> {
    fn at(&self, column: usize) -> Value {
        let columns = self.batch.columns();
        columns
            .get(column)
            .map_or(Value::Null, |column| value(column, self.row))
    }

    fn text(&self, column: usize) -> String {
        match self.at(column) {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// The object that the row is about.
    fn object(&self, action: Action) -> Change {
        let namespace = self.text(1);
        Change {
            namespace: (!namespace.is_empty()).then_some(namespace),
            name: self.text(2),
            uid: self.text(0),
            resource_version: self.text(3),
            action,
        }
    }

    /// The assignments, whose values begin at this column.
    fn assignments(&self, from: usize) -> Result<Vec<Assignment>, (Path, String)> {
        let targets = self.write.targets.iter().zip(&self.write.wants);
        let assignments = targets.enumerate().map(|(index, (path, wants))| {
            let column = from + index;
            let is_json = self.answer.is_json(column);
            let value = taken(self.at(column), is_json, wants);
            value
                .map(|value| Assignment {
                    path: path.clone(),
                    value,
                })
                .map_err(|why| (path.clone(), why))
        });
        assignments.collect()
    }

    fn update(&self) -> Result<Change, String> {
        let set = self.assignments(self.write.write.keys());
        let change = self.object(Action::Set(Vec::new()));
        match set {
            Ok(set) => Ok(Change {
                action: Action::Set(set),
                ..change
            }),
            Err((path, why)) => Err(format!(
                "{path} of {} cannot be set: {why}",
                called(&change)
            )),
        }
    }

    fn insert(&self) -> Result<Change, String> {
        let set = self
            .assignments(0)
            .map_err(|(path, why)| format!("{path} of a new object cannot be set: {why}"))?;
        let (whole, fields): (Vec<_>, Vec<_>) = set
            .into_iter()
            .partition(|assignment| assignment.path.segments().is_empty());
        let whole = whole.into_iter().find_map(|assignment| assignment.value);
        let mut object = match whole {
            Some(object @ Value::Object(_)) => object,
            Some(_) => return Err("a new object is no JSON object".to_owned()),
            None => Value::Object(Map::new()),
        };
        let key = self.write.table.as_ref().map(|table| table.def.key.clone());
        if let (Some(key), Some(members)) = (key, object.as_object_mut()) {
            for (name, wanted) in [
                ("apiVersion", key.api_version()),
                ("kind", key.kind.to_string()),
            ] {
                let given = members.entry(name).or_insert_with(|| json!(wanted));
                if *given != json!(wanted) {
                    return Err(format!(
                        "a new object says {name} {given}; {} has {wanted}",
                        self.write.name
                    ));
                }
            }
        }
        // What is not there cannot be taken away.
        let fields = fields.into_iter().filter(|field| field.value.is_some());
        let fields: Vec<Assignment> = fields.collect();
        let edited = edit(&object, &fields)
            .map_err(|error| format!("a new object cannot be made: {error}"))?;
        Ok(created(edited.object, Action::Create))
    }

    fn apply(&self) -> Result<Change, String> {
        let object = match taken(self.at(0), true, &Wants::Object) {
            Ok(Some(object)) => object,
            Ok(None) => return Err("APPLY of NULL: a row must be a JSON object".to_owned()),
            Err(why) => return Err(format!("APPLY takes JSON objects: {why}")),
        };
        for field in ["/apiVersion", "/kind", "/metadata/name"] {
            let given = object.pointer(field).and_then(Value::as_str);
            if given.is_none_or(str::is_empty) {
                let field = field.trim_start_matches('/').replace('/', ".");
                return Err(format!("an object of APPLY has no {field}"));
            }
        }
        Ok(created(object, Action::Apply))
    }
}

fn created(object: Value, action: impl Fn(Value) -> Action) -> Change {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").map(str::to_owned);
    let name = text("/metadata/name").unwrap_or_default().to_owned();
    Change {
        namespace: namespace.filter(|namespace| !namespace.is_empty()),
        name,
        uid: String::new(),
        resource_version: String::new(),
        action: action(object),
    }
}
