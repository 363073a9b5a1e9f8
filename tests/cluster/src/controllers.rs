//! The built-in controllers and the scheduler.

use crate::component::Component;
use crate::process::Process;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Starts the controller manager; `signing_key` signs tokens, `authority` is what Pods would trust.
pub(crate) fn manager(
    folder: &Path,
    kubeconfig: &Path,
    signing_key: &Path,
    authority: &Path,
) -> Result<Process> {
    let mut command = Command::new(Component::KubeControllerManager.find()?);
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!(
            "--service-account-private-key-file={}",
            signing_key.display()
        ))
        .arg(format!("--root-ca-file={}", authority.display()))
        .args(quiet_flags())
        // The default of 20 requests a second is what tests would measure.
        .args(["--kube-api-qps=1000", "--kube-api-burst=2000"])
        // The garbage collector learns of a new kind only every 30 s; that stays.
        .arg("--controllers=*,-nodeipam,-node-route-controller,-cloud-node-lifecycle-controller");
    Process::start("kube-controller-manager", command, folder)
}

/// Starts the scheduler.
pub(crate) fn scheduler(folder: &Path, kubeconfig: &Path) -> Result<Process> {
    let mut command = Command::new(Component::KubeScheduler.find()?);
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args(quiet_flags())
        .args(["--kube-api-qps=1000", "--kube-api-burst=2000"]);
    Process::start("kube-scheduler", command, folder)
}

/// No server, no lease: there is one of each, and nobody asks it.
fn quiet_flags() -> [&'static str; 2] {
    ["--secure-port=0", "--leader-elect=false"]
}
