//! JSON Schemas of the documents and the `Plugin` CustomResourceDefinition, generated from the types.

mod plugin_crd;
mod structural;

pub use plugin_crd::plugin_crd;

use crate::{
    Effect, HelmAnswer, HelmRequest, Manifest, Outcome, Plan, Sensing, Situation, Trigger,
};
use serde_json::Value;

/// File name and schema of each document, in the order of a pass.
pub fn documents() -> Vec<(&'static str, Value)> {
    vec![
        ("manifest.json", of::<Manifest>()),
        ("trigger.json", of::<Trigger>()),
        ("sensing.json", of::<Sensing>()),
        ("situation.json", of::<Situation>()),
        ("plan.json", of::<Plan>()),
        ("effect.json", of::<Effect>()),
        ("outcome.json", of::<Outcome>()),
        ("helm-request.json", of::<HelmRequest>()),
        ("helm-answer.json", of::<HelmAnswer>()),
    ]
}

/// The schema of one document, with the interface's version as its identity.
fn of<T: schemars::JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(T);
    let identity = format!("urn:{}:{}", crate::PACKAGE, T::schema_name().to_lowercase());
    schema.insert("$id".to_owned(), identity.into());
    schema.to_value()
}
