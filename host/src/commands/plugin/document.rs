//! Documents on standard output, as YAML or JSON.

use crate::args::Format;
use crate::terminal;
use serde::Serialize;

/// The document in this format, with a line end.
pub(super) fn text<T: Serialize>(document: &T, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Yaml => serde_saphyr::to_string(document)?,
        Format::Json => format!("{}\n", serde_json::to_string_pretty(document)?),
    })
}

/// Prints it.
pub(super) fn print<T: Serialize>(document: &T, format: Format) -> anyhow::Result<()> {
    terminal::write(&text(document, format)?);
    Ok(())
}
