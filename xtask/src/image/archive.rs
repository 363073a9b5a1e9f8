//! What is in an OCI archive, read from the archive itself.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Prints name, digest, configuration, files and sizes.
pub(super) fn describe(archive: &Path) -> Result<()> {
    let index = json(archive, "index.json")?;
    let entry = index.pointer("/manifests/0").context("an image")?;
    let name = text(entry, "/annotations/org.opencontainers.image.ref.name");
    let digest = text(entry, "/digest");
    let manifest = json(archive, &blob(digest)?)?;
    let config = json(archive, &blob(text(&manifest, "/config/digest"))?)?;
    println!("image: {name}");
    println!("  archive     {}", archive.display());
    println!("  digest      {digest}");
    println!(
        "  platform    {}/{}",
        text(&config, "/os"),
        text(&config, "/architecture")
    );
    for (label, key) in [
        ("user", "/config/User"),
        ("entrypoint", "/config/Entrypoint"),
        ("environment", "/config/Env"),
    ] {
        let value = config.pointer(key).unwrap_or(&Value::Null);
        println!("  {label:<11} {value}");
    }
    let mut compressed = 0;
    let layers = manifest.get("layers").and_then(Value::as_array);
    for layer in layers.into_iter().flatten() {
        compressed += layer.get("size").and_then(Value::as_u64).unwrap_or(0);
        let listed = list(&read(archive, &blob(text(layer, "/digest"))?)?)?;
        for line in listed.lines() {
            println!("  file        {line}");
        }
    }
    println!("  compressed  {} MB", tenths(compressed));
    Ok(())
}

/// A layer's files with owners, modes and sizes.
fn list(layer: &[u8]) -> Result<String> {
    let mut tar = Command::new("tar")
        .args(["--list", "--verbose", "--gzip", "--numeric-owner", "--utc"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start tar")?;
    let mut stdin = tar.stdin.take().context("tar's input")?;
    // A layer is much larger than its list, which therefore never fills the pipe.
    stdin.write_all(layer).context("hand the layer to tar")?;
    drop(stdin);
    let output = tar.wait_with_output().context("wait for tar")?;
    ensure!(output.status.success(), "tar: {}", output.status);
    String::from_utf8(output.stdout).context("names are UTF-8")
}

fn json(archive: &Path, file: &str) -> Result<Value> {
    serde_json::from_slice(&read(archive, file)?).with_context(|| format!("{file} is not JSON"))
}

fn read(archive: &Path, file: &str) -> Result<Vec<u8>> {
    let output = Command::new("tar")
        .args(["--extract", "--to-stdout", "--file"])
        .arg(archive)
        .arg(file)
        .stderr(Stdio::inherit())
        .output()
        .context("start tar")?;
    ensure!(output.status.success(), "{}: no {file}", archive.display());
    Ok(output.stdout)
}

/// `sha256:X` as a file of the archive.
fn blob(digest: &str) -> Result<String> {
    let (kind, hash) = digest.split_once(':').context("a digest")?;
    Ok(format!("blobs/{kind}/{hash}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// Millions with one digit after the point.
fn tenths(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
