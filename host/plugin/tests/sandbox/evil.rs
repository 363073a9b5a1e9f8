//! Each mode of the hostile guest, and what becomes of it.

use crate::guest::{answer, decide, evil, runtime, situation};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use kybern_interface::{Action, Children, Failure, HookError, Plan, Sensing};
use kybern_plugin::{Allocation, Call, CallError, CallLimits, Runtime, RuntimeConfig};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The plan of a call that must succeed.
fn plan(call: &Call<String>) -> Plan {
    serde_json::from_str(call.result.as_ref().unwrap()).unwrap()
}

/// The error of a call that must fail, after which a fresh call must work.
fn error(mode: &str) -> CallError {
    let error = decide(mode).result.unwrap_err();
    assert_eq!(plan(&decide("ok")).actions.len(), 2, "after {mode}");
    error
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap()
}

fn trap(error: CallError) -> String {
    match error {
        CallError::Trap { message } => message,
        other => panic!("{other:?} is no trap"),
    }
}

#[test]
fn ok() {
    let call = decide("ok");
    let plan = plan(&call);
    assert_eq!(plan.children, Children::Complete);
    let Action::Apply(apply) = &plan.actions[0] else {
        panic!("{plan:?}");
    };
    assert_eq!(apply.object["metadata"]["name"], "mallory");
    let usage = call.usage;
    assert_eq!(usage.bytes_out, length(&call.result.unwrap()));
    assert_eq!(usage.bytes_in, length(&situation(json!({ "mode": "ok" }))));
    assert!(
        usage.peak_memory >= 1 << 20 && usage.peak_memory < 4 << 20,
        "{usage:?}"
    );
    assert!(usage.time > Duration::ZERO && usage.wall_time >= usage.time);
    assert_eq!((usage.rows, usage.log_lines, usage.log_dropped), (0, 0, 0));
}

#[test]
fn r#loop() {
    let call = decide("loop");
    let limit = CallLimits::default().time;
    assert_eq!(call.result, Err(CallError::OutOfTime { limit }));
    assert!(call.usage.time >= limit, "{:?}", call.usage);
    // The ticking thread may get its turn late on a busy machine.
    assert!(call.usage.time < limit * 4, "{:?}", call.usage);
    assert_eq!(plan(&decide("ok")).actions.len(), 2);
}

#[test]
fn loop_that_gets_no_cpu() {
    let limits = CallLimits {
        time: Duration::from_secs(600),
        wall_time: Duration::from_millis(50),
        ..CallLimits::default()
    };
    let call = evil().decide(&situation(json!({ "mode": "loop" })), Vec::new(), &limits);
    let limit = limits.wall_time;
    assert_eq!(call.result, Err(CallError::OutOfTime { limit }));
}

#[test]
fn the_memory_of_calls_that_run_is_counted_until_they_end() {
    let runtime = Runtime::new(RuntimeConfig::default()).unwrap();
    let plugin = runtime.load(crate::guest::wasm()).unwrap();
    assert_eq!(runtime.memory_bytes(), 0, "the trial instance is gone");
    assert!(plugin.code_bytes() > 10_000, "{}", plugin.code_bytes());
    let limits = CallLimits {
        time: Duration::from_secs(600),
        wall_time: Duration::from_secs(2),
        ..CallLimits::default()
    };
    let call = || plugin.decide(&situation(json!({ "mode": "loop" })), Vec::new(), &limits);
    std::thread::scope(|scope| {
        let calls = [scope.spawn(call), scope.spawn(call)];
        let mut most = 0;
        while !calls.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            most = most.max(runtime.memory_bytes());
            std::thread::yield_now();
        }
        let peaks = calls.map(|call| call.join().unwrap().usage.peak_memory);
        assert_eq!(most, peaks.iter().sum::<usize>(), "both at the same time");
    });
    assert_eq!(runtime.memory_bytes(), 0);
}

#[test]
fn trap_with_the_panics_message() {
    let message = trap(error("trap"));
    let trap = "wasm `unreachable` instruction executed in `kybern_evil::modes::decide`";
    assert!(message.starts_with(trap), "{message}");
    assert!(message.contains("its last error: panicked at"), "{message}");
    assert!(message.contains("told to trap"), "{message}");
}

#[test]
fn memory() {
    let limit = CallLimits::default().memory;
    let call = decide("memory");
    assert_eq!(call.result, Err(CallError::OutOfMemory { limit }));
    assert!(call.usage.peak_memory > limit / 2 && call.usage.peak_memory <= limit);
    assert_eq!(plan(&decide("ok")).actions.len(), 2);
}

#[test]
fn no_call_gets_more_memory_than_the_runtime_has() {
    let runtime = Runtime::new(RuntimeConfig {
        instances: 1,
        max_memory: 16 << 20,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let evil = runtime.load(crate::guest::wasm()).unwrap();
    let situation = situation(json!({ "mode": "memory" }));
    let call = evil.decide(&situation, Vec::new(), &CallLimits::default());
    assert_eq!(call.result, Err(CallError::OutOfMemory { limit: 16 << 20 }));
}

#[test]
fn memory_returns() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    // More instances than this test ever uses at once would hide a leak.
    let limits = CallLimits::default();
    let runtime = Runtime::new(RuntimeConfig {
        instances: 2,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let evil = runtime.load(crate::guest::wasm()).unwrap();
    let situation = situation(json!({ "mode": "memory" }));
    let hoard = || {
        let call = evil.decide(&situation, Vec::new(), &limits);
        assert!(matches!(call.result, Err(CallError::OutOfMemory { .. })));
        call.usage.peak_memory
    };
    hoard();
    let before = resident();
    let hoarded: usize = (0..20).map(|_| hoard()).sum();
    let kept = resident().saturating_sub(before);
    // Other tests run beside this one, so there is room for their memory.
    assert!(hoarded > 640 << 20, "{hoarded}");
    assert!(kept < 256 << 20, "{kept} bytes stay of {hoarded}");
}

#[test]
fn deep_recursion() {
    let message = trap(error("deep-recursion"));
    assert!(message.starts_with("call stack exhausted"), "{message}");
}

#[test]
fn big_output() {
    let limit = CallLimits::default().output_bytes;
    let bytes = 5 << 20;
    assert_eq!(
        error("big-output"),
        CallError::OutputTooLarge { bytes, limit }
    );
    let fitting = json!({ "mode": "big-output", "bytes": limit });
    let call = evil().decide(&situation(fitting), Vec::new(), &CallLimits::default());
    assert_eq!(call.result.unwrap().len(), limit);
}

#[test]
fn not_json() {
    let CallError::MalformedOutput { reason } = error("not-json") else {
        panic!("must be malformed");
    };
    assert!(reason.starts_with("not JSON: expected value"), "{reason}");
}

#[test]
fn deep_json() {
    let reason = "nested 10000 deep, more than the limit of 64".to_owned();
    assert_eq!(error("deep-json"), CallError::MalformedOutput { reason });
    let fitting = json!({ "mode": "deep-json", "depth": 64 });
    let call = evil().decide(&situation(fitting), Vec::new(), &CallLimits::default());
    assert_eq!(call.result.unwrap().len(), 128);
}

#[test]
fn not_a_plan() {
    // The sandbox gives JSON; who makes a plan of it refuses this.
    let document = decide("not-a-plan").result.unwrap();
    assert!(serde_json::from_str::<Value>(&document).is_ok());
    assert!(serde_json::from_str::<Plan>(&document).is_err());
}

#[test]
fn unknown_action() {
    let document = decide("unknown-action").result.unwrap();
    let error = serde_json::from_str::<Plan>(&document)
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown variant `formatDisk`"), "{error}");
}

#[test]
fn outside_grants() {
    // A plan like any other; grants are not the sandbox's business.
    let plan = plan(&decide("outside-grants"));
    assert!(matches!(&plan.actions[1], Action::Delete(delete) if delete.target.kind == "Secret"));
    assert!(
        matches!(&plan.actions[2], Action::Apply(apply) if apply.object["kind"] == "ClusterRole")
    );
}

#[test]
fn log_flood() {
    let call = decide("log-flood");
    assert_eq!(plan(&call).actions.len(), 2);
    let fitting = u32::try_from(CallLimits::default().log_bytes / (1_024 + 64)).unwrap();
    assert_eq!(call.usage.log_lines, fitting);
    assert_eq!(call.usage.log_dropped, 10_000 - fitting);
}

#[test]
fn many_cursors() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let call = evil().decide(
        &situation(json!({ "mode": "many-cursors" })),
        vec![answer("children", vec![batch])],
        &CallLimits::default(),
    );
    let Err(CallError::Hook(HookError::Internal(message))) = call.result else {
        panic!("{:?}", call.result);
    };
    assert!(message.starts_with("64 opened, then"), "{message}");
    assert!(
        message.contains("64 cursors are open, which is the limit"),
        "{message}"
    );
    assert_eq!(plan(&decide("ok")).actions.len(), 2);
}

#[test]
fn impure() {
    // Nothing that it tries gives it anything to be impure with.
    let situation = situation(json!({ "mode": "impure" }));
    let limits = CallLimits::default();
    let first = evil().decide_strict(&situation, Vec::new(), &limits);
    let one = first.result.unwrap();
    assert!(
        one.contains(r#""calls":"0""#) && one.contains(r#""leftovers":"0""#),
        "{one}"
    );
    // Nor do calls in between, in the same slot of the pool or another.
    for mode in ["memory", "trap", "ok"] {
        decide(mode).result.ok();
        let again = evil().decide_strict(&situation, Vec::new(), &limits);
        assert_eq!(again.result.as_ref(), Ok(&one), "after {mode}");
        assert_eq!(again.usage.bytes_out, 2 * length(&one));
    }
    // Nor does another way to allocate.
    let on_demand = on_demand().load(crate::guest::wasm()).unwrap();
    assert_eq!(
        on_demand.decide(&situation, Vec::new(), &limits).result,
        Ok(one)
    );
}

#[test]
fn slow() {
    let spec = json!({ "mode": "slow", "rounds": 20_000_000 });
    let with = |time| {
        let limits = CallLimits {
            time,
            ..CallLimits::default()
        };
        evil().decide(&situation(spec.clone()), Vec::new(), &limits)
    };
    let free = with(Duration::from_secs(60));
    assert_eq!(plan(&free).actions.len(), 2);
    let needed = free.usage.time;
    // Just under the limit it is let go on, over the limit it is not.
    assert!(with(needed * 3).result.is_ok());
    let limit = needed / 4;
    assert_eq!(with(limit).result, Err(CallError::OutOfTime { limit }));
}

#[test]
fn hook_errors() {
    let message = "told to come again".to_owned();
    for (mode, expected) in [
        (
            "invalid",
            HookError::Invalid("spec.mode: told to be invalid".to_owned()),
        ),
        (
            "wait",
            HookError::Wait(Failure {
                message: message.clone(),
                retry_after_ms: Some(1_500),
            }),
        ),
        (
            "retry",
            HookError::Retry(Failure {
                message,
                retry_after_ms: None,
            }),
        ),
        ("internal", HookError::Internal("told to fail".to_owned())),
    ] {
        assert_eq!(error(mode), CallError::Hook(expected), "{mode}");
    }
}

#[test]
fn sense() {
    let sense = |mode: &str| {
        evil()
            .sense(
                &situation(json!({ "mode": mode })),
                Vec::new(),
                &CallLimits::default(),
            )
            .result
    };
    let read = |text: Result<String, CallError>| -> Sensing {
        serde_json::from_str(&text.unwrap()).unwrap()
    };
    assert_eq!(read(sense("ok")), Sensing::Queries(Vec::new()));
    assert_eq!(read(sense("sense-skip")), Sensing::Skip);
    assert!(trap(sense("sense-trap").unwrap_err()).contains("sense was told to trap"));
    assert!(matches!(
        sense("sense-not-json"),
        Err(CallError::MalformedOutput { .. })
    ));
}

#[test]
fn a_full_house_is_busy_and_then_free_again() {
    let runtime = Runtime::new(RuntimeConfig {
        instances: 1,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let evil = runtime.load(crate::guest::wasm()).unwrap();
    let impatient = CallLimits {
        wait: Duration::ZERO,
        ..CallLimits::default()
    };
    let ok = situation(json!({ "mode": "ok" }));
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            let spec = json!({ "mode": "loop" });
            evil.decide(&situation(spec), Vec::new(), &CallLimits::default())
        });
        // Busy as soon as the other thread is in, at the latest until it is out.
        let mut busy = 0;
        while !looping.is_finished() {
            match evil.decide(&ok, Vec::new(), &impatient).result {
                Err(CallError::Busy) => busy += 1,
                other => assert!(other.is_ok(), "{other:?}"),
            }
        }
        assert!(busy > 0);
        let looped = looping.join().unwrap().result;
        assert!(
            matches!(looped, Err(CallError::OutOfTime { .. })),
            "{looped:?}"
        );
    });
    assert!(evil.decide(&ok, Vec::new(), &impatient).result.is_ok());
    // Who is patient waits for the place.
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| evil.decide(&ok, Vec::new(), &CallLimits::default())))
            .collect();
        for call in calls {
            assert!(call.join().unwrap().result.is_ok());
        }
    });
}

fn on_demand() -> Runtime {
    // No address space has room for this pool.
    Runtime::new(RuntimeConfig {
        instances: 100_000,
        ..RuntimeConfig::default()
    })
    .unwrap()
}

#[test]
fn without_room_for_a_pool_limits_hold_as_well() {
    assert_eq!(runtime().allocation(), Allocation::Pooling);
    let runtime = on_demand();
    assert_eq!(runtime.allocation(), Allocation::OnDemand);
    let evil = runtime.load(crate::guest::wasm()).unwrap();
    let limits = CallLimits::default();
    let call = |mode: &str| {
        evil.decide(&situation(json!({ "mode": mode })), Vec::new(), &limits)
            .result
    };
    assert!(call("ok").is_ok());
    let limit = limits.memory;
    assert_eq!(call("memory"), Err(CallError::OutOfMemory { limit }));
    assert!(trap(call("deep-recursion").unwrap_err()).starts_with("call stack exhausted"));
    let limit = limits.time;
    assert_eq!(call("loop"), Err(CallError::OutOfTime { limit }));
}
