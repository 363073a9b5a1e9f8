//! A statement that is planned, and for whom.

use std::sync::Arc;

use kybern_statement::Kind;
use kybern_table::{KindKey, ReadSet};

use crate::Param;
use crate::bind::Values;
use crate::lane::Lane;
use crate::planner::Planned;
use crate::read_set::read_set;

/// A planned statement for one asker. It holds no snapshot.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) planned: Arc<Planned>,
    pub(crate) namespace: Option<Arc<str>>,
    tables: Vec<KindKey>,
}

impl Prepared {
    pub(crate) fn new(planned: Arc<Planned>, namespace: Option<Arc<str>>) -> Self {
        let tables = planned.tables.iter().map(|(key, _)| key.clone()).collect();
        Self {
            planned,
            namespace,
            tables,
        }
    }

    /// The tables that it names. They must be loaded before it is executed.
    pub fn tables(&self) -> &[KindKey] {
        &self.tables
    }

    /// What the answer depends on. Parameters that are missing or do not fit make it wider.
    pub fn read_set(&self, params: &[Param]) -> ReadSet {
        let values = Values { params, now: None };
        read_set(&self.planned.plan, values, self.namespace.as_deref())
    }

    /// How many parameters it takes.
    pub fn param_count(&self) -> usize {
        self.planned.parameters
    }

    /// Whether it is an EXPLAIN.
    pub fn is_explain(&self) -> bool {
        matches!(self.planned.kind, Kind::Explain { .. })
    }

    /// Whether a LIMIT or OFFSET chooses among rows that nothing orders: the
    /// answer may then change although nothing that it reads has changed.
    pub fn has_arbitrary_limit(&self) -> bool {
        self.planned.arbitrary_limit
    }

    /// Whether it calls `now()`: the answer then changes with time alone.
    pub fn uses_now(&self) -> bool {
        self.planned.uses_now
    }

    /// Whether it reads tables about this host, which no read set covers.
    pub fn reads_system_tables(&self) -> bool {
        self.planned.reads_system_tables
    }

    /// Whether it is answered by a key look-up alone.
    pub fn is_key_lookup(&self) -> bool {
        matches!(self.planned.lane, Lane::KeyLookup(_))
    }
}
