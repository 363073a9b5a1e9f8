//! The engine: prepared once, then one fresh instance for each render.
//!
//! # States
//! cold -> compiling -> ready, or unusable; a compilation that was stopped for a reason outside of it
//! leaves it cold.

use crate::cache::{Cache, Key};
use crate::error::{PrepareError, RenderError};
use crate::gate::Gate;
use crate::limits::Limits;
use crate::wasi::{self, HasWasi, Wasi};
use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use flate2::read::GzDecoder;
use kybern_plugin::{
    Held, LoadError, ModuleError, ModuleLimits, Modules, ModulesConfig, RuntimeError,
};
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{InstancePre, Linker, Module, Store, bail};

/// How an [`Engine`] is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who compiles it and where its code is kept.
    pub modules: ModulesConfig,
    /// What renders may use.
    pub limits: Limits,
    /// What passwords and keys that charts make follow from, beside the names of the release and the chart
    /// and the time. Keep it: with another one charts that make such without a look at what is there make others.
    pub secret: [u8; 32],
}

impl Config {
    /// The usual limits.
    pub fn new(modules: ModulesConfig, secret: [u8; 32]) -> Self {
        Self {
            modules,
            limits: Limits::default(),
            secret,
        }
    }
}

/// Where an [`Engine`] stands.
#[derive(Debug, Clone)]
pub enum Status {
    /// Nobody has prepared it.
    Cold,
    /// It is being compiled, or its code is looked for.
    Compiling,
    /// It renders.
    Ready,
    /// It will not.
    Unusable(PrepareError),
}

/// Helm's engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    modules: Modules,
    limits: Limits,
    secret: [u8; 32],
    state: Mutex<State>,
    /// Held by whoever prepares: others wait for it.
    preparing: Mutex<()>,
    cache: Mutex<Cache>,
    gate: Gate,
}

enum State {
    /// With the module's bytes.
    Cold(Arc<[u8]>),
    /// The same.
    Compiling(Arc<[u8]>),
    Ready(InstancePre<Held<Call>>),
    Unusable(PrepareError),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.status().fmt(f)
    }
}

impl State {
    fn status(&self) -> Status {
        match self {
            Self::Cold(_) => Status::Cold,
            Self::Compiling(_) => Status::Compiling,
            Self::Ready(_) => Status::Ready,
            Self::Unusable(error) => Status::Unusable(error.clone()),
        }
    }
}

impl Engine {
    /// For a module, whose bytes are looked at by [`Engine::prepare`].
    ///
    /// # Errors
    /// WebAssembly or the cache cannot be set up; the message says which and why.
    pub fn new(module: Vec<u8>, config: Config) -> Result<Self, RuntimeError> {
        let Config {
            modules,
            limits,
            secret,
        } = config;
        Ok(Self {
            inner: Arc::new(Inner {
                modules: Modules::new(modules)?,
                limits,
                secret,
                state: Mutex::new(State::Cold(module.into())),
                preparing: Mutex::new(()),
                cache: Mutex::new(Cache::new(limits.kept)),
                gate: Gate::new(limits.renders),
            }),
        })
    }

    /// Compiles it, or takes its code from the cache; who comes while another does it waits for that
    /// one. Blocks: for half a minute the first time.
    ///
    /// # Errors
    /// There is no engine; see the variants for whether a retry can help.
    pub fn prepare(&self) -> Result<(), PrepareError> {
        let inner = &self.inner;
        let _alone = inner.preparing.lock();
        let module = {
            let mut state = inner.state.lock();
            match &*state {
                State::Ready(_) => return Ok(()),
                State::Unusable(error) => return Err(error.clone()),
                // Who began it is gone: nobody else holds the lock.
                State::Cold(module) | State::Compiling(module) => {
                    let module = Arc::clone(module);
                    *state = State::Compiling(Arc::clone(&module));
                    module
                }
            }
        };
        let ready = ready(&inner.modules, &module);
        let (state, result) = match ready {
            Ok(ready) => (State::Ready(ready), Ok(())),
            Err(error) if may_pass(&error) => (State::Cold(module), Err(error)),
            Err(error) => (State::Unusable(error.clone()), Err(error)),
        };
        *inner.state.lock() = state;
        result
    }

    /// Prepares it on a thread of its own: what a host does when it starts, or when the first
    /// registration comes that renders charts. [`Engine::status`] says what came of it.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn prepare_in_background(&self) -> std::io::Result<()> {
        let engine = self.clone();
        std::thread::Builder::new()
            .name("helm-prepare".to_owned())
            .spawn(move || {
                if let Err(error) = engine.prepare() {
                    let reason = error.source().map(ToString::to_string);
                    tracing::error!(%error, reason, "no chart can be rendered");
                }
            })
            .map(|_| ())
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.inner.state.lock().status()
    }

    /// Renders a request at this time of day since 1970: what templates take for now, and what is in
    /// certificates. Give the same time for the same release, or its response is made anew and may be
    /// another. Blocks.
    ///
    /// # Errors
    /// There is no response. What is wrong with a chart or its values is no error but in the response.
    pub fn render(&self, request: &[u8], now: Duration) -> Result<Arc<[u8]>, RenderError> {
        let inner = &self.inner;
        let limits = &inner.limits;
        if request.len() > limits.request {
            return Err(RenderError::RequestTooLarge {
                bytes: request.len(),
                limit: limits.request,
            });
        }
        let ready = match &*inner.state.lock() {
            State::Ready(ready) => ready.clone(),
            State::Unusable(error) => return Err(error.clone().into()),
            State::Cold(_) | State::Compiling(_) => return Err(RenderError::NotReady),
        };
        let key = inner.key(request, now);
        if let Some(response) = inner.cache.lock().get(&key) {
            return Ok(response);
        }
        let place = inner.gate.enter(limits.wait);
        let _place = place.ok_or(RenderError::Busy {
            renders: limits.renders,
        })?;
        // Another one may have rendered it meanwhile.
        if let Some(response) = inner.cache.lock().get(&key) {
            return Ok(response);
        }
        let seed = seed(&inner.secret, request, now);
        let response: Arc<[u8]> = inner.call(&ready, request, seed, now)?.into();
        inner.cache.lock().put(key, Arc::clone(&response));
        Ok(response)
    }

    /// Bytes of responses that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.inner.cache.lock().bytes()
    }

    /// Lets go of kept responses until no more than this is left.
    pub fn shrink(&self, bytes: usize) {
        self.inner.cache.lock().shrink(bytes);
    }

    /// Bytes of linear memory of all renders that run.
    pub fn memory_bytes(&self) -> usize {
        self.inner.modules.memory_bytes()
    }

    /// Ends the process that compiles it, because its memory is needed: it is cold again.
    pub fn stop_compiling(&self, wait: Duration) -> usize {
        self.inner.modules.stop_compiling(wait)
    }
}

fn may_pass(error: &PrepareError) -> bool {
    let PrepareError::Compile(error) = error else {
        return false;
    };
    matches!(&**error, LoadError::NotCompiled { .. })
}

/// The state of one call.
#[derive(Debug)]
struct Call {
    wasi: Wasi,
}

impl HasWasi for Held<Call> {
    fn wasi(&mut self) -> &mut Wasi {
        &mut self.state.wasi
    }
}

fn ready(modules: &Modules, bytes: &[u8]) -> Result<InstancePre<Held<Call>>, PrepareError> {
    let (module, _) = modules
        .load(bytes)
        .map_err(|error| PrepareError::Compile(Arc::new(error)))?;
    let mut linker = Linker::new(modules.engine());
    wasi::link(&mut linker, &module)
        .and_then(|()| exports(&module))
        .and_then(|()| linker.instantiate_pre(&module))
        .map_err(|error| PrepareError::NotTheEngine {
            reason: format!("{error:#}"),
        })
}

/// Whether what is called is there, and what must have been called is not.
fn exports(module: &Module) -> wasmtime::Result<()> {
    for name in ["memory", "helm_alloc", "helm_render"] {
        if module.get_export(name).is_none() {
            bail!("it does not export {name}");
        }
    }
    if module.get_export("_initialize").is_some() {
        bail!("its start-up has not been run");
    }
    Ok(())
}

/// Bytes of a block of an archive.
const BLOCK: usize = 512;
const BLOCK_BYTES: u64 = 512;

/// How far the first file of an archive is looked for, in bytes.
const MOST_OF_HEADERS: u64 = 1 << 20;

/// Where the random numbers of a render begin: the same for all renders of one release of one chart, whatever
/// its values, revision or version are by then and whatever the cluster serves. A change of those changes a
/// password only if the chart then asks for more or fewer random numbers before it.
fn seed(secret: &Key, request: &[u8], now: Duration) -> Key {
    let known: Known<'_> = serde_json::from_slice(request).unwrap_or_default();
    let chart = known.chart.name();
    let names = [known.release.namespace, known.release.name];
    let names = names.iter().map(|name| name.as_deref().unwrap_or_default());
    let mut hash = Sha256::new();
    hash.update(secret);
    hash.update(now.as_nanos().to_le_bytes());
    for name in names.chain([&*chart]) {
        hash.update(name.len().to_le_bytes());
        hash.update(name);
    }
    hash.finalize().into()
}

/// What a request says about whose render it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Known<'a> {
    #[serde(borrow)]
    chart: Chart<'a>,
    #[serde(borrow)]
    release: Release<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chart<'a> {
    #[serde(borrow)]
    archive: Option<Cow<'a, str>>,
    #[serde(borrow)]
    files: Vec<File<'a>>,
}

impl Chart<'_> {
    /// Its name, the same from a folder and from an archive; empty if it has none.
    fn name(&self) -> String {
        if let Some(archive) = &self.archive {
            return folder_of(archive).unwrap_or_default();
        }
        let metadata = |file: &&File<'_>| file.path.as_deref() == Some("Chart.yaml");
        let metadata = self.files.iter().find(metadata);
        let text = metadata.and_then(|file| file.text.as_deref());
        let mut lines = text.unwrap_or_default().lines();
        let name = lines.find_map(|line| line.strip_prefix("name:"));
        let name = name.and_then(|name| name.split('#').next());
        let quotes = |c: char| c.is_whitespace() || c == '"' || c == '\'';
        name.unwrap_or_default().trim_matches(quotes).to_owned()
    }
}

/// The folder that an archive holds, which is the chart's name; `archive` is base64.
fn folder_of(archive: &str) -> Option<String> {
    let bytes = DecoderReader::new(archive.as_bytes(), &STANDARD);
    let mut files = GzDecoder::new(bytes).take(MOST_OF_HEADERS);
    let mut header = [0; BLOCK];
    loop {
        files.read_exact(&mut header).ok()?;
        let (name, rest) = header.split_at(100);
        let field = |from: usize, length: usize| {
            let bytes = rest.get(from - 100..)?.get(..length)?;
            Some(std::str::from_utf8(bytes).ok()?.trim_matches(['\0', ' ']))
        };
        // What comes before the first file says more of it.
        if let Some("x" | "g") = field(156, 1) {
            let size = u64::from_str_radix(field(124, 12)?, 8).ok()?;
            let padded = size.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
            std::io::copy(&mut files.by_ref().take(padded), &mut std::io::sink()).ok()?;
            continue;
        }
        let name = name.split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(name).ok()?;
        return Some(name.split('/').next()?.to_owned());
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File<'a> {
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Release<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
}

impl Inner {
    /// What a response follows from.
    fn key(&self, request: &[u8], now: Duration) -> Key {
        Sha256::new()
            .chain_update(self.secret)
            .chain_update(now.as_nanos().to_le_bytes())
            .chain_update(request)
            .finalize()
            .into()
    }

    fn call(
        &self,
        ready: &InstancePre<Held<Call>>,
        request: &[u8],
        seed: Key,
        now: Duration,
    ) -> Result<Vec<u8>, RenderError> {
        let limits = &self.limits;
        let call = Call {
            wasi: Wasi::new(seed, now),
        };
        let said = Mutex::new(String::new());
        let within = ModuleLimits {
            memory: limits.memory,
            time: limits.time,
            wall_time: limits.wall_time,
        };
        let done = self.modules.run(call, within, |store| {
            let result = ask(ready, store, request, limits.response);
            *said.lock() = store.data_mut().wasi().said();
            result
        });
        let source = match done {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(bytes)) => {
                return Err(RenderError::ResponseTooLarge {
                    bytes,
                    limit: limits.response,
                });
            }
            Err(source) => source,
        };
        let said = said.into_inner();
        Err(match &source {
            ModuleError::Ended(_) if !said.is_empty() => RenderError::Broken { said, source },
            _ => RenderError::Stopped(source),
        })
    }
}

/// The response, or how large it would be.
fn ask(
    ready: &InstancePre<Held<Call>>,
    store: &mut Store<Held<Call>>,
    request: &[u8],
    limit: usize,
) -> wasmtime::Result<Result<Vec<u8>, usize>> {
    let instance = ready.instantiate(&mut *store)?;
    let Some(memory) = instance.get_memory(&mut *store, "memory") else {
        bail!("its export memory is none");
    };
    let alloc = instance.get_typed_func::<u32, u32>(&mut *store, "helm_alloc")?;
    let render = instance.get_typed_func::<u32, u64>(&mut *store, "helm_render")?;
    let length = u32::try_from(request.len())?;
    let to = alloc.call(&mut *store, length)?;
    memory.write(&mut *store, usize::try_from(to)?, request)?;
    let answer = render.call(&mut *store, length)?;
    let (from, length) = (
        usize::try_from(answer >> 32)?,
        usize::try_from(answer & u64::from(u32::MAX))?,
    );
    if length > limit {
        return Ok(Err(length));
    }
    let to = from.saturating_add(length);
    match memory.data(&*store).get(from..to) {
        Some(response) => Ok(Ok(response.to_vec())),
        None => bail!("its response is outside of its memory"),
    }
}
