//! A status that follows the Pods, and that helm can wait for.

use crate::scene::{children, cluster_wide, condition, folder, helm_here, installed};
use anyhow::{Result, ensure};
use kybern_node_tests::{SOON, has, helm, kubectl};
use kybern_testcluster::{Object, Stopwatch};
use serde_json::json;

#[test]
fn status_follows_the_pods() -> Result<()> {
    let release = installed("follow", cluster_wide)?;
    let client = release.node().client();
    release.register()?;
    let app = release.create_app("web", 1)?;

    kubectl([
        "scale",
        "appservice",
        "web",
        "--replicas=3",
        "--namespace",
        &release.name,
    ])?
    .ok()?;
    release.wait_app(&app, 3)?;
    kubectl([
        "scale",
        "appservice",
        "web",
        "--replicas=2",
        "--namespace",
        &release.name,
    ])?
    .ok()?;
    release.wait_app(&app, 2)?;
    let before = children(&release, &app)?;

    // An image that no registry has: the new Pods never start, the old ones stay.
    client.merge_patch(
        &app.app,
        &json!({ "spec": { "image": "localhost/no-such:1" } }),
    )?;
    let broken = client.wait_for(&app.app, "not Ready", SOON, |app| {
        !has(app, "Ready", "True") && condition(app, "Ready")["status"] != json!(null)
    })?;
    ensure!(broken["status"]["readyReplicas"] == 2, "{broken}");
    let old = children(&release, &app)?;
    ensure!(
        before.iter().all(|pod| old.contains(pod)),
        "{before:?} {old:?}"
    );

    client.merge_patch(
        &app.app,
        &json!({ "spec": { "image": "localhost/probe:1" } }),
    )?;
    release.wait_app(&app, 2)?;
    assert_eq!(children(&release, &app)?, before, "no Pod was restarted");
    Ok(())
}

#[test]
fn helm_waits_for_a_chart_that_contains_an_appservice() -> Result<()> {
    let release = installed("kstatus", cluster_wide)?;
    release.register()?;
    let client = release.node().client();
    let chart = folder("app-chart");
    let install = |name: &str, more: &[&str]| -> Vec<String> {
        [
            "install",
            name,
            &chart,
            "--namespace",
            &release.name,
            "--wait",
        ]
        .iter()
        .chain(more)
        .map(|&word| word.to_owned())
        .collect()
    };
    let watch = Stopwatch::start();
    helm(install("app", &["--timeout=90s"]))?.ok()?;
    println!(
        "helm install --wait of a CR: {:.1} s",
        watch.elapsed().as_secs_f64()
    );
    let app = Object::new("app.example.com/v1", "AppService", &release.name, "app");
    let now = client.get(&app)?;
    ensure!(
        has(&now, "Ready", "True") && now["status"]["readyReplicas"] == 2,
        "helm returned before the Pods were ready: {now}"
    );

    // One whose Pods cannot start is waited for in vain.
    let refused = helm(install(
        "never",
        &["--timeout=10s", "--set", "image=localhost/no-such:1"],
    ))?
    .refused()?;
    ensure!(refused.contains("AppService"), "{refused}");
    for name in ["app", "never"] {
        helm_here(&release, &["uninstall", name, "--wait"])?;
    }
    ensure!(
        client.find(&app)?.is_none(),
        "helm uninstall --wait returned before it was gone"
    );
    Ok(())
}
