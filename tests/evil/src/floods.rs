//! Modes that ask the host for much: many calls, slow calls, large values, memory moved about.

use crate::bindings::kybern::operator::log::{self, Level};
use crate::bindings::kybern::operator::rows;
use crate::bindings::kybern::operator::types::HookError;
use serde_json::{Value, json};
use std::hint::black_box;

/// Bytes that are copied with one instruction.
const BLOCK: usize = 24 << 20;

/// Copies one half of its memory over the other, for ever.
pub(crate) fn copies() -> ! {
    let mut memory = vec![1_u8; 2 * BLOCK];
    loop {
        memory.copy_within(..BLOCK, BLOCK);
        black_box(&mut memory);
    }
}

/// Calls one host function for ever, which costs the guest next to nothing.
pub(crate) fn calls(function: &str, query: &str) -> Result<String, HookError> {
    match function {
        "log" => loop {
            log::write(Level::Info, "");
        },
        "unknown" => loop {
            black_box(rows::open("no such query").is_ok());
        },
        "open" => loop {
            black_box(rows::open(query).is_ok());
        },
        "count" => {
            let cursor = rows::open(query).map_err(failed)?;
            loop {
                black_box(cursor.row_count());
            }
        }
        other => Err(HookError::Invalid(format!("spec.call: no call `{other}`"))),
    }
}

/// Reads the answer again and again, each time as little as possible of it.
pub(crate) fn row_by_row(form: &str, query: &str) -> Result<String, HookError> {
    loop {
        let cursor = rows::open(query).map_err(failed)?;
        match form {
            "ipc" => while cursor.ipc(1 << 10).map_err(failed)?.is_some() {},
            // More than the host hands out at once.
            "whole" => while cursor.json(u32::MAX).map_err(failed)?.is_some() {},
            _ => while cursor.json(1).map_err(failed)?.is_some() {},
        }
    }
}

/// Opens a cursor and drops it, so many times; how many that were.
pub(crate) fn reopen(times: u64, query: &str) -> Result<u64, HookError> {
    for _ in 0..times {
        drop(rows::open(query).map_err(failed)?);
    }
    Ok(times)
}

/// Logs one message of so many bytes.
pub(crate) fn big_log(bytes: usize) {
    log::write(Level::Error, &"z".repeat(bytes));
}

/// As many ConfigMaps as it is told.
pub(crate) fn huge_plan(one: &Value, count: u64) -> Vec<Value> {
    let action = |number: u64| {
        let mut action = one.clone();
        action["object"]["metadata"]["name"] = json!(format!("c-{number}"));
        action
    };
    (0..count).map(action).collect()
}

fn failed(error: rows::ReadError) -> HookError {
    HookError::Internal(format!("{error:?}"))
}
