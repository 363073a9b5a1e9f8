//! `kybern crd`: the Plugin CustomResourceDefinition, YAML.

use crate::terminal;
use std::process::ExitCode;

/// Prints it.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    terminal::write(&serde_saphyr::to_string(
        &kybern_interface::schema::plugin_crd(),
    )?);
    Ok(ExitCode::SUCCESS)
}
