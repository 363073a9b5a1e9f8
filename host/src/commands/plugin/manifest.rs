//! A manifest that its author writes: for languages whose SDK writes none.

use anyhow::{Context, ensure};
use kybern_interface::WORLD;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The manifest in this file. Left out, `world` is what this host offers; a text in `crds` is a file
/// beside it.
pub(super) fn read(path: &Path) -> anyhow::Result<Value> {
    let mut manifest: Map<String, Value> = document(path)?;
    manifest.entry("world").or_insert_with(|| json!(WORLD));
    let folder = path.parent().unwrap_or(Path::new(""));
    let crds = manifest.get_mut("crds").and_then(Value::as_array_mut);
    for crd in crds.into_iter().flatten() {
        if let Value::String(file) = crd {
            *crd = document(&folder.join(file))?;
        }
    }
    Ok(Value::Object(manifest))
}

fn document<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let unreadable = || format!("{}: cannot be read", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(unreadable)?;
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    ensure!(
        u64::try_from(read.with_context(unreadable)?)? <= MAX_BYTES,
        "{}: it has more than {MAX_BYTES} bytes",
        path.display()
    );
    serde_saphyr::from_str(&text).with_context(|| format!("{}: is no document", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_definitions_are_read_and_the_world_is_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write("crd.yaml", "kind: CustomResourceDefinition\n");
        let path = write(
            "manifest.yaml",
            "name: a\nversion: 1.0.0\ncrds: [crd.yaml, { kind: B }]\n",
        );
        assert_eq!(
            read(&path).unwrap(),
            json!({
                "name": "a", "version": "1.0.0", "world": WORLD,
                "crds": [{ "kind": "CustomResourceDefinition" }, { "kind": "B" }],
            })
        );
        let told = |text: &str| format!("{:#}", read(&write("bad.yaml", text)).unwrap_err());
        assert!(told("crds: [gone.yaml]").contains("gone.yaml: cannot be read"));
        assert!(told("- a").contains("bad.yaml: is no document"));
    }
}
