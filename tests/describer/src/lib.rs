//! A plugin that is what its bundle says, or misbehaves as it says.
//!
//! | file | meaning |
//! |---|---|
//! | `mode` | what `describe` does wrong: `loop`, `trap`, `memory`, `huge`, `deep`, `text`; else a message, the bundle is wrong |
//! | `manifest.json` | what `describe` returns |
//! | `rounds` | how often `sense` asks to be called again |
//! | `query.sql` | what it asks then; `$1` is how many rows came the time before |
//! | `children/*` | JSON objects that are applied; `$name` is the resource's name, `$rows` how many rows each answer had |
//! | `render.json` | a request for a chart, whose manifests, JSON, are applied as well |

use kybern_sdk::raw::{self, Answers, Hooks};
use kybern_sdk::{Action, HelmRequest, HookError, Query, Sensing, Value, json};
use serde_json::from_slice;

/// The plugin.
pub struct Describer;

kybern_sdk::export_raw!(
    Describer,
    manifest = "manifest.json",
    hooks = [describe, sense, decide]
);

fn text(path: &str) -> Option<String> {
    raw::read(path).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn internal(error: impl std::fmt::Display) -> HookError {
    HookError::Internal(error.to_string())
}

impl Hooks for Describer {
    fn describe() -> Result<Value, HookError> {
        match text("mode").as_deref() {
            None => {}
            Some("loop") => loop {
                std::hint::black_box(());
            },
            #[expect(clippy::panic, reason = "it is what is asked for")]
            Some("trap") => panic!("as the bundle says"),
            Some("memory") => {
                let mut all = Vec::new();
                loop {
                    all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            Some("huge") => return Ok(json!("x".repeat(8 << 20))),
            Some("deep") => {
                let deep = (0..90).fold(json!(1), |inner, _| json!([inner]));
                return Ok(json!({ "name": "deep", "more": deep }));
            }
            Some("text") => return Ok(json!("no manifest")),
            Some(message) => return Err(HookError::Invalid(message.to_owned())),
        }
        let manifest = raw::read("manifest.json");
        let manifest = manifest.ok_or_else(|| {
            let paths = raw::paths().join(", ");
            HookError::Invalid(format!("manifest.json: no such file; there are: {paths}"))
        })?;
        from_slice(&manifest).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            HookError::Invalid(format!("manifest.json:{line}:{column}: {error}"))
        })
    }

    fn sense(
        trigger: &kybern_sdk::raw::Trigger,
        answers: &Answers<'_>,
    ) -> Result<Sensing, HookError> {
        let rounds = text("rounds").and_then(|rounds| rounds.parse().ok());
        let done = trigger.queries.iter();
        let done = done.filter(|name| name.starts_with("round-")).count();
        if done >= rounds.unwrap_or(0) {
            return Ok(Sensing::Queries(Vec::new()));
        }
        let rows = match done.checked_sub(1) {
            Some(last) => answers.open(&format!("round-{last}"))?.row_count(),
            None => 0,
        };
        let sql = text("query.sql").unwrap_or_default();
        let query = Query::new(format!("round-{done}"), sql).param(rows.to_string());
        Ok(Sensing::Again(vec![query]))
    }

    fn decide(
        situation: &kybern_sdk::raw::Situation,
        answers: &Answers<'_>,
    ) -> Result<kybern_sdk::raw::Plan, HookError> {
        let mut rows = Vec::new();
        for query in &situation.queries {
            rows.push(format!("{query}={}", answers.open(query)?.row_count()));
        }
        let name = situation.object.pointer("/metadata/name");
        let name = name.and_then(Value::as_str).unwrap_or_default();
        let mut texts: Vec<String> = raw::paths()
            .iter()
            .filter(|path| path.starts_with("children/"))
            .filter_map(|path| text(path))
            .collect();
        if let Some(request) = raw::read("render.json") {
            let request: HelmRequest = from_slice(&request).map_err(internal)?;
            let answer = raw::helm(&request).map_err(internal)?;
            if let Some(error) = answer.error {
                return Err(HookError::Invalid(error.message));
            }
            texts.extend(
                answer
                    .manifests
                    .into_iter()
                    .map(|manifest| manifest.content),
            );
        }
        let actions = texts.iter().map(|text| {
            let text = text
                .replace("$name", name)
                .replace("$rows", &rows.join(" "));
            let object: Value = serde_json::from_str(&text).map_err(internal)?;
            let action = json!({ "type": "apply", "object": object });
            serde_json::from_value(action).map_err(internal)
        });
        let actions: Vec<Action> = actions.collect::<Result<_, HookError>>()?;
        let plan = json!({ "children": "complete", "actions": actions, "deletion": "notDeleting" });
        serde_json::from_value(plan).map_err(internal)
    }
}
