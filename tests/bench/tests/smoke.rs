//! The benchmarks run, and what they print has the promised shape. Judges no figure.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn every_benchmark_prints_its_lines() {
    // Each by its name: one was once taken for the word that a child process is started with.
    let printed = [
        "call",
        "ingest",
        "memory",
        "pass",
        "render",
        "rolebindings",
        "startup",
    ]
    .map(|name| {
        let output = Command::new(env!("CARGO_BIN_EXE_kybern-bench"))
            .args([name, "--quick", "--json", "--systems", "kybern"])
            .output()
            .expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).expect("text")
    });
    let mut seen = BTreeSet::new();
    for line in printed.iter().flat_map(|text| text.lines()) {
        let line: Value = serde_json::from_str(line).expect("only JSON is on standard output");
        let line = line.as_object().expect("an object");
        let keys: Vec<&str> = line.keys().map(String::as_str).collect();
        assert_eq!(
            BTreeSet::from_iter(keys),
            BTreeSet::from(["bench", "case", "metric", "value", "unit", "system", "n"])
        );
        assert_eq!(line["system"], "kybern");
        assert_eq!(line["n"], 1);
        // Two plugins may fit into pages that are there.
        let least = if line["metric"]
            .as_str()
            .is_some_and(|metric| metric.starts_with("idle"))
        {
            -1.0
        } else {
            0.0
        };
        assert!(line["value"].as_f64().is_some_and(|value| value > least));
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        seen.insert([text("bench"), text("case"), text("metric"), text("unit")].join(" "));
    }
    let expected = [
        "call floor p50_us us",
        "call fresh_decide_4k p50_us us",
        "call loaded_1 compile_ms ms",
        "call loaded_1 idle_anonymous_kb kB",
        "call loaded_1 idle_kb kB",
        "call loaded_1 load_ms ms",
        "call loaded_1 p50_us us",
        "call loaded_2 compile_ms ms",
        "call loaded_2 idle_anonymous_kb kB",
        "call loaded_2 idle_kb kB",
        "call loaded_2 load_ms ms",
        "call loaded_2 p50_us us",
        "call rows_1000_arrow p50_us us",
        "call rows_1000_json p50_us us",
        "ingest pods_1k settled_events_per_s 1/s",
        "ingest pods_1k visible_events_per_s 1/s",
        "memory pods_1k bytes_per_object B",
        "memory pods_1k_churned bytes_per_object B",
        "memory relist_100pct peak_ratio x",
        "memory relist_1pct peak_ratio x",
        "pass noop_general_100 passes_per_s 1/s",
        "pass noop_lookup_100 passes_per_s 1/s",
        "pass noop_set_100 passes_per_s 1/s",
        "pass unrelated_100 event_us us",
        "render prepare load_ms ms",
        "render shop p50_ms ms",
        "render shop processor_ms ms",
        "render shop_kept p50_ms ms",
        "render webapp p50_ms ms",
        "render webapp processor_ms ms",
        "render webapp_kept p50_ms ms",
        "rolebindings idle rss_mb MB",
        "rolebindings load_all p50_ms ms",
        "rolebindings selective p50_ms ms",
        "startup pods_1k_pages api_server_processor_s s",
        "startup pods_1k_pages client_processor_s s",
        "startup pods_1k_stream api_server_processor_s s",
        "startup pods_1k_stream client_processor_s s",
        "startup pods_1k_table api_server_processor_s s",
        "startup pods_1k_table client_processor_s s",
    ];
    assert_eq!(Vec::from_iter(seen), expected);
}

/// Stands for a peer: slow once, then 100 passes in half a second.
#[cfg(unix)]
const PEER: &str = r#"#!/bin/sh
[ "$1 $2 $4" = "be-pass $(basename "$0") 100" ] || exit 1
busy=50
while read -r question; do
    case "$question" in
    rest) echo ok ;;
    "passes 100") echo "{\"busy\":$busy,\"wall\":$busy,\"count\":100}"; busy=0.5 ;;
    esac
done
"#;

#[test]
#[cfg(unix)]
fn peers_of_pass_are_asked_for_warm_passes_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kybern-bench"));
    command.args(["pass", "--quick", "--json"]);
    command.args(["--systems", "controller-runtime,kube-rs"]);
    for system in ["controller-runtime", "kube-rs"] {
        let program = folder.path().join(system);
        std::fs::write(&program, PEER).expect("written");
        let runs = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, runs).expect("may run");
        command.arg(format!("--{system}")).arg(program);
    }
    let output = command.output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout).expect("text");
    let seen: Vec<String> = printed
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("only JSON is on standard output");
            format!("{} {} {}", line["case"], line["system"], line["value"])
        })
        .collect();
    // Events that concern nobody are Kybern's alone.
    let expected = ["lookup", "set", "general"].iter().flat_map(|lane| {
        ["controller-runtime", "kube-rs"]
            .map(|system| format!("\"noop_{lane}_100\" \"{system}\" 200.0"))
    });
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

#[test]
fn sql_is_answered_alike_by_a_peer() {
    let output = Command::new(env!("CARGO_BIN_EXE_kybern-bench"))
        .args(["sql", "--quick", "--json", "--explain"])
        .args(["--systems", "kybern,datafusion-memtable,duckdb"])
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    // With the answers compared: a difference is a failure.
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("duckdb: left out"), "{errors}");
    assert!(errors.contains("run in the general lane"), "{errors}");
    assert!(errors.contains("updates a second"), "{errors}");
    let printed = String::from_utf8(output.stdout).expect("text");
    let mut seen = BTreeSet::new();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).expect("only JSON is on standard output");
        assert_eq!(
            (&line["bench"], &line["metric"], &line["unit"]),
            (&"sql".into(), &"p50_ms".into(), &"ms".into())
        );
        assert!(line["value"].as_f64().is_some_and(|value| value > 0.0));
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        seen.insert((text("system"), text("case")));
    }
    let mut expected = BTreeSet::new();
    for case in [
        "q1_prepared",
        "q1_new",
        "q1",
        "q2",
        "q3",
        "q4",
        "q5",
        "q6",
        "q7",
        "q8",
    ] {
        expected.insert(("kybern".to_owned(), case.to_owned()));
        expected.insert(("kybern".to_owned(), format!("{case}_loaded")));
        expected.insert(("datafusion-memtable".to_owned(), case.to_owned()));
    }
    assert_eq!(seen, expected);
}

#[test]
fn a_swap_loses_and_doubles_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_kybern-bench"))
        .args(["swap", "--quick", "--json"])
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout).expect("text");
    let mut seen = BTreeSet::new();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).expect("only JSON is on standard output");
        let value = line["value"].as_f64().expect("a number");
        let metric = line["metric"].as_str().expect("text").to_owned();
        assert_eq!(value > 0.0, metric == "pause_ms", "{line}");
        seen.insert(metric);
    }
    assert_eq!(
        seen,
        ["doubled", "lost", "pause_ms"].map(str::to_owned).into()
    );
}

#[test]
fn a_statement_changes_all_and_an_interrupted_one_says_what_it_did() {
    let kybern = kybern_testcluster::kybern().expect("the host is built");
    let output = Command::new(env!("CARGO_BIN_EXE_kybern-bench"))
        .args(["operate", "--quick", "--json", "--kybern"])
        .arg(&kybern)
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout).expect("text");
    let mut seen = BTreeSet::new();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).expect("only JSON is on standard output");
        let value = line["value"].as_f64().expect("a number");
        let words = ["case", "metric", "system"].map(|key| line[key].as_str().expect("text"));
        assert_eq!(value > 0.0, words[1] != "untrue", "{line}: {errors}");
        seen.insert(words.join(" "));
    }
    let expected = [
        "interrupted stop_ms kybern",
        "interrupted untrue kybern",
        "update_200 objects_per_s kybern",
        "update_200 objects_per_s native",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
}

#[test]
fn operators_converge_and_pass_on() {
    let kybern = kybern_testcluster::kybern().expect("the host is built");
    let mut seen = BTreeSet::new();
    for name in ["converge", "ring"] {
        let output = Command::new(env!("CARGO_BIN_EXE_kybern-bench"))
            .args([name, "--quick", "--json", "--kybern"])
            .arg(&kybern)
            .output()
            .expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        // With the objects looked at: one that is not as wanted is a failure.
        assert!(output.status.success(), "{errors}");
        assert!(errors.contains("kube-rs: left out"), "{errors}");
        let printed = String::from_utf8(output.stdout).expect("text");
        for line in printed.lines() {
            let line: Value = serde_json::from_str(line).expect("only JSON is on standard output");
            let value = line["value"].as_f64().expect("a number");
            let metric = ["case", "metric", "unit"].map(|key| line[key].as_str().expect("text"));
            match metric {
                ["restart_20", "api_writes", _] => assert_eq!(value, 0.0, "{errors}"),
                // A child's first apply comes after a patch that makes our entry an applied one.
                ["drift_10", "api_writes", _] => assert_eq!(value, 20.0, "{errors}"),
                ["cold_20", "writes_per_cr", _] => assert_eq!(value, 3.0, "{errors}"),
                // Twenty are too few for a difference of two processes.
                [_, "rss_bytes_per_cr", _] => {}
                _ => assert!(value > 0.0, "{line}"),
            }
            assert_eq!(
                (&line["bench"], &line["system"]),
                (&name.into(), &"kybern".into())
            );
            seen.insert(metric.join(" "));
        }
    }
    let expected = [
        "cold_20 api_requests 1",
        "cold_20 api_writes 1",
        "cold_20 cpu_ms_per_cr ms",
        "cold_20 fixed_rss_mb MB",
        "cold_20 peak_rss_mb MB",
        "cold_20 rss_bytes_per_cr B",
        "cold_20 wall_s s",
        "cold_20 writes_per_cr 1",
        "drift_10 api_requests 1",
        "drift_10 api_writes 1",
        "drift_10 p50_ms ms",
        "drift_10 writes_per_cr 1",
        "live_20 api_requests 1",
        "live_20 api_writes 1",
        "live_20 cpu_ms_per_cr ms",
        "live_20 p50_ms ms",
        "live_20 writes_per_cr 1",
        "plugins_3 round_ms ms",
        "plugins_3 rss_mb MB",
        "restart_20 api_requests 1",
        "restart_20 api_writes 1",
        "restart_20 cpu_ms_per_cr ms",
        "restart_20 quiet_s s",
    ];
    assert_eq!(Vec::from_iter(seen), expected);
}

#[test]
fn an_unknown_benchmark_is_refused_with_the_names_of_the_others() {
    let output = Command::new(env!("CARGO_BIN_EXE_kybern-bench"))
        .arg("nothing")
        .output()
        .expect("it starts");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("ingest, memory, sql, live, pass, startup, converge, ring"),
        "{errors}"
    );
}
