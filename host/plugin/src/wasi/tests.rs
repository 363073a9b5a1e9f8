//! What does not need a guest: clocks, random numbers and how the input decides them.

use super::poll::Pollable;
use super::*;
use crate::inside::Inside;
use crate::limits::CallLimits;
use crate::outside::Outside;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Resource;

const INPUT: &str = r#"{"object":{"now":"1999-01-01T00:00:00Z"},"now":"2026-11-22T00:00:00Z"}"#;

fn state(ground: Ground, input: &str) -> CallState {
    let limits = CallLimits {
        wall_time: Duration::from_secs(60),
        ..CallLimits::default()
    };
    let wasi = Wasi::new(ground, "decide", input, 2);
    CallState::new(
        "test",
        Vec::new(),
        &limits,
        Arc::default(),
        Inside::default(),
        Outside::default(),
        wasi,
    )
}

#[test]
fn the_time_is_the_inputs_own() {
    let at = |input| now(input).map(|now| now.to_string());
    assert_eq!(at(INPUT).as_deref(), Some("2026-11-22T00:00:00Z"));
    for none in ["", "[]", "{}", r#"{"now":1}"#, r#"{"now":"yesterday"}"#] {
        assert_eq!(at(none), None, "{none}");
    }
}

#[test]
fn a_sleep_in_a_pure_hook_takes_no_time_and_moves_the_clock() {
    let mut state = state(Ground::Pure, INPUT);
    let begin = state.wasi.clock.monotonic();
    assert_eq!(state.wasi.clock.monotonic(), begin);
    // Longer than the call has: nothing waits.
    let year = 31_536_000_000_000_000;
    state.sleep_until(begin + year).unwrap();
    assert_eq!(state.wasi.clock.monotonic(), begin + year);
    state.sleep_until(begin).unwrap();
    assert_eq!(state.wasi.clock.monotonic(), begin + year);
    state.sleep_until(u64::MAX).unwrap();
    assert_eq!(state.wasi.clock.monotonic(), u64::MAX);
}

#[test]
fn a_sleep_in_act_that_the_call_has_no_time_for_ends_it_at_once() {
    let mut state = state(Ground::Real, INPUT);
    let begin = state.wasi.clock.monotonic();
    state.sleep_until(begin + 2_000_000).unwrap();
    assert!(state.wasi.clock.monotonic() >= begin + 2_000_000);
    let error = state.sleep_until(u64::MAX).unwrap_err();
    assert!(error.is::<crate::meter::OutOfTime>(), "{error:?}");
}

#[test]
fn a_sleep_in_act_ends_when_the_call_is_stopped() {
    let mut state = state(Ground::Real, INPUT);
    let stop = state.outside.stop.clone();
    let begin = state.wasi.clock.monotonic();
    std::thread::scope(|scope| {
        scope.spawn(move || stop.stop());
        let error = state.sleep_until(begin + 50_000_000_000).unwrap_err();
        assert!(error.is::<crate::outside::Stopped>(), "{error:?}");
    });
}

#[test]
fn pollables_are_bounded() {
    let mut state = state(Ground::Pure, INPUT);
    let first = poll::push(&mut state, Pollable::Ready).unwrap();
    poll::push(&mut state, Pollable::Ready).unwrap();
    let error = poll::push(&mut state, Pollable::Ready).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it holds 2 WASI pollables, which is the limit"
    );
    let owned = Resource::<Pollable>::new_own(first.rep());
    state.wasi.pollables.delete(owned).unwrap();
    assert!(poll::push(&mut state, Pollable::Ready).is_ok());
}

#[test]
fn every_linked_interface_is_described_once() {
    let mut names: Vec<_> = INTERFACES.iter().map(|(of, name, _)| (of, name)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), INTERFACES.len());
    assert!(given("sockets", "tcp-create-socket").is_some());
    assert!(given("cli", "run").is_none());
}
