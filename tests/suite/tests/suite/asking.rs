//! A running host is asked: what fails, what waits, what is wanted and what differs, and why a
//! resource is as it is; and no value of a Secret in any of it.

use crate::record::keeper;
use crate::scene::{SOON, Scene, failed, kybern};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, Progress, until};
use serde_json::{Value, json};

/// Kept in a record; it must not be seen anywhere.
const HIDDEN: &str = "not-to-be-shown";

/// A host with the guest that puts Deployments to sleep, and `--host=` with its socket.
pub(crate) fn asked(name: &str) -> Result<(Scene, String)> {
    let mut scene = Scene::new(name)?;
    let registration = keeper(&scene)?;
    scene.grant(std::slice::from_ref(&registration))?;
    let socket = socket(&scene);
    scene.start_host_with(&[&format!("--socket={socket}")])?;
    scene.register(&registration)?;
    Ok((scene, format!("--host={socket}")))
}

pub(crate) fn socket(scene: &Scene) -> String {
    let path = scene
        .plane
        .folder()
        .join(format!("{}.sock", scene.namespace));
    path.to_string_lossy().into_owned()
}

fn sleeper(scene: &Scene, name: &str) -> Result<Object> {
    let manifest = json!({
        "apiVersion": "keeper.example.com/v1", "kind": "Sleeper",
        "metadata": { "name": name, "namespace": scene.namespace },
        "spec": { "secret": HIDDEN },
    });
    scene.client().create(&manifest)?;
    Object::of(&manifest)
}

/// The rows of an answer.
fn rows(host: &str, statement: &str) -> Result<Vec<Value>> {
    let text = kybern(&["sql", host, "-o", "json", statement])?;
    Ok(serde_json::from_str(&text)?)
}

/// Waits for rows that are as expected.
pub(crate) fn wait(
    host: &str,
    statement: &str,
    is: impl Fn(&[Value]) -> bool,
) -> Result<Vec<Value>> {
    until(statement, SOON, || {
        let rows = rows(host, statement)?;
        Ok(if is(&rows) {
            Progress::Done(rows)
        } else {
            Progress::Waiting(format!("{rows:?}"))
        })
    })
}

#[test]
fn a_running_host_tells_what_fails_what_waits_and_what_is_wanted() -> Result<()> {
    let (scene, host) = asked("asked")?;
    let web = sleeper(&scene, "web")?;
    // A label's value may have 63 characters.
    let long = "l".repeat(64);
    sleeper(&scene, &long)?;
    let deployment = scene.object("apps/v1", "Deployment", "web");
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;
    let idle = json!({ "spec": { "idle": true } });
    scene.client().merge_patch(&web, &idle)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 0)?;

    let passes = "SELECT * FROM kybern.passes ORDER BY name";
    let found = wait(&host, passes, |rows| {
        rows.len() == 2 && rows[0]["failures"].as_i64() > Some(2) && rows[1]["ending"] != "failed"
    })?;
    let [failing, good] = &found[..] else {
        anyhow::bail!("{found:?}");
    };
    assert_eq!(failing["name"], long.as_str());
    assert_eq!(
        (&failing["ending"], &failing["kind"]),
        (&json!("failed"), &json!("Sleeper"))
    );
    assert_eq!(failing["api_version"], "keeper.example.com/v1");
    let message = failing["message"].as_str().context("a message")?;
    assert!(message.contains("63"), "{message}");
    assert_eq!(
        (&good["name"], &good["plugin"]),
        (&json!("web"), &json!(scene.namespace))
    );
    assert_eq!(good["message"], Value::Null);

    let queue = "SELECT name, state, priority, attempts, due_ms FROM kybern.queue ORDER BY name";
    let queue = wait(&host, queue, |rows| {
        rows.len() == 2 && rows[0]["state"] == "held" && rows[1]["state"] == "delayed"
    })?;
    assert_eq!(queue[0]["priority"], "retry");
    assert!(queue[0]["attempts"].as_i64() > Some(2), "{queue:?}");
    assert!(queue[0]["due_ms"].as_f64() >= Some(0.0), "{queue:?}");
    assert_eq!(
        (&queue[1]["priority"], &queue[1]["attempts"]),
        (&json!("resync"), &json!(0))
    );

    let desired =
        "SELECT name, object_kind, object_name, verdict FROM kybern.desired ORDER BY name";
    let desired = rows(&host, desired)?;
    let verdicts: Vec<&Value> = desired.iter().map(|row| &row["verdict"]).collect();
    assert_eq!(verdicts, ["create", "converged"], "{desired:?}");
    // Nothing is said of a resource whose pass is under way.
    let drift = wait(&host, "SELECT * FROM kybern.drift", |rows| !rows.is_empty())?;
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert_eq!(
        (&drift[0]["object_name"], &drift[0]["state"]),
        (&json!(long), &json!("missing"))
    );

    let plugins = rows(&host, "SELECT * FROM kybern.plugins")?;
    assert_eq!(plugins.len(), 1, "{plugins:?}");
    let [crs, failing] = ["crs", "failing"].map(|name| plugins[0][name].as_i64());
    assert_eq!((crs, failing), (Some(2), Some(1)));
    assert_eq!(
        (&plugins[0]["ready"], &plugins[0]["running"]),
        (&json!("True"), &json!(true))
    );
    // Of its hooks' calls, and of no trial.
    let meter = ["calls", "peak_memory_bytes", "rows_read"].map(|name| plugins[0][name].as_i64());
    assert!(meter.iter().all(|found| *found > Some(0)), "{plugins:?}");
    assert!(plugins[0]["cpu_ms"].as_f64() > Some(0.0), "{plugins:?}");
    assert_eq!(
        (&plugins[0]["traps"], &plugins[0]["trial_mode"]),
        (&json!(0), &Value::Null)
    );
    // The tables of the cluster are there beside.
    let joined = "SELECT p.name, d.spec.replicas AS replicas FROM kybern.passes p \
        JOIN deployments d ON d.namespace = p.namespace AND d.name = p.name";
    assert_eq!(
        rows(&host, joined)?,
        [json!({ "name": "web", "replicas": 0 })]
    );
    Ok(())
}

#[test]
fn the_row_that_made_a_pass_due_and_what_differs_are_named() -> Result<()> {
    let (scene, host) = asked("why")?;
    let web = sleeper(&scene, "web")?;
    let deployment = scene.object("apps/v1", "Deployment", "web");
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;
    scene.converged()?;
    scene.client().delete(&deployment)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;
    scene.converged()?;
    let whose = format!("{}/web", scene.namespace);
    let explain = || kybern(&["explain", &scene.namespace, &whose, &host]);
    let told = explain()?;
    let row = format!("Deployment {whose}");
    let trigger = told.lines().find(|line| line.contains("trigger: "));
    assert!(trigger.is_some_and(|line| line.contains(&row)), "{told}");
    for part in [
        &*format!("Sleeper {whose} of {}", scene.namespace),
        "ended: ",
        "  live: 1 rows, fingerprint ",
        &*format!("{row}: as intended"),
        "a pass is due in ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let statement = "SELECT row_kind, row_namespace, row_name, trigger_kind FROM kybern.passes";
    let passes = rows(&host, statement)?;
    assert_eq!(
        (&passes[0]["row_kind"], &passes[0]["row_name"]),
        (&json!("Deployment"), &json!("web")),
        "{passes:?}"
    );

    // What a paused resource may not put right.
    let pause = json!({ "metadata": { "annotations": { "kybern.dev/paused": "true" } } });
    scene.client().merge_patch(&web, &pause)?;
    wait(&host, "SELECT ending FROM kybern.passes", |rows| {
        rows[0]["ending"] == "paused"
    })?;
    let image = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "nginx:9" }]);
    scene.client().json_patch(&deployment, &image)?;
    let drift = wait(&host, "SELECT * FROM kybern.drift", |rows| !rows.is_empty())?;
    assert_eq!(
        (
            &drift[0]["object_kind"],
            &drift[0]["object_name"],
            &drift[0]["state"]
        ),
        (&json!("Deployment"), &json!("web"), &json!("changed"))
    );

    let told = explain()?;
    assert!(told.contains("ended: paused"), "{told}");
    assert!(
        told.contains(&format!("{row}: changed by others")),
        "{told}"
    );

    let (code, said) = failed(&["explain", &scene.namespace, "no/such", &host])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("no custom resource that"), "{said}");
    let (code, said) = failed(&["explain", "nobody", &whose, &host])?;
    assert_eq!(code, Some(1));
    assert!(
        said.contains(&format!("they are for: {}", scene.namespace)),
        "{said}"
    );
    Ok(())
}

#[test]
fn no_value_of_a_secret_is_told() -> Result<()> {
    let (scene, host) = asked("untold")?;
    let web = sleeper(&scene, "web")?;
    let deployment = scene.object("apps/v1", "Deployment", "web");
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;
    let idle = json!({ "spec": { "idle": true } });
    scene.client().merge_patch(&web, &idle)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 0)?;
    scene.converged()?;
    let secrets = scene
        .client()
        .list("v1", "Secret", Some(&scene.namespace))?;
    let values: Vec<&str> = secrets
        .iter()
        .filter_map(|secret| secret["data"].as_object())
        .flat_map(|data| data.values().filter_map(Value::as_str))
        .collect();
    assert!(!values.is_empty(), "the record is a Secret");
    let mut told = kybern(&[
        "explain",
        &scene.namespace,
        &format!("{}/web", scene.namespace),
        &host,
    ])?;
    for table in [
        "passes", "queue", "desired", "drift", "effects", "plugins", "watches", "memory",
    ] {
        told += &kybern(&[
            "sql",
            &host,
            "-o",
            "json",
            &format!("SELECT * FROM kybern.{table}"),
        ])?;
    }
    assert!(told.contains("\"web\""), "{told}");
    for value in values.into_iter().chain([HIDDEN]) {
        assert!(!told.contains(value), "{value} in {told}");
    }
    Ok(())
}

#[test]
fn a_socket_is_one_hosts_and_a_killed_hosts_is_taken_over() -> Result<()> {
    let (mut scene, host) = asked("socket")?;
    let path = socket(&scene);
    assert_eq!(rows(&host, "SELECT 1 AS n")?, [json!({ "n": 1 })]);
    let (code, said) = failed(&["run", "--socket", &path])?;
    assert_eq!(code, Some(1));
    assert!(
        said.contains("another host that runs listens there"),
        "{said}"
    );
    assert_eq!(rows(&host, "SELECT 1 AS n")?, [json!({ "n": 1 })]);
    let (code, said) = failed(&["sql", &host, "DELETE FROM pods"])?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.starts_with("error: "), "{said}");

    scene.kill_host();
    let (code, said) = failed(&["sql", &host, "SELECT 1"])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("left over"), "{said}");
    scene.start_host_with(&[&format!("--socket={path}")])?;
    assert_eq!(rows(&host, "SELECT 1 AS n")?, [json!({ "n": 1 })]);
    scene.stop_host()?;
    let (code, said) = failed(&["sql", &host, "SELECT 1"])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("no host listens at"), "{said}");
    assert!(
        !std::path::Path::new(&path).exists(),
        "it goes with the host"
    );
    Ok(())
}
