//! What is no plugin is refused, with the reason and the cure.

use crate::guest::{evil, runtime, situation, wasm};
use crate::text::{DECIDES, MANIFEST, component, component_in, decider, small, with_manifest};
use kybern_interface::WIT;
use kybern_plugin::{CallError, CallLimits, LoadError, Outline, Runtime, RuntimeConfig};
use proptest::prelude::*;
use serde_json::json;
use std::sync::OnceLock;

fn refused(wasm: &[u8]) -> String {
    let error = runtime().load(wasm).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn with(core: &str) -> Vec<u8> {
    with_manifest(component(DECIDES, core), MANIFEST)
}

fn decide(core: &str) -> Result<String, CallError> {
    let plugin = runtime().load(&with(core)).unwrap();
    plugin
        .decide("{}", Vec::new(), &CallLimits::default())
        .result
}

#[test]
fn a_plugin_tells_what_it_is() {
    let evil = evil();
    assert_eq!(evil.manifest().name, "evil");
    assert_eq!(evil.manifest().crds.len(), 1);
    assert_eq!(
        evil.manifest(),
        &Outline::read(wasm()).unwrap().manifest.unwrap()
    );
    assert!(evil.digest().starts_with("sha256:") && evil.digest().len() == 71);
    assert!(evil.has_sense() && !evil.has_act());
}

#[test]
fn an_absent_export_is_an_absent_hook() {
    let plugin = runtime().load(&small()).unwrap();
    assert!(!plugin.has_sense() && !plugin.has_act());
    let limits = CallLimits::default();
    assert_eq!(
        plugin.decide("{}", Vec::new(), &limits).result.unwrap(),
        "{}"
    );
    let sensed = plugin.sense("{}", Vec::new(), &limits).result;
    assert_eq!(sensed, Err(CallError::NoHook { hook: "sense" }));

    let act = decider(
        0,
        1024,
        2,
        "{}",
        r#"(func (export "kybern:operator/act@0.1.0#act") (param i32 i32) (result i32) (unreachable))"#,
    );
    let both = component("world tested { export decide; export act; }", &act);
    let plugin = runtime().load(&with_manifest(both, MANIFEST)).unwrap();
    assert!(plugin.has_act() && !plugin.has_sense());
}

#[test]
fn a_patch_version_fits() {
    let wit = format!("{WIT}\n{DECIDES}").replace("@0.1.0", "@0.1.9");
    let core = decider(0, 1024, 2, "{}", "").replace("@0.1.0", "@0.1.9");
    let plugin = with_manifest(component_in(&wit, &core), MANIFEST);
    let plugin = runtime().load(&plugin).unwrap();
    let call = plugin.decide("{}", Vec::new(), &CallLimits::default());
    assert_eq!(call.result.unwrap(), "{}");
}

#[test]
fn another_world_version_is_refused_with_both_named() {
    let wit = format!("{WIT}\n{DECIDES}").replace("@0.1.0", "@0.2.0");
    let core = decider(0, 1024, 2, "{}", "").replace("@0.1.0", "@0.2.0");
    let text = refused(&with_manifest(component_in(&wit, &core), MANIFEST));
    assert!(text.contains("built for kybern:operator@0.2.0"), "{text}");
    assert!(text.contains("offers kybern:operator@0.1.0"), "{text}");
    let manifest = MANIFEST.replace("@0.1.0", "@0.2.0");
    let component = component(DECIDES, &decider(0, 1024, 2, "{}", ""));
    assert_eq!(refused(&with_manifest(component, &manifest)), text);
}

#[test]
fn hooks_of_another_type_are_refused() {
    let wit = WIT.replace(
        "decide: func(situation: json) -> result<json, hook-error>;",
        "decide: func(situation: u32) -> u32;",
    );
    let core = r#"(module (func (export "kybern:operator/decide@0.1.0#decide")
        (param i32) (result i32) (local.get 0)))"#;
    let component = component_in(&format!("{wit}\n{DECIDES}"), core);
    let error = runtime()
        .load(&with_manifest(component, MANIFEST))
        .unwrap_err();
    assert!(matches!(error, LoadError::Interface { .. }), "{error:?}");
    assert!(error.to_string().contains("hook `decide`"), "{error}");
}

#[test]
fn imports_of_another_type_are_refused() {
    let wit = WIT.replace(
        "write: func(level: level, message: string);",
        "write: func(level: level, message: string, colour: u32);",
    );
    let core = decider(0, 1024, 2, "{}", "").replacen(
        "(module",
        r#"(module (import "kybern:operator/log@0.1.0" "write" (func (param i32 i32 i32 i32)))"#,
        1,
    );
    let world = "world tested { import log; export decide; }";
    let component = component_in(&format!("{wit}\n{world}"), &core);
    let error = runtime()
        .load(&with_manifest(component, MANIFEST))
        .unwrap_err();
    assert!(matches!(error, LoadError::Interface { .. }), "{error:?}");
    assert!(error.to_string().contains("log@0.1.0"), "{error}");
}

#[test]
fn without_decide_there_is_no_plugin() {
    let component = component("world tested {}", "(module)");
    let error = runtime()
        .load(&with_manifest(component, MANIFEST))
        .unwrap_err();
    assert!(matches!(error, LoadError::NoDecide), "{error:?}");
}

#[test]
fn without_manifest_there_is_no_plugin() {
    let component = component(DECIDES, &decider(0, 1024, 2, "{}", ""));
    assert!(refused(&component).contains("is missing"));
    assert!(refused(&with_manifest(component, "{}")).contains("missing field `name`"));
}

#[test]
fn size_is_checked_first() {
    let runtime = Runtime::new(RuntimeConfig {
        max_component: 100,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let error = runtime.load(&[0; 101]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the component has 101 bytes, more than the limit of 100"
    );
}

#[test]
fn start_functions_run_within_limits() {
    let start = |body: &str| {
        let more = format!("(func $start {body}) (start $start)");
        refused(&with(&decider(0, 1024, 2, "{}", &more)))
    };
    assert!(start("(loop (br 0))").contains("ran longer than its limit of 500 ms"));
    assert!(start("(unreachable)").contains("trapped: wasm `unreachable`"));
    let grow = "(drop (memory.grow (i32.const 2000)))";
    assert!(start(grow).contains("needs more memory than its limit of 67108864 bytes"));
    assert!(start("(call $start)").contains("call stack exhausted"));
}

#[test]
fn memory_that_is_too_large_from_the_start_is_refused() {
    let core = decider(0, 1024, 2, "{}", "").replace("\"memory\") 2)", "\"memory\") 2000)");
    assert!(refused(&with(&core)).contains("needs more memory than its limit"));
}

#[test]
fn too_many_core_instances_are_refused() {
    let instances = "(core instance (instantiate $m))".repeat(65);
    let component = wat::parse_str(format!("(component (core module $m) {instances})")).unwrap();
    let error = runtime()
        .load(&with_manifest(component, MANIFEST))
        .unwrap_err();
    assert!(matches!(error, LoadError::Compile { .. }), "{error:?}");
}

#[test]
fn returned_values_that_break_the_rules_are_malformed() {
    for (what, core) in [
        ("utf-8", decider(0, 1024, 2, "\\ff\\fe", "")),
        ("out of bounds", decider(0, u32::MAX, 2, "", "")),
        ("out of bounds", decider(0, 131_070, 100, "", "")),
        ("discriminant", decider(7, 1024, 2, "{}", "")),
    ] {
        match decide(&core) {
            Err(CallError::MalformedOutput { reason }) => {
                assert!(reason.contains(what), "{reason} has no {what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_text_as_large_as_memory_is_measured_not_believed() {
    // Two pages hold no more; a length beyond them is out of bounds.
    let call = decide(&decider(0, 0, 131_072, "", ""));
    assert!(
        matches!(call, Err(CallError::MalformedOutput { .. })),
        "{call:?}"
    );
}

#[test]
fn arguments_of_host_functions_that_break_the_rules_trap() {
    let world = "world tested { import log; export decide; }";
    let core = |call: &str| {
        format!(
            r#"(module
            (import "kybern:operator/log@0.1.0" "write" (func $write (param i32 i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\ff\fe")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192))
            (func (export "kybern:operator/decide@0.1.0#decide") (param i32 i32) (result i32)
                (call $write {call}) (i32.const 0)))"#
        )
    };
    for (what, call) in [
        ("utf-8", "(i32.const 0) (i32.const 0) (i32.const 2)"),
        (
            "out of bounds",
            "(i32.const 0) (i32.const 0) (i32.const -1)",
        ),
        ("discriminant", "(i32.const 9) (i32.const 0) (i32.const 0)"),
    ] {
        let plugin = with_manifest(component(world, &core(call)), MANIFEST);
        let plugin = runtime().load(&plugin).unwrap();
        match plugin
            .decide("{}", Vec::new(), &CallLimits::default())
            .result
        {
            Err(CallError::Trap { message }) => {
                assert!(message.contains(what), "{message} has no {what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn input_that_does_not_fit_into_memory_is_out_of_memory() {
    let mut spec = json!({ "mode": "ok" });
    spec["ballast"] = json!("x".repeat(1 << 20));
    let limits = CallLimits {
        memory: 2 << 20,
        ..CallLimits::default()
    };
    let call = evil().decide(&situation(spec), Vec::new(), &limits);
    let limit = limits.memory;
    assert_eq!(call.result, Err(CallError::OutOfMemory { limit }));
}

/// What compiles by itself: hundreds of components, one after the other.
fn in_process() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(RuntimeConfig::default()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    /// Whatever bytes come: a plugin that keeps to its limits, or an error.
    #[test]
    fn no_bytes_break_the_host(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut wasm = small();
        for (at, byte) in changes {
            let at = at.index(wasm.len());
            wasm[at] = byte;
        }
        if let Some(cut) = cut {
            wasm.truncate(cut.index(wasm.len()));
        }
        if let Ok(plugin) = in_process().load(&wasm) {
            let _ = plugin.decide("{}", Vec::new(), &CallLimits::default());
        }
    }
}
