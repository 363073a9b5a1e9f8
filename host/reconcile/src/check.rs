//! Plan checks: what must be right about a plan before anything is written.
//!
//! A plan is accepted or refused whole. Refused, every offence is named at once.

mod patches;
mod text;

use crate::active::{Active, KindFacts};
use crate::config::PlanLimits;
use crate::effects::EffectTask;
use crate::grant;
use crate::intent::{Intent, PRUNE_DISABLED};
use crate::owner::Owner;
use crate::patch::PatchIntent;
use crate::patched::Part;
use crate::record::is_record;
use crate::subresource::SubTask;
use crate::traits::{Kinds, ObjectRef};
use kybern_interface::{
    Action, Adoption, ApplyObject, Children, DeleteObject, EventType, GrantVerb, Gvk, Plan,
    Subresource, SubresourceKind, Target, names,
};
use serde_json::{Value, json};
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

    fn apply(&mut self, at: usize, action: &ApplyObject) -> Option<Intent> {
        let object = &action.object;
        let before = self.offences.len();
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (api_version, kind, name) =
            match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
                (Some(a), Some(k), Some(n)) if !a.is_empty() && !k.is_empty() => (a, k, n),
                _ => {
                    self.invalid(format!(
                        "action {at}: an object needs apiVersion, kind and metadata.name"
                    ));
                    return None;
                }
            };
        let gvk = Gvk::from_api_version(api_version, kind);
        if depth_over(object, self.limits.depth) {
            self.invalid(format!(
                "action {at}: {kind} {name} nests deeper than {}",
                self.limits.depth
            ));
            return None;
        }
        let bytes = object.to_string().len();
        if bytes > self.limits.object_bytes {
            self.invalid(format!(
                "action {at}: {kind} {name} has {bytes} bytes; at most {} are taken",
                self.limits.object_bytes
            ));
        }
        if let Err(why) = subdomain(name) {
            self.invalid(format!(
                "action {at}: the name {} of a {kind} {why}",
                short(name)
            ));
        }
        self.metadata(at, kind, object);
        for path in &action.ignore_paths {
            let plain = !path.is_empty()
                && path.split('.').all(|part| {
                    !part.is_empty()
                        && part
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                });
            if !plain || path.starts_with("metadata.name") {
                self.invalid(format!(
                    "action {at}: ignorePaths takes dotted field names like `spec.replicas`, not `{}`",
                    short(path)
                ));
            }
        }
        let facts = self.facts(at, &gvk)?;
        self.namespace(at, kind, text("/metadata/namespace"), &facts);
        if self.offences.len() > before {
            return None;
        }
        let intent = Intent::of(action, self.owner, &facts);
        if intent.target == self.owner.object() {
            self.invalid(format!("action {at}: a CR cannot be its own child"));
        }
        self.once(at, &intent.target, Part::Main);
        let answer = grant::check(
            &self.active.registration.spec.grants.write,
            GrantVerb::Apply,
            action.adopt == Adoption::IfUnowned,
            &intent.target,
            object.pointer("/metadata/labels"),
            self.owner,
        );
        if let grant::Answer::Refused(why) = answer {
            self.offend(
                Fault::NotGranted,
                format!("action {at}: apply of {}: {why}", intent.target),
            );
        }
        Some(intent)
    }

    /// Where the object lives must fit its kind.
    fn namespace(&mut self, at: usize, kind: &str, given: Option<&str>, facts: &KindFacts) {
        let given = given.unwrap_or_default();
        if facts.namespaced {
            if given.is_empty() && self.owner.namespace.is_empty() {
                self.invalid(format!(
                    "action {at}: a {kind} of a cluster-scoped CR needs metadata.namespace"
                ));
            }
            if !given.is_empty() && !label(given) {
                self.invalid(format!(
                    "action {at}: the namespace {} is no DNS label",
                    short(given)
                ));
            }
        } else if !given.is_empty() {
            self.invalid(format!(
                "action {at}: {kind} is cluster-scoped and takes no metadata.namespace"
            ));
        }
    }

    /// What an object may say about itself.
    fn metadata(&mut self, at: usize, kind: &str, object: &Value) {
        if object.pointer("/metadata/generateName").is_some() {
            self.invalid(format!(
                "action {at}: generateName makes a new {kind} in every pass: give it a name"
            ));
        }
        if let Some(owners) = object.pointer("/metadata/ownerReferences")
            && let Some(list) = owners.as_array()
            && list
                .iter()
                .any(|o| o.get("uid").and_then(Value::as_str) != Some(self.owner.uid.as_str()))
        {
            self.invalid(format!(
                "action {at}: ownerReferences of a {kind} are set by the host"
            ));
        }
        for (map, what) in [("labels", "label"), ("annotations", "annotation")] {
            let Some(value) = object.pointer(&format!("/metadata/{map}")) else {
                continue;
            };
            if value.is_null() {
                continue;
            }
            let Some(entries) = value.as_object() else {
                self.invalid(format!("action {at}: metadata.{map} of a {kind} is no map"));
                continue;
            };
            for (key, value) in entries {
                let reserved = key.starts_with("kybern.dev/") || key.starts_with("applyset.");
                let allowed = key == names::PRUNE && value == PRUNE_DISABLED;
                if reserved && !allowed {
                    self.invalid(format!(
                        "action {at}: the {what} {key} of a {kind} is the host's"
                    ));
                } else if !value.is_string() && !value.is_null() {
                    self.invalid(format!(
                        "action {at}: the {what} {} of a {kind} is no string",
                        short(key)
                    ));
                }
            }
        }
    }

    /// An object that is named, not given, and by no other action.
    fn target(&mut self, at: usize, what: &str, given: &Target) -> Option<ObjectRef> {
        let target = self.named(at, what, given)?;
        self.once(at, &target, Part::Main);
        Some(target)
    }

    /// An object that is named, not given.
    fn named(&mut self, at: usize, what: &str, given: &Target) -> Option<ObjectRef> {
        if given.cluster.is_some() {
            self.unsupported(at, &format!("{what} in another cluster"));
        }
        if let Err(why) = subdomain(&given.name) {
            self.invalid(format!(
                "action {at}: the name {} of a {} {why}",
                short(&given.name),
                given.kind
            ));
        }
        let gvk = Gvk::new(&*given.group, &*given.version, &*given.kind);
        let facts = self.facts(at, &gvk)?;
        if facts.namespaced == given.namespace.is_empty() {
            self.invalid(format!(
                "action {at}: {} is {}",
                given.kind,
                if facts.namespaced {
                    "namespaced and needs a namespace"
                } else {
                    "cluster-scoped and takes no namespace"
                }
            ));
        }
        let target = ObjectRef {
            gvk,
            plural: facts.plural,
            namespace: given.namespace.clone(),
            name: given.name.clone(),
        };
        Some(target)
    }

    fn granted(&mut self, at: usize, what: &str, target: &ObjectRef, answer: grant::Answer) {
        if let grant::Answer::Refused(why) = answer {
            self.offend(
                Fault::NotGranted,
                format!("action {at}: {what} of {target}: {why}"),
            );
        }
    }

    fn uid(&mut self, at: usize, what: &str, given: &Target) {
        if given.uid.as_deref().unwrap_or_default().is_empty() {
            self.invalid(format!(
                "action {at}: {what} needs the uid of the object that is meant"
            ));
        }
    }

    fn delete(&mut self, at: usize, action: &DeleteObject) -> Option<ObjectRef> {
        self.uid(at, "a delete", &action.target);
        let target = self.target(at, "delete", &action.target)?;
        let answer = grant::check(
            &self.active.registration.spec.grants.write,
            GrantVerb::Delete,
            false,
            &target,
            None,
            self.owner,
        );
        self.granted(at, "delete", &target, answer);
        Some(target)
    }

    fn subresource(&mut self, at: usize, action: &Subresource) -> Option<SubTask> {
        let name = match action.subresource {
            SubresourceKind::Eviction => "eviction",
            SubresourceKind::Scale => "scale",
            SubresourceKind::Token => {
                self.unsupported(at, "createSubresource (token)");
                return None;
            }
        };
        let what = self.sub(at, action);
        let target = self.target(at, name, &action.target)?;
        let answer = grant::check_subresource(
            &self.active.registration.spec.grants.write,
            name,
            &target,
            self.owner,
        );
        self.granted(at, name, &target, answer);
        Some(SubTask {
            target,
            uid: action.target.uid.clone(),
            what: what?,
        })
    }

    /// What the body says; nothing in it may be passed over.
    fn sub(&mut self, at: usize, action: &Subresource) -> Option<Sub> {
        let body = &action.body;
        let number = |pointer: &str| {
            let value = body.pointer(pointer).and_then(Value::as_u64);
            value.and_then(|n| u32::try_from(n).ok())
        };
        if action.subresource == SubresourceKind::Scale {
            let replicas = number("/spec/replicas");
            let whole = replicas.map(|n| json!({ "spec": { "replicas": n } }));
            if whole.as_ref() != Some(body) {
                self.invalid(format!(
                    "action {at}: the body of a scale is {{\"spec\": {{\"replicas\": N}}}}"
                ));
            }
            return replicas.map(|replicas| Sub::Scale { replicas });
        }
        let pod = &action.target;
        if !pod.group.is_empty() || pod.kind != "Pod" {
            self.invalid(format!("action {at}: only a Pod can be evicted"));
        }
        self.uid(at, "an eviction", pod);
        let grace_seconds = number("/deleteOptions/gracePeriodSeconds");
        let whole = grace_seconds
            .map(|n| json!({ "deleteOptions": { "gracePeriodSeconds": n } }))
            .unwrap_or_default();
        if whole != *body {
            self.invalid(format!(
                "action {at}: the body of an eviction is null or {{\"deleteOptions\": {{\"gracePeriodSeconds\": N}}}}"
            ));
        }
        Some(Sub::Evict { grace_seconds })
    }

    fn status(&mut self, at: usize, status: &Value) {
        if !status.is_object() {
            self.invalid(format!("action {at}: a status is an object"));
        } else if depth_over(status, self.limits.depth) {
            self.invalid(format!(
                "action {at}: the status nests deeper than {}",
                self.limits.depth
            ));
        } else if status.to_string().len() > self.limits.status_bytes {
            self.invalid(format!(
                "action {at}: the status is larger than {} bytes",
                self.limits.status_bytes
            ));
        }
    }

    fn state(&mut self, at: usize, state: &Value) {
        if !self.active.keeps_state() {
            self.offend(
                Fault::NotGranted,
                format!("action {at}: setState: no grant allows to keep state (grants.state)"),
            );
        }
        if depth_over(state, self.limits.depth) {
            self.invalid(format!(
                "action {at}: the state nests deeper than {}",
                self.limits.depth
            ));
            return;
        }
        let bytes = state.to_string().len();
        if bytes > self.limits.state_bytes {
            self.invalid(format!(
                "action {at}: the state has {bytes} bytes; at most {} are taken",
                self.limits.state_bytes
            ));
        }
    }

    fn event(&mut self, at: usize, reason: &str, message: &str) {
        let camel = reason.len() <= 128
            && reason.starts_with(|c: char| c.is_ascii_uppercase())
            && reason.bytes().all(|b| b.is_ascii_alphanumeric());
        if !camel {
            self.invalid(format!(
                "action {at}: the reason {} of an event is not CamelCase",
                short(reason)
            ));
        }
        if message.chars().count() > self.limits.message_chars {
            self.invalid(format!(
                "action {at}: the message of an event is longer than {} characters",
                self.limits.message_chars
            ));
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
