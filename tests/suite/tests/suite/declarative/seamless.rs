//! The same operator as a chart and as templates: whoever changes from one to the other changes nothing.

use super::{registration, started_with, version_of, write_files};
use crate::scene::{SOON, Scene, crd_text};
use anyhow::Result;
use kybern_testcluster::Object;
use serde_json::{Value, json};
use std::path::Path;

const CRD: &str = crd_text!("seam.example.com", "Seam", "seams");

/// What both make: NAME, REPLICAS and COLOR are written as each of them does.
const OBJECTS: [(&str, &str); 3] = [
    (
        "config.yaml",
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, labels: {app: NAME}}
data: {color: COLOR}
",
    ),
    (
        "service.yaml",
        "
apiVersion: v1
kind: Service
metadata: {name: NAME, labels: {app: NAME}}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 80, targetPort: 8080}]
",
    ),
    (
        "deployment.yaml",
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, labels: {app: NAME}}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}, annotations: {color: COLOR}}
    spec: {containers: [{name: app, image: app, ports: [{name: http, containerPort: 8080}]}]}
",
    ),
];

fn bundle(
    folder: &Path,
    by: &str,
    deploy: &str,
    places: [(&str, &str); 3],
    at: &str,
) -> Result<()> {
    let operator = format!(
        "default:\n  def: crd.yaml\n  deploy:\n    - {deploy}\n  status: {{by: {by}, color: \"{{{{ cr.spec.color }}}}\"}}\n"
    );
    write_files(folder, &[("operator.yaml", &operator), ("crd.yaml", CRD)])?;
    for (file, text) in OBJECTS {
        let mut text = text.to_owned();
        for (word, place) in places {
            text = text.replace(word, place);
        }
        write_files(folder, &[(&format!("{at}/{file}"), &text)])?;
    }
    Ok(())
}

#[test]
fn from_a_chart_to_templates_and_back_no_child_is_written() -> Result<()> {
    let mut scene = Scene::new("seamless")?;
    let folder = scene.plane.folder().join(&scene.namespace);
    let (chart, templates) = (folder.join("chart"), folder.join("templates"));
    let words = |name, replicas, color| [("NAME", name), ("REPLICAS", replicas), ("COLOR", color)];
    let of_chart = words(
        "{{ .Release.Name }}",
        "{{ .Values.replicas }}",
        "{{ .Values.color }}",
    );
    let helm = "{cmd: helm, chart: app, values: values.yaml}";
    bundle(&chart, "helm", helm, of_chart, "app/templates")?;
    let values = "replicas: {{ cr.spec.replicas }}\ncolor: {{ cr.spec.color }}\n";
    let metadata = "{apiVersion: v2, name: app, version: 1.0.0}\n";
    write_files(
        &chart,
        &[("values.yaml", values), ("app/Chart.yaml", metadata)],
    )?;
    let of_templates = words(
        "{{ cr.metadata.name }}",
        "{{ cr.spec.replicas }}",
        "{{ cr.spec.color }}",
    );
    let jinja = "{cmd: jinja, file: app}";
    bundle(&templates, "jinja", jinja, of_templates, "app")?;

    let mut registration = registration(&scene, &chart)?;
    // Another bundle is to come.
    registration["spec"]["settings"]["bundle"] = json!({ "file": chart });
    let plugin = started_with(&mut scene, &registration)?;
    let client = scene.client();
    let resource = client.create(&json!({
        "apiVersion": "seam.example.com/v1", "kind": "Seam",
        "metadata": { "name": "web", "namespace": scene.namespace },
        "spec": { "replicas": 2, "color": "green" },
    }))?;
    let resource = Object::of(&resource)?;
    let objects = [
        scene.object("v1", "ConfigMap", "web"),
        scene.object("v1", "Service", "web"),
        scene.object("apps/v1", "Deployment", "web"),
    ];
    let by = |engine: &str, color: &str| {
        scene.wait(&resource, |cr| {
            cr["status"]["by"] == engine && cr["status"]["color"] == color
        })
    };
    let versions =
        || -> Result<Vec<Value>> { objects.iter().map(|o| version_of(&scene, o)).collect() };
    for object in &objects {
        scene.wait(object, |_| true)?;
    }
    by("helm", "green")?;
    scene.converged()?;
    let mut digests = vec![client.get(&plugin)?["status"]["active"]["digest"].clone()];
    for (engine, bundle, color) in [("jinja", &templates, "blue"), ("helm", &chart, "red")] {
        let before = versions()?;
        let change = json!({ "spec": { "settings": { "bundle": { "file": bundle } } } });
        client.merge_patch(&plugin, &change)?;
        let last = digests.last().cloned();
        let now = client.wait_for(&plugin, "the other bundle", SOON, |plugin| {
            Some(&plugin["status"]["active"]["digest"]) != last.as_ref()
        })?;
        digests.push(now["status"]["active"]["digest"].clone());
        // It has passed over the resource, and what it says of the children is what is there.
        scene.wait(&resource, |cr| cr["status"]["by"] == engine)?;
        scene.converged()?;
        assert_eq!(versions()?, before, "{engine} wrote what was there");
        // And it is in charge.
        client.merge_patch(&resource, &json!({ "spec": { "color": color } }))?;
        scene.wait(&objects[0], |map| map["data"]["color"] == color)?;
        by(engine, color)?;
        scene.converged()?;
    }
    assert_eq!(
        digests[0], digests[2],
        "the first bundle is the first version"
    );
    Ok(())
}
