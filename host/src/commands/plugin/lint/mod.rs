//! `kybern plugin lint`: what is wrong with a plugin, or may become so, before anybody registers it.

mod finding;
mod manifest;
mod probe;
mod queries;
mod shape;
#[cfg(test)]
mod tests;

use super::bundle;
use super::cases::Case;
use super::component::Component;
use super::subject::Subject;
use super::tables::Tables;
use super::{cases, document, refused};
use crate::args::{Format, LintArgs, Report};
use crate::terminal::{self, say};
use finding::{Finding, Severity};
use kybern_bundle::Bundle;
use kybern_interface::Manifest;
use kybern_plugin::{LoadError, Outline};
use std::path::Path;
use std::process::ExitCode;

/// Prints what was found.
pub(super) async fn run(args: &LintArgs) -> anyhow::Result<ExitCode> {
    let component = match bundle::read(&args.wasm, &args.interpreter).await? {
        Ok(component) => component,
        Err(why) => return Ok(bundle::refused(&args.wasm, &why)),
    };
    let outline = match Outline::read(&component.bytes) {
        Ok(outline) => outline,
        Err(why) => return Ok(refused(&component, &why)),
    };
    let found = findings(&component, &outline, args.cases.as_deref()).await?;
    if let Some(bundle) = bundled(&component)
        && args.output == Report::Text
    {
        say!("bundle: {bundle}");
    }
    match args.output {
        Report::Text => print(&component, &found),
        Report::Json => document::print(&found, Format::Json)?,
    }
    let errors = found
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(ExitCode::from(u8::from(errors)))
}

/// The digest of its bundle: of the files that it was composed of just now, or of all that are in it.
fn bundled(component: &Component) -> Option<String> {
    let within = || {
        let section = kybern_bundle::section(&component.bytes).ok()??;
        Some(Bundle::parse(section).ok()?.digest())
    };
    component.files.clone().or_else(within)
}

/// The errors alone, of a plugin that is loaded; as text.
pub(super) async fn errors(component: &Component, subject: &Subject) -> anyhow::Result<String> {
    let outline = match Outline::read(&component.bytes) {
        Ok(outline) => outline,
        Err(why) => return Ok(super::chain(&why)),
    };
    let mut found = shape::findings(component, &outline);
    let manifest = subject.plugin.manifest();
    found.extend(of_manifest(manifest, &outline, &subject.tables).await?);
    found.extend(run_in(subject, manifest, &[]).await?);
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
    if outline.has_hook("describe") && outline.refused.is_none() {
        return described(component, outline, cases, found).await;
    }
    found.extend(of_manifest(manifest, outline, &Tables::of(manifest)?).await?);
    if outline.refused.is_none() && outline.has_hook("decide") {
        found.extend(behaviour(component, manifest, cases).await?);
    }
    found.sort_by_key(|finding| finding.severity);
    Ok(found)
}

/// The same of a component that says itself what it is: its own manifest says too little to judge.
async fn described(
    component: &Component,
    outline: &Outline,
    cases: Option<&Path>,
    mut found: Vec<Finding>,
) -> anyhow::Result<Vec<Finding>> {
    let cases = match cases {
        Some(folder) => cases::read(folder)?,
        None => Vec::new(),
    };
    let subject = match Subject::load(component).await? {
        Ok(subject) => subject,
        Err(why @ (LoadError::Bundle { .. } | LoadError::Section { .. })) => {
            let cure = "see docs/declarative.md";
            found.push(Finding::error(
                "invalid-bundle",
                "the bundle",
                super::chain(&why),
                cure,
            ));
            return Ok(found);
        }
        Err(why) => {
            let cure = "templates and charts are rendered once to see what they write: is one endless, or are values nested without end? \
                        Else report it to the author of the component that interprets the bundle";
            found.push(Finding::error(
                "not-loadable",
                "the component",
                super::chain(&why),
                cure,
            ));
            return Ok(found);
        }
    };
    let manifest = subject.plugin.manifest();
    found.extend(queries::findings(manifest, outline, &subject.tables).await?);
    found.extend(run_in(&subject, manifest, &cases).await?);
    found.sort_by_key(|finding| finding.severity);
    Ok(found)
}

async fn of_manifest(
    manifest: &Manifest,
    outline: &Outline,
    tables: &Tables,
) -> anyhow::Result<Vec<Finding>> {
    let mut found = manifest::findings(manifest, outline);
    found.extend(queries::findings(manifest, outline, tables).await?);
    Ok(found)
}

/// What its hooks do and ask in the smallest situations and in these cases.
async fn run_in(
    subject: &Subject,
    manifest: &Manifest,
    cases: &[Case],
) -> anyhow::Result<Vec<Finding>> {
    let situations = probe::situations(manifest, cases);
    let mut found = queries::asked(subject, manifest, &situations).await?;
    found.extend(probe::findings(subject, manifest, &situations)?);
    Ok(found)
}

/// What running it tells.
async fn behaviour(
    component: &Component,
    manifest: &Manifest,
    cases: Option<&Path>,
) -> anyhow::Result<Vec<Finding>> {
    let cases = match cases {
        Some(folder) => cases::read(folder)?,
        None => Vec::new(),
    };
    Ok(match Subject::load(component).await? {
        Ok(subject) => run_in(&subject, manifest, &cases).await?,
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
