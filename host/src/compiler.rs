//! Who compiles plugins: this program, in a process of its own that the kernel ends at its limits.

use crate::args::CompileArgs;
use crate::memory::{Meter, reserve};
use kybern_plugin::{Child, CompileLimits, Compiler, Room, RuntimeConfig};
use std::process::ExitCode;
use std::sync::Arc;

/// The command of a process that compiles; nobody else has a use for it.
pub(crate) const COMMAND: &str = "compile-for-host";

/// That process: before anything else of the host is there.
pub(crate) fn serve() -> ExitCode {
    kybern_plugin::serve()
}

/// A runtime for a command that a person runs, with the limits that a host has.
pub(crate) fn config() -> std::io::Result<RuntimeConfig> {
    Ok(RuntimeConfig {
        compiler: compiler(CompileLimits::default(), None)?,
        ..RuntimeConfig::default()
    })
}

/// What the flags of a host say, in what is left of its memory.
pub(crate) fn of_host(args: &CompileArgs, meter: Meter) -> std::io::Result<RuntimeConfig> {
    let limits = CompileLimits {
        time: args.compile_time,
        wall_time: args.compile_time.saturating_mul(10),
        memory: args.compile_memory,
        ..CompileLimits::default()
    };
    Ok(RuntimeConfig {
        compiler: compiler(limits, Some(Arc::new(meter)))?,
        compiles: usize::from(args.compiles),
        ..RuntimeConfig::default()
    })
}

fn compiler(limits: CompileLimits, room: Option<Arc<dyn Room>>) -> std::io::Result<Compiler> {
    // The program is the tests' own then, which takes any argument for the name of a test.
    if cfg!(test) {
        return Ok(Compiler::InProcess);
    }
    let child = Child::of_this_program(vec![COMMAND.into()], limits)?;
    Ok(Compiler::Child(Child { room, ..child }))
}

impl Room for Meter {
    /// What the guard's reserve leaves of the container's limit: `--memory-limit` is about this process alone.
    fn left(&self) -> Option<u64> {
        let reading = self.container()?;
        let limit = reading.limit?;
        let kept = reading.used.saturating_add(reserve(limit));
        Some(limit.saturating_sub(kept))
    }
}

#[cfg(test)]
mod tests {
    use crate::args::Args;
    use clap::Parser;

    #[test]
    fn limits_have_limits() {
        let run = |flag: &str| Args::try_parse_from(["kybern", "run", flag]);
        for good in [
            "--compile-time=1s",
            "--compile-time=1h",
            "--compile-memory=64Mi",
            "--compile-memory=16Gi",
            "--compiles=16",
        ] {
            assert!(run(good).is_ok(), "{good}");
        }
        for (bad, told) in [
            ("--compile-time=999ms", "must be from 1s to 1h"),
            ("--compile-time=3601s", "must be from 1s to 1h"),
            ("--compile-memory=63Mi", "must be from 64Mi to 16Gi"),
            ("--compile-memory=17Gi", "must be from 64Mi to 16Gi"),
            ("--compiles=0", "is not in 1..=16"),
        ] {
            let error = run(bad).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
