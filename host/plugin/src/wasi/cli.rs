//! `wasi:cli`: no environment, no arguments, no terminal; an exit is a trap.

use super::streams::{Input, Output, Stream};
use crate::state::CallState;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Error, Result, StoreContextMut};

/// What a plugin gets of environment and arguments.
pub(super) const NOTHING: &str = "nothing: no environment, no arguments";
/// What a plugin gets of terminals.
pub(super) const NO_TERMINAL: &str = "no terminal";

const EXIT: &str = "it called exit; a hook returns its result or an error instead";

/// `terminal-input`: nobody ever has one.
struct TerminalInput;
/// `terminal-output`: nobody ever has one.
struct TerminalOutput;

type Store<'a> = StoreContextMut<'a, CallState>;

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    environment(linker)?;
    let mut exit = linker.instance("wasi:cli/exit@0.2.0")?;
    exit.func_wrap(
        "exit",
        |_: Store<'_>, (_,): (std::result::Result<(), ()>,)| -> Result<()> {
            Err(Error::msg(EXIT))
        },
    )?;
    exit.func_wrap(
        "exit-with-code",
        |_: Store<'_>, (_,): (u8,)| -> Result<()> { Err(Error::msg(EXIT)) },
    )?;
    streams(linker)?;
    terminals(linker)
}

fn environment(linker: &mut Linker<CallState>) -> Result<()> {
    let mut environment = linker.instance("wasi:cli/environment@0.2.0")?;
    environment.func_wrap("get-environment", |_: Store<'_>, (): ()| {
        Ok((Vec::<(String, String)>::new(),))
    })?;
    environment.func_wrap("get-arguments", |_: Store<'_>, (): ()| {
        Ok((Vec::<String>::new(),))
    })?;
    environment.func_wrap("initial-cwd", |_: Store<'_>, (): ()| Ok((None::<String>,)))
}

fn streams(linker: &mut Linker<CallState>) -> Result<()> {
    linker
        .instance("wasi:cli/stdin@0.2.0")?
        .func_wrap("get-stdin", |_: Store<'_>, (): ()| {
            Ok((Resource::<Input>::new_own(0),))
        })?;
    linker.instance("wasi:cli/stdout@0.2.0")?.func_wrap(
        "get-stdout",
        |_: Store<'_>, (): ()| -> Result<(Resource<Output>,)> { Ok((Stream::Out.handle(),)) },
    )?;
    linker.instance("wasi:cli/stderr@0.2.0")?.func_wrap(
        "get-stderr",
        |_: Store<'_>, (): ()| -> Result<(Resource<Output>,)> { Ok((Stream::Err.handle(),)) },
    )
}

fn terminals(linker: &mut Linker<CallState>) -> Result<()> {
    linker.instance("wasi:cli/terminal-input@0.2.0")?.resource(
        "terminal-input",
        ResourceType::host::<TerminalInput>(),
        |_, _| Ok(()),
    )?;
    linker
        .instance("wasi:cli/terminal-output@0.2.0")?
        .resource(
            "terminal-output",
            ResourceType::host::<TerminalOutput>(),
            |_, _| Ok(()),
        )?;
    linker
        .instance("wasi:cli/terminal-stdin@0.2.0")?
        .func_wrap("get-terminal-stdin", |_: Store<'_>, (): ()| {
            Ok((None::<Resource<TerminalInput>>,))
        })?;
    for name in ["stdout", "stderr"] {
        linker
            .instance(&format!("wasi:cli/terminal-{name}@0.2.0"))?
            .func_wrap(&format!("get-terminal-{name}"), |_: Store<'_>, (): ()| {
                Ok((None::<Resource<TerminalOutput>>,))
            })?;
    }
    Ok(())
}
