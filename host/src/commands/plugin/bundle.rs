//! Bundles on the command line: composed with what interprets them, and run as a host runs them.

use super::component::Component;
use crate::args::InterpreterArgs;
use crate::charts::{self, Charts, Secret};
use crate::environment;
use crate::source::{Keep, SourceConfig, SourceError, Sources};
use anyhow::{Context, anyhow};
use kybern_bundle::{Bundle, BundleError};
use kybern_plugin::{ModulesConfig, Offer, Outline, Runtime, RuntimeConfig};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The component that interprets bundles, as it is built and shipped.
pub(super) const INTERPRETER: &str = "declarative.wasm";

/// Why a bundle is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Its files are none of a bundle.
    #[error(transparent)]
    Files(#[from] BundleError),
    /// What it says of its charts is wrong, or is not what they are.
    #[error("{0}")]
    Charts(String),
}

/// Whether a path is a bundle, and no component: a folder, or an archive.
pub(super) fn is_bundle(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_dir()
        || [".tgz", ".tar", ".tar.gz"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// The component at a path, or the bundle at a path in what interprets it.
pub(super) async fn read(
    path: &Path,
    interpreter: &InterpreterArgs,
) -> anyhow::Result<Result<Component, Refused>> {
    match is_bundle(path) {
        true => compose(path, interpreter).await,
        false => {
            let component = Component::read(path)?;
            let interpreter = interpreter.clone();
            Ok(Ok(Component {
                interpreter,
                ..component
            }))
        }
    }
}

/// The bundle at a path, with the charts of repositories that it names, in what interprets it.
pub(super) async fn compose(
    path: &Path,
    interpreter: &InterpreterArgs,
) -> anyhow::Result<Result<Component, Refused>> {
    let bundle = match Bundle::of_path(path) {
        Ok(bundle) => bundle,
        Err(BundleError::Read { path, source }) => {
            return Err(source).context(format!("{}: cannot be read", path.display()));
        }
        Err(why) => return Ok(Err(why.into())),
    };
    let files = bundle.digest();
    let bundle = match sources(interpreter).complete(bundle).await {
        Ok(bundle) => bundle,
        Err(SourceError::Bundle(why)) => return Ok(Err(Refused::Charts(why))),
        Err(SourceError::Chart {
            reason: "DigestMismatch",
            text,
        }) => return Ok(Err(Refused::Charts(text))),
        Err(why) => return Err(why.into()),
    };
    let engine = Component::read(&find(interpreter)?)?;
    let bytes = match kybern_bundle::compose(&engine.bytes, &bundle) {
        Ok(bytes) => bytes,
        Err(why) => return Ok(Err(why.into())),
    };
    Ok(Ok(Component {
        path: path.to_owned(),
        digest: crate::source::digest(&bytes),
        bytes,
        files: Some(files),
        interpreter: interpreter.clone(),
    }))
}

/// Where charts are fetched from, and kept: as a host does it, asked for by this user.
fn sources(interpreter: &InterpreterArgs) -> Sources {
    let config = SourceConfig::default();
    let kept = environment::cache_dir().join("sources");
    // Where nothing can be kept all is fetched again.
    let keep = Keep::open(&kept, config.kept_bytes).unwrap_or_default();
    let plain = interpreter.registry.insecure_registry.clone();
    Sources::of_user(config, keep, plain, environment::docker_config())
}

/// Where what interprets bundles is.
fn find(interpreter: &InterpreterArgs) -> anyhow::Result<PathBuf> {
    if let Some(engine) = &interpreter.engine {
        return Ok(engine.clone());
    }
    let folders = [environment::guests(), environment::program_folder()];
    let mut places = folders.into_iter().flatten().map(|at| at.join(INTERPRETER));
    places.find(|place| place.is_file()).ok_or_else(|| {
        anyhow!("there is no {INTERPRETER} beside the program, nor in $KYBERN_GUESTS: name the component that interprets bundles with --engine FILE")
    })
}

/// A runtime for this component; where it renders charts, with Helm's engine if there is one.
pub(super) fn runtime(interpreter: &InterpreterArgs, wasm: &[u8]) -> anyhow::Result<Runtime> {
    let config = crate::compiler::config()?;
    let renders = |outline: Outline| {
        let mut imports = outline.imports.iter();
        imports.any(|import| import.offer == Offer::Render)
    };
    let module = charts::find(interpreter.helm_engine.as_ref());
    let module = module.filter(|_| Outline::read(wasm).is_ok_and(renders));
    let Some(module) = module else {
        return Ok(Runtime::new(config)?);
    };
    let modules = ModulesConfig {
        cache_dir: Some(environment::cache_dir().join("compiled").join("engine")),
        compiler: config.compiler.clone(),
        ..ModulesConfig::default()
    };
    let charts = Charts::new(module, modules, Secret::None);
    Ok(Runtime::new(RuntimeConfig {
        render: Some(Arc::new(charts.offline())),
        ..config
    })?)
}

/// What is wrong with a bundle, on standard error.
pub(super) fn refused(path: &Path, why: &impl std::error::Error) -> ExitCode {
    eprintln!("error: {}: {}", path.display(), chain(why));
    ExitCode::FAILURE
}

fn chain(error: &impl std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
