//! `kybern plugin inspect`: a component's digest and manifest.

use crate::terminal::{self, say};
use anyhow::Context;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::ExitCode;

/// Prints them as YAML, without compiling the component.
pub(crate) fn run(wasm: &Path) -> anyhow::Result<ExitCode> {
    let bytes =
        std::fs::read(wasm).with_context(|| format!("{}: cannot be read", wasm.display()))?;
    let manifest = kybern_plugin::read_manifest(&bytes)
        .with_context(|| format!("{}: not a Kybern plugin", wasm.display()))?;
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    say!("digest: sha256:{digest}");
    say!("size: {}", bytes.len());
    terminal::write(&serde_saphyr::to_string(
        &serde_json::json!({ "manifest": manifest }),
    )?);
    Ok(ExitCode::SUCCESS)
}
