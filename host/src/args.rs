//! The command line.

mod plugin;

pub(crate) use plugin::*;

use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use kybern_helm::EngineFile;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Operator host for Kubernetes: sandboxed WebAssembly plugins over a SQL picture of the cluster.
#[derive(Debug, Parser)]
#[command(
    name = "kybern",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How to log.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// How to log.
#[derive(Debug, ClapArgs)]
pub(crate) struct LogArgs {
    /// Log format; `auto` is text on a terminal and JSON otherwise.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto, env = "KYBERN_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// What to log, as `level` or `target=level,...` (tracing's filter syntax).
    #[arg(long, global = true, value_name = "FILTER", env = "KYBERN_LOG")]
    pub(crate) log: Option<String>,
}

/// Log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Which cluster.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ClusterArgs {
    /// Path of the kubeconfig; without it `$KUBECONFIG`, `~/.kube/config`, then the Pod's own service account.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// How registries are talked to.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct RegistryArgs {
    /// Registries and servers of components (`HOST` or `HOST:PORT`, comma separated) that are talked
    /// to without TLS, beside those of this machine.
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "KYBERN_INSECURE_REGISTRY"
    )]
    pub(crate) insecure_registry: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watches the cluster and runs the registered plugins.
    Run(Box<RunArgs>),
    /// Answers SQL over a cluster, or over manifests in files: at a prompt, or as told.
    Sql(SqlArgs),
    /// Runs a plugin over manifests in memory, without a cluster, until nothing changes.
    Simulate(SimulateArgs),
    /// Says why a custom resource is as it is: trigger, answers, plan, what would be written.
    Explain(ExplainArgs),
    /// Prints the RBAC rules that registrations need, as a ClusterRole.
    Rbac(RbacArgs),
    /// Prints the Plugin CustomResourceDefinition.
    Crd,
    /// Prints the kinds that a cluster serves, with the scalars of their schemas, as JSON.
    Kinds(KindsArgs),
    /// Releases every custom resource and child, then removes all registrations of a class.
    Uninstall(UninstallArgs),
    /// What a plugin's author does: looks into a component, checks, tests and measures it.
    #[command(subcommand, after_long_help = PLUGIN_HELP)]
    Plugin(PluginCommand),
    /// Compiles one component for the host that starts it.
    #[command(name = crate::compiler::COMMAND, hide = true)]
    Compile,
}

/// The name under which kubectl finds a plugin; it calls it `kubectl kybern`.
const PLUGIN: &str = "kubectl-kybern";

impl Args {
    /// Parses the command line; ends the process where that is the answer.
    pub(crate) fn from_command_line(line: impl IntoIterator<Item = OsString>) -> Self {
        let line: Vec<OsString> = line.into_iter().collect();
        let program = line.first().map(Path::new).and_then(Path::file_stem);
        let mut command = Self::command();
        if program == Some(OsStr::new(PLUGIN)) {
            command = command.bin_name("kubectl kybern");
        }
        let matches = command.get_matches_from(line);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

impl Command {
    /// Whether a person reads this command's standard output.
    pub(crate) fn writes_to_terminal(&self) -> bool {
        !matches!(self, Self::Run(_))
    }
}

/// What compiling a plugin may use.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CompileArgs {
    /// Processor time for compiling one component, in a process of its own: 1s to 1h. One that takes more is
    /// refused.
    #[arg(long, default_value = "120s", value_parser = compile_time, env = "KYBERN_COMPILE_TIME")]
    pub(crate) compile_time: Duration,
    /// Memory for the same, such as `512Mi`: 64Mi to 16Gi, and never more than the container has left.
    #[arg(long, value_name = "QUANTITY", default_value = "1Gi", value_parser = compile_memory, env = "KYBERN_COMPILE_MEMORY")]
    pub(crate) compile_memory: u64,
    /// Components that are compiled at the same time.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u8).range(1..=16), env = "KYBERN_COMPILES")]
    pub(crate) compiles: u8,
}

/// `kybern run`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Only registrations whose `spec.class` is this.
    #[arg(long, default_value = "", env = "KYBERN_CLASS")]
    pub(crate) class: String,
    /// Only objects of these namespaces (comma separated); without it all.
    #[arg(long, value_delimiter = ',', env = "KYBERN_NAMESPACES")]
    pub(crate) namespaces: Vec<String>,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:8080", env = "KYBERN_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Whether replicas elect a leader; without it this host always leads.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, env = "KYBERN_LEADER_ELECT")]
    pub(crate) leader_elect: bool,
    /// Namespace of the Lease; without it the Pod's own, else `default`.
    #[arg(long, env = "KYBERN_NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// Length of the Lease.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) lease_duration: Duration,
    /// Time within which the leader must renew.
    #[arg(long, default_value = "7s", value_parser = duration)]
    pub(crate) renew_deadline: Duration,
    /// Time between tries to take or renew the Lease.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) retry_period: Duration,
    /// Private directory for compiled plugins; without it a directory of the user's cache.
    #[arg(long, value_name = "DIR", env = "KYBERN_COMPILED")]
    pub(crate) compiled: Option<PathBuf>,
    /// Helm's engine, for plugins that render charts: the file helm-engine.wasm, or its folder. Without it
    /// the one beside the program, or in $KYBERN_GUESTS, if there is one.
    #[arg(long, value_name = "PATH", env = "KYBERN_HELM_ENGINE")]
    pub(crate) helm_engine: Option<EngineFile>,
    /// A file whose content decides about passwords and keys that charts make, the same for all replicas.
    /// Without it the Secret kybern-charts (or kybern-CLASS-charts) beside the Lease does, which is made when needed.
    #[arg(long, value_name = "FILE", env = "KYBERN_HELM_SECRET")]
    pub(crate) helm_secret: Option<PathBuf>,
    /// What compiling a plugin may use.
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Longest time without an event or bookmark before a watch is taken for dead.
    #[arg(long, default_value = "200s", value_parser = duration)]
    pub(crate) watch_idle: Duration,
    /// Memory that the process may use, such as `512Mi`, beside its container's own limit; exit code 75 when used up.
    #[arg(long, value_name = "QUANTITY", value_parser = bytes, env = "KYBERN_MEMORY_LIMIT")]
    pub(crate) memory_limit: Option<u64>,
    /// Memory that tables, statements, plugins and caches may hold together, such as `300Mi`; without it three
    /// fifths of what the process may use, or 4Gi where nothing limits it. Over it new kinds are refused, caches
    /// dropped, then the largest statements cancelled.
    #[arg(long, value_name = "QUANTITY", value_parser = bytes, env = "KYBERN_MEMORY_BUDGET")]
    pub(crate) memory_budget: Option<u64>,
    /// File for the last message when memory is used up; written only if it is there.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/dev/termination-log",
        env = "KYBERN_TERMINATION_LOG"
    )]
    pub(crate) termination_log: PathBuf,
    /// Unix socket at which this user asks the host while it runs (or `$KYBERN_SOCKET`): `kybern sql
    /// --host`, `kybern explain --host`. Without it nobody does.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How registries are talked to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Calls each `decide` twice and refuses plugins that are not pure.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Output of `kybern sql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people, cut to the terminal's width.
    Table,
    /// The same, never cut.
    Wide,
    /// An array of objects.
    Json,
    /// RFC 4180.
    Csv,
    /// A list of objects.
    Yaml,
}

/// Shown after the options of `kybern sql --help`.
const SQL_HELP: &str = r#"Tables are kinds: the schema is the API group (core, apps, networking_k8s_io), the name its plural.
A name that is unique needs no schema. Paths are columns: spec.replicas, spec.containers[0].image,
labels['app'].

Examples:
  kybern sql                                       # a prompt; \? shows its commands
  kybern sql "SELECT namespace, name FROM pods WHERE status.phase <> 'Running'"
  kybern sql -o json -n shop "SELECT name, spec.replicas FROM deployments"
  kybern sql < report.sql                          # statements, each ended by ;
  kybern sql -f manifests/ "SELECT name, spec.replicas FROM deployments"
  helm template shop | kybern sql -f - "SELECT namespace, name, owner_uid FROM apps.deployments"
  kubectl exec deploy/kybern -- /kybern sql --host "SELECT * FROM kybern.passes WHERE ending = 'failed'"

Exit codes: 0 all statements were answered, 1 the cluster or a file could not be read,
2 a statement was refused."#;

/// `kybern sql`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = SQL_HELP)]
pub(crate) struct SqlArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Asks a running host instead of the cluster: what its tables hold, and what it knows of passes
    /// (kybern.passes, kybern.queue ...). Its socket, unless `$KYBERN_SOCKET` or the chart says
    /// where that is.
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true,
          conflicts_with_all = ["kubeconfig", "context", "namespace", "filename"])]
    pub(crate) host: Option<Option<PathBuf>>,
    /// Statements (SELECT, EXPLAIN, SUBSCRIBE, UPDATE, DELETE, INSERT, APPLY) separated by `;`. Without one, or with `-`, they are read
    /// from standard input; at a terminal there is a prompt.
    #[arg(value_name = "STATEMENTS")]
    pub(crate) statement: Option<String>,
    /// How to print the answers.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Only this namespace, and what is in no namespace.
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,
    /// All namespaces; so it is without -n.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Manifests to query instead of a cluster: a file or a directory of YAML or JSON, or `-` for
    /// standard input.
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) filename: Vec<PathBuf>,
    /// Changes objects without a question; needed where nobody can be asked.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Most objects that one statement may change: more, and nothing is done.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(crate) max_rows: usize,
}

/// `kybern simulate`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SimulateArgs {
    /// Manifests to begin with: a file or a directory of YAML or JSON.
    #[arg(short, long, value_name = "PATH", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// The plugin's component.
    #[arg(long, value_name = "WASM", required = true)]
    pub(crate) plugin: Vec<PathBuf>,
    /// Passes after which it stops even if something still changes.
    #[arg(long, default_value_t = 1000)]
    pub(crate) max_passes: u32,
}

/// `kybern explain`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExplainArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Asks a running host what its last pass did, instead of making one that writes nothing. Its
    /// socket, unless `$KYBERN_SOCKET` or the chart says where that is.
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true,
          conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) host: Option<Option<PathBuf>>,
    /// How registries are talked to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// The registration's name.
    pub(crate) plugin: String,
    /// The custom resource: NAMESPACE/NAME, or NAME if it is cluster-scoped.
    pub(crate) object: String,
}

/// `kybern rbac`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RbacArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Registrations in files instead of the cluster's.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) filename: Vec<PathBuf>,
    /// Name of the ClusterRole.
    #[arg(long, default_value = "kybern-plugins")]
    pub(crate) name: String,
    /// Prints the rules as values of the Helm chart, for `helm upgrade -f`, instead of a ClusterRole.
    #[arg(long, conflicts_with = "name")]
    pub(crate) values: bool,
}

/// `kybern kinds`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KindsArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Only scalars at most this many fields deep.
    #[arg(long)]
    pub(crate) depth: Option<usize>,
}

/// `kybern uninstall`.
#[derive(Debug, ClapArgs)]
pub(crate) struct UninstallArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The class whose registrations go.
    #[arg(long, default_value = "")]
    pub(crate) class: String,
    /// Only objects of this namespace, as `kybern run --namespaces`; without it all.
    #[arg(long, value_delimiter = ',', env = "KYBERN_NAMESPACES")]
    pub(crate) namespaces: Vec<String>,
    /// Only take the host's finalizers off: Plugins, custom resources and children stay, nothing
    /// hangs when they are deleted, and a host that is installed later goes on with them.
    #[arg(long)]
    pub(crate) keep_plugins: bool,
    /// Deployment of the host that is scaled to zero first; a running host would take its
    /// finalizers again.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) stop_deployment: Option<crate::commands::Deployment>,
    /// Really do it; without it only what would be done is printed.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The one namespace that a host watches; none for all of them.
pub(crate) fn one_namespace(namespaces: &[String]) -> anyhow::Result<Option<&str>> {
    match namespaces {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => anyhow::bail!(
            "--namespaces: this version watches one namespace or all; name one, or run a host for each"
        ),
    }
}

/// Parses `10s`, `500ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(signed).map_err(|_| "must not be negative".to_owned())
}

/// A time that a compilation may be given.
fn compile_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time.as_secs() {
        1..=3600 => Ok(time),
        _ => Err("must be from 1s to 1h".to_owned()),
    }
}

/// Memory that a compilation may be given.
fn compile_memory(text: &str) -> Result<u64, String> {
    let memory = bytes(text)?;
    match memory >> 20 {
        64..=16_384 => Ok(memory),
        _ => Err("must be from 64Mi to 16Gi".to_owned()),
    }
}

/// Parses `512Mi`, `1G`, `1048576`.
fn bytes(text: &str) -> Result<u64, String> {
    let quantity: kybern_statement::Quantity = text
        .parse()
        .map_err(|error| format!("{error}; write bytes, or such as 512Mi"))?;
    u64::try_from(quantity.value())
        .ok()
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "must be more than nothing; write bytes, or such as 512Mi".to_owned())
}
