//! A revision on trial: what it would do is compared with what is done, or it decides for a share of
//! the CRs, until it fails too often.
//!
//! # Contract
//! A *shadow* is asked for a plan beside each plan that is followed, in the same situation; nothing
//! of its plan is ever done but for a CR that names it. A *canary* decides for its share; when more
//! of those CRs than allowed fail by its fault, or more of its plans than allowed differ from those
//! of the revision before, it is over: its CRs go back at once, and it decides for nobody who does
//! not name it. Failures are judged from ten CRs on, before that if all have failed and one has five
//! times; differences from ten on, or from the first where none is allowed. A CR that failed before,
//! or that names its revision, is not counted.
//! Both are checked like any plan: one outside its grants has failed.
//!
//! # Limits
//! Only CRs are counted, each once; five of each finding are told: differences by name and path, never
//! by value; failures by their reason, and what the plugin itself says of its own fault.

use crate::breaker::Called;
use crate::cause::StartedBy;
use crate::check;
use crate::difference::{self, Differences};
use crate::finding::Finding;
use crate::key::CrKey;
use crate::pass::{self, Context, Outcome};
use crate::record::Record;
use crate::report::Ending;
use crate::revision::Registered;
use crate::sensing;
use crate::shared::Shared;
use crate::traits::Answer;
use crate::why::{OnHold, Priority};
use kybern_interface::Plan;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Findings that are told of each sort.
const TOLD: usize = 5;
/// Characters of a message that are told.
const SHOWN: usize = 200;
/// From how many CRs on a share of them says something.
const ENOUGH: usize = 10;
/// What fails is over sooner than what does not: how often one has to fail where all fail.
const OFTEN: u32 = 5;

/// What a revision on trial may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialRules {
    /// The revision, one of [`crate::Active::revisions`].
    pub digest: String,
    /// Whether it only plans.
    pub shadow: bool,
    /// Percent of the CRs that it decides for, unless it only plans.
    pub share: u8,
    /// Percent of its CRs that may fail by its fault.
    pub max_failures: u8,
    /// Percent of its CRs whose plan may be another; none compares no plans of a canary.
    pub max_differences: Option<u8>,
}

/// What is known of a revision on trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trialled {
    /// The revision.
    pub digest: String,
    /// CRs that it decided or planned for.
    pub tried: usize,
    /// Of these: failed by its fault.
    pub failed: usize,
    /// CRs for which both revisions gave a plan.
    pub compared: usize,
    /// Of these: another plan.
    pub differed: usize,
    /// Some that failed, and how.
    pub failures: Vec<String>,
    /// Some whose plan is another, and where.
    pub differences: Vec<String>,
    /// Whether it is over, since it failed or differed too often.
    pub over: bool,
}

/// By registration.
pub type Trials = BTreeMap<Arc<str>, Trialled>;

/// A trial that goes on.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) rules: TrialRules,
    pub(crate) candidate: Arc<Registered>,
    over: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    tried: HashSet<CrKey>,
    /// And how often in a row.
    failed: HashMap<CrKey, u32>,
    compared: HashSet<CrKey>,
    differed: HashSet<CrKey>,
    /// Failed before, and have not been good since.
    excused: HashSet<CrKey>,
    failures: BTreeSet<String>,
    differences: BTreeSet<String>,
}

/// What was seen of one CR.
enum Saw {
    /// It was decided for.
    Good,
    /// It failed by the candidate's fault.
    Failed(String),
    /// Both have a plan, and this is where they differ.
    Compared(Differences),
}

impl Seen {
    fn see(&mut self, key: &CrKey, saw: Saw) {
        self.tried.insert(key.clone());
        match saw {
            Saw::Good => {
                self.failed.remove(key);
            }
            Saw::Failed(how) => {
                *self.failed.entry(key.clone()).or_default() += 1;
                tell(&mut self.failures, key, &how);
            }
            Saw::Compared(differences) => {
                self.compared.insert(key.clone());
                match differences.told() {
                    None => {
                        self.differed.remove(key);
                    }
                    Some(how) => {
                        self.differed.insert(key.clone());
                        tell(&mut self.differences, key, &how);
                    }
                }
            }
        }
    }
}

fn tell(told: &mut BTreeSet<String>, key: &CrKey, how: &str) {
    if told.len() < TOLD {
        told.insert(format!("{}: {how}", key.index_name()));
    }
}

impl Seen {
    /// Whether the trial goes on.
    fn is_within(&self, rules: &TrialRules) -> bool {
        let (tried, failed) = (self.tried.len(), self.failed.len());
        let often = || self.failed.values().any(|times| *times >= OFTEN);
        let fails = (tried >= ENOUGH || (failed == tried && often()))
            && exceeds(failed, tried, rules.max_failures);
        let (compared, differed) = (self.compared.len(), self.differed.len());
        let differs = rules.max_differences.is_some_and(|most| {
            (compared >= ENOUGH || most == 0) && exceeds(differed, compared, most)
        });
        !fails && !differs
    }
}

/// Whether it is more than so many percent.
fn exceeds(part: usize, of: usize, percent: u8) -> bool {
    part.saturating_mul(100) > of.saturating_mul(usize::from(percent))
}

impl Trial {
    pub(crate) fn new(rules: TrialRules, candidate: Arc<Registered>) -> Self {
        Self {
            rules,
            candidate,
            over: AtomicBool::new(false),
            seen: Mutex::default(),
        }
    }

    /// Whether the candidate decides for its share.
    pub(crate) fn decides(&self) -> bool {
        !self.rules.shadow && !self.over.load(Ordering::Relaxed)
    }

    /// Goes on with what one of before has seen, if it is the same trial. Whether it is.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        let same = self.rules == before.rules;
        if same {
            *self.seen.lock() = std::mem::take(&mut *before.seen.lock());
            let over = before.over.load(Ordering::Relaxed);
            self.over.store(over, Ordering::Relaxed);
        }
        same
    }

    /// Whether what a CR fails with is not the candidate's fault: it failed before.
    fn excuses(&self, shared: &Shared, key: &CrKey) -> bool {
        let mut seen = self.seen.lock();
        if seen.excused.contains(key) {
            return true;
        }
        let before = !seen.tried.contains(key) && failed_before(shared, key, &self.rules.digest);
        if before {
            seen.excused.insert(key.clone());
        }
        before
    }

    /// It is good now, so that what comes counts.
    fn is_good(&self, key: &CrKey) {
        self.seen.lock().excused.remove(key);
    }

    /// Adds what was seen. Whether that ends it.
    fn see(&self, key: &CrKey, saw: Saw) -> (Trialled, bool) {
        let mut seen = self.seen.lock();
        seen.see(key, saw);
        let rules = &self.rules;
        let ended = !rules.shadow && !seen.is_within(rules);
        let before = self.over.fetch_or(ended, Ordering::Relaxed);
        let told = Trialled {
            digest: rules.digest.clone(),
            tried: seen.tried.len(),
            failed: seen.failed.len(),
            compared: seen.compared.len(),
            differed: seen.differed.len(),
            failures: seen.failures.iter().cloned().collect(),
            differences: seen.differences.iter().cloned().collect(),
            over: self.over.load(Ordering::Relaxed),
        };
        (told, ended && !before)
    }
}

/// The registration of a pass as it is now, if it has a trial that the CR is part of.
fn trial_of(shared: &Shared, cx: &Context) -> Option<(Arc<Registered>, Arc<Trial>)> {
    if sensing::pin(&cx.row).is_some() {
        return None;
    }
    let main = shared.registered(&cx.key.plugin)?;
    let trial = Arc::clone(main.trial()?);
    main.is(&cx.registered).then_some((main, trial))
}

/// Hears how a pass of the candidate ended.
pub(crate) fn hear(shared: &Shared, cx: &Context, outcome: &Outcome) {
    let Some((_, trial)) = trial_of(shared, cx) else {
        return;
    };
    if trial.rules.shadow || !Arc::ptr_eq(&trial.candidate, &cx.registered) {
        return;
    }
    let finding = &outcome.finding;
    let good = matches!(finding.ending, Ending::Succeeded);
    if trial.excuses(shared, &cx.key) {
        if good {
            trial.is_good(&cx.key);
        }
        return;
    }
    if blames(finding) {
        add(shared, cx, &trial, Saw::Failed(told(finding)));
    } else if good {
        add(shared, cx, &trial, Saw::Good);
    }
}

/// The reason; of the plugin's own faults what it says, and nothing that the API server says of
/// values.
fn told(finding: &Finding) -> String {
    if finding.called != Called::Failed {
        return finding.reason().to_owned();
    }
    let message: String = finding.message().chars().take(SHOWN).collect();
    format!("{}: {message}", finding.reason())
}

/// Whether the last pass failed, which was another revision's.
fn failed_before(shared: &Shared, key: &CrKey, candidate: &str) -> bool {
    let reports = shared.reports.lock();
    let last = reports.get(key).filter(|last| last.digest != candidate);
    last.is_some_and(|last| matches!(last.ending, Ending::Failed { .. }))
}

/// Whether what a pass ended with is the fault of the plan or of who made it.
fn blames(finding: &Finding) -> bool {
    const OF_PLAN: [&str; 4] = [
        "ChildRejected",
        "ImmutableField",
        "QueryFailed",
        "QueryTooLarge",
    ];
    finding.called == Called::Failed || OF_PLAN.contains(&finding.reason())
}

/// Asks the other revision for a plan in the same situation, and compares.
pub(crate) async fn compare(
    shared: &Shared,
    cx: &Context,
    answers: &[Answer],
    record: &Record,
    plan: &Plan,
) {
    let Some((main, trial)) = trial_of(shared, cx) else {
        return;
    };
    let candidate = Arc::ptr_eq(&trial.candidate, &cx.registered);
    let other = match (trial.rules.shadow, candidate) {
        (true, false) if Arc::ptr_eq(&main, &cx.registered) => &trial.candidate,
        (false, true) if trial.rules.max_differences.is_some() => &main,
        _ => return,
    };
    if candidate && trial.excuses(shared, &cx.key) {
        return;
    }
    let other = cx.of(Arc::clone(other));
    let theirs = ask(shared, cx, &other, answers, record).await;
    let saw = match (theirs, candidate) {
        // What the revision before cannot do says nothing about the candidate.
        (Err(_), true) => return,
        (Err(finding), false) => match (finding.called, told(&finding)) {
            (Called::No, _) => return,
            (Called::Returned, how) => Saw::Compared(Differences::without_plan(how)),
            (Called::Failed, how) => Saw::Failed(how),
        },
        (Ok(theirs), true) => Saw::Compared(difference::of(&theirs, plan)),
        (Ok(theirs), false) => {
            add(shared, cx, &trial, Saw::Good);
            Saw::Compared(difference::of(plan, &theirs))
        }
    };
    add(shared, cx, &trial, saw);
}

/// The plan of another revision for the CR of a pass, on its snapshot; checked.
async fn ask(
    shared: &Shared,
    cx: &Context,
    other: &Context,
    answers: &[Answer],
    record: &Record,
) -> Result<Plan, Finding> {
    let (mine, theirs) = (cx.active(), other.active());
    let same =
        !mine.has_sense && !theirs.has_sense && mine.manifest.queries == theirs.manifest.queries;
    let asked;
    let answers = if same {
        answers
    } else {
        asked = pass::ask(shared, other).await?;
        &asked
    };
    let (plan, _) = pass::ask_plan(shared, other, answers, record).await?;
    let (kinds, limits) = (&*shared.deps.kinds, &shared.deps.config.plan);
    check::check(&plan, theirs, &other.owner, kinds, limits)
        .map_err(|offences| Finding::of_offences(&offences))?;
    Ok(plan)
}

fn add(shared: &Shared, cx: &Context, trial: &Arc<Trial>, saw: Saw) {
    let plugin = &cx.key.plugin;
    // Held meanwhile, so that no other is registered in between.
    let registry = shared.registry.read();
    let current = registry.get(plugin);
    let current = current.as_ref().and_then(|now| now.trial());
    if !current.is_some_and(|current| Arc::ptr_eq(current, trial)) {
        return;
    }
    let (told, tips) = trial.see(&cx.key, saw);
    let over = told.over;
    shared.trials.send_if_modified(|all| {
        let before = all.insert(Arc::clone(plugin), told.clone());
        // Counts alone are no news.
        let news = |of: &Trialled| (of.over, of.failures.clone(), of.differences.clone());
        before.as_ref().map(news) != Some(news(&told))
    });
    drop(registry);
    if tips {
        tracing::error!(%plugin, digest = trial.rules.digest, "the revision on trial failed or differed too often: its resources go back");
        // Whoever it decided for, and whoever waits for it.
        shared.add_all(plugin, Priority::Live, StartedBy::Registration);
    } else if over {
        let forgets = OnHold::Forgets;
        shared.add(&cx.key, Priority::Live, StartedBy::Registration, forgets);
    }
}

/// It is another registration now, or gone.
pub(crate) fn over(shared: &Shared, plugin: &Arc<str>) {
    shared
        .trials
        .send_if_modified(|all| all.remove(plugin).is_some());
}
