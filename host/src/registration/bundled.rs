//! A component that interprets a bundle, with the one that the settings name.

use super::controller::Controller;
use super::loads::Loads;
use super::problem::Problem;
use crate::source::{BundleSource, Fetch, Fetched, What, digest};
use kybern_bundle::{Bundle, compose};
use kybern_interface::PluginSpec;
use kybern_plugin::read_interfaces;

/// What is under way for the bundle of a registration.
pub(super) fn bundle_of(name: &str) -> String {
    format!("{name}/bundle")
}

/// For which registration that is; any other name is what it says.
pub(super) fn registration_of(name: &str) -> &str {
    name.strip_suffix("/bundle").unwrap_or(name)
}

/// What is to be fetched, if the component interprets a bundle and the settings name one.
pub(crate) fn wanted(spec: &PluginSpec, component: &[u8]) -> Result<Option<Fetch>, Problem> {
    // What is no component is told by who loads it.
    let interfaces = read_interfaces(component);
    let describes = interfaces.is_ok_and(|found| {
        let mut exports = found.exports.iter();
        exports.any(|name| name.starts_with("kybern:operator/describe@"))
    });
    if !describes {
        return Ok(None);
    }
    let source = BundleSource::of(&spec.settings);
    let source = source.map_err(|why| Problem::new("InvalidBundle", why))?;
    Ok(source.map(|source| Fetch {
        source: source.place(),
        digest: source.digest,
        resolved: None,
        what: What::Bundle(source.repositories),
    }))
}

/// The component with this bundle: a component like any other, with a digest of its own.
pub(crate) fn composed(component: &Fetched, bundle: &Fetched) -> Result<Fetched, Problem> {
    let wrong = |error: kybern_bundle::BundleError| {
        Problem::new("InvalidBundle", format!("spec.settings.bundle: {error}"))
    };
    let bundle = Bundle::parse(&bundle.bytes).map_err(wrong)?;
    let bytes = compose(&component.bytes, &bundle).map_err(wrong)?;
    Ok(Fetched {
        digest: digest(&bytes),
        bytes: bytes.into(),
        image: component.image.clone(),
    })
}

/// Places of bundles, where those of components are told.
pub(crate) fn told(problem: Problem) -> Problem {
    Problem {
        message: problem
            .message
            .replace("spec.source", "spec.settings.bundle"),
        ..problem
    }
}

impl Controller {
    /// The component with the bundle that the settings name, where it interprets one.
    pub(super) async fn bundled(
        &self,
        name: &str,
        spec: &PluginSpec,
        component: Fetched,
        loads: &mut Loads,
    ) -> Result<Fetched, Problem> {
        let Some(fetch) = wanted(spec, &component.bytes)? else {
            return Ok(component);
        };
        let bundle = self.component(&bundle_of(name), fetch, loads).await;
        let bundle = bundle.map_err(told)?;
        let composing = tokio::task::spawn_blocking(move || composed(&component, &bundle)).await;
        composing.map_err(|_| Problem::passing("LoadFailed", "loading was interrupted"))?
    }
}
