//! What holds for every plugin, whatever it is for.

use super::super::component::Component;
use super::super::situation::Situation;
use super::super::subject::{Ended, Subject};
use super::super::{lint, minimal};
use super::check::Check;
use kybern_plugin::CallError;
use serde_json::Value;

/// Documents that are no situation. Whoever reads them must say so, not fall over.
const MALFORMED: [(&str, &str); 5] = [
    ("no JSON", "{"),
    ("nothing", ""),
    ("another type", "[]"),
    ("no fields", "{}"),
    (
        "fields of other types",
        r#"{"resource":1,"object":"x","queries":{},"outcomes":1,"state":[],"settings":[],"now":{}}"#,
    ),
];

/// The checks, run.
pub(super) async fn checks(subject: &Subject, component: &Component) -> anyhow::Result<Vec<Check>> {
    let clean = no_errors(component, subject).await?;
    let mut checks = vec![Check::of("conformance: lint finds no error", clean)];
    for (what, document) in MALFORMED {
        let name = format!("conformance: a situation that is malformed ({what}) is an error");
        checks.push(Check::of(name, malformed(subject, document)));
    }
    for object in minimal::objects(subject.plugin.manifest()) {
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let deleted = minimal::deleted(&object);
        let name =
            format!("conformance: the smallest {kind} is decided, twice alike, within limits");
        checks.push(Check::of(name, decided(subject, object)?));
        let name = format!("conformance: the same while it is deleted ({kind})");
        checks.push(Check::of(name, decided(subject, deleted)?));
    }
    Ok(checks)
}

async fn no_errors(component: &Component, subject: &Subject) -> anyhow::Result<Result<(), String>> {
    let errors = lint::errors(component, subject).await?;
    Ok(if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    })
}

fn malformed(subject: &Subject, document: &str) -> Result<(), String> {
    match subject.decide_text(document).result {
        Err(CallError::Hook(_)) => Ok(()),
        Ok(plan) => {
            let plan: String = plan.chars().take(200).collect();
            Err(format!(
                "decide returned a plan for `{document}`: {plan}\ncure: return HookError::Internal"
            ))
        }
        Err(other) => Err(format!(
            "{other}\ncure: return HookError::Internal; the SDK does"
        )),
    }
}

/// A plan or a hook's error; both times the same.
fn decided(subject: &Subject, object: Value) -> anyhow::Result<Result<(), String>> {
    let situation = Situation::new(object);
    Ok(match subject.decide(&situation, true)? {
        Ok(_) | Err(Ended::Skipped | Ended::Hook(_)) => Ok(()),
        Err(ended) => Err(ended.to_string()),
    })
}
