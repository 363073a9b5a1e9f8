//! Checks of the objects that a plan applies as children.

use super::{Checker, Fault, depth_over, label, short, subdomain};
use crate::active::KindFacts;
use crate::grant;
use crate::intent::{Intent, PRUNE_DISABLED};
use crate::patched::Part;
use kybern_interface::{Adoption, ApplyObject, GrantVerb, Gvk, names};
use serde_json::Value;

impl Checker<'_> {
    pub(super) fn apply(&mut self, at: usize, action: &ApplyObject) -> Option<Intent> {
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
    pub(super) fn namespace(
        &mut self,
        at: usize,
        kind: &str,
        given: Option<&str>,
        facts: &KindFacts,
    ) {
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
    pub(super) fn metadata(&mut self, at: usize, kind: &str, object: &Value) {
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
}
