//! The demo without a cluster: `kybern simulate`.

use crate::programs;
use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};
use kybern_testcluster::Component;
use std::process::Command;

/// Says what is missing for the whole demo and shows what works without it.
pub(crate) fn run(workspace: &Workspace, missing: Component) -> Result<()> {
    println!(
        "{} is not there, and neither is Go to build it: the demo runs without a cluster.\n\
         For the whole of it install Go 1.26 (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a \
         directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok.",
        missing.name()
    );
    let kybern = programs::kybern(workspace)?;
    let guests = crate::guests::build(&workspace.cache, &["appservice"])?;
    let plugin = guests.into_iter().next().context("one guest was built")?;

    let fixture = super::fixture(workspace);
    super::title("Reconcile an AppService in memory until nothing changes");
    let mut simulate = Command::new(kybern);
    simulate
        .arg("simulate")
        .arg("--filename")
        .arg(fixture)
        .arg("--plugin")
        .arg(plugin.path);
    super::say(&crate::workspace::words(&simulate));
    succeed(&mut simulate)
}
