//! The command line of `kybern plugin`: what a plugin's author does, without a cluster.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Exit codes of all commands of `kybern plugin`.
pub(crate) const PLUGIN_HELP: &str = "\
Exit codes: 0 all is well, 1 the plugin is not right (what is wrong is printed), 2 the command
line or a file that it names cannot be used.";

/// `kybern plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Prints what a component is and asks for: digest, hooks, imports, grants, CRDs, manifest.
    Inspect(InspectArgs),
}

/// How to print a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
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
    /// The component.
    #[arg(value_name = "FILE")]
    pub(crate) wasm: PathBuf,
    /// Prints instead a registration (a Plugin object) that grants what the manifest asks for, no
    /// more, and pins the digest.
    #[arg(long)]
    pub(crate) registration: bool,
    /// How to print it.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Yaml)]
    pub(crate) output: Format,
}
