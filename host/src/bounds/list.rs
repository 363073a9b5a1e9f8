//! The list of bounds: each configuration taken apart field by field.

use crate::asking::AskConfig;
use crate::metrics::{number, size};
use crate::rights::RightsConfig;
use crate::source::SourceConfig;
use crate::values::ValuesConfig;
use crate::wiring::ingest::Ingest;
use crate::wiring::watches::Watches;
use kybern_kube::WatchConfig;
use kybern_kube::watch::{Pace, Patience};
use kybern_plugin::{CallLimits, CompileLimits, Compiler, RuntimeConfig};
use kybern_reconcile::{EngineConfig, PlanLimits};
use kybern_sql::SqlLimits;
use kybern_table::StoreConfig;
use std::time::Duration;

/// What the host was started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Of the tables.
    pub(crate) store: StoreConfig,
    /// Of each watch.
    pub(crate) watch: WatchConfig,
    /// Of the engine.
    pub(crate) engine: EngineConfig,
    /// Of statements.
    pub(crate) sql: SqlLimits,
    /// Of the plugins together.
    pub(crate) runtime: RuntimeConfig,
    /// Of who asks through the socket.
    pub(crate) asking: AskConfig,
    /// Of where components come from.
    pub(crate) source: SourceConfig,
    /// Of questions for rights.
    pub(crate) rights: RightsConfig,
    /// Of objects that settings come from.
    pub(crate) values: ValuesConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: StoreConfig {
                // A thread of its own seals and merges, up to here behind the commits.
                waiting_bytes: 16 << 20,
                ..StoreConfig::default()
            },
            watch: WatchConfig::default(),
            engine: EngineConfig::default(),
            sql: SqlLimits::default(),
            runtime: RuntimeConfig::default(),
            asking: AskConfig::default(),
            source: SourceConfig::default(),
            rights: RightsConfig::default(),
            values: ValuesConfig::default(),
        }
    }
}

/// One bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    /// Whose it is.
    pub(super) room: &'static str,
    /// Its name, with the unit at the end.
    pub(super) name: &'static str,
    /// What it is set to.
    pub(super) value: f64,
    /// The metric that says how near it is, or that counts how often it was met.
    pub(super) usage: &'static str,
}

fn bound(room: &'static str, name: &'static str, value: f64, usage: &'static str) -> Bound {
    Bound {
        room,
        name,
        value,
        usage,
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn of_store(config: &StoreConfig) -> Vec<Bound> {
    let StoreConfig {
        chunk_rows,
        chunk_bytes,
        compression_level: _,
        dictionary_after,
        open_bytes,
        waiting_bytes,
        log_entries,
        log_bytes,
        pinned_bytes,
        cache_bytes,
        tombstones,
    } = config;
    let is = |name, value: &usize, usage| bound("store", name, size(*value), usage);
    vec![
        is("chunk_rows", chunk_rows, "kybern_table_chunks"),
        is("chunk_bytes", chunk_bytes, "kybern_table_chunks"),
        is(
            "dictionary_after_bytes",
            dictionary_after,
            "kybern_table_raw_bytes",
        ),
        is("open_bytes", open_bytes, "kybern_store_open_bytes"),
        is("waiting_bytes", waiting_bytes, "kybern_store_waiting_bytes"),
        is("log_entries", log_entries, "kybern_change_log_entries"),
        is("log_bytes", log_bytes, "kybern_change_log_bytes"),
        is("pinned_bytes", pinned_bytes, "kybern_store_pinned_bytes"),
        is("cache_bytes", cache_bytes, "kybern_column_cache_bytes"),
        is("tombstones", tombstones, "kybern_table_tombstones"),
    ]
}

fn of_watch(config: &WatchConfig) -> Vec<Bound> {
    let WatchConfig {
        idle,
        server_timeout,
        open_timeout,
        retry,
        refused,
        patience,
        max_line_bytes,
        max_batch_changes,
        max_batch_bytes,
        page,
        streaming: _,
        seed: _,
        // Of who shares them.
        openings: _,
    } = config;
    let Patience { tries, time } = patience;
    let is = |name, value: f64, usage| bound("watch", name, value, usage);
    let waits = |first, last, Pace { first: f, last: l }: &Pace| {
        let usage = "kybern_watch_interruptions_total";
        [is(first, seconds(*f), usage), is(last, seconds(*l), usage)]
    };
    let largest = "kybern_watch_largest_batch_bytes";
    let mut all = vec![
        is(
            "idle_seconds",
            seconds(*idle),
            "kybern_watch_silence_seconds",
        ),
        is(
            "server_timeout_seconds",
            seconds(*server_timeout),
            "kybern_watch_silence_seconds",
        ),
        is(
            "open_timeout_seconds",
            seconds(*open_timeout),
            "kybern_watch_interruptions_total",
        ),
    ];
    all.extend(waits("retry_first_seconds", "retry_last_seconds", retry));
    all.extend(waits(
        "refused_first_seconds",
        "refused_last_seconds",
        refused,
    ));
    all.extend([
        is(
            "patience_tries",
            number(u64::from(*tries)),
            "kybern_table_readable",
        ),
        is("patience_seconds", seconds(*time), "kybern_table_readable"),
        is("max_line_bytes", size(*max_line_bytes), largest),
        is(
            "max_batch_changes",
            size(*max_batch_changes),
            "kybern_watch_largest_batch_changes",
        ),
        is("max_batch_bytes", size(*max_batch_bytes), largest),
        is(
            "page_objects",
            number(u64::from(*page)),
            "kybern_watch_lists_total",
        ),
        is(
            "grace_seconds",
            seconds(Watches::GRACE),
            "kybern_table_rows",
        ),
    ]);
    all
}

fn of_ingest() -> Vec<Bound> {
    let [batches, writes] = Ingest::BOUNDS;
    vec![
        bound(
            "ingest",
            "waiting_batches",
            size(batches),
            "kybern_ingest_waiting",
        ),
        bound(
            "ingest",
            "waiting_writes",
            size(writes),
            "kybern_ingest_waiting",
        ),
    ]
}

fn of_sql(limits: &SqlLimits) -> Vec<Bound> {
    let SqlLimits {
        statement_bytes,
        total_bytes,
        rows,
        answer_bytes,
        time,
        cached_plans,
    } = limits;
    let is = |name, value: f64, usage| bound("sql", name, value, usage);
    let (held, met) = ("kybern_sql_held_bytes", "kybern_sql_limits_met_total");
    vec![
        is("statement_bytes", size(*statement_bytes), held),
        is("total_bytes", size(*total_bytes), held),
        is("rows", size(*rows), met),
        is("answer_bytes", size(*answer_bytes), met),
        is("time_seconds", seconds(*time), met),
        is(
            "cached_plans",
            size(*cached_plans),
            "kybern_sql_cached_plans",
        ),
    ]
}

fn of_engine(config: &EngineConfig) -> Vec<Bound> {
    let EngineConfig {
        passes,
        writes,
        together,
        backoff_base,
        backoff_cap,
        resync,
        effects,
        effects_of_one,
        effect_backoff,
        effect_grace,
        grace,
        plan,
    } = config;
    let PlanLimits {
        actions,
        object_bytes,
        status_bytes,
        state_bytes,
        effects: plan_effects,
        effect_bytes,
        depth,
        message_chars,
    } = plan;
    let is = |name, value: f64, usage| bound("engine", name, value, usage);
    let (running, delayed) = ("kybern_passes_running", "kybern_queue_delayed");
    let refused = "kybern_plans_refused_total";
    let effecting = "kybern_effects_running";
    vec![
        is("passes", size(*passes), running),
        is("writes", size(*writes), "kybern_writes_total"),
        is("together", size(*together), "kybern_answers_ahead"),
        is("backoff_base_seconds", seconds(*backoff_base), delayed),
        is("backoff_cap_seconds", seconds(*backoff_cap), delayed),
        is("resync_seconds", seconds(*resync), delayed),
        is("effects", size(*effects), effecting),
        is("effects_of_one", size(*effects_of_one), effecting),
        is("effect_backoff_seconds", seconds(*effect_backoff), delayed),
        is("effect_grace_seconds", seconds(*effect_grace), effecting),
        is("grace_seconds", seconds(*grace), running),
        is("plan_actions", size(*actions), refused),
        is("plan_object_bytes", size(*object_bytes), refused),
        is("plan_status_bytes", size(*status_bytes), refused),
        is("plan_state_bytes", size(*state_bytes), refused),
        is("plan_effects", size(*plan_effects), refused),
        is("plan_effect_bytes", size(*effect_bytes), refused),
        is("plan_depth", size(*depth), refused),
        is("plan_message_chars", size(*message_chars), refused),
    ]
}

fn of_runtime(config: &RuntimeConfig) -> Vec<Bound> {
    let RuntimeConfig {
        instances,
        effects,
        max_memory,
        max_stack,
        tick: _,
        max_component,
        cache_dir: _,
        cache_bytes,
        compiler,
        compiles,
        render: _,
    } = config;
    let limits = match compiler {
        Compiler::InProcess => None,
        Compiler::Child(child) => Some(child.limits),
    };
    let is = |name, value: f64, usage| bound("plugins", name, value, usage);
    let loaded = "kybern_plugins_loaded";
    let compiled = "kybern_plugin_compiles_total";
    let mut bounds = vec![
        is(
            "instances",
            number(u64::from(*instances)),
            "kybern_plugin_calls_running",
        ),
        is(
            "effects",
            number(u64::from(*effects)),
            "kybern_effects_running",
        ),
        is(
            "max_memory_bytes",
            size(*max_memory),
            "kybern_plugin_peak_memory_bytes",
        ),
        is(
            "max_stack_bytes",
            size(*max_stack),
            "kybern_plugin_crashes_total",
        ),
        is("max_component_bytes", size(*max_component), loaded),
        is("cache_bytes", number(*cache_bytes), loaded),
        is(
            "compiles",
            size(*compiles),
            "kybern_plugin_compiles_running",
        ),
    ];
    if let Some(limits) = limits {
        let CompileLimits {
            time,
            wall_time,
            memory,
            code,
        } = limits;
        bounds.extend([
            is("compile_time_seconds", seconds(time), compiled),
            is("compile_wall_time_seconds", seconds(wall_time), compiled),
            is("compile_memory_bytes", number(memory), compiled),
            is("compile_code_bytes", number(code), compiled),
        ]);
    }
    bounds
}

/// The bounds of one registration's calls.
pub(super) fn of_calls(limits: &CallLimits) -> Vec<Bound> {
    let CallLimits {
        memory,
        time,
        wall_time,
        wait,
        table_elements,
        instances,
        handles,
        host_call_bytes,
        http_bytes,
        http_requests,
        renders,
        log_bytes,
        output_bytes,
        output_depth,
    } = limits;
    let is = |name, value: f64, usage| bound("call", name, value, usage);
    let crashes = "kybern_plugin_crashes_total";
    let time_used = "kybern_plugin_cpu_seconds_total";
    let effects = "kybern_effects_total";
    vec![
        is(
            "memory_bytes",
            size(*memory),
            "kybern_plugin_peak_memory_bytes",
        ),
        is("time_seconds", seconds(*time), time_used),
        is("wall_time_seconds", seconds(*wall_time), time_used),
        is(
            "wait_seconds",
            seconds(*wait),
            "kybern_plugin_calls_running",
        ),
        is("table_elements", size(*table_elements), crashes),
        is("instances", size(*instances), crashes),
        is("handles", size(*handles), crashes),
        is("host_call_bytes", size(*host_call_bytes), crashes),
        is("http_bytes", size(*http_bytes), effects),
        is("http_requests", number(u64::from(*http_requests)), effects),
        is("renders", number(u64::from(*renders)), crashes),
        is(
            "log_bytes",
            size(*log_bytes),
            "kybern_plugin_log_dropped_total",
        ),
        is("output_bytes", size(*output_bytes), crashes),
        is("output_depth", size(*output_depth), crashes),
    ]
}

fn of_source(config: &SourceConfig) -> Vec<Bound> {
    let SourceConfig {
        component_bytes,
        manifest_bytes,
        time,
        idle,
        redirects,
        fetches,
        fetches_each,
        kept_bytes,
    } = config;
    let is = |name, value: f64, usage| bound("source", name, value, usage);
    let ended = "kybern_source_fetches_total";
    let running = "kybern_source_fetches_running";
    vec![
        is("component_bytes", size(*component_bytes), ended),
        is("manifest_bytes", size(*manifest_bytes), ended),
        is("time_seconds", seconds(*time), ended),
        is("idle_seconds", seconds(*idle), ended),
        is("redirects", size(*redirects), ended),
        is("fetches", size(*fetches), running),
        is("fetches_each", size(*fetches_each), running),
        is(
            "kept_bytes",
            number(*kept_bytes),
            "kybern_source_kept_bytes",
        ),
    ]
}

fn of_rights(config: &RightsConfig) -> Vec<Bound> {
    let RightsConfig {
        looks,
        rights,
        namespaces,
        rules_age,
        rules_bytes,
        refresh,
    } = config;
    let is = |name, value: f64, usage| bound("rights", name, value, usage);
    let sent = "kybern_rights_reviews_total";
    vec![
        is("looks", size(*looks), "kybern_rights_looks_running"),
        is("rights", size(*rights), sent),
        is("namespaces", size(*namespaces), sent),
        is("rules_age_seconds", seconds(*rules_age), sent),
        is(
            "rules_bytes",
            size(*rules_bytes),
            "kybern_rights_rules_bytes",
        ),
        is("refresh_seconds", seconds(*refresh), sent),
    ]
}

fn of_values(config: &ValuesConfig) -> Vec<Bound> {
    let ValuesConfig {
        objects,
        value_bytes,
        openings,
    } = config;
    let is = |name, value: usize, usage| bound("values", name, size(value), usage);
    vec![
        is("objects", *objects, "kybern_values_followed"),
        is("value_bytes", *value_bytes, "kybern_values_bytes"),
        is("openings", *openings, "kybern_values_opening"),
    ]
}

fn of_asking(config: &AskConfig) -> Vec<Bound> {
    let AskConfig {
        statements,
        subscriptions,
        statement_bytes,
    } = config;
    let is = |name, value: usize, usage| bound("asking", name, size(value), usage);
    vec![
        is("statements", *statements, "kybern_asked_running"),
        is(
            "subscriptions",
            *subscriptions,
            "kybern_asked_subscriptions",
        ),
        is("statement_bytes", *statement_bytes, "kybern_asked_running"),
    ]
}

impl Settings {
    /// All bounds but those of calls, which each registration may set for itself.
    pub(super) fn bounds(&self) -> Vec<Bound> {
        [
            of_store(&self.store),
            of_watch(&self.watch),
            of_ingest(),
            of_sql(&self.sql),
            of_engine(&self.engine),
            of_runtime(&self.runtime),
            of_asking(&self.asking),
            of_source(&self.source),
            of_rights(&self.rights),
            of_values(&self.values),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a host that is told nothing has them.
    fn settings() -> Settings {
        let child = kybern_plugin::Child::of_this_program(Vec::new(), CompileLimits::default());
        Settings {
            runtime: RuntimeConfig {
                compiler: Compiler::Child(child.unwrap()),
                ..RuntimeConfig::default()
            },
            ..Settings::default()
        }
    }

    /// The table of docs/operate.md.
    fn table() -> String {
        let mut lines = vec![
            "| room | bound | unless told | how near |".to_owned(),
            "|---|---|---|---|".to_owned(),
        ];
        let mut all = settings().bounds();
        all.extend(of_calls(&CallLimits::default()));
        for bound in all {
            lines.push(format!(
                "| {} | {} | {} | {} |",
                bound.room, bound.name, bound.value, bound.usage
            ));
        }
        lines.join("\n")
    }

    #[test]
    fn the_documentation_lists_every_bound() {
        let page = include_str!("../../../docs/operate.md");
        let table = table();
        assert!(
            page.contains(&table),
            "docs/operate.md, Bounds: replace the table by\n{table}"
        );
    }

    #[test]
    fn no_bound_is_listed_twice() {
        let mut all = settings().bounds();
        all.extend(of_calls(&CallLimits::default()));
        let names: std::collections::BTreeSet<_> = all.iter().map(|b| (b.room, b.name)).collect();
        assert_eq!(names.len(), all.len());
    }
}
