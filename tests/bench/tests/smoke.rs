//! The benchmarks run, and what they print has the promised shape. Judges no figure.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn every_benchmark_prints_its_lines() {
    // Each by its name: one was once taken for the word that a child process is started with.
    let printed = ["ingest", "memory", "startup"].map(|name| {
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
        assert!(line["value"].as_f64().is_some_and(|value| value > 0.0));
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        seen.insert([text("bench"), text("case"), text("metric"), text("unit")].join(" "));
    }
    let expected = [
        "ingest pods_1k settled_events_per_s 1/s",
        "ingest pods_1k visible_events_per_s 1/s",
        "memory pods_1k bytes_per_object B",
        "memory pods_1k_churned bytes_per_object B",
        "memory relist_100pct peak_ratio x",
        "memory relist_1pct peak_ratio x",
        "startup pods_1k_pages api_server_processor_s s",
        "startup pods_1k_pages client_processor_s s",
        "startup pods_1k_stream api_server_processor_s s",
        "startup pods_1k_stream client_processor_s s",
        "startup pods_1k_table api_server_processor_s s",
        "startup pods_1k_table client_processor_s s",
    ];
    assert_eq!(Vec::from_iter(seen), expected);
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
fn an_unknown_benchmark_is_refused_with_the_names_of_the_others() {
    let output = Command::new(env!("CARGO_BIN_EXE_kybern-bench"))
        .arg("nothing")
        .output()
        .expect("it starts");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("ingest, memory, sql, live, startup"),
        "{errors}"
    );
}
