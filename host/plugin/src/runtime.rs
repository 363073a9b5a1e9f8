//! The runtime: one engine, its instances and its cache of compiled code.

use crate::cache::{Cache, Key};
use crate::compile::Children;
use crate::compile::Compiler;
use crate::compile::turns::Turns;
use crate::engine::{Allocation, engine};
use crate::gate::Gate;
use crate::load::LoadError;
use crate::plugin::{self, Loaded, Plugin};
use crate::render::{self, Render};
use crate::shape::Shape;
use crate::state::CallState;
use crate::ticker::Ticker;
use crate::world;
use crate::{bundle, http, log, rows, wasi};
use kybern_bundle::has_charts;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// Largest component in bytes, wherever it comes from: an interpreter with a program has about 20 MiB.
pub const MAX_COMPONENT_BYTES: usize = 64 * 1024 * 1024;

/// How a [`Runtime`] is set up.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Calls of pure hooks that run at the same time; more wait. Default 32.
    pub instances: u32,
    /// Calls of act hooks that run at the same time, beside those; more wait. Default 32.
    pub effects: u32,
    /// Largest linear memory that any call may be given, in bytes. Default 1 GiB.
    pub max_memory: usize,
    /// Stack of a guest in bytes; the calling thread needs twice that. Default 512 KiB.
    pub max_stack: usize,
    /// How often a running guest's time is checked. Default 5 ms.
    pub tick: Duration,
    /// Largest component in bytes. Default [`MAX_COMPONENT_BYTES`].
    pub max_component: usize,
    /// Where compiled code is kept; made with mode 0700 if absent. None = compiled at every start.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes kept there; the least recently used go first. Default 512 MiB.
    pub cache_bytes: u64,
    /// Who compiles. Default: this process.
    pub compiler: Compiler,
    /// Components that are compiled at the same time; more wait. Default 2.
    pub compiles: usize,
    /// Renders charts for who asks for the capability `render`. Default: nobody.
    pub render: Option<Arc<dyn Render>>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            instances: 32,
            effects: 32,
            max_memory: 1024 * 1024 * 1024,
            max_stack: 512 * 1024,
            tick: Duration::from_millis(5),
            max_component: MAX_COMPONENT_BYTES,
            cache_dir: None,
            cache_bytes: 512 * 1024 * 1024,
            compiler: Compiler::default(),
            compiles: 2,
            render: None,
        }
    }
}

/// Why a [`Runtime`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refuses its configuration.
    #[error("the WebAssembly engine cannot be set up: {reason}")]
    Engine {
        /// The engine's message.
        reason: String,
    },
    /// The thread that checks the guests' time cannot be started.
    #[error("the thread that limits the guests' time cannot be started")]
    Ticker(#[source] std::io::Error),
    /// The cache directory cannot be used, or others than this process's user can write to it.
    #[error("the cache of compiled plugins in {path} cannot be used: {reason}")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and the cure.
        reason: String,
    },
}

/// What came of components that were not there and had to be compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Processes that compile now.
    pub running: usize,
    /// Code was made.
    pub succeeded: u64,
    /// The compiler refused the component.
    pub refused: u64,
    /// It met a limit.
    pub too_dear: u64,
    /// It ended for another reason.
    pub stopped: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) succeeded: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) too_dear: AtomicU64,
    pub(crate) stopped: AtomicU64,
}

/// The runtime. Cheap to clone; plugins keep it alive.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

/// What plugins share.
pub(crate) struct Inner {
    pub(crate) engine: Engine,
    /// For pure hooks, and for act calls without a way out.
    pub(crate) linker: Linker<CallState>,
    /// For act calls that may send requests.
    pub(crate) outgoing: Linker<CallState>,
    pub(crate) gate: Gate,
    /// An act call waits for the world outside: no pure call waits for that.
    pub(crate) effects: Gate,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Option<Cache>,
    pub(crate) turns: Turns,
    pub(crate) children: Children,
    pub(crate) counts: Counts,
    /// Components that somebody has, by digest: registrations of one component share its code.
    pub(crate) live: Mutex<HashMap<String, Weak<Loaded>>>,
    pub(crate) config: RuntimeConfig,
    /// Bytes of linear memory of all calls that run.
    pub(crate) memory: Arc<AtomicUsize>,
    pub(crate) allocation: Allocation,
}

impl Runtime {
    /// Sets up the engine, its instances and its cache.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let (engine, allocation) = engine(&config)?;
        let linker = |http: fn(&mut Linker<CallState>) -> wasmtime::Result<()>| {
            let mut linker = Linker::new(&engine);
            rows::add_to_linker(&mut linker)
                .and_then(|()| log::add_to_linker(&mut linker))
                .and_then(|()| bundle::add_to_linker(&mut linker))
                .and_then(|()| render::add_to_linker(&mut linker))
                .and_then(|()| wasi::add_to_linker(&mut linker))
                .and_then(|()| http(&mut linker))
                .map(|()| linker)
                .map_err(|error| RuntimeError::Engine {
                    reason: format!("{error:#}"),
                })
        };
        let (pure, outgoing) = (linker(http::deny_in_linker)?, linker(http::add_to_linker)?);
        let cache = match &config.cache_dir {
            Some(path) => Some(Cache::open(path, config.cache_bytes)?),
            None => None,
        };
        let inner = Inner {
            ticker: Ticker::start(&engine, config.tick).map_err(RuntimeError::Ticker)?,
            gate: Gate::new(config.instances),
            effects: Gate::new(config.effects),
            turns: Turns::new(config.compiles),
            children: Children::default(),
            counts: Counts::default(),
            live: Mutex::default(),
            engine,
            linker: pure,
            outgoing,
            cache,
            config,
            memory: Arc::default(),
            allocation,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Checks and compiles a component, makes a trial instance, and gives the plugin.
    ///
    /// Takes milliseconds for a small plugin and seconds for an interpreter,
    /// unless its code is in the cache. Blocks.
    pub fn load(&self, wasm: &[u8]) -> Result<Plugin, LoadError> {
        plugin::load(&self.inner, wasm)
    }

    /// Whether a load of this component ends soon: it is there, its code is kept, or it is known to be
    /// too dear. Another bundle in the same component is as near as that one.
    pub fn is_near(&self, wasm: &[u8]) -> bool {
        let inner = &self.inner;
        // What is no component is refused soon.
        let Ok(code) = plugin::Source::read(wasm) else {
            return true;
        };
        let kept = |cache: &Cache| cache.has(&Key::new(&code.digest, &inner.engine));
        plugin::living(inner, &code.digest).is_some()
            || inner.turns.too_dear(&code.digest).is_some()
            || inner.cache.as_ref().is_some_and(kept)
    }

    /// Whether what this component asks for is there: who renders may still be on its way.
    ///
    /// # Errors
    /// What is on its way.
    pub fn ready_for(&self, wasm: &[u8]) -> Result<(), String> {
        let Some(render) = &self.inner.config.render else {
            return Ok(());
        };
        // What is no component is refused by the load.
        let Ok(shape) = Shape::read(wasm) else {
            return Ok(());
        };
        let renders = |name: &&str| world::offer(name) == world::Offer::Render;
        let charts = || matches!(shape.bundle(), Ok(Some(bundle)) if has_charts(&bundle));
        match shape.imports.iter().any(renders) && charts() {
            true => render.ready(),
            false => Ok(()),
        }
    }

    /// Ends the processes that compile, because their memory is needed: their loads fail, and may be
    /// tried again. Waits until they are gone, at most `wait`; how many there were.
    pub fn stop_compiling(&self, wait: Duration) -> usize {
        self.inner.children.give_up(wait)
    }

    /// What was compiled.
    pub fn compiled(&self) -> Compiled {
        let Counts {
            succeeded,
            refused,
            too_dear,
            stopped,
        } = &self.inner.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Compiled {
            running: self.inner.children.running(),
            succeeded: of(succeeded),
            refused: of(refused),
            too_dear: of(too_dear),
            stopped: of(stopped),
        }
    }

    /// Bytes of linear memory of all calls that run.
    pub fn memory_bytes(&self) -> usize {
        self.inner.memory.load(Ordering::Relaxed)
    }

    /// Where instances live.
    pub fn allocation(&self) -> Allocation {
        self.inner.allocation
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("config", &self.inner.config)
            .field("allocation", &self.inner.allocation)
            .finish_non_exhaustive()
    }
}
