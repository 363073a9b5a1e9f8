//! A recorded watch: an empty streaming list, then one event for each pod.

use anyhow::{Context, Result};
use kybern_seed::Pods;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// The seed of all benches: everyone reads the same pods.
pub(crate) const SEED: u64 = 1;

/// The bookmark that ends a streaming list.
pub(crate) fn listed(resource_version: u64) -> String {
    format!(
        r#"{{"type":"BOOKMARK","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{resource_version}","creationTimestamp":null,"annotations":{{"k8s.io/initial-events-end":"true"}}}},"spec":{{"containers":null}},"status":{{}}}}}}"#
    )
}

/// One event of a watch.
pub(crate) fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

/// Writes the recording. Returns its bytes.
pub(crate) fn write(path: &Path, objects: u64) -> Result<u64> {
    let create = || format!("create {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(create)?);
    let pods = Pods::new(SEED);
    writeln!(out, "{}", listed(1))?;
    // After the list's own resourceVersion, as an update of a pod that was not in it would be.
    for number in 0..objects {
        writeln!(out, "{}", event("ADDED", &pods.pod(number, 1)))?;
    }
    let file = out.into_inner().context("write the recording")?;
    Ok(file.metadata()?.len())
}
