//! A loaded plugin and its hooks.

use crate::answer::NamedAnswer;
use crate::cache::{Key, StoredCode};
use crate::call::{Call, CallError, Usage};
use crate::compile::{self, CompileError, Compiler, TooDear};
use crate::compiled;
use crate::describe;
use crate::hook::{Callee, Hook};
use crate::inside::Inside;
use crate::limits::CallLimits;
use crate::load::LoadError;
use crate::manifest;
use crate::outside::Outside;
use crate::runtime::Inner;
use crate::shape::{Shape, largest_function};
use crate::state::CallState;
use crate::strict;
use crate::wasi::Ground;
use crate::world;
use kybern_bundle::{Bundle, without_sections};
use kybern_interface::{Capability, CapabilityAsk, Manifest, PACKAGE};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use wasmtime::component::{Component, InstancePre, Linker};

/// A loaded plugin. Cheap to clone; every call gets a fresh instance.
#[derive(Clone)]
pub struct Plugin {
    loaded: Arc<Loaded>,
}

/// Where a plugin's machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Compiled when the plugin was loaded.
    Compiled,
    /// Compiled earlier and kept in the cache.
    Cached,
}

/// What plugins of one component share.
pub(crate) struct Loaded {
    runtime: Arc<Inner>,
    code: Code,
    digest: String,
    /// Of what was compiled: the component without its bundle and its manifest.
    code_digest: String,
    manifest: Manifest,
    /// The manifest that the component carries, where it describes itself.
    own: Option<Manifest>,
    inside: Inside,
    /// For the hooks that are pure functions, and for act calls without a way out.
    pure: InstancePre<CallState>,
    /// For act calls that may send requests.
    outgoing: InstancePre<CallState>,
    /// Whether it imports WASI.
    wasi: bool,
    decide: Hook,
    sense: Option<Hook>,
    act: Option<Hook>,
}

impl Plugin {
    /// `sha256:` and the hex digest of the component's bytes.
    pub fn digest(&self) -> &str {
        &self.loaded.digest
    }

    /// The digest of what was compiled of it; equal where only bundles and manifests differ.
    pub fn code_digest(&self) -> &str {
        &self.loaded.code_digest
    }

    /// The bundle that it interprets.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.loaded.inside.bundle.as_deref()
    }

    /// Whether its manifest follows from its bundle.
    pub fn describes_itself(&self) -> bool {
        self.loaded.own.is_some()
    }

    /// What the plugin asks for: what it says of itself, or what it carries.
    pub fn manifest(&self) -> &Manifest {
        &self.loaded.manifest
    }

    /// Whether its machine code was compiled now or earlier.
    pub fn code(&self) -> Code {
        self.loaded.code
    }

    /// Bytes of its machine code, with what the engine keeps beside it.
    pub fn code_bytes(&self) -> usize {
        let image = self.loaded.pure.component().image_range();
        image.end.addr().saturating_sub(image.start.addr())
    }

    /// Whether both are one component in memory: loaded from the same bytes while the other was there.
    pub fn shares_code_with(&self, other: &Plugin) -> bool {
        Arc::ptr_eq(&self.loaded, &other.loaded)
    }

    /// Whether it exports the sense hook.
    pub fn has_sense(&self) -> bool {
        self.loaded.sense.is_some()
    }

    /// Whether it exports the act hook.
    pub fn has_act(&self) -> bool {
        self.loaded.act.is_some()
    }

    /// Calls `decide` with a situation document; gives a plan document that is
    /// JSON within the limits, but whose fields nobody has looked at. Blocks.
    pub fn decide(
        &self,
        situation: &str,
        answers: Vec<NamedAnswer>,
        limits: &CallLimits,
    ) -> Call<String> {
        self.callee()
            .call(&self.loaded.decide, situation, answers, limits)
    }

    /// Calls `decide` twice and compares the plans in canonical JSON: a
    /// difference is [`CallError::NotPure`]. The usage is that of both calls.
    pub fn decide_strict(
        &self,
        situation: &str,
        answers: Vec<NamedAnswer>,
        limits: &CallLimits,
    ) -> Call<String> {
        let first = self.decide(situation, answers.clone(), limits);
        let Ok(plan) = &first.result else {
            return first;
        };
        let second = self.decide(situation, answers, limits);
        let usage = first.usage.and(second.usage);
        let difference = match &second.result {
            Ok(other) => strict::difference(plan, other),
            // About the host, not about the plugin.
            Err(CallError::Busy | CallError::Host { .. } | CallError::OutOfTime { .. }) => {
                return Call { usage, ..second };
            }
            Err(error) => Some(format!("a plan, then an error: {error}")),
        };
        let result = match difference {
            None => first.result,
            Some(difference) => Err(CallError::NotPure { difference }),
        };
        Call { result, usage }
    }

    /// Calls `sense` with a trigger document and the answers that it names; [`CallError::NoHook`] if
    /// the plugin has none. Blocks.
    pub fn sense(
        &self,
        trigger: &str,
        answers: Vec<NamedAnswer>,
        limits: &CallLimits,
    ) -> Call<String> {
        match &self.loaded.sense {
            Some(sense) => self.callee().call(sense, trigger, answers, limits),
            None => Call {
                result: Err(CallError::NoHook { hook: "sense" }),
                usage: Usage::default(),
            },
        }
    }

    /// Calls `act` with an effect document; [`CallError::NoHook`] if the plugin has none. Blocks,
    /// also while requests wait. Its instance is none of those that pure hooks wait for.
    pub fn act(&self, effect: &str, limits: &CallLimits, outside: Outside) -> Call<String> {
        let loaded = &self.loaded;
        let Some(act) = &loaded.act else {
            return Call {
                result: Err(CallError::NoHook { hook: "act" }),
                usage: Usage::default(),
            };
        };
        let instance = match outside.outgoing {
            Some(_) => &loaded.outgoing,
            None => &loaded.pure,
        };
        let callee = Callee {
            instance,
            gate: &loaded.runtime.effects,
            outside,
            inside: Inside {
                born: Duration::ZERO,
                renders: false,
                ..loaded.inside.clone()
            },
            wasi: loaded.wasi.then_some(Ground::Real),
            ..self.callee()
        };
        callee.call(act, effect, Vec::new(), limits)
    }

    fn callee(&self) -> Callee<'_> {
        self.loaded.callee()
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.loaded.manifest.name)
            .field("digest", &self.loaded.digest)
            .finish_non_exhaustive()
    }
}

/// Checks from cheap to dear: size, names, manifest, code, types, a trial instance.
pub(crate) fn load(runtime: &Arc<Inner>, wasm: &[u8]) -> Result<Plugin, LoadError> {
    let limit = runtime.config.max_component;
    if wasm.len() > limit {
        return Err(LoadError::TooLarge {
            bytes: wasm.len(),
            limit,
        });
    }
    let shape = Shape::read(wasm)?;
    world::check(&shape)?;
    let manifest = manifest::parse(shape.manifest()?)?;
    world::check_capabilities(&shape, &manifest)?;
    let wasi = world::has_wasi(&shape);
    let digest = format!("sha256:{:x}", Sha256::digest(wasm));
    if let Some(loaded) = runtime.live.lock().get(&digest).and_then(Weak::upgrade) {
        return Ok(Plugin { loaded });
    }

    let bundle = shape.bundle()?.map(Arc::new);
    let source = Source::read(wasm)?;
    let (component, code) = component(runtime, &source)?;
    let hook = |name| find(&component, name);
    let decide = hook("decide").ok_or(LoadError::NoDecide)?;
    let sense = hook("sense");
    let act = hook("act");
    let describe = hook("describe");
    let ready = |linker: &Linker<CallState>| {
        let ready = linker.instantiate_pre(&component);
        ready.map_err(|error| LoadError::Interface {
            reason: format!("{error:#}"),
            offered: PACKAGE,
        })
    };
    let (pure, outgoing) = (ready(&runtime.linker)?, ready(&runtime.outgoing)?);

    let mut loaded = Loaded {
        runtime: Arc::clone(runtime),
        code,
        digest,
        code_digest: source.digest,
        inside: Inside {
            bundle,
            render: runtime.config.render.clone(),
            born: Duration::ZERO,
            renders: renders(&manifest),
        },
        manifest,
        own: None,
        pure,
        outgoing,
        wasi,
        decide,
        sense,
        act,
    };
    loaded.probe()?;
    if let Some(describe) = describe {
        let derived = describe::describe(&loaded.callee(), &describe, &loaded.manifest)?;
        loaded.inside.renders = renders(&derived);
        loaded.own = Some(std::mem::replace(&mut loaded.manifest, derived));
    }
    if loaded.act.is_none() && !loaded.manifest.effects.is_empty() {
        return Err(LoadError::NoAct);
    }
    let loaded = Arc::new(loaded);
    Ok(shared(runtime, Plugin { loaded }))
}

/// Whether it asks for the capability.
fn renders(manifest: &Manifest) -> bool {
    let render = |ask: &CapabilityAsk| ask.name == Capability::Render;
    manifest.capabilities.iter().any(render)
}

/// What is compiled of a component.
pub(crate) struct Source<'a> {
    wasm: Cow<'a, [u8]>,
    /// Bytes of the whole component.
    whole: usize,
    /// Of these bytes.
    pub(crate) digest: String,
}

impl<'a> Source<'a> {
    /// The component without the sections that are read and never run: another bundle, or another
    /// manifest, is the same code.
    pub(crate) fn read(wasm: &'a [u8]) -> Result<Self, LoadError> {
        let whole = wasm.len();
        let wasm = without_sections(wasm).map_err(|error| LoadError::NotAComponent {
            reason: error.to_string(),
        })?;
        let digest = format!("sha256:{:x}", Sha256::digest(&wasm));
        Ok(Self {
            wasm,
            whole,
            digest,
        })
    }
}

/// A component that somebody has, of this code.
pub(crate) fn living(runtime: &Inner, code_digest: &str) -> Option<Component> {
    let live = runtime.live.lock();
    let mut loaded = live.values().filter_map(Weak::upgrade);
    let same = loaded.find(|loaded| loaded.code_digest == code_digest)?;
    Some(same.pure.component().clone())
}

/// The one that was loaded from the same bytes meanwhile, or this one, which others find from now on.
fn shared(runtime: &Inner, plugin: Plugin) -> Plugin {
    let mut live = runtime.live.lock();
    let digest = plugin.digest();
    if let Some(loaded) = live.get(digest).and_then(Weak::upgrade) {
        return Plugin { loaded };
    }
    live.retain(|_, loaded| loaded.strong_count() > 0);
    live.insert(digest.to_owned(), Arc::downgrade(&plugin.loaded));
    plugin
}

impl Loaded {
    fn callee(&self) -> Callee<'_> {
        Callee {
            runtime: &self.runtime,
            plugin: &self.manifest.name,
            instance: &self.pure,
            gate: &self.runtime.gate,
            inside: self.inside.clone(),
            outside: Outside::default(),
            wasi: self.wasi.then_some(Ground::Pure),
        }
    }

    /// A trial instance: its start functions run, and its hooks' types are checked.
    fn probe(&self) -> Result<(), LoadError> {
        let mut hooks = vec![&self.decide];
        hooks.extend(&self.sense);
        hooks.extend(&self.act);
        self.callee().probe(&hooks, &CallLimits::default())
    }
}

/// The hook's function in the interface of the same name.
fn find(component: &Component, name: &'static str) -> Option<Hook> {
    let interface = format!("kybern:operator/{name}@0.1.0");
    let interface = component.get_export_index(None, interface.as_str())?;
    let index = component.get_export_index(Some(&interface), name)?;
    Some(Hook { name, index })
}

/// The compiled component, from the cache if it is there. What is there waits for nobody but a load of
/// the same bytes, which finds them done.
fn component(runtime: &Inner, source: &Source<'_>) -> Result<(Component, Code), LoadError> {
    let (wasm, digest) = (&*source.wasm, source.digest.as_str());
    if let Some(component) = living(runtime, digest) {
        return Ok((component, Code::Cached));
    }
    let turn = runtime.turns.begin(digest);
    let key = Key::new(digest, &runtime.engine);
    if let Some(cache) = &runtime.cache
        && let Some(code) = cache.get(&key)
    {
        match compiled::load(&runtime.engine, &code) {
            Ok(component) => {
                tracing::debug!(digest, "loaded compiled plugin");
                return Ok((component, Code::Cached));
            }
            Err(error) => {
                tracing::warn!(
                    digest,
                    error = format!("{error:#}"),
                    "compiling a plugin again"
                );
                cache.forget(&key);
            }
        }
    }
    if let Some(why) = runtime.turns.too_dear(digest) {
        return Err(LoadError::TooDear(why));
    }
    let place = turn.place();
    let code = code(runtime, wasm)
        .inspect(|_| count(&runtime.counts.succeeded))
        .map_err(|error| refusal(runtime, source, error))?;
    drop(place);
    tracing::debug!(digest, bytes = wasm.len(), "compiled plugin");
    let component = kept(runtime, &key, &code, digest).map_err(|error| LoadError::Compile {
        reason: format!("{error:#}"),
    })?;
    Ok((component, Code::Compiled))
}

/// Machine code of these bytes.
fn code(runtime: &Inner, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
    match &runtime.config.compiler {
        Compiler::InProcess => runtime
            .engine
            .precompile_component(wasm)
            .map_err(|error| CompileError::Refused(format!("{error:#}"))),
        Compiler::Child(child) => {
            let (allocation, max_stack) = (runtime.allocation, runtime.config.max_stack);
            let subject = compile::Subject::Component;
            compile::compile(
                &runtime.children,
                child,
                subject,
                allocation,
                max_stack,
                wasm,
            )
        }
    }
}

/// Counts and remembers why there is no code.
fn refusal(runtime: &Inner, source: &Source<'_>, error: CompileError) -> LoadError {
    let counts = &runtime.counts;
    match error {
        CompileError::Refused(reason) => {
            count(&counts.refused);
            LoadError::Compile { reason }
        }
        CompileError::Exceeded(exceeded) => {
            count(&counts.too_dear);
            let why = TooDear {
                exceeded,
                bytes: source.whole,
                largest: largest_function(&source.wasm),
            };
            runtime.turns.remember(&source.digest, why);
            LoadError::TooDear(why)
        }
        CompileError::Stopped(reason) => {
            count(&counts.stopped);
            LoadError::NotCompiled { reason }
        }
    }
}

fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

/// The component as it is mapped from where its code is kept: what no call touches takes no memory.
/// Where nothing is kept, or this is not, from a file without a name.
fn kept(runtime: &Inner, key: &Key, code: &[u8], digest: &str) -> wasmtime::Result<Component> {
    if let Some(cache) = &runtime.cache {
        if let Err(error) = cache.put(key, code) {
            let error = error.to_string();
            tracing::warn!(digest, error, "a compiled plugin could not be kept");
        } else if let Some(stored) = cache.get(key) {
            return compiled::load(&runtime.engine, &stored).inspect_err(|_| cache.forget(key));
        }
    }
    compiled::load(&runtime.engine, &StoredCode::unnamed(code)?)
}
