//! The record: what is remembered of one CR across restarts, as a Secret.
//!
//! # Contract
//! One Secret for each registration and CR uid: beside the CR, or in the host's namespace for a
//! CR without one. The CR owns it without controlling it, so that the garbage collector takes it
//! and no inventory counts it. It holds one JSON document and the digest of its text. What is not
//! exactly what a host wrote is refused: a plugin that is told that it remembers nothing, or
//! something else than it kept, may do harm.
//!
//! # Limits
//! At most [`MAX_BYTES`] as JSON. Nothing here prints what a record holds.

use crate::finalizer::guarded;
use crate::outcomes::Outcomes;
use crate::owner::{Owner, hex};
use crate::patched::Patched;
use crate::traits::ObjectRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kybern_interface::{Gvk, names};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a record as JSON; etcd takes 1.5 MiB of what base64 makes of it.
pub(crate) const MAX_BYTES: usize = 512 << 10;
/// The version that this host writes, and the only one that there is.
const VERSION: u32 = 1;

/// What is remembered of one CR.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Record {
    /// What the plugin kept; null if nothing.
    pub(crate) state: Value,
    /// What may have a patch of the CR's on it.
    pub(crate) patches: Vec<Patched>,
    /// What came of its effects.
    pub(crate) outcomes: Outcomes,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")
    }
}

/// Why a Secret is no record that can be relied on. No retry helps until somebody acts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// It lacks a part, or the part cannot be read.
    #[error("its {0} cannot be read")]
    Broken(&'static str),
    /// Its text is not the one that a host wrote.
    #[error("somebody else than the host has changed it")]
    Changed,
    /// It is about another CR or registration.
    #[error("it was written for another object")]
    Foreign,
    /// It is larger than any that a host writes.
    #[error("it has {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
    /// A host of another version wrote it.
    #[error("it has version {0}, which this host does not know: a newer host has written it")]
    Newer(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    version: u32,
    plugin: String,
    uid: String,
    #[serde(default)]
    state: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    patches: Vec<Patched>,
    #[serde(default, skip_serializing_if = "Outcomes::is_empty")]
    outcomes: Outcomes,
}

/// The name of the record that a registration has of the CR with this uid.
pub fn record_name(registration: &str, uid: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(registration.as_bytes());
    hash.update([0]);
    hash.update(uid.as_bytes());
    format!("{}{}", names::RECORD_PREFIX, hex(&hash.finalize(), 20))
}

/// Whether an object is, or could be taken for, a record.
pub fn is_record(target: &ObjectRef) -> bool {
    target.gvk.group.is_empty()
        && target.gvk.kind == "Secret"
        && target.name.starts_with(names::RECORD_PREFIX)
}

/// The record of a CR; `home` is the host's namespace.
pub(crate) fn target(registration: &str, owner: &Owner, home: &str) -> ObjectRef {
    let namespace = match owner.namespace.as_str() {
        "" => home,
        own => own,
    };
    ObjectRef {
        gvk: Gvk::new("", "v1", "Secret"),
        plural: "secrets".to_owned(),
        namespace: namespace.to_owned(),
        name: record_name(registration, &owner.uid),
    }
}

impl Record {
    /// The record in the Secret with this content.
    pub(crate) fn read(
        secret: &Value,
        registration: &str,
        owner: &Owner,
    ) -> Result<Self, RecordError> {
        let text = part(secret, "record")?;
        if text.len() > MAX_BYTES {
            return Err(RecordError::TooLarge(text.len()));
        }
        if part(secret, "digest")? != digest(&text).as_bytes() {
            return Err(RecordError::Changed);
        }
        // What serde says would quote the text.
        let broken = |_| RecordError::Broken("record");
        let found: Value = serde_json::from_slice(&text).map_err(broken)?;
        match found.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(RecordError::Newer(version)),
            None => return Err(RecordError::Broken("version")),
        }
        let document: Document = serde_json::from_value(found).map_err(broken)?;
        if document.plugin != registration || document.uid != owner.uid {
            return Err(RecordError::Foreign);
        }
        // Without a uid its undoing would make what is not there.
        if document
            .patches
            .iter()
            .any(|patched| patched.uid.is_empty())
        {
            return Err(RecordError::Broken("patches"));
        }
        Ok(Self {
            state: document.state,
            patches: document.patches,
            outcomes: document.outcomes,
        })
    }

    /// Whether the state is this one: texts are compared, since what is read back is what was written.
    pub(crate) fn says(&self, state: &Value) -> bool {
        let [ours, theirs] = [&self.state, state].map(Value::to_string);
        ours == theirs
    }

    /// Bytes of what is in it.
    pub(crate) fn size(&self) -> usize {
        let patches = serde_json::to_string(&self.patches).unwrap_or_default();
        let outcomes = serde_json::to_string(&self.outcomes).unwrap_or_default();
        self.state.to_string().len() + patches.len() + outcomes.len()
    }

    /// `data` of the Secret.
    fn data(&self, registration: &str, owner: &Owner) -> Result<Value, RecordError> {
        let document = Document {
            version: VERSION,
            plugin: registration.to_owned(),
            uid: owner.uid.clone(),
            state: self.state.clone(),
            patches: self.patches.clone(),
            outcomes: self.outcomes.clone(),
        };
        let text = serde_json::to_vec(&document).map_err(|_| RecordError::Broken("state"))?;
        if text.len() > MAX_BYTES {
            return Err(RecordError::TooLarge(text.len()));
        }
        Ok(json!({
            "record": STANDARD.encode(&text),
            "digest": STANDARD.encode(digest(&text)),
        }))
    }

    /// The Secret, when there is none yet.
    pub(crate) fn secret(
        &self,
        target: &ObjectRef,
        registration: &str,
        owner: &Owner,
    ) -> Result<Value, RecordError> {
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "annotations": { (names::RECORD_OF): format!("{} for Plugin {registration}", owner.object()) },
                "ownerReferences": [{
                    "apiVersion": owner.gvk.api_version(),
                    "kind": owner.gvk.kind,
                    "name": owner.name,
                    "uid": owner.uid,
                }],
            },
            "type": names::RECORD_TYPE,
            "data": self.data(registration, owner)?,
        }))
    }

    /// The patch of a Secret that still has this resourceVersion; made for another, it answers 409.
    pub(crate) fn patch(
        &self,
        version: &str,
        registration: &str,
        owner: &Owner,
    ) -> Result<Value, RecordError> {
        let data = self.data(registration, owner)?;
        let now = json!({ "metadata": { "resourceVersion": version } });
        // An edit may have taken `data` away: add also replaces.
        let operation = json!({ "op": "add", "path": "/data", "value": data });
        Ok(guarded(&now, vec![operation]))
    }
}

fn part(secret: &Value, name: &'static str) -> Result<Vec<u8>, RecordError> {
    let text = secret
        .get("data")
        .and_then(|data| data.get(name))
        .and_then(Value::as_str)
        .ok_or(RecordError::Broken(name))?;
    STANDARD.decode(text).map_err(|_| RecordError::Broken(name))
}

fn digest(text: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(text), 32))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
