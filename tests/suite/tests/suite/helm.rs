//! What users of Helm operators rely on, of a bundle that deploys a chart.

use crate::scene::{SOON, Scene, crd_text, pass_time};
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};
use std::time::Duration;

const GROUP: &str = "helmed.example.com";

/// The operator, and a chart with one of each that matters.
const FILES: [(&str, &str); 9] = [
    (
        "operator.yaml",
        "
default:
  def: crd.yaml
  deploy:
    - cmd: helm
      chart: chart
      values: [values.yaml, more.yaml]
      notes: notes
      ADOPT
",
    ),
    (
        "crd.yaml",
        crd_text!("helmed.example.com", "Helmed", "helmeds"),
    ),
    (
        "values.yaml",
        "
replicas: {{ cr.spec.replicas | default(1) }}
color: values
extra: {{ cr.spec.extra | default(false) }}
hook: {{ cr.spec.hook | default(false) }}
password: {{ cr.spec.password | default(false) }}
tier: {{ cr.spec.tier | default('web') }}
elsewhere: {{ cr.spec.elsewhere | default('') | tojson }}
",
    ),
    (
        "more.yaml",
        "color: {{ cr.spec.color | default('more') }}\n",
    ),
    (
        "chart/Chart.yaml",
        "{apiVersion: v2, name: chart, version: 1.0.0}\n",
    ),
    (
        "chart/values.yaml",
        "color: chart\nshape: chart\nextra: false\nhook: false\n",
    ),
    (
        "chart/templates/main.yaml",
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {app: {{ .Release.Name }}}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}, tier: {{ .Values.tier }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}, tier: {{ .Values.tier }}}}
    spec: {containers: [{name: a, image: a}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-config}
data: {color: {{ .Values.color }}, shape: {{ .Values.shape }}}
{{- if .Values.extra }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-extra}
data: {it: is}
{{- end }}
{{- if .Values.password }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-password}
data: {it: {{ randAlphaNum 24 | quote }}, color: {{ .Values.color }}}
{{- end }}
{{- with .Values.elsewhere }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ $.Release.Name }}-far, namespace: {{ . }}}
data: {it: is}
{{- end }}
",
    ),
    (
        "chart/templates/hook.yaml",
        "
{{- if .Values.hook }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-before
  annotations: {helm.sh/hook: pre-install}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: a, image: a}]}
{{- end }}
",
    ),
    (
        "chart/templates/NOTES.txt",
        "{{ .Release.Name }} is {{ .Values.color }}\n",
    ),
];

/// A host with the operator; `adopt` is more text of its command.
fn with_chart(name: &str, adopt: &str) -> Result<Scene> {
    let mut scene = Scene::new(name)?;
    let registration = operator(&scene, adopt)?;
    scene.start_host_everywhere(&[])?;
    scene.register(&registration)?;
    Ok(scene)
}

/// The operator's registration, for which the host has the rights.
fn operator(scene: &Scene, adopt: &str) -> Result<Value> {
    let folder = scene
        .plane
        .folder()
        .join(format!("{}-bundle", scene.namespace));
    for (path, text) in FILES {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().context("a folder")?)?;
        let text = text.trim_start().replace("      ADOPT\n", adopt);
        std::fs::write(file, text)?;
    }
    let write = |group: &str, kind: &str| json!({ "group": group, "kinds": [kind], "verbs": ["apply", "delete"], "adopt": !adopt.is_empty(), "scope": "Cluster" });
    let registration = json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
        "metadata": { "name": scene.namespace },
        "spec": {
            "class": scene.class,
            "resources": [{
                "group": GROUP, "version": "v1", "kind": "Helmed",
                "selector": { "matchLabels": { "corner": scene.namespace } },
            }],
            "source": { "file": guest("declarative")? },
            "settings": { "bundle": { "file": folder } },
            "grants": {
                "read": [{ "group": "batch", "kinds": ["Job"] }],
                "write": [write("apps", "Deployment"), write("", "ConfigMap"), write("batch", "Job")],
                "state": true,
            },
        },
    });
    scene.grant(std::slice::from_ref(&registration))?;
    Ok(registration)
}

fn helmed(scene: &Scene, name: &str, spec: &Value) -> Result<Object> {
    let manifest = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Helmed",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": { "corner": scene.namespace } },
        "spec": spec,
    });
    scene.client().create(&manifest)?;
    Object::of(&manifest)
}

/// Waits until a condition of the resource says all of these words.
fn told(scene: &Scene, object: &Object, words: &[&str]) -> Result<Value> {
    scene.wait(object, |object| {
        let conditions = object["status"]["conditions"].to_string();
        words.iter().all(|word| conditions.contains(word))
    })
}

fn ready(scene: &Scene, object: &Object) -> Result<Value> {
    // Nobody starts pods here: all but that is done.
    scene.wait(object, |object| {
        let conditions = object["status"]["conditions"].as_array();
        let mut ready = conditions.into_iter().flatten();
        ready.any(|c| {
            c["type"] == "Ready"
                && (c["status"] == "True" || c["reason"] == "Progressing")
                && c["observedGeneration"] == object["metadata"]["generation"]
        })
    })
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

#[test]
fn a_release_is_kept_as_its_chart_says_and_leaves_the_rest_alone() -> Result<()> {
    let scene = with_chart("helmlife", "")?;
    let client = scene.client();
    let resource = helmed(&scene, "a", &json!({ "extra": true }))?;
    let deployment = scene.object("apps/v1", "Deployment", "a");
    let config = scene.object("v1", "ConfigMap", "a-config");
    let extra = scene.object("v1", "ConfigMap", "a-extra");
    let live = scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;
    assert_eq!(
        live["metadata"]["ownerReferences"][0]["name"], "a",
        "{live}"
    );
    // Values: the chart's own, then the files' in their order.
    let map = scene.wait(&config, |_| true)?;
    assert_eq!(map["data"], json!({ "color": "more", "shape": "chart" }));
    scene.wait(&extra, |_| true)?;
    let live = ready(&scene, &resource)?;
    assert_eq!(live["status"]["notes"], "a is more");

    // A child that somebody deletes comes back, a change is put right.
    let uid = client.get(&config)?["metadata"]["uid"].clone();
    client.delete(&config)?;
    scene.wait(&config, |map| map["metadata"]["uid"] != uid)?;
    client.merge_patch(&deployment, &json!({ "spec": { "replicas": 7 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 1)?;

    // What users add stays, also through an upgrade, which takes away what the chart no longer has.
    let theirs =
        json!({ "metadata": { "labels": { "theirs": "1" }, "annotations": { "theirs": "1" } } });
    client.merge_patch(&deployment, &theirs)?;
    let change = json!({ "spec": { "replicas": 3, "extra": false, "color": "green" } });
    client.merge_patch(&resource, &change)?;
    let live = scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    assert_eq!(live["metadata"]["labels"]["theirs"], "1", "{live}");
    assert_eq!(live["metadata"]["annotations"]["theirs"], "1", "{live}");
    scene.wait(&config, |map| map["data"]["color"] == "green")?;
    client.wait_gone(&extra, SOON)?;

    // The same again is no change.
    ready(&scene, &resource)?;
    scene.converged()?;
    let before = [client.get(&deployment)?, client.get(&config)?];
    let touch = json!({ "metadata": { "annotations": { "kybern.dev/reconcile-at": "now" } } });
    client.merge_patch(&resource, &touch)?;
    scene.converged()?;
    let after = [client.get(&deployment)?, client.get(&config)?];
    assert_eq!(before, after);
    Ok(())
}

#[test]
fn what_cannot_be_done_is_told_and_others_go_on() -> Result<()> {
    let scene = with_chart("helmtold", "")?;
    let client = scene.client();
    // Somebody has the name.
    let theirs = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "taken-config", "namespace": scene.namespace }, "data": { "theirs": "1" },
    });
    client.create(&theirs)?;
    let taken = helmed(&scene, "taken", &json!({}))?;
    told(&scene, &taken, &["taken-config", "ChildConflict"])?;
    let theirs = client.get(&Object::of(&theirs)?)?;
    assert_eq!(theirs["data"], json!({ "theirs": "1" }));
    // A field that cannot change.
    let fixed = helmed(&scene, "fixed", &json!({}))?;
    ready(&scene, &fixed)?;
    client.merge_patch(&fixed, &json!({ "spec": { "tier": "other" } }))?;
    told(&scene, &fixed, &["spec.selector", "immutable"])?;
    // A namespace that is not there.
    let far = helmed(&scene, "far", &json!({ "elsewhere": "nowhere-at-all" }))?;
    told(&scene, &far, &["nowhere-at-all", "not found"])?;
    // A value that makes no sense to the chart.
    let wrong = helmed(&scene, "wrong", &json!({ "replicas": { "a": "b" } }))?;
    told(&scene, &wrong, &["replicas"])?;
    // Nobody else is concerned.
    let other = helmed(&scene, "other", &json!({}))?;
    ready(&scene, &other)?;
    Ok(())
}

#[test]
fn a_release_of_helms_own_is_adopted_where_that_is_asked_for() -> Result<()> {
    let scene = with_chart("helmadopt", "      adopt: true\n")?;
    let client = scene.client();
    let metadata = json!({
        "name": "a-config", "namespace": scene.namespace,
        "labels": { "app.kubernetes.io/managed-by": "Helm" },
        "annotations": { "meta.helm.sh/release-name": "a", "meta.helm.sh/release-namespace": scene.namespace },
    });
    let there = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "data": { "color": "old", "shape": "chart" },
    });
    let there = client.create(&there)?;
    let config = Object::of(&there)?;
    helmed(&scene, "a", &json!({}))?;
    let now = scene.wait(&config, |map| map["data"]["color"] == "more")?;
    assert_eq!(now["metadata"]["uid"], there["metadata"]["uid"], "{now}");
    assert_eq!(now["metadata"]["ownerReferences"][0]["name"], "a", "{now}");
    Ok(())
}

#[test]
fn hooks_run_before_the_rest_and_one_that_fails_stops_the_release() -> Result<()> {
    let scene = with_chart("helmhook", "")?;
    let client = scene.client();
    let end = |name: &str, kind: &str, why: &str| -> Result<()> {
        let job = scene.object("batch/v1", "Job", &format!("{name}-before"));
        scene.wait(&job, |_| true)?;
        let at = "2026-01-01T00:00:00Z";
        let of = |kind: &str| {
            json!({ "type": kind, "status": "True", "reason": "Test", "message": why,
            "lastProbeTime": at, "lastTransitionTime": at })
        };
        let before = if kind == "Failed" {
            "FailureTarget"
        } else {
            "SuccessCriteriaMet"
        };
        let mut status = json!({ "startTime": at, "conditions": [of(before), of(kind)] });
        if kind == "Complete" {
            status["completionTime"] = json!(at);
        }
        client.merge_patch_status(&job, &json!({ "status": status }))?;
        Ok(())
    };
    let good = helmed(&scene, "good", &json!({ "hook": true }))?;
    let bad = helmed(&scene, "bad", &json!({ "hook": true }))?;
    told(&scene, &bad, &["bad-before", "waiting"])?;
    end("good", "Complete", "done")?;
    end("bad", "Failed", "the schema is too old")?;
    let deployment = scene.object("apps/v1", "Deployment", "good");
    scene.wait(&deployment, |_| true)?;
    ready(&scene, &good)?;
    told(&scene, &bad, &["bad-before failed"])?;
    scene.converged()?;
    for name in ["apps/v1/Deployment/bad", "v1/ConfigMap/bad-config"] {
        let (kind, name) = name.rsplit_once('/').context("a name")?;
        let (version, kind) = kind.rsplit_once('/').context("a kind")?;
        assert!(client.find(&scene.object(version, kind, name))?.is_none());
    }
    // Once for a revision.
    let job = scene.object("batch/v1", "Job", "good-before");
    let before = client.get(&job)?;
    let touch = json!({ "metadata": { "annotations": { "kybern.dev/reconcile-at": "now" } } });
    client.merge_patch(&good, &touch)?;
    pass_time(Duration::from_millis(500))?;
    assert_eq!(version(&client.get(&job)?), version(&before));
    Ok(())
}

#[test]
fn passwords_of_charts_follow_from_a_secret_that_the_host_makes_once() -> Result<()> {
    let mut scene = Scene::new("helmseed")?;
    let registration = operator(&scene, "")?;
    let seed = scene.seed();
    let guessable = json!({ "data": { "seed": STANDARD.encode("x") } });
    scene.client().merge_patch(&seed, &guessable)?;
    scene.start_host_everywhere(&[])?;
    // Nothing is rendered with a guess, and it goes on without a restart.
    let plugin = scene.submit(&registration)?;
    let name = format!("{}/{}", scene.namespace, seed.name);
    told(
        &scene,
        &plugin,
        &[&name, "--helm-secret", "data.seed: it has 1 bytes"],
    )?;
    scene.client().delete(&seed)?;
    scene.bring_seed()?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    let made = scene.client().get(&seed)?;
    let bytes = STANDARD.decode(made["data"]["seed"].as_str().context("a seed")?)?;
    assert_eq!((bytes.len(), &made["immutable"]), (32, &json!(true)));

    let object = helmed(&scene, "a", &json!({ "password": true }))?;
    ready(&scene, &object)?;
    let password = scene.object("v1", "ConfigMap", "a-password");
    let first = scene.client().get(&password)?;
    let other = helmed(&scene, "b", &json!({ "password": true }))?;
    ready(&scene, &other)?;
    let other = scene.object("v1", "ConfigMap", "b-password");
    assert_ne!(
        first["data"]["it"],
        scene.client().get(&other)?["data"]["it"]
    );
    // Another process, which finds kinds served that the first did not, renders another color with the same password.
    scene.stop_host()?;
    let color = json!({ "spec": { "color": "blue" } });
    scene.client().merge_patch(&object, &color)?;
    scene.start_host_everywhere(&[])?;
    let second = scene.wait(&password, |live| live["data"]["color"] == "blue")?;
    assert_eq!(first["data"]["it"], second["data"]["it"]);
    assert_eq!(
        made["metadata"]["resourceVersion"],
        scene.client().get(&seed)?["metadata"]["resourceVersion"]
    );
    Ok(())
}
