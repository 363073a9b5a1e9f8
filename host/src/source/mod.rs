//! Where a component comes from: a file of the host or a key of a ConfigMap.

use crate::registration::problem::Problem;
use bytes::Bytes;
use kybern_interface::{ConfigMapSource, Source};
use kybern_kube::{Cluster, RequestError, Resource, Target};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Largest component that is read, before and after unpacking.
const MAX_BYTES: u64 = 64 << 20;

/// The component's bytes. Blocking file access stays off the I/O threads.
pub(crate) async fn fetch(source: &Source, cluster: Option<&Cluster>) -> Result<Bytes, Problem> {
    if let Some(path) = &source.file {
        let path = path.clone();
        return tokio::task::spawn_blocking(move || file(Path::new(&path)))
            .await
            .map_err(|_| Problem::passing("SourceUnavailable", "reading was interrupted"))?;
    }
    match (&source.config_map, cluster) {
        (Some(source), Some(cluster)) => config_map(source, cluster).await,
        _ => Err(Problem::new(
            "InvalidSource",
            "spec.source must name exactly one of file, configMap",
        )),
    }
}

/// `sha256:` and 64 hex digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |text, byte| {
            format!("{text}{byte:02x}")
        })
}

fn file(path: &Path) -> Result<Bytes, Problem> {
    let unavailable = |error: std::io::Error| {
        Problem::passing(
            "SourceUnavailable",
            format!(
                "spec.source.file {}: {error}; put the component there, in the host's file system",
                path.display()
            ),
        )
    };
    let file = std::fs::File::open(path).map_err(unavailable)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unavailable)?;
    capped(bytes, &path.display().to_string())
}

fn capped(bytes: Vec<u8>, what: &str) -> Result<Bytes, Problem> {
    if u64::try_from(bytes.len()).is_ok_and(|n| n <= MAX_BYTES) {
        Ok(Bytes::from(bytes))
    } else {
        Err(Problem::new(
            "SourceTooLarge",
            format!(
                "{what} has more than {MAX_BYTES} bytes; build the component with optimisation for size"
            ),
        ))
    }
}

async fn config_map(source: &ConfigMapSource, cluster: &Cluster) -> Result<Bytes, Problem> {
    let place = format!("ConfigMap {}/{}", source.namespace, source.name);
    let resource = Resource::new("", "v1", "ConfigMap", "configmaps", true);
    let target = Target::new(&resource, Some(&source.namespace), &source.name);
    let raw = cluster.get(&target).await.map_err(|error| match error {
        RequestError::Api(refused) if refused.is_not_found() => Problem::passing(
            "SourceUnavailable",
            format!("spec.source.configMap: {place} does not exist; create it with the component under binaryData"),
        ),
        RequestError::Api(refused) => Problem::passing(
            "SourceUnavailable",
            format!("spec.source.configMap: {place} cannot be read: {}", refused.message),
        ),
        other => Problem::passing(
            "SourceUnavailable",
            format!("spec.source.configMap: {place} cannot be read: {other}"),
        ),
    })?;
    let object: Value = serde_json::from_slice(&raw).map_err(|error| {
        Problem::passing(
            "SourceUnavailable",
            format!("{place}: the answer is no JSON: {error}"),
        )
    })?;
    let Some(text) = object
        .get("binaryData")
        .and_then(|data| data.get(&source.key))
        .and_then(Value::as_str)
    else {
        return Err(Problem::passing(
            "SourceUnavailable",
            format!(
                "spec.source.configMap: {place} has no key {} under binaryData",
                source.key
            ),
        ));
    };
    let bytes = decode_base64(text).ok_or_else(|| {
        Problem::new(
            "SourceUnavailable",
            format!("{place}: binaryData.{} is not base64", source.key),
        )
    })?;
    if source.key.ends_with(".gz") {
        unpack(&bytes, &format!("{place} key {}", source.key))
    } else {
        capped(bytes, &place)
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Unpacks gzip, within the cap.
fn unpack(bytes: &[u8], what: &str) -> Result<Bytes, Problem> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .take(MAX_BYTES + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| {
            Problem::new("SourceUnavailable", format!("{what} is not gzip: {error}"))
        })?;
    capped(unpacked, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_with_the_cure() {
        let problem = file(Path::new("/nowhere/x.wasm")).unwrap_err();
        assert_eq!(problem.reason, "SourceUnavailable");
        assert!(
            problem.message.contains("/nowhere/x.wasm"),
            "{}",
            problem.message
        );
    }

    #[test]
    fn a_digest_is_spelled_like_an_image_digest() {
        assert_eq!(
            digest(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
