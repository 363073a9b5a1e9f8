//! From `helm install` on a node that has never had Kybern to Pods that answer.
//!
//! libtest runs tests by name, so this comes before those that leave kinds behind; if it no
//! longer does, it fails.

use crate::scene::{answers, cluster_wide, metric, metrics};
use anyhow::{Result, ensure};
use kybern_node_tests::{Node, Release, SOON, helm, kubectl, node};
use kybern_testcluster::{Object, Progress, Stopwatch, until};
use serde_json::json;

/// The kinds that chart and plugin bring.
const KINDS: [&str; 2] = ["plugins.kybern.dev", "appservices.app.example.com"];

fn definition(name: &str) -> Object {
    Object::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
}

/// Nothing of Kybern is in the cluster; one that was used before cannot show that.
fn has_never_had_kybern(node: &Node) -> Result<()> {
    if node.was_used() {
        println!("this node was used before: whether the chart needs a kind is not seen");
        return Ok(());
    }
    for kind in KINDS {
        let found = node.client().find(&definition(kind))?;
        ensure!(
            found.is_none(),
            "{kind} is there: another test ran before this one"
        );
    }
    Ok(())
}

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
    let mut command: Vec<&std::ffi::OsStr> = vec![
        "install".as_ref(),
        release.name.as_ref(),
        chart.as_os_str(),
        "--namespace".as_ref(),
        release.name.as_ref(),
        "--values".as_ref(),
        file.as_os_str(),
        "--wait".as_ref(),
        "--timeout=120s".as_ref(),
    ];
    if release.node().was_used() {
        // It has the kind already.
        command.push("--take-ownership".as_ref());
    }
    helm(command)?.ok()
}

#[test]
fn gets_two_hosts_of_which_one_leads_and_an_appservice_that_answers() -> Result<()> {
    has_never_had_kybern(node()?)?;
    let release = Release::new("install")?;
    let client = release.node().client();
    let watch = Stopwatch::start();
    let notes = install(&release)?;
    println!(
        "helm install --wait: {:.1} s",
        watch.elapsed().as_secs_f64()
    );
    ensure!(notes.contains("kybern rbac -f"), "{notes}");

    let kind = client.get(&definition(KINDS[0]))?;
    let annotations = &kind["metadata"]["annotations"];
    assert_eq!(annotations["helm.sh/resource-policy"], "keep", "{kind}");
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
