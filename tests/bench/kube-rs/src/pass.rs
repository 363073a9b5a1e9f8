//! The operator of [`crate::appservice`] over the stores of reflectors, for the bench `pass`.
//!
//! A reconcile compares what the stores have with what is wanted ([`wanted`]), and applies only
//! what differs: nothing in this bench, so that it takes the least that an author could make it take.
//! It is the real `Controller`; the Deployments' reflector is its stream of owned objects, held back
//! ([`Held`]) until all changes are in the store, so that decoding and storing them is over when the
//! measurement begins.

mod stores;
mod wanted;

use crate::appservice::{self, AppService, WORKERS};
use crate::{pin, read};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::StreamExt;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use rustix::time::ClockId;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use stores::{Held, Stores};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

/// Pods of each AppService (tests/bench/src/pass/objects.rs).
const PODS: usize = 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a reconcile reads beside the AppService and its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Lookup,
    /// Its pods, counted by phase.
    Set,
    /// These in an order, and the Deployment once more.
    General,
}

impl std::str::FromStr for Work {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Work> {
        Ok(match text {
            "lookup" => Work::Lookup,
            "set" => Work::Set,
            "general" => Work::General,
            other => bail!("there is no work {other:?}: lookup, set or general"),
        })
    }
}

struct Context {
    work: Work,
    stores: Stores,
    operator: Arc<appservice::Context>,
    /// Whether pods are looked at: not before it is asked, for with all of them it takes minutes.
    asked: AtomicBool,
    ended: AtomicU64,
    /// Why it failed first.
    failure: OnceLock<String>,
}

impl Context {
    fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    fn fail(&self, why: String) {
        // Only the first counts.
        let _ = self.failure.set(why);
    }

    fn sound(&self) -> Result<()> {
        self.failure
            .get()
            .map_or(Ok(()), |why| Err(anyhow!("{why}")))
    }
}

/// Answers to the lines of standard input until it ends.
pub fn run(work: Work, crs: u64, url: &str) -> Result<()> {
    pin()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::try_from(kube::Config::new(url.parse()?))?;
        let filled = timeout(PATIENCE, stores::fill(&client)).await;
        let (stores, owned) = filled.context("fill the stores")??;
        let context = Arc::new(Context {
            work,
            stores,
            operator: appservice::Context::new(client.clone()),
            asked: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            failure: OnceLock::new(),
        });
        let apps = Api::<AppService>::all(client);
        let controller = Controller::new(apps, watcher::Config::default())
            .owns_stream(owned.deployments)
            .owns_stream(owned.services)
            .with_config(Config::default().concurrency(WORKERS))
            .run(reconcile, error_policy, Arc::clone(&context))
            .for_each(|done| {
                match done {
                    Ok(_) => _ = context.ended.fetch_add(1, Ordering::Relaxed),
                    Err(error) => context.fail(error.to_string()),
                }
                std::future::ready(())
            });
        tokio::select! {
            () = controller => bail!("the controller ended"),
            answered = answers(&context, &owned.held, crs) => answered,
        }
    })?;
    std::process::exit(0)
}

fn error_policy(_app: Arc<AppService>, _error: &kube::Error, _context: Arc<Context>) -> Action {
    Action::await_change()
}

async fn reconcile(app: Arc<AppService>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let name = app.name_any();
    let namespace = app.namespace().unwrap_or_default();
    let stores = &context.stores;
    let deployment = stores.deployment(&namespace, &name);
    let service = stores.service(&namespace, &name);
    if context.work != Work::Lookup && context.asked.load(Ordering::Relaxed) {
        let counted = count_pods(&context, &namespace, &name);
        if counted != PODS {
            context.fail(format!("{namespace}/{name} has {counted} pods, not {PODS}"));
        }
    }
    let as_wanted = match (&deployment, &service) {
        (Some(deployment), Some(service)) => {
            wanted::is_deployment(deployment, &app, &name)
                && wanted::is_service(service, &app, &name)
                && app.status.as_ref() == Some(&appservice::status(&app, deployment))
        }
        _ => false,
    };
    if as_wanted {
        return Ok(Action::await_change());
    }
    appservice::reconcile(app, Arc::clone(&context.operator)).await
}

fn count_pods(context: &Context, namespace: &str, name: &str) -> usize {
    let phases = context.stores.phases(namespace, name);
    let mut counts: Vec<(&String, &usize)> = phases.iter().collect();
    if context.work == Work::General && context.stores.deployment(namespace, name).is_some() {
        counts.sort_by_key(|(phase, pods)| (std::cmp::Reverse(**pods), *phase));
    }
    counts.into_iter().map(|(_, pods)| pods).sum()
}

async fn answers(context: &Context, held: &Held, crs: u64) -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = timeout(PATIENCE, answer(&line, context, held, crs)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(anyhow!("no answer to {line:?} within {PATIENCE:?}")));
        println!(
            "{}",
            answer.unwrap_or_else(|error| format!("error: {error:#}"))
        );
    }
    Ok(())
}

async fn answer(line: &str, context: &Context, held: &Held, crs: u64) -> Result<String> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["rest"] => rest(context, crs).await.map(|()| "ok".to_owned()),
        ["passes", count] => passes(context, held, count.parse()?).await,
        _ => bail!("it does not know {line:?}: rest or passes COUNT"),
    }
}

/// Waits until at least so many reconciles have ended and nothing goes on.
async fn rest(context: &Context, ended: u64) -> Result<()> {
    let mut last = read(ClockId::ProcessCPUTime)?;
    let mut quiet = 0;
    while quiet < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        context.sound()?;
        let now = read(ClockId::ProcessCPUTime)?;
        let idle = context.ended() >= ended && now - last < Duration::from_millis(1);
        quiet = if idle { quiet + 1 } else { 0 };
        last = now;
    }
    Ok(())
}

/// Lets so many changes of Deployments go once they are in the store, and measures.
async fn passes(context: &Context, held: &Held, due: u64) -> Result<String> {
    context.asked.store(true, Ordering::Relaxed);
    while held.count()? < due {
        tokio::time::sleep(Duration::from_millis(1)).await;
        context.sound()?;
    }
    let before = context.ended();
    rest(context, before).await?;
    let (from, began) = (read(ClockId::ProcessCPUTime)?, read(ClockId::Monotonic)?);
    held.release()?;
    while context.ended() - before < due {
        tokio::time::sleep(Duration::from_millis(1)).await;
        context.sound()?;
    }
    let busy = (read(ClockId::ProcessCPUTime)? - from).as_secs_f64();
    let wall = (read(ClockId::Monotonic)? - began).as_secs_f64();
    rest(context, before + due).await?;
    let all = context.ended() - before;
    ensure!(all == due, "{all} reconciles of {due} AppServices");
    Ok(format!(r#"{{"busy":{busy},"wall":{wall},"count":{due}}}"#))
}
