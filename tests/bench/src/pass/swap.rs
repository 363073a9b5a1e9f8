//! Versions of a plugin that take each other's place while every CR changes.

use super::engine::{Host, Lane, runtime};
use super::objects::plan;
use crate::clock::now;
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use kybern_interface::{Plan, Sensing, Situation, Trigger};
use kybern_reconcile::{Active, Answer, Decide, DecideError, PassResult, parse_plan};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// CRs that change with one commit, and the time between two commits: more than is passed, so that
/// the queue is never empty.
const CHANGES: u64 = 20;
const BETWEEN: Duration = Duration::from_millis(2);
/// What is looked at before and after a swap.
const WINDOW: Duration = Duration::from_millis(100);

/// What came of the swaps of one run.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Swapped {
    /// CRs whose last decision was not about their last change, or not the last version's.
    pub(crate) lost: u64,
    /// Decisions about what was decided before, by a version that was replaced, or beside another
    /// one about the same CR.
    pub(crate) doubled: u64,
    /// After each swap, the longest time in which no decision began; milliseconds.
    pub(crate) pauses: Vec<f64>,
    /// The same before each.
    pub(crate) calms: Vec<f64>,
    /// Decisions.
    pub(crate) decided: u64,
}

/// So many swaps over so many CRs.
pub(crate) fn swaps(count: usize, crs: u64) -> Result<Swapped> {
    runtime()?.block_on(async {
        let decided = Arc::new(Decided::default());
        let host = Host::start(Lane::Lookup, crs, crs, Arc::<Decided>::clone(&decided)).await?;
        let from = decided.lock().begun.len();
        let mut load = Load {
            last: vec![0; usize::try_from(crs)?],
            next: 0,
        };
        let mut swapped = Vec::new();
        for version in 2..count + 2 {
            load.run(&host, WINDOW * 3).await?;
            let at = now()?;
            host.swap(Lane::Lookup, version).await?;
            swapped.push(at);
        }
        load.run(&host, WINDOW * 3).await?;
        host.rest()?;
        ensure!(host.ended(PassResult::Failed) == 0, "a pass failed");
        judge(&decided.lock(), from, &load.last, &swapped)
    })
}

/// Who changes the CRs.
struct Load {
    /// By CR.
    last: Vec<u64>,
    next: usize,
}

impl Load {
    async fn run(&mut self, host: &Host, time: Duration) -> Result<()> {
        let until = now()? + time;
        while now()? < until {
            let mut changed = Vec::new();
            for _ in 0..CHANGES {
                self.next = (self.next + 1) % self.last.len();
                let last = self.last.get_mut(self.next).context("a CR")?;
                *last += 1;
                changed.push((u64::try_from(self.next)?, *last));
            }
            let changes = host.cluster.changed_crs(&changed)?;
            host.cluster.commit(changes)?;
            host.cluster.tell();
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(())
    }
}

/// A decision that began.
#[derive(Debug, Clone)]
struct Begun {
    at: Duration,
    cr: String,
    change: u64,
    version: usize,
}

/// Decides as the plugin does, and remembers about what.
#[derive(Debug, Default)]
struct Decided(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    begun: Vec<Begun>,
    under_way: HashSet<String>,
    beside: u64,
}

impl Decided {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(seen: &Seen, from: usize, last: &[u64], swapped: &[Duration]) -> Result<Swapped> {
    let begun = seen.begun.get(from..).unwrap_or_default();
    let newest_version = swapped.len() + 1;
    let mut newest: HashMap<&str, (u64, usize)> = HashMap::new();
    let mut doubled = seen.beside;
    for one in begun {
        let state = (one.change, one.version);
        let again = newest
            .insert(&one.cr, state)
            .is_some_and(|before| before == state || before.0 > state.0 || before.1 > state.1);
        doubled += u64::from(again);
    }
    let wanted = |(number, last): &(usize, &u64)| {
        newest.get(format!("app-{number}").as_str()) != Some(&(**last, newest_version))
    };
    let lost = last.iter().enumerate().filter(wanted).count();
    let around = |at: &Duration| longest(begun, *at);
    let calm = swapped
        .iter()
        .map(|at| around(&(*at - WINDOW - WINDOW / 2)));
    Ok(Swapped {
        lost: u64::try_from(lost)?,
        doubled,
        pauses: swapped.iter().map(around).collect(),
        calms: calm.collect(),
        decided: u64::try_from(begun.len())?,
    })
}

/// Milliseconds of the longest time without a beginning that touches the window from this moment on.
fn longest(begun: &[Begun], at: Duration) -> f64 {
    let pairs = begun.windows(2).filter_map(|pair| match pair {
        [one, other] => Some((one.at, other.at)),
        _ => None,
    });
    pairs
        .filter(|(one, other)| *other >= at && *one <= at + WINDOW)
        .map(|(one, other)| other.saturating_sub(one).as_secs_f64() * 1_000.0)
        .fold(0.0, f64::max)
}

#[async_trait]
impl Decide for Decided {
    async fn sense(&self, _: &Active, _: Trigger, _: &[Answer]) -> Result<Sensing, DecideError> {
        Ok(Sensing::Queries(Vec::new()))
    }

    async fn decide(
        &self,
        active: &Active,
        situation: Situation,
        _: &[Answer],
    ) -> Result<Plan, DecideError> {
        let object = &situation.object;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let cr = text("/metadata/name").unwrap_or_default().to_owned();
        let change = object.pointer("/spec/change").and_then(Value::as_u64);
        let version = active.digest.trim_start_matches("sha256:").parse();
        let one = Begun {
            at: now().unwrap_or_default(),
            cr: cr.clone(),
            change: change.unwrap_or_default(),
            version: version.unwrap_or_default(),
        };
        {
            let mut seen = self.lock();
            let alone = seen.under_way.insert(cr.clone());
            seen.beside += u64::from(!alone);
            seen.begun.push(one);
        }
        // As a call of a guest, which is made elsewhere.
        tokio::task::yield_now().await;
        let planned = parse_plan(&plan(object).to_string());
        self.lock().under_way.remove(&cr);
        planned
    }
}
