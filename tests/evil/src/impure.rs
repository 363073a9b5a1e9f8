//! Everything that a guest could try to make two calls with the same input differ.

use crate::modes;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Would count calls, if an instance lived for more than one.
static CALLS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn plan(situation: &Value) -> Value {
    let local = 0_u8;
    let heap = Box::new(0_u8);
    let order: Vec<u32> = HashSet::<u32>::from_iter(0..20).into_iter().collect();
    let mut plan = modes::plan(situation);
    plan["actions"][0]["object"]["data"] = json!({
        "calls": CALLS.fetch_add(1, Ordering::Relaxed).to_string(),
        "stack": format!("{:p}", &raw const local),
        "heap": format!("{:p}", &raw const *heap),
        "order": format!("{order:?}"),
        "nan": format!("{:?}", nans()),
        "leftovers": leftovers().to_string(),
    });
    plan
}

/// The bits of NaNs, which processors make differently.
fn nans() -> [u64; 3] {
    let zero = black_box(0.0_f64);
    [
        (zero / black_box(0.0)).to_bits(),
        (black_box(f64::INFINITY) - black_box(f64::INFINITY)).to_bits(),
        black_box(-1.0_f64).sqrt().to_bits(),
    ]
}

/// What is in memory that nobody has written yet: must be nothing of an earlier call.
fn leftovers() -> u64 {
    let mut zeroed = vec![0_u8; 4 << 20];
    black_box(&mut zeroed);
    let sum = zeroed.iter().map(|byte| u64::from(*byte)).sum();
    // For the next call to find, if there were a way.
    zeroed.fill(0x5a);
    black_box(&zeroed);
    sum
}
