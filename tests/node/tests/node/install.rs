//! From `helm install` to Pods that answer, and a status that follows them.

use crate::scene::{
    answers, children, cluster_wide, condition, folder, helm_here, installed, metric, metrics,
};
use anyhow::{Result, ensure};
use kybern_node_tests::{Release, SOON, has, helm, kubectl};
use kybern_testcluster::{Object, Progress, Stopwatch, until};
use serde_json::json;

/// `helm install` as NOTES.txt and docs/install.md say it, with the Plugin kind in the release.
fn install(release: &Release) -> Result<String> {
    let mut values = cluster_wide(release)?;
    values["class"] = json!(release.name);
    values["image"] = json!({ "pullPolicy": "Never" });
    let file = release
        .node()
        .state()
        .join(format!("{}.json", release.name));
    std::fs::write(&file, values.to_string())?;
    let chart = std::env::var_os("KYBERN_CHART").unwrap_or_default();
    helm([
        "install".as_ref(),
        release.name.as_ref(),
        chart.as_os_str(),
        "--namespace".as_ref(),
        release.name.as_ref(),
        "--values".as_ref(),
        file.as_os_str(),
        "--wait".as_ref(),
        "--timeout=120s".as_ref(),
        // A node that was used before has the kind already; a fresh one gets it now.
        "--take-ownership".as_ref(),
    ])?
    .ok()
}

#[test]
fn helm_installs_two_hosts_of_which_one_leads_and_an_appservice_answers() -> Result<()> {
    let release = Release::new("install")?;
    let client = release.node().client();
    let watch = Stopwatch::start();
    let notes = install(&release)?;
    println!(
        "helm install --wait: {:.1} s",
        watch.elapsed().as_secs_f64()
    );
    ensure!(notes.contains("kybern rbac -f"), "{notes}");

    // Ready when helm returns: nothing is waited for.
    let replicas = release.replicas()?;
    assert_eq!(replicas.len(), 2, "{replicas:?}");
    for replica in &replicas {
        ensure!(replica.is_ready(), "{}", replica.pod);
        assert_eq!(replica.restarts(), 0);
        let security = &replica.pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(replica.pod["status"]["qosClass"], "Burstable");
    }
    let leader = release.leader()?;
    until("one of the two says that it leads", SOON, || {
        let mut leading = Vec::new();
        for replica in &replicas {
            if metric(&metrics(&replica.pod)?, "kybern_leading") == Some(1.0) {
                leading.push(replica.name.clone());
            }
        }
        Ok(if leading == [leader.name.clone()] {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{leading:?}"))
        })
    })?;

    let watch = Stopwatch::start();
    release.register()?;
    println!("registered: {:.1} s", watch.elapsed().as_secs_f64());
    let watch = Stopwatch::start();
    let app = release.create_app("web", 2)?;
    println!("AppService Ready: {:.1} s", watch.elapsed().as_secs_f64());
    let service = client.get(&app.service)?;
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    let greeting = answers(&format!("http://{address}/"))?;
    ensure!(greeting.starts_with("hello from web-"), "{greeting}");

    let shown = kubectl(["get", "appservice", "--namespace", &release.name])?.ok()?;
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["NAME", "SIZE", "IMAGE", "READY", "AGE"],
        "{shown}"
    );
    assert_eq!(
        rows[1][..4],
        ["web", "2", "localhost/probe:1", "2"],
        "{shown}"
    );

    // The dashboard's questions have answers on a host that works.
    let text = metrics(&release.leader()?.pod)?;
    for name in [
        "kybern_passes_total",
        "kybern_writes_total",
        "kybern_table_rows",
        "kybern_plugin_calls_total",
    ] {
        ensure!(text.contains(&format!("{name}{{")), "{name} in {text}");
    }
    Ok(())
}

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
