//! A plugin that plans what its custom resource says, word for word: tests of what the host makes
//! of a plan write the plan.
//!
//! Tests of revisions make others of it by putting other bytes in the place of [`REVISION`].

use kybern_sdk::{HookError, Plan, Plugin, Schema, Situation};
use serde::{Deserialize, Serialize};

/// A plan.
#[derive(Debug, Deserialize, Schema)]
pub struct Spec {
    /// The actions, as JSON text of a list; `$REVISION` in it becomes the name of the revision.
    actions: String,
    /// The revision that fails.
    #[serde(default)]
    fails_in: Option<String>,
}

/// Which revision this is.
static REVISION: [u8; 16] = *b"planner-revision";

fn revision() -> String {
    // Read when it runs: what the compiler knows of it is not what it may be.
    let bytes = std::hint::black_box(&REVISION);
    String::from_utf8_lossy(bytes.as_slice()).into_owned()
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
        let revision = revision();
        if cr.spec.fails_in.as_ref() == Some(&revision) {
            return Err(HookError::Internal(format!("{revision} was told to fail")));
        }
        let actions = cr.spec.actions.replace("$REVISION", &revision);
        let actions: Vec<kybern_sdk::Action> = serde_json::from_str(&actions)
            .map_err(|error| HookError::invalid("spec.actions", error))?;
        Ok(actions.into_iter().fold(Plan::new(), Plan::action))
    }
}
