//! `kybern plugin inspect` and `lint`.

use super::{Ran, plugin};
use crate::scene::kybern;
use anyhow::Result;
use serde_json::{Value, json};

#[test]
fn inspect_tells_what_a_component_is_and_asks_for() -> Result<()> {
    let Ran { code, out, .. } = plugin("inspect", "kybern_caller", &["-o", "json"])?;
    assert_eq!(code, 0);
    let about: Value = serde_json::from_str(&out)?;
    assert_eq!(about["hooks"], json!(["decide", "act"]));
    assert_eq!(about["world"], "kybern:operator@0.1.0");
    let digest = about["digest"].as_str().unwrap();
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{digest}"
    );
    let size = |field: &str| about[field].as_u64().unwrap();
    assert!(size("gzipSize") > 10_000 && size("gzipSize") < size("size"));
    let imports = about["imports"].as_array().unwrap();
    let http = imports
        .iter()
        .find(|i| i["name"] == "kybern:operator/http@0.1.0")
        .unwrap();
    assert!(
        http["is"].as_str().unwrap().contains("granted hosts"),
        "{http}"
    );
    assert_eq!(about["manifest"]["capabilities"][0]["name"], "http");
    let yaml = plugin("inspect", "kybern_caller", &[])?.out;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml)?, about);
    let keeper: Value =
        serde_json::from_str(&plugin("inspect", "kybern_keeper", &["-o", "json"])?.out)?;
    assert_eq!(keeper["crds"], json!(["sleepers.keeper.example.com"]));
    assert_eq!(
        keeper["asks"]["writes"],
        json!([
            "apps/v1/Deployment: apply, /scale",
            "v1/Pod: /eviction",
            "v1/ConfigMap: patch"
        ])
    );
    assert_eq!(
        keeper["asks"]["reads"],
        json!(["apps/v1/Deployment", "v1/Pod"])
    );
    assert_eq!(keeper["asks"]["state"], true);
    Ok(())
}

#[test]
fn a_registration_is_printed_that_other_commands_take() -> Result<()> {
    let Ran { code, out, .. } = plugin("inspect", "kybern_keeper", &["--registration"])?;
    assert_eq!(code, 0);
    let object: Value = serde_saphyr::from_str(&out)?;
    let about: Value = serde_saphyr::from_str(&plugin("inspect", "kybern_keeper", &[])?.out)?;
    assert_eq!(object["spec"]["digest"], about["digest"]);
    assert_eq!(object["spec"]["grants"]["state"], true);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registration.yaml");
    std::fs::write(&file, &out)?;
    let role: Value = serde_saphyr::from_str(&kybern(&["rbac", "-f", &file.to_string_lossy()])?)?;
    let rules = role["rules"].as_array().unwrap();
    let allows = |resource: &str| {
        rules
            .iter()
            .any(|rule| rule["resources"] == json!([resource]))
    };
    for resource in [
        "sleepers/status",
        "deployments/scale",
        "pods/eviction",
        "configmaps",
        "secrets",
    ] {
        assert!(allows(resource), "{resource} in {role}");
    }
    let http = plugin("inspect", "kybern_caller", &["--registration"])?.out;
    assert!(http.contains("# It asks for http"), "{http}");
    Ok(())
}

#[test]
fn what_is_no_plugin_is_told_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let module = folder.path().join("module.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0")?;
    let component = folder.path().join("component.wasm");
    std::fs::write(&component, b"\0asm\x0d\0\x01\0")?;
    for (file, code, part) in [
        (module, 1, "kybern plugin build"),
        (component, 1, "manifest"),
        (folder.path().join("nothing.wasm"), 2, "cannot be read"),
    ] {
        for command in ["inspect", "lint"] {
            let output = std::process::Command::new(kybern_testcluster::kybern()?)
                .args(["plugin", command])
                .arg(&file)
                .output()?;
            let told = String::from_utf8(output.stderr)? + &String::from_utf8(output.stdout)?;
            assert_eq!(output.status.code(), Some(code), "{command} {told}");
            assert!(told.contains(part), "{command}: {told} has no {part}");
        }
    }
    Ok(())
}

#[test]
fn lint_finds_no_error_in_the_plugins_of_this_repository() -> Result<()> {
    for name in [
        "appservice",
        "kybern_caller",
        "kybern_keeper",
        "kybern_planner",
    ] {
        let Ran { code, out, err } = plugin("lint", name, &[])?;
        assert_eq!(code, 0, "{name}: {out}{err}");
        assert!(out.contains(": 0 errors, "), "{out}");
    }
    Ok(())
}

#[test]
fn lint_runs_the_plugin_and_finds_what_it_does_wrong() -> Result<()> {
    let cases = tempfile::tempdir()?;
    for mode in ["trap", "memory", "not-a-plan", "outside-grants", "invalid"] {
        let folder = cases.path().join(mode);
        std::fs::create_dir(&folder)?;
        let object = json!({
            "apiVersion": "evil.example.com/v1", "kind": "Evil",
            "metadata": { "name": "mallory" }, "spec": { "mode": mode },
        });
        let situation = json!({ "object": object }).to_string();
        std::fs::write(folder.join("situation.yaml"), situation)?;
    }
    let folder = cases.path().to_string_lossy().into_owned();
    let Ran { code, out, err } =
        plugin("lint", "kybern_evil", &["-o", "json", "--cases", &folder])?;
    assert_eq!(code, 1, "{out}{err}");
    let found: Vec<Value> = serde_json::from_str(&out)?;
    let code_at = |place: &str| {
        let at = found.iter().filter(|finding| finding["place"] == place);
        at.map(|finding| finding["code"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(code_at("case trap"), ["trap"]);
    assert_eq!(code_at("case memory"), ["over-limits"]);
    assert_eq!(code_at("case not-a-plan"), ["no-plan"]);
    assert_eq!(
        code_at("case outside-grants"),
        ["outside-manifest", "outside-manifest"]
    );
    assert!(code_at("case invalid").is_empty());
    Ok(())
}
