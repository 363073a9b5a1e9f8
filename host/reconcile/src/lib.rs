//! kybern-reconcile: from changed rows to the writes that are needed, and not one more.
//!
//! ```text
//! commit -> trigger -> queue -> pass: sense -> decide -> check -> diff -> act -> prune -> status
//! ```
//!
//! The engine knows tables and plans. Answers, decisions and writes come
//! through the traits [`Sense`], [`Decide`] and [`Apply`]; effects run after passes, through
//! [`Act`].

mod act;
mod active;
mod ahead;
mod backoff;
mod breaker;
mod bucket;
mod cause;
mod check;
mod config;
mod counters;
mod delta;
mod diff;
mod difference;
mod dry;
mod effect;
mod effects;
mod engine;
mod error;
mod expand;
mod fields;
mod finalizer;
mod finding;
mod finish;
mod follow;
mod grant;
mod histogram;
mod intent;
mod jobs;
mod kept;
mod key;
mod memory;
mod metrics;
mod outcomes;
mod owner;
mod pass;
mod patch;
mod patched;
mod plan;
mod planning;
mod prune;
mod queue;
mod reads;
mod ready;
mod record;
mod registry;
mod release;
mod remember;
mod report;
mod revision;
mod seen;
mod sensing;
mod shape;
mod shared;
mod stage;
mod status;
mod subresource;
mod told;
mod traits;
mod trial;
mod trigger;
mod trouble;
mod undo;
mod why;

pub use active::{Active, KindFacts, MaxPrune, PassLimits, Primary, kind_of, table_of};
pub use backoff::backoff;
pub use cause::{Matched, RowName, Started, StartedBy};
pub use config::{EngineConfig, PlanLimits};
pub use counters::Counters;
pub use engine::{Deps, Engine, Released};
pub use error::{Cause, Crash, DecideError, EngineError, Refusal, SenseError, WriteError};
pub use histogram::Histogram;
pub use kept::Kept;
pub use metrics::{Again, EffectResult, Metrics, PassResult, PluginMetrics};
pub use plan::parse_plan;
pub use record::{is_record, record_name};
pub use report::{AnswerSummary, ApplyReason, DryPass, Ending, PassReport, Step, Verdict};
pub use revision::{Pinned, Revision};
pub use stage::Stage;
pub use told::{CrName, Drift, Drifted, Effected, Effecting, Place, Queued, Running};
pub use traits::{
    Act, Answer, Apply, Clock, Decide, Entropy, EventRequest, ExpandRequest, Expanded, Kinds,
    ObjectRef, Sense, SenseRequest, Sensed, Write, WriteBody, Written,
};
pub use trial::{TrialRules, Trialled, Trials};
pub use trouble::{Trouble, Troubles};
