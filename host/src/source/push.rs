//! Puts a component into a registry.

use super::artifact::{CONFIG, Descriptor, LAYER, MANIFEST, Manifest};
use super::digest::digest;
use super::error::SourceError;
use super::registry::Registry;
use super::web::{Ask, shown};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use kybern_plugin::Interfaces;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Puts a component into the repository under the reference's tag, or under its digest alone; the
/// manifest's digest.
pub(crate) async fn push(
    registry: &mut Registry,
    component: &Bytes,
    interfaces: &Interfaces,
    annotations: BTreeMap<String, String>,
) -> Result<String, SourceError> {
    let layer = descriptor(LAYER, component);
    let config = Bytes::from(config(&layer.digest, interfaces).to_string());
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        config: descriptor(CONFIG, &config),
        layers: vec![layer],
        annotations,
    };
    let bytes = serde_json::to_vec(&manifest)
        .map_err(|error| SourceError::Invalid(format!("the manifest: {error}")))?;
    upload(registry, component).await?;
    upload(registry, &config).await?;
    put(registry, Bytes::from(bytes)).await
}

/// A wasm artifact's configuration. The same component gives the same: its time is nobody's.
fn config(layer: &str, interfaces: &Interfaces) -> Value {
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer],
        "component": { "exports": interfaces.exports, "imports": interfaces.imports, "target": null },
    })
}

fn descriptor(kind: &str, bytes: &Bytes) -> Descriptor {
    Descriptor {
        media_type: kind.to_owned(),
        digest: digest(bytes),
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        annotations: BTreeMap::new(),
    }
}

/// Puts a blob there unless it is there already.
async fn upload(registry: &mut Registry, bytes: &Bytes) -> Result<(), SourceError> {
    let digest = digest(bytes);
    let most = registry.web.limits().manifest_bytes;
    let mut ask = Ask::get(registry.below(&format!("blobs/{digest}"))?, most);
    ask.method = Method::HEAD;
    if registry.call(ask).await?.status.is_success() {
        return Ok(());
    }
    let mut ask = Ask::get(registry.below("blobs/uploads/")?, most);
    ask.method = Method::POST;
    let begun = registry.call(ask).await?;
    registry.succeeded(&begun)?;
    let place = begun.headers.get(LOCATION).and_then(|v| v.to_str().ok());
    let mut url = place
        .and_then(|place| begun.url.join(place).ok())
        .ok_or_else(|| {
            SourceError::Unavailable(format!(
                "{}: {} does not say where to upload to",
                registry.place,
                shown(&begun.url)
            ))
        })?;
    url.query_pairs_mut().append_pair("digest", &digest);
    let mut ask = Ask::get(url, most);
    ask.method = Method::PUT;
    ask.named_by = Some(begun.url);
    ask.body = bytes.clone();
    let kind = HeaderValue::from_static("application/octet-stream");
    ask.headers.insert(CONTENT_TYPE, kind);
    let put = registry.call(ask).await?;
    registry.succeeded(&put)
}

/// Puts the manifest there, under its tag if it has one.
async fn put(registry: &mut Registry, bytes: Bytes) -> Result<String, SourceError> {
    let digest = digest(&bytes);
    let wanted = registry.reference.digest.as_ref();
    if wanted.is_some_and(|wanted| *wanted != digest) {
        return Err(SourceError::Digest(format!(
            "{}: {} names another digest than {digest}, which this component has; name a tag",
            registry.place, registry.reference
        )));
    }
    let name = registry.reference.tag.clone();
    let path = format!("manifests/{}", name.as_deref().unwrap_or(&digest));
    let most = registry.web.limits().manifest_bytes;
    let mut ask = Ask::get(registry.below(&path)?, most);
    ask.method = Method::PUT;
    ask.body = bytes;
    let kind = HeaderValue::from_static(MANIFEST);
    ask.headers.insert(CONTENT_TYPE, kind);
    let answer = registry.call(ask).await?;
    if answer.status != StatusCode::CREATED {
        registry.succeeded(&answer)?;
    }
    Ok(digest)
}
