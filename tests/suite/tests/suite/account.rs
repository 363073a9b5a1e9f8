//! A plugin whose children are written in the name of a service account, on a real API server.

use crate::record::{keeper, pod};
use crate::scene::{SOON, Scene, kybern};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, Request};
use serde_json::{Value, json};

/// The roles that `kybern rbac` prints for a registration: the host's, then its account's.
fn roles(scene: &Scene, registration: &Value) -> Result<Vec<Value>> {
    let file = format!("{}-account.json", scene.namespace);
    let file = scene.plane.folder().join(file);
    std::fs::write(&file, registration.to_string())?;
    let text = kybern(&["rbac", "-f", &file.to_string_lossy()])?;
    let documents = text.split("---\n").filter(|text| !text.trim().is_empty());
    documents
        .map(|text| Ok(serde_saphyr::from_str(text)?))
        .collect()
}

/// A host and a registration with this account, each with the rights that `kybern rbac` prints.
fn started(scene: &mut Scene, registration: &Value) -> Result<Object> {
    let roles = roles(scene, registration)?;
    let host = roles.first().and_then(|role| role["rules"].as_array());
    scene.grant(&[])?;
    scene.change_rules(|_| true, host.context("rules")?)?;
    scene.start_host()?;
    scene.client().create(registration)?;
    let plugin = Object::of(registration)?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    Ok(plugin)
}

#[test]
fn pods_are_evicted_in_the_name_of_the_service_account() -> Result<()> {
    let mut scene = Scene::new("evictor")?;
    let account = scene.plane.service_account(&scene.namespace, "evictor")?;
    let mut registration = keeper(&scene)?;
    registration["spec"]["serviceAccountName"] = json!(format!("{}/evictor", scene.namespace));
    let its = roles(&scene, &registration)?;
    let its = its.get(1).context("the account's role")?;
    scene.plane.grant(&account, &its["rules"])?;
    started(&mut scene, &registration)?;
    // Pods are refused until the namespace's account is there; no controller makes it here.
    scene.plane.service_account(&scene.namespace, "default")?;
    let free = pod(&scene, "free")?;
    let mark = scene.plane.audit().mark()?;
    scene.client().create(&json!({
        "apiVersion": "keeper.example.com/v1", "kind": "Sleeper",
        "metadata": { "name": "web", "namespace": scene.namespace },
        "spec": { "drain": true },
    }))?;
    scene.client().wait_gone(&free, SOON)?;
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    let evicts = |r: &&Request| r.subresource.as_deref() == Some("eviction");
    let evictions: Vec<&Request> = writes.iter().filter(evicts).collect();
    assert!(!evictions.is_empty());
    for eviction in evictions {
        assert_eq!(
            eviction.impersonated.as_deref(),
            Some(account.name()),
            "{eviction:?}"
        );
    }
    Ok(())
}

#[test]
fn children_are_written_in_the_name_of_a_service_account_and_as_far_as_it_may() -> Result<()> {
    let mut scene = Scene::new("account")?;
    let account = scene.plane.service_account(&scene.namespace, "deployer")?;
    let mut registration = scene.appservice()?;
    registration["spec"]["serviceAccountName"] = json!(format!("{}/deployer", scene.namespace));
    let roles = roles(&scene, &registration)?;
    let [host, its] = roles.as_slice() else {
        anyhow::bail!("two roles: {roles:#?}");
    };
    let name = its["metadata"]["name"].as_str();
    assert_eq!(
        name,
        Some(format!("kybern-plugins-{}", scene.namespace).as_str())
    );
    assert!(!host["rules"].is_null());
    let plugin = started(&mut scene, &registration)?;

    // The account may nothing yet, and the host lends it nothing.
    let lacks = scene.plugin_condition(&plugin, "Authorized", "False")?;
    let message = lacks["message"].as_str().unwrap_or_default();
    let whose = format!("service account {}/deployer may not: ", scene.namespace);
    assert!(message.starts_with(&whose), "{message}");
    for rule in [
        "create, delete, patch deployments.apps in",
        "update appservices.app",
    ] {
        assert!(message.contains(rule), "{rule} in {message}");
    }
    let mark = scene.plane.audit().mark()?;
    let manifest = scene.app("web", 1);
    scene.client().create(&manifest)?;
    let app = Object::of(&manifest)?;
    let refused = scene.ready_reason(&app, "web", |c| c["reason"] == "Forbidden")?;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains(account.name()), "{message}");

    scene.plane.grant(&account, &its["rules"])?;
    let again = json!({ "metadata": { "annotations": { "kybern.dev/reconcile-at": "1" } } });
    scene.client().merge_patch(&app, &again)?;
    let (_, deployment, service) = scene.app_objects("web");
    scene.wait(&deployment, |_| true)?;
    scene.wait(&service, |_| true)?;
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    scene.converged()?;

    // Children in its name, the resource's status in the host's.
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    let of = |resource: &str| -> Vec<&Request> {
        writes.iter().filter(|r| r.resource == resource).collect()
    };
    for resource in ["deployments", "services"] {
        assert!(!of(resource).is_empty(), "{resource}");
        for request in of(resource) {
            assert_eq!(
                request.impersonated.as_deref(),
                Some(account.name()),
                "{request:?}"
            );
        }
    }
    assert!(!of("appservices").is_empty());
    for request in of("appservices") {
        assert_eq!(request.impersonated, None, "{request:?}");
    }

    // What was granted is noticed, and what was asked for is little.
    scene.plugin_condition(&plugin, "Authorized", "True")?;
    let reviews = scene.plane.audit().since(mark)?;
    let reviews = reviews.iter().filter(|r| r.group == "authorization.k8s.io");
    let reviews = reviews.filter(|r| r.user == scene.user.name()).count();
    assert!(reviews < 60, "{reviews} requests for rights");

    // It also lets go in that name.
    scene.client().delete(&plugin)?;
    scene.client().wait_gone(&plugin, SOON)?;
    let left = scene.client().get(&deployment)?;
    assert_eq!(left["metadata"].get("ownerReferences"), None);
    Ok(())
}
