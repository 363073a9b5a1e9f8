//! The host's finalizer on a registration: nothing is left behind when the object goes.

use super::controller::plugin_resource;
use super::report::MANAGER;
use bytes::Bytes;
use kybern_interface::Registration;
use kybern_interface::names::PLUGIN_FINALIZER;
use kybern_kube::{PatchOptions, RequestError, Target, WriteOptions, Writes};
use serde_json::{Value, json};

/// Whether our finalizer is on the object.
pub(crate) fn held(registration: &Registration) -> bool {
    finalizers(registration)
        .iter()
        .any(|f| f == PLUGIN_FINALIZER)
}

fn finalizers(registration: &Registration) -> Vec<String> {
    registration
        .metadata
        .get("finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect()
}

/// What was written of the finalizer and may not have come back by the watch yet: the uid of the
/// object and the resourceVersion that the write gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held(Option<(Value, u64)>);

impl Held {
    /// Adds our finalizer, so that nothing is left behind when the object goes.
    pub(crate) async fn hold(
        &mut self,
        writes: &Writes,
        registration: &Registration,
    ) -> Result<(), RequestError> {
        if held(registration) || self.is_ahead_of(registration) {
            return Ok(());
        }
        let mut list = finalizers(registration);
        list.push(PLUGIN_FINALIZER.to_owned());
        let answer = set(writes, registration, &list).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let version = answer.get("metadata").and_then(version);
        let uid = registration.metadata.get("uid").cloned();
        self.0 = uid.zip(version);
        Ok(())
    }

    /// Whether this is the object as it was before the write.
    fn is_ahead_of(&self, registration: &Registration) -> bool {
        let metadata = &registration.metadata;
        let seen = metadata.get("resourceVersion").and_then(number);
        self.0.as_ref().is_some_and(|(uid, written)| {
            metadata.get("uid") == Some(uid) && seen.is_some_and(|seen| seen < *written)
        })
    }
}

fn version(metadata: &Value) -> Option<u64> {
    metadata.get("resourceVersion").and_then(number)
}

fn number(text: &Value) -> Option<u64> {
    text.as_str()?.parse().ok()
}

/// Takes our finalizer away.
pub(crate) async fn let_go(
    writes: &Writes,
    registration: &Registration,
) -> Result<(), RequestError> {
    let mut list = finalizers(registration);
    list.retain(|f| f != PLUGIN_FINALIZER);
    match set(writes, registration, &list).await {
        Err(RequestError::Api(refused)) if refused.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Writes the list, guarded by the one that it was made from. Not by the resourceVersion: what
/// else has changed on the object, our own status above all, is no reason to come back.
async fn set(
    writes: &Writes,
    registration: &Registration,
    list: &[String],
) -> Result<Bytes, RequestError> {
    let patch = change(registration, list);
    let resource = plugin_resource();
    let target = Target::new(&resource, None, registration.name());
    let options = PatchOptions {
        write: WriteOptions::by(MANAGER),
        subresource: None,
    };
    writes
        .json_patch(&target, Bytes::from(patch.to_string()), &options)
        .await
}

fn change(registration: &Registration, list: &[String]) -> Value {
    let at = "/metadata/finalizers";
    let before = registration.metadata.get("finalizers");
    let uid = registration.metadata.get("uid");
    json!([
        { "op": "test", "path": "/metadata/uid", "value": uid },
        // A list that is not there is null to this test.
        { "op": "test", "path": at, "value": before },
        { "op": "add", "path": at, "value": list },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_list_of_finalizers_is_in_the_way() {
        let mut registration: Registration = serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": "a", "uid": "u", "resourceVersion": "7" },
            "spec": { "source": { "file": "x" } },
        }))
        .unwrap();
        let wanted = [PLUGIN_FINALIZER.to_owned()];
        let tried = |found: Value, registration: &Registration| {
            let patch: json_patch::Patch =
                serde_json::from_value(change(registration, &wanted)).unwrap();
            let mut object = json!({ "metadata": { "uid": "u", "resourceVersion": "8" } });
            object["metadata"]["finalizers"] = found;
            json_patch::patch(&mut object, &patch)
                .map(|()| object["metadata"]["finalizers"].clone())
        };
        assert_eq!(tried(Value::Null, &registration).unwrap(), json!(wanted));
        assert!(tried(json!(["other"]), &registration).is_err());
        registration
            .metadata
            .insert("finalizers".into(), json!(["other"]));
        assert_eq!(
            tried(json!(["other"]), &registration).unwrap(),
            json!(wanted)
        );
        assert!(tried(Value::Null, &registration).is_err());
    }

    #[test]
    fn an_object_that_is_older_than_our_write_is_not_written_again() {
        let seen = |uid: &str, version: &str| -> Registration {
            serde_json::from_value(json!({
                "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
                "metadata": { "name": "a", "uid": uid, "resourceVersion": version },
                "spec": { "source": { "file": "x" } },
            }))
            .unwrap()
        };
        let held = Held(Some((json!("u"), 8)));
        assert!(held.is_ahead_of(&seen("u", "7")));
        assert!(!held.is_ahead_of(&seen("u", "8")), "somebody took it off");
        assert!(!held.is_ahead_of(&seen("v", "7")), "another object");
        assert!(!Held::default().is_ahead_of(&seen("u", "7")));
    }
}
