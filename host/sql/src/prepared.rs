//! A statement that is planned, and for whom.

use std::sync::Arc;

use kybern_statement::Kind;
use kybern_table::{KindKey, ReadSet, Snapshot};

use crate::bind::{Values, own};
use crate::lane::Lane;
use crate::planner::Planned;
use crate::{Param, SqlError};

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

    /// What the answer at this snapshot depends on. Keys of one table may come from rows of another
    /// one that it is joined with: a later answer has another read set.
    ///
    /// # Errors
    /// [`SqlError::Expired`], and [`SqlError::NotReady`] for a table that is not there.
    pub fn read_set_at(&self, params: &[Param], snapshot: &Snapshot) -> Result<ReadSet, SqlError> {
        let values = Values {
            params,
            now: None,
            room: None,
        };
        let reads = &self.planned.reads;
        reads
            .at(values, self.namespace.as_ref(), snapshot)
            .map_err(|error| own(&error, SqlError::execution))
    }

    /// What any answer depends on. Parameters that are missing or do not fit make it wider.
    pub fn read_set(&self, params: &[Param]) -> ReadSet {
        let values = Values {
            params,
            now: None,
            room: None,
        };
        self.planned.reads.any(values, self.namespace.as_ref())
    }

    /// How many parameters it takes.
    pub fn param_count(&self) -> usize {
        self.planned.parameters
    }

    /// Whether it is an EXPLAIN.
    pub fn is_explain(&self) -> bool {
        matches!(self.planned.kind, Kind::Explain { .. })
    }

    /// Whether it reads rows of its tables: all but EXPLAIN without ANALYZE do.
    pub fn reads_rows(&self) -> bool {
        !matches!(self.planned.kind, Kind::Explain { analyze: false, .. })
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

    /// Whether it reads a few objects by their names and no more: microseconds, whoever computes it.
    pub fn is_point_lookup(&self) -> bool {
        matches!(&self.planned.lane, Lane::KeyLookup(lookup) if lookup.is_point())
    }

    /// For a key look-up, whether it is compiled before its parameters are known.
    #[cfg(test)]
    pub(crate) fn is_compiled_once(&self) -> Option<bool> {
        match &self.planned.lane {
            Lane::KeyLookup(lookup) => Some(lookup.is_compiled_once()),
            Lane::General => None,
        }
    }
}
