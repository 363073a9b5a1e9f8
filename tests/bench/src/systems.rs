//! Who is measured, and the program that is it.

use crate::args::Options;
use anyhow::{Context, Result};
use clap::ValueEnum;
use kybern_testcluster::{Component, go_is_there, helm_engine_native};
use std::path::PathBuf;

/// Kybern or a peer, by its name in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum System {
    /// This workspace's store, with its watch.
    Kybern,
    /// kube-rs' reflector of k8s-openapi's `Pod`.
    KubeRsTyped,
    /// kube-rs' reflector of `DynamicObject`.
    KubeRsDynamic,
    /// client-go's shared informer of `*v1.Pod`.
    GoInformerTyped,
    /// client-go's dynamic shared informer.
    GoInformerUnstructured,
    /// An operator on controller-runtime.
    ControllerRuntime,
    /// An operator on kube-rs.
    KubeRs,
    /// DataFusion's `MemTable`, over columns.
    DatafusionMemtable,
    /// DuckDB from Python.
    Duckdb,
    /// SQLite from Python.
    Sqlite,
    /// polars from Python.
    Polars,
    /// A plugin's code, or Helm's engine, without a sandbox.
    Native,
    /// Helm's engine as a native program.
    HelmEngine,
    /// `helm template`.
    HelmTemplate,
}

impl System {
    /// The name in the results.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The program, where there is one.
    fn program(self, options: &Options) -> Result<Option<PathBuf>> {
        Ok(match self {
            System::Kybern | System::DatafusionMemtable | System::Native => {
                Some(std::env::current_exe().context("find this program")?)
            }
            System::HelmEngine if go_is_there() => Some(helm_engine_native()?),
            System::HelmTemplate if go_is_there() => Some(Component::Helm.find()?),
            System::HelmEngine | System::HelmTemplate => None,
            System::KubeRsTyped | System::KubeRsDynamic | System::KubeRs => options.kube_rs.clone(),
            System::ControllerRuntime => options.controller_runtime.clone(),
            System::GoInformerTyped | System::GoInformerUnstructured => options.go_informer.clone(),
            System::Duckdb | System::Sqlite | System::Polars => options.python.clone(),
        })
    }
}

/// A system that can run, and what to start for it.
#[derive(Clone, Debug)]
pub(crate) struct Runnable {
    pub(crate) system: System,
    pub(crate) program: PathBuf,
}

/// Those of `all` that were asked for and whose program is there.
pub(crate) fn runnable(all: &[System], options: &Options) -> Result<Vec<Runnable>> {
    let mut found = Vec::new();
    for &system in all {
        if !options.systems.is_empty() && !options.systems.contains(&system) {
            continue;
        }
        match system.program(options)? {
            Some(program) => found.push(Runnable { system, program }),
            None => eprintln!("{}: left out, its program was not given", system.name()),
        }
    }
    Ok(found)
}
