//! What the last pass over a custom resource did, for people: why it ran, what it saw, found and
//! wrote, how it ended, and what comes next. No content of any object.

use super::LastAsk;
use kybern_reconcile::{
    ApplyReason, CrName, Drift, Drifted, Engine, PassReport, Place, Queued, Step, Verdict, table_of,
};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// The text; else why there is none.
pub(super) fn text(engine: &Engine, ask: &LastAsk) -> Result<String, String> {
    let is_asked = |plugin: &str, namespace: &str, name: &str| {
        (plugin, namespace, name) == (&*ask.plugin, &*ask.namespace, &*ask.name)
    };
    let reports: Vec<Arc<PassReport>> = engine
        .reports()
        .into_iter()
        .filter(|of| is_asked(&of.plugin, &of.object.namespace, &of.object.name))
        .collect();
    let mut queue = engine.queue();
    queue.retain(|of| is_asked(&of.cr.plugin, &of.cr.namespace, &of.cr.name));
    if reports.is_empty() && queue.is_empty() {
        return Err(unknown(engine, ask));
    }
    let mut text = String::new();
    for report in &reports {
        let kind = table_of(&report.object.gvk);
        let place = queue.iter().position(|of| of.cr.kind == kind);
        let now = place.map(|at| queue.remove(at));
        last(&mut text, report);
        queued(&mut text, now.as_ref());
        let cr = CrName {
            plugin: ask.plugin.as_str().into(),
            namespace: ask.namespace.as_str().into(),
            name: ask.name.as_str().into(),
            kind,
        };
        drift(&mut text, &engine.drift_of(&cr));
    }
    // No pass over these has ended since this host leads.
    for now in &queue {
        let CrName { kind, .. } = &now.cr;
        line(
            &mut text,
            &format!("{} {} of {}", kind.kind, shown(ask), ask.plugin),
        );
        line(&mut text, "  no pass has ended since this replica leads");
        queued(&mut text, Some(now));
    }
    Ok(text)
}

fn shown(ask: &LastAsk) -> String {
    if ask.namespace.is_empty() {
        ask.name.clone()
    } else {
        format!("{}/{}", ask.namespace, ask.name)
    }
}

/// Nothing is known of it: why that may be.
fn unknown(engine: &Engine, ask: &LastAsk) -> String {
    let running = engine.running();
    let names: Vec<&str> = running.iter().map(|of| of.active.name()).collect();
    if names.contains(&&*ask.plugin) {
        return format!(
            "error: {} is no custom resource that {} is in charge of\n",
            shown(ask),
            ask.plugin
        );
    }
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    format!(
        "error: no passes are run for a registration {}; they are for: {names}\n",
        ask.plugin
    )
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}

fn last(text: &mut String, report: &PassReport) {
    let PassReport { object, plugin, .. } = report;
    line(text, &format!("{object} of {plugin}"));
    line(text, "Last pass");
    line(text, &format!("  at: {}", report.at));
    line(text, &format!("  trigger: {}", report.started));
    let (priority, waited) = (report.priority, time(report.waited));
    line(text, &format!("  priority: {priority}, waited {waited}"));
    line(text, &format!("  took: {}", time(report.took)));
    let ending = report.ending.name();
    line(
        text,
        &match report.ending.why() {
            Some((reason, message)) => format!("  ended: {ending}, {reason}: {message}"),
            None => format!("  ended: {ending}"),
        },
    );
    if report.failures > 0 {
        line(
            text,
            &format!("  failed passes in a row: {}", report.failures),
        );
    }
    if let Some(next) = report.next {
        line(
            text,
            &format!("  next: {} after it, at the latest", time(next)),
        );
    }
    line(text, "Answers");
    for answer in &report.answers {
        let (name, rows) = (&answer.name, answer.rows);
        line(
            text,
            &format!(
                "  {name}: {rows} rows, fingerprint {:032x}",
                answer.fingerprint
            ),
        );
    }
    steps(text, report);
    line(text, "Writes");
    for write in &report.writes {
        line(text, &format!("  {write}"));
    }
}

/// What it found; a pass without a plan has found nothing, and an earlier plan goes on to be wanted.
fn steps(text: &mut String, report: &PassReport) {
    let (title, steps) = match report.steps.is_empty() {
        true => ("Wanted, as an earlier pass left it", &report.wanted),
        false => ("Found", &report.steps),
    };
    line(text, title);
    for Step {
        target,
        wave,
        verdict,
    } in steps.iter()
    {
        let wave = match wave {
            0 => String::new(),
            wave => format!(" (wave {wave})"),
        };
        line(text, &format!("  {target}{wave}: {}", found(verdict)));
    }
}

/// What was to be done with an object.
fn found(verdict: &Verdict) -> String {
    let paths = |why: &str, paths: &[String]| format!("to be applied: {why}: {}", paths.join(", "));
    match verdict {
        Verdict::Create => "to be created".into(),
        Verdict::Apply(ApplyReason::Intent) => "to be applied: the intent changed".into(),
        Verdict::Apply(ApplyReason::Drift(at)) => paths("changed by others", at),
        Verdict::Apply(ApplyReason::NotCovered(at)) => paths("not ours on the live object", at),
        Verdict::Apply(ApplyReason::Former) => {
            "to be applied: a former operator's fields are taken over".into()
        }
        Verdict::Apply(ApplyReason::Forced) => "to be applied: asked for by annotation".into(),
        Verdict::Converged => "as intended".into(),
        Verdict::Kept => "left alone".into(),
        Verdict::Adopt => "to be taken over".into(),
        Verdict::NotOurs { whose } => format!("not ours: {whose}"),
        Verdict::WaitingForDeletion => "being deleted; to be created again afterwards".into(),
        Verdict::Prune => "to be deleted: the plan no longer names it".into(),
        Verdict::Orphan => "to lose its owner and stay".into(),
        Verdict::Held => "to be deleted, but too many at once: held".into(),
        Verdict::Delete => "to be deleted: the plan says so".into(),
        Verdict::Patch => "to be patched".into(),
        Verdict::Absent => "not there: it is patched when it is".into(),
        Verdict::Undo => "its patch to be taken back: the plan no longer has it".into(),
        Verdict::Evict => "to be evicted".into(),
        Verdict::Scale(replicas) => format!("to have {replicas} replicas"),
    }
}

fn queued(text: &mut String, queued: Option<&Queued>) {
    line(text, "Now");
    let Some(queued) = queued else {
        return line(text, "  nothing is due: a change makes it due");
    };
    let place = match queued.place {
        Place::Running => "a pass is under way".to_owned(),
        Place::Ready { waited } => format!("a pass is due, for {}", time(waited)),
        Place::Delayed { due } => {
            format!(
                "a pass is due in {}, or sooner if something changes",
                time(due)
            )
        }
        Place::Held { due } => format!(
            "a pass is due in {}, or sooner if the resource or its plugin changes",
            time(due)
        ),
    };
    line(text, &format!("  {place} (priority {})", queued.priority));
    if let Some(started) = &queued.started {
        line(text, &format!("  trigger: {started}"));
    }
}

/// What is not as it was left.
fn drift(text: &mut String, drifted: &[Drifted]) {
    for of in drifted {
        let how = match &of.how {
            Drift::Missing => "is not there".to_owned(),
            Drift::Changed(paths) if paths.is_empty() => "changed by others".to_owned(),
            Drift::Changed(paths) => format!("changed by others: {}", paths.join(", ")),
            Drift::NotApplied => "not applied as the plan wants it".to_owned(),
        };
        line(text, &format!("  {}: {how}", of.object));
    }
}

/// A time as people read it.
fn time(of: Duration) -> String {
    let seconds = of.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1000.0)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}
