//! Each kind of finding, from a manifest that has just that fault.

use super::super::tables::Tables;
use super::*;
use kybern_plugin::{Import, LoadError, Offer};
use serde_json::{Value, json};

/// A manifest without faults.
fn manifest() -> Value {
    json!({
        "name": "web", "version": "1.0.0", "world": kybern_interface::WORLD,
        "resources": [{ "group": "example.com", "version": "v1", "kind": "Web" }],
        "queries": [{
            "name": "pods",
            "sql": "SELECT name, spec.nodeName AS node FROM pods WHERE namespace = $1",
            "params": ["metadata.namespace"],
        }],
        "reads": [{ "version": "v1", "kind": "Pod" }],
        "writes": [{ "group": "apps", "version": "v1", "kind": "Deployment", "verbs": ["apply"] }],
        "crds": [{ "kind": "CustomResourceDefinition", "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "kind": "Web", "plural": "webs" },
            "versions": [{ "name": "v1", "served": true, "schema": { "openAPIV3Schema": {
                "type": "object",
                "properties": { "spec": { "type": "object", "properties": {
                    "size": { "type": "integer", "description": "How many." },
                } } },
            } } }],
        } }],
    })
}

fn of_version_2() -> LoadError {
    LoadError::World {
        found: "kybern:operator@0.2.0".to_owned(),
        offered: kybern_interface::PACKAGE,
    }
}

/// What is found in a manifest with one change, beside hooks and imports: `severity code place`.
async fn found_with(
    hooks: &[&str],
    imports: Vec<Import>,
    change: impl FnOnce(&mut Value),
) -> Vec<Finding> {
    let mut document = manifest();
    change(&mut document);
    let manifest = serde_json::from_value::<Manifest>(document.clone());
    let outline = Outline {
        imports,
        exports: hooks
            .iter()
            .map(|hook| format!("kybern:operator/{hook}@0.1.0"))
            .collect(),
        document: Some(document),
        manifest: manifest.map_err(|error| LoadError::Manifest {
            reason: error.to_string(),
        }),
        refused: None,
    };
    let component = Component {
        files: None,
        interpreter: Default::default(),
        path: "web.wasm".into(),
        bytes: Vec::new(),
        digest: String::new(),
    };
    let mut found = shape::findings(&component, &outline);
    if let Ok(manifest) = &outline.manifest {
        found.extend(manifest::findings(manifest, &outline));
        let tables = Tables::of(manifest).unwrap();
        found.extend(
            queries::findings(manifest, &outline, &tables)
                .await
                .unwrap(),
        );
    }
    found
}

async fn found(change: impl FnOnce(&mut Value)) -> Vec<String> {
    short(&found_with(&["decide"], Vec::new(), change).await)
}

fn short(found: &[Finding]) -> Vec<String> {
    let line =
        |finding: &Finding| format!("{:?} {} {}", finding.severity, finding.code, finding.place);
    found.iter().map(line).collect()
}

#[tokio::test]
async fn a_good_plugin_has_no_findings() {
    assert_eq!(found(|_| ()).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_word_that_nobody_knows_is_told_what_it_may_mean() {
    let all = found_with(&["decide"], Vec::new(), |m| {
        m["capabilities"] = json!([{ "name": "htttp", "reason": "x" }]);
        m["writes"][0]["verbs"] = json!(["aply"]);
    })
    .await;
    assert_eq!(
        short(&all),
        [
            "Error unknown-capability capabilities[0].name",
            "Error unknown-verb writes[0].verbs"
        ]
    );
    assert_eq!(all[0].cure, "did you mean http?");
    assert_eq!(all[1].cure, "did you mean apply?");
    let other = found(|m| m["reads"] = json!([{ "version": "v1" }])).await;
    assert_eq!(other, ["Error manifest manifest"]);
}

#[test]
fn another_version_is_told_once_though_binary_and_manifest_say_it() {
    let found_for = |refused: Option<LoadError>| {
        let outline = Outline {
            imports: Vec::new(),
            exports: vec!["kybern:operator/decide@0.2.0".to_owned()],
            document: None,
            manifest: Err(of_version_2()),
            refused,
        };
        let component = Component {
            files: None,
            interpreter: Default::default(),
            path: "web.wasm".into(),
            bytes: Vec::new(),
            digest: String::new(),
        };
        short(&shape::findings(&component, &outline))
    };
    assert_eq!(found_for(None), ["Error world manifest"]);
    assert_eq!(found_for(Some(of_version_2())), ["Error world manifest"]);
}

#[tokio::test]
async fn hooks_and_imports_fit_the_manifest() {
    let import = |name: &str, offer| Import {
        name: name.into(),
        offer,
    };
    let wasi = import(
        "wasi:http/types@0.2.6",
        Offer::Nothing {
            cure: "build it otherwise",
        },
    );
    let found = found_with(&[], vec![wasi], |_| ()).await;
    assert_eq!(
        short(&found),
        [
            "Error wasi-import wasi:http/types@0.2.6",
            "Error no-decide exports"
        ]
    );
    let linked = |name| import(name, Offer::Wasi { given: "nothing" });
    let wasi = vec![
        linked("wasi:io/streams@0.2.6"),
        linked("wasi:cli/stdin@0.2.6"),
        linked("wasi:io/poll@0.2.6"),
    ];
    let found = found_with(&["decide"], wasi, |_| ()).await;
    assert_eq!(short(&found), ["Warning wasi wasi:cli, wasi:io"]);
    let effects =
        |m: &mut Value| m["effects"] = json!([{ "name": "mail", "description": "mails" }]);
    let found = found_with(&["decide"], Vec::new(), effects).await;
    assert_eq!(short(&found), ["Error effect-without-act effects"]);
    let found = found_with(&["decide", "act"], Vec::new(), |_| ()).await;
    assert_eq!(short(&found), ["Warning act-without-effect effects"]);
    let http = |m: &mut Value| {
        effects(m);
        m["capabilities"] = json!([{ "name": "http", "reason": "" }]);
    };
    let found = found_with(&["decide", "act"], Vec::new(), http).await;
    assert_eq!(
        short(&found),
        [
            "Warning unused-capability capabilities[0]",
            "Warning no-description capabilities[0].reason"
        ]
    );
}

#[tokio::test]
async fn kinds_do_not_contradict_each_other() {
    for (change, expected) in [
        (json!({ "resources": [] }), "Error no-resource resources"),
        (
            json!({ "resources": [{ "group": "example.com", "version": "v2", "kind": "Web" }] }),
            "Error version-not-served resources[0]",
        ),
        (
            json!({ "reads": [{ "version": "v1", "kind": "Pod" }, { "version": "v1", "kind": "Pod" }] }),
            "Warning duplicate reads[1]",
        ),
        (
            json!({ "writes": [{ "version": "v2", "kind": "Pod", "verbs": ["delete"] }] }),
            "Error two-versions writes[0]",
        ),
        (
            json!({ "writes": [{ "version": "v1", "kind": "Pod", "verbs": [] }] }),
            "Error write-nothing writes[0]",
        ),
        (
            json!({ "writes": [{ "group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role", "verbs": ["apply"] }] }),
            "Error never-granted writes",
        ),
        (
            json!({ "settingsSchema": { "type": 7 } }),
            "Error settings-schema settingsSchema",
        ),
        (
            json!({ "reads": [{ "version": "v1", "kind": "Pod" }, { "version": "v1", "kind": "Node" }] }),
            "Warning unused-read reads[1]",
        ),
    ] {
        let merge = |m: &mut Value| {
            m.as_object_mut()
                .unwrap()
                .extend(change.as_object().cloned().unwrap());
        };
        assert_eq!(found(merge).await, [expected]);
    }
}

#[tokio::test]
async fn queries_can_be_answered_and_read_what_they_need() {
    for (sql, params, expected) in [
        (
            "SELECT name FROM pods",
            0,
            "Warning reads-whole-table queries.pods",
        ),
        (
            "SELECT name FROM pods WHERE spec.nodeName <> $1",
            1,
            "Warning reads-whole-table queries.pods",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1",
            0,
            "Error query-params queries.pods",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1",
            2,
            "Warning query-params queries.pods",
        ),
        (
            "SELECT name FROM pods WHERE namespace = $1 LIMIT 1",
            1,
            "Error query-unfit queries.pods",
        ),
        (
            "SELECT nmae FROM pods WHERE namespace = $1",
            1,
            "Error query-refused queries.pods",
        ),
    ] {
        let change = |m: &mut Value| {
            m["queries"][0]["sql"] = json!(sql);
            m["queries"][0]["params"] = json!(vec!["metadata.namespace"; params]);
        };
        assert_eq!(found(change).await, [expected], "{sql}");
    }
    let other = |m: &mut Value| {
        m["queries"][0]["sql"] = json!("SELECT name FROM services WHERE namespace = $1")
    };
    assert_eq!(
        found(other).await,
        [
            "Error query-without-read queries.pods",
            "Warning unused-read reads[0]"
        ]
    );
    let joined = "SELECT p.name FROM pods p JOIN apps.replicasets r ON p.owner_uid = r.uid WHERE r.owner_uid = $1";
    let join = |m: &mut Value| {
        m["queries"][0]["sql"] = json!(joined);
        m["reads"] = json!([{ "version": "v1", "kind": "Pod" }, { "group": "apps", "version": "v1", "kind": "ReplicaSet" }]);
    };
    assert_eq!(found(join).await, Vec::<String>::new());
    let elsewhere = |m: &mut Value| {
        m["queries"][0]["sql"] = json!("SELECT name FROM gadgets WHERE namespace = $1");
        m["reads"] = json!([{ "group": "g.example.com", "version": "v1", "kind": "Gadget" }]);
    };
    assert_eq!(
        found(elsewhere).await,
        ["Warning query-unchecked queries.pods"]
    );
}

#[tokio::test]
async fn what_people_are_not_told_is_named() {
    let silent = |m: &mut Value| {
        let spec = "/crds/0/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        *m.pointer_mut(spec).unwrap() = json!({ "ports": {
            "type": "array", "description": "d", "items": { "type": "object", "properties": { "port": {} } },
        } });
    };
    let found = found_with(&["decide"], Vec::new(), silent).await;
    assert_eq!(short(&found), ["Warning no-description crds[0]"]);
    assert!(
        found[0].message.contains("spec.ports[].port"),
        "{}",
        found[0].message
    );
}
