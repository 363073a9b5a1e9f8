//! A component in a key of a ConfigMap.

use super::error::SourceError;
use super::file::{capped, one_more};
use super::object::{self, Kind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kybern_interface::ConfigMapSource;
use kybern_kube::Cluster;
use serde_json::Value;
use std::io::Read;

/// The place in the spec.
const PLACE: &str = "spec.source.configMap";

/// What is under the key, unpacked if its name ends in `.gz`.
pub(super) async fn fetch(
    source: &ConfigMapSource,
    cluster: &Cluster,
    most: usize,
) -> Result<Bytes, SourceError> {
    let place = format!("{PLACE}: ConfigMap {}/{}", source.namespace, source.name);
    let name = (source.namespace.as_str(), source.name.as_str());
    let object = object::get(cluster, Kind::ConfigMap, name, PLACE).await?;
    let Some(text) = object
        .get("binaryData")
        .and_then(|data| data.get(&source.key))
        .and_then(Value::as_str)
    else {
        return Err(SourceError::Unavailable(format!(
            "{place} has no key {} under binaryData",
            source.key
        )));
    };
    let bytes = STANDARD.decode(text).map_err(|_| {
        SourceError::Unavailable(format!("{place}: binaryData.{} is not base64", source.key))
    })?;
    if source.key.ends_with(".gz") {
        unpack(&bytes, most, &format!("{place} key {}", source.key))
    } else {
        capped(bytes, most, &place)
    }
}

/// Unpacks gzip, within the cap.
fn unpack(bytes: &[u8], most: usize, what: &str) -> Result<Bytes, SourceError> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .take(one_more(most))
        .read_to_end(&mut unpacked)
        .map_err(|error| SourceError::Unavailable(format!("{what} is not gzip: {error}")))?;
    capped(unpacked, most, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_too_large_when_it_is_unpacked_is_not_taken() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&[0; 100_000]).unwrap();
        let packed = packer.finish().unwrap();
        assert!(packed.len() < 1_000);
        assert!(matches!(
            unpack(&packed, 99_999, "there"),
            Err(SourceError::TooLarge(_))
        ));
        assert_eq!(unpack(&packed, 100_000, "there").unwrap().len(), 100_000);
        assert!(unpack(b"no gzip", 10, "there").is_err());
    }
}
