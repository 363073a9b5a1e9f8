//! The engine on /metrics: counters and histograms of passes, and what is due now.
//!
//! *Contract.* Counters are shown whether this replica leads or not, and never go back while the
//! process lives and the registration is there; gauges of what is due are there while it leads.

use super::{Label, Sample, number, put, put_gauge, put_histograms, size};
use kybern_reconcile::{
    Again, Counters, EffectResult, Engine, Histogram, Metrics, PassResult, PluginMetrics,
};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

/// Writes all metrics of the engine.
pub(super) fn put_all(
    encoder: &mut DescriptorEncoder<'_>,
    counters: &Counters,
    engine: Option<&Engine>,
) -> fmt::Result {
    let leading = u64::from(engine.is_some());
    let help = "1 while this replica leads";
    put_gauge(encoder, "kybern_leading", help, leading)?;
    let metrics = engine.map_or_else(|| counters.metrics(), Engine::metrics);
    passes(encoder, &metrics)?;
    times(encoder, &metrics)?;
    work(encoder, &metrics)?;
    effects(encoder, &metrics)?;
    if engine.is_some() {
        due(encoder, &metrics)?;
        kept(encoder, &metrics)?;
    }
    Ok(())
}

/// One sample for each registration, or several that differ by one more label.
fn each<'m, T>(
    metrics: &'m Metrics,
    of: impl Fn(&'m PluginMetrics) -> Vec<(Vec<Label>, T)>,
) -> Vec<(Vec<Label>, T)> {
    let mut all = Vec::new();
    for (plugin, counts) in &metrics.plugins {
        for (more, value) in of(counts) {
            let mut labels = vec![("plugin", plugin.clone())];
            labels.extend(more);
            all.push((labels, value));
        }
    }
    all
}

fn label(name: &'static str, value: &str) -> Vec<Label> {
    vec![(name, value.to_owned())]
}

/// How many passes ended how, and why they come again.
fn passes(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let results = each(metrics, |counts| {
        let of = |result: PassResult| (label("result", result.name()), counts.ended(result));
        PassResult::ALL.map(of).to_vec()
    });
    counter(encoder, "kybern_passes", "Passes that ended", results)?;
    let problems = each(metrics, |counts| {
        let of = |(reason, count): (&String, &u64)| (label("reason", reason), *count);
        counts.reasons.iter().map(of).collect()
    });
    let help = "Passes that failed or wait, by the reason that the condition gives";
    counter(encoder, "kybern_pass_problems", help, problems)?;
    let again = each(metrics, |counts| {
        let count = |again| counts.again.get(&again).copied().unwrap_or_default();
        let of = |again: Again| (label("cause", again.name()), count(again));
        Again::ALL.map(of).to_vec()
    });
    let help = "Passes after which the resource is due again, because of what";
    counter(encoder, "kybern_retries", help, again)?;
    let spared = vec![(Vec::new(), metrics.spared)];
    let help = "Passes not started because only what a pass wrote itself had changed";
    counter(encoder, "kybern_passes_spared", help, spared)?;
    let overruns = vec![(Vec::new(), metrics.change_log_overruns)];
    let help = "How often everything was looked at again because the change log was too short";
    counter(encoder, "kybern_change_log_overruns", help, overruns)
}

/// How long passes and their stages take, and how long they wait for their turn.
fn times(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let seconds = each(metrics, |counts| {
        vec![(Vec::new(), counts.pass_time().as_secs_f64())]
    });
    let help = "Time of all passes together";
    put(
        encoder,
        MetricType::Counter,
        "kybern_pass_seconds",
        help,
        seconds,
    )?;
    let passes = each(metrics, |counts| {
        let of =
            |(result, took): (&PassResult, &'_ Histogram)| (label("result", result.name()), *took);
        counts.passes.iter().map(of).collect()
    });
    let help = "How long a pass took, from its start to its end";
    put_histograms(encoder, "kybern_pass_duration_seconds", help, passes)?;
    let stages = each(metrics, |counts| {
        let stages = counts.stages.iter();
        stages
            .map(|(stage, took)| (label("stage", stage.name()), *took))
            .collect()
    });
    let help = "How long a stage of a pass took";
    put_histograms(encoder, "kybern_pass_stage_duration_seconds", help, stages)?;
    let waited = each(metrics, |counts| {
        let priorities = Metrics::PRIORITIES.into_iter().zip(counts.waited);
        priorities
            .map(|(priority, waited)| (label("priority", priority), waited))
            .collect()
    });
    let help = "From when a pass was due until it started";
    put_histograms(encoder, "kybern_queue_duration_seconds", help, waited)
}

/// What passes did.
fn work(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let mut of = |name: &str, help: &str, value: fn(&PluginMetrics) -> u64| {
        let samples = each(metrics, |counts| vec![(Vec::new(), value(counts))]);
        counter(encoder, name, help, samples)
    };
    let help = "Children applied again because others changed them";
    of("kybern_drift", help, |counts| counts.drifted)?;
    let help = "Plans refused whole";
    of("kybern_plans_refused", help, |counts| counts.refused)?;
    let help = "How often a custom resource began to be slowed down, since something changed with every pass";
    of("kybern_slow_downs", help, |counts| counts.slowed)?;
    let help = "How often a plugin began to be asked only now and then, since it failed whatever it was asked";
    of("kybern_plugin_breaker_trips", help, |counts| counts.trips)?;
    let help = "Answers of the API server to passes that asked to wait (429, Retry-After)";
    of("kybern_throttled", help, |counts| counts.throttled)?;
    let writes = each(metrics, |counts| {
        let of = |((verb, code), count): (&(&'static str, &'static str), &u64)| {
            let result = if *code == "2xx" {
                "accepted"
            } else {
                "refused"
            };
            let labels = [("verb", *verb), ("result", result), ("code", *code)];
            let labels = labels.map(|(name, value)| (name, value.to_owned()));
            (labels.to_vec(), *count)
        };
        counts.writes.iter().map(of).collect()
    });
    let help = "Writes to the API server, by what came of them";
    counter(encoder, "kybern_writes", help, writes)
}

/// How many effects ended how, and how long they took.
fn effects(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let none = Histogram::default();
    let took = each(metrics, |counts| {
        let of = |result: EffectResult| {
            let took = counts.effects.get(&result).copied().unwrap_or(none);
            (label("result", result.name()), took)
        };
        EffectResult::ALL.map(of).to_vec()
    });
    let count = |(labels, took): &(Vec<Label>, Histogram)| (labels.clone(), took.count());
    let ended = took.iter().map(count).collect();
    counter(encoder, "kybern_effects", "Effects that ended", ended)?;
    let help = "How long an effect took, from when it had a place to its outcome";
    put_histograms(encoder, "kybern_effect_duration_seconds", help, took)
}

/// What is due.
fn due(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let mut by_priority = |name: &str, help: &str, values: [f64; 4]| {
        let samples = Metrics::PRIORITIES.into_iter().zip(values);
        let samples = samples
            .map(|(priority, value)| (label("priority", priority), value))
            .collect();
        put(encoder, MetricType::Gauge, name, help, samples)
    };
    let help = "Custom resources that are due";
    by_priority("kybern_queue_depth", help, metrics.queued.map(size))?;
    let oldest = metrics.oldest.map(|waits| waits.as_secs_f64());
    let help = "How long the custom resource that has waited longest for its turn is due";
    by_priority("kybern_queue_oldest_seconds", help, oldest)?;
    let help = "Custom resources that are due later";
    gauge(encoder, "kybern_queue_delayed", help, metrics.delayed)?;
    let help = "Passes under way";
    gauge(encoder, "kybern_passes_running", help, metrics.running)?;
    let [running, waiting] = metrics.effects;
    let help = "Effects under way";
    gauge(encoder, "kybern_effects_running", help, running)?;
    let help = "Effects that wait for a place";
    gauge(encoder, "kybern_effects_waiting", help, waiting)
}

/// What is kept between passes.
fn kept(encoder: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let help = "Custom resources that are slowed down, since something changes with every pass";
    gauge(encoder, "kybern_slowed_down", help, metrics.slowed)?;
    let failing = metrics.plugins.keys().map(|plugin| {
        let open = metrics.failing.contains(plugin.as_str());
        (label("plugin", plugin), number(u64::from(open)))
    });
    let help = "1 while a plugin is asked only now and then, since it fails whatever it is asked";
    let name = "kybern_plugin_breaker_open";
    put(encoder, MetricType::Gauge, name, help, failing.collect())?;
    let help = "Keys of the trigger index";
    gauge(encoder, "kybern_trigger_keys", help, metrics.trigger_keys)?;
    let help = "Custom resources whose answers were asked for with those of others and wait for their pass";
    gauge(
        encoder,
        "kybern_answers_ahead",
        help,
        metrics.answered_ahead,
    )?;
    let help = "Custom resources whose last pass is remembered";
    gauge(encoder, "kybern_remembered", help, metrics.remembered)
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: Vec<(Vec<Label>, u64)>,
) -> fmt::Result {
    let samples: Vec<Sample> = counts
        .into_iter()
        .map(|(labels, count)| (labels, number(count)))
        .collect();
    put(encoder, MetricType::Counter, name, help, samples)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: usize) -> fmt::Result {
    let sample = (Vec::new(), size(count));
    put(encoder, MetricType::Gauge, name, help, vec![sample])
}
