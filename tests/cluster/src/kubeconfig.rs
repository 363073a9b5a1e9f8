//! kubeconfig files.

use crate::user::User;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes `<folder>/<user>.kubeconfig` (JSON, which is YAML).
pub(crate) fn write(folder: &Path, url: &str, authority: &[u8], user: &User) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{ "name": "test", "cluster": {
            "server": url, "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{ "name": user.name(), "user": { "token": user.token() } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user.name() } }],
        "current-context": "test",
    });
    let file = user
        .name()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let path = folder.join(format!("{file}.kubeconfig"));
    // Another test may read the same user's file at this moment: it sees the old one or the new.
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(config.to_string().as_bytes())?;
    new.persist(&path)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
