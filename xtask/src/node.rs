//! `cargo xtask node`: a real single-node cluster on this machine, and the tests that need one.
//!
//! # Contract
//! There is one node on a machine; up.sh holds the lock that says whose. Under
//! `test` it ends with this process, however that ends; after `up` it runs
//! until `down`.

mod machine;
mod suite;
mod supplies;

use crate::image::Profile;
use crate::programs;
use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use kybern_testcluster::{Progress, Stopwatch, spawn, until};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;
use supplies::{Host, Supplies};

pub(crate) use machine::obstacle;

/// The tests' package.
pub(crate) const TESTS: &str = "kybern-node-tests";

/// Somebody else's node may have to end first; up.sh says so and gives up earlier.
const UP: Duration = Duration::from_secs(20 * 60);

/// `cargo xtask node`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Builds what is missing and starts the node; it runs until `down`.
    Up {
        /// Of this profile are the host's images, as they were last built.
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Goes on with the state that `down --keep` kept.
        #[arg(long)]
        keep: bool,
    },
    /// Ends the node and removes its state, its network cable and its cgroups.
    Down {
        /// Keeps the state.
        #[arg(long)]
        keep: bool,
    },
    /// Runs a command inside the running node, bash if none is given.
    Sh {
        /// The command and its arguments.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CMD"
        )]
        command: Vec<String>,
    },
    /// Builds image and guests, starts a node, runs its tests, ends it. The exit code is that of the tests.
    Test(TestArgs),
}

/// `cargo xtask node test`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TestArgs {
    /// How the host is compiled; figures are those of `dist`.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Takes image and guests as they were last built.
    #[arg(long)]
    no_build: bool,
    /// Uses the node that `up` started, and leaves it running.
    #[arg(long)]
    here: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// More arguments of the test program, such as `-- --nocapture`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Where the node's files are.
#[derive(Debug)]
struct Places {
    scripts: PathBuf,
    state: PathBuf,
}

impl Places {
    fn of(workspace: &Workspace) -> Self {
        Self {
            scripts: workspace.root.join("tests").join("node"),
            state: workspace.cache.join("node").join("state"),
        }
    }

    fn script(&self, workspace: &Workspace, name: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .arg(self.scripts.join(name))
            .env("KYBERN_CACHE", &workspace.cache);
        command
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }
}

/// Runs the subcommand.
pub(crate) fn run(workspace: &Workspace, command: &NodeCommand) -> Result<ExitCode> {
    let places = Places::of(workspace);
    match command {
        NodeCommand::Up { profile, keep } => up(workspace, &places, *profile, *keep),
        NodeCommand::Down { keep } => {
            let mut down = places.script(workspace, "down.sh");
            down.args(keep.then_some("--keep"));
            succeed(&mut down).map(|()| ExitCode::SUCCESS)
        }
        NodeCommand::Sh { command } => shell(&places, command),
        NodeCommand::Test(args) => test(workspace, args),
    }
}

fn up(workspace: &Workspace, places: &Places, profile: Profile, keep: bool) -> Result<ExitCode> {
    require_machine(workspace)?;
    let supplies = Supplies::gather(workspace, Host::Take, profile)?;
    let mut up = places.script(workspace, "up.sh");
    up.args(keep.then_some("--keep")).args(&supplies.images);
    succeed(&mut up)?;
    println!(
        "\nexport KUBECONFIG={} PATH={}:$PATH",
        places.kubeconfig().display(),
        supplies.programs.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn shell(places: &Places, command: &[String]) -> Result<ExitCode> {
    let pid = std::fs::read_to_string(places.state.join("init.pid"))
        .context("no node runs: `cargo xtask node up` starts one")?;
    let status = Command::new("nsenter")
        .args(["--target", pid.trim()])
        .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup"])
        .arg("--")
        .args(if command.is_empty() {
            std::slice::from_ref(&"bash")
        } else {
            &[]
        })
        .args(command)
        .status()
        .context("start nsenter (package util-linux)")?;
    Ok(exit_code(status))
}

/// Everything from the build to the end of the node.
pub(crate) fn test(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    require_machine(workspace)?;
    let places = Places::of(workspace);
    if !args.no_build {
        programs::guests(workspace)?;
    }
    let host = if args.no_build {
        Host::Take
    } else {
        Host::Build
    };
    let supplies = Supplies::gather(workspace, host, args.profile)?;
    let programs = suite::build(workspace)?;

    let watch = Stopwatch::start();
    let node = if args.here {
        None
    } else {
        Some(Attached::start(workspace, &places, &supplies.images)?)
    };
    println!("node: up after {:.1} s", watch.elapsed().as_secs_f64());
    let watch = Stopwatch::start();
    let mut code = ExitCode::SUCCESS;
    for program in &programs {
        let status = tests(program, workspace, args, &places, &supplies).status();
        let status = status.with_context(|| format!("start {}", program.display()))?;
        if !status.success() {
            code = exit_code(status);
        }
    }
    println!("node: tests took {:.1} s", watch.elapsed().as_secs_f64());
    let figures = std::fs::read_to_string(places.state.join("figures.txt")).unwrap_or_default();
    for figure in figures.lines() {
        println!("node: {figure}");
    }
    let watch = Stopwatch::start();
    if let Some(node) = node {
        node.end(workspace, &places)?;
        println!("node: down after {:.1} s", watch.elapsed().as_secs_f64());
    }
    Ok(code)
}

/// A test program, with what it needs to know.
fn tests(
    program: &Path,
    workspace: &Workspace,
    args: &TestArgs,
    places: &Places,
    supplies: &Supplies,
) -> Command {
    let mut command = Command::new(program);
    command
        .args(&args.filter)
        // The tests measure times and starve memory: one after the other.
        .arg("--test-threads=1")
        .args(&args.arguments)
        .env("KUBECONFIG", places.kubeconfig())
        .env("KYBERN_NODE_STATE", &places.state)
        .env("KYBERN_GUESTS", programs::guests_folder(workspace))
        .env("KYBERN_CHART", workspace.root.join("charts").join("kybern"))
        .env("PATH", search_path(&supplies.programs))
        .current_dir(&places.scripts);
    if args.here {
        command.env("KYBERN_NODE_USED", "1");
    }
    if let Some(kybern) = &supplies.kybern {
        command.env("KYBERN_BIN", kybern);
    }
    command
}

fn search_path(first: &Path) -> std::ffi::OsString {
    let mut path = first.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

/// A node that ends with this process.
#[derive(Debug)]
struct Attached(Child);

impl Attached {
    fn start(workspace: &Workspace, places: &Places, images: &[PathBuf]) -> Result<Self> {
        let mut up = places.script(workspace, "up.sh");
        up.arg("--attached").args(images);
        let mut child = spawn(up).context("start up.sh")?;
        let own = child.id().to_string();
        // The file names who wrote it: another's node has one too.
        let ready = places.state.join("ready");
        until("the node is up", UP, || {
            if let Some(status) = child.try_wait()? {
                bail!("up.sh ended ({status}); its own message is above");
            }
            let text = std::fs::read_to_string(&ready).unwrap_or_default();
            Ok(Progress::from((text.trim() == own).then_some(())))
        })?;
        Ok(Self(child))
    }

    fn end(mut self, workspace: &Workspace, places: &Places) -> Result<()> {
        let down = succeed(&mut places.script(workspace, "down.sh"));
        // It waits for the node, which is gone.
        if down.is_err() {
            self.0.kill().context("end up.sh")?;
        }
        self.0.wait().context("wait for up.sh")?;
        down
    }
}

/// Fails with the reason why there can be no node on this machine.
fn require_machine(workspace: &Workspace) -> Result<()> {
    let obstacle = obstacle(workspace)?;
    ensure!(
        obstacle.is_none(),
        "no node on this machine: {}",
        obstacle.unwrap_or_default()
    );
    Ok(())
}

/// As shells do: 128 and the number of the signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
