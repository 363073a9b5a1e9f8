//! Checks of patches of objects that are not children.

use super::{Checked, Checker, Fault, depth_over, short};
use crate::active::KindFacts;
use crate::grant;
use crate::patch::PatchIntent;
use crate::patched::Part;
use crate::traits::ObjectRef;
use kybern_interface::{GrantVerb, PatchKind, PatchObject};
use serde_json::Value;

impl Checker<'_> {
    pub(super) fn patch(&mut self, at: usize, action: &PatchObject) -> Option<PatchIntent> {
        let before = self.offences.len();
        if action.kind != PatchKind::Apply {
            self.offend(
                Fault::NotSupportedYet,
                format!(
                    "action {at}: a patch of kind `{}` owns no fields, so that it could be neither kept nor undone: say the fields in a patch of kind `apply`",
                    name(action.kind)
                ),
            );
        }
        let part = match action.subresource.as_deref() {
            None => Part::Main,
            Some("status") => Part::Status,
            Some(other) => {
                self.unsupported(at, &format!("patch (subresource {})", short(other)));
                return None;
            }
        };
        let target = self.named(at, "patch", &action.target)?;
        self.once(at, &target, part);
        let facts = self.facts(at, &target.gvk)?;
        self.said(at, &target, &facts, part, &action.patch);
        self.may_patch(at, &target, part);
        if self.offences.len() > before {
            return None;
        }
        let intent = PatchIntent::of(action, target, part);
        if intent.says_nothing() {
            self.invalid(format!(
                "action {at}: the patch of {} says nothing",
                intent.target
            ));
        }
        Some(intent)
    }

    fn may_patch(&mut self, at: usize, target: &ObjectRef, part: Part) {
        let grants = &self.active.registration.spec.grants.write;
        // A selector would be about labels that nobody has looked at.
        let verb = grant::check(grants, GrantVerb::Patch, false, target, None, self.owner);
        let subresource = (part == Part::Status)
            .then(|| grant::check_subresource(grants, part.subresource(), target, self.owner));
        self.granted(at, "patch", target, verb);
        if let Some(answer) = subresource {
            self.granted(at, "patch of the status", target, answer);
        }
        if identity(target) == identity(&self.owner.object()) {
            self.invalid(format!("action {at}: a CR cannot be patched by its own plan: its status is the action `status`"));
        }
    }

    /// What a patch may say.
    fn said(
        &mut self,
        at: usize,
        target: &ObjectRef,
        facts: &KindFacts,
        part: Part,
        patch: &Value,
    ) {
        let Some(fields) = patch.as_object() else {
            return self.invalid(format!("action {at}: the patch of {target} is no object"));
        };
        if depth_over(patch, self.limits.depth) {
            return self.invalid(format!(
                "action {at}: the patch of {target} nests deeper than {}",
                self.limits.depth
            ));
        }
        let bytes = patch.to_string().len();
        if bytes > self.limits.object_bytes {
            self.invalid(format!(
                "action {at}: the patch of {target} has {bytes} bytes; at most {} are taken",
                self.limits.object_bytes
            ));
        }
        for (key, value) in fields {
            match key.as_str() {
                "apiVersion" => self.agrees(at, key, value, &target.gvk.api_version()),
                "kind" => self.agrees(at, key, value, &target.gvk.kind),
                "metadata" => self.patched_metadata(at, target, part, value),
                "status" if part == Part::Main && facts.has_status => self.invalid(format!(
                    "action {at}: the status of {target} is patched as the subresource `status`"
                )),
                other if part == Part::Status && other != "status" => self.invalid(format!(
                    "action {at}: a patch of the status says only `status`, not {}",
                    short(other)
                )),
                _ => {}
            }
        }
        self.metadata(at, &target.gvk.kind, patch);
    }

    fn patched_metadata(&mut self, at: usize, target: &ObjectRef, part: Part, value: &Value) {
        for (key, value) in value.as_object().into_iter().flatten() {
            match key.as_str() {
                "name" => self.agrees(at, "metadata.name", value, &target.name),
                "namespace" => self.agrees(at, "metadata.namespace", value, &target.namespace),
                "labels" | "annotations" if part == Part::Main => {}
                other => self.invalid(format!(
                    "action {at}: a patch says labels and annotations of an object's metadata, not {}",
                    short(other)
                )),
            }
        }
    }

    /// What names the target says what the target says.
    fn agrees(&mut self, at: usize, what: &str, said: &Value, wanted: &str) {
        if said != wanted {
            self.invalid(format!(
                "action {at}: {what} of the patch is not the target's"
            ));
        }
    }

    /// A child is said whole in its own `apply`.
    pub(super) fn no_child_patched(&mut self, checked: &Checked) {
        for patch in &checked.patches {
            let target = identity(&patch.target);
            if checked
                .intents
                .iter()
                .any(|intent| identity(&intent.target) == target)
            {
                self.invalid(format!(
                    "patch of {}: the same plan applies it as a child",
                    patch.target
                ));
            }
        }
    }
}

/// What makes an object one object, whatever version names it.
fn identity(target: &ObjectRef) -> (&str, &str, &str, &str) {
    (
        &target.gvk.group,
        &target.gvk.kind,
        &target.namespace,
        &target.name,
    )
}

fn name(kind: PatchKind) -> &'static str {
    match kind {
        PatchKind::Apply => "apply",
        PatchKind::Merge => "merge",
        PatchKind::Json => "json",
        PatchKind::Strategic => "strategic",
    }
}
