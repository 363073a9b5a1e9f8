//! The public keys of a registration, and what was found to be signed by them.

use super::error::SourceError;
use super::object::{self, Kind};
use super::signature::Key;
use kybern_interface::{KeyRef, PublicKey, Verification};
use kybern_kube::Cluster;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The place in the spec.
const FIELD: &str = "spec.source.oci.verify.publicKeys";

/// The keys, read where they are.
pub(super) async fn keys(
    verification: &Verification,
    cluster: Option<&Cluster>,
) -> Result<Vec<Key>, SourceError> {
    if verification.public_keys.is_empty() {
        return Err(SourceError::Key(format!(
            "{FIELD} is empty: name the keys of whom you trust, or take verify away"
        )));
    }
    let mut keys = Vec::new();
    for (number, key) in verification.public_keys.iter().enumerate() {
        keys.push(one(key, &format!("{FIELD}[{number}]"), cluster).await?);
    }
    Ok(keys)
}

async fn one(key: &PublicKey, field: &str, cluster: Option<&Cluster>) -> Result<Key, SourceError> {
    let (kind, at) = match (&key.pem, &key.secret_ref, &key.config_map_ref) {
        (Some(pem), None, None) => return Key::of_pem(pem, field),
        (None, Some(at), None) => (Kind::Secret, at),
        (None, None, Some(at)) => (Kind::ConfigMap, at),
        _ => {
            return Err(SourceError::Key(format!(
                "{field} must have exactly one of pem, secretRef, configMapRef"
            )));
        }
    };
    let cluster = cluster.ok_or_else(|| SourceError::Key(format!("{field} needs a cluster")))?;
    let KeyRef {
        namespace,
        name,
        key,
    } = at;
    let place = format!("{field}: {} {namespace}/{name} key {key}", kind.name());
    let object = object::get(cluster, kind, (namespace, name), field).await?;
    let bytes = object::value(&object, kind, key)
        .ok_or_else(|| SourceError::Key(format!("{place} is not there")))?;
    Key::of_pem(&String::from_utf8_lossy(&bytes), &place)
}

/// Artifacts that were found to be signed, by the keys that were asked for then: another set of
/// keys is asked again.
#[derive(Default)]
pub(super) struct Verified(Mutex<BTreeSet<[u8; 32]>>);

impl Verified {
    /// Most that are remembered.
    const MOST: usize = 256;

    /// Whether this artifact was found to be signed by one of these keys.
    pub(super) fn knows(&self, manifest: &str, keys: &[Key]) -> bool {
        self.0.lock().contains(&entry(manifest, keys))
    }

    /// It was.
    pub(super) fn learns(&self, manifest: &str, keys: &[Key]) {
        let mut known = self.0.lock();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(entry(manifest, keys));
    }
}

fn entry(manifest: &str, keys: &[Key]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(manifest);
    for key in keys {
        hash.update([0]);
        hash.update(key.bytes());
    }
    hash.finalize().into()
}
