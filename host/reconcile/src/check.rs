//! Plan checks: what must be right about a plan before anything is written.
//!
//! A plan is accepted or refused whole. Refused, every offence is named at once.

mod children;
mod named;
mod patches;
mod said;
mod text;

use crate::active::{Active, KindFacts};
use crate::config::PlanLimits;
use crate::effects::EffectTask;
use crate::intent::Intent;
use crate::owner::Owner;
use crate::patch::PatchIntent;
use crate::patched::Part;
use crate::record::is_record;
use crate::subresource::SubTask;
use crate::traits::{Kinds, ObjectRef};
use kybern_interface::{Action, Children, DeleteObject, EventType, Gvk, Plan, names};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
pub(crate) use text::{depth_over, short};
use text::{label, subdomain};

/// A kind of offence; the reason of the condition is the gravest one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Not what the grants allow.
    NotGranted,
    /// Part of the interface, not of this version of the host.
    NotSupportedYet,
    /// The API server does not serve the kind.
    NotServed,
    /// Wrong in itself.
    Invalid,
}

impl Fault {
    /// The condition's reason.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NotGranted => "NotGranted",
            Self::NotSupportedYet => "NotSupportedYet",
            Self::NotServed => "KindNotServed",
            Self::Invalid => "InvalidPlan",
        }
    }
}

/// One thing that is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offence {
    pub(crate) fault: Fault,
    /// What is wrong, naming the action.
    pub(crate) message: String,
}

/// A plan that has passed its checks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checked {
    pub(crate) children: Children,
    pub(crate) intents: Vec<Arc<Intent>>,
    pub(crate) deletes: Vec<(ObjectRef, DeleteObject)>,
    pub(crate) status: Option<Value>,
    pub(crate) events: Vec<(EventType, String, String)>,
    /// What the plugin wants to remember; none leaves it as it is.
    pub(crate) state: Option<Value>,
    pub(crate) subresources: Vec<SubTask>,
    pub(crate) patches: Vec<PatchIntent>,
    pub(crate) effects: Vec<EffectTask>,
}

/// What is to be done on a subresource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sub {
    /// The Pod is to go, as far as disruption budgets allow.
    Evict {
        /// Seconds until it is killed; none = as the Pod says.
        grace_seconds: Option<u32>,
    },
    /// There shall be so many.
    Scale {
        /// How many.
        replicas: u32,
    },
}

pub(crate) struct Checker<'a> {
    pub(crate) active: &'a Active,
    owner: &'a Owner,
    kinds: &'a dyn Kinds,
    pub(crate) limits: &'a PlanLimits,
    offences: Vec<Offence>,
    seen: BTreeSet<(String, String, String, String)>,
}

/// Checks a plan.
pub(crate) fn check(
    plan: &Plan,
    active: &Active,
    owner: &Owner,
    kinds: &dyn Kinds,
    limits: &PlanLimits,
) -> Result<Checked, Vec<Offence>> {
    let mut checker = Checker {
        active,
        owner,
        kinds,
        limits,
        offences: Vec::new(),
        seen: BTreeSet::new(),
    };
    let checked = checker.plan(plan);
    if checker.offences.is_empty() {
        Ok(checked)
    } else {
        checker.offences.sort();
        Err(checker.offences)
    }
}

impl Checker<'_> {
    pub(crate) fn offend(&mut self, fault: Fault, message: String) {
        self.offences.push(Offence { fault, message });
    }

    pub(crate) fn invalid(&mut self, message: String) {
        self.offend(Fault::Invalid, message);
    }

    fn plan(&mut self, plan: &Plan) -> Checked {
        let mut checked = Checked {
            children: plan.children.clone(),
            ..Checked::default()
        };
        if plan.actions.len() > self.limits.actions {
            self.invalid(format!(
                "the plan has {} actions; at most {} are taken",
                plan.actions.len(),
                self.limits.actions
            ));
            return checked;
        }
        for (at, action) in plan.actions.iter().enumerate() {
            match action {
                Action::Apply(apply) => {
                    if plan.children == Children::Unchanged {
                        self.invalid(format!(
                            "action {at}: the plan says that its children are unchanged, and applies one"
                        ));
                    } else if let Some(intent) = self.apply(at, apply) {
                        checked.intents.push(Arc::new(intent));
                    }
                }
                Action::Delete(delete) => {
                    if let Some(target) = self.delete(at, delete) {
                        checked.deletes.push((target, delete.clone()));
                    }
                }
                Action::Status { status } => {
                    if checked.status.is_some() {
                        self.invalid(format!("action {at}: a plan has one status"));
                    }
                    self.status(at, status);
                    checked.status = Some(status.clone());
                }
                Action::Event {
                    severity,
                    reason,
                    message,
                } => {
                    self.event(at, reason, message);
                    checked
                        .events
                        .push((*severity, reason.clone(), message.clone()));
                }
                Action::Patch(patch) => checked.patches.extend(self.patch(at, patch)),
                Action::Effect(effect) => {
                    let task = EffectTask::of(effect);
                    self.effect(at, effect, &task, &checked.effects);
                    checked.effects.push(task);
                }
                Action::Sql(_) => self.unsupported(at, "sql"),
                Action::SetState(set) => {
                    if checked.state.is_some() {
                        self.invalid(format!("action {at}: a plan has one state"));
                    }
                    self.state(at, &set.state);
                    checked.state = Some(set.state.clone());
                }
                Action::CreateSubresource(action) => {
                    checked.subresources.extend(self.subresource(at, action));
                }
            }
        }
        self.no_child_patched(&checked);
        checked
    }

    fn unsupported(&mut self, at: usize, what: &str) {
        self.offend(
            Fault::NotSupportedYet,
            format!("action {at}: this version of Kybern does not run `{what}` actions yet"),
        );
    }

    /// Facts about the kind of the object that an action names.
    fn facts(&mut self, at: usize, gvk: &Gvk) -> Option<KindFacts> {
        let facts = self.kinds.facts(gvk);
        if facts.is_none() {
            self.offend(
                Fault::NotServed,
                format!("action {at}: the API server does not serve {gvk}"),
            );
        }
        facts
    }

    fn once(&mut self, at: usize, target: &ObjectRef, part: Part) {
        let name = (
            target.gvk.group.clone(),
            format!("{}/{}", target.gvk.kind, part.subresource()),
            target.namespace.clone(),
            target.name.clone(),
        );
        if is_record(target) {
            self.invalid(format!(
                "action {at}: Secrets whose names begin with {} are the host's",
                names::RECORD_PREFIX
            ));
        }
        if !self.seen.insert(name) {
            self.invalid(format!("action {at}: {target} is named twice"));
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
