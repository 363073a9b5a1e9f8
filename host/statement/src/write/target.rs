//! What an assignment sets: a path of the table's objects.

use std::sync::Arc;

use sqlparser::ast::{Expr, Spanned};
use sqlparser::tokenizer::Span;

use super::{Relation, Verb};
use crate::rewrite::{folded, is_quoted, steps, unresolved};
use crate::{Names, Path, Resolution, Segment, StatementError, TableShape, nearest};

/// Fields of metadata that the API server sets, or that say which object it is.
const FIXED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "generateName",
];
/// Those of them with which a new object is called.
const GIVEN: &[&str] = &["name", "namespace", "generateName"];

/// One path that is set.
pub(super) struct Target {
    pub path: Path,
    span: Span,
}

/// The table that a statement changes.
pub(super) fn table(
    relation: &Relation,
    names: &dyn Names,
) -> Result<Arc<TableShape>, StatementError> {
    let (schema, table) = (relation.schema.as_deref(), relation.table.as_str());
    let what = match names.resolve(schema, table) {
        Resolution::Table(shape) if shape.keyed_by_name.is_some() => return Ok(shape),
        Resolution::Table(shape) => format!("{} is no table of objects", shape.full_name()),
        Resolution::View(view) => format!(
            "{}.{} is a view of {}",
            view.schema,
            view.name,
            view.parent.full_name()
        ),
        other => return Err(unresolved(other, schema, table, relation.span)),
    };
    Err(StatementError::new(
        relation.span,
        format!("{what}: nothing of it can be changed"),
    )
    .cure("change the objects themselves; kybern.kinds lists their tables"))
}

/// The path that an expression names.
pub(super) fn target(
    expr: &Expr,
    relation: &Relation,
    shape: &TableShape,
    verb: Verb,
) -> Result<Target, StatementError> {
    let Some(found) = steps(expr)? else {
        return Err(
            StatementError::new(expr.span(), format!("{expr} is no path"))
                .cure("write a path: spec.replicas, labels['app'], spec.containers[0].image"),
        );
    };
    // `SET d.spec.replicas`, for a table that is called d.
    let is_called = found
        .names
        .first()
        .is_some_and(|first| found.names.len() > 1 && folded(first) == relation.called);
    let names = found.names.get(usize::from(is_called)..);
    let names = names.unwrap_or_default();
    let Some((first, behind)) = names.split_first() else {
        return Err(StatementError::new(found.span, "no column is named"));
    };
    let Some(column) = shape.column(&first.value, is_quoted(first)) else {
        let known = shape.columns.iter().map(|column| column.name.as_str());
        let near = nearest(&first.value, known);
        let message = format!("{} has no column {}", shape.full_name(), first.value);
        let error = StatementError::new(found.span, message);
        return Err(match near.first() {
            Some(near) => error.cure(format!("did you mean {near}?")),
            None => error.cure("a path begins with a column like spec, status, labels or data"),
        });
    };
    let behind = behind.iter().map(|name| Segment::Key(name.value.clone()));
    let behind: Vec<Segment> = behind.chain(found.steps).collect();
    let whole = column.root.as_ref().map(|root| root.join(&behind));
    let Some(path) = whole.filter(|_| behind.is_empty() || column.json) else {
        let message = format!("{expr} is no field of the objects: it cannot be set");
        return Err(StatementError::new(found.span, message));
    };
    let refused =
        |message: String, cure: &str| Err(StatementError::new(found.span, message).cure(cure));
    let keys: Vec<&str> = path.segments().iter().map_while(key).collect();
    match (verb, keys.as_slice()) {
        (Verb::Insert { .. }, []) if path.segments().is_empty() => {}
        (_, []) => {
            return refused(
                "whole objects cannot be set".to_owned(),
                "set their fields, or write APPLY",
            );
        }
        (_, ["apiVersion" | "kind"]) => {
            return refused(format!("{path} is what the table says"), "leave it out");
        }
        (_, ["metadata"]) => {
            return refused(
                "metadata cannot be set as a whole".to_owned(),
                "set labels, annotations, finalizers or owner references",
            );
        }
        (Verb::Insert { .. }, ["metadata", field]) if GIVEN.contains(field) => {}
        (_, ["metadata", field, ..]) if GIVEN.contains(field) => {
            return refused(
                format!("{path} of an object that is there cannot be changed"),
                "INSERT another object and DELETE this one",
            );
        }
        (_, ["metadata", field, ..]) if FIXED.contains(field) => {
            return refused(format!("{path} is given by the API server"), "leave it out");
        }
        _ => {}
    }
    Ok(Target {
        path,
        span: found.span,
    })
}

/// Refuses a path that is inside of one that is set already, or around it.
pub(super) fn apart(before: &[Target], new: &Target) -> Result<(), StatementError> {
    let inside = |a: &Path, b: &Path| b.segments().starts_with(a.segments());
    // A whole object and fields of it: the fields win.
    let is_root = |path: &Path| path.segments().is_empty();
    let overlaps = before.iter().find(|other| {
        !is_root(&other.path)
            && !is_root(&new.path)
            && (inside(&other.path, &new.path) || inside(&new.path, &other.path))
            || other.path == new.path
    });
    match overlaps {
        None => Ok(()),
        Some(other) if other.path == new.path => Err(StatementError::new(
            new.span,
            format!("{} is set twice", new.path),
        )),
        Some(other) => Err(StatementError::new(
            new.span,
            format!(
                "{} and {} are set, one inside of the other",
                other.path, new.path
            ),
        )),
    }
}

fn key(segment: &Segment) -> Option<&str> {
    match segment {
        Segment::Key(key) => Some(key),
        Segment::Index(_) => None,
    }
}
