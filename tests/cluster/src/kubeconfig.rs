//! kubeconfig files.

use crate::user::User;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
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

/// Server, PEM of its authority, and the user of a kubeconfig in JSON with one context and a token.
pub(crate) fn read(path: &Path) -> Result<(String, Vec<u8>, User)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let config: Value = serde_json::from_str(&text)
        .with_context(|| format!("{}: only a kubeconfig in JSON is read", path.display()))?;
    let field = |pointer: &str| {
        let value = config.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("{}: no {pointer}", path.display()))
    };
    let authority = STANDARD
        .decode(field("/clusters/0/cluster/certificate-authority-data")?)
        .context("the authority is no base64")?;
    let user = User {
        name: field("/users/0/name")?.to_owned(),
        groups: Vec::new(),
        token: field("/users/0/user/token")?.to_owned(),
    };
    let url = field("/clusters/0/cluster/server")?.to_owned();
    Ok((url, authority, user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let user = User {
            name: "some one".to_owned(),
            groups: Vec::new(),
            token: "secret".to_owned(),
        };
        let path = write(folder.path(), "https://127.0.0.1:1", b"pem", &user).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(
            found,
            ("https://127.0.0.1:1".to_owned(), b"pem".to_vec(), user)
        );
    }
}
