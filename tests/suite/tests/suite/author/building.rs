//! `kybern plugin new` and `build`, where they refuse. Where they work the tutorial runs them, and for
//! operators in YAML the commands of their README.

use anyhow::{Context, Result, ensure};
use kybern_testcluster::{guest, kybern};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A crate without dependencies.
fn krate(folder: &Path, types: &str, lib: &str) -> Result<()> {
    let manifest = format!(
        "[package]\nname = \"web\"\nedition = \"2024\"\n[lib]\ncrate-type = [{types}]\n[workspace]\n"
    );
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/lib.rs"), lib)?;
    Ok(())
}

fn build(folder: &Path) -> Result<Output> {
    let mut command = Command::new(kybern()?);
    command.args(["plugin", "build", "--dir"]).arg(folder);
    Ok(command
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()?)
}

#[test]
fn what_is_no_plugin_is_not_built() -> Result<()> {
    for (types, lib, code, part) in [
        ("\"rlib\"", "", 2, "the crate is no cdylib"),
        (
            "\"cdylib\"",
            "fn oops(",
            1,
            "`cargo build --target wasm32-unknown-unknown` failed",
        ),
        (
            "\"cdylib\"",
            "",
            1,
            "what was built is no plugin: the manifest",
        ),
    ] {
        let folder = tempfile::tempdir()?;
        krate(folder.path(), types, lib)?;
        let output = build(folder.path())?;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{told} has no {part}");
        assert!(!folder.path().join("web.wasm").exists());
    }
    let empty = tempfile::tempdir()?;
    let output = build(empty.path())?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr)?.contains("`kybern plugin new NAME` makes a crate"));
    Ok(())
}

#[test]
fn what_another_language_built_gets_its_manifest_or_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
    write("text.wasm", b"text")?;
    write("empty.wasm", b"\0asm\x0d\0\x01\0")?;
    write("web.yaml", b"name: web\nversion: 1.0.0\n")?;
    write("bad.yaml", b"name: ../web\nversion: 1.0.0\n")?;
    for (from, manifest, code, part) in [
        ("gone.wasm", "web.yaml", 2, "gone.wasm: cannot be read"),
        ("text.wasm", "gone.yaml", 2, "gone.yaml: cannot be read"),
        ("text.wasm", "web.yaml", 1, "cannot be made a component"),
        ("empty.wasm", "bad.yaml", 1, "use a DNS label"),
        ("empty.wasm", "web.yaml", 1, "exports no `decide` hook"),
    ] {
        let mut command = Command::new(kybern()?);
        command.args(["plugin", "build", "--from", from, "--manifest", manifest]);
        let output = command.current_dir(folder.path()).output()?;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{told} has no {part}");
        assert!(!folder.path().join("web.wasm").exists());
    }
    Ok(())
}

#[test]
fn a_new_crate_needs_the_sdk_and_is_told_where_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(kybern()?);
    command
        .args(["plugin", "new", "web"])
        .current_dir(folder.path());
    let output = command.env_remove("KYBERN_SDK").output()?;
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr)?;
    assert!(told.contains("Clone Kybern's repository"), "{told}");
    assert_eq!(fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

#[test]
fn each_command_of_a_new_operators_readme_does_what_it_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = kybern()?;
    let guests = guest("declarative")?;
    let guests = guests.parent().context("a folder")?;
    let run = |line: &str, at: &Path| -> Result<String> {
        let mut words = line.split_whitespace();
        ensure!(words.next() == Some("kybern"), "{line}");
        let mut command = Command::new(&program);
        command.args(words).current_dir(at).env_remove("KYBERN_SDK");
        let output = command.env("KYBERN_GUESTS", guests).output()?;
        let (out, err) = (output.stdout, output.stderr);
        let (out, err) = (String::from_utf8(out)?, String::from_utf8(err)?);
        ensure!(
            output.status.success() && err.is_empty(),
            "{line}: {out}{err}"
        );
        Ok(out)
    };
    let told = run("kybern plugin new web --declarative", folder.path())?;
    assert!(
        told.ends_with("next: cd web && kybern plugin test bundle\n"),
        "{told}"
    );
    let at = folder.path().join("web");
    let readme = fs::read_to_string(at.join("README.md"))?;
    let lines = readme.lines().filter_map(|line| line.strip_prefix("    "));
    let (ours, others): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("kybern"));
    assert_eq!(
        others,
        ["kubectl apply -f registration.yaml -f example.yaml"]
    );
    let says = [
        ("lint", "bundle: 0 errors, 0 warnings\n"),
        ("render", "readyReplicas: 1\n"),
        ("test", "test case: two-pods ... ok\n"),
        ("build", "file: web.wasm\n"),
        ("inspect", "kind: Plugin\n"),
    ];
    assert_eq!(ours.len(), says.len(), "{readme}");
    for (line, (command, says)) in ours.iter().zip(says) {
        // What is for people, or for a shell, is behind the command.
        let line = line.split(['#', '>']).next().unwrap_or_default();
        assert!(
            line.starts_with(&format!("kybern plugin {command} ")),
            "{line}"
        );
        let out = run(line, &at)?;
        assert!(out.contains(says), "{line}: {out}");
        if command == "inspect" {
            let object: Value = serde_saphyr::from_str(&out)?;
            assert_eq!(object["spec"]["resources"][0]["kind"], "Web");
        }
    }
    // It holds whatever the case does: another plan is a failure.
    let plan = at.join("cases/two-pods/plan.yaml");
    fs::write(
        &plan,
        fs::read_to_string(&plan)?.replace("replicas: 2", "replicas: 3"),
    )?;
    let told = run("kybern plugin test bundle", &at)
        .unwrap_err()
        .to_string();
    assert!(told.contains("test case: two-pods ... FAILED"), "{told}");
    Ok(())
}
