//! Builds guests, and calls the hostile one.

use arrow::array::RecordBatch;
use kybern_plugin::{
    Call, CallLimits, Child, CompileLimits, Compiler, NamedAnswer, Plugin, Runtime, RuntimeConfig,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use wit_component::ComponentEncoder;

const TARGET: &str = "wasm32-unknown-unknown";
const WASI_TARGET: &str = "wasm32-wasip2";

/// One runtime for all tests: they run at the same time and share its instances.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(config()).unwrap())
}

/// The usual settings, with a process of its own for each component that is compiled, as hosts have it.
pub(crate) fn config() -> RuntimeConfig {
    RuntimeConfig {
        compiler: Compiler::Child(child(CompileLimits::default())),
        ..RuntimeConfig::default()
    }
}

/// That process, with these limits.
pub(crate) fn child(limits: CompileLimits) -> Child {
    Child {
        program: env!("CARGO_BIN_EXE_kybern-compile").into(),
        arguments: Vec::new(),
        limits,
        room: None,
    }
}

/// The hostile guest's component, its manifest left in the core module.
pub(crate) fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| component("kybern-evil"))
}

/// A guest of this workspace, built as a component, its manifest left in the core module.
pub(crate) fn component(package: &str) -> Vec<u8> {
    ComponentEncoder::default()
        .validate(true)
        .module(&std::fs::read(build(package, TARGET)).unwrap())
        .unwrap()
        .encode()
        .unwrap()
}

/// A guest of this workspace that brings WASI; its target's linker makes the component.
pub(crate) fn wasi_component(package: &str) -> Vec<u8> {
    kybern_component::ensure_target(Path::new(env!("CARGO_MANIFEST_DIR")), WASI_TARGET).unwrap();
    std::fs::read(build(package, WASI_TARGET)).unwrap()
}

fn build(package: &str, triple: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests");
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args(["build", "--quiet", "--release", "--lib"])
        .args(["--package", package, "--target", triple])
        .arg("--target-dir")
        .arg(&target)
        // Flags for the host's linker are no flags for a guest.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .status()
        .unwrap();
    assert!(status.success(), "building {package}: {status}");
    let file = format!("{}.wasm", package.replace('-', "_"));
    target.join(triple).join("release").join(file)
}

/// The hostile guest, loaded once.
pub(crate) fn evil() -> &'static Plugin {
    static EVIL: OnceLock<Plugin> = OnceLock::new();
    EVIL.get_or_init(|| runtime().load(wasm()).unwrap())
}

/// A situation (and as good a trigger) with this `spec`.
pub(crate) fn situation(spec: Value) -> String {
    json!({
        "resource": { "group": "evil.example.com", "version": "v1", "kind": "Evil" },
        "object": {
            "apiVersion": "evil.example.com/v1",
            "kind": "Evil",
            "metadata": { "name": "mallory", "namespace": "default", "uid": "1" },
            "spec": spec,
        },
        "queries": ["children"],
        "now": "2026-11-22T00:00:00Z",
    })
    .to_string()
}

/// Calls `decide` with `spec.mode` and the usual limits.
pub(crate) fn decide(mode: &str) -> Call<String> {
    evil().decide(
        &situation(json!({ "mode": mode })),
        Vec::new(),
        &CallLimits::default(),
    )
}

pub(crate) fn answer(name: &str, batches: Vec<RecordBatch>) -> NamedAnswer {
    NamedAnswer {
        name: name.to_owned(),
        schema: batches[0].schema(),
        batches,
    }
}
