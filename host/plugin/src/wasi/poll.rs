//! `wasi:io/poll` and `wasi:io/error`: waiting for clocks; everything else is always ready.

use crate::state::CallState;
use wasmtime::component::{Linker, Resource, ResourceTableError, ResourceType};
use wasmtime::{Error, Result, StoreContextMut};

/// What a guest can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pollable {
    /// A stream: it never waits.
    Ready,
    /// The monotonic clock, to show this.
    At(u64),
}

/// `error`: streams here never fail, so nobody ever has one.
pub(super) struct StreamFailure;

/// A handle for the guest.
///
/// # Errors
/// It has too many.
pub(super) fn push(state: &mut CallState, pollable: Pollable) -> Result<Resource<Pollable>> {
    state.check()?;
    let pollables = &mut state.wasi.pollables;
    pollables.push(pollable).map_err(|error| match error {
        ResourceTableError::Full => Error::msg(format!(
            "it holds {} WASI pollables, which is the limit",
            pollables.max_capacity()
        )),
        error => error.into(),
    })
}

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut error = linker.instance("wasi:io/error@0.2.0")?;
    error.resource(
        "error",
        ResourceType::host::<StreamFailure>(),
        |_, _| Ok(()),
    )?;
    error.func_wrap(
        "[method]error.to-debug-string",
        |_: StoreContextMut<'_, CallState>, (_,): (Resource<StreamFailure>,)| Ok((String::new(),)),
    )?;
    let mut poll = linker.instance("wasi:io/poll@0.2.0")?;
    poll.resource(
        "pollable",
        ResourceType::host::<Pollable>(),
        |mut store, rep| {
            store.data().check()?;
            let pollable = Resource::<Pollable>::new_own(rep);
            store.data_mut().wasi.pollables.delete(pollable)?;
            Ok(())
        },
    )?;
    poll.func_wrap("[method]pollable.ready", ready)?;
    poll.func_wrap("[method]pollable.block", block)?;
    poll.func_wrap("poll", all)
}

fn ready(
    store: StoreContextMut<'_, CallState>,
    (pollable,): (Resource<Pollable>,),
) -> Result<(bool,)> {
    store.data().check()?;
    Ok((is_ready(store.data(), &pollable)?,))
}

fn block(
    mut store: StoreContextMut<'_, CallState>,
    (pollable,): (Resource<Pollable>,),
) -> Result<()> {
    let state = store.data_mut();
    state.check()?;
    match state.wasi.pollables.get(&pollable)? {
        Pollable::Ready => Ok(()),
        Pollable::At(instant) => {
            let instant = *instant;
            state.sleep_until(instant)
        }
    }
}

/// Waits for the first of them, and tells which are ready.
fn all(
    mut store: StoreContextMut<'_, CallState>,
    (pollables,): (Vec<Resource<Pollable>>,),
) -> Result<(Vec<u32>,)> {
    let state = store.data_mut();
    state.check()?;
    let mut first = None::<u64>;
    for pollable in &pollables {
        match *state.wasi.pollables.get(pollable)? {
            Pollable::Ready => first = Some(0),
            Pollable::At(instant) => first = Some(first.map_or(instant, |at| at.min(instant))),
        }
    }
    let first = first.ok_or_else(|| Error::msg("it waits for nothing (wasi:io/poll)"))?;
    state.sleep_until(first)?;
    let mut ready = Vec::new();
    for (index, pollable) in (0_u32..).zip(&pollables) {
        if is_ready(state, pollable)? {
            ready.push(index);
        }
    }
    Ok((ready,))
}

fn is_ready(state: &CallState, pollable: &Resource<Pollable>) -> Result<bool> {
    Ok(match state.wasi.pollables.get(pollable)? {
        Pollable::Ready => true,
        Pollable::At(instant) => *instant <= state.wasi.clock.monotonic(),
    })
}
