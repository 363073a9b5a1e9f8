//! SQL over snapshots of the table store.
//!
//! ```text
//! text --kybern_statement--> query of plain columns --planner--> optimised plan   (cached)
//! plan + parameters + snapshot --bind--> lane 1 (look-up) or lane 3 (DataFusion) --> Answer
//! text of a write --parse_write--> SELECT of its rows --> what each object is to become (`write`)
//! plan + many sets of them + snapshot --many--> lane 2 (one join) --> an Answer for each
//! ```
//!
//! # Contract
//!
//! * One statement reads one snapshot, its subqueries included; plans hold none.
//! * What [`AccessSet`] does not grant does not exist, and rows outside of a
//!   grant's scope are filtered in the scan itself, before any other condition.
//! * While nothing in [`Prepared::read_set_at`] changes, the answer's fingerprint stays.
//! * A table that is not ready makes the statement fail, never look empty.
//!
//! # Limits
//!
//! [`SqlLimits`]. Intermediate values of expressions (`concat`, `replace`) are
//! bounded by the time limit only.

mod access;
mod answer;
mod bind;
mod cache;
mod catalog;
mod contain;
mod elements;
mod engine;
mod engine_facts;
mod error;
mod execute;
mod explain;
mod facts;
mod fingerprint;
mod functions;
mod growth;
mod guard;
mod in_list;
mod json;
mod json_path;
mod keys;
mod lane;
mod limits;
mod lookup;
mod many;
mod memory;
mod names;
mod now;
mod param;
mod path_types;
mod planner;
mod prepared;
mod quantity;
mod read_set;
mod running;
mod scan;
mod slots;
mod source;
mod spans;
mod subqueries;
mod subscribe;
mod system;
mod truth;
mod views;
mod write;

pub use access::{AccessSet, RowScope, TableAccess};
pub use answer::Answer;
pub use catalog::{Catalog, CatalogTable};
pub use engine::Engine;
pub use engine_facts::{
    CrFact, DesiredFact, DriftFact, EffectFact, EngineFacts, MeterFact, Micros, ObjectFact,
    PassFact, PluginFact, QueueFact, Told, TrialFact, TriggerFact,
};
pub use error::SqlError;
pub use facts::{HostFacts, MemoryFact, WatchFact};
pub use kybern_statement::{
    Mode, Path as FieldPath, Position, Propagation, Refused, Segment as FieldStep, StatementError,
    Subscribe, Verb, is_write, subscribe as parse_subscribe,
};
pub use limits::SqlLimits;
pub use param::Param;
pub use path_types::{PathStep, PathTypes};
pub use prepared::Prepared;
pub use running::{Held, Kept};
pub use subscribe::{Mark, Subscription, Telling};
pub use views::View;
pub use write::{Action, Assignment, Change, EditError, Edited, PreparedWrite, SetsStatus, edit};

#[cfg(test)]
mod tests;
