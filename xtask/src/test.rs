//! `cargo xtask test`: guests, host, control plane, then every test of the workspace in one go.

use crate::workspace::{Workspace, succeed};
use crate::{helm_engine, node, programs};
use anyhow::Result;
use clap::Args;
use kybern_testcluster::Component;
use std::num::NonZero;

/// `cargo xtask test`.
#[derive(Debug, Default, Args)]
pub(crate) struct TestArgs {
    /// Only this package, by its name in Cargo.toml.
    #[arg(short, long)]
    package: Option<String>,
    /// A filter and arguments of the test programs, such as `-- --nocapture deletion`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// How many tests of a program run at the same time.
const THREADS: &str = "RUST_TEST_THREADS";

/// What tests start.
const COMPONENTS: [Component; 7] = [
    Component::Etcd,
    Component::KubeApiserver,
    Component::KubeControllerManager,
    Component::KubeScheduler,
    Component::Kwok,
    Component::Helm,
    Component::Registry,
];

/// Builds what the tests need and runs them.
pub(crate) fn run(workspace: &Workspace, args: &TestArgs) -> Result<()> {
    control_plane()?;
    programs::guests(workspace)?;
    helm_engine::build(workspace)?;
    cargo_test(workspace, args)
}

/// Finds or builds the control plane, where its progress can be seen: test programs hide it.
pub(crate) fn control_plane() -> Result<()> {
    for component in COMPONENTS {
        component.find()?;
    }
    Ok(())
}

/// The tests, against the host and the guests as they are now.
pub(crate) fn cargo_test(workspace: &Workspace, args: &TestArgs) -> Result<()> {
    let kybern = programs::kybern(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.arg("test");
    match &args.package {
        Some(package) => cargo.args(["--package", package]),
        // One package's failure does not hide another's.
        // What needs a real node has a command of its own.
        None => cargo.args(["--workspace", "--no-fail-fast", "--exclude", node::TESTS]),
    };
    cargo
        .arg("--")
        .args(&args.arguments)
        .env("KYBERN_BIN", kybern)
        .env("KYBERN_GUESTS", programs::guests_folder(workspace));
    if std::env::var_os(THREADS).is_none() {
        // Against a cluster a test waits most of its time.
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        cargo.env(THREADS, (2 * cores).to_string());
    }
    let outcome = succeed(&mut cargo);
    // Control planes of the test programs end with them, but leave their directories.
    kybern_testcluster::sweep();
    let all = args.package.is_none() && args.arguments.is_empty();
    let explored = if all { model(workspace) } else { Ok(()) };
    outcome.and(explored)
}

/// Every order of steps of the store's readers and its writer. A build of its own: the cells in
/// which they meet are other ones.
fn model(workspace: &Workspace) -> Result<()> {
    succeed(workspace.cargo().args([
        "test",
        "--package",
        "kybern-table",
        "--features",
        "model",
        "--test",
        "model",
    ]))
}
