//! Queries: those that the file names, and those that rules watch.

use super::state::State;
use super::{Pass, Run, context};
use crate::jinja::Context;
use crate::operator::{Category, Scope, Watch};
use crate::sql::{self, Statement};
use kybern_sdk::Query;
use serde_json::Value;

/// The query of a name in `query`.
pub(crate) fn name(name: &str) -> String {
    format!("query {name}")
}

/// The query of what a rule watches.
pub(crate) fn watched(rule: usize) -> String {
    format!("watch {rule}")
}

/// The query of a name in a rule's `decide.query`.
pub(crate) fn decided(rule: usize, name: &str) -> String {
    format!("decide {rule} {name}")
}

/// The query of the Jobs of hooks.
pub(crate) const HOOKS: &str = "hooks";

/// All that do not depend on other answers.
pub(crate) fn own(pass: &Pass<'_>) -> Run<Vec<Query>> {
    let base = context::base(pass, &State::default())?;
    let mut queries = Vec::new();
    for (query, statement) in &pass.profile.query {
        queries.push(asked(pass, name(query), statement, &base)?);
    }
    for (at, rule) in pass.profile.rules.iter().enumerate() {
        if let Some(query) = watching(pass, at, &rule.watch, &base)? {
            queries.push(query);
        }
        for (query, statement) in &rule.query {
            queries.push(asked(pass, decided(at, query), statement, &base)?);
        }
    }
    if super::helm::has_hooks(pass.operator, pass.profile) {
        let query = Query::new(HOOKS, "SELECT object FROM batch.jobs WHERE owner_uid = $1");
        queries.push(query.param(pass.uid()));
    }
    Ok(queries)
}

fn asked(pass: &Pass<'_>, name: String, statement: &Statement, base: &Context) -> Run<Query> {
    let mut query = Query::new(name, statement.sql(1));
    query.params = statement.values(&pass.operator.jinja, base)?;
    Ok(query)
}

fn watching(pass: &Pass<'_>, at: usize, watch: &Watch, base: &Context) -> Run<Option<Query>> {
    let Some(kind) = &watch.kind else {
        return Ok(None);
    };
    if watch.category == Category::DidCatch {
        return Ok(None);
    }
    let plural = if watch.plural == sql::plural(&kind.kind) {
        pass.operator.plural(kind)
    } else {
        watch.plural.clone()
    };
    let mut query = Query::new(
        watched(at),
        format!("SELECT object FROM {}", sql::table(kind, &plural)),
    );
    let mut conditions: Vec<String> = Vec::new();
    let condition = |query: &mut Query, column: &str, value: Value| {
        query.params.push(value);
        format!("{column} = ${}", query.params.len())
    };
    match &watch.scope {
        Scope::Owned => conditions.push(condition(&mut query, "owner_uid", pass.uid().into())),
        Scope::Namespace => {
            conditions.push(condition(&mut query, "namespace", pass.namespace().into()))
        }
        Scope::Cluster => {}
        Scope::Selector { labels, everywhere } => {
            if !everywhere {
                conditions.push(condition(&mut query, "namespace", pass.namespace().into()));
            }
            for (label, value) in labels {
                let value = pass.operator.jinja.text(value, base)?;
                let column = format!("labels['{}']", label.replace('\'', "''"));
                conditions.push(condition(&mut query, &column, value.into()));
            }
        }
    }
    if let Some(filter) = &watch.filter {
        let values = filter.values(&pass.operator.jinja, base)?;
        let text = filter.sql(query.params.len() + 1);
        query.params.extend(values);
        conditions.push(format!("({text})"));
    }
    if !conditions.is_empty() {
        query.sql.push_str(" WHERE ");
        query.sql.push_str(&conditions.join(" AND "));
    }
    Ok(Some(query))
}

/// The rows of an answer as templates see them: objects have what `cr` always has.
pub(crate) fn shown(pass: &Pass<'_>, query: &str) -> Run<Vec<Value>> {
    let mut rows = rows(pass, query)?;
    for row in &mut rows {
        if let Some(object) = row.get_mut("object").filter(|object| object.is_object()) {
            *object = context::cleaned(object);
        }
    }
    Ok(rows)
}

/// The rows of an answer; what is JSON in a column is read as such.
pub(crate) fn rows(pass: &Pass<'_>, query: &str) -> Run<Vec<Value>> {
    let mut rows = pass.host.rows(query)?;
    for row in &mut rows {
        let Some(row) = row.as_object_mut() else {
            continue;
        };
        for value in row.values_mut() {
            let text = value.as_str().filter(|text| text.starts_with(['{', '[']));
            if let Some(Ok(nested)) = text.map(serde_json::from_str::<Value>) {
                *value = nested;
            }
        }
    }
    Ok(rows)
}

/// The objects of an answer, by namespace and name.
pub(crate) fn objects(pass: &Pass<'_>, query: &str) -> Run<Vec<Value>> {
    if !pass.answered.iter().any(|name| name == query) {
        return Ok(Vec::new());
    }
    let rows = rows(pass, query)?;
    let objects = rows.into_iter().filter_map(|row| match row {
        Value::Object(mut row) => row.remove("object"),
        _ => None,
    });
    Ok(objects.collect())
}
