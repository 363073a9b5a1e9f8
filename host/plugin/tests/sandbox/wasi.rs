//! WASI: everything of 0.2 is linked, nothing of it leads outside, and the same input gives the same.

use crate::guest::{runtime, situation, wasi_component};
use crate::text::{DECIDES, MANIFEST, component_in, decider, with_manifest};
use kybern_interface::WIT;
use kybern_plugin::{
    Call, CallError, CallLimits, LoadError, Offer, Outline, Outside, Plugin, Stop,
};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Resolve, UnresolvedPackageGroup, WorldItem};

/// All that can be imported of 0.2.
const WASI: &str = include_str!("wasi.wit");

fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| wasi_component("kybern-curious"))
}

fn curious() -> &'static Plugin {
    static CURIOUS: OnceLock<Plugin> = OnceLock::new();
    CURIOUS.get_or_init(|| runtime().load(wasm()).unwrap())
}

fn asks(mode: &str) -> String {
    situation(json!({ "mode": mode }))
}

fn decide(mode: &str) -> Call<String> {
    let limits = CallLimits {
        // The build may be slow, and the machine busy.
        time: Duration::from_secs(5),
        ..CallLimits::default()
    };
    curious().decide(&asks(mode), Vec::new(), &limits)
}

/// What the guest put into its status.
fn seen(call: &Call<String>) -> Vec<String> {
    let plan: Value = serde_json::from_str(call.result.as_ref().unwrap()).unwrap();
    let text = plan.to_string();
    let at = text.find("\"seen\":").unwrap_or_else(|| panic!("{text}"));
    let mut list = serde_json::Deserializer::from_str(&text[at + 7..]).into_iter();
    list.next().unwrap().unwrap()
}

fn trap(mode: &str) -> String {
    match decide(mode).result {
        Err(CallError::Trap { message }) => message,
        other => panic!("{mode}: {other:?}"),
    }
}

#[test]
fn nothing_leads_outside() {
    assert_eq!(
        seen(&decide("look")),
        [
            "environment 0",
            "arguments 0",
            "folder NotFound: No such file or directory (os error 44)",
            "read NotFound: No such file or directory (os error 44)",
            "write NotFound: No such file or directory (os error 44)",
            "link NotFound: No such file or directory (os error 44)",
            "exists false",
            "connect PermissionDenied: Permission denied (os error 2)",
            "listen PermissionDenied: Permission denied (os error 2)",
            "datagram PermissionDenied: Permission denied (os error 2)",
            "lookup PermissionDenied: Permission denied (os error 2)",
            "input ok",
        ]
    );
}

#[test]
fn clocks_show_the_situations_now_and_a_sleep_takes_no_time() {
    let call = decide("time");
    // 2026-11-22T00:00:00Z, and an hour later.
    let expected = ["unix 1795305600", "later 1795309200", "passed 3600000"];
    assert_eq!(seen(&call), expected);
    assert!(call.usage.wall_time < Duration::from_secs(600));
}

#[test]
fn random_numbers_follow_from_the_situation() {
    let first = seen(&decide("random"));
    assert_eq!(seen(&decide("random")), first);
    let limits = CallLimits::default();
    let strict = curious().decide_strict(&asks("random"), Vec::new(), &limits);
    assert_eq!(seen(&strict), first);
    let other = situation(json!({ "mode": "random", "sleep": 1 }));
    let other = seen(&curious().decide(&other, Vec::new(), &limits));
    let differ = |(one, other): (&String, &String)| usize::from(one != other);
    let differences = first.iter().zip(&other).map(differ);
    // All but the thread's number.
    assert_eq!(differences.sum::<usize>(), first.len() - 1);
}

#[test]
fn what_is_printed_is_logged_and_bounded() {
    let call = decide("print");
    assert_eq!((call.usage.log_lines, call.usage.log_dropped), (3, 0));
    let call = decide("flood");
    assert_eq!(seen(&call), ["50000"]);
    let usage = call.usage;
    assert!(usage.log_lines < 1_000, "{usage:?}");
    assert_eq!(usage.log_lines + usage.log_dropped, 100_001);
}

#[test]
fn giving_up_is_a_trap_that_says_why() {
    let aborted = trap("abort");
    assert!(
        aborted.contains("; its last error: it is enough"),
        "{aborted}"
    );
    for (mode, message) in [
        (
            "exit",
            "it called exit; a hook returns its result or an error instead",
        ),
        (
            "greedy",
            "it asks for 18446744073709551615 random bytes at once, more than the limit of 8388608",
        ),
        (
            "gush",
            "it prints 100000 bytes at once, more than the 65536 that it may",
        ),
        ("nothing", "it waits for nothing (wasi:io/poll)"),
        (
            "pollables",
            "it holds 64 WASI pollables, which is the limit",
        ),
        (
            "networks",
            "cannot allocate another handle: store handle limit exceeded",
        ),
    ] {
        let told = trap(mode);
        assert!(told.starts_with(message), "{mode}: {told}");
    }
}

#[test]
fn who_sleeps_for_ever_runs_out_of_time() {
    let limits = CallLimits {
        time: Duration::from_millis(100),
        ..CallLimits::default()
    };
    let call = curious().decide(&asks("sleepless"), Vec::new(), &limits);
    assert_eq!(
        call.result,
        Err(CallError::OutOfTime { limit: limits.time })
    );
}

fn effect(sleep: u64) -> String {
    json!({
        "name": "sleep", "key": "sleep", "attempt": 1, "input": sleep,
        "resource": { "group": "curious.example.com", "version": "v1", "kind": "Look" },
        "metadata": { "name": "a" },
    })
    .to_string()
}

#[test]
fn in_act_time_passes_and_numbers_are_random() {
    let act = || {
        let call = curious().act(&effect(20), &CallLimits::default(), Outside::default());
        serde_json::from_str::<Value>(&call.result.unwrap()).unwrap()
    };
    let unix = || {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        since.as_secs()
    };
    let (before, first, after) = (unix(), act(), unix());
    assert!(
        (before..=after).contains(&first["unix"].as_u64().unwrap()),
        "{first}"
    );
    assert!(first["slept"].as_u64().unwrap() >= 20, "{first}");
    assert_ne!(first["random"], act()["random"]);
}

#[test]
fn a_sleep_in_act_ends_with_the_calls_time_or_when_it_is_stopped() {
    let limits = CallLimits {
        wall_time: Duration::from_secs(60),
        ..CallLimits::default()
    };
    // More than it has: there is no use in waiting for that.
    let call = curious().act(&effect(61_000), &limits, Outside::default());
    let limit = limits.wall_time;
    assert_eq!(call.result, Err(CallError::OutOfTime { limit }));
    assert!(call.usage.wall_time < limit);
    let stop = Stop::default();
    stop.stop();
    let outside = Outside {
        stop,
        ..Outside::default()
    };
    let call = curious().act(&effect(50_000), &limits, outside);
    assert_eq!(call.result, Err(CallError::Stopped));
}

/// A component that imports all of these whole, and decides something.
fn importing(wit: &str, imports: &[&str]) -> Vec<u8> {
    let import = |name: &&str| format!("import {name};\n");
    let imports: String = imports.iter().map(import).collect();
    let wit = format!("{WIT}\nworld tested {{ {imports} export decide; }}\n{wit}");
    let functions = format!("(module {}", functions(&wit));
    let core = decider(0, 1024, 2, "{}", "").replacen("(module", &functions, 1);
    with_manifest(component_in(&wit, &core), MANIFEST)
}

/// Every function that the world imports, as a core module has it.
fn functions(wit: &str) -> String {
    let mut resolve = Resolve::default();
    let group = UnresolvedPackageGroup::parse("tested.wit", wit).unwrap();
    let package = resolve.push_group(group).unwrap();
    let world = resolve.select_world(&[package], Some("tested")).unwrap();
    let types = |types: &[WasmType]| {
        let name = |of: &WasmType| match of {
            WasmType::I64 | WasmType::PointerOrI64 => "i64 ",
            WasmType::F32 => "f32 ",
            WasmType::F64 => "f64 ",
            WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32 ",
        };
        types.iter().map(name).collect::<String>()
    };
    let mut text = String::new();
    for (key, item) in &resolve.worlds[world].imports {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        let interface = resolve.name_world_key(key);
        for function in resolve.interfaces[*id].functions.values() {
            let has = resolve.wasm_signature(AbiVariant::GuestImport, function);
            text += &format!(
                "(import \"{interface}\" \"{}\" (func (param {}) (result {})))\n",
                function.name,
                types(&has.params),
                types(&has.results)
            );
        }
    }
    text
}

/// Every interface in the file.
fn interfaces(wit: &str) -> Vec<String> {
    let mut package = "";
    let mut found = Vec::new();
    for line in wit.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("package ") {
            package = name.trim_end_matches(" {");
        } else if let Some(name) = line.strip_prefix("interface ") {
            let (of, version) = package.split_once('@').unwrap();
            let name = name.split(' ').next().unwrap();
            found.push(format!("{of}/{name}@{version}"));
        }
    }
    found
}

#[test]
fn every_function_of_every_0_2_is_linked_with_its_type() {
    for version in ["0.2.12", "0.2.0", "0.2.99"] {
        let wit = WASI.replace("0.2.12", version);
        let names = interfaces(&wit);
        assert_eq!(names.len(), 27);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let plugin = importing(&wit, &names);
        let outline = Outline::read(&plugin).unwrap();
        let wasi = |offer| matches!(offer, Offer::Wasi { .. });
        let imports = outline.imports.iter().filter(|import| wasi(import.offer));
        assert_eq!(imports.count(), names.len());
        runtime().load(&plugin).unwrap();
    }
}

#[test]
fn a_function_of_another_type_is_refused() {
    let wit = WASI.replace(
        "initial-cwd: func() -> option<string>",
        "initial-cwd: func() -> u64",
    );
    let plugin = importing(&wit, &["wasi:cli/environment@0.2.12"]);
    let error = runtime().load(&plugin).unwrap_err();
    assert!(matches!(error, LoadError::Interface { .. }), "{error:?}");
    assert!(
        error.to_string().contains("wasi:cli/environment"),
        "{error}"
    );
}

#[test]
fn other_versions_and_packages_are_refused_with_the_import_and_the_cure() {
    let refused = |wit: &str, import: &str| {
        let core = decider(0, 1024, 2, "{}", "").replacen(
            "(module",
            &format!("(module (import \"{import}\" \"f\" (func))"),
            1,
        );
        let world = DECIDES.replace("export", &format!("import {import}; export"));
        let plugin = component_in(&format!("{WIT}\n{world}\n{wit}"), &core);
        let error = runtime().load(&with_manifest(plugin, MANIFEST));
        error.unwrap_err().to_string()
    };
    let offers = "the plugin imports what this host does not offer";
    let http = "package wasi:http@0.2.6 { interface outgoing-handler { f: func(); } }";
    assert_eq!(
        refused(http, "wasi:http/outgoing-handler@0.2.6"),
        format!(
            "{offers}: wasi:http/outgoing-handler@0.2.6; requests are sent with \
             kybern:operator/http, by act: leave wasi:http out (componentize-js: --disable http)"
        )
    );
    let later = "package wasi:cli@0.3.0 { interface environment { f: func(); } }";
    assert_eq!(
        refused(later, "wasi:cli/environment@0.3.0"),
        format!(
            "{offers}: wasi:cli/environment@0.3.0; of WASI, version 0.2 of cli, clocks, \
             filesystem, io, random and sockets is linked: build for that (Rust: wasm32-wasip2 \
             or wasm32-unknown-unknown)"
        )
    );
}
