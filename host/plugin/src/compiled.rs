//! The one place that turns stored machine code back into a component or a module.
//!
//! # Contract
//! Forged bytes would be run as the host itself. So [`load`] takes nothing but
//! a [`StoredCode`], which only the cache can make, and which vouches that the
//! bytes are what this process's own compiler gave it just now, in a file without a name, or
//! - lay in a directory that nobody but this process's user could write to,
//! - in a regular file that this user owns and nobody else could write to,
//! - and are, by their digest, what this host wrote for the same wasm bytes and
//!   the same engine.
//!
//! The file is mapped, not copied: its pages are read when a call touches them. Who could change
//! them after the digest was compared is this process's user, who could change the process itself.
//!
//! Never make one from bytes that a user, a registry, an archive or a request gave.
#![expect(
    unsafe_code,
    reason = "loading compiled code is unsafe by nature; the contract is above"
)]

use crate::cache::StoredCode;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// The component with this code. An error means that it is not for this engine: compile again.
/// Where files may not be run (a `noexec` mount) it is copied into memory.
pub(crate) fn load(engine: &Engine, code: &StoredCode) -> wasmtime::Result<Component> {
    // SAFETY: by the contract of `StoredCode` the file begins with what
    // `Component::serialize` gave this host, unchanged; wasmtime itself checks
    // that version and settings of the engine are the same.
    let mapped = unsafe { Component::deserialize_file(engine, code.path()) };
    mapped.or_else(|_| {
        let bytes = code.bytes()?;
        // SAFETY: the same, from the same open file.
        unsafe { Component::deserialize(engine, bytes) }
    })
}

/// The module with this code: [`load`] for what `Module::serialize` gave.
pub(crate) fn load_module(engine: &Engine, code: &StoredCode) -> wasmtime::Result<Module> {
    // SAFETY: as above; wasmtime refuses a component's code here, and a module's there.
    let mapped = unsafe { Module::deserialize_file(engine, code.path()) };
    mapped.or_else(|_| {
        let bytes = code.bytes()?;
        // SAFETY: the same, from the same open file.
        unsafe { Module::deserialize(engine, bytes) }
    })
}
