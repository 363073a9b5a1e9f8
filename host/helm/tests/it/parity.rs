//! The engine against Helm itself: the same code built natively with all of Helm's own dependencies, and
//! what `helm template` does, over all charts that Helm's own tests have and over ours.
//!
//! Templates that are random differ between two native runs as well: there, and only there, lines may differ.

use crate::engine::{NOW, engine};
use kybern_testcluster::{helm_engine_module, helm_engine_native};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Archives that Helm's program looks at before it loads them, and refuses in other words.
const OTHER_WORDS: [&str; 2] = [
    "action/testdata/charts/corrupted-compressed-chart.tgz",
    "getter/testdata/empty-0.0.1.tgz",
];

/// What `native compare` tells of a case.
struct Compared {
    name: String,
    request: Value,
    native: Value,
    again: Value,
    helm: Value,
}

/// Errors that do not name their cause in the same words each time: maps have no order.
fn sorted(message: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = message.lines().collect();
    lines.sort_unstable();
    lines
}

fn same_error(one: &Value, two: &Value) -> bool {
    let message = |of: &Value| sorted(of["message"].as_str().unwrap()).join("\n");
    one["stage"] == two["stage"] && message(one) == message(two)
}

/// Helm's program prints the notes of subcharts in another order each time.
fn unordered(notes: &Value) -> Value {
    json!(sorted(notes.as_str().unwrap()))
}

/// Lines of everything that was rendered.
fn lines(response: &Value) -> Vec<String> {
    let text = serde_json::to_string_pretty(response).unwrap();
    text.replace("\\n", "\n")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Whether they are equal where two native runs are.
fn same(native: &Value, again: &Value, other: &Value) -> bool {
    if native == other {
        return true;
    }
    let (native, again, other) = (lines(native), lines(again), lines(other));
    native.len() == again.len()
        && native.len() == other.len()
        && native
            .iter()
            .zip(&again)
            .zip(&other)
            .all(|((native, again), other)| native == other || native != again)
}

/// How `helm template` would print what the engine gave.
fn as_helm(response: &Value) -> Value {
    let texts = |key: &str, before: &str| -> Vec<String> {
        let all = response[key].as_array().unwrap().iter();
        let text = |one: &Value| {
            let (source, content) = (
                one["source"].as_str().unwrap(),
                one["content"].as_str().unwrap(),
            );
            format!("{before}# Source: {source}\n{content}")
        };
        all.map(text).collect()
    };
    let manifests: Vec<String> = texts("manifests", "---\n");
    let manifest: String = manifests.iter().map(|text| format!("{text}\n")).collect();
    json!({"manifest": manifest, "hooks": texts("hooks", ""), "notes": unordered(&response["notes"])})
}

/// What is not as it should be with this one.
fn difference(compared: &Compared) -> Option<String> {
    let Compared {
        name,
        request,
        native,
        again,
        helm,
    } = compared;
    let response: Value = match engine().render(request.to_string().as_bytes(), NOW) {
        Ok(response) => serde_json::from_slice(&response).unwrap(),
        Err(error) => return Some(format!("{name}: {error}")),
    };
    let (error, native_error) = (&response["error"], &native["error"]);
    match (
        error.is_null(),
        native_error.is_null(),
        helm["error"].is_null(),
    ) {
        (true, true, true) => {
            if !same(native, again, &response) {
                return Some(format!(
                    "{name}: natively\n{native:#}\nas a module\n{response:#}"
                ));
            }
            let made = as_helm(native);
            let helm = json!({
                "manifest": helm["manifest"], "hooks": helm["hooks"], "notes": unordered(&helm["notes"]),
            });
            (!same(&made, &as_helm(again), &helm))
                .then(|| format!("{name}: helm template\n{helm:#}\nthe engine\n{made:#}"))
        }
        (false, false, false) if same_error(error, native_error) => {
            let (ours, helms) = (
                native_error["message"].as_str().unwrap(),
                helm["error"].as_str().unwrap(),
            );
            let told = OTHER_WORDS.contains(&name.as_str()) || sorted(ours) == sorted(helms);
            (!told).then(|| format!("{name}: helm template: {helms}\nthe engine: {ours}"))
        }
        _ => Some(format!(
            "{name}: as a module {error}, natively {native_error}, helm template {}",
            helm["error"]
        )),
    }
}

/// Charts below a folder: archives, and folders with a Chart.yaml.
fn charts(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            charts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "tgz") {
            found.push(path);
        } else if path.ends_with("Chart.yaml") {
            found.push(folder.to_owned());
        }
    }
}

fn compare(cases: &[(String, Value)]) -> Vec<Compared> {
    let mut child = Command::new(helm_engine_native().unwrap())
        .arg("compare")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let asked: String = cases.iter().map(|(_, case)| format!("{case}\n")).collect();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut input, asked.as_bytes()).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    let answers: Vec<Value> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers.len(), cases.len());
    cases
        .iter()
        .zip(answers)
        .map(|((name, _), mut answer)| Compared {
            name: name.clone(),
            request: answer["request"].take(),
            native: answer["native"].take(),
            again: answer["again"].take(),
            helm: answer["helm"].take(),
        })
        .collect()
}

/// Renders all of them with all three; how many documents there were, and how many errors.
fn all_are_the_same(cases: &[(String, Value)]) -> (usize, usize) {
    let compared = compare(cases);
    let next = Mutex::new(compared.iter());
    let differences = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(one) = next.lock().unwrap().next() else {
                        break;
                    };
                    differences.lock().unwrap().extend(difference(one));
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    assert!(
        differences.is_empty(),
        "{} of {} charts:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n\n")
    );
    let documents = |one: &Compared| {
        let count = |key: &str| one.native[key].as_array().map_or(0, Vec::len);
        count("manifests") + count("hooks")
    };
    let errors = compared.iter().filter(|one| !one.native["error"].is_null());
    (compared.iter().map(documents).sum(), errors.count())
}

fn case(chart: &Path) -> Value {
    json!({"chart": chart, "release": {"name": "rel", "namespace": "default", "revision": 1}})
}

#[test]
fn all_charts_of_helms_own_tests() {
    // Built, so the module is there.
    helm_engine_native().unwrap();
    let listed = Command::new("go")
        .current_dir(helm_engine_module().unwrap())
        .env_remove("GOFLAGS")
        .args([
            "list",
            "-modfile=native.mod",
            "-m",
            "-f={{.Dir}}",
            "helm.sh/helm/v4",
        ])
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let helm = PathBuf::from(String::from_utf8(listed.stdout).unwrap().trim()).join("pkg");
    let mut found = Vec::new();
    charts(&helm, &mut found);
    let cases: Vec<(String, Value)> = found
        .iter()
        .map(|chart| {
            (
                chart.strip_prefix(&helm).unwrap().display().to_string(),
                case(chart),
            )
        })
        .collect();
    assert!(cases.len() > 200, "{}", cases.len());
    let (documents, errors) = all_are_the_same(&cases);
    assert!(
        documents > 150 && errors > 50,
        "{documents} documents, {errors} errors"
    );
}

/// With their own values, and with those beside them; as an upgrade; with notes of subcharts.
#[test]
fn all_charts_of_ours() {
    let testdata = helm_engine_module().unwrap().join("testdata");
    let mut cases = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(testdata.join("charts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    assert!(entries.len() >= 25, "{}", entries.len());
    let lookups = json!([
        {"apiVersion": "v1", "kind": "Secret", "namespace": "default", "name": "rel-db", "object": {"data": {"password": "a2VwdA=="}}},
        {"apiVersion": "v1", "kind": "Namespace", "items": [{"metadata": {"name": "default"}}]},
    ]);
    for chart in &entries {
        let name = chart.file_name().unwrap().to_string_lossy().into_owned();
        let mut more = BTreeMap::from([("", json!({}))]);
        let values = testdata.join("values").join(format!("{name}.yaml"));
        if let Ok(values) = std::fs::read_to_string(values) {
            more.insert(" with values", json!({"values": ["replicas: 3", values]}));
        }
        more.insert(
            " as an upgrade",
            json!({
                "release": {"name": "rel", "namespace": "other", "isUpgrade": true, "revision": 1},
                "options": {"subNotes": true, "skipSchema": true},
            }),
        );
        for (how, more) in more {
            let mut case = case(chart);
            let fields = case.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            cases.push((format!("{name}{how}"), case));
        }
    }
    let (documents, errors) = all_are_the_same(&cases);
    assert!(
        documents > 180 && errors > 15,
        "{documents} documents, {errors} errors"
    );

    // Helm's own program has no such answers: what the same code makes of them natively is the measure.
    let mut lookup = case(&testdata.join("charts/lookups"));
    lookup["lookup"] = lookups;
    for one in compare(&[("lookups".to_owned(), lookup)]) {
        let response = engine()
            .render(one.request.to_string().as_bytes(), NOW)
            .unwrap();
        let response: Value = serde_json::from_slice(&response).unwrap();
        assert_eq!(response, one.native);
        let content = response["manifests"][0]["content"].as_str().unwrap();
        assert!(
            content.contains("password: a2VwdA==") && content.contains("namespaces: default"),
            "{content}"
        );
        assert_eq!(
            response["missingLookups"].as_array().unwrap().len(),
            2,
            "{response}"
        );
    }
}

/// The parsers that stand in for two of Kubernetes' own, against those.
#[test]
fn stand_ins_do_what_the_originals_do() {
    let tested = Command::new("go")
        .current_dir(helm_engine_module().unwrap())
        .env_remove("GOFLAGS")
        .args([
            "test",
            "-modfile=native.mod",
            "-tags=native",
            "./standin/...",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&tested.stdout);
    assert!(
        tested.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&tested.stderr)
    );
    assert_eq!(told.matches("ok ").count(), 2, "{told}");
}
