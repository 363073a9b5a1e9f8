//! The plugin under test: loaded as a host loads it, called as a host calls it.

use super::bundle;
use super::chain;
use super::component::Component;
use super::registration;
use super::rows::{self, Columns};
use super::situation::Situation;
use super::tables::Tables;
use crate::registration::settings::{self, Given};
use anyhow::anyhow;
use kybern_interface::{Gvk, HookError, Plan, Query, Sensing, Trigger};
use kybern_plugin::{Call, CallError, CallLimits, LoadError, NamedAnswer, Plugin, Usage};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A loaded plugin.
pub(super) struct Subject {
    pub(super) plugin: Plugin,
    pub(super) tables: Tables,
    columns: BTreeMap<String, Columns>,
    limits: CallLimits,
    /// What checking, compiling and a trial instance took.
    pub(super) load_time: Duration,
}

/// What came of `decide`.
pub(super) struct Decided {
    pub(super) plan: Plan,
    pub(super) usage: Usage,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Ended {
    /// The sense hook skips the custom resource: `decide` is not called.
    #[error("sense skips this custom resource: decide is not called")]
    Skipped,
    /// A hook returned an error.
    #[error("{0}")]
    Hook(HookError),
    /// A hook trapped, ran out of a limit or returned what is no document.
    #[error("{0}")]
    Crashed(CallError),
    /// What was returned is no plan.
    #[error("{0}")]
    NoPlan(String),
}

/// What a hook is called with.
pub(super) struct Input {
    document: String,
    answers: Vec<NamedAnswer>,
}

impl Subject {
    /// Loads it, with the limits that a registration has if it says nothing.
    pub(super) async fn load(component: &Component) -> anyhow::Result<Result<Self, LoadError>> {
        let runtime = bundle::runtime(&component.interpreter, &component.bytes)?;
        let start = crate::clock::monotonic();
        let plugin = match runtime.load(&component.bytes) {
            Ok(plugin) => plugin,
            Err(why) => return Ok(Err(why)),
        };
        let load_time = crate::clock::monotonic().saturating_sub(start);
        let tables = Tables::of(plugin.manifest())?;
        Ok(Ok(Self {
            columns: tables.columns(plugin.manifest()).await,
            plugin,
            tables,
            limits: CallLimits::default(),
            load_time,
        }))
    }

    /// Senses, then decides; twice if `strict`.
    ///
    /// # Errors
    /// The situation is not one that the plugin could be in.
    pub(super) fn decide(
        &self,
        situation: &Situation,
        strict: bool,
    ) -> anyhow::Result<Result<Decided, Ended>> {
        match self.input(situation)? {
            Ok(input) => Ok(self.decide_on(&input, strict)),
            Err(ended) => Ok(Err(ended)),
        }
    }

    /// One `decide`, or two that are compared.
    pub(super) fn decide_on(&self, input: &Input, strict: bool) -> Result<Decided, Ended> {
        let answers = input.answers.clone();
        let call = if strict {
            self.plugin
                .decide_strict(&input.document, answers, &self.limits)
        } else {
            self.plugin.decide(&input.document, answers, &self.limits)
        };
        let usage = call.usage;
        let text = document(call)?;
        let plan =
            kybern_reconcile::parse_plan(&text).map_err(|error| Ended::NoPlan(chain(&error)))?;
        Ok(Decided { plan, usage })
    }

    /// Calls `decide` with any text.
    pub(super) fn decide_text(&self, text: &str) -> Call<String> {
        self.plugin.decide(text, Vec::new(), &self.limits)
    }

    /// The queries that the sense hook adds in this situation.
    pub(super) fn asked(&self, situation: &Situation) -> anyhow::Result<Result<Vec<Query>, Ended>> {
        self.sense(self.trigger(situation)?, situation, &self.named())
    }

    /// The manifest's queries.
    fn named(&self) -> Vec<String> {
        let queries = self.plugin.manifest().queries.iter();
        queries.map(|query| query.name.clone()).collect()
    }

    /// What the sense hook is called with at first.
    fn trigger(&self, situation: &Situation) -> anyhow::Result<Trigger> {
        let (resource, object) = self.object(&situation.object)?;
        let settings = settings::resolve(
            &Given::open(situation.settings.clone()),
            &self.plugin.manifest().settings_schema,
        )
        .map_err(|problem| anyhow!("{}", problem.message.replace("spec.settings", "settings")))?;
        Ok(Trigger {
            resource,
            object,
            settings,
            now: situation.now.clone(),
            queries: Vec::new(),
        })
    }

    /// What `decide` is called with in this situation; the sense hook says more queries, or skips.
    pub(super) fn input(&self, situation: &Situation) -> anyhow::Result<Result<Input, Ended>> {
        let trigger = self.trigger(situation)?;
        let (resource, object) = (trigger.resource.clone(), trigger.object.clone());
        let settings = trigger.settings.clone();
        let mut names = self.named();
        match self.sense(trigger, situation, &names)? {
            Ok(asked) => names.extend(asked.into_iter().map(|query| query.name)),
            Err(ended) => return Ok(Err(ended)),
        }
        if let Some(unknown) = situation.rows.keys().find(|name| !names.contains(name)) {
            return Err(anyhow!(
                "rows.{unknown}: neither the manifest nor sense names such a query; there is {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            ));
        }
        let answers = self.answers(situation, &names)?;
        let document = json(&kybern_interface::Situation {
            resource,
            object,
            queries: names,
            outcomes: situation.outcomes.clone(),
            state: situation.state.clone(),
            settings,
            now: situation.now.clone(),
        })?;
        Ok(Ok(Input { document, answers }))
    }

    /// The custom resource with what an API server fills in.
    fn object(&self, given: &Value) -> anyhow::Result<(Gvk, Value)> {
        let text = |field: &str| given.get(field).and_then(Value::as_str).unwrap_or_default();
        let gvk = Gvk::from_api_version(text("apiVersion"), text("kind"));
        let resources = &self.plugin.manifest().resources;
        let known = |ask: &kybern_interface::ResourceAsk| {
            ask.group == gvk.group && ask.version == gvk.version && ask.kind == gvk.kind
        };
        if !resources.iter().any(known) {
            let kinds = resources
                .iter()
                .map(|ask| registration::kind(&ask.group, &ask.version, &ask.kind));
            let kinds: Vec<String> = kinds.collect();
            return Err(anyhow!(
                "object: the plugin is not in charge of {}; it is in charge of {}",
                registration::kind(&gvk.group, &gvk.version, &gvk.kind),
                kinds.join(", ")
            ));
        }
        let mut object = given.clone();
        crate::offline::complete(&mut object, self.tables.namespaced(&gvk), 0);
        Ok((gvk, object))
    }

    /// Those that the sense hook adds to these queries, in as many rounds as it may.
    fn sense(
        &self,
        mut trigger: Trigger,
        situation: &Situation,
        names: &[String],
    ) -> anyhow::Result<Result<Vec<Query>, Ended>> {
        let mut asked: Vec<Query> = Vec::new();
        if !self.plugin.has_sense() {
            return Ok(Ok(asked));
        }
        for _ in 0..=Sensing::ROUNDS {
            let answers = self.answers(situation, &trigger.queries)?;
            let text = match document(self.plugin.sense(&json(&trigger)?, answers, &self.limits)) {
                Ok(text) => text,
                Err(ended) => return Ok(Err(ended)),
            };
            let (queries, last) = match serde_json::from_str(&text) {
                Ok(Sensing::Skip) => return Ok(Err(Ended::Skipped)),
                Ok(Sensing::Queries(queries)) => (queries, true),
                Ok(Sensing::Again(queries)) => (queries, false),
                Err(error) => {
                    let why = format!("sense returned no sensing document: {error}");
                    return Ok(Err(Ended::NoPlan(why)));
                }
            };
            for query in queries {
                let known = asked.iter().any(|one| one.name == query.name);
                if !known && !names.contains(&query.name) {
                    asked.push(query);
                }
            }
            if last {
                return Ok(Ok(asked));
            }
            let added = asked.iter().map(|query| &query.name);
            trigger.queries = names.iter().chain(added).cloned().collect();
        }
        let most = Sensing::ROUNDS;
        let why = format!("sense asked more than {most} times to be called again");
        Ok(Err(Ended::NoPlan(why)))
    }

    /// An answer for each query.
    fn answers(&self, situation: &Situation, names: &[String]) -> anyhow::Result<Vec<NamedAnswer>> {
        let answers = names.iter().map(|name| {
            let rows = situation
                .rows
                .get(name)
                .map(Vec::as_slice)
                .unwrap_or_default();
            rows::answer(name, rows, self.columns.get(name)).map_err(|why| anyhow!(why))
        });
        answers.collect()
    }
}

fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// The document that a hook returned.
fn document(call: Call<String>) -> Result<String, Ended> {
    call.result.map_err(|error| match error {
        CallError::Hook(error) => Ended::Hook(error),
        other => Ended::Crashed(other),
    })
}
