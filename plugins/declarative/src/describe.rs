//! The manifest that follows from a bundle.

mod example;
mod kinds;

use crate::operator::{Command, Operator, Profile, What};
use crate::run::Host;
use kybern_interface::Manifest;
use kybern_sdk::{Gvk, HookError};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds that are read; optional ones may be absent from the cluster.
pub(crate) fn reads(operator: &Operator) -> BTreeSet<Gvk> {
    let mut reads = BTreeSet::new();
    for profile in operator.profiles.values() {
        reads.extend(profile.reads.iter().cloned());
        reads.extend(
            profile
                .rules
                .iter()
                .filter_map(|rule| rule.watch.kind.clone()),
        );
        let queries = profile
            .query
            .iter()
            .chain(profile.rules.iter().flat_map(|rule| &rule.query));
        for (_, statement) in queries {
            reads.extend(
                kinds::in_statement(operator, &statement.sql(1))
                    .into_iter()
                    .map(|(kind, _)| kind),
            );
        }
        for command in commands(profile) {
            if let What::Sql(statement) = &command.what {
                reads.extend(
                    kinds::in_statement(operator, &statement.sql(1))
                        .into_iter()
                        .map(|(kind, _)| kind),
                );
            }
        }
        if crate::run::has_hooks(operator, profile) {
            reads.insert(Gvk::new("batch", "v1", "Job"));
        }
    }
    reads
}

fn commands(profile: &Profile) -> impl Iterator<Item = &Command> {
    profile
        .deploy
        .iter()
        .chain(profile.rules.iter().flat_map(|rule| &rule.action))
}

#[derive(Debug, Default)]
struct Writes(BTreeMap<Gvk, (BTreeSet<String>, BTreeSet<String>)>);

impl Writes {
    fn add(&mut self, kind: Gvk, verb: &str) {
        self.0.entry(kind).or_default().0.insert(verb.to_owned());
    }
}

/// The manifest of a bundle.
pub fn manifest(operator: &Operator, host: &dyn Host) -> Result<Manifest, HookError> {
    let mut writes = Writes::default();
    let mut effects = BTreeMap::new();
    let mut capabilities = BTreeMap::new();
    let mut secrets = BTreeSet::new();
    let (mut resources, mut crds): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut state = false;
    let mut optional = BTreeSet::new();
    for profile in operator.profiles.values() {
        for kind in &profile.kinds {
            let one = json!({ "group": kind.group, "version": kind.version, "kind": kind.kind, "role": "Primary" });
            if !resources.contains(&one) {
                resources.push(one);
            }
        }
        for crd in &profile.crds {
            if !crds.contains(crd) {
                crds.push(crd.clone());
            }
        }
        optional.extend(kinds::written(operator, profile, host, &mut writes));
        for command in commands(profile) {
            match &command.what {
                What::Helm(_) => {
                    capabilities.insert("render", "charts are rendered");
                }
                What::Http(http) => {
                    capabilities.insert("http", "commands `http` ask servers");
                    effects.insert("http", "A request of a command `http`.");
                    if !http.secrets.is_empty() {
                        capabilities.insert("secrets", "headers of requests");
                    }
                    secrets.extend(http.secrets.iter().map(|(_, secret, _)| secret.clone()));
                }
                What::Event { .. } => state = true,
                _ => {}
            }
        }
        let unmounts = profile.rules.iter().any(|rule| {
            rule.watch.category == crate::operator::Category::WillUnmount
                && rule.watch.kind.is_none()
        });
        let hooks = crate::run::has_hooks(operator, profile);
        if unmounts || hooks {
            effects.insert(
                "unmount",
                "Holds a resource until what is done before it goes is done.",
            );
        }
        let remembers = profile
            .rules
            .iter()
            .any(|rule| rule.old || rule.watch.category == crate::operator::Category::DidUnmount);
        state |= remembers || hooks || !profile.remember.is_empty();
    }
    let named = |gvk: &Gvk| json!({ "group": gvk.group, "version": gvk.version, "kind": gvk.kind });
    let mut asks: Vec<Value> = Vec::new();
    let read = reads(operator);
    for kind in read.union(&optional) {
        let mut one = named(kind);
        if let Some(map) = one.as_object_mut().filter(|_| !read.contains(kind)) {
            map.insert("optional".to_owned(), true.into());
        }
        asks.push(one);
    }
    let writes: Vec<Value> = writes
        .0
        .into_iter()
        .map(|(kind, (verbs, subresources))| {
            let mut one = named(&kind);
            if let Some(map) = one.as_object_mut() {
                map.insert(
                    "verbs".to_owned(),
                    json!(verbs.iter().map(|verb| title(verb)).collect::<Vec<_>>()),
                );
                map.insert("subresources".to_owned(), json!(subresources));
            }
            one
        })
        .collect();
    let name = crds.first().and_then(|crd| {
        crd.pointer("/spec/names/singular")
            .or(crd.pointer("/spec/names/kind"))
    });
    let name = name
        .and_then(Value::as_str)
        .unwrap_or("declarative")
        .to_lowercase();
    let manifest = json!({
        "name": name,
        "version": env!("CARGO_PKG_VERSION"),
        "world": kybern_interface::WORLD,
        "resources": resources,
        "reads": asks,
        "writes": writes,
        "capabilities": capabilities.iter().map(|(name, why)| json!({ "name": name, "reason": why })).collect::<Vec<_>>(),
        "secrets": secrets.iter().map(|name| json!({ "name": name, "reason": "a header of a request" })).collect::<Vec<_>>(),
        "effects": effects.iter().map(|(name, what)| json!({ "name": name, "description": what })).collect::<Vec<_>>(),
        "crds": crds,
        "settingsSchema": settings(operator),
        "status": shape(operator),
        "state": state,
    });
    serde_json::from_value(manifest)
        .map_err(|why| HookError::Internal(format!("the manifest cannot be written: {why}")))
}

/// As the interface spells verbs.
fn title(verb: &str) -> String {
    match verb {
        "apply" => "apply",
        "patch" => "patch",
        _ => "delete",
    }
    .to_owned()
}

fn settings(operator: &Operator) -> Value {
    let mut properties = Map::new();
    properties.insert(
        "bundle".to_owned(),
        json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    );
    let names: Vec<&String> = operator.profiles.keys().collect();
    properties.insert(
        "profile".to_owned(),
        json!({ "type": "string", "enum": names }),
    );
    let mut required = Vec::new();
    for profile in operator.profiles.values() {
        let own = profile
            .settings
            .get("properties")
            .and_then(Value::as_object);
        properties.extend(
            own.into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        if operator.profiles.len() == 1 {
            let own = profile.settings.get("required").and_then(Value::as_array);
            required.extend(own.into_iter().flatten().cloned());
        }
    }
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(map) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        map.insert("required".to_owned(), required.into());
    }
    schema
}

/// What the status of the first kind can hold.
fn shape(operator: &Operator) -> Value {
    let mut conditions = false;
    let mut observed = false;
    for profile in operator.profiles.values() {
        let Some((crd, kind)) = profile.crds.first().zip(profile.kinds.first()) else {
            continue;
        };
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
        for version in versions.into_iter().flatten() {
            if version.get("name").and_then(Value::as_str) == Some(&kind.version) {
                let status = |field: &str| {
                    version
                        .pointer(&format!(
                            "/schema/openAPIV3Schema/properties/status/properties/{field}"
                        ))
                        .is_some()
                };
                let open = version.pointer("/schema/openAPIV3Schema/properties/status/x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
                conditions |= status("conditions") || open;
                observed |= status("observedGeneration") || open;
            }
        }
    }
    json!({ "conditions": if conditions { "standard" } else { "none" }, "observedGeneration": observed })
}
