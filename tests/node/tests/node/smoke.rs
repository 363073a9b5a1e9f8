//! The node itself, with images of its own: what the other tests take for granted.

use anyhow::{Result, ensure};
use kybern_node_tests::{Answer, Container, Node, SOON, get, helm, kubectl, node, run};
use kybern_testcluster::{Object, Progress, until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Waits until an address answers 200; a Service's rules come a moment after its Pods are ready.
fn answers(url: &str) -> Result<Answer> {
    until(&format!("{url} answers"), SOON, || {
        Ok(match get(url) {
            Ok(answer) if answer.code == 200 => Progress::Done(answer),
            other => Progress::Waiting(format!("{other:?}")),
        })
    })
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": { "app": name } },
        "spec": { "containers": [{
            "name": "probe", "image": "localhost/probe:1",
            "readinessProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 },
        }] },
    })
}

fn running(node: &Node, manifest: &Value) -> Result<Value> {
    node.client().create(manifest)?;
    let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    node.client()
        .wait_for(&Object::of(manifest)?, "Ready", SOON, ready)
}

#[test]
fn a_pod_answers_at_its_own_address_and_through_a_service() -> Result<()> {
    let node = node()?;
    let namespace = node.namespace("smoke")?;
    let pod = running(node, &pod(&namespace, "web"))?;
    let own = pod["status"]["podIP"].as_str().unwrap();
    let greeting = answers(&format!("http://{own}:8080/"))?.body;
    ensure!(greeting.starts_with("hello from web "), "{greeting}");

    let service = node.client().create(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "type": "NodePort", "selector": { "app": "web" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
        },
    }))?;
    let cluster = service["spec"]["clusterIP"].as_str().unwrap();
    answers(&format!("http://{cluster}/"))?;
    let address = pod["status"]["hostIP"].as_str().unwrap();
    let port = &service["spec"]["ports"][0]["nodePort"];
    answers(&format!("http://{address}:{port}/"))?;
    // From a Pod, and as the API server calls webhooks.
    answers(&format!("http://{own}:8080/fetch?u=http://{cluster}/"))?;
    node.shell(&["curl", "-sf", "-m5", &format!("http://{cluster}/")])?;
    Ok(())
}

#[test]
fn helm_installs_and_a_pod_talks_to_the_api_server_within_its_rights() -> Result<()> {
    let node = node()?;
    let namespace = node.namespace("smoke")?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart");
    let mark = node.audit().mark()?;
    helm([
        "install".as_ref(),
        "probe".as_ref(),
        chart.as_os_str(),
        "--namespace".as_ref(),
        namespace.as_ref(),
        "--wait".as_ref(),
        "--timeout=90s".as_ref(),
    ])?
    .ok()?;
    until("the probe's report", SOON, || {
        let log = kubectl(["logs", "-n", &namespace, "deploy/probe"])?.ok()?;
        Ok(if log.contains("api ok=true") {
            Progress::Done(())
        } else {
            Progress::Waiting(log)
        })
    })?;

    // The audit log knows which Pod asked for what, and what it got.
    let user = format!("system:serviceaccount:{namespace}:probe");
    let mut requests = node.audit().since(mark)?;
    requests.retain(|request| request.user == user);
    let code = |verb: &str, resource: &str| {
        let found = requests
            .iter()
            .find(|request| request.verb == verb && request.resource == resource)
            .unwrap();
        assert!(found.pod.as_ref().unwrap().starts_with("probe-"));
        found.code.unwrap()
    };
    assert_eq!(code("list", "pods"), 200);
    assert_eq!(code("create", "configmaps"), 201);
    assert_eq!(code("list", "secrets"), 403);
    helm(["uninstall", "probe", "--namespace", &namespace, "--wait"])?.ok()?;
    Ok(())
}

#[test]
fn a_container_can_be_frozen_and_killed_and_is_started_again() -> Result<()> {
    let node = node()?;
    let namespace = node.namespace("smoke")?;
    let pod = running(node, &pod(&namespace, "web"))?;
    let url = format!("http://{}:8080/", pod["status"]["podIP"].as_str().unwrap());
    answers(&url)?;
    let container = Container::of(node, &pod)?;
    container.freeze()?;
    ensure!(container.state() == Some('T'), "{:?}", container.state());
    ensure!(get(&url).is_err(), "a frozen process answers");
    container.thaw()?;
    answers(&url)?;
    container.kill()?;
    let object = Object::of(&pod)?;
    let again = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["ready"] == true
    };
    let pod = node.client().wait_for(&object, "again", SOON, again)?;
    let end = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(end["exitCode"], 137, "{end}");
    ensure!(container.state().is_none(), "the old process is gone");
    Ok(())
}

#[test]
fn a_container_over_its_memory_limit_is_ended_by_the_kernel() -> Result<()> {
    let node = node()?;
    let namespace = node.namespace("smoke")?;
    let mut manifest = pod(&namespace, "web");
    manifest["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "64Mi" } });
    let pod = running(node, &manifest)?;
    let own = pod["status"]["podIP"].as_str().unwrap();
    // The answer never comes.
    let _ = get(&format!("http://{own}:8080/eat?mb=100"));
    let ended = |pod: &Value| {
        let last = &pod["status"]["containerStatuses"][0]["lastState"];
        last["terminated"]["reason"] == "OOMKilled"
    };
    node.client()
        .wait_for(&Object::of(&manifest)?, "OOMKilled", SOON, ended)?;
    Ok(())
}

#[test]
fn a_second_node_is_refused_and_told_who_has_the_first() -> Result<()> {
    let node = node()?;
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("up.sh");
    let said = run(Command::new("bash").arg(up))?.refused()?;
    let pid = std::fs::read_to_string(node.state().join("init.pid"))?;
    for part in [
        "there is a node on this machine already",
        &format!("pid {} of ", pid.trim()),
        "cargo xtask node down",
    ] {
        ensure!(said.contains(part), "no `{part}` in {said}");
    }
    node.client().text("/readyz")?;
    Ok(())
}
