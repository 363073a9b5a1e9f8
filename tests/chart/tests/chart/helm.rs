//! Running helm on the chart, and reading what it renders.

use anyhow::{Context, Result, ensure};
use kybern_testcluster::Component;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The release's name and namespace in every test.
pub(crate) const RELEASE: &str = "kybern";
/// See [`RELEASE`].
pub(crate) const NAMESPACE: &str = "kybern-system";

/// The value sets: every test that holds for all is run with each.
pub(crate) const SETS: [&str; 6] = [
    "default",
    "minimal",
    "everything",
    "namespaced",
    "plugin-rules",
    "brought-along",
];

/// The chart.
pub(crate) fn chart() -> PathBuf {
    root().join("charts/kybern")
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of this crate.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The values file of a set.
pub(crate) fn values(set: &str) -> PathBuf {
    folder("values").join(format!("{set}.yaml"))
}

/// helm, knowing no cluster and nobody's settings.
pub(crate) fn helm() -> Result<Command> {
    let mut command = Command::new(Component::Helm.find()?);
    command.env("KUBECONFIG", "/dev/null");
    for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(folder, std::env::temp_dir().join("kybern-chart-tests-helm"));
    }
    Ok(command)
}

/// The command's standard output; its error output is the error.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().context("start helm")?;
    ensure!(
        output.status.success(),
        "{:?}\n{}{}",
        command.get_args().collect::<Vec<_>>(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// `helm template` with a values file.
pub(crate) fn template(values: &Path) -> Result<Output> {
    helm()?
        .args(["template", RELEASE])
        .arg(chart())
        .args(["--namespace", NAMESPACE, "--values"])
        .arg(values)
        .output()
        .context("start helm")
}

/// What a set renders, as text.
pub(crate) fn rendered(set: &str) -> Result<String> {
    let output = template(&values(set))?;
    ensure!(
        output.status.success(),
        "{set}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What a set renders, as objects.
pub(crate) fn objects(set: &str) -> Result<Vec<Value>> {
    parse(&rendered(set)?)
}

/// The documents of a YAML stream.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(all.into_iter().filter(|one| !one.is_null()).collect())
}

/// The one object of this kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The built host's answer to `arguments`.
pub(crate) fn kybern(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(kybern_testcluster::kybern()?);
    succeed(command.args(arguments))
}
