//! `kybern plugin pull`: gets a component from a registry.

use super::push::repository;
use crate::args::PullArgs;
use crate::source::{self, Access, Reference, SourceConfig};
use crate::terminal::say;
use anyhow::Context;
use std::process::ExitCode;

/// Writes it to the file, whole or not at all, and prints what it is.
pub(super) async fn run(args: PullArgs) -> anyhow::Result<ExitCode> {
    let reference = Reference::parse(&args.reference)?;
    let limits = SourceConfig::default();
    let (most, time) = (limits.component_bytes, limits.time);
    let mut registry = repository(&reference, &args.credentials, limits, Access::Pull)?;
    let pulling = source::pull(&mut registry, &reference, most);
    let pulled = tokio::time::timeout(time, pulling)
        .await
        .with_context(|| format!("{reference} did not come within {} s", time.as_secs()))??;
    super::whole::write(&args.output, &pulled.bytes)?;
    say!(
        "image: {}/{}@{}",
        reference.registry,
        reference.repository,
        pulled.manifest
    );
    say!("digest: {}", source::digest(&pulled.bytes));
    Ok(ExitCode::SUCCESS)
}
