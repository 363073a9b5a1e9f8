//! `kybern plugin lint`: what is wrong with a plugin, or may become so, before anybody registers it.

mod finding;
mod manifest;
mod probe;
mod queries;
mod shape;
#[cfg(test)]
mod tests;

use super::component::Component;
use super::subject::Subject;
use super::tables::Tables;
use super::{cases, document, refused};
use crate::args::{Format, LintArgs, Report};
use crate::terminal::{self, say};
use finding::{Finding, Severity};
use kybern_interface::Manifest;
use kybern_plugin::Outline;
use std::path::Path;
use std::process::ExitCode;

/// Prints what was found.
pub(super) async fn run(args: &LintArgs) -> anyhow::Result<ExitCode> {
    let component = Component::read(&args.wasm)?;
    let outline = match Outline::read(&component.bytes) {
        Ok(outline) => outline,
        Err(why) => return Ok(refused(&component, &why)),
    };
    let found = findings(&component, &outline, args.cases.as_deref()).await?;
    match args.output {
        Report::Text => print(&component, &found),
        Report::Json => document::print(&found, Format::Json)?,
    }
    let errors = found
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(ExitCode::from(u8::from(errors)))
}

/// The errors alone, as text.
pub(super) async fn errors(component: &Component) -> anyhow::Result<String> {
    let outline = match Outline::read(&component.bytes) {
        Ok(outline) => outline,
        Err(why) => return Ok(super::chain(&why)),
    };
    let found = findings(component, &outline, None).await?;
    let errors = found
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    Ok(errors.map(Finding::to_string).collect())
}

/// From what the binary says to what the plugin does; what needs the step before is left out
/// where that has failed.
async fn findings(
    component: &Component,
    outline: &Outline,
    cases: Option<&Path>,
) -> anyhow::Result<Vec<Finding>> {
    let mut found = shape::findings(component, outline);
    let Ok(manifest) = &outline.manifest else {
        return Ok(found);
    };
    found.extend(manifest::findings(manifest, outline));
    found.extend(queries::findings(manifest, outline, &Tables::of(manifest)?).await?);
    found.extend(behaviour(component, manifest, cases, outline).await?);
    found.sort_by_key(|finding| finding.severity);
    Ok(found)
}

/// What running it tells.
async fn behaviour(
    component: &Component,
    manifest: &Manifest,
    cases: Option<&Path>,
    outline: &Outline,
) -> anyhow::Result<Vec<Finding>> {
    if outline.refused.is_some() || !outline.has_hook("decide") {
        return Ok(Vec::new());
    }
    let cases = match cases {
        Some(folder) => cases::read(folder)?,
        None => Vec::new(),
    };
    Ok(match Subject::load(component).await? {
        Ok(subject) => probe::findings(&subject, manifest, &cases)?,
        Err(why) => vec![Finding::error(
            "not-loadable",
            "the component",
            super::chain(&why),
            "build it with `kybern plugin build`",
        )],
    })
}

fn print(component: &Component, found: &[Finding]) {
    for finding in found {
        terminal::write(&finding.to_string());
    }
    let count = |severity| {
        found
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    say!(
        "{}: {}, {}",
        component.path.display(),
        many(count(Severity::Error), "error"),
        many(count(Severity::Warning), "warning")
    );
}

fn many(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
