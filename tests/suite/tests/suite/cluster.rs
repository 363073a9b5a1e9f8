//! The built host against a control plane: that it starts, says it is ready, and ends.

use kybern_testcluster::{Host, HostOptions, shared};
use serde_json::json;
use std::process::Command;

/// Applies the Plugin kind that the host itself prints.
fn install_plugin_kind() {
    let plane = shared().unwrap();
    let printed = Command::new(kybern_testcluster::kybern().unwrap())
        .arg("crd")
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let yaml = String::from_utf8(printed.stdout).unwrap();
    plane.install_crd_yaml("plugins.kybern.dev", &yaml).unwrap();
}

#[test]
fn the_host_becomes_ready_and_ends_when_asked() {
    let plane = shared().unwrap();
    install_plugin_kind();
    let namespace = plane.namespace("host").unwrap();
    let user = plane.service_account(&namespace, "kybern").unwrap();
    plane
        .grant(
            &user,
            &json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]),
        )
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::start(&HostOptions {
        binary: kybern_testcluster::kybern().unwrap(),
        kubeconfig: plane.kubeconfig(&user).unwrap(),
        class: namespace.clone(),
        arguments: vec!["--leader-elect=false".to_owned()],
        environment: Vec::new(),
        folder: folder.path().to_owned(),
    })
    .unwrap();
    host.wait_ready().unwrap();
    assert!(
        host.metrics().unwrap().contains("# EOF"),
        "OpenMetrics text"
    );
    let status = host.stop().unwrap();
    assert!(status.success(), "{status}");
}
