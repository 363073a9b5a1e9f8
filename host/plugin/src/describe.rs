//! The manifest of a component that says itself what it is.
//!
//! # Contract
//! The hook runs like any other pure hook, once for each load, with its bundle and nothing of a
//! cluster. What it returns is checked as a manifest in a component is, and asks for no capability
//! that the component's own manifest does not ask for: who reads that one knows the worst.

use crate::call::CallError;
use crate::hook::{Callee, Hook};
use crate::limits::CallLimits;
use crate::load::LoadError;
use crate::manifest;
use kybern_interface::{HookError, Manifest};
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// What `describe` may use: more than a pass, because it is called once, and reads all of a bundle.
pub(crate) fn limits() -> CallLimits {
    CallLimits {
        memory: 256 * MIB,
        time: Duration::from_secs(5),
        wall_time: Duration::from_secs(30),
        output_bytes: manifest::MAX_BYTES,
        output_depth: manifest::MAX_DEPTH,
        ..CallLimits::default()
    }
}

/// The manifest that the component returns; `own` is the one that it carries.
pub(crate) fn describe(
    callee: &Callee<'_>,
    hook: &Hook,
    own: &Manifest,
) -> Result<Manifest, LoadError> {
    let called = callee.describe(hook, &limits()).result;
    let text = called.map_err(|error| match error {
        CallError::Hook(HookError::Invalid(reason)) => LoadError::Bundle { reason },
        error => LoadError::Describe(error),
    })?;
    let manifest = manifest::parse(text.as_bytes())?;
    let own: Vec<_> = own.capabilities.iter().map(|ask| ask.name).collect();
    let mut asks = manifest.capabilities.iter();
    match asks.find(|ask| !own.contains(&ask.name)) {
        None => Ok(manifest),
        Some(ask) => Err(LoadError::Manifest {
            reason: format!(
                "that follows from the bundle asks for the capability {:?}, which the component's own does not ask for",
                ask.name
            )
            .to_lowercase(),
        }),
    }
}
