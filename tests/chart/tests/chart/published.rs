//! What the chart shares with the host: the Plugin CRD, and the rules that `kybern rbac` prints.

use crate::helm::{chart, find, helm, kybern, objects, parse, root, succeed};
use anyhow::Result;
use serde_json::{Value, json};

const CRD: &str = "CustomResourceDefinition";
const NAME: &str = "plugins.kybern.dev";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "blessing is asked for through the environment"
)]
fn the_crd_is_the_published_one() -> Result<()> {
    let published = std::fs::read_to_string(root().join("wit/schema/plugin-crd.yaml"))?;
    let path = chart().join("files/plugin-crd.yaml");
    if std::env::var("KYBERN_BLESS").is_ok() {
        std::fs::write(&path, &published)?;
    }
    let copy = std::fs::read_to_string(&path)?;
    assert!(
        copy == published,
        "{} is not wit/schema/plugin-crd.yaml: copy it with KYBERN_BLESS=1",
        path.display()
    );
    Ok(())
}

#[test]
fn what_is_rendered_is_what_the_host_prints_and_helm_keeps_it() -> Result<()> {
    let objects = objects("default")?;
    let mut rendered = find(&objects, CRD, NAME).clone();
    let metadata = rendered["metadata"].as_object_mut().unwrap();
    let annotations = metadata.remove("annotations").unwrap();
    assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    assert!(metadata.remove("labels").is_some());
    let printed: Value = serde_saphyr::from_str(&kybern(&["crd"])?)?;
    let (rendered, printed) = (format!("{rendered:#}"), format!("{printed:#}"));
    for (at, (rendered, printed)) in rendered.lines().zip(printed.lines()).enumerate() {
        assert_eq!(rendered, printed, "line {} of both", at + 1);
    }
    assert_eq!(rendered.len(), printed.len());
    Ok(())
}

#[test]
fn the_crd_can_be_left_to_another_release() -> Result<()> {
    let objects = objects("brought-along")?;
    assert!(objects.iter().all(|o| o["kind"] != CRD));
    Ok(())
}

#[test]
fn the_rules_that_the_host_prints_are_values_of_the_chart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let registration = folder.path().join("registration.json");
    let plugin = json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "appservice" },
        "spec": {
            "source": { "configMap": { "namespace": "kybern-system", "name": "plugins", "key": "a.wasm" } },
            "resources": [{ "group": "app.example.com", "version": "v1", "kind": "AppService" }],
            "grants": { "write": [{ "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] }] },
        },
    });
    std::fs::write(&registration, plugin.to_string())?;
    let file = registration.to_string_lossy();
    let values = kybern(&["rbac", "-f", &file, "--values"])?;
    let path = folder.path().join("values.yaml");
    std::fs::write(&path, &values)?;
    let mut template = helm()?;
    template.args(["template", "kybern"]).arg(chart());
    let rendered = parse(&succeed(
        template
            .args(["--namespace", "kybern-system", "--values"])
            .arg(&path),
    )?)?;
    let role = find(&rendered, "ClusterRole", "kybern-system:kybern-plugins");
    let printed: Value = serde_saphyr::from_str(&kybern(&["rbac", "-f", &file])?)?;
    assert_eq!(role["rules"], printed["rules"]);
    let config_maps = json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"] });
    assert!(
        printed["rules"].as_array().unwrap().contains(&config_maps),
        "a component from a ConfigMap is read and watched: {values}"
    );
    Ok(())
}
