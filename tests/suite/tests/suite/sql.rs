//! `kybern sql`, as a user runs it: over manifests, over a cluster, and at a terminal.

use crate::scene::kybern;
use anyhow::{Context, Result};
use kybern_testcluster::{Stopwatch, shared};
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The fixtures' directory of this repository.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
/// How long the prompt may take for one thing.
const PATIENCE_MS: u64 = 20_000;

/// Runs `kybern sql` with this standard input.
fn sql(arguments: &[&str], input: &str) -> Result<Output> {
    let mut child = Command::new(kybern_testcluster::kybern()?)
        .arg("sql")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    Ok(child.wait_with_output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn sql_answers_over_manifests_without_a_cluster() -> Result<()> {
    let text = kybern(&[
        "sql",
        "-f",
        FIXTURES,
        "-o",
        "json",
        "SELECT name, spec.image, spec.ports[0].nodePort AS node_port FROM appservices",
    ])?;
    let rows: Value = serde_json::from_str(&text)?;
    assert_eq!(rows[0]["name"], "nginx-app");
    assert_eq!(
        rows[0]["node_port"], "30002",
        "text, because no schema was given"
    );
    Ok(())
}

#[test]
fn sql_refuses_what_it_does_not_answer_with_a_cure() -> Result<()> {
    for (statement, words) in [
        ("SELECT name FROM appservcies", "did you mean"),
        (
            "DELETE FROM appservices ALL ROWS",
            "manifests are only read",
        ),
    ] {
        let refused = kybern(&["sql", "-f", FIXTURES, statement])
            .unwrap_err()
            .to_string();
        assert!(refused.contains(words), "{words} in: {refused}");
    }
    Ok(())
}

#[test]
fn sql_lists_what_cannot_be_watched_and_refuses_what_cannot_be_listed() -> Result<()> {
    let kubeconfig = shared()?.admin_kubeconfig()?;
    let sql = |statement: &str| -> Result<Value> {
        let kubeconfig = kubeconfig.to_string_lossy();
        let text = kybern(&["sql", "--kubeconfig", &kubeconfig, "-o", "json", statement])?;
        Ok(serde_json::from_str(&text)?)
    };
    // Its objects have no uid; they are told apart by name.
    let statuses = sql("SELECT name, uid FROM componentstatuses")?;
    let rows = statuses.as_array().unwrap();
    let names: std::collections::BTreeSet<_> = rows.iter().map(|r| r["name"].as_str()).collect();
    assert!(rows.len() > 1 && names.len() == rows.len(), "{statuses}");
    assert!(rows.iter().all(|row| row["uid"].is_null()), "{statuses}");
    let watch = sql("SELECT w.state, w.live, w.rows FROM kybern.watches w \
         WHERE w.table_name = 'componentstatuses' AND EXISTS (SELECT 1 FROM componentstatuses)")?;
    let wanted = json!([{ "state": "listed", "live": false, "rows": rows.len() }]);
    assert_eq!(watch, wanted);
    let kinds = sql("SELECT table_name, state, reason FROM kybern.kinds \
         WHERE table_name IN ('componentstatuses', 'tokenreviews') ORDER BY 1")?;
    let wanted = json!([
        { "table_name": "componentstatuses", "state": "not watched",
          "reason": "the API server does not watch this kind; it is listed for each statement" },
        { "table_name": "tokenreviews", "state": "unreadable",
          "reason": "the API server does not list this kind" },
    ]);
    assert_eq!(kinds, wanted);
    let refused = sql("SELECT name FROM tokenreviews")
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("the API server does not list this kind"),
        "{refused}"
    );
    let memory = sql("SELECT m.part, m.rows FROM kybern.memory m \
         WHERE m.table_name = 'componentstatuses' AND m.bytes > 0 AND m.part = 'body' \
         AND EXISTS (SELECT 1 FROM componentstatuses)")?;
    assert_eq!(memory, json!([{ "part": "body", "rows": rows.len() }]));
    Ok(())
}

#[test]
fn a_script_is_answered_statement_by_statement_until_one_fails() -> Result<()> {
    let script = "SELECT name FROM appservices; -- one\nSELECT ';' AS x, NULL AS y;\n";
    let done = sql(&["-f", FIXTURES, "-o", "csv"], script)?;
    assert_eq!(text(&done.stdout), "name\r\nnginx-app\r\nx,y\r\n;,\r\n");
    assert_eq!(
        (done.status.code(), text(&done.stderr)),
        (Some(0), String::new())
    );

    let failed = sql(
        &["-f", FIXTURES, "-", "-o", "csv"],
        "SELECT 1 AS a;\n  SELECT nme\nFROM appservices; SELECT 2;",
    )?;
    assert_eq!(text(&failed.stdout), "a\r\n1\r\n");
    assert_eq!(failed.status.code(), Some(2));
    let message = text(&failed.stderr);
    assert!(
        message.contains("2 |   SELECT nme\n  |          ^\n"),
        "{message}"
    );
    assert!(message.contains("did you mean name?"), "{message}");

    let given = sql(&["-f", FIXTURES, "SELECT 1 AS a; SELECT 2 AS b;"], "")?;
    assert_eq!(text(&given.stdout), "A\n1\n\nB\n2\n");
    assert_eq!(text(&given.stderr), "(1 row)\n(1 row)\n");
    Ok(())
}

#[test]
fn manifests_come_from_standard_input_and_are_bounded_by_the_namespace() -> Result<()> {
    let manifests = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: x}}\n---\n\
         {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n---\n\
         {apiVersion: v1, kind: Node, metadata: {name: node-1}}\n";
    let names = "SELECT name FROM configmaps UNION ALL SELECT name FROM nodes";
    for (more, wanted) in [
        (&["-A"][..], "name\r\na\r\nb\r\nnode-1\r\n"),
        (&["-n", "x"], "name\r\na\r\nnode-1\r\n"),
    ] {
        let arguments = [&["-f", "-", "-o", "csv", names], more].concat();
        assert_eq!(text(&sql(&arguments, manifests)?.stdout), wanted);
    }
    let refused = sql(&["-f", "-"], manifests)?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("give the statement as an argument"));
    Ok(())
}

#[test]
fn as_a_plugin_of_kubectl_it_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let link = folder.path().join("kubectl-kybern");
    std::os::unix::fs::symlink(kybern_testcluster::kybern()?, &link)?;
    let help = text(&Command::new(&link).args(["sql", "--help"]).output()?.stdout);
    assert!(
        help.contains("Usage: kubectl kybern sql [OPTIONS] [STATEMENTS]"),
        "{help}"
    );
    assert!(kybern(&["sql", "--help"])?.contains("Usage: kybern sql [OPTIONS]"));
    Ok(())
}

/// Bytes that the API server has answered lists of controllerrevisions with.
fn listed_bytes() -> Result<f64> {
    let metrics = shared()?.client().text("/metrics")?;
    let of = |line: &&str| {
        line.starts_with("apiserver_response_sizes_sum")
            && line.contains("resource=\"controllerrevisions\"")
            && line.contains("verb=\"LIST\"")
    };
    let sizes = metrics
        .lines()
        .filter(of)
        .filter_map(|line| line.rsplit(' ').next());
    Ok(sizes.map(|size| size.parse::<f64>().unwrap()).sum())
}

#[test]
fn a_list_brings_no_more_than_the_statement_reads() -> Result<()> {
    let plane = shared()?;
    let namespace = plane.namespace("lists")?;
    for name in ["a", "b"] {
        // Hardly to be compressed.
        let mut seed = 1_u64;
        let noise: String = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{seed:016x}")
        })
        .take(20_000)
        .collect();
        plane.client().create(&json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
            "metadata": { "namespace": namespace, "name": name, "labels": { "app": name } },
            "data": { "noise": noise },
        }))?;
    }
    let kubeconfig = plane.admin_kubeconfig()?;
    let kubeconfig = kubeconfig.to_string_lossy();
    let ask = |columns: &str, condition: &str| -> Result<(String, f64, Vec<String>)> {
        let mark = plane.audit().mark()?;
        let before = listed_bytes()?;
        let statement = format!("SELECT {columns} FROM controllerrevisions r WHERE {condition}");
        let answer = kybern(&["sql", "--kubeconfig", &kubeconfig, "-o", "csv", &statement])?;
        let bytes = listed_bytes()? - before;
        let requests = plane.audit().since(mark)?.into_iter();
        let lists = requests.filter(|r| r.resource == "controllerrevisions" && r.verb == "list");
        Ok((answer, bytes, lists.map(|r| r.uri).collect()))
    };
    let here = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions?limit=500");
    let everywhere = "/apis/apps/v1/controllerrevisions?limit=500".to_owned();

    let only = format!("namespace = '{namespace}'");
    let (answer, bytes, lists) = ask("name, labels['app'] AS app", &only)?;
    assert_eq!(answer, "name,app\r\na,a\r\nb,b\r\n");
    assert!(bytes < 50_000.0, "metadata alone: {bytes}");
    assert!(
        lists.contains(&here) && !lists.contains(&everywhere),
        "{lists:?}"
    );

    let (answer, bytes, lists) = ask("name, length(object) > 320000 AS whole", &only)?;
    assert_eq!(answer, "name,whole\r\na,true\r\nb,true\r\n");
    assert!(bytes > 640_000.0, "whole objects: {bytes}");
    assert!(lists.contains(&here), "{lists:?}");

    let (_, bytes, lists) = ask("count(*)", "namespace LIKE 'lists-%'")?;
    assert!(bytes < 300_000.0, "metadata alone: {bytes}");
    assert!(lists.contains(&everywhere), "{lists:?}");
    let (answer, _, lists) = ask(
        "1",
        &format!("{only} AND EXISTS (SELECT 1 FROM controllerrevisions o WHERE o.name = r.name)"),
    )?;
    assert_eq!(answer.lines().count(), 3);
    assert!(
        lists.contains(&everywhere),
        "another use needs all: {lists:?}"
    );
    Ok(())
}

#[test]
fn a_session_keeps_what_it_has_listed_until_more_is_needed() -> Result<()> {
    let plane = shared()?;
    let namespace = plane.namespace("session")?;
    plane.client().create(&json!({
        "apiVersion": "v1", "kind": "LimitRange",
        "metadata": { "namespace": namespace, "name": "a" },
        "spec": { "limits": [] },
    }))?;
    let kubeconfig = plane.admin_kubeconfig()?;
    let here = format!("/api/v1/namespaces/{namespace}/limitranges?limit=500");
    let everywhere = "/api/v1/limitranges?limit=500";
    let only = format!("FROM limitranges WHERE namespace = '{namespace}'");
    let script = format!(
        "EXPLAIN SELECT spec {only};
         SELECT name {only}; SELECT name, labels {only} AND name = 'a';
         SELECT name, spec {only}; SELECT uid IS NULL AS n, spec {only};
         SELECT count(*) > 0 AS some FROM limitranges; SELECT name, spec {only};
         \\refresh
         SELECT name {only};"
    );
    let mark = plane.audit().mark()?;
    let done = sql(
        &["--kubeconfig", &kubeconfig.to_string_lossy(), "-o", "csv"],
        &script,
    )?;
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let answers = text(&done.stdout);
    assert_eq!(
        answers.matches("a,\"{\"\"limits\"\":null}\"").count(),
        2,
        "{answers}"
    );
    assert!(answers.contains("some\r\ntrue\r\n"), "{answers}");
    let requests = plane.audit().since(mark)?.into_iter();
    let lists = requests.filter(|r| r.resource == "limitranges" && r.verb == "list");
    let lists: Vec<String> = lists.map(|request| request.uri).collect();
    // Metadata, whole objects, all namespaces, and again after the refresh.
    assert_eq!(lists, [&here, &here, everywhere, &here], "{answers}");
    Ok(())
}

#[test]
fn a_table_that_cannot_be_listed_fails_the_statement() -> Result<()> {
    let plane = shared()?;
    let namespace = plane.namespace("sqlrights")?;
    let user = plane.service_account(&namespace, "reader")?;
    plane.grant(
        &user,
        &json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] }]),
    )?;
    let kubeconfig = plane.kubeconfig(&user)?;
    let kubeconfig = kubeconfig.to_string_lossy();
    let ask = |statement: &str| sql(&["--kubeconfig", &kubeconfig, "-o", "json", statement], "");
    let may = ask("SELECT count(*) > 0 AS some FROM configmaps")?;
    assert_eq!(may.status.code(), Some(0), "{}", text(&may.stderr));
    for statement in [
        "SELECT name FROM secrets",
        "SELECT c.name FROM configmaps c LEFT JOIN secrets s ON s.name = c.name",
        "SELECT name FROM configmaps WHERE name IN (SELECT name FROM secrets WHERE false)",
    ] {
        let failed = ask(statement)?;
        let message = text(&failed.stderr);
        assert_eq!(
            (failed.status.code(), text(&failed.stdout)),
            (Some(1), String::new()),
            "{message}"
        );
        assert!(message.contains("secrets cannot be listed"), "{message}");
    }
    let planned = ask("EXPLAIN SELECT name FROM secrets")?;
    assert_eq!(
        planned.status.code(),
        Some(0),
        "EXPLAIN lists nothing: {}",
        text(&planned.stderr)
    );
    Ok(())
}

/// The prompt over the fixtures, in a terminal of its own.
fn prompt(state: &Path) -> Result<PtySession> {
    let mut command = Command::new(kybern_testcluster::kybern()?);
    command.args(["sql", "-f", FIXTURES]);
    command.env("XDG_STATE_HOME", state).env("TERM", "xterm");
    let options = Options::new()
        .timeout_ms(Some(PATIENCE_MS))
        .strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(command, options)?;
    session.exp_string("\\q to leave")?;
    session.exp_string("kybern> ")?;
    Ok(session)
}

/// Types; what is not flushed never arrives.
fn typed(prompt: &mut PtySession, text: &str) -> Result<()> {
    prompt.send(text)?;
    Ok(prompt.flush()?)
}

#[test]
fn the_prompt_takes_statements_of_several_lines_and_completes_them() -> Result<()> {
    let state = tempfile::tempdir()?;
    let mut prompt = prompt(state.path())?;
    typed(&mut prompt, "SELECT name,\r  spec.image\rFROM appserv\t;\r")?;
    prompt.exp_string("nginx-app   nginx:1.7.9")?;
    prompt.exp_string("(1 row)")?;
    typed(&mut prompt, "\\x\rSELECT name FROM appservices;\r")?;
    prompt.exp_string("-[ RECORD 1 ]")?;
    prompt.exp_string("name | nginx-app")?;
    typed(&mut prompt, "\\o json\rSELECT 1 AS one;\r")?;
    prompt.exp_string("\"one\": 1")?;
    typed(&mut prompt, "SELECT nme FROM appservices;\r")?;
    prompt.exp_string("did you mean name?")?;
    typed(&mut prompt, "\\q\r")?;
    prompt.exp_eof()?;
    let history = std::fs::read_to_string(state.path().join("kybern/sql_history"))?;
    assert!(history.contains("FROM appservices;"), "{history}");
    Ok(())
}

#[test]
fn ctrl_c_throws_away_a_line_and_cancels_a_statement_but_not_the_prompt() -> Result<()> {
    let state = tempfile::tempdir()?;
    let mut prompt = prompt(state.path())?;
    typed(&mut prompt, "SELECT nonsense")?;
    prompt.exp_string("SELECT nonsense")?;
    prompt.send_control('c')?;
    prompt.exp_string("kybern> ")?;
    // Longer than any limit: three times all columns, joined without a key.
    let columns = "information_schema.columns";
    let long = format!(
        "SELECT count(*) FROM {columns} a, {columns} b, {columns} c \
         WHERE a.column_name || b.column_name > c.column_name \\watch 60\r"
    );
    typed(&mut prompt, &long)?;
    prompt.exp_string("(every 60 s)")?;
    let cancelled = Stopwatch::start();
    prompt.send_control('c')?;
    prompt.exp_string("kybern> ")?;
    assert!(cancelled.elapsed() < Duration::from_secs(10));
    typed(&mut prompt, "SELECT 40 + 2 AS answer;\r")?;
    prompt.exp_string("42")?;
    prompt.exp_string("kybern> ")?;
    prompt.send_control('d')?;
    prompt.exp_eof()?;
    Ok(())
}
