//! What a field set says about intents and live objects.

use super::*;
use serde_json::json;

fn deployment_entry() -> FieldSet {
    FieldSet::parse(&json!({
        "f:metadata": {
            "f:labels": { ".": {}, "f:app": {} },
            "f:ownerReferences": { ".": {}, "k:{\"uid\":\"u1\"}": {} },
            "f:finalizers": { ".": {}, "v:\"a/b\"": {} },
        },
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": { "f:spec": { "f:containers": {
                "k:{\"name\":\"web\"}": {
                    ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:resources": {},
                    "f:ports": {
                        ".": {},
                        "k:{\"containerPort\":53,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {}, "f:protocol": {} },
                        "k:{\"containerPort\":53,\"protocol\":\"UDP\"}": { ".": {}, "f:containerPort": {}, "f:protocol": {} },
                    },
                },
            } } },
        },
    }))
}

fn intent() -> Value {
    json!({
        "metadata": {
            "labels": { "app": "x" },
            "ownerReferences": [{ "uid": "u1", "kind": "A", "name": "a" }],
            "finalizers": ["a/b"],
        },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "x" } },
            "template": { "spec": { "containers": [{
                "name": "web", "image": "i:1", "args": ["-v"], "resources": {},
                "ports": [{ "containerPort": 53 }, { "containerPort": 53, "protocol": "UDP" }],
            }] } },
        },
    })
}

#[test]
fn a_rendered_set_reads_back_as_itself() {
    let set = deployment_entry();
    assert_eq!(FieldSet::parse(&set.render()), set);
}

#[test]
fn an_entry_covers_the_intent_it_came_from() {
    let cover = deployment_entry().cover(&intent(), &json!({}));
    assert_eq!(cover.missing, Vec::<String>::new());
}

#[test]
fn a_field_that_another_manager_took_is_missing() {
    let mut entry = deployment_entry().render();
    entry["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"web\"}"]
        .as_object_mut()
        .unwrap()
        .remove("f:image");
    let cover = FieldSet::parse(&entry).cover(&intent(), &json!({}));
    assert_eq!(
        cover.missing,
        ["spec.template.spec.containers[k:{\"name\":\"web\"}].image"]
    );
}

#[test]
fn an_item_that_leaves_a_key_to_its_default_finds_its_own_place() {
    // Both orders: the spelled-out UDP item must not be taken by the short one.
    for ports in [
        json!([{ "containerPort": 53 }, { "containerPort": 53, "protocol": "UDP" }]),
        json!([{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 53 }]),
        json!([{ "containerPort": 53, "protocol": "TCP" }, { "containerPort": 53 }]),
    ] {
        let mut intent = intent();
        intent["spec"]["template"]["spec"]["containers"][0]["ports"] = ports;
        let cover = deployment_entry().cover(&intent, &json!({}));
        assert_eq!(cover.missing, Vec::<String>::new());
    }
    let mut intent = intent();
    intent["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 54 }]);
    assert_eq!(
        deployment_entry().cover(&intent, &json!({})).missing.len(),
        1
    );
}

#[test]
fn defaults_and_foreign_fields_are_outside_of_the_selected_values() {
    let cover = deployment_entry().cover(&intent(), &json!({}));
    let live = intent();
    let before = cover.shape.select(&live);

    let mut later = live.clone();
    later["metadata"]["labels"]["foreign"] = json!("y");
    later["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    later["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] = json!("TCP");
    later["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({ "name": "sidecar" }));
    // The defaulted protocol is part of the port's key, so the values before had none.
    let mut defaulted = live.clone();
    defaulted["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] = json!("TCP");
    assert_ne!(cover.shape.select(&defaulted), before);
    assert_eq!(cover.shape.select(&later), cover.shape.select(&defaulted));

    let mut drifted = later.clone();
    drifted["spec"]["template"]["spec"]["containers"][1]["image"] = json!("i:2");
    assert_ne!(cover.shape.select(&later), cover.shape.select(&drifted));
    let mut longer = later.clone();
    longer["spec"]["template"]["spec"]["containers"][1]["args"] = json!(["-v", "-x"]);
    assert_ne!(cover.shape.select(&later), cover.shape.select(&longer));
}

#[test]
fn extract_gives_back_what_the_manager_applied() {
    let mut live = intent();
    live["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] = json!("TCP");
    let mut with_foreign = live.clone();
    with_foreign["metadata"]["labels"]["foreign"] = json!("y");
    with_foreign["metadata"]["finalizers"] = json!(["a/b", "c/d"]);
    with_foreign["status"] = json!({ "replicas": 1 });
    assert_eq!(deployment_entry().extract(&with_foreign), live);
}

#[test]
fn beyond_names_what_only_one_has() {
    let entry = deployment_entry();
    let mut intent = intent();
    intent["spec"].as_object_mut().unwrap().remove("replicas");
    let shape = entry.cover(&intent, &json!({})).shape;
    assert!(entry.beyond(&shape).contains(&"spec.replicas".to_owned()));
    assert_eq!(shape.beyond(&entry), Vec::<String>::new());
}

#[test]
fn a_path_below_a_whole_value_is_owned_with_it() {
    let entry = deployment_entry();
    let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    assert!(entry.has_path(&path("spec.replicas")));
    assert!(entry.has_path(&path("spec.selector.matchLabels")));
    assert!(entry.has_path(&path("spec.template")));
    assert!(!entry.has_path(&path("spec.paused")));
}

#[test]
fn a_zero_value_that_the_server_drops_counts_as_ours() {
    let entry = FieldSet::parse(&json!({ "f:spec": { "f:a": {}, "f:l": {
        "k:{\"name\":\"x\"}": { ".": {}, "f:name": {} },
    } } }));
    let intent = json!({ "spec": {
        "a": 1, "off": false, "none": 0, "empty": "", "list": [], "map": {},
        "l": [{ "name": "x", "value": "" }],
    } });
    let live = json!({ "spec": { "a": 1, "l": [{ "name": "x" }] } });
    assert_eq!(entry.cover(&intent, &live).missing, Vec::<String>::new());
    // Somebody set it: it is theirs.
    let live = json!({ "spec": { "a": 1, "off": true, "l": [{ "name": "x", "value": "y" }] } });
    let mut missing = entry.cover(&intent, &live).missing;
    missing.sort();
    assert_eq!(missing, ["spec.l[k:{\"name\":\"x\"}].value", "spec.off"]);
}
