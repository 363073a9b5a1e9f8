//! The command line of `kybern plugin`: what a plugin's author does, without a cluster.

use super::{ClusterArgs, RegistryArgs};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use kybern_helm::EngineFile;
use std::path::PathBuf;

/// Exit codes of all commands of `kybern plugin`.
pub(crate) const PLUGIN_HELP: &str = "\
Exit codes: 0 all is well, 1 the plugin is not right (what is wrong is printed), 2 the command
line or a file that it names cannot be used.";

/// `kybern plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Writes a crate, or an operator in YAML, that works, to begin with.
    New(NewArgs),
    /// Builds a plugin's crate into a component.
    Build(BuildArgs),
    /// Prints what a component is and asks for: digest, hooks, imports, grants, CRDs, manifest.
    Inspect(InspectArgs),
    /// Looks for what is wrong with a component, or may become so.
    Lint(LintArgs),
    /// Decides once, on a situation from a file, and prints the plan.
    Render(RenderArgs),
    /// Tests a component: what holds for every plugin, then cases of its author.
    Test(TestArgs),
    /// Writes what a plugin sees of a custom resource of the cluster, and what it decides, as a case.
    Record(RecordArgs),
    /// Decides again on recorded cases, and compares.
    Replay(ReplayArgs),
    /// Measures what compiling a component and calling it costs on this machine.
    Bench(BenchArgs),
    /// Puts a component into a registry and prints the reference to register.
    Push(PushArgs),
    /// Gets a component from a registry.
    Pull(PullArgs),
}

/// How to print a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Report {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How to print a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

const NEW_HELP: &str = "\
The crate has a kind with a definition, a child, a status, tests and cases. kybern-sdk is not
published yet, so the crate depends on a clone of Kybern's repository by its path.

With --declarative it is an operator in YAML instead, which needs neither SDK nor compiler: a bundle
with a definition, a child, a status, and a case beside it.

Examples:
  kybern plugin new hello --sdk ../kybern/guest-sdk
  kybern plugin new hello --declarative
  kybern plugin new hello --kind shop.example.com/v1/Hello --dir plugins/hello

Exit codes: 0 it is written, 2 the command line cannot be used or nothing can be written.";

/// `kybern plugin new`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_long_help = NEW_HELP)]
pub(crate) struct NewArgs {
    /// Name of plugin and crate: a-z, 0-9 and -.
    pub(crate) name: String,
    /// Writes an operator in YAML instead of a crate.
    #[arg(long)]
    pub(crate) declarative: bool,
    /// The kind that it is in charge of; without it example.com/v1 and the name as a kind.
    #[arg(long, value_name = "GROUP/VERSION/KIND")]
    pub(crate) kind: Option<String>,
    /// Where to write it, an empty folder or none; without it a folder of the plugin's name.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The folder `guest-sdk` of a clone of Kybern's repository.
    #[arg(long, value_name = "PATH", env = "KYBERN_SDK")]
    pub(crate) sdk: Option<PathBuf>,
}

const BUILD_HELP: &str = "\
Runs cargo for wasm32-unknown-unknown with the settings for fast components (the profile of the
crate's Cargo.toml does not count), makes what comes of it a component with the manifest in
front, and writes it to NAME.wasm in the crate's folder. The same sources give the same bytes.
A crate that needs WASI says so in its Cargo.toml: [package.metadata.kybern] target =
\"wasm32-wasip2\".

With --from it takes what the tools of another language built, a component or a core module (Go),
puts the manifest of a YAML file in front, and writes NAME.wasm into the current folder.

With --bundle it puts a bundle, a folder of files or a .tgz, into a component that interprets it, and
asks it what the bundle makes of it: what is wrong is told with its place.

Examples:
  kybern plugin build --dir plugins/hello
  kybern plugin build --bundle operators/web -o web.wasm
  kybern plugin build --from app.wasm --manifest manifest.yaml

Exit codes: 0 it is built, 1 it does not compile, 2 the folder holds no crate that can be a plugin.";

/// `kybern plugin build`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = BUILD_HELP)]
pub(crate) struct BuildArgs {
    /// The crate's folder.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// What another language's tools built: a component or a core module.
    #[arg(
        long,
        value_name = "FILE",
        requires = "manifest",
        conflicts_with = "dir"
    )]
    pub(crate) from: Option<PathBuf>,
    /// Its manifest, YAML or JSON; in `crds` the name of a file stands for what is in it.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) manifest: Option<PathBuf>,
    /// A bundle, a folder or an archive, that is put into a component which interprets it.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["dir", "from"])]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) interpreter: InterpreterArgs,
    /// Where to write what comes of a bundle; without it NAME.wasm in the current folder.
    #[arg(long, short, value_name = "FILE", requires = "bundle")]
    pub(crate) output: Option<PathBuf>,
}

/// What interprets a bundle.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct InterpreterArgs {
    /// The component that interprets bundles; without it declarative.wasm beside the program, or in
    /// $KYBERN_GUESTS.
    #[arg(long, value_name = "FILE")]
    pub(crate) engine: Option<PathBuf>,
    /// Helm's engine, for bundles with charts: the file helm-engine.wasm, or its folder. Without it the one
    /// beside the program, or in $KYBERN_GUESTS.
    #[arg(long, value_name = "PATH", env = "KYBERN_HELM_ENGINE")]
    pub(crate) helm_engine: Option<EngineFile>,
    /// Where its charts come from.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

const INSPECT_HELP: &str = "\
Examples:
  kybern plugin inspect hello.wasm
  kybern plugin inspect hello.wasm -o json | jq .manifest.queries
  kybern plugin inspect hello.wasm --registration > registration.yaml
  kybern rbac -f registration.yaml      # the rights that the host needs for it

Exit codes: 0 it is a plugin for this host, 1 it is none (why is printed), 2 the command line or
the file cannot be used.";

/// `kybern plugin inspect`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = INSPECT_HELP)]
pub(crate) struct InspectArgs {
    /// The component, or a bundle: a folder of files, or a .tgz.
    #[arg(value_name = "FILE")]
    pub(crate) wasm: PathBuf,
    #[command(flatten)]
    pub(crate) interpreter: InterpreterArgs,
    /// Prints instead a registration (a Plugin object) that grants what the manifest asks for, no
    /// more, and pins the digest.
    #[arg(long)]
    pub(crate) registration: bool,
    /// How to print it.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Yaml)]
    pub(crate) output: Format,
}

const LINT_HELP: &str = "\
Each finding has a severity, a code that stays the same, a place and a cure.

Examples:
  kybern plugin lint hello.wasm
  kybern plugin lint hello.wasm --cases cases
  kybern plugin lint hello.wasm -o json | jq '.[] | select(.severity == \"error\")'

Exit codes: 0 no errors (there may be warnings), 1 errors, 2 the command line or a file that it
names cannot be used.";

/// `kybern plugin lint`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = LINT_HELP)]
pub(crate) struct LintArgs {
    /// The component, or a bundle: a folder of files, or a .tgz.
    #[arg(value_name = "FILE")]
    pub(crate) wasm: PathBuf,
    #[command(flatten)]
    pub(crate) interpreter: InterpreterArgs,
    /// A folder of cases (see `kybern plugin test --help`); their situations are probed too.
    #[arg(long, value_name = "DIR")]
    pub(crate) cases: Option<PathBuf>,
    /// How to print what was found.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Report::Text)]
    pub(crate) output: Report,
}

const RENDER_HELP: &str = "\
A situation is YAML or JSON:

  object:                   # the custom resource; what an API server fills in may be left out
    apiVersion: example.com/v1
    kind: Hello
    metadata: { name: web }
    spec: { size: 2 }
  rows:                     # answers by query; a query that is not named has no rows
    pods:
      - { name: web-0, node: a }
  settings: {}              # of the registration
  state: null               # what the plugin kept
  outcomes: []              # of effects
  now: 2026-01-01T00:00:00Z

Fields of the plan that have their default are not printed.

Exit codes: 0 there is a plan, 1 there is none, or one that a host refuses (why is printed), 2 the
command line or a file that it names cannot be used.";

/// `kybern plugin render`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = RENDER_HELP)]
pub(crate) struct RenderArgs {
    /// The component, or a bundle: a folder of files, or a .tgz.
    #[arg(value_name = "FILE")]
    pub(crate) wasm: PathBuf,
    #[command(flatten)]
    pub(crate) interpreter: InterpreterArgs,
    /// What `decide` sees; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) situation: PathBuf,
    /// How to print the plan.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Yaml)]
    pub(crate) output: Format,
}

const TEST_HELP: &str = "\
A case is a folder:

  cases/NAME/situation.yaml    what decide sees (see `kybern plugin render --help`)
  cases/NAME/plan.yaml         the plan that is to come of it, or
  cases/NAME/error.yaml        the hook's error: kind (invalid, wait, retry, internal) and message

Plans are compared as a host reads them: order of fields and defaults do not matter. A crash, or a
plan that the manifest does not ask for, is never right.

Exit codes: 0 all passed, 1 some failed, 2 the command line or a file that it names cannot be used.";

/// `kybern plugin test`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = TEST_HELP)]
pub(crate) struct TestArgs {
    /// The component, or a bundle: a folder of files, or a .tgz.
    #[arg(value_name = "FILE")]
    pub(crate) wasm: PathBuf,
    #[command(flatten)]
    pub(crate) interpreter: InterpreterArgs,
    /// The folder of cases; without it `cases`, if there is one.
    #[arg(long, value_name = "DIR")]
    pub(crate) cases: Option<PathBuf>,
    /// Writes plan.yaml or error.yaml of each case that did not come out as expected.
    #[arg(long)]
    pub(crate) update: bool,
}

const RECORD_HELP: &str = "\
Makes one pass over the custom resource as the cluster is now, without writing anything to the
cluster, and writes the case: situation.yaml, and plan.yaml or error.yaml. What the plugin sees is
in it as it is, values of Secrets that it may read included: the files can be read by their owner
only. Look at them before you share them.

Examples:
  kybern plugin record hello shop/web --case cases/web-in-production
  kybern plugin record hello shop/web --case cases/web --wasm hello.wasm   # as another build decides
  kybern plugin replay hello.wasm cases/web

Exit codes: 0 it is recorded, 1 the plugin crashed or was not asked (why is printed), 2 the command
line cannot be used, or the cluster, the registration or the component cannot be had.";

/// `kybern plugin record`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = RECORD_HELP)]
pub(crate) struct RecordArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How registries are talked to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// The registration's name.
    pub(crate) plugin: String,
    /// The custom resource: NAMESPACE/NAME, or NAME if it is cluster-scoped.
    pub(crate) object: String,
    /// The case's folder, which is made; its name is the case's.
    #[arg(long, value_name = "DIR")]
    pub(crate) case: PathBuf,
    /// Decides with this component instead of the registration's, for example because that is a file
    /// of the host's.
    #[arg(long, value_name = "FILE")]
    pub(crate) wasm: Option<PathBuf>,
}

const REPLAY_HELP: &str = "\
A case is what `kybern plugin record` wrote, or what you wrote (see `kybern plugin test --help`).
Unlike `kybern plugin test` it looks at these cases and at nothing else.

Exit codes: 0 each came out as recorded, 1 some did not (the difference is printed), 2 the command
line or a file that it names cannot be used.";

/// `kybern plugin replay`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = REPLAY_HELP)]
pub(crate) struct ReplayArgs {
    /// The component.
    #[arg(value_name = "FILE")]
    pub(crate) wasm: PathBuf,
    /// The cases' folders.
    #[arg(value_name = "CASE", required = true)]
    pub(crate) cases: Vec<PathBuf>,
}

/// `kybern plugin bench`.
#[derive(Debug, ClapArgs)]
#[command(after_long_help = PLUGIN_HELP)]
pub(crate) struct BenchArgs {
    /// The component.
    #[arg(value_name = "FILE")]
    pub(crate) wasm: PathBuf,
    /// What `decide` sees (see `kybern plugin render --help`); `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) situation: PathBuf,
    /// Calls that are measured.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) calls: u32,
    /// How to print the figures.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Report::Text)]
    pub(crate) output: Report,
}

/// Who asks a registry.
#[derive(Debug, ClapArgs)]
pub(crate) struct CredentialArgs {
    /// How registries are talked to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// User; without it what `$DOCKER_CONFIG/config.json` or `~/.docker/config.json` says.
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub(crate) username: Option<String>,
    /// Reads the password from standard input.
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
}

/// `kybern plugin push`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PushArgs {
    /// The component.
    pub(crate) file: PathBuf,
    /// Where it goes: REGISTRY/REPOSITORY:TAG.
    pub(crate) reference: String,
    /// Who asks.
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

/// `kybern plugin pull`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PullArgs {
    /// Where it is: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:...
    pub(crate) reference: String,
    /// File that it is written to.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Who asks.
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}
