//! Rules: sense, decide, act.

use super::commands::{self, About};
use super::context::cleaned;
use super::plan::Building;
use super::queries;
use super::state::{Seen, digest};
use super::{Pass, Run};
use crate::diagnostic::{Diagnostic, Errors};
use crate::jinja::Context;
use crate::operator::{Category, Rule};
use kybern_sdk::OutcomeResult;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whether every ResourceShouldUpdate holds.
pub(crate) fn should_update(building: &Building<'_>, base: &Context) -> Run<bool> {
    let pass = building.pass;
    for (at, rule) in pass.profile.rules.iter().enumerate() {
        if rule.watch.category != Category::ShouldUpdate {
            continue;
        }
        let base = known(pass, at, rule, base)?;
        for object in watched(pass, at, rule)? {
            if decided(pass, rule, &base.with("object", cleaned(&object)))?.is_none() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The rules of a CR that lives.
pub(crate) fn maintain(building: &mut Building<'_>, base: &Context) -> Run<()> {
    let values = building.values.clone();
    let base = base.with("values", values);
    let pass = building.pass;
    for (at, rule) in pass.profile.rules.iter().enumerate() {
        match rule.watch.category {
            Category::ShouldUpdate => {}
            Category::DidCatch => failed(building, at, rule, &base)?,
            Category::WillUnmount if rule.watch.kind.is_none() => building.holds = true,
            Category::DidUnmount => unmounted(building, at, rule, &base)?,
            category => {
                let base = timed(building, rule, known(pass, at, rule, &base)?)?;
                let mut now = BTreeMap::new();
                for object in watched(pass, at, rule)? {
                    let deleted = object.pointer("/metadata/deletionTimestamp").is_some();
                    if deleted != (category == Category::WillUnmount) && rule.watch.kind.is_some() {
                        continue;
                    }
                    each(building, rule, &base, &object, category, &mut now)?;
                }
                if rule.old {
                    building.after.seen.insert(rule.path.clone(), now);
                }
            }
        }
    }
    Ok(())
}

/// What is done before a CR goes.
pub(crate) fn unmount(building: &mut Building<'_>, base: &Context) -> Run<()> {
    let pass = building.pass;
    for (at, rule) in pass.profile.rules.iter().enumerate() {
        if rule.watch.category == Category::WillUnmount && rule.watch.kind.is_none() {
            let base = known(pass, at, rule, base)?;
            each(
                building,
                rule,
                &base,
                &pass.cr,
                Category::WillUnmount,
                &mut BTreeMap::new(),
            )?;
        }
    }
    for child in building.children.values_mut() {
        child.child.during_deletion = true;
    }
    Ok(())
}

/// What is done when a pass failed.
pub(crate) fn catch(building: &mut Building<'_>, base: &Context, error: &str) -> Run<()> {
    let pass = building.pass;
    for (at, rule) in pass.profile.rules.iter().enumerate() {
        if rule.watch.category == Category::DidCatch {
            let base = known(pass, at, rule, base)?;
            about_error(building, rule, &base, "plan", error)?;
        }
    }
    Ok(())
}

/// Requests that failed.
fn failed(building: &mut Building<'_>, at: usize, rule: &Rule, base: &Context) -> Run<()> {
    let pass = building.pass;
    let base = known(pass, at, rule, base)?;
    for outcome in &pass.outcomes {
        if let OutcomeResult::Error(why) = &outcome.result {
            about_error(building, rule, &base, &outcome.key, why)?;
        }
    }
    Ok(())
}

fn about_error(
    building: &mut Building<'_>,
    rule: &Rule,
    base: &Context,
    source: &str,
    error: &str,
) -> Run<()> {
    let pass = building.pass;
    let context = base.with("object", cleaned(&pass.cr));
    let context = context.with("error", json!({ "source": source, "message": error }));
    if let Some(context) = decided(pass, rule, &context)? {
        let about = About {
            key: source.to_owned(),
            seen: digest(error),
            object: pass.cr.clone(),
            watched: false,
        };
        commands::run(building, &rule.action, &context, Some(&about))?;
    }
    Ok(())
}

/// Objects that were there and have gone.
fn unmounted(building: &mut Building<'_>, at: usize, rule: &Rule, base: &Context) -> Run<()> {
    let pass = building.pass;
    let base = known(pass, at, rule, base)?;
    let there: BTreeMap<String, Seen> = watched(pass, at, rule)?
        .iter()
        .map(|object| (text(object, "/metadata/uid"), seen(object, rule)))
        .collect();
    let mut all = building
        .before
        .seen
        .get(&rule.path)
        .cloned()
        .unwrap_or_default();
    for (uid, seen) in &mut all {
        seen.gone = !there.contains_key(uid);
    }
    // One of the same name took its place: it has come back.
    all.retain(|_, seen| {
        !seen.gone
            || !there
                .values()
                .any(|new| (&new.namespace, &new.name) == (&seen.namespace, &seen.name))
    });
    for (uid, seen) in all.iter().filter(|(_, seen)| seen.gone) {
        let object = json!({
            "apiVersion": rule.watch.kind.as_ref().map(kybern_sdk::Gvk::api_version),
            "kind": rule.watch.kind.as_ref().map(|kind| kind.kind.clone()),
            "metadata": { "namespace": seen.namespace, "name": seen.name, "uid": uid },
        });
        let context = base
            .with("object", object.clone())
            .with("old", seen.object.clone());
        if let Some(context) = decided(pass, rule, &context)? {
            let about = About {
                key: uid.clone(),
                seen: String::new(),
                object,
                watched: false,
            };
            commands::run(building, &rule.action, &context, Some(&about))?;
        }
    }
    all.extend(there);
    building.after.seen.insert(rule.path.clone(), all);
    Ok(())
}

fn each(
    building: &mut Building<'_>,
    rule: &Rule,
    base: &Context,
    object: &Value,
    category: Category,
    now: &mut BTreeMap<String, Seen>,
) -> Run<()> {
    let pass = building.pass;
    let uid = text(object, "/metadata/uid");
    let shown = cleaned(object);
    let mut context = base.with("object", shown.clone());
    if rule.old {
        let before = building
            .before
            .seen
            .get(&rule.path)
            .and_then(|seen| seen.get(&uid));
        let old = before.map(|seen| seen.object.clone()).unwrap_or_default();
        context = context.with("old", old);
        now.insert(uid.clone(), seen(object, rule));
    }
    let Some(context) = decided(pass, rule, &context)? else {
        return Ok(());
    };
    // What Events and requests are made anew for.
    let mut seen = match category {
        Category::DidChange => digest(&shown.to_string()),
        Category::DidUpdate => {
            let intent = text(object, "/metadata/annotations/kybern.dev~1intent");
            let generation = object
                .pointer("/metadata/generation")
                .cloned()
                .unwrap_or_default();
            format!("{generation} {intent}")
        }
        _ => String::new(),
    };
    if let Some(every) = rule.watch.every {
        seen = format!("{seen} {}", seconds(&pass.now) / (every / 1000).max(1));
    }
    let about = About {
        key: uid,
        seen,
        object: object.clone(),
        watched: true,
    };
    commands::run(building, &rule.action, &context, Some(&about))?;
    Ok(())
}

/// `now`, for rules that ask for it.
fn timed(building: &mut Building<'_>, rule: &Rule, base: Context) -> Run<Context> {
    let Some(every) = rule.watch.every else {
        return Ok(base);
    };
    building.requeue(every);
    Ok(base.with("now", building.pass.now.clone().into()))
}

/// Seconds since 1970 of an RFC 3339 time in UTC.
pub(crate) fn seconds(now: &str) -> u64 {
    let number = |from: usize, to: usize| {
        now.get(from..to)
            .and_then(|part| part.parse::<i64>().ok())
            .unwrap_or(0)
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Days from civil (Hinnant).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let whole = days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    u64::try_from(whole).unwrap_or(0)
}

/// The context with a rule's own rows.
fn known(pass: &Pass<'_>, at: usize, rule: &Rule, base: &Context) -> Run<Context> {
    if rule.query.is_empty() {
        return Ok(base.clone());
    }
    let mut rows = base
        .document()
        .get("rows")
        .cloned()
        .unwrap_or_else(|| json!({}));
    for (name, _) in &rule.query {
        let found = queries::shown(pass, &queries::decided(at, name))?;
        if let Some(rows) = rows.as_object_mut() {
            rows.insert(name.clone(), Value::Array(found));
        }
    }
    Ok(base.with("rows", rows))
}

/// The context with what `set` names, if `when` holds.
fn decided(pass: &Pass<'_>, rule: &Rule, context: &Context) -> Result<Option<Context>, Errors> {
    let jinja = &pass.operator.jinja;
    let mut context = context.clone();
    for (name, source) in &rule.set {
        if context.document().get(name).is_some() {
            let message = format!("`{name}` is a name of the context already");
            return Err(Diagnostic::new(&source.file, source.place, message)
                .cure("call it otherwise")
                .into());
        }
        let value = jinja.value(source, &context)?;
        context = context.with(name, value);
    }
    match &rule.when {
        Some(when) if !jinja.holds(when, &context)? => Ok(None),
        _ => Ok(Some(context)),
    }
}

fn watched(pass: &Pass<'_>, at: usize, rule: &Rule) -> Run<Vec<Value>> {
    match &rule.watch.kind {
        None => Ok(vec![pass.cr.clone()]),
        Some(kind) => {
            let mut objects = queries::objects(pass, &queries::watched(at))?;
            for object in &mut objects {
                // Lists of the API server leave them out.
                if let Some(map) = object.as_object_mut() {
                    map.entry("apiVersion")
                        .or_insert_with(|| kind.api_version().into());
                    map.entry("kind")
                        .or_insert_with(|| kind.kind.clone().into());
                }
            }
            Ok(objects)
        }
    }
}

fn text(object: &Value, path: &str) -> String {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn seen(object: &Value, rule: &Rule) -> Seen {
    Seen {
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        gone: false,
        object: if rule.old {
            cleaned(object)
        } else {
            Value::Null
        },
    }
}
