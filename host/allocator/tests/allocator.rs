//! What jemalloc does for a whole process: a program of its own, where nobody else allocates.

#![cfg(target_os = "linux")]

use kybern_allocator::{give_back, held, trim};
use std::sync::{Mutex, PoisonError};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static JEMALLOC: Jemalloc = Jemalloc;

const MIB: u64 = 1 << 20;

/// The tests take turns: each looks at what the process holds.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn what_was_freed_is_given_back() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = held().unwrap();
    let block = vec![1_u8; 256 << 20];
    let full = held().unwrap();
    assert!(full.allocated >= before.allocated + 255 * MIB, "{full:?}");
    assert!(full.resident >= before.resident + 250 * MIB, "{full:?}");
    drop(block);
    give_back();
    let after = held().unwrap();
    assert!(after.resident + 250 * MIB <= full.resident, "{after:?}");
}

#[test]
fn what_nobody_wants_is_not_kept() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let blocks: Vec<Vec<u8>> = (0..192).map(|_| vec![1_u8; 1 << 20]).collect();
    let full = held().unwrap();
    drop(blocks);
    trim();
    let after = held().unwrap();
    assert!(after.resident + 180 * MIB <= full.resident, "{after:?}");
}
