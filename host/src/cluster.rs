//! Which cluster a command talks to.

use crate::args::ClusterArgs;
use kybern_kube::{Cluster, ClusterError};

/// Connects as the arguments say. Nothing is sent yet.
pub(crate) async fn connect(args: &ClusterArgs) -> Result<Cluster, ClusterError> {
    match &args.kubeconfig {
        Some(path) => Cluster::from_kubeconfig_path(path, args.context.as_deref()).await,
        None => Cluster::infer(args.context.as_deref()).await,
    }
}
