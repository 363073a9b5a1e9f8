//! A plugin that plans what its custom resource says, word for word: tests of what the host makes
//! of a plan write the plan.

use kybern_sdk::{HookError, Plan, Plugin, Schema, Situation};
use serde::{Deserialize, Serialize};

/// A plan.
#[derive(Debug, Deserialize, Schema)]
pub struct Spec {
    /// The actions, as JSON text of a list.
    actions: String,
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Status {}

/// The plugin.
pub struct Planned;

type Cr = kybern_sdk::Cr<Spec, Status>;

#[kybern_sdk::plugin(
    name = "planner",
    crd(kind = "planner.example.com/v1/Planned"),
    writes = [
        "v1/ConfigMap",
        "apps/v1/Deployment",
        "scheduling.k8s.io/v1/PriorityClass",
    ],
)]
impl Plugin for Planned {
    type Spec = Spec;
    type Status = Status;

    fn decide(cr: &Cr, _: &Situation<'_>) -> Result<Plan, HookError> {
        let actions: Vec<kybern_sdk::Action> = serde_json::from_str(&cr.spec.actions)
            .map_err(|error| HookError::invalid("spec.actions", error))?;
        Ok(actions.into_iter().fold(Plan::new(), Plan::action))
    }
}
