//! Charts: rendered by the host, taken as a release without a stored release.
//!
//! # Semantics
//! What is wanted is what the chart renders to now; what it no longer renders to goes. Hooks are run
//! once for each revision, one after the other by weight: those before in front of everything, those
//! behind when everything is ready. A chart without hooks keeps nothing in the record: its revision is 1.

use super::commands::{Flow, WAVES, rendered_values, values_of};
use super::objects::{self, gvk};
use super::plan::Building;
use super::state::{Release, digest};
use super::{Pass, Run, context, queries};
use crate::diagnostic::{Diagnostic, Errors, Place};
use crate::jinja::Context;
use crate::operator::{Child, Helm, Operator, Profile, What};
use crate::yaml::Duplicates;
use kybern_interface::{
    Action, DeleteObject, HelmAnswer, HelmHook, HelmLookup, HelmRelease, HelmRequest, Target,
};
use kybern_sdk::{Gvk, HookError, Query};
use serde_json::Value;
use std::collections::BTreeMap;

/// The annotation with the revision that a hook was made for.
const REVISION: &str = "declarative.kybern.dev/hook-revision";

/// Characters that are told of a long error's begin, and of its end.
const HEAD: usize = 300;
const TAIL: usize = 300;

/// Look-ups of one pass.
const LOOKUPS: usize = 64;

fn charts(profile: &Profile) -> impl Iterator<Item = &Helm> {
    profile
        .deploy
        .iter()
        .chain(profile.rules.iter().flat_map(|rule| &rule.action))
        .filter_map(|command| match &command.what {
            What::Helm(helm) => Some(helm.as_ref()),
            _ => None,
        })
}

/// Whether a file of a profile's charts has this word; of a packed chart nobody knows.
fn mention(operator: &Operator, profile: &Profile, word: &str) -> bool {
    charts(profile).any(|helm| {
        let packed = operator.bundle.has(&helm.chart);
        packed
            || operator.bundle.below(&helm.chart).any(|path| {
                path.ends_with("gz")
                    || operator
                        .bundle
                        .text(path)
                        .is_ok_and(|text| text.contains(word))
            })
    })
}

pub(crate) fn has_hooks(operator: &Operator, profile: &Profile) -> bool {
    mention(operator, profile, "helm.sh/hook")
}

pub(crate) fn looks_up(pass: &Pass<'_>) -> bool {
    mention(pass.operator, pass.profile, "lookup")
}

fn query_of(lookup: &HelmLookup) -> String {
    format!(
        "lookup {} {} {} {}",
        lookup.api_version, lookup.kind, lookup.namespace, lookup.name
    )
}

/// What was looked up, and what was found.
fn known(pass: &Pass<'_>) -> Run<Vec<HelmLookup>> {
    let mut found = Vec::new();
    for query in &pass.answered {
        let Some(rest) = query.strip_prefix("lookup ") else {
            continue;
        };
        let mut parts = rest.split(' ').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let mut lookup = HelmLookup {
            api_version: next(),
            kind: next(),
            namespace: next(),
            name: next(),
            ..HelmLookup::default()
        };
        let objects = queries::objects(pass, query)?;
        if lookup.name.is_empty() {
            lookup.items = Some(objects);
        } else {
            lookup.object = objects.into_iter().next();
        }
        found.push(lookup);
    }
    Ok(found)
}

/// Queries for what charts look up and nobody has answered yet.
pub(crate) fn missing(pass: &Pass<'_>) -> Run<Vec<Query>> {
    if !looks_up(pass) {
        return Ok(Vec::new());
    }
    let base = context::base(pass, &super::state::State::default())?;
    let mut asked: BTreeMap<String, Query> = BTreeMap::new();
    for command in &pass.profile.deploy {
        let What::Helm(helm) = &command.what else {
            continue;
        };
        // What is wrong is told by decide.
        let holds = command
            .when
            .as_ref()
            .is_none_or(|when| pass.operator.jinja.holds(when, &base).unwrap_or(true));
        if !holds {
            continue;
        }
        let items = match &command.foreach {
            Some(foreach) => match pass.operator.jinja.value(foreach, &base) {
                Ok(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            None => vec![Value::Null],
        };
        for item in items {
            let context = if item.is_null() {
                base.clone()
            } else {
                base.with("item", item)
            };
            let Ok((texts, _)) = rendered_values(pass, &helm.values, &context) else {
                continue;
            };
            let Ok(request) = request(pass, helm, texts, &context, 1) else {
                continue;
            };
            let Ok(answer) = rendered(pass, helm, command.place, &request) else {
                continue;
            };
            for lookup in answer.missing_lookups {
                let query = lookup_query(pass, &lookup);
                asked.insert(query.name.clone(), query);
            }
        }
    }
    asked.retain(|name, _| !pass.answered.contains(name));
    if asked.len() + pass.answered.len() > LOOKUPS {
        return Err(
            HookError::Invalid(format!("charts look up more than {LOOKUPS} objects")).into(),
        );
    }
    Ok(asked.into_values().collect())
}

/// The kinds that a command's chart looks up first.
pub(crate) fn kinds_looked_up(
    pass: &Pass<'_>,
    command: &crate::operator::Command,
    base: &Context,
) -> Vec<Gvk> {
    let What::Helm(helm) = &command.what else {
        return Vec::new();
    };
    let texts = rendered_values(pass, &helm.values, base)
        .map(|(texts, _)| texts)
        .unwrap_or_default();
    let Ok(request) = request(pass, helm, texts, base, 1) else {
        return Vec::new();
    };
    let answer = rendered(pass, helm, command.place, &request).unwrap_or_default();
    answer
        .missing_lookups
        .iter()
        .map(|one| Gvk::from_api_version(&one.api_version, &one.kind))
        .collect()
}

fn lookup_query(pass: &Pass<'_>, lookup: &HelmLookup) -> Query {
    let kind = Gvk::from_api_version(&lookup.api_version, &lookup.kind);
    let table = crate::sql::table(&kind, &pass.operator.plural(&kind));
    let mut query = Query::new(query_of(lookup), format!("SELECT object FROM {table}"));
    let mut conditions = Vec::new();
    for (column, value) in [("namespace", &lookup.namespace), ("name", &lookup.name)] {
        if !value.is_empty() {
            query.params.push(value.clone().into());
            conditions.push(format!("{column} = ${}", query.params.len()));
        }
    }
    if !conditions.is_empty() {
        query
            .sql
            .push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    query
}

fn request(
    pass: &Pass<'_>,
    helm: &Helm,
    mut values: Vec<String>,
    context: &Context,
    revision: i64,
) -> Run<HelmRequest> {
    let jinja = &pass.operator.jinja;
    if let Some(set) = &helm.set {
        values.push(pass.inline(set, context)?.to_string());
    }
    let text = |source: &Option<crate::jinja::Source>, other: &str| match source {
        Some(source) => jinja.text(source, context),
        None => Ok(other.to_owned()),
    };
    Ok(HelmRequest {
        chart: helm.chart.clone(),
        values,
        release: HelmRelease {
            name: text(&helm.release, pass.name())?,
            namespace: text(&helm.namespace, pass.namespace())?,
            revision,
            is_upgrade: revision > 1,
        },
        lookup: known(pass)?,
        options: kybern_interface::HelmOptions {
            strict: helm.strict,
            skip_schema: helm.skip_schema,
            sub_notes: false,
        },
    })
}

fn rendered(
    pass: &Pass<'_>,
    helm: &Helm,
    place: Place,
    request: &HelmRequest,
) -> Result<HelmAnswer, Errors> {
    let wrong = |message: String, cure: String| {
        let text = pass
            .operator
            .bundle
            .text(&pass.operator.file)
            .unwrap_or_default();
        let one = Diagnostic::new(&pass.operator.file, place, shortened(&message));
        Errors::from(one.cure(cure).within(&text))
    };
    let chart = &helm.chart;
    let answer = pass.host.helm(request).map_err(|why| {
        let cure = "let the chart render less; `kybern plugin render` tries it without a cluster";
        wrong(format!("chart `{chart}`: {why}"), cure.to_owned())
    })?;
    let Some(error) = &answer.error else {
        return Ok(answer);
    };
    let cure = match (error.stage.as_str(), helm.values.join(", ")) {
        ("values", files) if files.is_empty() => {
            format!("give other values, or change {chart}/values.schema.json")
        }
        ("values", files) => {
            format!("change what {files} gives, or {chart}/values.schema.json")
        }
        ("load", _) => format!("compare {chart} with what `helm create` makes"),
        _ => {
            "the place in parentheses is in the chart: change it there, or the values that it takes"
                .to_owned()
        }
    };
    let (stage, message) = (&error.stage, error.message.trim());
    Err(wrong(format!("chart `{chart}`, {stage}: {message}"), cure))
}

/// Begin and end of what is long: templates that call each other are told by Helm one by one.
fn shortened(message: &str) -> String {
    let all = message.chars().count();
    if all <= HEAD + TAIL {
        return message.to_owned();
    }
    let head: String = message.chars().take(HEAD).collect();
    let tail: String = message.chars().skip(all - TAIL).collect();
    format!("{head} [...] {tail}")
}

/// The children of a chart.
pub(crate) fn deploy(
    building: &mut Building<'_>,
    helm: &Helm,
    path: &str,
    place: Place,
    context: &Context,
) -> Run<Flow> {
    let pass = building.pass;
    let (texts, merged) = values_of(building, &helm.values, context)?;
    let context = context.with("values", merged);
    let asked = request(pass, helm, texts.clone(), &context, 1)?;
    let mut answer = rendered(pass, helm, place, &asked)?;
    if !answer.missing_lookups.is_empty() {
        let names: Vec<String> = answer
            .missing_lookups
            .iter()
            .map(|lookup| format!("{} {}", lookup.kind, lookup.name))
            .collect();
        let message = format!(
            "chart `{}` looks up what it finds by looking up, again and again: {}",
            helm.chart,
            names.join(", ")
        );
        return Err(Errors::from(Diagnostic::new(&pass.operator.file, place, message)).into());
    }
    answer
        .hooks
        .retain(|hook| !hook.events.iter().all(|event| event.starts_with("test")));
    let mut release = Release {
        revision: 1,
        ..Release::default()
    };
    if !answer.hooks.is_empty() {
        release = revision(building, path, &answer);
        if release.revision > 1 {
            let asked = request(pass, helm, texts, &context, release.revision)?;
            answer = rendered(pass, helm, place, &asked)?;
            answer
                .hooks
                .retain(|hook| !hook.events.iter().all(|event| event.starts_with("test")));
        }
        if answer
            .hooks
            .iter()
            .any(|hook| hook.events.iter().any(|event| event.ends_with("-delete")))
        {
            building.holds = true;
        }
    }
    let namespace = asked.release.namespace.clone();
    let wave = building.wave;
    let upgrade = release.revision > 1;
    let event = |when: &str| format!("{when}-{}", if upgrade { "upgrade" } else { "install" });
    let before = hooks(
        building,
        &answer,
        &[&event("pre")],
        &mut release,
        helm,
        wave + 1,
        &namespace,
    )?;
    let flow = if before == Flow::Stop {
        Flow::Stop
    } else {
        children(building, helm, &answer, &namespace, wave)?;
        let behind = answer
            .hooks
            .iter()
            .any(|hook| hook.events.contains(&event("post")));
        if behind {
            building.barrier();
        }
        hooks(
            building,
            &answer,
            &[&event("post")],
            &mut release,
            helm,
            wave + WAVES - 100,
            &namespace,
        )?;
        Flow::On
    };
    if !answer.hooks.is_empty() {
        building.after.releases.insert(path.to_owned(), release);
    }
    if let Some(field) = helm
        .notes
        .as_ref()
        .filter(|_| !answer.notes.trim().is_empty())
    {
        building
            .status
            .insert(field.clone(), answer.notes.trim().into());
    }
    Ok(flow)
}

/// The revision, one more where what is rendered has changed.
fn revision(building: &Building<'_>, path: &str, answer: &HelmAnswer) -> Release {
    let mut all = String::new();
    for content in answer
        .manifests
        .iter()
        .map(|one| &one.content)
        .chain(answer.hooks.iter().map(|one| &one.content))
    {
        all.push_str(content);
    }
    let now = digest(&all);
    match building.before.releases.get(path) {
        Some(there) if there.digest == now => there.clone(),
        Some(there) => Release {
            revision: there.revision + 1,
            digest: now,
            done: Vec::new(),
        },
        None => Release {
            revision: 1,
            digest: now,
            done: Vec::new(),
        },
    }
}

fn children(
    building: &mut Building<'_>,
    helm: &Helm,
    answer: &HelmAnswer,
    namespace: &str,
    wave: i32,
) -> Run<()> {
    if !helm.skip_crds {
        for one in &answer.crds {
            let child = Child {
                prune: Some("keep".to_owned()),
                ..helm.child.clone()
            };
            add(building, &one.source, &one.content, &child, wave, "")?;
        }
    }
    for one in &answer.manifests {
        add(
            building,
            &one.source,
            &one.content,
            &helm.child,
            wave + 500,
            namespace,
        )?;
    }
    Ok(())
}

fn add(
    building: &mut Building<'_>,
    source: &str,
    content: &str,
    child: &Child,
    wave: i32,
    namespace: &str,
) -> Run<()> {
    for mut object in objects::read(
        &format!("{source} (rendered)"),
        content,
        Duplicates::LastCounts,
    )? {
        let mut child = child.clone();
        if object
            .pointer("/metadata/annotations/helm.sh~1resource-policy")
            .and_then(Value::as_str)
            == Some("keep")
        {
            child.prune = Some("orphan".to_owned());
        }
        if namespace != building.pass.namespace() {
            place(&mut object, namespace);
        }
        building.child(source, object, child, wave)?;
    }
    Ok(())
}

fn place(object: &mut Value, namespace: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata
            .entry("namespace")
            .or_insert_with(|| namespace.into());
    }
}

/// What is done before a CR with charts goes.
pub(crate) fn unmount(building: &mut Building<'_>, base: &Context) -> Run<()> {
    let pass = building.pass;
    if !has_hooks(pass.operator, pass.profile) {
        return Ok(());
    }
    let base = base.with("memory", Value::Object(building.before.memory.clone()));
    for command in &pass.profile.deploy {
        let What::Helm(helm) = &command.what else {
            continue;
        };
        let Some(mut release) = building.before.releases.get(&command.path).cloned() else {
            continue;
        };
        let (texts, merged) = values_of(building, &helm.values, &base)?;
        let context = base.with("values", merged);
        let asked = request(pass, helm, texts, &context, release.revision)?;
        let answer = rendered(pass, helm, command.place, &asked)?;
        let before = building.children.len();
        hooks(
            building,
            &answer,
            &["pre-delete", "post-delete"],
            &mut release,
            helm,
            1,
            &asked.release.namespace,
        )?;
        if building.children.len() > before {
            building
                .children
                .values_mut()
                .for_each(|child| child.child.during_deletion = true);
        }
        building
            .after
            .releases
            .insert(command.path.clone(), release);
    }
    Ok(())
}

/// Hooks of these events, one after the other.
fn hooks(
    building: &mut Building<'_>,
    answer: &HelmAnswer,
    events: &[&str],
    release: &mut Release,
    helm: &Helm,
    wave: i32,
    namespace: &str,
) -> Run<Flow> {
    let concerned = |hook: &&HelmHook| {
        hook.events
            .iter()
            .any(|event| events.contains(&event.as_str()))
    };
    let mut all: Vec<&HelmHook> = answer.hooks.iter().filter(concerned).collect();
    all.sort_by(|a, b| (a.weight, &a.kind, &a.name).cmp(&(b.weight, &b.kind, &b.name)));
    for (at, hook) in all.into_iter().enumerate() {
        let wave = wave + i32::try_from(at).unwrap_or(0).min(300);
        if one(building, hook, events, release, helm, wave, namespace)? == Flow::Stop {
            return Ok(Flow::Stop);
        }
    }
    Ok(Flow::On)
}

fn one(
    building: &mut Building<'_>,
    hook: &HelmHook,
    events: &[&str],
    release: &mut Release,
    helm: &Helm,
    wave: i32,
    namespace: &str,
) -> Run<Flow> {
    let revision = release.revision.to_string();
    let deletes = |policy: &str| hook.delete_policies.iter().any(|there| there == policy);
    let mut flow = Flow::On;
    for mut object in objects::read(
        &format!("{} (rendered)", hook.source),
        &hook.content,
        Duplicates::LastCounts,
    )? {
        if namespace != building.pass.namespace() {
            place(&mut object, namespace);
        }
        let key = building.key(&object);
        let id = format!("{}/{key}", events.first().copied().unwrap_or_default());
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = metadata
                .entry("annotations")
                .or_insert_with(|| serde_json::json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(REVISION.to_owned(), revision.clone().into());
            }
        }
        let child = Child {
            create_once: true,
            ready: false,
            ..helm.child.clone()
        };
        if release.done.contains(&id) {
            if !deletes("hook-succeeded") {
                building.child(&hook.source, object, child, wave)?;
            }
            continue;
        }
        if gvk(&object).kind != "Job" {
            building.child(&hook.source, object, child, wave)?;
            release.done.push(id);
            continue;
        }
        let name = |object: &Value| object.pointer("/metadata/name").cloned();
        let found = queries::objects(building.pass, queries::HOOKS)?;
        let found = found.into_iter().find(|there| name(there) == name(&object));
        let text = |object: &Value, path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match found {
            Some(there)
                if text(
                    &there,
                    "/metadata/annotations/declarative.kybern.dev~1hook-revision",
                ) != revision =>
            {
                // One of an earlier revision has the name.
                let target = Target::new(
                    gvk(&object),
                    text(&there, "/metadata/namespace"),
                    key.name.clone(),
                )
                .with_uid(text(&there, "/metadata/uid"));
                building
                    .actions
                    .push(Action::Delete(DeleteObject::new(target)));
                building.partial(format!(
                    "hook {key}: waiting until the one of an earlier revision is gone"
                ));
                flow = Flow::Stop;
            }
            Some(there) => {
                let conditions = there
                    .pointer("/status/conditions")
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default();
                let holds = |kind: &str| {
                    let is =
                        |one: &&Value| text(one, "/type") == kind && text(one, "/status") == "True";
                    conditions.iter().find(is).map(|one| text(one, "/message"))
                };
                if let Some(why) = holds("Failed") {
                    building.child(&hook.source, object, child, wave)?;
                    building.partial(format!("hook {key} failed: {why}"));
                    flow = Flow::Stop;
                } else if holds("Complete").is_some() {
                    release.done.push(id);
                    if !deletes("hook-succeeded") {
                        building.child(&hook.source, object, child, wave)?;
                    }
                } else {
                    building.child(&hook.source, object, child, wave)?;
                    building.partial(format!("hook {key} is running"));
                    flow = Flow::Stop;
                }
            }
            None => {
                building.child(&hook.source, object, child, wave)?;
                building.partial(format!("hook {key} is running"));
                flow = Flow::Stop;
            }
        }
        if flow == Flow::Stop {
            return Ok(flow);
        }
    }
    Ok(flow)
}
