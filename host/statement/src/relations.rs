//! The tables that a query names, without a look at its columns.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::{ObjectName, ObjectNamePart, Query, Spanned, Visit, Visitor};

use crate::rewrite::{folded, unresolved};
use crate::{Names, Resolution, StatementError, TableShape};

/// Each table once. A name that some WITH gives is no table, wherever it
/// stands: this answer is for loading tables, and planning looks again.
pub(crate) fn tables(
    query: &Query,
    names: &dyn Names,
) -> Result<Vec<Arc<TableShape>>, StatementError> {
    let mut found = Relations::default();
    let _ = query.visit(&mut found);
    let mut found_tables: Vec<Arc<TableShape>> = Vec::new();
    for name in &found.names {
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|part| match part {
                ObjectNamePart::Identifier(ident) => Some(folded(ident)),
                ObjectNamePart::Function(_) => None,
            })
            .collect();
        let (schema, table) = match parts.as_slice() {
            [table] if found.ctes.contains(table) => continue,
            [table] => (None, table),
            [schema, table] => (Some(schema.as_str()), table),
            _ => continue,
        };
        match names.resolve(schema, table) {
            Resolution::Table(shape) => found_tables.push(shape),
            Resolution::View(view) => found_tables.push(Arc::clone(&view.parent)),
            other => return Err(unresolved(other, schema, table, name.span())),
        }
    }
    let mut tables: Vec<Arc<TableShape>> = Vec::new();
    for shape in found_tables {
        if !tables.contains(&shape) {
            tables.push(shape);
        }
    }
    Ok(tables)
}

#[derive(Default)]
struct Relations {
    names: Vec<ObjectName>,
    ctes: HashSet<String>,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| folded(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.names.push(name.clone());
        ControlFlow::Continue(())
    }
}
