//! All that a pass reads, it reads on one snapshot: no writer of others comes between two answers.

use crate::scene::{SOON, Scene};
use anyhow::{Result, ensure};
use kybern_testcluster::{Object, Progress, until};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Passes whose answers must agree.
const PASSES: f64 = 60.0;

/// Three ways to ask the same: any commit that changes one of the objects changes the answer, so
/// that two references, or two queries, on different snapshots do not agree.
const WAYS: [&str; 3] = [
    // One reference.
    "SELECT count(*) AS n, max(resource_version) AS newest \
     FROM core.configmaps WHERE name LIKE 'churn-%'",
    // A join with itself: an object that changed in between has no partner.
    "SELECT count(*) AS n, max(r.resource_version) AS newest \
     FROM core.configmaps l JOIN core.configmaps r \
     ON l.name = r.name AND l.resource_version = r.resource_version \
     WHERE l.name LIKE 'churn-%'",
    // Subqueries.
    "SELECT count(*) AS n, (SELECT max(resource_version) FROM core.configmaps WHERE name LIKE 'churn-%') AS newest \
     FROM core.configmaps WHERE name LIKE 'churn-%' AND resource_version <= \
     (SELECT max(resource_version) FROM core.configmaps WHERE name LIKE 'churn-%')",
];

/// Creates, changes and deletes ConfigMaps as fast as the API server lets it.
fn churn(scene: &Scene, writer: usize, stop: &AtomicBool, written: &AtomicU32) -> Result<()> {
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("churn-{writer}-{}", round % 20);
        let object = Object::new("v1", "ConfigMap", &scene.namespace, &name);
        let body = |step: u32| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": name, "namespace": scene.namespace },
                "data": { "round": round.to_string(), "step": step.to_string() },
            })
        };
        if scene.client().find(&object)?.is_none() {
            scene.client().create(&body(0))?;
        }
        scene.client().merge_patch(&object, &body(1))?;
        if round % 3 == 0 {
            scene.client().delete(&object)?;
        }
        written.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// How many passes of the hostile plugin ended like this.
fn passes(scene: &Scene, result: &str) -> Result<f64> {
    scene.metric("kybern_passes_total", &format!("result=\"{result}\""))
}

#[test]
fn all_answers_of_a_pass_agree_while_others_write() -> Result<()> {
    let mut scene = Scene::new("snapshot")?;
    let registration = scene.evil()?;
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    let queries: Vec<Value> = (0..4)
        .flat_map(|turn| {
            WAYS.iter()
                .enumerate()
                .map(move |(way, sql)| json!({ "name": format!("q{turn}{way}"), "sql": sql }))
        })
        .collect();
    scene.client().create(&json!({
        "apiVersion": "evil.example.com/v1", "kind": "Evil",
        "metadata": { "name": "compare", "namespace": scene.namespace },
        "spec": { "mode": "compare", "queries": queries },
    }))?;
    let evil = scene.object("evil.example.com/v1", "Evil", "compare");
    scene.ready_reason(&evil, "Evil", |c| c["status"] == "True")?;
    let before = passes(&scene, "succeeded")?;
    let (stop, written) = (AtomicBool::new(false), AtomicU32::new(0));
    let result = std::thread::scope(|threads| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (scene, stop, written) = (&scene, &stop, &written);
                threads.spawn(move || churn(scene, writer, stop, written))
            })
            .collect();
        let result = until("enough passes", SOON + Duration::from_secs(60), || {
            if passes(&scene, "failed")? > 0.0 {
                let status = scene.client().get(&evil)?["status"]["conditions"].clone();
                anyhow::bail!("two snapshots in one pass: {status:#}");
            }
            let more = passes(&scene, "succeeded")? - before;
            Ok(if more >= PASSES {
                Progress::Done(())
            } else {
                Progress::Waiting(format!("{more} passes"))
            })
        });
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("no panic")?;
        }
        result
    });
    result?;
    let written = written.load(Ordering::Relaxed);
    ensure!(
        written >= 200,
        "only {written} writes: nothing came between"
    );
    ensure!(passes(&scene, "failed")? < 1.0);
    scene.ready_reason(&evil, "Evil", |c| c["status"] == "True")?;
    Ok(())
}
