//! What only who calls WASI by hand can try.

use crate::tries::hex;
use kybern_sdk::HookError;
use std::mem::forget;
use wasip2::cli::stdout::get_stdout;
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::poll;
use wasip2::random::{insecure, insecure_seed, random};
use wasip2::sockets::instance_network::instance_network;

pub(crate) fn tried(mode: &str) -> Result<Vec<String>, HookError> {
    match mode {
        "pollables" => loop {
            forget(subscribe_duration(1));
        },
        "networks" => loop {
            forget(instance_network());
        },
        "sleepless" => loop {
            subscribe_duration(u64::MAX).block();
        },
        "greedy" => Ok(vec![hex(random::get_random_bytes(u64::MAX))]),
        "gush" => {
            let gush = get_stdout().blocking_write_and_flush(&[b'a'; 100_000]);
            Ok(vec![format!("{gush:?}")])
        }
        "nothing" => Ok(vec![format!("{:?}", poll(&[]))]),
        other => Err(HookError::invalid("spec.mode", other)),
    }
}

pub(crate) fn random() -> Vec<String> {
    vec![
        hex(random::get_random_bytes(40)),
        random::get_random_u64().to_string(),
        hex(insecure::get_insecure_random_bytes(4)),
        insecure::get_insecure_random_u64().to_string(),
        format!("{:?}", insecure_seed::insecure_seed()),
    ]
}
