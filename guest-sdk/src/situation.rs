//! Everything that `decide` may depend on besides the CR.

use crate::cursor::{Cursor, ReadRows};
use crate::rows::Rows;
use crate::{DeploymentStatus, HookError, Outcome, decode};
use serde::de::DeserializeOwned;

/// Everything that `decide` may depend on besides the CR: rows, outcomes, state, settings, time.
pub struct Situation<'a> {
    document: &'a kybern_interface::Situation,
    rows: &'a dyn ReadRows,
}

impl<'a> Situation<'a> {
    pub(crate) fn new(document: &'a kybern_interface::Situation, rows: &'a dyn ReadRows) -> Self {
        Self { document, rows }
    }

    /// All rows of the query `query`, each read as `T`.
    ///
    /// Columns are matched by name. Integers, timestamps and columns of nested
    /// JSON come from the host as text; they are read as what the field's type
    /// asks for.
    pub fn rows<T: DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, HookError> {
        self.stream(query)?.collect()
    }

    /// The row of a query that gives at most one.
    pub fn row<T: DeserializeOwned>(&self, query: &str) -> Result<Option<T>, HookError> {
        let mut rows = self.stream(query)?;
        let first = rows.next().transpose()?;
        if rows.next().transpose()?.is_some() {
            return Err(HookError::Internal(format!(
                "query `{query}` was expected to give one row and gave more"
            )));
        }
        Ok(first)
    }

    /// The rows of the query `query` one after another; only a page of them is in memory.
    pub fn stream<T: DeserializeOwned>(&self, query: &str) -> Result<Rows<T>, HookError> {
        Ok(Rows::new(self.open(query)?))
    }

    /// The rows of the query `query` as Arrow record batches, one after another;
    /// an answer without rows gives none. Needs the feature `arrow`.
    ///
    /// Columns are Boolean, Int64, UInt64, Float64, Utf8, Timestamp(us, UTC) or
    /// Binary, without dictionaries or views; each may hold nulls.
    #[cfg(feature = "arrow")]
    pub fn batches(&self, query: &str) -> Result<crate::Batches, HookError> {
        Ok(crate::Batches::new(self.open(query)?))
    }

    /// The status of the Deployment that the attribute's `mirror` names; all
    /// zeros while there is none.
    pub fn deployment(&self) -> Result<DeploymentStatus, HookError> {
        Ok(self.row("deployment")?.unwrap_or_default())
    }

    /// A position at the first row of the query `query`, for who reads rows in
    /// steps, or some in one form and some in another.
    pub fn open(&self, query: &str) -> Result<Cursor, HookError> {
        Ok(Cursor::new(query, self.rows.open(query)?))
    }

    /// Results of the effects that the last plan named.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.document.outcomes
    }

    /// The result of the effect with this key.
    pub fn outcome(&self, key: &str) -> Option<&Outcome> {
        self.document
            .outcomes
            .iter()
            .find(|outcome| outcome.key == key)
    }

    /// What the plugin kept with [`set_state`](crate::Plan::set_state); none if
    /// nothing was kept.
    pub fn state<T: DeserializeOwned>(&self) -> Result<Option<T>, HookError> {
        if self.document.state.is_null() {
            return Ok(None);
        }
        decode("state", &self.document.state).map(Some)
    }

    /// The registration's settings.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, HookError> {
        decode("settings", &self.document.settings)
    }

    /// The pass's time, RFC 3339 UTC. A plan that depends on it must say
    /// [`requeue_after`](crate::Plan::requeue_after).
    pub fn now(&self) -> &str {
        &self.document.now
    }
}
