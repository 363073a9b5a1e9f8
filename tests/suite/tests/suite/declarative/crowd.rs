//! The published operator with many custom resources. How many: `KYBERN_CROWD`, 50 unless told.

use super::with_bundle;
use crate::scale::crowd::at_once;
use crate::scene::folder;
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Progress, Stopwatch, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Enough for CI: charts are rendered by a host without optimisation, beside other tests.
const FEW: usize = 50;
/// At once, while custom resources are created.
const CREATORS: usize = 8;
/// How long any number may take.
const LONG: Duration = Duration::from_secs(1_800);

/// What the chart makes for each, by the end of its name.
const CHILDREN: [(&str, &str, &[&str]); 6] = [
    ("v1", "ConfigMap", &["vvp"]),
    ("v1", "Secret", &["vvp-creds"]),
    ("v1", "Service", &["vvp"]),
    (
        "apps/v1",
        "Deployment",
        &["vvp", "vvp-index", "vvp-mail", "vvp-report"],
    ),
    ("apps/v1", "StatefulSet", &["cache"]),
    ("networking.k8s.io/v1", "Ingress", &["vvp"]),
];

fn count() -> Result<usize> {
    let Some(told) = std::env::var_os("KYBERN_CROWD") else {
        return Ok(FEW);
    };
    let told = told.to_str().context("KYBERN_CROWD is a number")?;
    told.parse().context("KYBERN_CROWD is a number")
}

fn name(number: usize) -> String {
    format!("shop-{number}")
}

#[test]
fn many_releases_of_the_published_operator_converge_and_come_to_rest() -> Result<()> {
    let n = count()?;
    let (scene, _) = with_bundle("vvps", &folder("tests/bundles/sreworks"))?;
    let client = scene.client();
    let watch = Stopwatch::start();
    at_once(CREATORS, n, |number| {
        client.create(&json!({
            "apiVersion": "vvp.example.com/v1", "kind": "Vvp",
            "metadata": { "name": name(number), "namespace": scene.namespace },
            "spec": { "replicas": number % 5, "version": "2.9.1" },
        }))?;
        Ok(true)
    })?;
    println!("crowd: {n} created in {:.1?}", watch.elapsed());
    let list =
        |version: &str, kind: &str| client.list(version, kind, Some(scene.namespace.as_str()));
    // The rule has told each Ingress of its Service.
    let told = |ingress: &&Value| {
        let at = "/metadata/annotations/vvp.example.com~1service-ports";
        ingress.pointer(at).is_some_and(|ports| ports == "80,9000")
    };
    until("every release to be whole", LONG, || {
        let ingresses = list("networking.k8s.io/v1", "Ingress")?;
        let done = ingresses.iter().filter(told).count();
        Ok(if done == n {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{done} of {n} are"))
        })
    })?;
    println!("crowd: {n} converged after {:.1?}", watch.elapsed());
    scene.converged()?;
    // All of each, and nothing else.
    for (version, kind, ends) in CHILDREN {
        let objects = list(version, kind)?;
        let ours = objects
            .iter()
            .filter(|o| o.pointer("/metadata/ownerReferences/0/kind") == Some(&json!("Vvp")));
        let names = ours.filter_map(|o| o["metadata"]["name"].as_str());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        let wanted = (0..n).flat_map(|number| {
            let of = name(number);
            ends.iter().map(move |end| format!("{of}-{end}"))
        });
        ensure!(names == wanted.collect(), "{kind}: {names:?}");
    }
    for deployment in list("apps/v1", "Deployment")? {
        let name = deployment["metadata"]["name"].as_str().context("a name")?;
        let Some(number) = name.strip_suffix("-vvp") else {
            continue;
        };
        let number: usize = number.trim_start_matches("shop-").parse()?;
        assert_eq!(deployment["spec"]["replicas"], number % 5, "{name}");
    }
    Ok(())
}
