//! The host interface `render`: templates that somebody else renders for a guest.
//!
//! # Contract
//! What renders is a pure function of the request: nothing but its digest may decide about what comes
//! of it. A guest gives the path of a chart; what is in it comes from its own bundle, and from nowhere
//! else. Denied where the manifest does not ask for the capability `render`, in `act`, and where the
//! host has nothing that renders.

use crate::document::depth;
use crate::state::CallState;
use kybern_bundle::chart;
use kybern_interface::HelmRequest;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{ComponentType, Linker, Lower, WasmStr};
use wasmtime::{Result, StoreContextMut};

/// Renders charts. Blocks.
pub trait Render: Send + Sync + fmt::Debug {
    /// Whether it renders now; else why it will later. Who asks for it is loaded then.
    ///
    /// # Errors
    /// It is on its way.
    fn ready(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    /// Renders, in a time that it limits itself; at most `most` bytes come of it. The request is a JSON object with
    /// `version`, `chart` (`files` or `archive`), `values`, `release`, `lookup` and `options`; what
    /// Kubernetes can do is the implementation's matter. `now` is what templates take for the time,
    /// since 1970: when the custom resource was made, so that what they make of it stays.
    fn helm(
        &self,
        request: Value,
        now: Duration,
        most: usize,
    ) -> std::result::Result<String, RenderFailure>;
}

/// Why nothing was rendered. What a template gets wrong is in the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderFailure {
    /// It cannot be asked for.
    #[error("{0}")]
    Denied(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The engine failed or met a limit.
    #[error("{0}")]
    Failed(String),
    /// The answer is larger than this many bytes.
    #[error("what was rendered has more than {0} bytes")]
    TooLarge(u64),
}

/// `render-error`, as the interface has it.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
enum RenderError {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "failed")]
    Failed(String),
    #[component(name = "too-large")]
    TooLarge(u64),
}

impl From<RenderFailure> for RenderError {
    fn from(failure: RenderFailure) -> Self {
        match failure {
            RenderFailure::Denied(why) => Self::Denied(why),
            RenderFailure::Invalid(why) => Self::Invalid(why),
            RenderFailure::Failed(why) => Self::Failed(why),
            RenderFailure::TooLarge(most) => Self::TooLarge(most),
        }
    }
}

/// The interface's name.
pub(crate) const INTERFACE: &str = "kybern:operator/render@0.1.0";
/// Deepest request.
const DEPTH: usize = 100;

type Rendered = std::result::Result<String, RenderError>;

/// Gives guests `kybern:operator/render`.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    linker.instance(INTERFACE)?.func_wrap("helm", helm)
}

fn helm(mut store: StoreContextMut<'_, CallState>, (request,): (WasmStr,)) -> Result<(Rendered,)> {
    store.data().check()?;
    let text = request.to_str(&store)?.into_owned();
    let rendered = render(store.data_mut(), &text);
    // Before the guest goes on: it may be out of its time.
    store.data().check()?;
    Ok((rendered.map_err(RenderError::from),))
}

fn render(state: &mut CallState, text: &str) -> std::result::Result<String, RenderFailure> {
    let denied = |why: &str| RenderFailure::Denied(why.to_owned());
    if !state.inside.renders {
        return Err(denied(
            "charts are rendered in sense, decide and describe, and only where the manifest asks for the capability render",
        ));
    }
    let Some(engine) = state.inside.render.as_ref().map(Arc::clone) else {
        return Err(denied(
            "this host has no engine for Helm charts; start it with --helm-engine FILE",
        ));
    };
    let left = state.renders.checked_sub(1);
    state.renders = left.ok_or_else(|| denied("the call has rendered as often as it may"))?;
    let invalid = |why: String| RenderFailure::Invalid(why);
    if depth(text.as_bytes()) > DEPTH {
        let why = format!("the request is nested more than {DEPTH} deep");
        return Err(invalid(why));
    }
    let request: HelmRequest = serde_json::from_str(text)
        .map_err(|error| invalid(format!("the request is none: {error}")))?;
    let bundle = state.inside.bundle.as_deref();
    let bundle = bundle.ok_or_else(|| invalid("the component has no bundle".to_owned()))?;
    let chart = chart(bundle, &request.chart).map_err(invalid)?;
    let request = json!({
        "version": 1,
        "chart": chart,
        "values": request.values,
        "release": request.release,
        "lookup": request.lookup,
        "options": request.options,
    });
    let most = state.host_call_bytes;
    let rendered = engine.helm(request, state.inside.born, most)?;
    if rendered.len() > most {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        return Err(RenderFailure::TooLarge(most));
    }
    state.hand_over(rendered.len());
    Ok(rendered)
}
