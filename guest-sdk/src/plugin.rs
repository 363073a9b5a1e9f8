//! The trait that a plugin implements.

use crate::{Cr, Effect, HookError, Plan, Sensing, Situation, Trigger, Value};
use serde::de::DeserializeOwned;

/// The logic of one kind of custom resource.
///
/// Only [`decide`](Plugin::decide) is required. The attribute
/// [`plugin`](macro@crate::plugin) exports the hooks that the `impl` block
/// defines, so a default body costs no call.
pub trait Plugin: Embedded {
    /// What `spec` of the CR is read as; `serde_json::Value` if the `impl` does not say.
    type Spec: DeserializeOwned;
    /// What `status` of the CR is read as; `serde_json::Value` if the `impl` does not say.
    type Status: DeserializeOwned;

    /// Which rows `decide` needs beyond the manifest's queries, where that
    /// depends on the CR's content.
    fn sense(cr: &Cr<Self::Spec, Self::Status>, trigger: &Trigger) -> Result<Sensing, HookError> {
        let _ = (cr, trigger);
        Ok(Sensing::Queries(Vec::new()))
    }

    /// A pure function from what is there to what should be there.
    fn decide(
        cr: &Cr<Self::Spec, Self::Status>,
        situation: &Situation<'_>,
    ) -> Result<Plan, HookError>;

    /// Runs one effect of an earlier plan; what it returns is the outcome that
    /// the next pass sees. At least once: the same key may come again.
    fn act(effect: &Effect) -> Result<Value, HookError> {
        Err(HookError::Internal(format!(
            "effect `{}` was planned, but the plugin has no act hook",
            effect.name
        )))
    }
}

/// What the attribute [`plugin`](macro@crate::plugin) adds to a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no manifest",
    note = "put `#[kybern_sdk::plugin(...)]` above `impl Plugin for {Self}`"
)]
pub trait Embedded {
    /// The manifest, JSON.
    const MANIFEST: &'static str;

    /// Whether a custom resource is what its schema says; only where the types
    /// give the schema.
    #[doc(hidden)]
    fn check(object: &Value) -> Result<(), HookError> {
        let _ = object;
        Ok(())
    }
}
