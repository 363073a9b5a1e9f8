//! All three hooks through the native harness, and what the harness refuses.

use kybern_sdk::testing::{self, Situation};
use kybern_sdk::{
    Child, Cr, Effect, Gvk, HookError, Outcome, OutcomeResult, Plan, Plugin, Query, RunEffect,
    Sensing, Trigger, Value, json,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Spec {
    selector: String,
    #[serde(default)]
    paused: bool,
}

#[derive(Deserialize)]
struct Pod {
    name: String,
    restarts: u32,
}

#[derive(Deserialize)]
struct Settings {
    limit: u32,
}

/// Watches pods that its CR selects and pages somebody when they restart too often.
struct Watchdog;

#[kybern_sdk::plugin(
    name = "watchdog",
    resource = "example.com/v1/Watchdog",
    query(name = "quota", sql = "SELECT name FROM resourcequotas WHERE namespace = $1", params = ["metadata.namespace"]),
    reads = ["v1/ResourceQuota"],
    read(kind = "v1/Pod", optional = true),
    writes = ["v1/ConfigMap"],
    effect(name = "page", description = "pages somebody"),
    capability(name = "http", reason = "the pager's address"),
)]
impl Plugin for Watchdog {
    type Spec = Spec;

    fn sense(cr: &Cr<Spec>, _: &Trigger) -> Result<Sensing, HookError> {
        if cr.spec.paused {
            return Ok(Sensing::Skip);
        }
        let sql = "SELECT name, restarts FROM pods WHERE labels['app'] = $1";
        Ok(Sensing::Queries(vec![
            Query::new("pods", sql).param(&*cr.spec.selector),
        ]))
    }

    fn decide(cr: &Cr<Spec>, situation: &Seen<'_>) -> Result<Plan, HookError> {
        let settings: Settings = situation.settings()?;
        let mut plan = Plan::new();
        for pod in situation.stream::<Pod>("pods")? {
            let pod = pod?;
            if pod.restarts > settings.limit {
                plan = plan.effect(RunEffect {
                    input: json!({ "pod": pod.name }),
                    ..RunEffect::new("page", format!("restarts-{}", pod.name))
                });
            }
        }
        let paged = situation.outcome("restarts-b").is_some();
        let quotas = situation.rows::<Value>("quota")?.len();
        Ok(plan.apply(Child::new(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": cr.metadata.name },
            "data": { "paged": paged.to_string(), "quotas": quotas.to_string() },
        }))))
    }

    fn act(effect: &Effect) -> Result<Value, HookError> {
        if effect.attempt > 3 {
            return Err(HookError::retry("the pager does not answer"));
        }
        Ok(json!({ "paged": effect.input }))
    }
}

type Seen<'a> = kybern_sdk::Situation<'a>;

fn watchdog(spec: Value) -> Situation {
    Situation::new(json!({
        "apiVersion": "example.com/v1",
        "kind": "Watchdog",
        "metadata": { "name": "dog" },
        "spec": spec,
    }))
    .settings(json!({ "limit": 2 }))
}

fn pods() -> [Value; 5] {
    ["a", "b", "c", "d", "e"]
        .map(|name| json!({ "name": name, "restarts": if name == "b" { 3 } else { 1 } }))
}

fn effects(plan: &kybern_sdk::testing::Decided) -> Vec<String> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            kybern_sdk::Action::Effect(effect) => Some(effect.key.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn sense_asks_for_rows_and_decide_reads_all_pages_of_them() {
    let situation = watchdog(json!({ "selector": "web" })).rows("pods", pods());
    let Sensing::Queries(queries) = situation.sense::<Watchdog>().unwrap() else {
        panic!("skipped");
    };
    assert_eq!(queries.first().unwrap().params, [json!("web")]);
    let plan = situation.decide::<Watchdog>().unwrap();
    assert_eq!(effects(&plan), ["restarts-b"]);
    assert_eq!(
        plan.child("ConfigMap", "dog").unwrap()["data"]["paged"],
        "false"
    );
}

#[test]
fn an_outcome_is_seen_by_the_next_pass() {
    let plan = watchdog(json!({ "selector": "web" }))
        .outcome(Outcome {
            name: "page".into(),
            key: "restarts-b".into(),
            attempt: 1,
            result: OutcomeResult::Ok(json!({})),
            at: "2026-01-01T00:00:00Z".into(),
        })
        .decide::<Watchdog>()
        .unwrap();
    assert_eq!(
        plan.child("ConfigMap", "dog").unwrap()["data"]["paged"],
        "true"
    );
}

#[test]
fn act_returns_its_outcome_or_an_error() {
    let effect = |attempt| Effect {
        name: "page".into(),
        key: "restarts-b".into(),
        attempt,
        input: json!({ "pod": "b" }),
        resource: Gvk::new("example.com", "v1", "Watchdog"),
        metadata: serde_json::Map::new(),
        settings: Value::Null,
    };
    let outcome = testing::act::<Watchdog>(&effect(1)).unwrap();
    assert_eq!(outcome, json!({ "paged": { "pod": "b" } }));
    let error = testing::act::<Watchdog>(&effect(4)).unwrap_err();
    assert!(matches!(error, HookError::Retry(_)), "{error}");
}

#[test]
fn rows_that_do_not_fit_their_type_name_row_and_column() {
    let error = watchdog(json!({ "selector": "web" }))
        .rows(
            "pods",
            [
                json!({ "name": "a", "restarts": 1 }),
                json!({ "name": "b", "restarts": "often" }),
            ],
        )
        .decide::<Watchdog>()
        .unwrap_err();
    assert!(
        matches!(&error, HookError::Internal(text) if text.starts_with("row pods[1].restarts: invalid value: string \"often\"")),
        "{error}"
    );
}

#[test]
fn settings_that_do_not_fit_are_invalid() {
    let error = watchdog(json!({ "selector": "web" }))
        .settings(json!({ "limit": "two" }))
        .decide::<Watchdog>()
        .unwrap_err();
    assert!(
        error.to_string().starts_with("invalid: settings.limit: "),
        "{error}"
    );
}

#[test]
fn the_harness_refuses_what_a_host_would() {
    let refused = |situation: Situation, message: &str| {
        let error = situation.decide::<Watchdog>().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let spec = json!({ "selector": "web" });
    refused(
        watchdog(spec.clone()).rows("nodes", [json!({})]),
        "rows for query `nodes`",
    );
    refused(
        watchdog(json!({ "selector": "web", "paused": true })),
        "sense skips this CR",
    );
    let other = json!({ "apiVersion": "example.com/v2", "kind": "Watchdog", "metadata": { "name": "a" }, "spec": spec });
    refused(
        Situation::new(other),
        "not in charge of example.com/v2, Kind=Watchdog",
    );
}

/// Does everything that a plugin must not.
struct Rogue;

#[kybern_sdk::plugin(name = "rogue", resource = "example.com/v1/Rogue", writes = ["v1/ConfigMap"])]
impl Plugin for Rogue {
    fn decide(cr: &Cr<Value>, situation: &Seen<'_>) -> Result<Plan, HookError> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static CALLS: AtomicU32 = AtomicU32::new(0);
        match cr.spec.get("does").and_then(Value::as_str) {
            Some("write secrets") => Ok(Plan::new().apply(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a" },
            }))),
            Some("remember") => Ok(Plan::new().status(CALLS.fetch_add(1, Ordering::Relaxed))),
            Some("page") => Ok(Plan::new().effect(RunEffect::new("page", "a"))),
            _ => situation.rows::<Value>("unnamed").map(|_| Plan::new()),
        }
    }
}

#[test]
fn the_harness_refuses_rogues() {
    for (does, message) in [
        (
            "write secrets",
            "the plan would Apply v1, Kind=Secret, which the manifest does not ask for",
        ),
        ("remember", "two plans for one situation"),
        ("page", "names no effect `page`"),
        ("read", "no query `unnamed`"),
    ] {
        let cr = json!({ "apiVersion": "example.com/v1", "kind": "Rogue", "metadata": { "name": "a" }, "spec": { "does": does } });
        let error = Situation::new(cr).decide::<Rogue>().unwrap_err();
        assert!(
            matches!(&error, HookError::Internal(text) if text.contains(message)),
            "{does}: {error}"
        );
    }
    let effect = r#"{"name":"page","key":"a","attempt":1,"input":null,"resource":{"version":"v1","kind":"Rogue"},"metadata":{}}"#;
    let error = testing::act::<Rogue>(&serde_json::from_str(effect).unwrap()).unwrap_err();
    assert!(error.to_string().contains("has no act hook"), "{error}");
}
