//! One pass: from a CR and what is there to a plan.
//!
//! # Semantics
//! Everything is a level, nothing an event. What `deploy` and rules ask for holds while it is asked
//! for, and is taken back with it. Only what cannot be taken back, Events and requests, is done once
//! for each thing that it is about; what was done is remembered, in the CR's record.

mod commands;
mod context;
mod helm;
mod objects;
mod patch;
mod plan;
mod queries;
mod rules;
mod state;

pub(crate) use helm::has_hooks;
pub use objects::Key;

use crate::diagnostic::Errors;
use crate::operator::{Category, Operator, Profile};
use kybern_interface::{Children, Deletion, HelmAnswer, HelmRequest, Plan, Situation, Trigger};
use kybern_sdk::{Gvk, HookError, Query, Sensing};
use plan::Building;
use serde_json::Value;
use state::State;
use std::collections::BTreeSet;

/// What the interpreter needs of the host.
pub trait Host {
    /// The rows of a query that sense named.
    fn rows(&self, query: &str) -> Result<Vec<Value>, HookError>;
    /// Renders a chart.
    fn helm(&self, request: &HelmRequest) -> Result<HelmAnswer, String>;
}

/// Why a pass gives no plan.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The bundle or the CR is wrong.
    Wrong(Errors),
    /// The host could not answer.
    Host(HookError),
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self::Wrong(errors)
    }
}

impl From<HookError> for Failure {
    fn from(error: HookError) -> Self {
        Self::Host(error)
    }
}

impl From<Failure> for HookError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Wrong(errors) => Self::Invalid(errors.to_string()),
            Failure::Host(error) => error,
        }
    }
}

type Run<T> = Result<T, Failure>;

/// What a pass works with.
pub(crate) struct Pass<'a> {
    pub(crate) operator: &'a Operator,
    pub(crate) profile: &'a Profile,
    pub(crate) host: &'a dyn Host,
    pub(crate) cr: Value,
    pub(crate) settings: Value,
    pub(crate) now: String,
    /// Names of the answers that can be read.
    pub(crate) answered: Vec<String>,
    pub(crate) outcomes: Vec<kybern_sdk::Outcome>,
}

impl Pass<'_> {
    fn deleting(&self) -> bool {
        self.text("/metadata/deletionTimestamp").is_some()
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.cr.pointer(path).and_then(Value::as_str)
    }

    fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.text("/metadata/namespace").unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.text("/metadata/uid").unwrap_or_default()
    }
}

/// Which rows the plan depends on.
pub fn sense(
    operator: &Operator,
    trigger: &Trigger,
    answered: &[String],
    host: &dyn Host,
) -> Result<Sensing, HookError> {
    let profile = operator.profile(&trigger.settings).map_err(Failure::from)?;
    let pass = Pass {
        operator,
        profile,
        host,
        cr: trigger.object.clone(),
        settings: trigger.settings.clone(),
        now: trigger.now.clone(),
        answered: answered.to_vec(),
        outcomes: Vec::new(),
    };
    let mut asked: Vec<Query> = queries::own(&pass)?;
    if answered.is_empty() && helm::looks_up(&pass) && !asked.is_empty() {
        // Values of charts may depend on rows.
        return Ok(Sensing::Again(asked));
    }
    let missing = helm::missing(&pass)?;
    if !missing.is_empty() {
        return Ok(Sensing::Again(missing));
    }
    asked.retain(|query| !answered.contains(&query.name));
    Ok(Sensing::Queries(asked))
}

/// What is to be.
pub fn decide(
    operator: &Operator,
    situation: &Situation,
    host: &dyn Host,
) -> Result<Plan, HookError> {
    let profile = operator
        .profile(&situation.settings)
        .map_err(Failure::from)?;
    let pass = Pass {
        operator,
        profile,
        host,
        cr: situation.object.clone(),
        settings: situation.settings.clone(),
        now: situation.now.clone(),
        answered: situation.queries.clone(),
        outcomes: situation.outcomes.clone(),
    };
    let before = State::read(&situation.state);
    match planned(&pass, before.clone()) {
        Ok(plan) => Ok(plan),
        Err(failure) if catches(profile) => match failure {
            Failure::Wrong(errors) => Ok(caught(&pass, before, &errors)?),
            host @ Failure::Host(_) => Err(host.into()),
        },
        Err(failure) => Err(failure.into()),
    }
}

fn catches(profile: &Profile) -> bool {
    profile
        .rules
        .iter()
        .any(|rule| rule.watch.category == Category::DidCatch)
}

fn planned(pass: &Pass<'_>, before: State) -> Run<Plan> {
    let base = context::base(pass, &before)?;
    let mut building = Building::new(pass, before);
    if pass.deleting() {
        building.deleting = true;
        rules::unmount(&mut building, &base)?;
        helm::unmount(&mut building, &base)?;
        return building.finish();
    }
    if !rules::should_update(&building, &base)? {
        return Ok(Plan {
            children: Children::Unchanged,
            deletion: Deletion::NotDeleting,
            ..Plan::default()
        });
    }
    let base = context::remembering(&mut building, base)?;
    commands::deploy(&mut building, &base)?;
    rules::maintain(&mut building, &base)?;
    if let Some(status) = &pass.profile.status {
        commands::status(&mut building, status, &base)?;
    }
    building.finish()
}

/// A plan that changes no children and does what is to be done when something failed.
fn caught(pass: &Pass<'_>, before: State, errors: &Errors) -> Run<Plan> {
    let base = context::base(pass, &before)?;
    let mut building = Building::new(pass, before);
    building.partial(errors.to_string());
    rules::catch(&mut building, &base, &errors.to_string())?;
    building.finish()
}

/// The kinds of the children that a CR gets, and those that its charts look up: as far as they can
/// be told without a cluster.
pub(crate) fn children_of(
    operator: &Operator,
    profile: &Profile,
    host: &dyn Host,
    cr: Value,
    settings: Value,
) -> (BTreeSet<Gvk>, BTreeSet<Gvk>) {
    let now = "2026-01-01T00:00:00Z".to_owned();
    let (answered, outcomes) = (Vec::new(), Vec::new());
    let pass = Pass {
        operator,
        profile,
        host,
        cr,
        settings,
        now,
        answered,
        outcomes,
    };
    let mut kinds = BTreeSet::new();
    let mut looked_up = BTreeSet::new();
    let Ok(base) = context::base(&pass, &State::default()) else {
        return (kinds, looked_up);
    };
    // What is remembered may need what is not there: then templates that read it are not tried.
    let mut building = Building::new(&pass, State::default());
    let base = context::remembering(&mut building, base.clone()).unwrap_or(base);
    for command in &profile.deploy {
        let mut building = Building::new(&pass, State::default());
        let _ = commands::run(&mut building, std::slice::from_ref(command), &base, None);
        kinds.extend(
            building
                .children
                .values()
                .map(|child| objects::gvk(&child.object)),
        );
        looked_up.extend(helm::kinds_looked_up(&pass, command, &base));
    }
    (kinds, looked_up)
}

#[cfg(test)]
mod tests;
