//! What each mode does.

use crate::bindings::kybern::operator::log::{self, Level};
use crate::bindings::kybern::operator::rows;
use crate::bindings::kybern::operator::types::{Failure, HookError};
use crate::{compare, floods, impure};
use serde_json::{Value, json};
use std::hint::black_box;

pub(crate) fn sense(trigger: &Value) -> Result<String, HookError> {
    match mode(trigger) {
        "sense-skip" => Ok("\"skip\"".to_owned()),
        "sense-trap" => panic!("sense was told to trap"),
        "sense-not-json" => Ok("skip".to_owned()),
        "compare" => Ok(compare::sense(trigger)),
        _ => Ok(json!({ "queries": [] }).to_string()),
    }
}

pub(crate) fn decide(situation: &Value) -> Result<String, HookError> {
    match mode(situation) {
        "ok" | "sense-skip" | "sense-trap" | "sense-not-json" => Ok(plan(situation).to_string()),
        "two" => Ok(two(situation).to_string()),
        "read" => read(situation),
        "compare" => compare::decide(situation),
        "slow" => {
            work(number(situation, "rounds", 100_000_000));
            Ok(plan(situation).to_string())
        }
        "loop" => loop {
            work(1_000);
        },
        "trap" => panic!("told to trap"),
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
                black_box(&hoard);
            }
        }
        "deep-recursion" => Ok(recurse(1).to_string()),
        "big-output" => {
            let bytes = number(situation, "bytes", 5 << 20);
            Ok(format!("\"{}\"", "x".repeat(size(bytes).saturating_sub(2))))
        }
        "not-json" => Ok("apiVersion: v1".to_owned()),
        "deep-json" => {
            let depth = size(number(situation, "depth", 10_000));
            Ok(format!("{}{}", "[".repeat(depth), "]".repeat(depth)))
        }
        "not-a-plan" => Ok(json!({ "children": 7, "actions": "all of them" }).to_string()),
        "unknown-action" => {
            let mut plan = plan(situation);
            plan["actions"] = json!([plan["actions"][0], { "type": "formatDisk", "disk": 0 }]);
            Ok(plan.to_string())
        }
        "outside-grants" => Ok(outside_grants(situation).to_string()),
        "log-flood" => {
            let message = "y".repeat(1_024);
            for _ in 0..number(situation, "messages", 10_000) {
                log::write(Level::Info, &message);
            }
            Ok(plan(situation).to_string())
        }
        "copies" => floods::copies(),
        "calls" => floods::calls(word(situation, "call"), query(situation)),
        "row-by-row" => floods::row_by_row(word(situation, "form"), query(situation)),
        "reopen" => {
            floods::reopen(number(situation, "times", 10_000), query(situation))?;
            Ok(plan(situation).to_string())
        }
        "big-log" => {
            floods::big_log(size(number(situation, "bytes", 8 << 20)));
            Ok(plan(situation).to_string())
        }
        "huge-plan" => {
            let mut plan = plan(situation);
            let count = number(situation, "actions", 10_000);
            plan["actions"] = json!(floods::huge_plan(&plan["actions"][0], count));
            Ok(plan.to_string())
        }
        "many-cursors" => many_cursors(situation),
        "impure" => Ok(impure::plan(situation).to_string()),
        "invalid" => Err(HookError::Invalid(
            "spec.mode: told to be invalid".to_owned(),
        )),
        "wait" => Err(HookError::Wait(failure(Some(1_500)))),
        "retry" => Err(HookError::Retry(failure(None))),
        "internal" => Err(HookError::Internal("told to fail".to_owned())),
        other => Err(HookError::Invalid(format!("spec.mode: no mode `{other}`"))),
    }
}

fn mode(document: &Value) -> &str {
    document["object"]["spec"]["mode"].as_str().unwrap_or("ok")
}

fn number(document: &Value, field: &str, default: u64) -> u64 {
    document["object"]["spec"][field]
        .as_u64()
        .unwrap_or(default)
}

fn word<'a>(document: &'a Value, field: &str) -> &'a str {
    document["object"]["spec"][field]
        .as_str()
        .unwrap_or_default()
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn failure(retry_after_ms: Option<u64>) -> Failure {
    Failure {
        message: "told to come again".to_owned(),
        retry_after_ms,
    }
}

/// The plan of a plugin that behaves: one ConfigMap, in `spec.namespace` if that is given, and the status.
pub(crate) fn plan(situation: &Value) -> Value {
    let mut metadata = json!({ "name": situation["object"]["metadata"]["name"] });
    if let Some(namespace) = situation["object"]["spec"]["namespace"].as_str() {
        metadata["namespace"] = json!(namespace);
    }
    json!({
        "children": "complete",
        "actions": [
            {
                "type": "apply",
                "object": {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": metadata,
                    "data": { "mode": mode(situation) },
                },
            },
            { "type": "status", "status": {} },
        ],
        "deletion": "notDeleting",
    })
}

/// As `ok`, and a ServiceAccount beside the ConfigMap.
fn two(situation: &Value) -> Value {
    let mut plan = plan(situation);
    let mut account = plan["actions"][0].clone();
    account["object"] = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": plan["actions"][0]["object"]["metadata"],
    });
    plan["actions"] = json!([plan["actions"][0], account, plan["actions"][1]]);
    plan
}

fn outside_grants(situation: &Value) -> Value {
    let mut plan = plan(situation);
    let namespace = &situation["object"]["metadata"]["namespace"];
    plan["actions"] = json!([
        plan["actions"][0],
        {
            "type": "delete",
            "target": {
                "group": "", "version": "v1", "kind": "Secret",
                "namespace": namespace, "name": "database",
                "uid": "00000000-0000-0000-0000-000000000000",
            },
        },
        {
            "type": "apply",
            "object": {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": { "name": "evil" },
                "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }],
            },
        },
    ]);
    plan
}

/// Work that no compiler takes out.
fn work(rounds: u64) {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the mode")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth.wrapping_add(1))).wrapping_add(depth))
}

fn query(situation: &Value) -> &str {
    situation["queries"][0].as_str().unwrap_or("none")
}

fn many_cursors(situation: &Value) -> Result<String, HookError> {
    let mut kept = Vec::new();
    loop {
        match rows::open(query(situation)) {
            Ok(cursor) => kept.push(cursor),
            Err(error) => {
                let opened = kept.len();
                return Err(HookError::Internal(format!(
                    "{opened} opened, then {error:?}"
                )));
            }
        }
    }
}

/// Reads the first answer to its end in both forms and says what it got.
fn read(situation: &Value) -> Result<String, HookError> {
    let failed = |error: rows::ReadError| HookError::Internal(format!("{error:?}"));
    let max_rows = u32::try_from(number(situation, "maxRows", 100)).unwrap_or(u32::MAX);
    let max_bytes = u32::try_from(number(situation, "maxBytes", 1 << 20)).unwrap_or(u32::MAX);

    let cursor = rows::open(query(situation)).map_err(failed)?;
    let count = cursor.row_count();
    let mut arrays = Vec::new();
    while let Some(text) = cursor.json(max_rows).map_err(failed)? {
        arrays.push(parse(&text)?);
    }
    let after_end = format!("{:?}", cursor.json(1).err());

    let cursor = rows::open(query(situation)).map_err(failed)?;
    let mut streams = Vec::new();
    let ipc_error = loop {
        match cursor.ipc(max_bytes) {
            Ok(Some(stream)) => streams.push(json!({
                "bytes": stream.len(),
                "checksum": stream.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
            })),
            Ok(None) => break None,
            Err(error) => break Some(format!("{error:?}")),
        }
    };

    // One position for both forms.
    let cursor = rows::open(query(situation)).map_err(failed)?;
    let _ = cursor.json(u32::MAX);
    let mixed = matches!(cursor.ipc(max_bytes), Ok(None));

    let unknown = format!("{:?}", rows::open("no such query").err());
    let mut plan = plan(situation);
    plan["actions"][1]["status"] = json!({
        "count": count, "arrays": arrays, "afterEnd": after_end,
        "streams": streams, "ipcError": ipc_error, "mixed": mixed, "unknown": unknown,
    });
    Ok(plan.to_string())
}

fn parse(text: &str) -> Result<Value, HookError> {
    serde_json::from_str(text).map_err(|error| HookError::Internal(error.to_string()))
}
