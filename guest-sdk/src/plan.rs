//! Builds a plan.

use crate::{Action, Child, DeleteObject, HookError, PatchObject, RunEffect, Subresource, Value};
use kybern_interface::{Children, Deletion, EventType, SetState, SqlWrite};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// What `decide` returns: everything that should be, and what to say about it.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "a plan does nothing until decide returns it"]
pub struct Plan {
    plan: kybern_interface::Plan,
    /// The first defect; told when the plan is built, so that a chain needs no `?` at each step.
    defect: Option<String>,
}

impl Plan {
    /// A plan that names every child that should exist; what it does not name is pruned.
    pub fn new() -> Self {
        Self::default()
    }

    /// A plan that does not name every child, for this reason: nothing is pruned.
    pub fn partial(reason: impl Into<String>) -> Self {
        let mut plan = Self::default();
        plan.plan.children = Children::Partial(reason.into());
        plan
    }

    /// A plan that leaves the children as they are.
    pub fn unchanged() -> Self {
        let mut plan = Self::default();
        plan.plan.children = Children::Unchanged;
        plan
    }

    /// A child that should exist: `json!({...})`, anything that serialises, or a [`Child`].
    pub fn apply(mut self, child: impl Into<Child>) -> Self {
        let child = child.into();
        if let Some(error) = child.unserializable {
            return self.broken(format!("a child cannot be written as JSON: {error}"));
        }
        self.plan.actions.push(Action::Apply(child.apply));
        self
    }

    /// Several children.
    pub fn apply_all<C: Into<Child>>(self, children: impl IntoIterator<Item = C>) -> Self {
        children.into_iter().fold(self, Self::apply)
    }

    /// A change of an object that is not a child.
    pub fn patch(self, patch: PatchObject) -> Self {
        self.action(Action::Patch(patch))
    }

    /// An object that should go; its uid is required.
    pub fn delete(self, delete: DeleteObject) -> Self {
        self.action(Action::Delete(delete))
    }

    /// The CR's whole status; the host adds its own conditions and `observedGeneration`.
    pub fn status(self, status: impl Serialize) -> Self {
        match serde_json::to_value(status) {
            Ok(status) => self.action(Action::Status { status }),
            Err(error) => self.broken(format!("the status cannot be written as JSON: {error}")),
        }
    }

    /// An Event on the CR about something that was expected. `reason` is CamelCase.
    pub fn event(self, reason: impl Into<String>, message: impl Into<String>) -> Self {
        self.action(Action::Event {
            severity: EventType::Normal,
            reason: reason.into(),
            message: message.into(),
        })
    }

    /// An Event on the CR about something that a person should look at. `reason` is CamelCase.
    pub fn warning(self, reason: impl Into<String>, message: impl Into<String>) -> Self {
        self.action(Action::Event {
            severity: EventType::Warning,
            reason: reason.into(),
            message: message.into(),
        })
    }

    /// Something that is not a Kubernetes write, run by the act hook.
    pub fn effect(self, effect: RunEffect) -> Self {
        self.action(Action::Effect(effect))
    }

    /// A SQL statement that writes; values go into `params`, never into the text.
    pub fn sql<V: Into<Value>>(
        self,
        statement: impl Into<String>,
        params: impl IntoIterator<Item = V>,
    ) -> Self {
        self.action(Action::Sql(SqlWrite {
            statement: statement.into(),
            params: params.into_iter().map(Into::into).collect(),
        }))
    }

    /// What the next situation's `state` shall be; `Value::Null` forgets it.
    pub fn set_state(self, state: impl Serialize) -> Self {
        match serde_json::to_value(state) {
            Ok(state) => self.action(Action::SetState(SetState { state })),
            Err(error) => self.broken(format!("the state cannot be written as JSON: {error}")),
        }
    }

    /// An eviction, a scale or a token.
    pub fn create_subresource(self, subresource: Subresource) -> Self {
        self.action(Action::CreateSubresource(subresource))
    }

    /// Any action.
    pub fn action(mut self, action: Action) -> Self {
        self.plan.actions.push(action);
        self
    }

    /// Run again after at most this long (floor one second, jittered). A plan
    /// that depends on the situation's `now` must say so.
    pub fn requeue_after(mut self, delay: Duration) -> Self {
        self.plan.requeue_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The CR is being deleted and clean-up goes on, for this reason.
    pub fn deletion_in_progress(mut self, reason: impl Into<String>) -> Self {
        self.plan.deletion = Deletion::InProgress(reason.into());
        self
    }

    /// The CR is being deleted and nothing is left to clean up.
    pub fn deletion_done(mut self) -> Self {
        self.plan.deletion = Deletion::Done;
        self
    }

    /// The document, or what is wrong with the plan.
    pub fn build(self) -> Result<kybern_interface::Plan, HookError> {
        if let Some(defect) = self.defect {
            return Err(HookError::Internal(defect));
        }
        check(&self.plan).map_err(HookError::Internal)?;
        Ok(self.plan)
    }

    fn broken(mut self, defect: String) -> Self {
        self.defect.get_or_insert(defect);
        self
    }
}

/// What the host would refuse, told where the author can see it.
fn check(plan: &kybern_interface::Plan) -> Result<(), String> {
    let mut children = BTreeSet::new();
    let mut statuses = 0_u32;
    for action in &plan.actions {
        match action {
            Action::Apply(apply) => {
                let text = |path: &str| {
                    apply
                        .object
                        .pointer(path)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                };
                let name = [
                    text("/apiVersion"),
                    text("/kind"),
                    text("/metadata/namespace"),
                    text("/metadata/name"),
                ];
                let [api_version, kind, _, object_name] = name;
                if api_version.is_empty() || kind.is_empty() || object_name.is_empty() {
                    return Err(format!(
                        "a child needs apiVersion, kind and metadata.name: {}",
                        apply.object
                    ));
                }
                if !children.insert(name) {
                    return Err(format!("the plan names {kind} `{object_name}` twice"));
                }
            }
            Action::Status { .. } => statuses += 1,
            _ => {}
        }
    }
    if statuses > 1 {
        return Err("the plan has more than one status".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
    }

    #[test]
    fn a_plan_is_the_document_that_the_host_reads() {
        let plan = Plan::new()
            .apply(
                Child::new(config("a"))
                    .wave(1)
                    .ready()
                    .ignore("spec.replicas"),
            )
            .status(json!({"replicas": 1}))
            .event("Created", "all there")
            .requeue_after(Duration::from_secs(30))
            .build()
            .unwrap();
        assert_eq!(
            serde_json::to_value(&plan).unwrap(),
            json!({
                "children": "complete",
                "actions": [
                    {"type": "apply", "object": config("a"), "mode": "managed", "wave": 1, "ready": true,
                     "onImmutable": "fail", "adopt": "never", "prune": "delete", "duringDeletion": false,
                     "ignorePaths": ["spec.replicas"]},
                    {"type": "status", "status": {"replicas": 1}},
                    {"type": "event", "severity": "Normal", "reason": "Created", "message": "all there"},
                ],
                "deletion": "notDeleting",
                "requeueAfterMs": 30_000,
            })
        );
    }

    #[test]
    fn a_defective_plan_says_what_is_wrong() {
        let cases = [
            (
                Plan::new().apply(json!({"kind": "ConfigMap"})),
                "needs apiVersion",
            ),
            (
                Plan::new().apply(config("a")).apply(config("a")),
                "`a` twice",
            ),
            (
                Plan::new().status(json!({})).status(json!({})),
                "more than one status",
            ),
        ];
        for (plan, message) in cases {
            let error = plan.build().unwrap_err();
            assert!(
                matches!(&error, HookError::Internal(text) if text.contains(message)),
                "{error}"
            );
        }
    }

    #[test]
    fn what_cannot_be_json_is_told_when_the_plan_is_built() {
        let keys_that_are_no_strings = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Plan::new()
            .status(keys_that_are_no_strings)
            .build()
            .unwrap_err();
        assert!(
            error.to_string().contains("status cannot be written"),
            "{error}"
        );
    }
}
