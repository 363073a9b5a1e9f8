//! What a registry keeps of a component: a manifest with one layer (CNCF's wasm artifact).

use super::digest::is_digest;
use super::error::SourceError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image manifest (OCI image specification 1.1).
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A wasm artifact's configuration.
pub(crate) const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A component.
pub(crate) const LAYER: &str = "application/wasm";
/// A chart's archive.
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// The same, as older programs push it.
const OLDER_CHART: &str = "application/tar+gzip";
/// A component, as older programs push it.
const OLDER_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// A manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    /// 2.
    pub(crate) schema_version: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    /// The configuration.
    pub(crate) config: Descriptor,
    /// What it is made of.
    pub(crate) layers: Vec<Descriptor>,
    /// For people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// One thing that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    /// What it is.
    pub(crate) media_type: String,
    /// Which it is.
    pub(crate) digest: String,
    /// Bytes.
    pub(crate) size: u64,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Reads a manifest; `place` is where it is from.
pub(super) fn manifest(bytes: &[u8], place: &str) -> Result<Manifest, SourceError> {
    #[derive(Deserialize)]
    struct Kind {
        manifests: Option<serde::de::IgnoredAny>,
    }
    if let Ok(Kind { manifests: Some(_) }) = serde_json::from_slice(bytes) {
        return Err(SourceError::Unavailable(format!(
            "{place} is an index of several images; name the artifact with the component itself"
        )));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| {
        SourceError::Unavailable(format!("{place} has no manifest of an OCI image: {error}"))
    })?;
    let named = |part: &Descriptor| is_digest(&part.digest);
    if !named(&manifest.config) || !manifest.layers.iter().all(named) {
        return Err(SourceError::Unavailable(format!(
            "{place} names a part by something else than a sha256 digest"
        )));
    }
    Ok(manifest)
}

/// The one layer that is a component, if it is not larger than `most` bytes.
pub(super) fn component(
    manifest: &Manifest,
    place: &str,
    most: usize,
) -> Result<Descriptor, SourceError> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(SourceError::Unavailable(format!(
            "{place} has {} layers, a component has one; push it with `kybern plugin push`",
            manifest.layers.len()
        )));
    };
    if layer.media_type != LAYER && layer.media_type != OLDER_LAYER {
        return Err(SourceError::Unavailable(format!(
            "{place} holds {}, not {LAYER}; push the component with `kybern plugin push`",
            layer.media_type.chars().take(100).collect::<String>()
        )));
    }
    let cure = "build the component with optimisation for size";
    fits(layer, place, most, cure)
}

/// The one layer that is a bundle's archive, if it is not larger than `most` bytes.
pub(super) fn bundle(
    manifest: &Manifest,
    place: &str,
    most: usize,
) -> Result<Descriptor, SourceError> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(SourceError::Unavailable(format!(
            "{place} has {} layers, a bundle has one: a .tgz",
            manifest.layers.len()
        )));
    };
    let cure = "leave out what no operator file names";
    fits(layer, place, most, cure)
}

/// The one layer that is a chart's archive, if it is not larger than `most` bytes; beside it there may
/// be who made it.
pub(super) fn chart(
    manifest: &Manifest,
    place: &str,
    most: usize,
) -> Result<Descriptor, SourceError> {
    let is = |layer: &&Descriptor| layer.media_type == CHART || layer.media_type == OLDER_CHART;
    let charts: Vec<&Descriptor> = manifest.layers.iter().filter(is).collect();
    let [layer] = charts.as_slice() else {
        return Err(SourceError::Unavailable(format!(
            "{place} has {} layers of {CHART}, a chart has one; push it with `helm push`",
            charts.len()
        )));
    };
    let cure = "use a chart without what it does not need";
    fits(layer, place, most, cure)
}

fn fits(
    layer: &Descriptor,
    place: &str,
    most: usize,
    cure: &str,
) -> Result<Descriptor, SourceError> {
    if usize::try_from(layer.size).map_or(true, |size| size > most) {
        return Err(SourceError::TooLarge(format!(
            "{place}: its layer has {} bytes, at most {most} are read; {cure}",
            layer.size
        )));
    }
    Ok(layer.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(layers: &serde_json::Value) -> Result<Descriptor, SourceError> {
        let config =
            json!({ "mediaType": CONFIG, "digest": super::super::digest::digest(b""), "size": 0 });
        let text = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
        component(&manifest(text.as_bytes(), "there")?, "there", 1000)
    }

    fn layer(kind: &str, size: u64) -> serde_json::Value {
        json!({ "mediaType": kind, "digest": super::super::digest::digest(b"x"), "size": size })
    }

    #[test]
    fn both_media_types_are_components() {
        assert_eq!(of(&json!([layer(LAYER, 1000)])).unwrap().size, 1000);
        assert!(of(&json!([layer(OLDER_LAYER, 1)])).is_ok());
    }

    #[test]
    fn what_is_no_component_is_told_with_the_place() {
        let image = layer("application/vnd.oci.image.layer.v1.tar+gzip", 1);
        let (one, huge) = (layer(LAYER, 1), layer(LAYER, 10 << 30));
        let wrong = json!({ "mediaType": LAYER, "digest": "md5:1", "size": 1 });
        for (layers, says) in [
            (json!([]), "0 layers"),
            (json!([one, one]), "2 layers"),
            (json!([image]), "application/vnd.oci.image.layer"),
            (json!([wrong]), "sha256"),
            (json!([huge]), "10737418240 bytes"),
        ] {
            let told = of(&layers).unwrap_err().to_string();
            assert!(told.contains("there") && told.contains(says), "{told}");
        }
        let index = manifest(br#"{"schemaVersion":2,"manifests":[]}"#, "there").unwrap_err();
        assert!(index.to_string().contains("index"), "{index}");
        assert!(matches!(of(&json!([huge])), Err(SourceError::TooLarge(_))));
    }
}
