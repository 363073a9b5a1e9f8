//! The CR's status: the plugin's, and the host's conditions (kstatus) where the kind has them.
//!
//! One server-side apply on `/status`, only when something changed. What the plugin says about
//! `Ready` stands while passes succeed; a failed pass overrules it.

use crate::active::Active;
use crate::fields::{self, FieldSet};
use crate::intent::{fingerprint, named};
use crate::memory::StatusBaseline;
use crate::owner::Owner;
use kybern_interface::{ConditionsShape, StatusShape};
use serde_json::{Map, Value, json};

/// Conditions that are the host's.
const HOST: [&str; 3] = ["Ready", "Reconciling", "Stalled"];

/// Reason of the condition and the Event while a CR is slowed down.
pub(crate) const SLOWED: &str = "SlowedDown";
/// What to do then.
pub(crate) const SLOWED_WHY: &str = "something changes with every pass, so passes are slowed down to one a second: the plugin decides something else each time, or another program takes back what it writes";

/// How a CR is, as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) kind: HealthKind,
    /// CamelCase.
    pub(crate) reason: String,
    /// The same text for the same cause.
    pub(crate) message: String,
    /// Whether the pass succeeded, so that what the plugin says about `Ready` holds.
    pub(crate) succeeded: bool,
}

/// How a CR is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealthKind {
    /// As wanted.
    Ready,
    /// On its way without anybody's help.
    Reconciling,
    /// Somebody has to do something.
    Stalled,
    /// Left alone on purpose.
    Paused,
}

impl Health {
    pub(crate) fn new(kind: HealthKind, reason: &str, message: impl Into<String>) -> Self {
        let succeeded = kind == HealthKind::Ready;
        let mut message: String = message.into();
        // The API server takes 32,768 bytes; a reader takes less.
        if message.chars().count() > 1_024 {
            message = message.chars().take(1_023).chain(['…']).collect();
        }
        Self {
            kind,
            reason: reason.to_owned(),
            message,
            succeeded,
        }
    }

    /// The same, of a pass that succeeded.
    pub(crate) fn after_success(mut self) -> Self {
        self.succeeded = true;
        self
    }
}

/// Whether an answer has none of the conditions that were sent.
pub(crate) fn lost_conditions(sent: &Value, live: &Value) -> bool {
    let any = |object: &Value| {
        let conditions = object.pointer("/status/conditions");
        conditions
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty())
    };
    any(sent) && !any(live)
}

/// The status to be applied.
pub(crate) struct Wanted<'a> {
    pub(crate) shape: &'a StatusShape,
    /// The plugin's status; none leaves what it last gave.
    pub(crate) plugin: Option<&'a Value>,
    pub(crate) health: &'a Health,
    pub(crate) generation: Option<i64>,
    /// RFC 3339.
    pub(crate) now: &'a str,
    /// Whether the CR is slowed down.
    pub(crate) slowed: bool,
}

impl Wanted<'_> {
    /// The whole status that this registration wants on the CR.
    pub(crate) fn build(&self, live: &Value, manager: &str) -> Value {
        let mut status = match self.plugin {
            Some(given) => given.as_object().cloned().unwrap_or_default(),
            None => previous(live, manager),
        };
        if self.shape.observed_generation
            && let Some(generation) = self.generation
        {
            status.insert("observedGeneration".to_owned(), Value::from(generation));
        }
        if self.shape.conditions == ConditionsShape::Standard {
            let conditions = self.conditions(&status, live);
            status.insert("conditions".to_owned(), Value::Array(conditions));
        }
        Value::Object(status)
    }

    fn conditions(&self, status: &Map<String, Value>, live: &Value) -> Vec<Value> {
        let given = status
            .get("conditions")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let plugin_ready = given.iter().any(|c| kind(c) == "Ready");
        let mut list: Vec<Value> = Vec::new();
        let add = |list: &mut Vec<Value>, kind: &str, status: &str| {
            list.push(json!({
                "type": kind, "status": status,
                "reason": self.health.reason, "message": self.health.message,
            }));
        };
        // Only a pass that succeeded knows that what the plugin says still holds; then it is the
        // plugin, not the host, who says how far things are.
        let trust = plugin_ready && self.health.succeeded;
        if !trust {
            let ready = match self.health.kind {
                HealthKind::Ready => "True",
                HealthKind::Paused => "Unknown",
                HealthKind::Reconciling | HealthKind::Stalled => "False",
            };
            add(&mut list, "Ready", ready);
        }
        match self.health.kind {
            _ if trust => {}
            HealthKind::Reconciling => add(&mut list, "Reconciling", "True"),
            HealthKind::Stalled => add(&mut list, "Stalled", "True"),
            HealthKind::Ready | HealthKind::Paused => {}
        }
        for condition in given {
            if trust || !HOST.contains(&kind(&condition)) {
                list.push(condition);
            }
        }
        let stalled = |c: &Value| kind(c) == "Stalled" && c.get("status") == Some(&json!("True"));
        if self.slowed && !list.iter().any(stalled) {
            list.retain(|condition| kind(condition) != "Stalled");
            list.push(json!({
                "type": "Stalled", "status": "True", "reason": SLOWED, "message": SLOWED_WHY,
            }));
        }
        for condition in &mut list {
            self.complete(condition, live);
        }
        list.sort_by(|a, b| kind(a).cmp(kind(b)));
        list
    }

    /// Fills in what a standard condition must have. The transition time is the live one's while
    /// the status is the same.
    fn complete(&self, condition: &mut Value, live: &Value) {
        let before = live
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .and_then(|list| list.iter().find(|c| kind(c) == kind(condition)))
            .filter(|before| before.get("status") == condition.get("status"))
            .and_then(|before| before.get("lastTransitionTime"))
            .cloned();
        let Some(object) = condition.as_object_mut() else {
            return;
        };
        let time = before.unwrap_or_else(|| Value::from(self.now));
        object.insert("lastTransitionTime".to_owned(), time);
        for key in ["reason", "message"] {
            object.entry(key).or_insert_with(|| Value::from(""));
        }
        if let Some(generation) = self.generation {
            object.insert("observedGeneration".to_owned(), Value::from(generation));
        }
    }
}

fn kind(condition: &Value) -> &str {
    condition
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What the plugin's last status was, read back from the CR: our part of it without the host's.
fn previous(live: &Value, manager: &str) -> Map<String, Value> {
    let entry = fields::owned_by(live, manager, "status").unwrap_or_default();
    if entry.is_empty() {
        return Map::new();
    }
    let mut status = entry
        .extract(live)
        .get("status")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    if let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        list.retain(|condition| !HOST.contains(&kind(condition)));
    }
    status
}

/// Whether the status has to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StatusWrite {
    /// It is on the CR already.
    Unchanged(StatusBaseline),
    /// This object has to be applied; its fingerprint.
    Needed(Value, u128),
}

/// Compares the wanted status with the CR.
pub(crate) fn compare(
    status: Value,
    live: &Value,
    owner: &Owner,
    active: &Active,
    remembered: Option<&StatusBaseline>,
) -> StatusWrite {
    let manager = active.status_manager();
    let mut metadata = json!({ "name": owner.name, "uid": owner.uid });
    if !owner.namespace.is_empty() {
        crate::intent::set_path(
            &mut metadata,
            &["namespace".to_owned()],
            Value::from(owner.namespace.as_str()),
        );
    }
    let mut object = json!({ "apiVersion": owner.gvk.api_version(), "kind": owner.gvk.kind });
    // Moved: the macro copies what it is given.
    if let Some(top) = object.as_object_mut() {
        top.insert("metadata".to_owned(), metadata);
        top.insert("status".to_owned(), status);
    }
    let sent = fingerprint(&object);
    // Fields that the kind's schema prunes are never on the CR: what counts is what came of the
    // same status before.
    if let Some(baseline) = remembered.filter(|b| b.sent == sent && b.holds(live)) {
        return StatusWrite::Unchanged(baseline.clone());
    }
    let entry = fields::owned_by(live, &manager, "status").unwrap_or_default();
    if !entry.is_empty() && same(&entry, &named(object.clone()), live) {
        return StatusWrite::Unchanged(StatusBaseline::of(sent, &object, live, &manager));
    }
    StatusWrite::Needed(object, sent)
}

/// Whether our entry has exactly the wanted paths, and the CR the wanted values there.
fn same(entry: &FieldSet, wanted: &Value, live: &Value) -> bool {
    let cover = entry.cover(wanted, live);
    cover.missing.is_empty()
        && entry.beyond(&cover.shape).is_empty()
        && cover.shape.select(live) == cover.shape.select(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> StatusShape {
        StatusShape {
            conditions: ConditionsShape::Standard,
            observed_generation: true,
        }
    }

    fn build(plugin: Option<&Value>, health: &Health, live: &Value, now: &str) -> Value {
        Wanted {
            shape: &shape(),
            plugin,
            health,
            generation: Some(3),
            now,
            slowed: false,
        }
        .build(live, "kybern/x/status")
    }

    fn find<'v>(status: &'v Value, wanted: &str) -> Option<&'v Value> {
        status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| kind(c) == wanted)
    }

    fn ready() -> Health {
        Health::new(
            HealthKind::Ready,
            "Reconciled",
            "all children are as planned",
        )
    }

    #[test]
    fn the_host_adds_ready_and_the_generation() {
        let status = build(Some(&json!({ "n": 1 })), &ready(), &json!({}), "t1");
        assert_eq!(status["n"], 1);
        assert_eq!(status["observedGeneration"], 3);
        assert_eq!(find(&status, "Ready").unwrap()["status"], "True");
        assert_eq!(find(&status, "Reconciling"), None);
        assert_eq!(find(&status, "Stalled"), None);
    }

    #[test]
    fn the_transition_time_stays_while_the_status_does() {
        let first = build(Some(&json!({})), &ready(), &json!({}), "t1");
        let live = json!({ "status": first });
        let again = build(Some(&json!({})), &ready(), &live, "t2");
        assert_eq!(find(&again, "Ready").unwrap()["lastTransitionTime"], "t1");
        let bad = Health::new(HealthKind::Stalled, "InvalidSpec", "no");
        let worse = build(None, &bad, &live, "t3");
        assert_eq!(find(&worse, "Ready").unwrap()["lastTransitionTime"], "t3");
        assert_eq!(find(&worse, "Stalled").unwrap()["status"], "True");
    }

    #[test]
    fn the_plugins_ready_stands_until_a_pass_fails() {
        let plugin = json!({ "conditions": [
            { "type": "Ready", "status": "False", "reason": "Rolling", "message": "1 of 3" },
            { "type": "Stalled", "status": "True" },
            { "type": "Backup", "status": "True" },
        ] });
        let status = build(Some(&plugin), &ready(), &json!({}), "t1");
        assert_eq!(find(&status, "Ready").unwrap()["reason"], "Rolling");
        assert_eq!(find(&status, "Backup").unwrap()["message"], "");
        let bad = Health::new(HealthKind::Reconciling, "PluginTrapped", "no");
        let status = build(Some(&plugin), &bad, &json!({}), "t1");
        assert_eq!(find(&status, "Ready").unwrap()["reason"], "PluginTrapped");
        assert_eq!(find(&status, "Reconciling").unwrap()["status"], "True");
    }

    #[test]
    fn a_failed_pass_keeps_what_the_plugin_last_said() {
        let live = json!({
            "metadata": { "managedFields": [{
                "manager": "kybern/x/status", "operation": "Apply", "subresource": "status",
                "fieldsV1": { "f:status": { "f:n": {}, "f:conditions": {
                    "k:{\"type\":\"Ready\"}": { ".": {}, "f:type": {}, "f:status": {} },
                    "k:{\"type\":\"Backup\"}": { ".": {}, "f:type": {}, "f:status": {} },
                } } },
            }] },
            "status": { "n": 1, "foreign": 2, "conditions": [
                { "type": "Ready", "status": "True" }, { "type": "Backup", "status": "True" },
                { "type": "Other", "status": "True" },
            ] },
        });
        let bad = Health::new(HealthKind::Reconciling, "PluginTrapped", "no");
        let status = build(None, &bad, &live, "t1");
        assert_eq!(status["n"], 1);
        assert_eq!(status.get("foreign"), None);
        assert_eq!(find(&status, "Ready").unwrap()["status"], "False");
        assert!(find(&status, "Backup").is_some());
        assert_eq!(find(&status, "Other"), None);
    }

    #[test]
    fn a_kind_without_conditions_gets_none() {
        let shape = StatusShape::default();
        let health = ready();
        let plugin = json!({ "n": 1 });
        let wanted = Wanted {
            shape: &shape,
            plugin: Some(&plugin),
            health: &health,
            generation: Some(1),
            now: "t",
            slowed: false,
        };
        assert_eq!(wanted.build(&json!({}), "m"), plugin);
    }
}
