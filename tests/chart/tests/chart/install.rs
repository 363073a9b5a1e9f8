//! A real API server takes what every set renders, and Helm installs, upgrades and removes it.
//!
//! No controllers run here: nothing becomes Ready, and Helm does not wait. Running hosts are tested
//! on the node (`tests/node`).

use crate::helm::{NAMESPACE, RELEASE, SETS, chart, helm, succeed, values};
use anyhow::Result;
use kybern_testcluster::{ControlPlane, Object, Options, shared};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// helm, for this control plane.
fn on(plane: &ControlPlane) -> Result<Command> {
    let mut command = helm()?;
    command.env("KUBECONFIG", plane.admin_kubeconfig()?);
    Ok(command)
}

/// The namespaces that the sets name, and the kind that only the Prometheus Operator has.
fn prepare(plane: &ControlPlane) -> Result<()> {
    for name in [NAMESPACE, "team-a"] {
        plane.client().apply(
            &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
            "test",
        )?;
    }
    plane.install_crd(&json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "servicemonitors.monitoring.coreos.com" },
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": { "kind": "ServiceMonitor", "plural": "servicemonitors" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        },
    }))?;
    Ok(())
}

fn install(plane: &ControlPlane, verb: &[&str], values: &Path) -> Result<String> {
    let mut command = on(plane)?;
    command.args(verb).arg(RELEASE).arg(chart());
    command.args(["--namespace", NAMESPACE, "--values"]);
    succeed(command.arg(values))
}

fn uninstall(plane: &ControlPlane, release: &str, namespace: &str) -> Result<String> {
    // Nothing runs Jobs here.
    let mut command = on(plane)?;
    command.args(["uninstall", release, "--no-hooks", "--namespace", namespace]);
    succeed(&mut command)
}

fn crd() -> Object {
    Object::cluster(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "plugins.kybern.dev",
    )
}

#[test]
fn every_set_is_accepted_upgraded_to_and_removed() -> Result<()> {
    let plane = ControlPlane::start(Options::new())?;
    prepare(&plane)?;
    let client = plane.client();
    for set in SETS {
        let notes = install(&plane, &["install"], &values(set))?;
        assert!(notes.contains("Next:"), "{set}: {notes}");
        let deployment = Object::new("apps/v1", "Deployment", NAMESPACE, RELEASE);
        assert!(client.find(&deployment)?.is_some(), "{set}");
        // Back to the defaults: no set leaves anything that cannot be changed.
        install(&plane, &["upgrade", "--reset-values"], &values("default"))?;
        let spec = client.get(&deployment)?["spec"].clone();
        assert_eq!(spec["replicas"], 2, "{set}");
        uninstall(&plane, RELEASE, NAMESPACE)?;
        client.wait_gone(&deployment, SOON)?;
        let kept = client.find(&crd())?;
        assert!(
            kept.is_some(),
            "{set}: the Plugin kind must outlive the release"
        );
        // Another seed would make other passwords.
        let seed = Object::new("v1", "Secret", NAMESPACE, "kybern-charts");
        assert!(client.find(&seed)?.is_some(), "{set}");
        for kind in ["ClusterRole", "ClusterRoleBinding"] {
            let left = client.list("rbac.authorization.k8s.io/v1", kind, None)?;
            let ours: Vec<&Value> = left
                .iter()
                .map(|one| &one["metadata"]["name"])
                .filter(|name| name.as_str().is_some_and(|n| n.contains(RELEASE)))
                .collect();
            assert!(ours.is_empty(), "{set}: {ours:?}");
        }
    }
    Ok(())
}

#[test]
fn two_releases_of_two_classes_live_side_by_side() -> Result<()> {
    let plane = shared()?;
    for (namespace, class, crd) in [("one", "", "true"), ("two", "second", "false")] {
        let mut command = on(plane)?;
        command.args(["install", RELEASE]).arg(chart());
        command.args(["--namespace", namespace, "--create-namespace"]);
        command.args(["--set", &format!("class={class},crd.install={crd}")]);
        succeed(&mut command)?;
    }
    for namespace in ["one", "two"] {
        let name = format!("{namespace}:{RELEASE}");
        let binding = Object::cluster("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", &name);
        let subject = plane.client().get(&binding)?["subjects"][0].clone();
        assert_eq!(subject["namespace"], namespace);
    }
    // One that goes takes nothing from the other.
    uninstall(plane, RELEASE, "one")?;
    // Its successor has another name, and finds the seed of the passwords.
    let mut command = on(plane)?;
    command.args(["install", "successor"]).arg(chart());
    command.args(["--namespace", "one", "--set", "crd.install=false"]);
    succeed(&mut command)?;
    let seed = Object::new("v1", "Secret", "one", "kybern-charts");
    let owner = &plane.client().get(&seed)?["metadata"]["annotations"]["meta.helm.sh/release-name"];
    assert_eq!(owner, RELEASE);
    uninstall(plane, "successor", "one")?;
    assert!(plane.client().find(&seed)?.is_some());
    let other = Object::cluster("rbac.authorization.k8s.io/v1", "ClusterRole", "two:kybern");
    assert!(plane.client().find(&other)?.is_some());
    uninstall(plane, RELEASE, "two")?;
    Ok(())
}
