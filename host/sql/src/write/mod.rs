//! Statements that change objects: their rows on one snapshot, and what each row asks for.
//!
//! # Contract
//!
//! Nothing here writes. [`Engine::changes`] answers the lowered SELECT of a statement (see
//! [`kybern_statement::Write`]) and says for each object what is to become of it; whoever asked
//! sends that to the API server, with the uid and the resourceVersion that come with it.
//!
//! * An object is in the answer once, whatever FROM or USING multiplies; rows that ask for
//!   different values of one object are an error.
//! * A value is what the kind's schema says that there is at its path: `'3'` for a number is 3,
//!   8080 for text is "8080", what does not fit is an error that names path and object.
//! * NULL takes a field away.

mod edit;
mod rows;
mod value;

use std::sync::Arc;

use kybern_statement::{Kind, Mode, Path, Propagation, Segment, Verb, Write, parse_write};
use kybern_table::{KindKey, Snapshot};
use serde_json::Value;

use crate::access::AccessSet;
use crate::contain::contained;
use crate::names::{Granted, Unlearnt, segments};
use crate::{Answer, CatalogTable, Engine, Param, Prepared, SqlError, planner};
pub use edit::{EditError, Edited, edit};
use value::Wants;

/// One assignment: where, and to what. Without a value the field is taken away.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// From the object's root.
    pub path: Path,
    /// What is to be there.
    pub value: Option<Value>,
}

/// What is to become of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// These fields are set.
    Set(Vec<Assignment>),
    /// It is deleted.
    Delete(Propagation),
    /// It is created.
    Create(Value),
    /// It is applied.
    Apply(Value),
}

/// What a statement asks for one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its namespace; none for a cluster-scoped object, or for a new one that does not say.
    pub namespace: Option<String>,
    /// Its name; empty for a new one that the API server is to name.
    pub name: String,
    /// Of the object that the statement read; empty for a new one.
    pub uid: String,
    /// Of the object that the statement read; empty for a new one.
    pub resource_version: String,
    /// What becomes of it.
    pub action: Action,
}

/// A statement that changes objects, planned for one asker. It holds no snapshot.
#[derive(Debug)]
pub struct PreparedWrite {
    write: Write,
    table: Option<CatalogTable>,
    name: String,
    targets: Vec<Path>,
    wants: Vec<Wants>,
    rows: Arc<Prepared>,
    reads: Option<Vec<Path>>,
}

impl PreparedWrite {
    /// What it does.
    pub fn verb(&self) -> Verb {
        self.write.verb()
    }

    /// What is wanted of it.
    pub fn mode(&self) -> Mode {
        self.write.mode()
    }

    /// The table whose objects it changes; none for APPLY, whose objects say it themselves.
    pub fn table(&self) -> Option<&CatalogTable> {
        self.table.as_ref()
    }

    /// The SQL name of that table; empty for APPLY.
    pub fn table_name(&self) -> &str {
        &self.name
    }

    /// The paths that it sets, in the statement's order.
    pub fn targets(&self) -> &[Path] {
        &self.targets
    }

    /// The SELECT of its rows.
    pub fn rows(&self) -> &Prepared {
        &self.rows
    }

    /// Whether it has RETURNING.
    pub fn has_returning(&self) -> bool {
        self.write.returning().is_some()
    }

    /// What the statement reads of the objects that it changes; none where any change of an object
    /// may be a change of what it reads. An object of which nothing of this has changed is to become
    /// what the statement said, also if its resourceVersion is another one by now.
    pub fn reads(&self) -> Option<&[Path]> {
        self.reads.as_deref()
    }

    /// Whether what it sets is below `status`: all of it, some of it, or nothing.
    pub fn sets_status(&self) -> SetsStatus {
        let is_status = |path: &&Path| {
            let first = path.segments().first();
            matches!(first, Some(Segment::Key(key)) if key == "status")
        };
        match self.targets.iter().filter(is_status).count() {
            0 => SetsStatus::No,
            all if all == self.targets.len() => SetsStatus::Only,
            _ => SetsStatus::AndMore,
        }
    }
}

/// Whether a statement sets fields below `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetsStatus {
    /// None.
    No,
    /// Nothing else.
    Only,
    /// And others.
    AndMore,
}

impl Engine {
    /// The tables that a statement which changes objects names: see [`Engine::tables_of`].
    pub fn tables_of_write(&self, sql: &str, access: &AccessSet) -> Result<Vec<KindKey>, SqlError> {
        let catalog = self.catalog();
        let granted = Granted {
            catalog: &catalog,
            grants: access.grants(),
        };
        let mut found = Vec::new();
        for shape in parse_write(sql)?.tables(&Unlearnt(granted))? {
            if let Some(table) = catalog.named(&shape.schema, &shape.table)
                && !found.contains(table.key())
            {
                found.push(table.key().clone());
            }
        }
        Ok(found)
    }

    /// Plans a statement that changes objects. What its asker may read is `access`; what it may
    /// write, whoever runs it must know.
    pub async fn prepare_write(
        &self,
        sql: &str,
        access: &AccessSet,
    ) -> Result<PreparedWrite, SqlError> {
        let write = parse_write(sql)?;
        let catalog = self.catalog();
        let grants = access.grants();
        let names = Granted {
            catalog: &catalog,
            grants,
        };
        let lowered = write.lower(&names)?;
        let shape = lowered.table.as_ref();
        let found = shape.and_then(|shape| catalog.named(&shape.schema, &shape.table));
        let wants = lowered.targets.iter().map(|path| {
            found.map_or(Wants::Anything, |table| {
                Wants::at(&table.info.types, &segments(path), path)
            })
        });
        let wants = wants.collect();
        let reads = shape.and_then(|shape| rows::reads(&write, shape, &lowered.rows));
        let kind = match write.mode() {
            Mode::Explain { verbose } => Kind::Explain {
                analyze: false,
                verbose,
            },
            Mode::Write | Mode::DryRun => Kind::Select,
        };
        let (state, functions) = self.planning();
        let rewritten = lowered.rows;
        let plan =
            async { planner::plan_rewritten(kind, rewritten, &catalog, grants, state, functions) };
        let planned = Arc::new(contained(plan).await?);
        Ok(PreparedWrite {
            name: shape.map(|shape| shape.full_name()).unwrap_or_default(),
            table: found.map(|table| table.info.clone()),
            targets: lowered.targets,
            wants,
            rows: Arc::new(Prepared::new(planned, access.namespace().cloned())),
            reads,
            write,
        })
    }

    /// What a statement asks for, object by object, on one snapshot: by namespace and name.
    ///
    /// # Errors
    /// Those of [`Engine::execute`], and [`SqlError::Execution`] for values that do not fit.
    pub async fn changes(
        &self,
        write: &PreparedWrite,
        params: &[Param],
        snapshot: &Snapshot,
    ) -> Result<Vec<Change>, SqlError> {
        let answer = self.execute(&write.rows, params, snapshot).await?;
        rows::changes(write, &answer).map_err(|message| SqlError::Execution { message })
    }

    /// What RETURNING of a statement says about objects that fill the table of this snapshot; none
    /// without RETURNING.
    pub async fn returning(
        &self,
        write: &PreparedWrite,
        access: &AccessSet,
        snapshot: &Snapshot,
    ) -> Result<Option<Answer>, SqlError> {
        match self.prepare_returning(write, access).await? {
            Some(prepared) => self.execute(&prepared, &[], snapshot).await.map(Some),
            None => Ok(None),
        }
    }

    /// Plans RETURNING: what is wrong with it is to be known before anything is changed.
    pub async fn prepare_returning(
        &self,
        write: &PreparedWrite,
        access: &AccessSet,
    ) -> Result<Option<Prepared>, SqlError> {
        let Some(returning) = write.write.returning() else {
            return Ok(None);
        };
        let catalog = self.catalog();
        let grants = access.grants();
        let kind = returning.kind();
        let rewritten = returning.rewrite(&Granted {
            catalog: &catalog,
            grants,
        })?;
        if rewritten.tables.len() > 1 {
            return Err(SqlError::Plan {
                message: "RETURNING reads the changed objects alone, once: SELECT more of them afterwards"
                    .to_owned(),
            });
        }
        let (state, functions) = self.planning();
        let plan =
            async { planner::plan_rewritten(kind, rewritten, &catalog, grants, state, functions) };
        let planned = Arc::new(contained(plan).await?);
        Ok(Some(Prepared::new(planned, access.namespace().cloned())))
    }
}
