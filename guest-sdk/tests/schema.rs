//! A definition from types: its text, and what is refused without an API server.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect, its helpers too"
)]

use kybern_sdk::testing::Situation;
use kybern_sdk::{
    Child, Cr, DeploymentStatus, Embedded, HookError, Manifest, Plan, Plugin, Schema, Value, json,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a "Site" wants, with a \ in its description.
#[derive(Deserialize, Schema)]
#[serde(rename_all = "camelCase")]
#[schema(rule(cel = "self.min <= self.max", message = "min must not be above max"))]
#[expect(dead_code, reason = "only read and checked")]
struct SiteSpec {
    #[schema(column = "Host", min_length = 1, max_length = 20, immutable)]
    host_name: String,
    #[schema(max_length = 8, immutable)]
    class: Option<String>,
    #[serde(default)]
    tier: Tier,
    #[schema(min = -3, max = 9)]
    min: i32,
    max: u8,
    #[serde(default)]
    share: f64,
    /// Where it
    /// listens.
    #[serde(default)]
    #[schema(min_items = 0, max_items = 3, unique = ["name", "port", "alias"])]
    listeners: Vec<Listener>,
    #[serde(default)]
    labels: BTreeMap<String, Label>,
    extra: Option<Value>,
    #[serde(default)]
    paused: bool,
}

#[derive(Deserialize, Schema, Default)]
#[serde(rename_all = "kebab-case")]
enum Tier {
    #[default]
    FrontEnd,
    Back,
    #[serde(rename = "other")]
    Rest,
}

#[derive(Deserialize, Schema)]
#[expect(dead_code, reason = "only read and checked")]
struct Listener {
    #[schema(dns_1123_label)]
    name: String,
    port: u16,
    alias: Option<String>,
}

#[derive(Deserialize, Schema)]
#[expect(dead_code, reason = "only read and checked")]
struct Label {
    #[schema(trimmed)]
    text: String,
}

struct Site;

#[kybern_sdk::plugin(
    name = "site",
    crd(kind = "example.com/v1/Site", names = "dns-1123-label", scope = "Cluster"),
    mirror = "apps/v1/Deployment",
    writes = ["v1/ConfigMap"],
)]
impl Plugin for Site {
    type Spec = SiteSpec;
    type Status = DeploymentStatus;

    fn decide(
        cr: &Cr<SiteSpec, DeploymentStatus>,
        situation: &kybern_sdk::Situation<'_>,
    ) -> Result<Plan, HookError> {
        let map = Child::named("v1/ConfigMap", &cr.metadata.name);
        Ok(Plan::new().apply(map).status(situation.deployment()?))
    }
}

fn definition() -> Value {
    let mut manifest: Manifest = serde_json::from_str(Site::MANIFEST).unwrap();
    manifest.crds.remove(0)
}

#[test]
fn the_manifest_is_canonical_and_asks_for_what_it_mirrors() {
    let manifest: Manifest = serde_json::from_str(Site::MANIFEST).unwrap();
    assert_eq!(serde_json::to_string(&manifest).unwrap(), Site::MANIFEST);
    assert_eq!(
        serde_json::to_value(&manifest.resources).unwrap(),
        json!([{ "group": "example.com", "version": "v1", "kind": "Site", "role": "Primary" }])
    );
    assert_eq!(manifest.reads[0].kind, "Deployment");
    assert_eq!(
        manifest.queries[0].params,
        ["metadata.namespace", "metadata.name"]
    );
    assert!(manifest.status.observed_generation);
}

/// The suite installs the same text on an API server.
#[test]
fn the_definition_is_as_published() {
    let published: Value = serde_saphyr::from_str(include_str!("site.yaml")).unwrap();
    assert_eq!(
        published,
        definition(),
        "tests/site.yaml should be:\n{}",
        serde_saphyr::to_string(&definition()).unwrap()
    );
}

#[test]
fn the_definition_has_names_columns_and_the_hosts_part_of_the_status() {
    let crd = definition();
    assert_eq!(crd["metadata"]["name"], "sites.example.com");
    assert_eq!(crd["spec"]["scope"], "Cluster");
    let version = &crd["spec"]["versions"][0];
    assert_eq!(
        version["additionalPrinterColumns"],
        json!([
            { "jsonPath": ".spec.hostName", "name": "Host", "type": "string" },
            { "description": "Pods that are ready.", "jsonPath": ".status.readyReplicas", "name": "Ready", "type": "integer" },
            { "jsonPath": ".metadata.creationTimestamp", "name": "Age", "type": "date" },
        ])
    );
    let root = &version["schema"]["openAPIV3Schema"];
    assert_eq!(
        root["description"],
        "What a \"Site\" wants, with a \\ in its description."
    );
    assert_eq!(
        root["properties"]["metadata"],
        json!({ "type": "object", "properties": { "name": {
            "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        } } })
    );
    let status = &root["properties"]["status"];
    assert_eq!(status["default"], json!({ "observedGeneration": -1 }));
    let status = &status["properties"];
    assert_eq!(status["replicas"]["maximum"], 2_147_483_647);
    assert_eq!(
        status["observedGeneration"],
        json!({ "type": "integer", "format": "int64" })
    );
    let conditions = &status["conditions"];
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    assert_eq!(
        conditions["items"]["required"],
        json!(["lastTransitionTime", "message", "reason", "status", "type"])
    );
    assert_eq!(
        conditions["items"]["properties"]["lastTransitionTime"],
        json!({ "type": "string", "format": "date-time" })
    );
}

#[test]
fn the_schema_says_what_the_types_and_their_attributes_say() {
    let schema =
        &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(schema["required"], json!(["hostName", "max", "min"]));
    assert_eq!(
        schema["x-kubernetes-validations"],
        json!([
            { "rule": "self.min <= self.max", "message": "min must not be above max" },
            { "rule": "has(self.class) == has(oldSelf.class)", "message": "class cannot be added or removed later" },
        ])
    );
    let integer = |min: i64, max: i64| json!({ "type": "integer", "format": "int32", "minimum": min, "maximum": max });
    for (field, expected) in [
        (
            "hostName",
            json!({ "type": "string", "minLength": 1, "maxLength": 20,
                "x-kubernetes-validations": [{ "rule": "self == oldSelf", "message": "cannot be changed" }] }),
        ),
        (
            "tier",
            json!({ "type": "string", "enum": ["front-end", "back", "other"] }),
        ),
        ("min", integer(-3, 9)),
        ("max", integer(0, 255)),
        ("share", json!({ "type": "number" })),
        ("paused", json!({ "type": "boolean" })),
        (
            "extra",
            json!({ "x-kubernetes-preserve-unknown-fields": true }),
        ),
        (
            "labels",
            json!({ "type": "object", "additionalProperties": { "type": "object", "required": ["text"],
                "properties": { "text": { "type": "string", "pattern": r"^\S([\s\S]*\S)?$" } } } }),
        ),
        (
            "listeners",
            json!({
                "type": "array", "description": "Where it listens.", "minItems": 0, "maxItems": 3,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "x-kubernetes-validations": [
                    { "rule": "self.all(a, self.exists_one(b, b.port == a.port))",
                      "message": "port must differ from item to item" },
                    { "rule": "self.all(a, !has(a.alias) || self.exists_one(b, has(b.alias) && b.alias == a.alias))",
                      "message": "alias must differ from item to item" },
                ],
                "items": { "type": "object", "required": ["name", "port"], "properties": {
                    "name": { "type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" },
                    "port": integer(0, 65_535),
                    "alias": { "type": "string" },
                } },
            }),
        ),
    ] {
        assert_eq!(schema["properties"][field], expected, "{field}");
    }
}

fn site(path: &str, value: Value) -> Result<(), HookError> {
    let mut cr = json!({
        "apiVersion": "example.com/v1",
        "kind": "Site",
        "metadata": { "name": "site" },
        "spec": { "hostName": "a.b", "min": 1, "max": 2, "share": 0, "listeners": [
            { "name": "a", "port": 1, "alias": "x" }, { "name": "b", "port": 2 },
        ], "labels": { "a": { "text": "t" } } },
    });
    let slot = path
        .rsplit_once('/')
        .and_then(|(parent, key)| match cr.pointer_mut(parent) {
            Some(Value::Array(list)) => Some(&mut list[key.parse::<usize>().unwrap()]),
            Some(parent) => Some(&mut parent[key]),
            None => None,
        });
    *slot.unwrap() = value;
    Situation::new(cr).decide::<Site>().map(|_| ())
}

#[test]
fn what_the_api_server_would_refuse_is_invalid_with_its_path() {
    site("/spec/paused", json!(true)).unwrap();
    site("/spec/min", json!(-3)).unwrap();
    for (path, value, expected) in [
        (
            "/metadata/name",
            json!("Site"),
            "metadata.name: `Site` is no DNS-1123 label",
        ),
        ("/metadata/name", json!("a".repeat(64)), "metadata.name: "),
        (
            "/spec/min",
            json!(-4),
            "spec.min: -4 is out of range: -3 to 9",
        ),
        (
            "/spec/min",
            json!(10),
            "spec.min: 10 is out of range: -3 to 9",
        ),
        (
            "/spec/max",
            json!(256),
            "spec.max: invalid value: integer `256`",
        ),
        ("/spec/hostName", json!(""), "spec.hostName: is empty"),
        (
            "/spec/hostName",
            json!("ä".repeat(21)),
            "spec.hostName: has 21 characters: at most 20",
        ),
        (
            "/spec/tier",
            json!("FrontEnd"),
            "spec.tier: unknown variant",
        ),
        (
            "/spec/labels/a/text",
            json!(" t"),
            "spec.labels.a.text: is empty or has spaces around it",
        ),
        (
            "/spec/listeners/1/name",
            json!("-b"),
            "spec.listeners[1].name: `-b` is no DNS-1123 label",
        ),
        (
            "/spec/listeners/1/name",
            json!("a"),
            "spec.listeners[1].name: \"a\" is named twice",
        ),
        (
            "/spec/listeners/1/port",
            json!(1),
            "spec.listeners[1].port: 1 is named twice",
        ),
        (
            "/spec/listeners/1/alias",
            json!("x"),
            "spec.listeners[1].alias: \"x\" is named twice",
        ),
        (
            "/spec/listeners",
            json!([1, 2, 3, 4].map(|n| json!({ "name": format!("n{n}"), "port": n }))),
            "spec.listeners: has 4 items: at most 3",
        ),
    ] {
        match site(path, value.clone()) {
            Err(HookError::Invalid(message)) => {
                assert!(message.starts_with(expected), "{path} = {value}: {message}");
            }
            other => panic!("{path} = {value}: {other:?}"),
        }
    }
}
