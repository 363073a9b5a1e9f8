//! Statements of plans: what they ask for comes and goes with their rows.

use crate::scene::{SOON, Scene};
use anyhow::Result;
use kybern_testcluster::{Object, Progress, guest, until};
use serde_json::{Value, json};

/// The registration of Runbook with all that it asks for.
pub(crate) fn runbook(scene: &Scene) -> Result<Value> {
    let cluster = |group: &str, kinds: &[&str], verbs: &[&str]| json!({ "group": group, "kinds": kinds, "verbs": verbs, "scope": "Cluster" });
    let read =
        |group: &str, kinds: &[&str]| json!({ "group": group, "kinds": kinds, "scope": "Cluster" });
    Ok(json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
        "metadata": { "name": scene.namespace },
        "spec": {
            "class": scene.class,
            "resources": [{
                "group": "ops.example.com", "version": "v1", "kind": "Runbook",
                "selector": { "matchLabels": { "corner": scene.namespace } },
            }],
            "source": { "file": guest("runbook")? },
            "grants": {
                "read": [
                    read("", &["ConfigMap", "Node", "Pod"]),
                    read("apps", &["Deployment", "ReplicaSet"]),
                ],
                "write": [
                    cluster("", &["ConfigMap"], &["apply", "patch", "delete"]),
                    cluster("", &["Node"], &["patch"]),
                    cluster("apps", &["Deployment"], &["patch"]),
                ],
            },
        },
    }))
}

/// A host with it.
fn with_runbook(name: &str) -> Result<Scene> {
    let mut scene = Scene::new(name)?;
    let registration = runbook(&scene)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host_everywhere(&[])?;
    scene.register(&registration)?;
    Ok(scene)
}

/// The Runbook with these statements.
fn plan(scene: &Scene, statements: &[Value]) -> Result<Object> {
    let manifest = json!({
        "apiVersion": "ops.example.com/v1", "kind": "Runbook",
        "metadata": {
            "name": "it", "namespace": scene.namespace, "labels": { "corner": scene.namespace },
        },
        "spec": { "statements": statements },
    });
    let object = Object::of(&manifest)?;
    match scene.client().find(&object)? {
        Some(_) => {
            let spec = json!({ "spec": { "statements": statements } });
            scene.client().merge_patch(&object, &spec)?
        }
        None => scene.client().create(&manifest)?,
    };
    Ok(object)
}

fn configmap(scene: &Scene, name: &str, want: &str) -> Result<Object> {
    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": scene.namespace, "name": name, "labels": { "want": want } },
        "data": { "theirs": name },
    });
    scene.client().create(&manifest)?;
    Object::of(&manifest)
}

fn want(scene: &Scene, object: &Object, want: &str) -> Result<()> {
    let patch = json!({ "metadata": { "labels": { "want": want } } });
    scene.client().merge_patch(object, &patch)?;
    Ok(())
}

fn marked(scene: &Scene, object: &Object, mark: Value) -> Result<Value> {
    scene.wait(object, |object| object["data"]["marked"] == mark)
}

fn sql(statement: &str, params: Value) -> Value {
    json!({ "sql": statement, "params": params })
}

#[test]
fn an_update_of_a_plan_comes_and_goes_with_its_rows() -> Result<()> {
    let mut scene = with_runbook("plansql")?;
    let (a, b) = (
        configmap(&scene, "a", "yes")?,
        configmap(&scene, "b", "no")?,
    );
    let statement = |mark: &str| {
        let text = "UPDATE configmaps SET data['marked'] = $1 WHERE labels['want'] = 'yes' AND namespace = $2";
        let labelled =
            "UPDATE configmaps SET labels['by'] = 'plan' WHERE name = 'a' AND namespace = $1";
        [
            sql(text, json!([mark, scene.namespace])),
            sql(labelled, json!([scene.namespace])),
        ]
    };
    let resource = plan(&scene, &statement("one"))?;
    let live = marked(&scene, &a, json!("one"))?;
    assert_eq!(live["metadata"]["labels"]["by"], "plan", "{live}");
    // A row that begins to match, and one that ends to.
    want(&scene, &b, "yes")?;
    marked(&scene, &b, json!("one"))?;
    want(&scene, &a, "no")?;
    let live = marked(&scene, &a, Value::Null)?;
    assert_eq!(live["data"]["theirs"], "a");
    // Somebody else's hand is put right.
    scene
        .client()
        .merge_patch(&b, &json!({ "data": { "marked": null } }))?;
    marked(&scene, &b, json!("one"))?;
    plan(&scene, &statement("two"))?;
    marked(&scene, &b, json!("two"))?;
    scene.converged()?;
    let before = [scene.client().get(&a)?, scene.client().get(&b)?];
    scene.kill_host();
    scene.start_host_everywhere(&[])?;
    scene.converged()?;
    let after = [scene.client().get(&a)?, scene.client().get(&b)?];
    assert_eq!(after, before, "not a write too many");
    scene.client().delete(&resource)?;
    scene.client().wait_gone(&resource, SOON)?;
    marked(&scene, &b, Value::Null)?;
    Ok(())
}

#[test]
fn an_insert_of_a_plan_is_a_child_for_each_row() -> Result<()> {
    let scene = with_runbook("planinsert")?;
    let a = configmap(&scene, "a", "yes")?;
    let statement = "INSERT INTO configmaps (namespace, name, data['of']) \
         SELECT namespace, name || '-copy', name FROM configmaps WHERE labels['want'] = 'yes' AND namespace = $1";
    let resource = plan(&scene, &[sql(statement, json!([scene.namespace]))])?;
    let copy = scene.object("v1", "ConfigMap", "a-copy");
    let live = scene.wait(&copy, |copy| copy["data"]["of"] == "a")?;
    assert_eq!(
        live["metadata"]["ownerReferences"][0]["name"], "it",
        "{live}"
    );
    want(&scene, &a, "no")?;
    scene.client().wait_gone(&copy, SOON)?;
    scene.client().delete(&resource)?;
    scene.client().wait_gone(&resource, SOON)?;
    Ok(())
}

#[test]
fn a_statement_that_a_plan_may_not_have_is_named_and_nothing_is_written() -> Result<()> {
    let scene = with_runbook("planrefused")?;
    let a = configmap(&scene, "a", "yes")?;
    let cases = [
        (
            "UPDATE configmaps SET data['marked'] = 'x' WHERE data['marked'] IS NULL",
            "reads data.marked, which it sets",
        ),
        (
            "UPDATE configmaps SET data['n'] = data['n'] || '1' WHERE name = 'a'",
            "reads data.n, which it sets",
        ),
        (
            "UPDATE configmaps SET data['n'] = 'x' WHERE object IS NOT NULL",
            "reads whole objects or their versions",
        ),
        (
            "UPDATE configmaps SET data['n'] = NULL WHERE name = 'a'",
            "is set to NULL",
        ),
        (
            "UPDATE configmaps SET metadata.finalizers[0] = 'x' WHERE name = 'a'",
            "is an element of a list",
        ),
        (
            "UPDATE secrets SET data['n'] = 'eA==' WHERE name = 'a'",
            "there is no table secrets",
        ),
        (
            "UPDATE configmaps SET data['n'] = 'x' WHERE name IN (SELECT name FROM secrets)",
            "there is no table secrets",
        ),
        (
            "DRY RUN UPDATE configmaps SET data['n'] = 'x' WHERE name = 'a'",
            "leave out DRY RUN and EXPLAIN",
        ),
        (
            "UPDATE configmaps SET data['n'] = 'x' WHERE name = 'a' RETURNING name",
            "leave out RETURNING",
        ),
        (
            "UPDATE configmaps SET data['n'] = now()::text WHERE name = 'a'",
            "calls now()",
        ),
        (
            "UPDATE configmaps SET data['n'] = 'x'",
            "without WHERE would be about every object",
        ),
        (
            "SELECT name FROM configmaps",
            "UPDATE, DELETE, INSERT or APPLY must stand here",
        ),
    ];
    let before = scene.client().get(&a)?;
    for (statement, words) in cases {
        let resource = plan(&scene, &[sql(statement, json!([]))])?;
        scene.wait(&resource, |object| {
            let conditions = object["status"]["conditions"].to_string();
            conditions.contains(words) && conditions.contains("of action 0 (sql)")
        })?;
    }
    let both = [
        sql(
            "UPDATE configmaps SET data['n'] = 'x' WHERE name = 'a'",
            json!([]),
        ),
        sql(
            "UPDATE configmaps SET data['n'] = 'y' WHERE name = 'a'",
            json!([]),
        ),
    ];
    let resource = plan(&scene, &both)?;
    scene.wait(&resource, |object| {
        let conditions = object["status"]["conditions"].to_string();
        conditions.contains("different values of data.n")
    })?;
    assert_eq!(scene.client().get(&a)?, before);
    Ok(())
}

/// A Deployment with a ReplicaSet and a Pod on a node, as its controllers would make them.
fn deployment(scene: &Scene, name: &str, node: &str) -> Result<Object> {
    let client = scene.client();
    let labels = json!({ "app": name });
    let template = json!({
        "metadata": { "labels": labels },
        "spec": { "containers": [{ "name": "a", "image": "a" }] },
    });
    let owned = |kind: &str, owner: &Value| {
        json!([{ "apiVersion": "apps/v1", "kind": kind, "controller": true,
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"] }])
    };
    let metadata = json!({ "name": name, "namespace": scene.namespace });
    // Who applies owns what is said, and nobody says how many replicas.
    let deployment = client.apply(
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": { "selector": { "matchLabels": labels }, "template": template },
        }),
        "somebody",
    )?;
    let set = client.create(&json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": { "name": name, "namespace": scene.namespace, "ownerReferences": owned("Deployment", &deployment) },
        "spec": { "selector": { "matchLabels": labels }, "template": template },
    }))?;
    client.create(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": labels, "ownerReferences": owned("ReplicaSet", &set) },
        "spec": { "nodeName": node, "containers": [{ "name": "a", "image": "a" }] },
    }))?;
    Object::of(&deployment)
}

#[test]
fn nodes_are_cordoned_and_what_runs_there_is_scaled_by_two_statements() -> Result<()> {
    let scene = with_runbook("plannodes")?;
    let client = scene.client();
    let nodes = ["one", "two"].map(|name| format!("{}-{name}", scene.namespace));
    for name in &nodes {
        client
            .create(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } }))?;
    }
    let node = |at: usize| Object::cluster("v1", "Node", &nodes[at]);
    let here = deployment(&scene, "here", &nodes[0])?;
    let elsewhere = deployment(&scene, "elsewhere", &nodes[1])?;
    let resource = plan(
        &scene,
        &[
            sql(
                "UPDATE nodes SET spec.unschedulable = true WHERE labels['maintenance'] = $1",
                json!([scene.namespace]),
            ),
            sql(
                "UPDATE deployments d SET spec.replicas = 2 \
                 FROM replicasets r JOIN pods p ON p.owner_uid = r.uid JOIN nodes n ON n.name = p.spec.nodeName \
                 WHERE r.owner_uid = d.uid AND n.labels['maintenance'] = $1",
                json!([scene.namespace]),
            ),
        ],
    )?;
    let mark = |at: usize, value: Value| -> Result<()> {
        client.merge_patch(
            &node(at),
            &json!({ "metadata": { "labels": { "maintenance": value } } }),
        )?;
        Ok(())
    };
    mark(0, json!(scene.namespace))?;
    scene.wait(&node(0), |node| node["spec"]["unschedulable"] == true)?;
    scene.wait(&here, |deployment| deployment["spec"]["replicas"] == 2)?;
    scene.converged()?;
    assert_eq!(client.get(&elsewhere)?["spec"]["replicas"], 1);
    assert!(client.get(&node(1))?["spec"].get("unschedulable").is_none());
    // The node is well again: it is as it was before.
    mark(0, Value::Null)?;
    scene.wait(&node(0), |node| node["spec"].get("unschedulable").is_none())?;
    scene.wait(&here, |deployment| deployment["spec"]["replicas"] == 1)?;
    client.delete(&resource)?;
    client.wait_gone(&resource, SOON)?;
    for at in [0, 1] {
        client.delete(&node(at))?;
    }
    Ok(())
}

/// A statement about the ConfigMap of its own name, `$1` in namespace `$2`.
struct Kind {
    name: &'static str,
    text: &'static str,
    verb: &'static str,
}

/// Every kind of statement, and every way to name what it is about.
const KINDS: [Kind; 12] = [
    Kind {
        name: "update",
        text: "UPDATE configmaps SET data['did'] = 'it' WHERE name = $1 AND namespace = $2",
        verb: "patch",
    },
    Kind {
        name: "update-schema",
        text: "UPDATE core.configmaps SET data['did'] = 'it' WHERE name = $1 AND namespace = $2",
        verb: "patch",
    },
    Kind {
        name: "update-quoted",
        text: r#"UPDATE "core"."configmaps" AS "c" SET data['did'] = 'it' WHERE "c".name = $1 AND namespace = $2"#,
        verb: "patch",
    },
    Kind {
        name: "update-from",
        text: "UPDATE configmaps c SET data['did'] = 'it' FROM configmaps o WHERE o.uid = c.uid AND c.name = $1 AND o.namespace = $2",
        verb: "patch",
    },
    Kind {
        name: "update-with",
        text: "WITH w AS (SELECT uid FROM configmaps WHERE name = $1) UPDATE configmaps SET data['did'] = 'it' WHERE uid IN (SELECT uid FROM w) AND namespace = $2",
        verb: "patch",
    },
    Kind {
        name: "delete",
        text: "DELETE FROM configmaps WHERE name = $1 AND namespace = $2",
        verb: "delete",
    },
    Kind {
        name: "delete-schema",
        text: "DELETE FROM core.configmaps AS c WHERE c.name = $1 AND namespace = $2",
        verb: "delete",
    },
    Kind {
        name: "delete-using",
        text: "DELETE FROM configmaps c USING configmaps o WHERE o.uid = c.uid AND o.name = $1 AND c.namespace = $2",
        verb: "delete",
    },
    Kind {
        name: "insert",
        text: "INSERT INTO configmaps (name, namespace, data['did']) VALUES ($1 || '-new', $2, 'it')",
        verb: "apply",
    },
    Kind {
        name: "insert-schema",
        text: "INSERT INTO core.configmaps (name, namespace, data['did']) SELECT name || '-new', namespace, 'it' FROM configmaps WHERE name = $1 AND namespace = $2",
        verb: "apply",
    },
    Kind {
        name: "apply",
        text: r#"APPLY SELECT '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "' || name || '-new"}, "data": {"did": "it"}}' FROM configmaps WHERE name = $1 AND namespace = $2"#,
        verb: "apply",
    },
    Kind {
        name: "apply-values",
        text: r#"APPLY VALUES ('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "' || $1 || '-new", "namespace": "' || $2 || '"}, "data": {"did": "it"}}')"#,
        verb: "apply",
    },
];

#[test]
fn every_kind_of_statement_needs_its_grant_however_it_names_its_target() -> Result<()> {
    let mut scene = Scene::new("plangrants")?;
    let mut registration = runbook(&scene)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host_everywhere(&[])?;
    // Of the verbs, and of the namespace of the resource or of none that it can name.
    let verbs: [&[&str]; 5] = [
        &[],
        &["patch"],
        &["delete"],
        &["apply"],
        &["patch", "delete", "apply"],
    ];
    let elsewhere = json!({ "Namespaces": ["elsewhere"] });
    let profiles = verbs.map(|verbs| (verbs, json!("Own"))).into_iter();
    let profiles = profiles.chain([(verbs[4], elsewhere)]);
    let mut plugin = None;
    for (at, (verbs, scope)) in profiles.enumerate() {
        let inside = scope == "Own";
        let grant = json!({ "group": "", "kinds": ["ConfigMap"], "verbs": verbs, "scope": scope });
        let grants = if verbs.is_empty() {
            vec![]
        } else {
            vec![grant]
        };
        registration["spec"]["grants"]["write"] = grants.into();
        let plugin = match &plugin {
            // The host's own rights stay those of the whole registration.
            None => {
                scene.client().create(&registration)?;
                plugin.insert(Object::of(&registration)?)
            }
            Some(plugin) => {
                let spec = json!({ "spec": { "grants": registration["spec"]["grants"] } });
                scene.client().merge_patch(plugin, &spec)?;
                plugin
            }
        };
        scene.wait(plugin, |plugin| {
            let conditions = plugin["status"]["conditions"].as_array();
            let ready = conditions
                .into_iter()
                .flatten()
                .find(|c| c["type"] == "Ready");
            ready.is_some_and(|ready| {
                ready["status"] == "True"
                    && ready["observedGeneration"] == plugin["metadata"]["generation"]
            })
        })?;
        let mut runs = Vec::new();
        for kind in &KINDS {
            let name = format!("{}-{at}", kind.name);
            let target = configmap(&scene, &name, "no")?;
            let text = sql(kind.text, json!([name, scene.namespace]));
            let resource = json!({
                "apiVersion": "ops.example.com/v1", "kind": "Runbook",
                "metadata": {
                    "name": name, "namespace": scene.namespace, "labels": { "corner": scene.namespace },
                },
                "spec": { "statements": [text] },
            });
            scene.client().create(&resource)?;
            runs.push((kind, name, target, Object::of(&resource)?));
        }
        for (kind, name, target, resource) in &runs {
            let allowed = inside && verbs.contains(&kind.verb);
            let what = format!("{name} with {verbs:?} and {scope}");
            let new = scene.object("v1", "ConfigMap", &format!("{name}-new"));
            let did = || -> Result<bool> {
                let (found, new) = (scene.client().find(target)?, scene.client().find(&new)?);
                Ok(match kind.verb {
                    "patch" => found.is_some_and(|o| o["data"]["did"] == "it"),
                    "delete" => found.is_none(),
                    _ => new.is_some_and(|o| o["data"]["did"] == "it"),
                })
            };
            // A first pass may be before the watch brought the target: it has nothing to do.
            if allowed {
                until(&what, SOON, || {
                    Ok(match did()? {
                        true => Progress::Done(()),
                        false => Progress::Waiting(format!("{:?}", scene.client().find(resource)?)),
                    })
                })?;
            }
            let live = scene.wait(resource, |resource| {
                let conditions = resource["status"]["conditions"].as_array();
                let mut ready = conditions.into_iter().flatten();
                ready.any(|c| c["type"] == "Ready" && (c["status"] == "True") == allowed)
            });
            let live = live.map_err(|error| error.context(what.clone()))?;
            assert_eq!(did()?, allowed, "{what}: {live}");
            let told = live["status"]["conditions"].to_string();
            assert_eq!(told.contains("ConfigMap"), !allowed, "{what}: {told}");
        }
        for (_, _, _, resource) in &runs {
            scene.client().delete(resource)?;
            scene.client().wait_gone(resource, SOON)?;
        }
    }
    Ok(())
}
