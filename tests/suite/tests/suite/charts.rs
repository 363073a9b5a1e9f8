//! Charts of repositories: fetched by the host and by commands alike, pinned, kept.

use crate::scene::{SOON, Scene, condition, kybern};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Object, Registry, digest, guest};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Helm's engine may have to be compiled first.
const ENGINE: Duration = Duration::from_secs(300);

/// A chart's archive, as `helm package` makes one: of a ConfigMap with this text.
fn chart(folder: &Path, text: &str) -> Result<Vec<u8>> {
    let templates = folder.join("web/templates");
    std::fs::create_dir_all(&templates)?;
    let about = "{apiVersion: v2, name: web, version: 1.0.0}\n";
    std::fs::write(folder.join("web/Chart.yaml"), about)?;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "{{ .Release.Name }}-chart" },
        "data": { "text": text },
    });
    std::fs::write(templates.join("map.yaml"), map.to_string())?;
    let mut packing = Command::new("tar");
    let packed = packing
        .arg("-C")
        .arg(folder)
        .args(["-cz", "web"])
        .output()?;
    ensure!(packed.status.success(), "{packed:?}");
    Ok(packed.stdout)
}

/// What of a bundle does not depend on where its chart is.
fn operator(group: &str) -> [(&'static str, String); 2] {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("charteds.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": "Charted", "listKind": "ChartedList", "plural": "charteds", "singular": "charted" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    let profile = json!({ "default": {
        "def": "crd.yaml", "deploy": [{ "cmd": "helm", "chart": "ours/web" }],
    } });
    [
        ("operator.yaml", profile.to_string()),
        ("crd.yaml", definition.to_string()),
    ]
}

/// `charts.yaml`.
fn pins(url: &str, version: &str, digest: &str) -> String {
    let chart = json!({ "version": version, "digest": digest });
    json!({ "repositories": { "ours": url }, "charts": { "ours/web": chart } }).to_string()
}

fn resource(scene: &Scene, group: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{group}/v1"), "kind": "Charted",
        "metadata": { "name": name, "namespace": scene.namespace }, "spec": {},
    })
}

/// `kybern plugin ...` with the interpreter, and with this docker config.
fn plugin(arguments: &[&str], config: &Path) -> Result<Output> {
    let mut command = Command::new(kybern_testcluster::kybern()?);
    command.arg("plugin").args(arguments);
    command.arg("--engine").arg(guest("declarative")?);
    Ok(command.env("DOCKER_CONFIG", config).output()?)
}

/// The registration that `inspect` prints, for a bundle from here.
fn registration(scene: &Scene, folder: &Path, config: &Path, bundle: &Value) -> Result<Value> {
    let folder = folder.to_string_lossy();
    let printed = plugin(&["inspect", &folder, "--registration"], config)?;
    let errors = String::from_utf8_lossy(&printed.stderr);
    ensure!(printed.status.success(), "{errors}");
    let mut registration: Value = serde_saphyr::from_slice(&printed.stdout)?;
    registration["metadata"]["name"] = json!(scene.namespace);
    let spec = &mut registration["spec"];
    spec["class"] = json!(scene.class);
    spec["source"]["file"] = json!(guest("declarative")?);
    spec["settings"]["bundle"] = bundle.clone();
    Ok(registration)
}

fn ready(scene: &Scene, plugin: &Object) -> Result<Value> {
    scene.client().wait_for(plugin, "to be ready", ENGINE, |p| {
        let conditions = p["status"]["conditions"].as_array();
        let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
        conditions.is_some_and(|all| all.iter().any(ready))
    })
}

/// Puts a chart into a registry as `helm push` does.
fn push(registry: &Registry, version: &str, archive: &[u8]) -> Result<()> {
    let config = br#"{"apiVersion":"v2","name":"web"}"#;
    let kind = |of: &str| format!("application/vnd.cncf.helm.{of}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": kind("config.v1+json"), "size": config.len(),
            "digest": registry.put_blob("charts/web", config)?,
        },
        "layers": [{
            "mediaType": kind("chart.content.v1.tar+gzip"), "size": archive.len(),
            "digest": registry.put_blob("charts/web", archive)?,
        }],
    });
    registry.put_manifest("charts/web", version, manifest.to_string().as_bytes())?;
    Ok(())
}

#[test]
fn a_chart_of_a_registry_needs_its_secret_and_a_restart_needs_no_registry() -> Result<()> {
    const GROUP: &str = "ocichart.example.com";
    let registry = Registry::guarded()?;
    let mut scene = Scene::new("ocichart")?;
    let folder = tempfile::tempdir()?;
    // Nobody has kept these: hosts of one user share what they keep.
    let text = |version: &str| format!("{} {version}", registry.address());
    let first = chart(folder.path(), &text("1.0.0"))?;
    let second = chart(folder.path(), &text("2.0.0"))?;
    push(&registry, "1.0.0", &first)?;
    let url = format!("oci://{}/charts", registry.address());
    let mut files: Vec<(&str, String)> = operator(GROUP).into();
    files.push(("charts.yaml", pins(&url, "1.0.0", &digest(&first))));
    let bundle = folder.path().join("bundle");
    std::fs::create_dir(&bundle)?;
    for (name, text) in &files {
        std::fs::write(bundle.join(name), text)?;
    }
    let config = registry.docker_config().to_string();
    std::fs::write(folder.path().join("config.json"), &config)?;
    let data: serde_json::Map<String, Value> = files
        .into_iter()
        .map(|(name, text)| (name.to_owned(), json!(text)))
        .collect();
    let client = scene.client();
    client.create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": { "name": "files", "namespace": scene.namespace },
    }))?;
    client.create(&json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": "puller", "namespace": scene.namespace },
        "stringData": { ".dockerconfigjson": config },
    }))?;
    let map = json!({ "namespace": scene.namespace, "name": "files" });
    let from = json!({ "configMap": map });
    let mut registration = registration(&scene, &bundle, folder.path(), &from)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let client = scene.client();
    let object = scene.submit(&registration)?;
    let told = condition(client, &object, "Ready", |c| {
        c["reason"] == "SourceUnavailable"
    })?;
    let told = told["message"].as_str().unwrap_or_default();
    let place = format!("charts.yaml: ours/web 1.0.0 of {url}: ");
    assert!(
        told.contains(&place) && told.contains("pullSecret"),
        "{told}"
    );

    let secret = json!({ "namespace": scene.namespace, "name": "puller" });
    let repositories = json!({ "ours": { "pullSecret": secret } });
    registration["spec"]["settings"]["bundle"]["repositories"] = repositories.clone();
    scene.grant(std::slice::from_ref(&registration))?;
    let change = json!({ "spec": { "settings": { "bundle": { "repositories": repositories } } } });
    client.merge_patch(&object, &change)?;
    ready(&scene, &object)?;
    client.create(&resource(&scene, GROUP, "a"))?;
    let made = scene.object("v1", "ConfigMap", "a-chart");
    scene.wait(&made, |map| map["data"]["text"] == text("1.0.0"))?;

    // Another version is another bundle; until it is there the last good one goes on.
    let files = scene.object("v1", "ConfigMap", "files");
    let change = pins(&url, "2.0.0", &digest(&second));
    client.merge_patch(&files, &json!({ "data": { "charts.yaml": change } }))?;
    let told = condition(client, &object, "Degraded", |c| {
        c["reason"] == "SourceUnavailable"
    })?;
    let told = told["message"].as_str().unwrap_or_default();
    assert!(
        told.contains("ours/web 2.0.0") && told.contains("helm push"),
        "{told}"
    );
    client.create(&resource(&scene, GROUP, "b"))?;
    let other = scene.object("v1", "ConfigMap", "b-chart");
    scene.wait(&other, |map| map["data"]["text"] == text("1.0.0"))?;
    push(&registry, "2.0.0", &second)?;
    scene
        .client()
        .wait_for(&other, "the second chart", 2 * SOON, |map| {
            map["data"]["text"] == text("2.0.0")
        })?;

    scene.stop_host()?;
    let text = text("2.0.0");
    drop(registry);
    scene.start_host()?;
    let client = scene.client();
    client.create(&resource(&scene, GROUP, "c"))?;
    let last = scene.object("v1", "ConfigMap", "c-chart");
    client.wait_for(&last, "the chart again", ENGINE, |map| {
        map["data"]["text"] == text
    })?;
    Ok(())
}

/// Serves the files of a folder, until the test ends.
fn serve(folder: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = head.next().unwrap_or_default();
            // Whoever asks waits for the answer; the rest of the head ends before it.
            head.take_while(|line| !line.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match std::fs::read(folder.join(path.trim_start_matches('/'))) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    Ok(format!("http://{address}"))
}

#[test]
fn a_chart_of_a_server_is_the_same_for_the_host_and_for_commands() -> Result<()> {
    const GROUP: &str = "httpchart.example.com";
    let mut scene = Scene::new("httpchart")?;
    let folder = tempfile::tempdir()?;
    let served = folder.path().join("served");
    std::fs::create_dir_all(served.join("stable/files"))?;
    let url = serve(served.clone())?;
    let archive = chart(folder.path(), &url)?;
    std::fs::write(served.join("stable/files/web.tgz"), &archive)?;
    let entry = json!({ "version": "1.0.0", "urls": ["files/web.tgz"], "created": "2026-01-01" });
    let index = json!({ "apiVersion": "v1", "entries": { "web": [entry] } });
    std::fs::write(served.join("stable/index.yaml"), index.to_string())?;
    let bundle = folder.path().join("bundle");
    std::fs::create_dir(&bundle)?;
    for (name, text) in operator(GROUP) {
        std::fs::write(bundle.join(name), text)?;
    }
    let place = format!("{url}/stable/");
    let pin = |of: &str| std::fs::write(bundle.join("charts.yaml"), pins(&place, "1.0.0", of));
    let at = bundle.to_string_lossy();

    pin(&digest(b"another"))?;
    let linted = plugin(&["lint", &at], folder.path())?;
    let told = String::from_utf8(linted.stderr)?;
    assert_eq!(linted.status.code(), Some(1), "{told}");
    for part in [
        format!("charts.yaml: ours/web 1.0.0 of {place}: "),
        digest(&archive),
        digest(b"another"),
    ] {
        assert!(told.contains(&part), "{part} in {told}");
    }
    pin(&digest(&archive))?;
    let linted = plugin(&["lint", &at], folder.path())?;
    let told = String::from_utf8(linted.stdout)?;
    assert!(linted.status.success(), "{told}");
    // What a registration pins is what lies there, whatever its charts weigh.
    let digests = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("bundle: "));
        line.context("a digest").map(str::to_owned)
    };
    let lies = digests(&told)?;
    let situation = folder.path().join("situation.yaml");
    std::fs::write(
        &situation,
        json!({ "object": resource(&scene, GROUP, "a") }).to_string(),
    )?;
    let situation = situation.to_string_lossy();
    let rendered = plugin(
        &["render", &at, "--situation", &situation, "-o", "json"],
        folder.path(),
    )?;
    let told = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{told}");
    let plan: Value = serde_json::from_slice(&rendered.stdout)?;
    assert_eq!(
        plan["actions"][0]["object"]["data"]["text"],
        json!(url),
        "{plan}"
    );
    let built = folder.path().join("built.wasm");
    let arguments = ["build", "--bundle", &at, "-o", &built.to_string_lossy()];
    let building = plugin(&arguments, folder.path())?;
    let told = String::from_utf8(building.stdout)?;
    assert!(building.status.success(), "{told}");
    assert_eq!(digests(&told)?, lies);

    let from = json!({ "file": bundle, "digest": lies });
    let registration = registration(&scene, &bundle, folder.path(), &from)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let object = scene.submit(&registration)?;
    let live = ready(&scene, &object)?;
    let active = &live["status"]["active"]["digest"];
    assert_eq!(
        *active,
        json!(digest(&std::fs::read(&built)?)),
        "one way for both"
    );
    scene.client().create(&resource(&scene, GROUP, "a"))?;
    let made = scene.object("v1", "ConfigMap", "a-chart");
    scene.wait(&made, |map| map["data"]["text"] == url)?;
    // What was composed needs no repository to be looked at.
    std::fs::remove_dir_all(&served)?;
    let told = kybern(&["plugin", "inspect", &built.to_string_lossy()])?;
    assert!(told.contains("Charted"), "{told}");
    Ok(())
}
