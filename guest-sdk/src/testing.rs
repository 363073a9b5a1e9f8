//! Runs a plugin's hooks natively: an author's `cargo test` needs neither wasm nor a cluster.
//!
//! # Contract
//! The hooks get the same documents as in the sandbox, and rows are written as
//! the host writes them (integers as text, nested JSON as text, in pages; with
//! the feature `arrow` also as record batches, whichever way they were given).
//! Beyond that the harness refuses what a host would: rows of a query that
//! nobody named, a kind that the manifest does not name, an action that the
//! manifest does not ask for, and a `decide` that gives two plans for one
//! situation.

mod acting;
mod answers;
#[cfg(feature = "arrow")]
mod arrow;

use crate::{
    Action, Effect, Gvk, HookError, Manifest, Outcome, Plugin, Sensing, SubresourceKind, Value,
    dispatch, json,
};
pub use acting::Acting;
pub(crate) use acting::{answer, answer_with_secrets};
use answers::{Answer, Answers, Rows};
use kybern_interface::{GrantVerb, Plan};
use serde::Serialize;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Deref;

/// The time of a situation that does not say another.
const NOW: &str = "2026-01-01T00:00:00Z";

/// A situation for a test.
#[derive(Debug, Clone)]
pub struct Situation {
    object: Value,
    answers: BTreeMap<String, Answer>,
    outcomes: Vec<Outcome>,
    state: Value,
    settings: Value,
    now: String,
    /// Why a builder method could not take its input; told by `decide`.
    defect: Option<String>,
}

impl Situation {
    /// A situation with this CR and no rows. What an API server fills in
    /// (namespace, uid, generation) is filled in if it is absent.
    pub fn new(mut object: Value) -> Self {
        let defaults = [
            ("namespace", json!("default")),
            ("uid", json!("00000000-0000-4000-8000-000000000000")),
            ("generation", json!(1)),
            ("resourceVersion", json!("1")),
            ("creationTimestamp", json!(NOW)),
        ];
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for (field, value) in defaults {
                metadata.entry(field).or_insert(value);
            }
        }
        Self {
            object,
            answers: BTreeMap::new(),
            outcomes: Vec::new(),
            state: Value::Null,
            settings: json!({}),
            now: NOW.to_owned(),
            defect: None,
        }
    }

    /// The rows of a query. A query without rows here has an empty answer.
    #[must_use]
    pub fn rows<R: Serialize>(self, query: &str, rows: impl IntoIterator<Item = R>) -> Self {
        let rows: Result<Vec<Value>, _> = rows.into_iter().map(serde_json::to_value).collect();
        self.answer(query, rows.map(Rows::of))
    }

    /// The rows of a query as record batches, with the types that the host hands
    /// over. A plugin that reads JSON gets them as JSON. Needs the feature `arrow`.
    #[cfg(feature = "arrow")]
    #[must_use]
    pub fn batches(
        self,
        query: &str,
        batches: impl IntoIterator<Item = arrow_array::RecordBatch>,
    ) -> Self {
        let batches: Vec<_> = batches.into_iter().collect();
        self.answer(query, Rows::of_batches(&batches))
    }

    fn answer(mut self, query: &str, rows: Result<Rows, impl std::fmt::Display>) -> Self {
        match rows {
            Ok(rows) => {
                self.answers.insert(query.to_owned(), Ok(rows));
            }
            Err(error) => self.defect = Some(format!("rows of `{query}`: {error}")),
        }
        self
    }

    /// A query that fails with this reason.
    #[must_use]
    pub fn failing(mut self, query: &str, reason: &str) -> Self {
        self.answers
            .insert(query.to_owned(), Err(reason.to_owned()));
        self
    }

    /// The CR is being deleted.
    #[must_use]
    pub fn deleting(mut self) -> Self {
        if let Some(metadata) = self
            .object
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
        {
            metadata.insert("deletionTimestamp".to_owned(), json!(NOW));
        }
        self
    }

    /// The result of an effect.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcomes.push(outcome);
        self
    }

    /// What the plugin kept.
    #[must_use]
    pub fn state(mut self, state: impl Serialize) -> Self {
        match serde_json::to_value(state) {
            Ok(state) => self.state = state,
            Err(error) => self.defect = Some(format!("state: {error}")),
        }
        self
    }

    /// The registration's settings.
    #[must_use]
    pub fn settings(mut self, settings: impl Serialize) -> Self {
        match serde_json::to_value(settings) {
            Ok(settings) => self.settings = settings,
            Err(error) => self.defect = Some(format!("settings: {error}")),
        }
        self
    }

    /// The pass's time, RFC 3339 UTC.
    #[must_use]
    pub fn now(mut self, now: &str) -> Self {
        now.clone_into(&mut self.now);
        self
    }

    /// Runs `sense`.
    pub fn sense<P: Plugin>(&self) -> Result<Sensing, HookError> {
        let manifest = manifest::<P>()?;
        self.sense_as::<P>(&manifest)
    }

    /// Runs `sense` and `decide`.
    pub fn decide<P: Plugin>(&self) -> Result<Decided, HookError> {
        let input = self.input::<P>()?;
        let plan = input.decide()?;
        if input.decide()? != plan {
            return Err(refusal("decide gave two plans for one situation"));
        }
        let plan: Plan = parse(&plan)?;
        let manifest = manifest::<P>()?;
        for action in &plan.actions {
            asked_for(&manifest, action)?;
        }
        Ok(Decided { plan })
    }

    /// What one call of `decide` is given, after `sense` ran: to call it again and again, as a
    /// benchmark does.
    pub fn input<P: Plugin>(&self) -> Result<Input<P>, HookError> {
        let manifest = manifest::<P>()?;
        let answers = self.answers_for::<P>(&manifest)?;
        let situation = text(&kybern_interface::Situation {
            resource: self.resource(&manifest)?,
            object: self.object.clone(),
            queries: answers.0.keys().cloned().collect(),
            outcomes: self.outcomes.clone(),
            state: self.state.clone(),
            settings: self.settings.clone(),
            now: self.now.clone(),
        })?;
        Ok(Input {
            situation,
            answers,
            plugin: PhantomData,
        })
    }

    fn sense_as<P: Plugin>(&self, manifest: &Manifest) -> Result<Sensing, HookError> {
        let trigger = text(&kybern_interface::Trigger {
            resource: self.resource(manifest)?,
            object: self.object.clone(),
            settings: self.settings.clone(),
            now: self.now.clone(),
            queries: Vec::new(),
        })?;
        parse(&dispatch::sense::<P>(&trigger)?)
    }

    /// The answers that `decide` may open: one for each query that the manifest or sense names.
    fn answers_for<P: Plugin>(&self, manifest: &Manifest) -> Result<Answers, HookError> {
        if let Some(defect) = &self.defect {
            return Err(refusal(defect));
        }
        let mut names: Vec<String> = manifest.queries.iter().map(|q| q.name.clone()).collect();
        match self.sense_as::<P>(manifest)? {
            Sensing::Queries(queries) => names.extend(queries.into_iter().map(|q| q.name)),
            Sensing::Again(_) => {
                return Err(refusal(
                    "sense asks to be called again, which only raw hooks can make use of",
                ));
            }
            Sensing::Skip => return Err(refusal("sense skips this CR: decide is not called")),
        }
        if let Some(unknown) = self.answers.keys().find(|name| !names.contains(name)) {
            return Err(refusal(format!(
                "rows for query `{unknown}`, which neither the manifest nor sense names"
            )));
        }
        Ok(Answers(
            names
                .into_iter()
                .map(|name| {
                    let answer = self.answers.get(&name).cloned();
                    (name, answer.unwrap_or_else(|| Ok(Rows::of(Vec::new()))))
                })
                .collect(),
        ))
    }

    fn resource(&self, manifest: &Manifest) -> Result<Gvk, HookError> {
        let resource = type_of(&self.object);
        let in_charge = manifest
            .resources
            .iter()
            .any(|ask| resource == Gvk::new(&*ask.group, &*ask.version, &*ask.kind));
        if in_charge {
            Ok(resource)
        } else {
            Err(refusal(format!(
                "the plugin is not in charge of {resource}"
            )))
        }
    }
}

/// What one call of `decide` is given: the documents of the sandbox, without the sandbox.
#[derive(Debug)]
pub struct Input<P> {
    situation: String,
    answers: Answers,
    plugin: PhantomData<P>,
}

impl<P: Plugin> Input<P> {
    /// The situation document.
    pub fn situation(&self) -> &str {
        &self.situation
    }

    /// Calls `decide` once; gives the plan document, which nobody has looked at.
    pub fn decide(&self) -> Result<String, HookError> {
        dispatch::decide::<P>(&self.situation, &self.answers)
    }
}

/// Runs `act`.
pub fn act<P: Plugin>(effect: &Effect) -> Result<Value, HookError> {
    parse(&dispatch::act::<P>(&text(effect)?)?)
}

/// The manifest that a plugin embeds.
pub fn manifest<P: Plugin>() -> Result<Manifest, HookError> {
    parse(P::MANIFEST)
}

/// A plan, with look-ups for assertions.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    plan: Plan,
}

impl Deref for Decided {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl Decided {
    /// The child of this kind and name.
    pub fn child(&self, kind: &str, name: &str) -> Option<&Value> {
        self.plan.actions.iter().find_map(|action| match action {
            Action::Apply(apply)
                if apply.object.pointer("/kind") == Some(&json!(kind))
                    && apply.object.pointer("/metadata/name") == Some(&json!(name)) =>
            {
                Some(&apply.object)
            }
            _ => None,
        })
    }

    /// What the plan patches on an object of this kind and name that is not a child.
    pub fn patch(&self, kind: &str, name: &str) -> Option<&Value> {
        self.plan.actions.iter().find_map(|action| match action {
            Action::Patch(patch) if patch.target.kind == kind && patch.target.name == name => {
                Some(&patch.patch)
            }
            _ => None,
        })
    }

    /// The statements of the plan, in their order, with their parameters.
    pub fn statements(&self) -> Vec<(&str, &[Value])> {
        let statements = self.plan.actions.iter().filter_map(|action| match action {
            Action::Sql(write) => Some((write.statement.as_str(), write.params.as_slice())),
            _ => None,
        });
        statements.collect()
    }

    /// How many children the plan names.
    pub fn children(&self) -> usize {
        let is_child = |action: &&Action| matches!(action, Action::Apply(_));
        self.plan.actions.iter().filter(is_child).count()
    }

    /// The CR's status.
    pub fn status(&self) -> Option<&Value> {
        self.plan.actions.iter().find_map(|action| match action {
            Action::Status { status } => Some(status),
            _ => None,
        })
    }
}

/// Whether the manifest asks for what an action writes.
fn asked_for(manifest: &Manifest, action: &Action) -> Result<(), HookError> {
    let (kind, verb) = match action {
        Action::Apply(apply) => (type_of(&apply.object), GrantVerb::Apply),
        Action::Patch(patch) => (target(&patch.target), GrantVerb::Patch),
        Action::Delete(delete) => (target(&delete.target), GrantVerb::Delete),
        Action::Effect(effect) => {
            let known = manifest.effects.iter().any(|ask| ask.name == effect.name);
            return if known {
                Ok(())
            } else {
                let name = &effect.name;
                Err(refusal(format!("the manifest names no effect `{name}`")))
            };
        }
        Action::CreateSubresource(action) => return subresource_asked_for(manifest, action),
        Action::SetState(_) if !manifest.state => {
            return Err(refusal(
                "the plan sets a state, which the manifest does not ask for: add `state`",
            ));
        }
        _ => return Ok(()),
    };
    let asked = manifest.writes.iter().any(|ask| {
        kind == Gvk::new(&*ask.group, &*ask.version, &*ask.kind) && ask.verbs.contains(&verb)
    });
    if asked {
        return Ok(());
    }
    Err(refusal(format!(
        "the plan would {verb:?} {kind}, which the manifest does not ask for: add it to `writes`"
    )))
}

fn subresource_asked_for(
    manifest: &Manifest,
    action: &crate::Subresource,
) -> Result<(), HookError> {
    let name = match action.subresource {
        SubresourceKind::Eviction => "eviction",
        SubresourceKind::Scale => "scale",
        SubresourceKind::Token => "token",
    };
    let kind = target(&action.target);
    let asked = manifest.writes.iter().any(|ask| {
        kind == Gvk::new(&*ask.group, &*ask.version, &*ask.kind)
            && ask.subresources.iter().any(|asked| asked == name)
    });
    if asked {
        return Ok(());
    }
    Err(refusal(format!(
        "the plan would write {name} of {kind}, which the manifest does not ask for: add it with `write`"
    )))
}

fn target(target: &crate::Target) -> Gvk {
    Gvk::new(&*target.group, &*target.version, &*target.kind)
}

fn type_of(object: &Value) -> Gvk {
    let text = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    Gvk::from_api_version(text("apiVersion"), text("kind"))
}

fn refusal(what: impl std::fmt::Display) -> HookError {
    HookError::Internal(format!("test harness: {what}"))
}

fn text<T: Serialize>(document: &T) -> Result<String, HookError> {
    serde_json::to_string(document).map_err(refusal)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, HookError> {
    serde_json::from_str(text).map_err(refusal)
}
