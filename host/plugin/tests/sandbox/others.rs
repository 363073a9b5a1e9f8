//! What a hostile plugin costs the plugins beside it, while it does its worst on all the calls that
//! it may have at once.

use crate::guest::{runtime, situation, wasm};
use crate::text::small;
use kybern_plugin::{CallLimits, Plugin, Runtime, RuntimeConfig};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// As many passes of one registration as run at once, unless it says otherwise.
const CALLS: usize = 8;
/// Calls of the plugin that behaves.
const SAMPLES: usize = 200;
/// What one hostile call may take.
const TIME: Duration = Duration::from_millis(100);

fn limits() -> CallLimits {
    CallLimits {
        time: TIME,
        ..CallLimits::default()
    }
}

fn worst() -> [(&'static str, Value); 8] {
    [
        ("loop", json!({ "mode": "loop" })),
        ("copies", json!({ "mode": "copies" })),
        ("calls", json!({ "mode": "calls", "call": "log" })),
        ("memory", json!({ "mode": "memory" })),
        ("deep-recursion", json!({ "mode": "deep-recursion" })),
        ("big-output", json!({ "mode": "big-output" })),
        ("log-flood", json!({ "mode": "log-flood" })),
        ("huge-plan", json!({ "mode": "huge-plan" })),
    ]
}

/// How long each call of the plugin that behaves took, sorted; none fails. And the most memory that
/// all guests had together at one of their ends.
fn samples(runtime: &Runtime, good: &Plugin, enough: impl Fn() -> bool) -> (Vec<Duration>, usize) {
    let mut most = 0;
    let mut all: Vec<Duration> = Vec::new();
    while all.len() < SAMPLES || !enough() {
        let call = good.decide("{}", Vec::new(), &CallLimits::default());
        assert_eq!(call.result.unwrap(), "{}");
        // Waiting for an instance is in it.
        all.push(call.usage.wall_time);
        most = most.max(runtime.memory_bytes());
    }
    all.sort_unstable();
    (all, most)
}

/// The same while the other is at it, and how many hostile calls ended meanwhile.
fn beside(
    runtime: &Runtime,
    good: &Plugin,
    evil: &Plugin,
    spec: &Value,
) -> (Vec<Duration>, usize, usize) {
    let over = AtomicBool::new(false);
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let situation = situation(spec.clone());
    let hostile = || {
        while !over.load(Ordering::Acquire) {
            begun.fetch_add(1, Ordering::AcqRel);
            let _ = evil.decide(&situation, Vec::new(), &limits());
            ended.fetch_add(1, Ordering::AcqRel);
        }
    };
    std::thread::scope(|scope| {
        let hostile: Vec<_> = (0..CALLS).map(|_| scope.spawn(hostile)).collect();
        while begun.load(Ordering::Acquire) < CALLS {
            std::thread::yield_now();
        }
        let samples = scope.spawn(|| {
            // Until each place has had its turn.
            samples(runtime, good, || ended.load(Ordering::Acquire) >= CALLS)
        });
        let samples = samples.join();
        let ended = ended.load(Ordering::Acquire);
        over.store(true, Ordering::Release);
        hostile.into_iter().for_each(|call| call.join().unwrap());
        let (samples, most) = samples.unwrap();
        (samples, most, ended)
    })
}

fn at(samples: &[Duration], percent: usize) -> Duration {
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

#[test]
fn the_calls_of_other_plugins_go_on_beside_its_worst() {
    let own = Runtime::new(RuntimeConfig::default()).unwrap();
    assert_eq!(own.allocation(), runtime().allocation());
    let (good, evil) = (own.load(&small()).unwrap(), own.load(wasm()).unwrap());
    let (alone, _) = samples(&own, &good, || true);
    println!("alone: p50 {:?}, p99 {:?}", at(&alone, 50), at(&alone, 99));
    for (mode, spec) in worst() {
        let (samples, most, ended) = beside(&own, &good, &evil, &spec);
        let (half, slow) = (at(&samples, 50), at(&samples, 99));
        println!(
            "beside {mode}: p50 {half:?}, p99 {slow:?}; {ended} hostile calls, {} others, {most} bytes",
            samples.len()
        );
        // Nobody waits until the others have had their time; how long a thread waits for a processor
        // that everybody wants is the machine's matter, so of a few calls it may be more.
        assert!(half < TIME / 10, "{mode}: {half:?}");
        assert!(slow < 4 * TIME, "{mode}: {slow:?}");
        let bound = CALLS * CallLimits::default().memory + (4 << 20);
        assert!(most <= bound, "{mode}: {most} bytes of guests");
    }
    assert_eq!(own.memory_bytes(), 0);
}
