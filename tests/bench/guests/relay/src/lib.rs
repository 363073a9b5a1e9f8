//! One plugin of the chain of the benchmark `ring`: what it gets, its child gets.
//!
//! It is registered once for each hop, each time for the objects with that hop's label; the child's
//! label is the next hop's.

use kybern_sdk::{Cr, HookError, Plan, Plugin, Situation, json};
use serde::Deserialize;

/// What is passed on.
#[derive(Debug, Deserialize)]
pub struct Spec {
    nonce: String,
    /// Which hop this is.
    hop: u32,
    /// The last hop, which passes nothing on.
    last: u32,
}

/// The plugin.
pub struct Relay;

#[kybern_sdk::plugin(
    name = "bench-relay",
    crd = "crd.yaml",
    writes = ["bench.example.com/v1/Hop"],
)]
impl Plugin for Relay {
    type Spec = Spec;

    fn decide(cr: &Cr<Spec>, _situation: &Situation<'_>) -> Result<Plan, HookError> {
        let Spec { nonce, hop, last } = &cr.spec;
        if hop >= last {
            return Ok(Plan::new());
        }
        let next = hop + 1;
        Ok(Plan::new().apply(json!({
            "apiVersion": "bench.example.com/v1",
            "kind": "Hop",
            "metadata": { "name": format!("hop-{next}"), "labels": { "hop": next.to_string() } },
            "spec": { "nonce": nonce, "hop": next, "last": last },
        })))
    }
}

#[cfg(test)]
mod tests;
