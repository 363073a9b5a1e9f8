//! Who makes machine code of a component, and how much that may cost.
//!
//! *Why.* A compiler takes more than linear time for one large function: some hundred kilobytes can keep
//! it busy for hours, and nothing in it can be interrupted. So it runs in a process of its own, which
//! the kernel ends at its limits, and which takes neither the host nor the other loads with it.
//!
//! *Contract.* The child is the same program ([`serve`]), started with nothing but three pipes. It gets
//! the component and the engine's settings, and gives the code, which goes the way that all code
//! goes: through the cache, or a file without a name ([`crate::cache`]). What it is given is never
//! executed by it. It ends with its parent, also where that one is killed.
//!
//! *Limits.* [`CompileLimits`]; how many run at once, and what is not tried again, is in [`turns`].

mod child;
mod serve;
pub(crate) mod turns;
mod wire;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use child::{Children, compile};
pub use serve::serve;

const MIB: u64 = 1024 * 1024;

/// Who makes machine code of a component.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// This process: for components that are trusted. Nothing ends a compilation that takes too long.
    #[default]
    InProcess,
    /// A process of its own for each component, which ends at its limits.
    Child(Child),
}

/// What is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Subject {
    /// A component.
    Component,
    /// A core module.
    Module,
}

/// How the process is started that compiles one component, and what it may use.
#[derive(Debug, Clone)]
pub struct Child {
    /// A program that calls [`serve`] when it is started with these arguments.
    pub program: PathBuf,
    /// The arguments.
    pub arguments: Vec<OsString>,
    /// What it may use.
    pub limits: CompileLimits,
    /// Who knows how much memory is left on the whole; none = the limit alone counts.
    pub room: Option<Arc<dyn Room>>,
}

impl Child {
    /// This very program with these arguments: on Linux also after its file was replaced.
    ///
    /// # Errors
    /// The system does not say where the program is.
    pub fn of_this_program(
        arguments: Vec<OsString>,
        limits: CompileLimits,
    ) -> std::io::Result<Self> {
        let program = if cfg!(target_os = "linux") {
            // What the child is before it becomes the program: a copy of this process.
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe()?
        };
        Ok(Self {
            program,
            arguments,
            limits,
            room: None,
        })
    }
}

/// Knows how much memory is left for what this process starts.
pub trait Room: fmt::Debug + Send + Sync {
    /// Bytes that are left; none = nothing limits them.
    fn left(&self) -> Option<u64>;
}

/// What compiling one component may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time of all its threads together, in whole seconds. Default 2 min.
    pub time: Duration,
    /// Time on the clock, for a child that gets no processor. Default 20 min.
    pub wall_time: Duration,
    /// Bytes of memory that it takes for itself, program and files apart. Default 1 GiB.
    pub memory: u64,
    /// Bytes of machine code. Default 256 MiB.
    pub code: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(120),
            wall_time: Duration::from_secs(1200),
            memory: 1024 * MIB,
            code: 256 * MIB,
        }
    }
}

/// A limit that compiling the component met; the same bytes would meet it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// [`CompileLimits::time`].
    Time(Duration),
    /// [`CompileLimits::memory`].
    Memory(u64),
    /// [`CompileLimits::code`].
    Code(u64),
}

impl Exceeded {
    /// The flag of the host that raises it.
    fn flag(self) -> &'static str {
        match self {
            Self::Time(_) => "raise --compile-time",
            Self::Memory(_) => "raise --compile-memory (and the container's memory)",
            Self::Code(_) => "make the component smaller",
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(limit) => {
                write!(f, "took more than {} s of processor time", limit.as_secs())
            }
            Self::Memory(limit) => write!(f, "took more than {} of memory", mebibytes(*limit)),
            Self::Code(limit) => write!(f, "gave more than {} of machine code", mebibytes(*limit)),
        }
    }
}

/// Why a component met a limit, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooDear {
    /// The limit.
    pub exceeded: Exceeded,
    /// Bytes of the component.
    pub bytes: usize,
    /// Bytes of its largest function.
    pub largest: usize,
}

impl fmt::Display for TooDear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            exceeded,
            bytes,
            largest,
        } = self;
        write!(
            f,
            "compiling the component {exceeded}: it has {bytes} bytes, {largest} of them in one function, and a \
             large function takes more than its share; split the largest function, or {}. The same bytes \
             are not tried again before the host restarts",
            exceeded.flag()
        )
    }
}

/// Why there is no code.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// The compiler refuses the component.
    Refused(String),
    /// It met a limit.
    Exceeded(Exceeded),
    /// It ended for another reason, which may pass.
    Stopped(String),
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}
