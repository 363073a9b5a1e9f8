//! `kybern run`: watches the cluster and runs the registered plugins.

use crate::args::RunArgs;
use crate::asking::{Asked, Claim, EngineNow, Server};
use crate::bounds::{self, Bounds, Settings};
use crate::budget::{self, Budget, Facts, Keeper};
use crate::charts::{Charts, Secret};
use crate::kinds::{Kinds, crd_table, plugin_table};
use crate::memory::{self, Guard, GuardConfig, Meter};
use crate::metrics;
use crate::outgoing::Client;
use crate::registration::controller::{Controller, Role};
use crate::rights::{self, Refusals, Reviewer};
use crate::server::{self, Health};
use crate::source::{Keep, Sources};
use crate::values::{self, Values};
use crate::wiring::apply::ClusterApply;
use crate::wiring::decide::Guests;
use crate::wiring::ingest::Ingest;
use crate::wiring::time::{Jitter, SystemClock};
use crate::wiring::watches::{Wanted, Watches};
use crate::wiring::work;
use anyhow::{Context, bail};
use kybern_kube::clock::SystemClock as BootClock;
use kybern_kube::events::{self, RecorderConfig};
use kybern_kube::lease::{self, LeaseConfig};
use kybern_kube::{AlwaysLeader, Cluster, Fence, LeaderState, WatchConfig, Writes};
use kybern_plugin::{ModulesConfig, Runtime, RuntimeConfig};
use kybern_reconcile::{Counters, Deps, Engine};
use kybern_sense::SqlSense;
use kybern_table::{Reader, Sequence, TableState};
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long shutdown waits for passes under way: one write's time limit.
const DRAIN: Duration = Duration::from_secs(5);
/// The same where memory is used up: the passes are dropped, but the lease goes back.
const DRAIN_EXHAUSTED: Duration = Duration::from_millis(500);
/// How long a new leader waits for fresh lists before it goes on with the kinds that came.
const REFRESH: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let watched = crate::args::one_namespace(&args.namespaces)?.map(str::to_owned);
    let socket = args.socket.clone().or_else(crate::environment::socket);
    let claim = socket.as_deref().map(Claim::of).transpose()?;
    let cluster = crate::cluster::connect(&args.cluster).await?;
    let namespace = args
        .lease_namespace
        .clone()
        .unwrap_or_else(|| cluster.default_namespace().to_owned());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        server = %cluster.server(),
        class = %args.class,
        "starting"
    );
    let shutdown = CancellationToken::new();
    let compiled = compiled_dir(&args)?;
    let meter = Meter::new(std::path::Path::new("/"), args.memory_limit);
    let runtime = crate::compiler::of_host(&args.compile, meter.clone())?;
    let charts = crate::charts::find(args.helm_engine.as_ref()).map(|module| {
        let modules = ModulesConfig {
            // Its code is kept beside that of components: each has its own bound.
            cache_dir: Some(compiled.join("engine")),
            compiler: runtime.compiler.clone(),
            ..ModulesConfig::default()
        };
        let secret = Secret::new(args.helm_secret.clone(), &namespace, &lease_name(&args));
        Charts::new(module, modules, secret)
    });
    let settings = Settings {
        watch: WatchConfig {
            idle: args.watch_idle,
            ..WatchConfig::default()
        },
        runtime: RuntimeConfig {
            cache_dir: Some(compiled.clone()),
            render: charts.clone().map(Charts::shared),
            ..runtime
        },
        ..Settings::default()
    };
    let (writer, reader) = kybern_table::store(settings.store.clone());
    let runtime = Runtime::new(settings.runtime.clone())?;
    let guard = Guard::start(GuardConfig {
        meter: meter.clone(),
        termination_log: args.termination_log.clone(),
        reader: reader.clone(),
        runtime: Some(runtime.clone()),
    })?;
    let (ingest, _ingest_thread) = Ingest::start(writer, reader.snapshot().sequence())?;
    let guests = Guests::new(args.strict)
        .with_client(Client::new())
        .with_secrets(cluster.clone());
    // Below a directory that the runtime has found to be the own user's alone.
    let kept = compiled.join("sources");
    let keep = Keep::open(&kept, settings.source.kept_bytes)
        .with_context(|| format!("{}: components cannot be kept there", kept.display()))?;
    let plain = args.registry.insecure_registry.clone();
    let sources = Sources::new(settings.source.clone(), keep, plain);
    let sql = kybern_sql::Engine::new(reader.clone(), settings.sql.clone());
    let held = budget::Sources {
        reader: reader.clone(),
        sql: sql.clone(),
        guests: Some((guests.clone(), runtime.clone())),
    };
    let budget = Budget::new(held, args.memory_budget, meter.clone());
    let watches = Watches::new(
        cluster.clone(),
        ingest.clone(),
        settings.watch.clone(),
        watched.clone(),
        budget.clone(),
        shutdown.child_token(),
    );
    let own = [plugin_table(), crd_table()];
    watches.set(own.map(Wanted::all).into()).await;

    let election = Election::start(&args, &cluster, &namespace)?;
    let writes = Writes::new(cluster.clone(), Arc::clone(&election.fence));
    let kinds = Kinds::default();

    let engine_now: Arc<RwLock<Option<Engine>>> = Arc::default();
    let passes = EngineNow {
        engine: Arc::clone(&engine_now),
        states: election.states.clone(),
        reader: reader.clone(),
        class: args.class.clone(),
        guests: guests.clone(),
    };
    let told = sql.with_host(Arc::new(Facts {
        budget: budget.clone(),
        watches: Some(watches.clone()),
        engine: Some(passes.clone()),
    }));
    let sense = Arc::new(SqlSense::new(told.clone(), work::pool()));
    let asked = Asked::new(&settings.asking);
    let counters = Counters::default();
    let mut registry = Registry::default();
    metrics::register(
        &mut registry,
        metrics::Sources {
            reader: reader.clone(),
            watches: watches.clone(),
            guests: guests.clone(),
            counters: counters.clone(),
            engine: Arc::clone(&engine_now),
        },
    );
    memory::register(&mut registry, meter);
    budget::register(&mut registry, budget.clone(), watches.clone());
    let reviewer = Reviewer::new(cluster.clone(), settings.rights.clone());
    rights::register(&mut registry, reviewer.clone());
    let refusals = Refusals::default();
    let followed = Values::new(
        cluster.clone(),
        settings.watch.clone(),
        settings.values.clone(),
        shutdown.child_token(),
    );
    values::register(&mut registry, followed.clone());
    bounds::register(
        &mut registry,
        Bounds {
            settings: settings.clone(),
            reader: reader.clone(),
            watches: watches.clone(),
            ingest: ingest.clone(),
            sql,
            guests: guests.clone(),
            asked: asked.clone(),
            sources: sources.clone(),
            runtime: runtime.clone(),
        },
    );
    let tasks = TaskTracker::new();
    if let Some(claim) = claim {
        let socket = claim.listen()?;
        let server = Server {
            sql: told.with_clock(|| crate::clock::wall().as_microsecond()),
            engine: passes,
            asked,
            commits: ingest.commits(),
            run: crate::clock::wall().as_microsecond().unsigned_abs(),
        };
        tasks.spawn(server.run(socket, settings.asking.clone(), shutdown.child_token()));
    }
    tasks.spawn(Keeper::new(budget, watches.clone()).run(shutdown.child_token()));
    let server = tasks.spawn(server::serve(
        args.listen,
        Arc::new(HostHealth {
            reader: reader.clone(),
        }),
        Arc::new(registry),
        shutdown.child_token(),
    ));

    if let Some(charts) = charts {
        let preparing = charts.prepare(cluster.clone());
        let ended = shutdown.child_token();
        tasks.spawn(async move { ended.run_until_cancelled(preparing).await });
    }

    let (roles_out, roles) = watch::channel(Arc::new(Role::Standby));
    let controller = Controller {
        class: args.class.clone(),
        namespace: namespace.clone(),
        only: watched,
        cluster: cluster.clone(),
        writes: writes.clone(),
        reader: reader.clone(),
        commits: ingest.commits(),
        kinds: kinds.clone(),
        watches: watches.clone(),
        sources,
        runtime: runtime.clone(),
        guests: guests.clone(),
        sense: Arc::clone(&sense),
        counters: counters.clone(),
        values: followed,
        reviewer,
        refusals: refusals.clone(),
    };
    let controller = tasks.spawn(controller.run(roles, shutdown.child_token()));
    let (recorder, worker) = events::recorder(
        cluster.clone(),
        RecorderConfig::new("kybern.dev/host", &election.identity),
        Arc::new(BootClock),
    );
    tasks.spawn(worker.run(shutdown.child_token()));

    let make_engine = || {
        Engine::new(Deps {
            reader: reader.clone(),
            sense: Arc::<SqlSense>::clone(&sense),
            decide: Arc::new(guests.clone()),
            act: Arc::new(guests.clone()),
            apply: Arc::new(ClusterApply::new(
                writes.clone(),
                recorder.clone(),
                ingest.clone(),
                &namespace,
                refusals.clone(),
            )),
            kinds: Arc::new(kinds.clone()),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Jitter),
            config: settings.engine.clone(),
            home: namespace.clone(),
            counters: counters.clone(),
        })
    };
    let leading = lead(LeadParts {
        make_engine: &make_engine,
        watches: &watches,
        reader: &reader,
        ingest: &ingest,
        engine_now: &engine_now,
        roles: roles_out,
        states: election.states.clone(),
        shutdown: shutdown.clone(),
    });
    tokio::pin!(leading);
    let (code, drain) = tokio::select! {
        signal = stop_signal() => {
            tracing::info!(signal = signal?, "stopping");
            (ExitCode::SUCCESS, DRAIN)
        }
        () = guard.exhausted() => (ExitCode::from(memory::EXHAUSTED), DRAIN_EXHAUSTED),
        served = server => {
            served.context("the server ended")??;
            bail!("the server ended by itself");
        }
        () = &mut leading => (ExitCode::SUCCESS, DRAIN),
    };
    shutdown.cancel();
    // Passes under way end; then the lease goes back at once, for the next leader waits for it.
    if tokio::time::timeout(drain, leading).await.is_err() {
        tracing::warn!("passes did not end within {drain:?}; they are dropped");
    }
    election.release().await;
    let _ = tokio::time::timeout(drain, controller).await;
    let _ = tokio::time::timeout(drain, watches.ended()).await;
    // Nobody waits for what they would make.
    runtime.stop_compiling(Duration::ZERO);
    tracing::info!("stopped");
    Ok(code)
}

/// What the leading loop works with.
struct LeadParts<'a> {
    make_engine: &'a (dyn Fn() -> Engine + Sync),
    watches: &'a Watches,
    reader: &'a Reader,
    ingest: &'a Ingest,
    engine_now: &'a RwLock<Option<Engine>>,
    roles: watch::Sender<Arc<Role>>,
    states: watch::Receiver<LeaderState>,
    shutdown: CancellationToken,
}

/// Runs the engine for a term as a task of its own: what wakes its dispatcher then wakes a thread
/// that works already, not this one.
async fn work_on(engine: Engine, commits: watch::Receiver<Sequence>, term: CancellationToken) {
    let mut work = JoinSet::new();
    work.spawn(async move { engine.run(commits, term).await });
    if let Some(Err(error)) = work.join_next().await
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Runs an engine for each term of leadership.
async fn lead(mut parts: LeadParts<'_>) {
    loop {
        if parts
            .states
            .wait_for(|state| *state == LeaderState::Leading)
            .await
            .is_err()
        {
            return parts.shutdown.cancelled().await;
        }
        tracing::info!("this replica leads");
        let term = parts.shutdown.child_token();
        let mut states = parts.states.clone();
        let lost = async {
            // A closed channel means that nobody elects any more: the term goes on until shutdown.
            if states
                .wait_for(|state| *state != LeaderState::Leading)
                .await
                .is_err()
            {
                std::future::pending::<()>().await;
            }
        };
        let work = async {
            // Lists that are older than the last leader's writes must not be acted on.
            parts.watches.refresh(parts.reader, &term, REFRESH).await;
            if term.is_cancelled() {
                return;
            }
            let engine = (parts.make_engine)();
            *parts.engine_now.write() = Some(engine.clone());
            let _ = parts.roles.send(Arc::new(Role::Leader(engine.clone())));
            work_on(engine, parts.ingest.commits(), term.clone()).await;
        };
        tokio::pin!(work);
        tokio::select! {
            () = &mut work => {}
            () = lost => {
                tracing::warn!("this replica does not lead any more");
                term.cancel();
                let _ = parts.roles.send(Arc::new(Role::Standby));
                work.await;
            }
        }
        *parts.engine_now.write() = None;
        if parts.shutdown.is_cancelled() {
            return;
        }
        let _ = parts.roles.send(Arc::new(Role::Standby));
    }
}

/// Who leads, and the fence that follows from it.
struct Election {
    fence: Arc<dyn Fence>,
    states: watch::Receiver<LeaderState>,
    identity: String,
    running: Option<lease::Election>,
    /// Keeps `states` open without an election.
    _alone: Option<watch::Sender<LeaderState>>,
}

/// The name of the Lease, which no other class has.
fn lease_name(args: &RunArgs) -> String {
    match &*args.class {
        "" => "kybern".to_owned(),
        class => format!("kybern-{class}"),
    }
}

impl Election {
    fn start(args: &RunArgs, cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        let identity = format!(
            "{}_{:x}_{:08x}",
            crate::environment::host_name(),
            std::process::id(),
            crate::wiring::time::random_word()
        );
        if !args.leader_elect {
            let (alone, states) = watch::channel(LeaderState::Leading);
            return Ok(Self {
                fence: Arc::new(AlwaysLeader),
                states,
                identity,
                running: None,
                _alone: Some(alone),
            });
        }
        let name = lease_name(args);
        let config = LeaseConfig {
            lease: args.lease_duration,
            renew_deadline: args.renew_deadline,
            retry: args.retry_period,
            ..LeaseConfig::new(namespace, &name, &identity)
        };
        let (leadership, election) = lease::start(cluster, config, Arc::new(BootClock))?;
        Ok(Self {
            states: leadership.state(),
            fence: Arc::new(leadership),
            identity,
            running: Some(election),
            _alone: None,
        })
    }

    /// Gives the lease back, so that another replica leads at once.
    async fn release(self) {
        if let Some(election) = self.running {
            let _ = tokio::task::spawn_blocking(move || election.stop()).await;
        }
    }
}

/// The host can work once it sees its own registrations.
struct HostHealth {
    reader: Reader,
}

impl Health for HostHealth {
    fn ready(&self) -> Result<(), String> {
        match self
            .reader
            .snapshot()
            .table(&plugin_table().key)
            .map(|table| table.state())
        {
            Some(TableState::Ready { .. }) => Ok(()),
            Some(TableState::Failed(reason)) => Err(format!(
                "registrations cannot be read: {reason}; is the Plugin CRD installed? `kybern crd | kubectl apply -f -`"
            )),
            Some(TableState::Loading) | None => Err("registrations are being listed".into()),
        }
    }
}

/// The private directory for compiled plugins.
fn compiled_dir(args: &RunArgs) -> anyhow::Result<std::path::PathBuf> {
    if let Some(dir) = &args.compiled {
        return Ok(dir.clone());
    }
    let base = crate::environment::cache_dir();
    std::fs::create_dir_all(&base).with_context(|| {
        format!(
            "{}: cannot be created; name another directory with --compiled",
            base.display()
        )
    })?;
    Ok(base.join("compiled"))
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}
