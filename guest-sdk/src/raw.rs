//! Hooks over the documents themselves, for plugins that interpret a bundle.
//!
//! [`Plugin`](crate::Plugin) is for one kind that the code knows. Who reads from files what the kind
//! is implements [`Hooks`], names itself in a manifest file and exports what it has:
//!
//! ```ignore
//! struct Interpreter;
//!
//! impl kybern_sdk::raw::Hooks for Interpreter { /* ... */ }
//!
//! kybern_sdk::export_raw!(Interpreter, manifest = "manifest.json", hooks = [describe, sense, decide, act]);
//! ```
//!
//! The manifest file is JSON, relative to the crate: name, version, world, and each capability that
//! `describe` may ask for.

use crate::cursor::{Cursor, ReadRows};
use crate::rows::Rows;
use crate::{Effect, HookError, Sensing, Value};
pub use kybern_interface::{HelmAnswer, HelmRequest, Plan, Situation, Trigger};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a plugin of raw hooks has. Only `decide` is required; [`export_raw`](crate::export_raw) names
/// what is exported.
pub trait Hooks {
    /// The manifest that follows from the bundle; [`HookError::Invalid`] with the places where the
    /// bundle is wrong.
    fn describe() -> Result<Value, HookError> {
        Err(HookError::Internal("there is no describe hook".to_owned()))
    }

    /// Which rows `decide` needs. `answers` knows those that the trigger names: none in the first
    /// call, those of [`Sensing::Again`] in the next.
    fn sense(trigger: &Trigger, answers: &Answers<'_>) -> Result<Sensing, HookError> {
        let _ = (trigger, answers);
        Ok(Sensing::Queries(Vec::new()))
    }

    /// A pure function from what is there to what should be there.
    fn decide(situation: &Situation, answers: &Answers<'_>) -> Result<Plan, HookError>;

    /// Runs one effect of an earlier plan. At least once.
    fn act(effect: &Effect) -> Result<Value, HookError> {
        Err(HookError::Internal(format!(
            "effect `{}` was planned, but the plugin has no act hook",
            effect.name
        )))
    }
}

/// The answers that a hook may read.
#[derive(Clone, Copy)]
pub struct Answers<'a>(pub(crate) &'a dyn ReadRows);

impl Answers<'_> {
    /// A position at the first row of the query `query`.
    pub fn open(&self, query: &str) -> Result<Cursor, HookError> {
        Ok(Cursor::new(query, self.0.open(query)?))
    }

    /// All rows of the query `query`, each read as `T`. As a [`Value`]: 64-bit integers, timestamps
    /// and nested JSON are text.
    pub fn rows<T: DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, HookError> {
        Rows::new(self.open(query)?).collect()
    }
}

/// The paths of the bundle's files, sorted. Outside the sandbox there are none.
pub fn paths() -> Vec<String> {
    #[cfg(target_arch = "wasm32")]
    return crate::guest::bundle_paths();
    #[cfg(not(target_arch = "wasm32"))]
    Vec::new()
}

/// What is in a file of the bundle; none = there is no such file.
pub fn read(path: &str) -> Option<Vec<u8>> {
    #[cfg(target_arch = "wasm32")]
    return crate::guest::bundle_read(path);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = path;
        None
    }
}

/// Why the host rendered nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// It may not be asked for here; the reason.
    Denied(String),
    /// The request makes no sense; the reason.
    Invalid(String),
    /// The engine failed or met a limit; the reason.
    Failed(String),
    /// The answer is larger than this many bytes.
    TooLarge(u64),
}

impl std::fmt::Display for RenderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(why) | Self::Invalid(why) | Self::Failed(why) => f.write_str(why),
            Self::TooLarge(most) => write!(f, "what was rendered is larger than {most} bytes"),
        }
    }
}

impl std::error::Error for RenderError {}

/// Renders a chart of the bundle. What the chart gets wrong is in the answer's `error`.
pub fn helm(request: &HelmRequest) -> Result<HelmAnswer, RenderError> {
    let failed = |error: serde_json::Error| RenderError::Failed(error.to_string());
    let request = serde_json::to_string(request).map_err(failed)?;
    serde_json::from_str(&render(&request)?).map_err(failed)
}

#[cfg(target_arch = "wasm32")]
fn render(request: &str) -> Result<String, RenderError> {
    crate::guest::helm(request)
}

#[cfg(not(target_arch = "wasm32"))]
fn render(_: &str) -> Result<String, RenderError> {
    let why = "charts are rendered by a host; here is none".to_owned();
    Err(RenderError::Denied(why))
}

#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(dead_code, reason = "called by exports")
)]
mod calls {
    use super::*;

    pub(crate) fn describe<P: Hooks>() -> Result<String, HookError> {
        write("manifest", &P::describe()?)
    }

    pub(crate) fn sense<P: Hooks>(
        trigger: &str,
        answers: &Answers<'_>,
    ) -> Result<String, HookError> {
        write("sensing", &P::sense(&parse("trigger", trigger)?, answers)?)
    }

    pub(crate) fn decide<P: Hooks>(
        situation: &str,
        answers: &Answers<'_>,
    ) -> Result<String, HookError> {
        write(
            "plan",
            &P::decide(&parse("situation", situation)?, answers)?,
        )
    }

    pub(crate) fn act<P: Hooks>(effect: &str) -> Result<String, HookError> {
        write("outcome", &P::act(&parse("effect", effect)?)?)
    }

    fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, HookError> {
        crate::dispatch::parse(what, text)
    }

    fn write<T: Serialize>(what: &str, document: &T) -> Result<String, HookError> {
        crate::dispatch::write(what, document)
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) use calls::{act, decide, describe, sense};

/// Exports the hooks of a type that implements [`Hooks`](crate::raw::Hooks), and embeds the manifest
/// file, JSON, relative to the crate.
#[macro_export]
macro_rules! export_raw {
    ($plugin:ident, manifest = $manifest:literal, hooks = [$($hook:ident),+ $(,)?]) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            const TEXT: &[u8] =
                ::core::include_bytes!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", $manifest));

            #[unsafe(link_section = "kybern:manifest")]
            #[used]
            static MANIFEST: [u8; TEXT.len()] = *::core::include_bytes!(
                ::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", $manifest)
            );

            type Exported = $crate::guest::Raw<$plugin>;
            $( $crate::guest::$hook::export!(Exported with_types_in ::kybern_sdk::guest::$hook); )+
        };
    };
}
