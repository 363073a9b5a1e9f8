//! What `helm uninstall` leaves: with its hook and without, after `kybern uninstall` and without it.
//! Nothing stays Terminating, whatever is deleted afterwards.

use crate::scene::{
    children, cluster_wide, condition, helm_here, installed, namespace_goes, one_namespace, plugin,
};
use anyhow::{Result, ensure};
use kybern_node_tests::{AppService, Release, SOON, helm, kubectl, kybern};
use kybern_testcluster::{Object, Stopwatch};
use serde_json::{Value, json};

/// A release with an AppService whose finalizer is ours: paused, so that no pass takes it off again.
fn with_a_held_app(
    prefix: &str,
    values: fn(&Release) -> Result<Value>,
) -> Result<(Release, AppService)> {
    let release = installed(prefix, values)?;
    release.register()?;
    let app = release.create_app("web", 1)?;
    let finalizer = format!("{}.finalizers.kybern.dev/cleanup", release.name);
    let hold = json!({ "metadata": {
        "annotations": { "kybern.dev/paused": "true" },
        "finalizers": [finalizer],
    }});
    release.node().client().merge_patch(&app.app, &hold)?;
    Ok((release, app))
}

/// No host and nothing of the hook is left; the Plugin kind is.
fn only_the_kind_is_left(release: &Release) -> Result<()> {
    let client = release.node().client();
    let gone = |kind: &str, api: &str, name: &str| -> Result<()> {
        client.wait_gone(&Object::new(api, kind, &release.name, name), SOON)
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    let host = host_name(release);
    gone("Deployment", "apps/v1", &host)?;
    for name in [&host, &format!("{host}-uninstall")] {
        gone("Role", rbac, name)?;
        gone("RoleBinding", rbac, name)?;
    }
    gone("Job", "batch/v1", &format!("{host}-uninstall"))?;
    let definition = Object::cluster(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "plugins.kybern.dev",
    );
    client.get(&definition)?;
    Ok(())
}

/// The chart's full name in this release.
fn host_name(release: &Release) -> String {
    format!("{}-kybern", release.name)
}

#[test]
fn with_the_hook_plugins_stay_nothing_hangs_and_a_new_release_goes_on() -> Result<()> {
    let (release, app) = with_a_held_app("hook", cluster_wide)?;
    let client = release.node().client();
    let before = children(&release, &app)?;
    let watch = Stopwatch::start();
    helm_here(&release, &["uninstall", &release.name, "--wait"])?;
    println!(
        "helm uninstall with the hook: {:.1} s",
        watch.elapsed().as_secs_f64()
    );
    only_the_kind_is_left(&release)?;
    let kept = client.get(&plugin(&release))?;
    ensure!(kept["metadata"]["finalizers"].is_null(), "{kept}");
    assert_eq!(
        condition(&kept, "Ready")["reason"],
        "HostUninstalled",
        "{kept}"
    );
    let now = client.get(&app.app)?;
    ensure!(now["metadata"]["finalizers"].is_null(), "{now}");
    assert_eq!(children(&release, &app)?, before, "the Pods run on");

    // Again: the same Plugin, the same children.
    release.helm(&cluster_wide(&release)?)?.ok()?;
    client.wait_for(&plugin(&release), "Ready", SOON, |plugin| {
        condition(plugin, "Ready")["status"] == "True"
            && plugin["metadata"]["finalizers"].is_array()
    })?;
    let resume = json!({ "metadata": { "annotations": { "kybern.dev/paused": null } }, "spec": { "size": 2 } });
    client.merge_patch(&app.app, &resume)?;
    release.wait_app(&app, 2)?;
    let after = children(&release, &app)?;
    ensure!(
        before.iter().all(|pod| after.contains(pod)),
        "{before:?} {after:?}"
    );

    // And gone for good: what is deleted without a host goes.
    helm_here(&release, &["uninstall", &release.name, "--wait"])?;
    for object in [&app.app, &plugin(&release)] {
        client.delete(object)?;
        client.wait_gone(object, SOON)?;
    }
    for child in [&app.deployment, &app.service] {
        client.wait_gone(child, SOON)?;
    }
    namespace_goes(&release)
}

#[test]
fn in_one_namespace_the_hook_needs_no_rights_beyond_it() -> Result<()> {
    let (release, app) = with_a_held_app("hookns", one_namespace)?;
    helm_here(&release, &["uninstall", &release.name, "--wait"])?;
    only_the_kind_is_left(&release)?;
    let client = release.node().client();
    client.delete(&plugin(&release))?;
    client.wait_gone(&plugin(&release), SOON)?;
    client.delete(&app.app)?;
    client.wait_gone(&app.app, SOON)?;
    namespace_goes(&release)
}

#[test]
fn the_hook_can_remove_the_plugins_too() -> Result<()> {
    let release = installed("hookall", |release| {
        let mut values = cluster_wide(release)?;
        values["uninstall"] = json!({ "plugins": "remove" });
        Ok(values)
    })?;
    release.register()?;
    let app = release.create_app("web", 1)?;
    let client = release.node().client();
    let before = children(&release, &app)?;
    helm_here(&release, &["uninstall", &release.name, "--wait"])?;
    only_the_kind_is_left(&release)?;
    ensure!(
        client.find(&plugin(&release))?.is_none(),
        "the Plugin was to go"
    );
    let orphan = client.get(&app.deployment)?;
    ensure!(orphan["metadata"]["ownerReferences"].is_null(), "{orphan}");
    client.delete(&app.app)?;
    client.wait_gone(&app.app, SOON)?;
    assert_eq!(children(&release, &app)?, before, "onRemoval: Orphan");
    namespace_goes(&release)
}

#[test]
fn after_kybern_uninstall_the_hook_finds_nothing_to_do() -> Result<()> {
    let (release, app) = with_a_held_app("after", cluster_wide)?;
    let client = release.node().client();
    // The running host does the work.
    let told = kybern(["uninstall", "--yes", "--class", &release.name])?.ok()?;
    ensure!(told.contains("released and deleted"), "{told}");
    ensure!(!told.contains("no running host"), "{told}");
    ensure!(client.find(&plugin(&release))?.is_none(), "{told}");
    let now = client.get(&app.app)?;
    ensure!(now["metadata"]["finalizers"].is_null(), "{now}");
    helm_here(&release, &["uninstall", &release.name, "--wait"])?;
    only_the_kind_is_left(&release)?;
    client.delete(&app.app)?;
    client.wait_gone(&app.app, SOON)?;
    namespace_goes(&release)
}

#[test]
fn without_hooks_finalizers_stay_and_kybern_uninstall_is_the_cure() -> Result<()> {
    let (release, app) = with_a_held_app("nohooks", cluster_wide)?;
    let client = release.node().client();
    helm_here(
        &release,
        &["uninstall", &release.name, "--no-hooks", "--wait"],
    )?;
    only_the_kind_is_left(&release)?;
    // What docs/install.md says remains.
    client.delete(&app.app)?;
    client.delete(&plugin(&release))?;
    for (object, finalizer) in [
        (
            &app.app,
            format!("{}.finalizers.kybern.dev/cleanup", release.name),
        ),
        (&plugin(&release), "kybern.dev/release".to_owned()),
    ] {
        let waiting = client.get(object)?;
        ensure!(
            waiting["metadata"]["deletionTimestamp"].is_string(),
            "{waiting}"
        );
        assert_eq!(waiting["metadata"]["finalizers"], json!([finalizer]));
    }
    // The cure that it names, from any machine.
    kybern(["uninstall", "--yes", "--class", &release.name])?.ok()?;
    for object in [&app.app, &plugin(&release)] {
        client.wait_gone(object, SOON)?;
    }
    namespace_goes(&release)
}

#[test]
fn after_a_hook_that_failed_nothing_is_removed_and_a_rollback_brings_the_hosts_back() -> Result<()>
{
    let (release, app) = with_a_held_app("failed", cluster_wide)?;
    let client = release.node().client();
    let before = children(&release, &app)?;
    // The right that the finalizer needs is missing.
    let good = cluster_wide(&release)?;
    let mut poor = good.clone();
    let rules = poor["rbac"]["pluginRules"].as_array_mut();
    for rule in rules.into_iter().flatten() {
        if rule["resources"] == json!(["appservices"]) {
            rule["verbs"] = json!(["get", "list", "watch"]);
        }
    }
    ensure!(poor != good, "no rule for the CR itself: {good}");
    poor["uninstall"] = json!({ "timeoutSeconds": 30 });
    release.helm(&poor)?.ok()?;

    let told = helm(["uninstall", &release.name, "--namespace", &release.name])?.refused()?;
    println!("helm: {told}");
    let job = format!("job/{}-uninstall", host_name(&release));
    let log = kubectl(["logs", "--namespace", &release.name, &job])?.ok()?;
    println!("hook: {log}");
    ensure!(
        log.contains("appservices") && log.contains("forbidden"),
        "{log}"
    );
    for object in [&app.app, &app.deployment, &app.service, &plugin(&release)] {
        let now = client.get(object)?;
        ensure!(now["metadata"]["deletionTimestamp"].is_null(), "{now}");
    }
    assert_eq!(children(&release, &app)?, before, "the Pods run on");

    // As docs/install.md says: it cannot be mended before it is a release again.
    let refused = release.helm(&good)?.refused()?;
    ensure!(refused.contains("has no deployed releases"), "{refused}");
    helm_here(&release, &["rollback", &release.name, "2", "--wait"])?;
    release.wait_ready(2)?;
    release.helm(&good)?.ok()?;
    let resume = json!({ "metadata": { "annotations": { "kybern.dev/paused": null } }, "spec": { "size": 2 } });
    client.merge_patch(&app.app, &resume)?;
    release.wait_app(&app, 2)?;
    helm_here(&release, &["uninstall", &release.name, "--wait"])?;
    only_the_kind_is_left(&release)
}
