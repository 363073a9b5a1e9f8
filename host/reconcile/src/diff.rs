//! The difference between an intent and the live object: what is to be written, if anything.
//!
//! A path is ours when it is in the last intent. The same hash on the object and the same values
//! at the owned paths as after our last write: converged. Defaults, normalised values and mutating
//! webhooks are in those values already. After a restart there are none to compare with: the same
//! hash, and our entry in managedFields still has every path of the intent (another manager that
//! changes a value takes the path from it).

use crate::fields;
use crate::finalizer::guarded;
use crate::intent::{Intent, get_path, remove_path, set_path};
use crate::memory::Baseline;
use crate::owner::{Owner, Ownership, ownership};
use crate::report::{ApplyReason, Verdict};
use kybern_interface::{Adoption, ApplyMode, names};
use serde_json::{Value, json};

/// What is to be done, and the baseline if the object is as intended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) verdict: Verdict,
    pub(crate) baseline: Option<Baseline>,
}

/// Under which names a child's fields are ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Managers<'a> {
    /// The one that we write with.
    pub(crate) manager: &'a str,
    /// Those of an operator whose objects are taken over.
    pub(crate) former: &'a [String],
}

impl Managers<'_> {
    /// Whether fields are still a former manager's, as far as the table knows.
    fn has_former(&self, live: &Value) -> bool {
        !self.former.is_empty()
            && fields::entries(live).is_some_and(|entries| {
                entries.iter().any(|entry| {
                    entry.subresource.is_empty() && self.former.contains(&entry.manager)
                })
            })
    }
}

/// What is to be done about one intent.
pub(crate) fn diff(
    intent: &Intent,
    live: Option<&Value>,
    owner: &Owner,
    whose: &Managers<'_>,
    remembered: Option<&Baseline>,
    forced: bool,
) -> Difference {
    let only = |verdict| Difference {
        verdict,
        baseline: None,
    };
    let Some(live) = live else {
        return only(Verdict::Create);
    };
    let deleting = live
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|at| !at.is_null());
    match ownership(live, owner) {
        Ownership::Predecessor => return only(Verdict::WaitingForDeletion),
        _ if deleting => return only(Verdict::WaitingForDeletion),
        Ownership::Foreign { whose } => return only(Verdict::NotOurs { whose }),
        Ownership::Unowned { managers } => {
            return only(match intent.adopt {
                Adoption::IfUnowned => Verdict::Adopt,
                Adoption::Never => Verdict::NotOurs {
                    whose: unowned(&managers),
                },
            });
        }
        Ownership::Ours => {}
    }
    if intent.mode == ApplyMode::CreateOnce {
        return Difference {
            verdict: Verdict::Kept,
            baseline: Some(Baseline::of(intent, live, whose.manager)),
        };
    }
    if forced {
        return only(Verdict::Apply(ApplyReason::Forced));
    }
    if whose.has_former(live) {
        return only(Verdict::Apply(ApplyReason::Former));
    }
    let marked = live
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(names::INTENT))
        .and_then(Value::as_str);
    if marked != Some(intent.hash.as_str()) {
        return only(Verdict::Apply(ApplyReason::Intent));
    }
    let mut baseline = match remembered.filter(|baseline| baseline.hash == intent.hash) {
        Some(baseline) if baseline.holds(live) => baseline.clone(),
        Some(baseline) => {
            let suspects = baseline.suspects(intent, live);
            return only(Verdict::Apply(ApplyReason::Drift(suspects)));
        }
        None => {
            let entry = fields::owned_by(live, whose.manager, "").unwrap_or_default();
            let cover = entry.cover(&intent.owned(), live);
            if !cover.missing.is_empty() {
                return only(Verdict::Apply(ApplyReason::NotCovered(cover.missing)));
            }
            Baseline::covering(intent, live, &cover.shape)
        }
    };
    baseline.resource_version = crate::memory::resource_version(live);
    baseline.readiness = crate::ready::readiness(live);
    Difference {
        verdict: Verdict::Converged,
        baseline: Some(baseline),
    }
}

fn unowned(managers: &[String]) -> String {
    if managers.is_empty() {
        "it exists without a controller".to_owned()
    } else {
        format!(
            "it exists without a controller, written by {}",
            managers.join(", ")
        )
    }
}

/// What is sent for an object that exists: its uid, and of each handed-over path the live value
/// for as long as no other manager has it.
pub(crate) fn request(intent: &Intent, live: &Value, manager: &str, former: &[String]) -> Value {
    let mut object = intent.object.clone();
    for path in &intent.ignored {
        let taken = fields::entries(live).is_some_and(|entries| {
            entries.iter().any(|entry| {
                entry.manager != manager
                    && !former.contains(&entry.manager)
                    && entry.fields.has_path(path)
            })
        });
        if taken {
            remove_path(&mut object, path);
        } else if let Some(value) = get_path(live, path) {
            set_path(&mut object, path, value.clone());
        }
    }
    let uid = live.pointer("/metadata/uid").cloned().unwrap_or_default();
    set_path(&mut object, &["metadata".to_owned(), "uid".to_owned()], uid);
    object
}

/// The JSON patch that makes Update entries of ours, and all entries of former managers, part of
/// our Apply entry; none if there is nothing to convert. Without it, fields that a later intent
/// drops would stay (client-go's csaupgrade; kubernetes#99003).
pub(crate) fn upgrade(live: &Value, manager: &str, former: &[String]) -> Option<Value> {
    let raw = live.pointer("/metadata/managedFields")?.as_array()?;
    let version = live.pointer("/metadata/resourceVersion")?.as_str()?;
    let text = |entry: &Value, key: &str| {
        entry
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let main = |entry: &Value| text(entry, "subresource").is_empty();
    let converted = |entry: &Value| {
        main(entry)
            && ((text(entry, "manager") == manager && text(entry, "operation") == "Update")
                || former.contains(&text(entry, "manager")))
    };
    let ours = |entry: &Value| {
        main(entry) && text(entry, "manager") == manager && text(entry, "operation") == "Apply"
    };
    let first = raw.iter().find(|entry| converted(entry))?;
    let mut union = fields::FieldSet::default();
    for entry in raw.iter().filter(|entry| converted(entry) || ours(entry)) {
        if let Some(set) = entry.get("fieldsV1") {
            union.merge(&fields::FieldSet::parse(set));
        }
    }
    let mut merged = raw
        .iter()
        .find(|entry| ours(entry))
        .unwrap_or(first)
        .clone();
    if let Some(entry) = merged.as_object_mut() {
        entry.insert("manager".to_owned(), Value::from(manager));
        entry.insert("operation".to_owned(), Value::from("Apply"));
        entry.insert("fieldsV1".to_owned(), union.render());
    }
    let mut list = vec![merged];
    list.extend(
        raw.iter()
            .filter(|entry| !converted(entry) && !ours(entry))
            .cloned(),
    );
    Some(json!([
        { "op": "replace", "path": "/metadata/managedFields", "value": list },
        { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
    ]))
}

/// The JSON patch that takes a manager's entries for one subresource out of managedFields; none if it
/// has none. The values stay, owned by whoever else has them.
pub(crate) fn disown(live: &Value, manager: &str, subresource: &str) -> Option<Value> {
    let raw = live.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, key: &str| {
        let text = entry.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let ours = |entry: &&Value| {
        text(entry, "manager") == manager && text(entry, "subresource") == subresource
    };
    let mut rest: Vec<Value> = raw.iter().filter(|entry| !ours(entry)).cloned().collect();
    if rest.len() == raw.len() {
        return None;
    }
    if rest.is_empty() {
        // An empty list means that nothing changes; one empty entry means none.
        rest.push(json!({}));
    }
    let operation = json!({ "op": "replace", "path": "/metadata/managedFields", "value": rest });
    Some(guarded(live, vec![operation]))
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
