//! Guests that ask for much: memory moved about, host functions called without end, large values.

use crate::guest::{answer, evil, runtime, situation};
use crate::text::{DECIDES, MANIFEST, component, decider, with_manifest};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use kybern_plugin::{Call, CallError, CallLimits, NamedAnswer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Short, so that what is not interrupted takes a hundred times as long.
const SHORT: Duration = Duration::from_millis(50);

fn limits() -> CallLimits {
    CallLimits {
        time: SHORT,
        ..CallLimits::default()
    }
}

/// A thousand rows.
fn rows() -> Vec<NamedAnswer> {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let texts = (0..1_000).map(|number| format!("a text with the number {number}"));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let batch = RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap();
    vec![answer("children", vec![batch])]
}

fn call(spec: Value, limits: &CallLimits) -> Call<String> {
    evil().decide(&situation(spec), rows(), limits)
}

/// It ended soon after its limit, and a fresh call works.
fn ends_in_time(call: &Call<String>, what: &str) {
    assert_eq!(
        call.result,
        Err(CallError::OutOfTime { limit: SHORT }),
        "{what}"
    );
    assert!(call.usage.time < SHORT * 10, "{what}: {:?}", call.usage);
    let after = call_ok();
    assert!(after.result.is_ok(), "after {what}: {:?}", after.result);
}

fn call_ok() -> Call<String> {
    call(json!({ "mode": "ok" }), &CallLimits::default())
}

#[test]
fn copies() {
    ends_in_time(&call(json!({ "mode": "copies" }), &limits()), "copies");
}

#[test]
fn calls() {
    for function in ["log", "unknown", "count", "open"] {
        let call = call(json!({ "mode": "calls", "call": function }), &limits());
        ends_in_time(&call, function);
        assert_eq!(call.usage.rows, 0, "{function}");
        if function == "log" {
            let most = CallLimits::default().log_bytes / 64;
            assert_eq!(usize::try_from(call.usage.log_lines).unwrap(), most);
            assert!(call.usage.log_dropped > 0, "{:?}", call.usage);
        }
    }
}

#[test]
fn row_by_row() {
    for form in ["json", "ipc", "whole"] {
        let call = call(json!({ "mode": "row-by-row", "form": form }), &limits());
        // What the host does for the guest is the guest's time.
        ends_in_time(&call, form);
        assert!(call.usage.rows > 0, "{form}: {:?}", call.usage);
    }
}

#[test]
fn reopen() {
    // The bound is on what is open at the same time.
    let times = 64 * 20;
    let limits = CallLimits {
        time: Duration::from_secs(60),
        ..CallLimits::default()
    };
    let call = call(json!({ "mode": "reopen", "times": times }), &limits);
    assert!(call.result.is_ok(), "{:?}", call.result);
}

#[test]
fn big_log() {
    let call = call(json!({ "mode": "big-log" }), &CallLimits::default());
    assert!(call.result.is_ok(), "{:?}", call.result);
    assert_eq!((call.usage.log_lines, call.usage.log_dropped), (1, 0));
}

#[test]
fn no_value_is_copied_out_of_a_guest_that_is_larger_than_four_documents() {
    let largest = 4 * CallLimits::default().output_bytes;
    let spec = |bytes: usize| json!({ "mode": "big-output", "bytes": bytes });
    let limits = CallLimits {
        memory: 256 << 20,
        ..CallLimits::default()
    };
    let bytes = largest;
    let limit = limits.output_bytes;
    let measured = call(spec(bytes), &limits).result;
    assert_eq!(measured, Err(CallError::OutputTooLarge { bytes, limit }));
    let reason = match call(spec(largest + 1), &limits).result {
        Err(CallError::MalformedOutput { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(
        reason.starts_with("too much data is being copied"),
        "{reason}"
    );
    // As an argument of a host function it is a trap.
    let spec = json!({ "mode": "big-log", "bytes": largest + 1 });
    match call(spec, &limits).result {
        Err(CallError::Trap { message }) => {
            assert!(message.starts_with("too much data"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn huge_plan() {
    // As JSON it fits; who reads the plan counts its actions.
    let spec = json!({ "mode": "huge-plan" });
    let limits = CallLimits {
        time: Duration::from_secs(60),
        ..CallLimits::default()
    };
    let plan = call(spec, &limits).result.unwrap();
    let plan: kybern_interface::Plan = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan.actions.len(), 10_000);
}

/// A `decide` that does this so often, one after the other, and never turns back.
fn straight(one: &str, times: usize) -> Call<String> {
    let more = format!(
        "(func $work (param i32) {})",
        format!("{one}\n").repeat(times)
    );
    let core = decider(0, 1024, 2, "{}", &more)
        .replace("\"memory\") 2)", "\"memory\") 900)")
        .replacen(
            "(i32.const 512))",
            "(call $work (i32.const 33554432)) (i32.const 512))",
            1,
        );
    let plugin = with_manifest(component(DECIDES, &core), MANIFEST);
    let plugin = runtime().load(&plugin).unwrap();
    plugin.decide("{}", Vec::new(), &limits())
}

#[test]
fn instructions_over_much_memory_are_interrupted_without_a_loop() {
    for (what, one, times) in [
        (
            "memory.fill",
            "(memory.fill (i32.const 16777216) (i32.const 7) (local.get 0))",
            2_000,
        ),
        (
            "memory.copy",
            "(memory.copy (i32.const 16777216) (i32.const 1048576) (local.get 0))",
            2_000,
        ),
    ] {
        let call = straight(one, times);
        assert_eq!(
            call.result,
            Err(CallError::OutOfTime { limit: SHORT }),
            "{what}"
        );
        assert!(call.usage.time < SHORT * 10, "{what}: {:?}", call.usage);
    }
}

/// A component whose code calls the host without another of its functions in between: what common
/// tools make has one there, and the engine looks at the time when it is entered.
fn direct(times: usize) -> String {
    // 15 MiB of zeros, which are UTF-8 and have to be looked at.
    let write = "(call $write (i32.const 0) (i32.const 1024) (i32.const 15728640))\n".repeat(times);
    format!(
        r#"(component
        (import "kybern:operator/types@0.1.0" (instance $types
            (type $f (record (field "message" string) (field "retry-after-ms" (option u64))))
            (export "failure" (type $failure (eq $f)))
            (type $e (variant (case "invalid" string) (case "wait" $failure)
                (case "retry" $failure) (case "internal" string)))
            (export "hook-error" (type (eq $e)))))
        (alias export $types "hook-error" (type $error))
        (import "kybern:operator/log@0.1.0" (instance $log
            (type $l (enum "debug" "info" "warn" "error"))
            (export "level" (type $level (eq $l)))
            (export "write" (func (param "level" $level) (param "message" string)))))
        (core module $store (memory (export "memory") 300)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192)))
        (core instance $store (instantiate $store))
        (alias core export $store "memory" (core memory $memory))
        (alias core export $store "realloc" (core func $realloc))
        (core func $write (canon lower (func $log "write") (memory $memory)))
        (core module $work
            (import "host" "write" (func $write (param i32 i32 i32)))
            (import "host" "memory" (memory 1))
            (func (export "decide") (param i32 i32) (result i32) {write}
                (i32.store (i32.const 520) (i32.const 600)) (i32.store (i32.const 524) (i32.const 2))
                (i32.store16 (i32.const 600) (i32.const 0x7d7b)) (i32.const 512)))
        (core instance $work (instantiate $work (with "host" (instance
            (export "write" (func $write)) (export "memory" (memory $memory))))))
        (func $decide (param "situation" string) (result (result string (error $error)))
            (canon lift (core func $work "decide") (memory $memory) (realloc $realloc)))
        (instance $decide (export "decide" (func $decide)))
        (export "kybern:operator/decide@0.1.0" (instance $decide)))"#
    )
}

#[test]
fn host_functions_are_interrupted_without_a_loop() {
    let decide = |times: usize| {
        let component = wat::parse_str(direct(times)).unwrap();
        let plugin = with_manifest(component, MANIFEST);
        let plugin = runtime().load(&plugin).unwrap();
        plugin.decide("{}", Vec::new(), &limits())
    };
    assert_eq!(decide(1).result.unwrap(), "{}");
    let call = decide(10_000);
    assert_eq!(call.result, Err(CallError::OutOfTime { limit: SHORT }));
    assert!(call.usage.time < SHORT * 10, "{:?}", call.usage);
}

/// The same over a function of WASI: it prints 64 KiB each time.
fn printing(times: usize) -> String {
    let write =
        "(call $write (local.get $out) (i32.const 0) (i32.const 65536) (i32.const 131072))\n"
            .repeat(times);
    format!(
        r#"(component
        (import "kybern:operator/types@0.1.0" (instance $types
            (type $f (record (field "message" string) (field "retry-after-ms" (option u64))))
            (export "failure" (type $failure (eq $f)))
            (type $e (variant (case "invalid" string) (case "wait" $failure)
                (case "retry" $failure) (case "internal" string)))
            (export "hook-error" (type (eq $e)))))
        (alias export $types "hook-error" (type $error))
        (import "wasi:io/error@0.2.0" (instance $io (export "error" (type (sub resource)))))
        (alias export $io "error" (type $failed))
        (import "wasi:io/streams@0.2.0" (instance $streams
            (export "output-stream" (type $out (sub resource)))
            (alias outer 1 $failed (type $failed))
            (type $s (variant (case "last-operation-failed" (own $failed)) (case "closed")))
            (export "stream-error" (type $stream-error (eq $s)))
            (export "[method]output-stream.write" (func (param "self" (borrow $out))
                (param "contents" (list u8)) (result (result (error $stream-error)))))))
        (alias export $streams "output-stream" (type $output))
        (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (alias outer 1 $output (type $o))
            (export "output-stream" (type $output (eq $o)))
            (export "get-stdout" (func (result (own $output))))))
        (core module $store (memory (export "memory") 300)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192)))
        (core instance $store (instantiate $store))
        (alias core export $store "memory" (core memory $memory))
        (alias core export $store "realloc" (core func $realloc))
        (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $memory)))
        (core func $stdout (canon lower (func $stdout "get-stdout")))
        (core module $work
            (import "host" "stdout" (func $stdout (result i32)))
            (import "host" "write" (func $write (param i32 i32 i32 i32)))
            (import "host" "memory" (memory 1))
            (func (export "decide") (param i32 i32) (result i32) (local $out i32)
                (local.set $out (call $stdout))
                (memory.fill (i32.const 0) (i32.const 97) (i32.const 65536))
                {write}
                (i32.store (i32.const 131096) (i32.const 131200)) (i32.store (i32.const 131100) (i32.const 2))
                (i32.store16 (i32.const 131200) (i32.const 0x7d7b)) (i32.const 131088)))
        (core instance $work (instantiate $work (with "host" (instance
            (export "stdout" (func $stdout)) (export "write" (func $write))
            (export "memory" (memory $memory))))))
        (func $decide (param "situation" string) (result (result string (error $error)))
            (canon lift (core func $work "decide") (memory $memory) (realloc $realloc)))
        (instance $decide (export "decide" (func $decide)))
        (export "kybern:operator/decide@0.1.0" (instance $decide)))"#
    )
}

#[test]
fn functions_of_wasi_are_interrupted_without_a_loop() {
    let decide = |times: usize| {
        let component = wat::parse_str(printing(times)).unwrap();
        let plugin = with_manifest(component, MANIFEST);
        let plugin = runtime().load(&plugin).unwrap();
        plugin.decide("{}", Vec::new(), &limits())
    };
    assert_eq!(decide(1).result.unwrap(), "{}");
    let call = decide(50_000);
    assert_eq!(call.result, Err(CallError::OutOfTime { limit: SHORT }));
    assert!(call.usage.time < SHORT * 10, "{:?}", call.usage);
}
