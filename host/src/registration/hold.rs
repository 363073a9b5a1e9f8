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

/// Adds our finalizer, so that nothing is left behind when the object goes.
pub(crate) async fn hold(writes: &Writes, registration: &Registration) -> Result<(), RequestError> {
    if held(registration) {
        return Ok(());
    }
    let mut list = finalizers(registration);
    list.push(PLUGIN_FINALIZER.to_owned());
    set(writes, registration, list).await
}

/// Takes our finalizer away.
pub(crate) async fn let_go(
    writes: &Writes,
    registration: &Registration,
) -> Result<(), RequestError> {
    let mut list = finalizers(registration);
    list.retain(|f| f != PLUGIN_FINALIZER);
    match set(writes, registration, list).await {
        Err(RequestError::Api(refused)) if refused.is_not_found() => Ok(()),
        other => other,
    }
}

/// Writes the list, guarded by the resourceVersion that it was made from.
async fn set(
    writes: &Writes,
    registration: &Registration,
    list: Vec<String>,
) -> Result<(), RequestError> {
    let patch = json!({
        "metadata": {
            "uid": registration.metadata.get("uid"),
            "resourceVersion": registration.metadata.get("resourceVersion"),
            "finalizers": list,
        },
    });
    let resource = plugin_resource();
    let target = Target::new(&resource, None, registration.name());
    let options = PatchOptions {
        write: WriteOptions::by(MANAGER),
        subresource: None,
    };
    writes
        .merge_patch(&target, Bytes::from(patch.to_string()), &options)
        .await
        .map(|_| ())
}
