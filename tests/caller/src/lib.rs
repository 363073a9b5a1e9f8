//! A plugin that calls a server: `spec.key` is called while the resource lives, `spec.undo` when it
//! goes.

use kybern_sdk::{
    Effect, HookError, Outcome, OutcomeResult, Plan, Plugin, RunEffect, Schema, Situation, Value,
    http, json,
};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Duration;

/// Calls that are to be made.
#[derive(Debug, Clone, Deserialize, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The server.
    url: String,
    /// Key of the call; none calls nothing.
    key: Option<String>,
    /// GET, if not given.
    method: Option<String>,
    /// What is sent along, and shown to nobody.
    #[serde(default)]
    secret: String,
    /// The address that is called when the resource goes.
    undo: Option<String>,
    /// Milliseconds that a call may take.
    timeout_ms: Option<u64>,
    /// Whether the effect never returns by itself.
    #[serde(default)]
    spin: bool,
    /// Whether it sends the secret along.
    #[serde(default)]
    authorized: bool,
    /// Whether the pure hook tries to call.
    #[serde(default)]
    early: bool,
}

/// What came of them.
#[derive(Debug, Default, Serialize, Deserialize, Schema)]
pub struct Status {
    /// The outcomes, in words.
    #[serde(default)]
    said: String,
}

/// What the registration sets.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    /// Said as it is.
    greeting: String,
    /// Only its length is said.
    token: String,
}

#[derive(Deserialize)]
struct Input {
    url: String,
    method: String,
    secret: String,
    spin: bool,
    #[serde(default)]
    authorized: bool,
}

/// The plugin.
pub struct Caller;

type Cr = kybern_sdk::Cr<Spec, Status>;

#[kybern_sdk::plugin(
    name = "caller",
    crd(kind = "caller.example.com/v1/Call"),
    effect(name = "call", description = "calls the server"),
    effect(name = "undo", description = "tells the server that it is over"),
    capability(name = "http", reason = "the server that resources name"),
    secret(name = "api-token", reason = "the server asks for it"),
    settings = "settings.yaml"
)]
impl Plugin for Caller {
    type Spec = Spec;
    type Status = Status;

    fn decide(cr: &Cr, situation: &Situation<'_>) -> Result<Plan, HookError> {
        let spec = &cr.spec;
        let mut said: Vec<String> = situation.outcomes().iter().map(told).collect();
        if spec.authorized {
            said.extend(situation.outcomes().iter().map(answered));
        }
        let Settings { greeting, token } = situation.settings().unwrap_or_default();
        if !greeting.is_empty() && greeting != "none" {
            said.push(format!("{greeting} with {} letters", token.len()));
        }
        if spec.early {
            said.push(format!("early: {:?}", http::get(&spec.url).send()));
        }
        let mut plan = Plan::new().status(Status {
            said: said.join("; "),
        });
        if let Some(key) = &spec.key {
            plan = plan.effect(effect("call", key, spec, &spec.url));
        }
        if let Some(undo) = &spec.undo {
            plan = plan.effect(effect("undo", "undo", spec, undo).finalizing());
        }
        Ok(plan)
    }

    fn act(effect: &Effect) -> Result<Value, HookError> {
        let input: Input = kybern_sdk::decode("input", &effect.input)?;
        if input.spin {
            loop {
                black_box(());
            }
        }
        let request = http::request(input.method, input.url)
            .header("Idempotency-Key", &effect.key)
            .body(input.secret);
        let answer = match input.authorized {
            false => request.send()?,
            true => {
                let request = request.secret("Authorization", "Bearer ", "api-token");
                request.send()?
            }
        };
        let answer = answer.success()?;
        Ok(json!({ "status": answer.status, "text": answer.text() }))
    }
}

fn told(outcome: &Outcome) -> String {
    let Outcome { key, attempt, .. } = outcome;
    match &outcome.result {
        OutcomeResult::Ok(value) => format!("{key} {} in {attempt}", value["status"]),
        OutcomeResult::Error(reason) => format!("{key} failed in {attempt}: {reason}"),
    }
}

fn answered(outcome: &Outcome) -> String {
    match &outcome.result {
        OutcomeResult::Ok(value) => format!("answered {}", value["text"]),
        OutcomeResult::Error(_) => String::new(),
    }
}

fn effect(name: &str, key: &str, spec: &Spec, url: &str) -> RunEffect {
    let effect = RunEffect::new(name, key).with_input(json!({
        "url": url,
        "method": spec.method.as_deref().unwrap_or("GET"),
        "secret": spec.secret,
        "spin": spec.spin,
        "authorized": spec.authorized,
    }));
    match spec.timeout_ms {
        Some(ms) => effect.with_timeout(Duration::from_millis(ms)),
        None => effect,
    }
}

#[cfg(test)]
mod tests;
