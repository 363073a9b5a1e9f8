//! SUBSCRIBE at a running host, or at a cluster: all rows, then changes in their order; who comes back misses nothing,
//! and who comes too late is told so.

use crate::asking::asked;
use crate::scene::{SOON, Scene, kybern};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Object, Progress, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A command that goes on, and its lines.
struct Told {
    child: Child,
    lines: Receiver<String>,
}

impl Told {
    fn new(host: &str, format: &str, statement: &str) -> Result<Self> {
        Self::of(&[host], format, statement)
    }

    fn of(place: &[&str], format: &str, statement: &str) -> Result<Self> {
        let mut child = Command::new(kybern_testcluster::kybern()?)
            .arg("sql")
            .args(place)
            .args(["-o", format, statement])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("a pipe")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let mut all = BufReader::new(out).lines().map_while(Result::ok);
            all.try_for_each(|line| send.send(line)).ok();
        });
        Ok(Self { child, lines })
    }

    fn line(&self) -> Result<String> {
        let line = self.lines.recv_timeout(SOON);
        line.context("nothing more was told")
    }

    /// The next change; marks between are passed over.
    fn change(&self) -> Result<Value> {
        loop {
            let row: Value = serde_json::from_str(&self.line()?)?;
            if row["op"] != "progress" {
                return Ok(row);
            }
        }
    }

    /// What RESUME takes to go on behind a sequence.
    fn mark(&self, behind: &Value) -> Result<String> {
        loop {
            let row: Value = serde_json::from_str(&self.line()?)?;
            ensure!(row["op"] == "progress", "another change: {row}");
            if row["sequence"].as_u64() >= behind["sequence"].as_u64() {
                return Ok(row["resume"].as_str().context("a mark")?.to_owned());
            }
        }
    }

    /// Its exit code, and what it said besides, where it ends by itself.
    fn ended(mut self) -> Result<(Option<i32>, String)> {
        let status = until("the command to end", SOON, || {
            Ok(match self.child.try_wait()? {
                Some(status) => Progress::Done(status),
                None => Progress::Waiting("it goes on".to_owned()),
            })
        })?;
        let said = self.child.stderr.take().context("a pipe")?;
        Ok((status.code(), std::io::read_to_string(said)?))
    }

    /// Ctrl-C; whether it ended well, and what it said besides.
    fn interrupt(mut self) -> Result<(bool, String)> {
        let id = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-INT", &id]).status()?.success());
        let status = self.child.wait()?;
        let said = self.child.stderr.take().context("a pipe")?;
        Ok((status.success(), std::io::read_to_string(said)?))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn deployment(scene: &Scene, name: &str) -> Result<Object> {
    let labels = json!({ "app": name });
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": scene.namespace },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": "none" }] },
            },
        },
    });
    scene.client().create(&manifest)?;
    Object::of(&manifest)
}

fn scale(scene: &Scene, object: &Object, replicas: u64) -> Result<()> {
    let patch = json!({ "spec": { "replicas": replicas } });
    scene.client().merge_patch(object, &patch)?;
    Ok(())
}

/// Waits until the host has these rows; it does not watch the kind at once.
fn wait(host: &str, is: impl Fn(&[Value]) -> bool) -> Result<()> {
    let binary = kybern_testcluster::kybern()?;
    until(QUERY, SOON, || {
        let arguments = ["sql", host, "-o", "json", QUERY];
        let told = Command::new(&binary).args(arguments).output()?;
        let rows: Vec<Value> = serde_json::from_slice(&told.stdout).unwrap_or_default();
        Ok(if is(&rows) {
            Progress::Done(())
        } else {
            let said = String::from_utf8_lossy(&told.stderr).into_owned();
            Progress::Waiting(format!("{rows:?} {said}"))
        })
    })
}

/// Operation, name, replicas before and after.
fn seen(row: &Value) -> (&str, &str, Option<i64>, Option<i64>) {
    let either = if row["new"].is_null() { "old" } else { "new" };
    (
        row["op"].as_str().unwrap_or_default(),
        row[either]["name"].as_str().unwrap_or_default(),
        row["old"]["r"].as_i64(),
        row["new"]["r"].as_i64(),
    )
}

const QUERY: &str = "SELECT uid, name, spec.replicas AS r FROM deployments";
const GROUPS: &str =
    "SELECT spec.replicas AS r, count(*) AS n, min(name) AS name FROM deployments GROUP BY 1";

#[test]
fn rows_come_first_then_changes_in_order_and_who_comes_back_misses_nothing() -> Result<()> {
    let (mut scene, host) = asked("subscribed")?;
    let first = deployment(&scene, "first")?;
    wait(&host, |rows| rows.len() == 1)?;

    let told = Told::new(&host, "json", &format!("SUBSCRIBE WITH (PROGRESS) {QUERY}"))?;
    let row = told.change()?;
    assert_eq!(seen(&row), ("insert", "first", None, Some(1)));
    assert_eq!(row["key"], json!({ "uid": row["new"]["uid"] }), "{row}");
    let mut last = told.mark(&row)?;
    for replicas in 2..5 {
        scale(&scene, &first, replicas)?;
        let row = told.change()?;
        let before = i64::try_from(replicas)? - 1;
        assert_eq!(
            seen(&row),
            ("update", "first", Some(before), Some(before + 1))
        );
        last = told.mark(&row)?;
    }
    // The answer of a query that is no look at single rows, from the same time on.
    let groups = format!("SUBSCRIBE WITH (PROGRESS, SNAPSHOT false) {GROUPS}");
    let grouped = Told::new(&host, "json", &groups)?;
    let begun: Value = serde_json::from_str(&grouped.line()?)?;
    assert_eq!(begun["op"], "progress");
    let group_mark = begun["resume"].as_str().context("a mark")?.to_owned();
    let (good, said) = told.interrupt()?;
    assert!(
        good && said.contains("to go on from here: SUBSCRIBE WITH (RESUME '"),
        "{said}"
    );
    drop(grouped);

    // While nobody listens.
    scale(&scene, &first, 7)?;
    scale(&scene, &first, 9)?;
    let second = deployment(&scene, "second")?;
    let third = deployment(&scene, "third")?;
    scene.client().delete(&third)?;
    wait(&host, |rows| {
        rows.len() == 2 && rows.iter().any(|row| row["r"] == 9)
    })?;
    let told = Told::new(
        &host,
        "json",
        &format!("SUBSCRIBE WITH (RESUME '{last}') {QUERY}"),
    )?;
    let mut missed = [told.change()?, told.change()?];
    missed.sort_by_key(|row| seen(row).1.to_owned());
    assert_eq!(seen(&missed[0]), ("update", "first", Some(4), Some(9)));
    assert_eq!(seen(&missed[1]), ("insert", "second", None, Some(1)));
    let grouped = Told::new(
        &host,
        "json",
        &format!("SUBSCRIBE WITH (RESUME '{group_mark}') {GROUPS}"),
    )?;
    let mut missed = [grouped.change()?, grouped.change()?, grouped.change()?];
    missed.sort_by_key(|row| (seen(row).2, seen(row).3));
    assert_eq!(seen(&missed[0]), ("insert", "second", None, Some(1)));
    assert_eq!(seen(&missed[1]), ("insert", "first", None, Some(9)));
    assert_eq!(seen(&missed[2]), ("delete", "first", Some(4), None));
    // And from there on.
    scene.client().delete(&second)?;
    assert_eq!(seen(&told.change()?), ("delete", "second", Some(1), None));
    assert_eq!(
        seen(&grouped.change()?),
        ("delete", "second", Some(1), None)
    );

    // For people, and for tables.
    let lines = Told::new(
        &host,
        "wide",
        "SUBSCRIBE SELECT namespace, name, spec.replicas AS r FROM deployments",
    )?;
    let line = lines.line()?;
    assert!(
        line.starts_with("+ ") && line.ends_with("name=first  r=9"),
        "{line}"
    );
    let rows = Told::new(
        &host,
        "csv",
        &format!("SUBSCRIBE WITH (SNAPSHOT false) {QUERY}"),
    )?;
    assert_eq!(rows.line()?, "op,sequence,uid,name,r");
    scale(&scene, &first, 10)?;
    let line = lines.line()?;
    assert!(
        line.starts_with("~ ") && line.ends_with("name=first  r=9 -> 10"),
        "{line}"
    );
    let line = rows.line()?;
    assert!(
        line.starts_with("update,") && line.ends_with(",first,10"),
        "{line}"
    );
    drop((told, grouped, lines, rows));

    too_late(&mut scene, &host, &last)
}

/// Marks that say nothing any more.
fn too_late(scene: &mut Scene, host: &str, last: &str) -> Result<()> {
    let (_, run) = last.split_once('@').context("a mark")?;
    let resume = |mark: &str| format!("SUBSCRIBE WITH (RESUME '{mark}') {QUERY}");
    let (code, said) = Told::new(host, "json", &resume(&format!("1@{run}")))?.ended()?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("not known any more; subscribe again without RESUME"),
        "{said}"
    );
    // A host counts from the beginning when it is started.
    let socket = host.strip_prefix("--host=").context("a socket")?;
    scene.stop_host()?;
    scene.start_host_with(&[&format!("--socket={socket}")])?;
    wait(host, |rows| rows.len() == 1)?;
    let (code, said) = Told::new(host, "json", &resume(last))?.ended()?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("without RESUME"), "{said}");
    let (code, said) = Told::new(host, "json", "SUBSCRIBE SELECT now() AS t")?.ended()?;
    assert_eq!(code, Some(2), "{said}");
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let kubeconfig = kubeconfig.to_string_lossy();
    let explained = kybern(&[
        "sql",
        "--kubeconfig",
        &kubeconfig,
        &format!("EXPLAIN SUBSCRIBE {QUERY}"),
    ])?;
    assert!(
        explained.starts_with("told: by row") && explained.contains("key: uid"),
        "{explained}"
    );
    Ok(())
}

#[test]
fn a_cluster_is_followed_where_no_host_runs() -> Result<()> {
    let scene = Scene::new("followed")?;
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let kubeconfig = kubeconfig.to_string_lossy();
    let place = ["--kubeconfig", &*kubeconfig, "-n", &*scene.namespace];
    let first = deployment(&scene, "first")?;
    let told = Told::of(
        &place,
        "json",
        &format!("SUBSCRIBE WITH (PROGRESS) {QUERY}"),
    )?;
    let row = told.change()?;
    assert_eq!(seen(&row), ("insert", "first", None, Some(1)));
    let mark = told.mark(&row)?;
    scale(&scene, &first, 2)?;
    let row = told.change()?;
    assert_eq!(seen(&row), ("update", "first", Some(1), Some(2)));
    scene.client().delete(&first)?;
    assert_eq!(seen(&told.change()?), ("delete", "first", Some(2), None));
    let (good, said) = told.interrupt()?;
    assert!(good, "{said}");
    // Another process counts anew; what cannot be watched, and what does not change, is refused.
    let resume = format!("SUBSCRIBE WITH (RESUME '{mark}') {QUERY}");
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
    let all = "SUBSCRIBE SELECT name FROM";
    for (place, statement, code, why) in [
        (&place[..], &*resume, 1, "without RESUME"),
        (
            &place[..],
            &*format!("{all} componentstatuses"),
            2,
            "cannot be followed",
        ),
        (
            &["-f", files][..],
            &*format!("{all} pods"),
            2,
            "manifests do not change",
        ),
    ] {
        let (ended, said) = Told::of(place, "json", statement)?.ended()?;
        assert!(said.contains(why), "{said}");
        assert_eq!(ended, Some(code), "{said}");
    }
    Ok(())
}
