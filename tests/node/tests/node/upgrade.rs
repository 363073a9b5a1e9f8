//! `helm upgrade` to another image and another plugin under a running workload, and back.

use crate::scene::{children, cluster_wide, helm_here, installed, plugin};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kybern_node_tests::{AppService, Release, SOON};
use kybern_testcluster::{Mark, Object, Progress, Stopwatch, guest, until};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

/// No pass for longer than this is too long.
const GAP: Duration = Duration::from_secs(5);
/// Between two changes of the CR: the gap is measured this finely.
const PACE: Duration = Duration::from_millis(150);
const FIRST: u16 = 10_000;

/// Changes the AppService's port all the time: a new Service port each time, the same Pods.
struct Writer<'a> {
    release: &'a Release,
    app: &'a AppService,
    last: AtomicU16,
    stop: AtomicBool,
}

impl Writer<'_> {
    fn run(&self) -> Result<()> {
        let client = self.release.node().client();
        while !self.stop.load(Ordering::Relaxed) {
            let port = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            client.merge_patch(
                &self.app.app,
                &json!({ "spec": { "ports": [{ "port": port, "targetPort": 8080 }] } }),
            )?;
            pause(PACE)?;
        }
        Ok(())
    }
}

/// Lets time pass: a pace has no condition to wait for.
fn pause(time: Duration) -> Result<()> {
    let watch = Stopwatch::start();
    until("the pause to pass", time + SOON, || {
        Ok(if watch.elapsed() >= time {
            Progress::Done(())
        } else {
            Progress::Waiting("time".to_owned())
        })
    })
}

/// The port of the Service that the host made last.
fn port(service: &Value) -> u64 {
    service["spec"]["ports"][0]["port"]
        .as_u64()
        .unwrap_or_default()
}

/// The longest time between two writes of the Service, by when the API server received them.
fn longest_gap(release: &Release, app: &AppService, mark: Mark) -> Result<(Duration, usize)> {
    let mut times: Vec<jiff::Timestamp> = Vec::new();
    for request in release.requests(mark)? {
        let service = request.resource == "services"
            && request.name.as_deref() == Some(app.service.name.as_str())
            && request.verb == "patch";
        if service {
            ensure!(request.code == Some(200), "{request:?}");
            times.push(
                request
                    .received
                    .parse()
                    .context("a time of the audit log")?,
            );
        }
    }
    times.sort();
    let gaps = times.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    let longest = gaps
        .max()
        .context("the Service was written at least twice")?;
    Ok((Duration::try_from(longest)?, times.len()))
}

/// Runs `change` while the CR is changed all the time; nothing may be lost by it.
fn under_load(
    release: &Release,
    app: &AppService,
    what: &str,
    change: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let client = release.node().client();
    let before = children(release, app)?;
    let mark = release.node().audit().mark()?;
    let first = client.get(&app.app)?["spec"]["ports"][0]["port"].as_u64();
    let first = first
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(FIRST);
    let writer = Writer {
        release,
        app,
        last: AtomicU16::new(first.max(FIRST)),
        stop: AtomicBool::new(false),
    };
    let watch = Stopwatch::start();
    std::thread::scope(|scope| -> Result<()> {
        let writing = scope.spawn(|| writer.run());
        let start = u64::from(first.max(FIRST));
        let changed = client
            .wait_for(&app.service, "to follow", SOON, |s| port(s) > start + 3)
            .and_then(|_| change())
            .and_then(|()| {
                let seen = u64::from(writer.last.load(Ordering::Relaxed));
                client.wait_for(&app.service, "to follow still", SOON, |s| port(s) > seen)
            });
        writer.stop.store(true, Ordering::Relaxed);
        let written = writing.join().ok().context("the writer's thread")?;
        changed?;
        written
    })?;
    let last = u64::from(writer.last.load(Ordering::Relaxed));
    client.wait_for(&app.service, "to have the last change", SOON, |s| {
        port(s) == last
    })?;
    let (gap, writes) = longest_gap(release, app, mark)?;
    println!(
        "{what}: {:.1} s, {} changes, {writes} writes of the Service, longest gap {:.2} s",
        watch.elapsed().as_secs_f64(),
        last - u64::from(first.max(FIRST)),
        gap.as_secs_f64()
    );
    ensure!(gap < GAP, "{what}: no pass for {gap:?}");
    assert_eq!(
        children(release, app)?,
        before,
        "{what}: no Pod was restarted"
    );
    Ok(())
}

/// The same component with other bytes: a section that nobody reads follows it.
fn other_component(release: &Release) -> Result<(Vec<u8>, String)> {
    let mut wasm = std::fs::read(guest("appservice")?)?;
    let name = b"node-test";
    // Custom section 0: its size, the name's length, the name.
    wasm.push(0);
    wasm.push(u8::try_from(name.len() + 1)?);
    wasm.push(u8::try_from(name.len())?);
    wasm.extend(name);
    let file = release.node().state().join("other.wasm");
    std::fs::write(&file, &wasm)?;
    let path = file.to_string_lossy();
    let about = kybern_node_tests::kybern(["plugin", "inspect", &path])?.ok()?;
    let about: Value = serde_saphyr::from_str(&about)?;
    let digest = about["digest"].as_str().context("a digest")?;
    Ok((wasm, digest.to_owned()))
}

fn images(release: &Release) -> Result<Vec<String>> {
    let replicas = release.replicas()?;
    Ok(replicas
        .iter()
        .map(|replica| {
            let image = &replica.pod["spec"]["containers"][0]["image"];
            image.as_str().unwrap_or_default().to_owned()
        })
        .collect())
}

#[test]
fn image_and_plugin_change_under_load_and_back() -> Result<()> {
    let release = installed("upgrade", cluster_wide)?;
    release.register()?;
    let app = release.create_app("web", 2)?;
    let client = release.node().client();
    let first = images(&release)?;

    let mut values = cluster_wide(&release)?;
    values["image"] = json!({ "tag": "next" });
    under_load(&release, &app, "helm upgrade to another image", || {
        release.helm(&values)?.ok().map(|_| ())
    })?;
    let replicas = release.wait_ready(2)?;
    assert_eq!(images(&release)?, ["localhost/kybern:next"; 2]);
    assert!(replicas.iter().all(|replica| replica.restarts() == 0));

    let before = client.get(&plugin(&release))?["status"]["active"]["digest"].clone();
    let (wasm, digest) = other_component(&release)?;
    under_load(&release, &app, "another plugin", || {
        let source = Object::new("v1", "ConfigMap", &release.name, "appservice");
        let key = json!({ "binaryData": { "appservice.wasm": STANDARD.encode(&wasm) } });
        client.merge_patch(&source, &key)?;
        client.wait_for(&plugin(&release), "to run the new component", SOON, |p| {
            p["status"]["active"]["digest"] == digest.as_str()
        })?;
        Ok(())
    })?;
    ensure!(before != digest.as_str(), "the digest did not change");
    let now = client.get(&plugin(&release))?;
    assert_eq!(now["status"]["previous"][0]["digest"], before, "{now}");

    under_load(&release, &app, "helm rollback", || {
        helm_here(
            &release,
            &["rollback", &release.name, "1", "--wait", "--timeout=120s"],
        )?;
        Ok(())
    })?;
    release.wait_ready(2)?;
    assert_eq!(images(&release)?, first);
    Ok(())
}
