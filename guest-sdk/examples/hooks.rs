//! A plugin with all three hooks: it asks a greeting from afar and keeps it in a ConfigMap.

use kybern_sdk::{
    Cr, Effect, HookError, OutcomeResult, Plan, Plugin, Query, RunEffect, Sensing, Situation,
    Trigger, Value, json,
};
use serde::Deserialize;

/// What the author of a Greeting wants.
#[derive(Deserialize)]
pub struct Spec {
    language: String,
}

/// The plugin.
pub struct Greeting;

#[kybern_sdk::plugin(
    name = "greeting",
    resource = "example.com/v1/Greeting",
    reads = ["v1/Namespace"],
    writes = ["v1/ConfigMap"],
    effect(name = "translate", description = "asks for the greeting in a language"),
)]
impl Plugin for Greeting {
    type Spec = Spec;

    fn sense(cr: &Cr<Spec>, _: &Trigger) -> Result<Sensing, HookError> {
        let sql = "SELECT name FROM namespaces WHERE labels['language'] = $1";
        Ok(Sensing::Queries(vec![
            Query::new("audience", sql).param(cr.spec.language.as_str()),
        ]))
    }

    fn decide(cr: &Cr<Spec>, situation: &Situation<'_>) -> Result<Plan, HookError> {
        let language = &cr.spec.language;
        let audience = situation.rows::<Value>("audience")?.len();
        let plan = Plan::new().effect(RunEffect {
            input: json!({ "language": language }),
            ..RunEffect::new("translate", language)
        });
        let answer = situation.outcome(language).map(|outcome| &outcome.result);
        let Some(OutcomeResult::Ok(text)) = answer else {
            return Ok(plan.status(json!({ "phase": "Translating" })));
        };
        Ok(plan
            .status(json!({ "phase": "Ready", "audience": audience }))
            .apply(json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": { "name": cr.metadata.name },
                "data": { "greeting": text },
            })))
    }

    fn act(effect: &Effect) -> Result<Value, HookError> {
        match effect.input.get("language").and_then(Value::as_str) {
            Some("de") => Ok(json!("Guten Tag")),
            Some("en") => Ok(json!("Good day")),
            other => Err(HookError::Invalid(format!("no greeting in {other:?}"))),
        }
    }
}
