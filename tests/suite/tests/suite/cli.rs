//! The commands of `kybern`, as a user runs them.

use crate::scene::{Scene, failed, kybern};
use anyhow::Result;
use kybern_testcluster::{guest, shared};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// The fixtures' directory of this repository.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");

#[test]
fn simulate_reconciles_the_fixture_to_a_fixed_point() -> Result<()> {
    let wasm = guest("appservice")?;
    let text = kybern(&[
        "simulate",
        "-f",
        FIXTURES,
        "--plugin",
        &wasm.to_string_lossy(),
    ])?;
    let (steps, objects) = text.split_once("---\n").unwrap();
    assert_eq!(
        steps,
        "# create Deployment default/nginx-app\n# create Service default/nginx-app\n# status AppService default/nginx-app\n"
    );
    for part in ["nodePort: 30002", "replicas: 2", "image: nginx:1.7.9"] {
        assert!(objects.contains(part), "{part} in {objects}");
    }
    Ok(())
}

#[test]
fn simulate_runs_a_plugin_that_asks_for_http_and_sends_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("call.yaml");
    let call = json!({
        "apiVersion": "caller.example.com/v1", "kind": "Call",
        "metadata": { "name": "a" },
        "spec": { "url": "http://127.0.0.1:1/", "key": "k" },
    });
    std::fs::write(&file, call.to_string())?;
    let text = kybern(&[
        "simulate",
        "-f",
        &file.to_string_lossy(),
        "--plugin",
        &guest("kybern_caller")?.to_string_lossy(),
    ])?;
    assert!(
        text.contains("EffectFailed: effect call (k): requests are sent by the act hook only"),
        "{text}"
    );
    Ok(())
}

#[test]
fn explain_and_record_say_what_would_be_done_and_do_nothing() -> Result<()> {
    let mut scene = Scene::with_appservice("explain")?;
    let (_, deployment, _) = scene.create_app("web", 2)?;
    scene.converged()?;
    scene.stop_host()?;
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let explain = || {
        kybern(&[
            "explain",
            "--kubeconfig",
            &kubeconfig.to_string_lossy(),
            &scene.namespace,
            &format!("{}/web", scene.namespace),
        ])
    };
    let text = explain()?;
    assert_eq!(text.matches("is as intended").count(), 2, "{text}");
    let before = scene
        .client()
        .merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?;
    let text = explain()?;
    assert!(text.contains("would be applied"), "{text}");
    assert_eq!(
        scene.client().get(&deployment)?,
        before,
        "nothing is written"
    );
    recorded_is_replayed(&scene)
}

/// What the plugin saw and decided comes out again without the cluster, and what differs is told.
fn recorded_is_replayed(scene: &Scene) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let case = folder.path().join("cases").join("web");
    let case = case.to_string_lossy();
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let object = format!("{}/web", scene.namespace);
    let record = [
        "plugin",
        "record",
        "--kubeconfig",
        &kubeconfig.to_string_lossy(),
        &scene.namespace,
        &object,
        "--case",
        &case,
    ];
    kybern(&record)?;
    let files = ["situation.yaml", "plan.yaml"].map(|name| format!("{case}/{name}"));
    for file in &files {
        let mode = std::fs::metadata(file)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let [situation, plan] = &files;
    assert!(std::fs::read_to_string(situation)?.contains("rows:\n  deployment:\n"));
    let (_, again) = failed(&record)?;
    assert!(again.contains("File exists"), "{again}");

    let wasm = guest("appservice")?;
    let replay = ["plugin", "replay", &wasm.to_string_lossy(), &case];
    let text = kybern(&replay)?;
    assert!(text.ends_with("1 passed; 0 failed\n"), "{text}");
    let expected = std::fs::read_to_string(plan)?;
    assert!(expected.contains("replicas: 2"), "{expected}");
    std::fs::write(plan, expected.replace("replicas: 2", "replicas: 3"))?;
    let (code, text) = failed(&replay)?;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("-      replicas: 3"), "{text}");
    Ok(())
}

#[test]
fn the_table_of_built_in_kinds_is_what_the_api_server_serves() -> Result<()> {
    let kubeconfig = shared()?.admin_kubeconfig()?;
    let text = kybern(&[
        "kinds",
        "--depth",
        "4",
        "--kubeconfig",
        &kubeconfig.to_string_lossy(),
    ])?;
    let served: Vec<Value> = serde_json::from_str(&text)?;
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../host/src/kinds/builtin.json"
    );
    let built_in: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    // Other tests install kinds of their own.
    let missing: Vec<&Value> = built_in
        .iter()
        .filter(|entry| !served.contains(entry))
        .collect();
    assert!(
        missing.is_empty(),
        "print the file again with `cargo xtask cluster run -- kybern kinds --depth 4`: {missing:#?}"
    );
    Ok(())
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() -> Result<()> {
    let mut child = std::process::Command::new(kybern_testcluster::kybern()?)
        .arg("crd")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    // Closed before anything is read: the next write fails with EPIPE.
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Ok(())
}
