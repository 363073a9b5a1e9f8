//! A plugin that brings WASI and tries what it gives: `spec.mode` of its custom resource says what.
//!
//! | mode | what it tries | what the host makes of it |
//! |---|---|---|
//! | `look` | environment, arguments, files, sockets, names of hosts, standard input | tells that nothing is there |
//! | `time` | reads both clocks, sleeps for an hour, reads them again | the situation's `now`, and an hour later |
//! | `random` | hash seeds, random bytes and numbers | the same for the same situation |
//! | `print` | prints to standard output and error | lines of its log |
//! | `flood` | prints 100,000 lines | the plan; most lines dropped |
//! | `abort` | says why on standard error, and aborts | trap, with what it said |
//! | `exit` | ends the process | trap |
//! | `pollables`, `networks` | makes handles and keeps them | trap at the limit |
//! | `greedy` | asks for all random bytes that there are | trap |
//! | `gush` | prints more at once than it may | trap |
//! | `nothing` | waits for nothing | trap |
//! | `sleepless` | sleeps for ever, again and again | out of time |
#![expect(
    clippy::disallowed_methods,
    reason = "trying what a plugin should not do is what this guest is for"
)]

mod tries;
#[cfg(target_os = "wasi")]
mod wild;

use kybern_sdk::{
    Effect, HookError, Outcome, OutcomeResult, Plan, Plugin, RunEffect, Schema, Situation, Value,
    json,
};
use serde::{Deserialize, Serialize};
use std::thread::sleep;
use std::time::Duration;

/// What is tried.
#[derive(Debug, Deserialize, Schema)]
pub struct Spec {
    /// One of the table.
    mode: String,
    /// Milliseconds that the effect sleeps; none = no effect.
    sleep: Option<u64>,
}

/// What was found.
#[derive(Debug, Default, Serialize, Deserialize, Schema)]
pub struct Status {
    /// One line for each try.
    #[serde(default)]
    seen: Vec<String>,
}

/// The plugin.
pub struct Curious;

type Cr = kybern_sdk::Cr<Spec, Status>;

#[kybern_sdk::plugin(
    name = "curious",
    crd(kind = "curious.example.com/v1/Look"),
    effect(
        name = "sleep",
        description = "sleeps, and tells what clocks and numbers there are"
    )
)]
impl Plugin for Curious {
    type Spec = Spec;
    type Status = Status;

    fn decide(cr: &Cr, situation: &Situation<'_>) -> Result<Plan, HookError> {
        let mut seen = tried(&cr.spec.mode)?;
        seen.extend(situation.outcomes().iter().map(told));
        let plan = Plan::new().status(Status { seen });
        Ok(match cr.spec.sleep {
            None => plan,
            Some(ms) => plan.effect(RunEffect::new("sleep", "sleep").with_input(json!(ms))),
        })
    }

    fn act(effect: &Effect) -> Result<Value, HookError> {
        let before = tries::clocks();
        sleep(Duration::from_millis(effect.input.as_u64().unwrap_or(0)));
        let after = tries::clocks();
        Ok(json!({
            "unix": before.unix,
            "slept": after.monotonic.saturating_sub(before.monotonic),
            "random": tries::random(),
        }))
    }
}

fn told(outcome: &Outcome) -> String {
    match &outcome.result {
        OutcomeResult::Ok(value) => format!("slept {}", value["slept"]),
        OutcomeResult::Error(reason) => format!("failed: {reason}"),
    }
}

fn tried(mode: &str) -> Result<Vec<String>, HookError> {
    Ok(match mode {
        "look" => tries::look(),
        "time" => tries::time(),
        "random" => tries::random(),
        "print" => tries::print(1),
        "flood" => tries::print(50_000),
        "abort" => {
            eprintln!("it is enough");
            std::process::abort()
        }
        "exit" => std::process::exit(3),
        #[cfg(target_os = "wasi")]
        other => wild::tried(other)?,
        #[cfg(not(target_os = "wasi"))]
        other => return Err(HookError::invalid("spec.mode", other)),
    })
}
