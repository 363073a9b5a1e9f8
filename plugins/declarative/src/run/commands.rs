//! Commands: what each of them puts into the plan.

use super::objects;
use super::patch::Change;
use super::plan::Building;
use super::state::digest;
use super::{Failure, Run};
use crate::diagnostic::{Diagnostic, Errors, Place};
use crate::jinja::{Context, Source};
use crate::operator::{Child, Command, Http, Inline, Target, What};
use crate::yaml::{self, Duplicates, Limits};
use kybern_interface::{
    Action, DeleteObject, EffectPhase, EventType, Propagation, RunEffect, SqlWrite,
};
use kybern_sdk::Gvk;
use serde_json::{Map, Value, json};

/// Waves of one command: a chart's hooks come before and after what they are about.
pub(crate) const WAVES: i32 = 1000;

/// Items of a `foreach`.
const ITEMS: usize = 1000;

/// Whether the commands behind a command are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    On,
    Stop,
}

/// What a rule is about while its commands are run.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The object: kept out of keys is what it looks like.
    pub(crate) key: String,
    /// What Events and requests are done anew for.
    pub(crate) seen: String,
    /// The object.
    pub(crate) object: Value,
    /// Its type and name can be patched and deleted.
    pub(crate) watched: bool,
}

/// The commands of `deploy`.
pub(crate) fn deploy(building: &mut Building<'_>, base: &Context) -> Run<()> {
    let commands = &building.pass.profile.deploy;
    run(building, commands, base, None).map(|_| ())
}

/// Commands in their order.
pub(crate) fn run(
    building: &mut Building<'_>,
    commands: &[Command],
    base: &Context,
    about: Option<&About>,
) -> Run<Flow> {
    for command in commands {
        building.wave += WAVES;
        match one(building, command, base, about) {
            Ok(Flow::On) => {}
            Ok(Flow::Stop) => return Ok(Flow::Stop),
            Err(Failure::Wrong(errors)) if command.goes_on => building.partial(errors.to_string()),
            Err(failure) => return Err(failure),
        }
    }
    Ok(Flow::On)
}

fn one(
    building: &mut Building<'_>,
    command: &Command,
    base: &Context,
    about: Option<&About>,
) -> Run<Flow> {
    let jinja = &building.pass.operator.jinja;
    let Some(foreach) = &command.foreach else {
        if let Some(when) = &command.when
            && !jinja.holds(when, base)?
        {
            return Ok(Flow::On);
        }
        return act(building, command, base, about, "");
    };
    let list = jinja.value(foreach, base)?;
    let wrong =
        |message: String| Errors::from(Diagnostic::new(&foreach.file, foreach.place, message));
    let items = match list {
        Value::Array(items) => items,
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect(),
        Value::Null => Vec::new(),
        other => return Err(wrong(format!("`foreach` goes through a list, not {other}")).into()),
    };
    if items.len() > ITEMS {
        return Err(wrong(format!(
            "`foreach` has {} items; at most {ITEMS} are taken",
            items.len()
        ))
        .into());
    }
    for (at, item) in items.into_iter().enumerate() {
        let context = base.with("item", item);
        if let Some(when) = &command.when
            && !jinja.holds(when, &context)?
        {
            continue;
        }
        if act(building, command, &context, about, &format!("#{at}"))? == Flow::Stop {
            return Ok(Flow::Stop);
        }
    }
    Ok(Flow::On)
}

fn act(
    building: &mut Building<'_>,
    command: &Command,
    context: &Context,
    about: Option<&About>,
    part: &str,
) -> Run<Flow> {
    let pass = building.pass;
    let jinja = &pass.operator.jinja;
    let path = format!("{}{part}", command.path);
    match &command.what {
        What::Helm(helm) => {
            return super::helm::deploy(building, helm, &path, command.place, context);
        }
        What::Files {
            files,
            templates,
            object,
            values,
            child,
        } => {
            let context = match values.is_empty() {
                true => context.clone(),
                false => {
                    let (_, merged) = values_of(building, values, context)?;
                    context.with("values", merged)
                }
            };
            apply(
                building,
                files,
                *templates,
                object.as_ref(),
                child,
                &context,
            )?;
        }
        What::Patch(patch) => {
            let target = target(building, patch.target.as_ref(), context, about)?;
            let change = Change::read(building, patch, target, context)?;
            building.changes.extend(change);
        }
        What::Delete {
            target: wanted,
            propagation,
        } => {
            let place = (&pass.operator.file, command.place);
            let Some(target) = target(building, wanted.as_ref(), context, about)? else {
                return Ok(Flow::On);
            };
            if target.uid.is_none() {
                let one = Diagnostic::new(
                    place.0,
                    place.1,
                    format!(
                        "{} {} is deleted by its uid, which is not known",
                        target.kind, target.name
                    ),
                );
                return Err(Errors::from(one.cure("set target.uid")).into());
            }
            let mut delete = DeleteObject::new(target);
            delete.wave = building.wave;
            delete.propagation = match propagation.as_deref() {
                Some("Foreground") => Propagation::Foreground,
                Some("Orphan") => Propagation::Orphan,
                _ => Propagation::Background,
            };
            building.actions.push(Action::Delete(delete));
        }
        What::Sql(statement) => {
            let params = statement.values(jinja, context)?;
            building.actions.push(Action::Sql(SqlWrite {
                statement: statement.sql(1),
                params,
            }));
        }
        What::Status(inline) => status(building, inline, context)?,
        What::Event {
            warning,
            reason,
            message,
        } => {
            let (reason, message) = (jinja.text(reason, context)?, jinja.text(message, context)?);
            let key = about.map_or_else(|| path.clone(), |about| format!("{path}/{}", about.key));
            let seen = about.map_or("", |about| about.seen.as_str());
            let now = digest(&format!("{seen}\n{reason}\n{message}"));
            let before = building.before.events.get(&key);
            if before != Some(&now) {
                let severity = if *warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                };
                building.actions.push(Action::Event {
                    severity,
                    reason,
                    message,
                });
                building.after.events.insert(key, now);
            }
        }
        What::Wait { until, message } => {
            let Some(until) = until else {
                building.barrier();
                return Ok(Flow::On);
            };
            if !jinja.holds(until, context)? {
                let why = match message {
                    Some(message) => jinja.text(message, context)?,
                    None => format!("waiting until {}", until.text),
                };
                building.partial(why);
                return Ok(Flow::Stop);
            }
        }
        What::Http(http) => request(building, http, &path, context, about)?,
    }
    Ok(Flow::On)
}

/// Fields of the status, over those that are there.
pub(crate) fn status(building: &mut Building<'_>, inline: &Inline, context: &Context) -> Run<()> {
    let value = building.pass.inline(inline, context)?;
    if let Value::Object(map) = value {
        merge(&mut building.status, map);
    }
    Ok(())
}

/// Maps over maps; null takes a key away, as in values of Helm.
pub(crate) fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(there)), Value::Object(value)) => merge(there, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn apply(
    building: &mut Building<'_>,
    files: &[String],
    templates: bool,
    object: Option<&Inline>,
    child: &Child,
    context: &Context,
) -> Run<()> {
    let pass = building.pass;
    for path in files {
        let (from, text) = if templates {
            (
                format!("{path} (rendered)"),
                pass.operator.jinja.file(path, context)?,
            )
        } else {
            let text = pass.operator.bundle.text(path);
            (
                path.clone(),
                text.map_err(|why| Errors::from(Diagnostic::new(path, Place::default(), why)))?,
            )
        };
        for object in objects::read(&from, &text, Duplicates::Refused)? {
            let wave = building.wave;
            building.child(path, object, child.clone(), wave)?;
        }
    }
    if let Some(inline) = object {
        let object = pass.inline(inline, context)?;
        let at =
            |message: &str| Errors::from(Diagnostic::new(&inline.file, inline.node.place, message));
        if object.get("apiVersion").is_none() || object.get("kind").is_none() {
            return Err(
                at("this is no Kubernetes object: it needs `apiVersion` and `kind`").into(),
            );
        }
        let wave = building.wave;
        building.child(&inline.file, object, child.clone(), wave)?;
    }
    Ok(())
}

/// Files of values: their texts, and what they are together.
pub(crate) fn values_of(
    building: &mut Building<'_>,
    files: &[String],
    context: &Context,
) -> Run<(Vec<String>, Value)> {
    let (texts, merged) = rendered_values(building.pass, files, context)?;
    if let (Value::Object(all), Value::Object(these)) = (&mut building.values, merged.clone()) {
        merge(all, these);
    }
    Ok((texts, merged))
}

pub(crate) fn rendered_values(
    pass: &super::Pass<'_>,
    files: &[String],
    context: &Context,
) -> Result<(Vec<String>, Value), Errors> {
    let (mut texts, mut merged) = (Vec::new(), Map::new());
    for path in files {
        let text = pass.operator.jinja.file(path, context)?;
        let from = format!("{path} (rendered)");
        for node in yaml::documents(&from, &text, &Limits::RENDERED, Duplicates::Refused)? {
            let Value::Object(map) = node.value() else {
                let message = format!("values are a map, not {}", node.what());
                return Err(Diagnostic::new(&from, node.place, message)
                    .within(&text)
                    .into());
            };
            merge(&mut merged, map);
        }
        texts.push(text);
    }
    Ok((texts, Value::Object(merged)))
}

fn target(
    building: &Building<'_>,
    wanted: Option<&Target>,
    context: &Context,
    about: Option<&About>,
) -> Run<Option<kybern_sdk::Target>> {
    let pass = building.pass;
    let Some(wanted) = wanted else {
        let Some(about) = about.filter(|about| about.watched) else {
            return Ok(None);
        };
        let text = |path: &str| {
            about
                .object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let target = kybern_sdk::Target::new(
            objects::gvk(&about.object),
            text("/metadata/namespace"),
            text("/metadata/name"),
        );
        return Ok(Some(target.with_uid(text("/metadata/uid"))));
    };
    let get = |source: &Source| pass.operator.jinja.text(source, context);
    let kind = Gvk::from_api_version(&get(&wanted.api_version)?, &get(&wanted.kind)?);
    let namespace = match &wanted.namespace {
        Some(source) => get(source)?,
        None => pass.namespace().to_owned(),
    };
    let target = kybern_sdk::Target::new(kind, namespace, get(&wanted.name)?);
    Ok(Some(match &wanted.uid {
        Some(uid) => target.with_uid(get(uid)?),
        None => target,
    }))
}

fn request(
    building: &mut Building<'_>,
    http: &Http,
    path: &str,
    context: &Context,
    about: Option<&About>,
) -> Run<()> {
    let pass = building.pass;
    let jinja = &pass.operator.jinja;
    let mut headers = Map::new();
    for (name, value) in &http.headers {
        headers.insert(name.clone(), jinja.text(value, context)?.into());
    }
    let body = match &http.body {
        Some(body) => pass.inline(body, context)?,
        None => Value::Null,
    };
    let name = http.name.clone().unwrap_or_else(|| path.to_owned());
    let (key, seen) = match about {
        Some(about) => (format!("{name}/{}", about.key), about.seen.clone()),
        None => (name, String::new()),
    };
    let secrets = http
        .secrets
        .iter()
        .map(|(name, secret, prefix)| json!({ "name": name, "secret": secret, "prefix": prefix }));
    let mut effect = RunEffect::new("http", key.clone()).with_input(json!({
        "method": http.method, "url": jinja.text(&http.url, context)?, "headers": headers,
        "secretHeaders": secrets.collect::<Value>(), "body": body, "expect": http.expect, "about": seen,
    }));
    effect.max_age_ms = http.every;
    effect.timeout_ms = http.timeout;
    if building.deleting {
        effect.phase = EffectPhase::Finalize;
        let done = pass.outcomes.iter().any(|outcome| {
            outcome.key == key && matches!(outcome.result, kybern_sdk::OutcomeResult::Ok(_))
        });
        if !done {
            building.partial(format!("waiting for the request `{key}`"));
        }
    }
    building.actions.push(Action::Effect(effect));
    Ok(())
}
