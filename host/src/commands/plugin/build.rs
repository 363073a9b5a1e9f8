//! `kybern plugin build`: a plugin's crate, or what another language's tools built, made a component.

use super::bundle;
use super::component::Component;
use super::manifest;
use crate::args::BuildArgs;
use crate::terminal::say;
use anyhow::Context;
use kybern_component::{Build, ComponentError, Package};
use kybern_plugin::{LoadError, Outline};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Builds it, and prints where it is and what it is.
pub(super) async fn run(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    if let (Some(from), Some(manifest)) = (&args.from, &args.manifest) {
        return adopt(from, manifest);
    }
    if let Some(path) = &args.bundle {
        return compose(path, args).await;
    }
    let folder = &args.dir;
    let whole = folder.canonicalize();
    let whole = whole.with_context(|| format!("{}: cannot be read", folder.display()))?;
    let package = Package::find(&whole)?;
    let component = match component(&whole, &package) {
        Ok(component) => component,
        Err(why) => {
            eprintln!("error: {}", super::chain(&why));
            return Ok(ExitCode::FAILURE);
        }
    };
    write(
        &beside(folder, &format!("{}.wasm", package.name)),
        &component,
    )
}

/// A bundle in what interprets it.
async fn compose(path: &Path, args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let component = match bundle::compose(path, &args.interpreter).await? {
        Ok(component) => component,
        Err(why) => return Ok(bundle::refused(path, &why)),
    };
    let plugin = match bundle::runtime(&args.interpreter, &component.bytes)?.load(&component.bytes)
    {
        Ok(plugin) => plugin,
        Err(why) => return Ok(bundle::refused(path, &why)),
    };
    let beside = || PathBuf::from(format!("{}.wasm", plugin.manifest().name));
    let output = args.output.clone().unwrap_or_else(beside);
    let done = write(&output, &component.bytes)?;
    if let Some(files) = &component.files {
        say!("bundle: {files}");
    }
    Ok(done)
}

/// What another language's tools built, with a manifest from a file.
fn adopt(from: &Path, manifest: &Path) -> anyhow::Result<ExitCode> {
    let built = Component::read(from)?;
    let manifest = manifest::read(manifest)?;
    let component = match kybern_component::adopt(&built.bytes, &manifest) {
        Ok(component) => component,
        Err(why) => return Ok(super::refused(&built, &why)),
    };
    let name = manifest.get("name").and_then(Value::as_str);
    // A name that is none is refused before it is written.
    write(
        Path::new(&format!("{}.wasm", name.unwrap_or("plugin"))),
        &component,
    )
}

/// Writes the component if a host would take it, and says what it is.
fn write(path: &Path, component: &[u8]) -> anyhow::Result<ExitCode> {
    if let Some(why) = no_plugin(component) {
        eprintln!("error: what was built is no plugin: {why}");
        return Ok(ExitCode::FAILURE);
    }
    super::whole::write(path, component)?;
    say!("file: {}", path.display());
    say!("size: {}", component.len());
    say!("digest: {}", crate::source::digest(component));
    Ok(ExitCode::SUCCESS)
}

fn component(folder: &Path, package: &Package) -> Result<Vec<u8>, ComponentError> {
    let path = kybern_component::compile(&Build {
        folder,
        package: &package.name,
        target: &package.target,
        triple: package.triple,
        called: &package.name,
        local: &package.local,
        quiet: false,
    })?;
    let module = fs::read(&path).map_err(|source| ComponentError::Read { path, source })?;
    kybern_component::componentize(&module)
}

/// Why no host would take it.
fn no_plugin(component: &[u8]) -> Option<String> {
    match Outline::read(component) {
        Ok(outline) => {
            let problem = super::inspect::problem(&outline).map(|why| super::chain(why));
            let undecided = !outline.has_hook("decide");
            problem.or_else(|| undecided.then(|| LoadError::NoDecide.to_string()))
        }
        Err(why) => Some(super::chain(&why)),
    }
}

/// As one would type it: without a leading `./`.
fn beside(folder: &Path, file: &str) -> PathBuf {
    if folder == Path::new(".") {
        PathBuf::from(file)
    } else {
        folder.join(file)
    }
}
