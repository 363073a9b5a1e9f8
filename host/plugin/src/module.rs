//! Core modules of the host's own, such as its engine for charts: compiled, kept and called like plugins.
//!
//! # Contract
//! - [`Modules::load`] compiles as [`Runtime::load`](crate::Runtime::load) does: in a child within its
//!   limits, if there is one, and into a cache with the same rules, in a directory of its own.
//! - [`Modules::run`] gives a call a fresh store and a thread with a stack that is large enough, and
//!   ends it at its [`ModuleLimits`]. What is linked is the caller's affair: nothing is, unless it does.

use crate::cache::{Cache, Key, StoredCode};
use crate::compile::{self, Children, CompileError, Compiler, Subject, TooDear};
use crate::compiled;
use crate::engine::{self, Allocation};
use crate::limiter::{Limiter, OutOfMemory};
use crate::limits::CallLimits;
use crate::load::LoadError;
use crate::meter::{Deadline, OutOfTime};
use crate::plugin::Code;
use crate::runtime::RuntimeError;
use crate::shape::largest_function;
use crate::ticker::Ticker;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wasmtime::{Engine, Module, Store, Trap, UpdateDeadline};

/// Beside the module's stack: what host functions need.
const HOST_STACK: usize = 1024 * 1024;

/// How [`Modules`] are set up.
#[derive(Debug, Clone)]
pub struct ModulesConfig {
    /// Stack of a module in bytes. Default 2 MiB.
    pub max_stack: usize,
    /// How often a running call's time is checked. Default 5 ms.
    pub tick: Duration,
    /// Where compiled code is kept; made with mode 0700 if absent. None = compiled at every start.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes kept there; the least recently used go first. Default 256 MiB.
    pub cache_bytes: u64,
    /// Who compiles. Default: this process.
    pub compiler: Compiler,
}

impl Default for ModulesConfig {
    fn default() -> Self {
        Self {
            max_stack: 2 * 1024 * 1024,
            tick: Duration::from_millis(5),
            cache_dir: None,
            cache_bytes: 256 * 1024 * 1024,
            compiler: Compiler::default(),
        }
    }
}

/// What one call of a module may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleLimits {
    /// Bytes of linear memory.
    pub memory: usize,
    /// CPU time of the call's thread.
    pub time: Duration,
    /// Time on the clock, for a call whose thread gets no CPU.
    pub wall_time: Duration,
}

/// Why a call of a module gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It ran too long.
    #[error("it ran longer than its limit of {} ms", .limit.as_millis())]
    OutOfTime {
        /// The limit that was reached: CPU time or clock time.
        limit: Duration,
    },
    /// It wanted more memory than it may have.
    #[error("it needs more memory than its limit of {limit} bytes")]
    OutOfMemory {
        /// Bytes that it may have.
        limit: usize,
    },
    /// It needs more stack than it may have.
    #[error("it needs more stack than its limit of {limit} bytes")]
    OutOfStack {
        /// Bytes that it may have.
        limit: usize,
    },
    /// It trapped, or a host function ended it.
    #[error("it ended: {0:#}")]
    Ended(wasmtime::Error),
    /// The host could not make the call. A retry can help.
    #[error("the host could not call it")]
    Thread(#[source] std::io::Error),
}

/// What a call's store holds: the caller's state, and what watches over it.
#[derive(Debug)]
pub struct Held<T> {
    /// The caller's.
    pub state: T,
    limiter: Limiter,
    deadline: Deadline,
}

/// An engine for core modules. Share it.
#[derive(Debug)]
pub struct Modules {
    engine: Engine,
    ticker: Ticker,
    cache: Option<Cache>,
    children: Children,
    config: ModulesConfig,
    memory: Arc<AtomicUsize>,
}

impl Modules {
    /// Sets up the engine and its cache.
    ///
    /// # Errors
    /// The engine, its thread or the cache cannot be made; the message says which and why.
    pub fn new(config: ModulesConfig) -> Result<Self, RuntimeError> {
        // Few calls run at once, and each maps its own memory: a pool would only reserve.
        let engine = engine::for_compiling(false, config.max_stack).map_err(|error| {
            RuntimeError::Engine {
                reason: format!("{error:#}"),
            }
        })?;
        let cache = match &config.cache_dir {
            Some(path) => Some(Cache::open(path, config.cache_bytes)?),
            None => None,
        };
        Ok(Self {
            ticker: Ticker::start(&engine, config.tick).map_err(RuntimeError::Ticker)?,
            engine,
            cache,
            children: Children::default(),
            config,
            memory: Arc::default(),
        })
    }

    /// The engine: linkers belong to one.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Compiles a module, or takes its code from the cache. Blocks, for seconds if it is large.
    ///
    /// # Errors
    /// See [`LoadError`]: only [`LoadError::NotCompiled`] may be helped by a retry.
    pub fn load(&self, wasm: &[u8]) -> Result<(Module, Code), LoadError> {
        let digest = format!("{:x}", Sha256::digest(wasm));
        let key = Key::new(&digest, &self.engine);
        if let Some(module) = self.stored(&key) {
            return Ok((module, Code::Cached));
        }
        let code = self.code(wasm).map_err(|error| match error {
            CompileError::Refused(reason) => LoadError::Compile { reason },
            CompileError::Stopped(reason) => LoadError::NotCompiled { reason },
            CompileError::Exceeded(exceeded) => LoadError::TooDear(TooDear {
                exceeded,
                bytes: wasm.len(),
                largest: largest_function(wasm),
            }),
        })?;
        if let Some(cache) = &self.cache {
            if let Err(error) = cache.put(&key, &code) {
                let error = error.to_string();
                tracing::warn!(error, "a compiled module could not be kept");
            } else if let Some(module) = self.stored(&key) {
                return Ok((module, Code::Compiled));
            }
        }
        StoredCode::unnamed(&code)
            .map_err(wasmtime::Error::from)
            .and_then(|stored| compiled::load_module(&self.engine, &stored))
            .map(|module| (module, Code::Compiled))
            .map_err(|error| LoadError::Compile {
                reason: format!("{error:#}"),
            })
    }

    fn stored(&self, key: &Key) -> Option<Module> {
        let cache = self.cache.as_ref()?;
        let code = cache.get(key)?;
        compiled::load_module(&self.engine, &code)
            .inspect_err(|error| {
                let error = format!("{error:#}");
                tracing::warn!(error, "compiling a module again");
                cache.forget(key);
            })
            .ok()
    }

    fn code(&self, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
        match &self.config.compiler {
            Compiler::InProcess => self
                .engine
                .precompile_module(wasm)
                .map_err(|error| CompileError::Refused(format!("{error:#}"))),
            Compiler::Child(child) => compile::compile(
                &self.children,
                child,
                Subject::Module,
                // What decides about code: memories of the usual size.
                Allocation::Pooling,
                self.config.max_stack,
                wasm,
            ),
        }
    }

    /// Ends the process that compiles, because its memory is needed, and waits until it is gone, at
    /// most `wait`; how many there were.
    pub fn stop_compiling(&self, wait: Duration) -> usize {
        self.children.give_up(wait)
    }

    /// Bytes of linear memory of all calls that run.
    pub fn memory_bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Runs `call` with a store of its own, on a thread of its own, within these limits. Blocks.
    ///
    /// # Errors
    /// What ended it.
    pub fn run<T: Send + 'static, R: Send>(
        &self,
        state: T,
        limits: ModuleLimits,
        call: impl FnOnce(&mut Store<Held<T>>) -> wasmtime::Result<R> + Send,
    ) -> Result<R, ModuleError> {
        let stack = self.config.max_stack.saturating_mul(2);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("module".to_owned())
                .stack_size(stack.saturating_add(HOST_STACK))
                .spawn_scoped(scope, || self.on_this_thread(state, limits, call))
                .map_err(ModuleError::Thread)?;
            match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn on_this_thread<T: 'static, R>(
        &self,
        state: T,
        limits: ModuleLimits,
        call: impl FnOnce(&mut Store<Held<T>>) -> wasmtime::Result<R>,
    ) -> Result<R, ModuleError> {
        let _ticking = self.ticker.begin();
        let most = CallLimits {
            memory: limits.memory,
            ..CallLimits::default()
        };
        let held = Held {
            state,
            limiter: Limiter::new(&most, Arc::clone(&self.memory)),
            deadline: Deadline::start(limits.time, limits.wall_time),
        };
        let mut store = Store::new(&self.engine, held);
        store.limiter(|held| &mut held.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            store.data().deadline.check()?;
            Ok(UpdateDeadline::Continue(1))
        });
        call(&mut store).map_err(|error| self.ended(error))
    }

    fn ended(&self, error: wasmtime::Error) -> ModuleError {
        if let Some(OutOfTime { limit }) = error.downcast_ref() {
            return ModuleError::OutOfTime { limit: *limit };
        }
        if let Some(OutOfMemory { limit }) = error.downcast_ref() {
            return ModuleError::OutOfMemory { limit: *limit };
        }
        if let Some(Trap::StackOverflow) = error.downcast_ref() {
            let limit = self.config.max_stack;
            return ModuleError::OutOfStack { limit };
        }
        ModuleError::Ended(error)
    }
}
