//! Objects from manifest files: YAML or JSON, several documents a file, lists unpacked.

use anyhow::{Context, bail};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest manifest file that is read.
const FILE_BYTES: u64 = 64 << 20;

/// All objects of the named files and directories (`.yaml`, `.yml`, `.json`), in the files' order;
/// `-` is standard input.
pub(crate) fn load(paths: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            standard_input(&mut objects)?;
            continue;
        }
        let mut files = Vec::new();
        collect(path, &mut files)?;
        for file in files {
            read(&file, &mut objects)?;
        }
    }
    Ok(objects)
}

/// The manifest files at or below `path`, sorted by name.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let about =
        std::fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    if about.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(|entries| {
            entries
                .map(|e| e.map(|e| e.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("{}: cannot be listed", path.display()))?;
    entries.sort();
    for entry in entries {
        let manifest = entry
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if entry.is_dir() || manifest {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

/// Adds the objects of one file.
fn read(file: &Path, objects: &mut Vec<Value>) -> anyhow::Result<()> {
    let size = std::fs::metadata(file)?.len();
    if size > FILE_BYTES {
        bail!(
            "{}: {size} bytes; at most {FILE_BYTES} are read",
            file.display()
        );
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{}: cannot be read", file.display()))?;
    parse(&file.display().to_string(), &text, objects)
}

/// Adds the objects of standard input.
fn standard_input(objects: &mut Vec<Value>) -> anyhow::Result<()> {
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(FILE_BYTES + 1)
        .read_to_string(&mut text);
    let read = read.context("standard input cannot be read")?;
    if u64::try_from(read)? > FILE_BYTES {
        bail!("standard input: at most {FILE_BYTES} bytes are read");
    }
    parse("standard input", &text, objects)
}

/// Adds the objects of a text with one or more documents.
fn parse(name: &str, text: &str, objects: &mut Vec<Value>) -> anyhow::Result<()> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    for (index, document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        let list = document
            .get("kind")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.ends_with("List"));
        match document.get("items").and_then(Value::as_array) {
            Some(items) if list => objects.extend(items.iter().cloned()),
            _ if document.get("apiVersion").is_some() && document.get("kind").is_some() => {
                objects.push(document);
            }
            _ => bail!(
                "{name}: document {} has no apiVersion and kind; is it a Kubernetes manifest?",
                index + 1
            ),
        }
    }
    Ok(())
}
