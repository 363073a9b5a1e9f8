//! `kybern crd`: the Plugin CustomResourceDefinition, YAML.

use std::process::ExitCode;

/// Prints it.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    print!(
        "{}",
        serde_saphyr::to_string(&kybern_interface::schema::plugin_crd())?
    );
    Ok(ExitCode::SUCCESS)
}
