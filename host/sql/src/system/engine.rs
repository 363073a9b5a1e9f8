//! `kybern.passes`, `.queue`, `.desired`, `.drift`, `.effects` and `.plugins`: what a host that runs
//! passes knows of them.
//!
//! # Contract
//! They exist for those who may read everything, and for nobody else: a plugin has no such table.
//! Where no passes are run a statement over them fails and says where to ask.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use kybern_table::KindKey;

use super::rows::{Column, Fact, Of, Rows};
use crate::bind::external;
use crate::{
    DesiredFact, DriftFact, EffectFact, EngineFacts, HostFacts, ObjectFact, PassFact, PluginFact,
    QueueFact, SqlError, TriggerFact,
};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineTable {
    Passes,
    Queue,
    Desired,
    Drift,
    Effects,
    Plugins,
}

impl EngineTable {
    const ALL: [Self; 6] = [
        Self::Passes,
        Self::Queue,
        Self::Desired,
        Self::Drift,
        Self::Effects,
        Self::Plugins,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Queue => "queue",
            Self::Desired => "desired",
            Self::Drift => "drift",
            Self::Effects => "effects",
            Self::Plugins => "plugins",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    pub(super) fn fields(self) -> Vec<(&'static str, DataType)> {
        match self {
            Self::Passes => PassFact::fields(),
            Self::Queue => QueueFact::fields(),
            Self::Desired => DesiredFact::fields(),
            Self::Drift => DriftFact::fields(),
            Self::Effects => EffectFact::fields(),
            Self::Plugins => PluginFact::fields(),
        }
    }

    /// Reads it.
    pub(super) fn scan(
        self,
        host: Option<&dyn HostFacts>,
        schema: SchemaRef,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let engine = self.engine(host)?;
        let of = Arc::clone(&schema);
        let rows: Arc<dyn PartitionStream> = match self {
            Self::Passes => rows(of, move || engine.passes()),
            Self::Queue => rows(of, move || engine.queue()),
            Self::Desired => rows(of, move || engine.desired()),
            Self::Drift => rows(of, move || engine.drift()),
            Self::Effects => rows(of, move || engine.effects()),
            Self::Plugins => rows(of, move || engine.plugins()),
        };
        let rows = vec![rows];
        let scan = StreamingTableExec::try_new(schema, rows, projection, [], false, None)?;
        Ok(Arc::new(scan))
    }

    fn engine(self, host: Option<&dyn HostFacts>) -> Result<Arc<dyn EngineFacts>> {
        let engine = match host {
            Some(host) => host.engine(),
            None => Err("nobody runs passes here".to_owned()),
        };
        engine.map_err(|reason| {
            let name = format!("kybern.{}", self.name());
            external(SqlError::NotTold { name, reason })
        })
    }
}

fn rows<T: Fact>(
    schema: SchemaRef,
    ask: impl Fn() -> crate::Told<T> + Send + Sync + 'static,
) -> Arc<dyn PartitionStream> {
    Arc::new(Rows { schema, ask })
}

/// Borrowed text.
fn some(text: &str) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(text))
}

/// The same; empty text is none.
fn filled(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

fn optional(text: &Option<String>) -> Option<Cow<'_, str>> {
    text.as_deref().map(Cow::Borrowed)
}

fn api_version(kind: &KindKey) -> Option<Cow<'_, str>> {
    Some(if kind.group.is_empty() {
        Cow::Borrowed(&*kind.version)
    } else {
        Cow::Owned(format!("{}/{}", kind.group, kind.version))
    })
}

/// The columns that name a CR, then those of the table.
macro_rules! of_cr {
    ($($column:expr),+ $(,)?) => {
        &[
            ("plugin", Of::Text(|f| some(&f.cr.plugin))),
            ("api_version", Of::Text(|f| api_version(&f.cr.kind))),
            ("kind", Of::Text(|f| some(&f.cr.kind.kind))),
            ("namespace", Of::Text(|f| filled(&f.cr.namespace))),
            ("name", Of::Text(|f| some(&f.cr.name))),
            $($column),+
        ]
    };
}

/// The same of a CR and an object.
macro_rules! of_object {
    ($($column:expr),+ $(,)?) => {
        of_cr![
            ("object_api_version", Of::Text(|f| api_version(&f.object.kind))),
            ("object_kind", Of::Text(|f| some(&f.object.kind.kind))),
            ("object_namespace", Of::Text(|f| filled(&f.object.namespace))),
            ("object_name", Of::Text(|f| some(&f.object.name))),
            $($column),+
        ]
    };
}

fn row(trigger: &TriggerFact) -> Option<&ObjectFact> {
    trigger.row.as_ref()
}

impl Fact for PassFact {
    const COLUMNS: &'static [Column<Self>] = of_cr![
        ("at", Of::Time(|f| f.at)),
        ("ending", Of::Text(|f| some(f.ending))),
        ("reason", Of::Text(|f| optional(&f.reason))),
        ("message", Of::Text(|f| optional(&f.message))),
        ("trigger", Of::Text(|f| some(&f.trigger.text))),
        ("trigger_kind", Of::Text(|f| some(f.trigger.kind))),
        (
            "row_api_version",
            Of::Text(|f| api_version(&row(&f.trigger)?.kind))
        ),
        ("row_kind", Of::Text(|f| some(&row(&f.trigger)?.kind.kind))),
        (
            "row_namespace",
            Of::Text(|f| filled(&row(&f.trigger)?.namespace))
        ),
        ("row_name", Of::Text(|f| some(&row(&f.trigger)?.name))),
        ("priority", Of::Text(|f| some(f.priority))),
        ("waited_ms", Of::Millis(|f| Some(f.waited_ms))),
        ("took_ms", Of::Millis(|f| Some(f.took_ms))),
        ("answers", Of::Count(|f| Some(f.answers))),
        ("steps", Of::Count(|f| Some(f.steps))),
        ("writes", Of::Count(|f| Some(f.writes))),
        ("failures", Of::Count(|f| Some(f.failures))),
        ("next", Of::Time(|f| f.next)),
    ];
}

impl Fact for QueueFact {
    const COLUMNS: &'static [Column<Self>] = of_cr![
        ("state", Of::Text(|f| some(f.state))),
        ("priority", Of::Text(|f| some(f.priority))),
        ("trigger", Of::Text(|f| some(&f.trigger.as_ref()?.text))),
        ("due_ms", Of::Millis(|f| f.due_ms)),
        ("waited_ms", Of::Millis(|f| f.waited_ms)),
        ("attempts", Of::Count(|f| Some(f.attempts))),
    ];
}

impl Fact for DesiredFact {
    const COLUMNS: &'static [Column<Self>] = of_object![
        ("wave", Of::Whole(|f| f.wave)),
        ("verdict", Of::Text(|f| some(f.verdict))),
        ("detail", Of::Text(|f| optional(&f.detail))),
    ];
}

impl Fact for DriftFact {
    const COLUMNS: &'static [Column<Self>] = of_object![
        ("state", Of::Text(|f| some(f.state))),
        ("paths", Of::Text(|f| optional(&f.paths))),
    ];
}

impl Fact for EffectFact {
    const COLUMNS: &'static [Column<Self>] = of_cr![
        ("effect", Of::Text(|f| some(&f.effect))),
        ("key", Of::Text(|f| some(&f.key))),
        ("phase", Of::Text(|f| f.phase.map(Cow::Borrowed))),
        ("state", Of::Text(|f| some(f.state))),
        ("attempt", Of::Count(|f| f.attempt)),
        ("at", Of::Time(|f| f.at)),
        ("error", Of::Text(|f| optional(&f.error))),
        ("next", Of::Time(|f| f.next)),
    ];
}

impl Fact for PluginFact {
    const COLUMNS: &'static [Column<Self>] = &[
        ("plugin", Of::Text(|f| some(&f.plugin))),
        ("digest", Of::Text(|f| optional(&f.digest))),
        ("version", Of::Text(|f| optional(&f.version))),
        ("kinds", Of::Text(|f| some(&f.kinds))),
        ("running", Of::Flag(|f| f.running)),
        ("ready", Of::Text(|f| optional(&f.ready))),
        ("reason", Of::Text(|f| optional(&f.reason))),
        ("message", Of::Text(|f| optional(&f.message))),
        ("crs", Of::Count(|f| Some(f.crs))),
        ("failing", Of::Count(|f| Some(f.failing))),
        ("passes", Of::Count(|f| Some(f.passes))),
        ("failed_passes", Of::Count(|f| Some(f.failed_passes))),
        ("decides", Of::Count(|f| Some(f.decides))),
        ("refused_plans", Of::Count(|f| Some(f.refused_plans))),
        ("drifted", Of::Count(|f| Some(f.drifted))),
        ("writes", Of::Count(|f| Some(f.writes))),
        ("trial_mode", Of::Text(|f| some(f.trial.as_ref()?.mode))),
        (
            "trial_digest",
            Of::Text(|f| some(&f.trial.as_ref()?.digest)),
        ),
        (
            "trial_verdict",
            Of::Text(|f| optional(&f.trial.as_ref()?.verdict)),
        ),
        ("trial_tried", Of::Count(|f| f.trial.as_ref()?.tried)),
        ("trial_failed", Of::Count(|f| f.trial.as_ref()?.failed)),
        ("trial_differed", Of::Count(|f| f.trial.as_ref()?.differed)),
        ("calls", Of::Count(|f| Some(f.meter.as_ref()?.calls))),
        ("traps", Of::Count(|f| Some(f.meter.as_ref()?.traps))),
        ("cpu_ms", Of::Millis(|f| Some(f.meter.as_ref()?.cpu_ms))),
        (
            "peak_memory_bytes",
            Of::Count(|f| Some(f.meter.as_ref()?.peak_memory_bytes)),
        ),
        (
            "rows_read",
            Of::Count(|f| Some(f.meter.as_ref()?.rows_read)),
        ),
    ];
}
