//! Where things that are built once are kept.

use anyhow::{Context, Result};
use std::path::PathBuf;

/// `${KYBERN_CACHE:-$HOME/.cache/kybern}`.
///
/// # Errors
/// Neither variable is set.
pub fn cache() -> Result<PathBuf> {
    if let Some(set) = std::env::var_os("KYBERN_CACHE").filter(|set| !set.is_empty()) {
        return std::path::absolute(set).context("KYBERN_CACHE is no path");
    }
    let home = std::env::home_dir().context("set KYBERN_CACHE or HOME")?;
    Ok(home.join(".cache").join("kybern"))
}
