//! `kybern plugin render`, `test` and `bench`.

use super::{Ran, plugin, plugin_with};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;

fn situation(size: u32) -> Value {
    json!({
        "object": {
            "apiVersion": "app.example.com/v1", "kind": "AppService",
            "metadata": { "name": "web" },
            "spec": { "size": size, "image": "nginx:1.7.9" },
        },
        "rows": { "deployment": [{ "replicas": 2, "readyReplicas": 1 }] },
    })
}

fn render(situation: &str, more: &[&str]) -> Result<Ran> {
    let arguments: Vec<&str> = ["--situation", "-"]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    plugin_with("render", "appservice", &arguments, situation)
}

#[test]
fn render_prints_the_plan_of_a_situation() -> Result<()> {
    let Ran { code, out, err } = render(&situation(3).to_string(), &["-o", "json"])?;
    assert_eq!((code, err.as_str()), (0, ""));
    let plan: Value = serde_json::from_str(&out)?;
    assert_eq!(plan["children"], "complete");
    assert_eq!(plan["actions"][0]["object"]["spec"]["replicas"], 3);
    assert_eq!(plan["actions"][0].get("wave"), None, "a default");
    assert_eq!(
        plan["actions"][1]["status"]["readyReplicas"], 1,
        "of the rows"
    );
    let yaml = render(&situation(3).to_string(), &[])?.out;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml)?, plan);
    Ok(())
}

#[test]
fn a_hooks_error_is_one_code_and_a_wrong_file_another() -> Result<()> {
    let mut wrong = situation(1);
    wrong["object"]["spec"]["image"] = json!(" nginx");
    let Ran { code, err, .. } = render(&wrong.to_string(), &[])?;
    assert_eq!(code, 1);
    assert!(err.starts_with("no plan: invalid: spec.image"), "{err}");
    for (change, part) in [
        (
            json!({ "rows": { "pods": [] } }),
            "rows.pods: neither the manifest nor sense names such a query; there is deployment",
        ),
        (
            json!({ "rows": { "deployment": [{ "replicas": "two" }] } }),
            "rows.deployment[0].replicas: \"two\" is not a whole number",
        ),
        (
            json!({ "rows": { "deployment": [{ "size": 2 }] } }),
            "rows.deployment[0].size: the query has no such column",
        ),
        (
            json!({ "settings": { "a": 1 } }),
            "settings.a: the plugin takes no settings",
        ),
        (
            json!({ "object": { "apiVersion": "v1", "kind": "Pod" } }),
            "it is in charge of app.example.com/v1/AppService",
        ),
        (json!({ "row": {} }), "row"),
    ] {
        let mut wrong = situation(1);
        wrong
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().cloned().unwrap());
        let Ran { code, err, .. } = render(&wrong.to_string(), &[])?;
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(part), "{err} has no {part}");
    }
    Ok(())
}

fn write(folder: &Path, case: &str, size: u32) -> Result<()> {
    let folder = folder.join(case);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("situation.yaml"), situation(size).to_string())?;
    Ok(())
}

#[test]
fn cases_are_compared_with_what_is_expected_and_updated_when_told() -> Result<()> {
    let cases = tempfile::tempdir()?;
    let folder = cases.path().to_string_lossy().into_owned();
    let test = |more: &[&str]| {
        let arguments: Vec<&str> = ["--cases", &folder]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        plugin("test", "appservice", &arguments)
    };
    write(cases.path(), "two", 2)?;
    let Ran { code, out, .. } = test(&[])?;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("test case: two ... FAILED") && out.contains("neither plan.yaml nor"),
        "{out}"
    );
    let updated = test(&["--update"])?;
    assert_eq!(updated.code, 0, "{}", updated.out);
    assert!(
        updated.out.ends_with("0 failed; 1 updated\n"),
        "{}",
        updated.out
    );
    let passed = test(&[])?;
    assert_eq!(passed.code, 0, "{}", passed.out);
    assert!(
        passed.out.contains("test case: two ... ok"),
        "{}",
        passed.out
    );
    write(cases.path(), "two", 3)?;
    let differs = test(&[])?;
    assert_eq!(differs.code, 1);
    for part in [
        "-      replicas: 2",
        "+      replicas: 3",
        "---- case: two ----",
        "1 failed",
    ] {
        assert!(differs.out.contains(part), "{} has no {part}", differs.out);
    }
    // Defaults and order of fields say nothing.
    write(cases.path(), "two", 2)?;
    let file = cases.path().join("two/plan.yaml");
    let mut plan: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file)?)?;
    plan["actions"][0]["mode"] = json!("managed");
    std::fs::write(&file, plan.to_string())?;
    assert_eq!(test(&[])?.code, 0);
    Ok(())
}

#[test]
fn an_expected_error_is_a_case_and_a_crash_never_is() -> Result<()> {
    let cases = tempfile::tempdir()?;
    let folder = cases.path().to_string_lossy().into_owned();
    for mode in ["wait", "trap"] {
        let object = json!({
            "apiVersion": "evil.example.com/v1", "kind": "Evil",
            "metadata": { "name": "mallory" }, "spec": { "mode": mode },
        });
        let folder = cases.path().join(mode);
        std::fs::create_dir(&folder)?;
        std::fs::write(
            folder.join("situation.yaml"),
            json!({ "object": object }).to_string(),
        )?;
    }
    let Ran { code, out, .. } = plugin("test", "kybern_evil", &["--cases", &folder, "--update"])?;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("test case: wait ... updated"), "{out}");
    assert!(
        out.contains("test case: trap ... FAILED") && out.contains("trapped"),
        "{out}"
    );
    assert!(!cases.path().join("trap/plan.yaml").exists());
    assert!(!cases.path().join("trap/error.yaml").exists());
    let error: Value = serde_saphyr::from_str(&std::fs::read_to_string(
        cases.path().join("wait/error.yaml"),
    )?)?;
    assert_eq!(error["kind"], "wait");
    Ok(())
}

#[test]
fn conformance_holds_for_plugins_of_the_sdk_and_is_missed_in_others() -> Result<()> {
    for name in [
        "appservice",
        "kybern_caller",
        "kybern_keeper",
        "kybern_planner",
    ] {
        let Ran { code, out, err } = plugin("test", name, &[])?;
        assert_eq!(code, 0, "{name}: {out}{err}");
        assert!(
            out.ends_with("test result: ok. 9 passed; 0 failed\n"),
            "{out}"
        );
    }
    // It takes any JSON for a situation.
    let Ran { code, out, .. } = plugin("test", "kybern_evil", &[])?;
    assert_eq!(code, 1, "{out}");
    for part in [
        "(no JSON) is an error ... ok",
        "(no fields) is an error ... FAILED",
        "decide returned a plan for `{}`",
        "test result: FAILED. 6 passed; 3 failed",
    ] {
        assert!(out.contains(part), "{out} has no {part}");
    }
    Ok(())
}

#[test]
fn bench_measures_calls_in_fresh_instances() -> Result<()> {
    let arguments = ["--situation", "-", "--calls", "50", "-o", "json"];
    let Ran { code, out, err } =
        plugin_with("bench", "appservice", &arguments, &situation(2).to_string())?;
    assert_eq!(code, 0, "{err}");
    let figures: Value = serde_json::from_str(&out)?;
    assert_eq!(figures["calls"], 50);
    let number = |path: &str| figures.pointer(path).unwrap().as_f64().unwrap();
    assert!(number("/cpuMicros/p50") > 0.0 && number("/cpuMicros/p50") <= number("/cpuMicros/max"));
    assert!(number("/compileMicros") > 0.0 && number("/codeBytes") > 0.0);
    assert!(number("/peakMemoryBytes") >= 65_536.0, "a page at least");
    let text = plugin_with(
        "bench",
        "appservice",
        &arguments[..4],
        &situation(2).to_string(),
    )?
    .out;
    assert!(text.contains("peak memory"), "{text}");
    let wrong = plugin_with(
        "bench",
        "appservice",
        &["--situation", "-", "--calls", "0"],
        "",
    )?;
    assert_eq!(wrong.code, 2);
    Ok(())
}
