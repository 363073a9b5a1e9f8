//! `mirror = "..."`: the query for the status of a child with the CR's own name.

use kybern_interface::{ManifestQuery, ReadAsk};
use syn::{Error, LitStr, Result};

/// Aliases are the fields of `kybern_sdk::DeploymentStatus`.
const DEPLOYMENT: &str = "SELECT generation, spec.replicas AS wanted, \
    status.observedGeneration AS seen, status.replicas AS replicas, \
    status.readyReplicas AS \"readyReplicas\", status.availableReplicas AS \"availableReplicas\", \
    status.updatedReplicas AS \"updatedReplicas\", \
    status.unavailableReplicas AS \"unavailableReplicas\", status.conditions AS reported \
    FROM apps.deployments WHERE namespace = $1 AND name = $2";

/// The queries, and the kinds that they read.
pub(crate) fn queries(kinds: &[LitStr]) -> Result<(Vec<ManifestQuery>, Vec<ReadAsk>)> {
    match kinds {
        [] => Ok((Vec::new(), Vec::new())),
        [kind] if kind.value() == "apps/v1/Deployment" => {
            let query = ManifestQuery {
                name: "deployment".to_owned(),
                sql: DEPLOYMENT.to_owned(),
                params: ["metadata.namespace", "metadata.name"]
                    .map(str::to_owned)
                    .into(),
            };
            let read = ReadAsk {
                group: "apps".to_owned(),
                version: "v1".to_owned(),
                kind: "Deployment".to_owned(),
                optional: false,
            };
            Ok((vec![query], vec![read]))
        }
        [kind] => Err(Error::new(
            kind.span(),
            "there is: apps/v1/Deployment; for another kind write a `query`",
        )),
        [_, second, ..] => Err(Error::new(second.span(), "given twice")),
    }
}
