//! Checks of actions on objects that are named, not given: deletes, evictions, scales.

use super::{Checker, Fault, Sub, short, subdomain};
use crate::grant;
use crate::patched::Part;
use crate::subresource::SubTask;
use crate::traits::ObjectRef;
use kybern_interface::{DeleteObject, GrantVerb, Gvk, Subresource, SubresourceKind, Target};
use serde_json::{Value, json};

impl Checker<'_> {
    /// An object that is named, not given, and by no other action.
    pub(super) fn target(&mut self, at: usize, what: &str, given: &Target) -> Option<ObjectRef> {
        let target = self.named(at, what, given)?;
        self.once(at, &target, Part::Main);
        Some(target)
    }

    /// An object that is named, not given.
    pub(super) fn named(&mut self, at: usize, what: &str, given: &Target) -> Option<ObjectRef> {
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

    pub(super) fn granted(
        &mut self,
        at: usize,
        what: &str,
        target: &ObjectRef,
        answer: grant::Answer,
    ) {
        if let grant::Answer::Refused(why) = answer {
            self.offend(
                Fault::NotGranted,
                format!("action {at}: {what} of {target}: {why}"),
            );
        }
    }

    pub(super) fn uid(&mut self, at: usize, what: &str, given: &Target) {
        if given.uid.as_deref().unwrap_or_default().is_empty() {
            self.invalid(format!(
                "action {at}: {what} needs the uid of the object that is meant"
            ));
        }
    }

    pub(super) fn delete(&mut self, at: usize, action: &DeleteObject) -> Option<ObjectRef> {
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

    pub(super) fn subresource(&mut self, at: usize, action: &Subresource) -> Option<SubTask> {
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
    pub(super) fn sub(&mut self, at: usize, action: &Subresource) -> Option<Sub> {
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
}
