//! Things that come and go: CRD, API server, registration, host, namespace. The host recovers by itself.

use crate::scene::{APP, Language, SOON, Scene};
use anyhow::Result;
use kybern_testcluster::{ControlPlane, Object, Options, Progress, until};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

crate::scene::in_each_language! {
    the_host_starts_before_the_crd_exists_and_the_crd_may_go_and_come_back,
    a_registration_deleted_while_busy_leaves_its_children_as_orphans,
    a_host_uninstalled_with_crs_left_leaves_nothing_terminating,
    deleting_the_cr_removes_its_children_and_the_name_can_be_used_again,
    a_namespace_deleted_with_crs_in_it_goes,
}

/// A control plane of its own, for tests that break it for everybody else.
pub(crate) fn own_plane() -> Result<&'static ControlPlane> {
    Ok(Box::leak(Box::new(ControlPlane::start(Options::new())?)))
}

/// A control plane with a garbage collector.
pub(crate) fn with_collector() -> Result<&'static ControlPlane> {
    static PLANE: OnceLock<std::result::Result<ControlPlane, String>> = OnceLock::new();
    PLANE
        .get_or_init(|| {
            ControlPlane::start(Options::new().with_controller_manager())
                .map_err(|e| format!("{e:#}"))
        })
        .as_ref()
        .map_err(|e| anyhow::anyhow!("{e}"))
}

fn the_host_starts_before_the_crd_exists_and_the_crd_may_go_and_come_back(
    language: Language,
) -> Result<()> {
    let plane = own_plane()?;
    let mut scene = Scene::on(plane, "crd")?;
    let mut registration = scene.appservice_in(language)?;
    registration["spec"]["crds"] = json!("Skip");
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let object = scene.submit(&registration)?;
    let condition = scene.plugin_condition(&object, "Ready", "False")?;
    assert_eq!(condition["reason"], "KindNotServed", "{condition}");
    let manifest: Value = serde_saphyr::from_str(&crate::scene::kybern(&[
        "plugin",
        "inspect",
        &kybern_testcluster::guest("appservice")?.to_string_lossy(),
    ])?)?;
    let crd = manifest["manifest"]["crds"][0].clone();
    plane.install_crd(&crd)?;
    scene.plugin_condition(&object, "Ready", "True")?;
    scene.create_app("web", 1)?;
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    let crd_object = Object::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
    plane.client().delete(&crd_object)?;
    plane.client().wait_gone(&crd_object, SOON)?;
    scene.plugin_condition(&object, "Ready", "False")?;
    plane.install_crd(&crd)?;
    scene.plugin_condition(&object, "Ready", "True")?;
    scene.create_app("again", 1)?;
    scene.converged()?;
    Ok(())
}

#[test]
fn a_registration_that_is_older_than_the_host_gets_its_crd_from_the_first_leader() -> Result<()> {
    let plane = own_plane()?;
    let mut scene = Scene::on(plane, "older")?;
    let registration = scene.appservice()?;
    // A host starts as a standby, which installs no CRDs: taking the lead must make up for it.
    let object = scene.submit(&registration)?;
    scene.start_host_with(&["--leader-elect=true"])?;
    scene.plugin_condition(&object, "Ready", "True")?;
    scene.create_app("web", 1)?;
    Ok(())
}

#[test]
fn an_api_server_restart_is_survived() -> Result<()> {
    let plane = own_plane()?;
    let mut scene = Scene::on(plane, "restart")?;
    let registration = scene.appservice()?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    plane.restart_api_server()?;
    plane
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 5 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 5)?;
    scene.create_app("after", 1)?;
    scene.converged()?;
    Ok(())
}

fn a_registration_deleted_while_busy_leaves_its_children_as_orphans(
    language: Language,
) -> Result<()> {
    let scene = Scene::with_appservice_in(language, "orphan")?;
    for n in 0..10 {
        scene.client().create(&scene.app(&format!("app-{n}"), 1))?;
    }
    let plugin = Object::cluster("kybern.dev/v1alpha1", "Plugin", &scene.namespace);
    scene.client().delete(&plugin)?;
    scene.client().wait_gone(&plugin, SOON)?;
    for deployment in scene
        .client()
        .list("apps/v1", "Deployment", Some(&scene.namespace))?
    {
        assert!(
            deployment["metadata"]["ownerReferences"].is_null(),
            "{deployment}"
        );
    }
    for app in scene
        .client()
        .list(APP, "AppService", Some(&scene.namespace))?
    {
        assert!(app["metadata"]["finalizers"].is_null(), "{app}");
    }
    scene.converged()?;
    Ok(())
}

fn a_host_uninstalled_with_crs_left_leaves_nothing_terminating(language: Language) -> Result<()> {
    let mut scene = Scene::with_appservice_in(language, "uninstall")?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    scene.kill_host();
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let told = crate::scene::kybern(&[
        "uninstall",
        "--kubeconfig",
        &kubeconfig.to_string_lossy(),
        "--class",
        &scene.class,
        "--yes",
    ])?;
    assert!(told.contains("released and deleted"), "{told}");
    let plugin = Object::cluster("kybern.dev/v1alpha1", "Plugin", &scene.namespace);
    scene.client().wait_gone(&plugin, SOON)?;
    assert!(scene.client().get(&deployment)?["metadata"]["ownerReferences"].is_null());
    scene.client().delete(&app)?;
    scene.client().wait_gone(&app, SOON)?;
    Ok(())
}

fn deleting_the_cr_removes_its_children_and_the_name_can_be_used_again(
    language: Language,
) -> Result<()> {
    let mut scene = Scene::on(with_collector()?, "recreate")?;
    let registration = scene.appservice_in(language)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    let (app, deployment, service) = scene.create_app("web", 1)?;
    let first = scene.client().get(&deployment)?["metadata"]["uid"].clone();
    scene.client().delete(&app)?;
    // At once, while the old children are still there.
    scene.client().wait_gone(&app, SOON)?;
    scene.client().create(&scene.app("web", 2))?;
    scene.wait(&deployment, |d| {
        d["metadata"]["uid"] != first && d["spec"]["replicas"] == 2
    })?;
    scene.ready_reason(&app, "AppService", |c| c["reason"] != "NotOurs")?;
    scene.client().delete(&app)?;
    for object in [&app, &deployment, &service] {
        scene.client().wait_gone(object, SOON)?;
    }
    Ok(())
}

fn a_namespace_deleted_with_crs_in_it_goes(language: Language) -> Result<()> {
    let plane = with_collector()?;
    let mut scene = Scene::on(plane, "nsgone")?;
    let registration = scene.appservice_in(language)?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    for n in 0..5 {
        scene.create_app(&format!("app-{n}"), 1)?;
    }
    let namespace = Object::cluster("v1", "Namespace", &scene.namespace);
    plane.client().delete(&namespace)?;
    plane
        .client()
        .wait_gone(&namespace, Duration::from_secs(120))?;
    // Until it has heard of that, a busy host may still write what it knew before.
    until("the host to hear of it", SOON, || {
        let rows = scene.metric(
            "kybern_table_rows",
            "table=\"app.example.com/v1/AppService\"",
        )?;
        let running = scene.metric("kybern_passes_running", "")?;
        Ok(if rows + running < 0.5 {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{rows} rows, {running} passes"))
        })
    })?;
    let writes = scene.writes_within(Duration::from_secs(5))?;
    assert!(writes.is_empty(), "no busy loop afterwards: {writes:#?}");
    Ok(())
}
