//! What a column name can mean at one place of a query.

use std::sync::Arc;

use sqlparser::ast::Ident;
use sqlparser::tokenizer::Span;

use super::output::{Json, find};
use super::unnest::Moved;
use super::{Output, Rewriter, folded, is_quoted, quoted};
use crate::{ColumnShape, StatementError, TableShape, nearest};

/// The relations of one FROM clause.
#[derive(Default)]
pub(super) struct Scope {
    pub relations: Vec<Relation>,
    /// Columns that USING made one of two: they are named without a table.
    pub merged: Vec<String>,
    /// Conditions of UNNESTs, as they were written.
    pub moved: Vec<Moved>,
    /// Conditions that tie UNNESTs to tables around the query.
    pub settled: Vec<Moved>,
}

/// One relation of a FROM clause.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub alias: String,
    pub source: Source,
    /// Whether an outer join may leave it empty.
    pub nullable: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A table, and its place in [`Rewriter::tables`].
    Table {
        shape: Arc<TableShape>,
        index: usize,
    },
    /// A subquery and its columns.
    Derived(Output),
    /// The elements of a list of a table.
    Element {
        /// The table's place in [`Rewriter::tables`].
        table: usize,
        /// The table's alias.
        of: String,
        /// The list's place in the table.
        list: usize,
        /// What the element is called, and its number if there is one.
        element: String,
        number: Option<String>,
    },
}

/// A named subquery and its columns.
#[derive(Clone, Debug)]
pub(super) struct Derived {
    pub name: String,
    /// The name that the engine knows it by.
    pub given: String,
    pub columns: Output,
}

/// What the first names of a dotted chain mean.
pub(super) enum Head {
    /// A declared column of a table; `used` names belong to it.
    Column {
        shape: Arc<TableShape>,
        table: usize,
        alias: String,
        column: ColumnShape,
        used: usize,
    },
    /// A column of a subquery: `alias.column`.
    Derived {
        idents: Vec<Ident>,
        alias: String,
        json: Option<Json>,
        used: usize,
    },
    /// The element of a list, or its number.
    Element {
        table: usize,
        of: String,
        list: usize,
        name: String,
        number: bool,
        /// Whether the relation has no other name than the element.
        alone: bool,
        used: usize,
    },
    /// `alias.name` of a subquery that has no column called `name`.
    Opaque { alias: String },
}

impl Source {
    /// Whether this relation has a column of that name.
    fn has(&self, name: &str, quoted: bool) -> bool {
        match self {
            Self::Table { shape, .. } => shape.column(name, quoted).is_some(),
            Self::Derived(columns) => find(columns, name).is_some(),
            Self::Element {
                element, number, ..
            } => element == name || number.as_deref() == Some(name),
        }
    }
}

impl Relation {
    /// Whether it is this table of the statement, or elements of it.
    pub(super) fn is(&self, table: usize) -> bool {
        match &self.source {
            Source::Table { index, .. } => *index == table,
            Source::Element { table: own, .. } => *own == table,
            Source::Derived(_) => false,
        }
    }

    /// The name that the engine knows it by.
    pub(super) fn given(&self) -> &str {
        match &self.source {
            Source::Element { of, .. } => of,
            Source::Table { .. } | Source::Derived(_) => &self.alias,
        }
    }

    /// The place of the table that the engine knows by that alias.
    pub(super) fn table_called(&self, alias: &str) -> Option<usize> {
        match &self.source {
            Source::Table { index, .. } if self.alias == alias => Some(*index),
            Source::Element { table, of, .. } if of == alias => Some(*table),
            _ => None,
        }
    }

    /// What follows the relation's own name.
    fn named(&self, ident: &Ident) -> Option<Head> {
        match &self.source {
            // `AS port` names the element: `port.port` is a field of it.
            Source::Element {
                element, number, ..
            } if *element == self.alias && number.as_ref() != Some(&folded(ident)) => {
                self.element(element, 1)
            }
            _ => self.head(ident, 2),
        }
    }

    /// The head of a chain whose `used` names mean the element, or its number.
    pub(super) fn element(&self, name: &str, used: usize) -> Option<Head> {
        let Source::Element {
            table,
            of,
            list,
            element,
            number,
        } = &self.source
        else {
            return None;
        };
        let is_number = number.as_deref() == Some(name);
        (is_number || element == name).then(|| Head::Element {
            table: *table,
            of: of.clone(),
            list: *list,
            name: name.to_owned(),
            number: is_number,
            alone: *element == self.alias,
            used,
        })
    }

    /// The qualified head for `idents`, whose first name is a column here.
    fn head(&self, ident: &Ident, used: usize) -> Option<Head> {
        match &self.source {
            Source::Table { shape, index } => {
                let column = shape.column(&ident.value, is_quoted(ident))?.clone();
                let (shape, alias) = (Arc::clone(shape), self.alias.clone());
                Some(Head::Column {
                    shape,
                    table: *index,
                    alias,
                    column,
                    used,
                })
            }
            Source::Derived(columns) => {
                let name = folded(ident);
                let json = find(columns, &name)?.json.clone();
                Some(Head::Derived {
                    json,
                    idents: vec![quoted(&self.alias, ident.span), quoted(name, ident.span)],
                    alias: self.alias.clone(),
                    used,
                })
            }
            Source::Element { .. } => self.element(&folded(ident), used),
        }
    }
}

impl Rewriter<'_> {
    /// What the chain begins with; `None` when no name in reach fits.
    pub(super) fn head(&self, chain: &[Ident]) -> Result<Option<Head>, StatementError> {
        for scope in self.scopes.iter().rev() {
            if let Some(head) = scope.head(chain)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// The error for a name that means nothing, with what may have been meant.
    pub(super) fn unknown_column(&self, chain: &[Ident]) -> StatementError {
        let written = chain
            .iter()
            .map(|i| i.value.as_str())
            .collect::<Vec<_>>()
            .join(".");
        let (qualifier, wanted) = match chain {
            [first, second, ..] if self.relation(first).is_some() => (Some(first), second),
            [first, ..] => (None, first),
            [] => return StatementError::new(Span::empty(), "there is no column"),
        };
        let mut candidates = Vec::new();
        for relation in self.scopes.iter().rev().flat_map(|scope| &scope.relations) {
            if qualifier.is_some_and(|q| folded(q) != relation.alias) {
                continue;
            }
            match &relation.source {
                Source::Table { shape, .. } => {
                    candidates.extend(shape.columns.iter().map(|c| c.name.clone()));
                }
                Source::Derived(columns) => {
                    candidates.extend(columns.iter().map(|c| c.name.clone()));
                }
                Source::Element { element, .. } => candidates.push(element.clone()),
            }
        }
        let near = nearest(&wanted.value, candidates.iter().map(String::as_str));
        let error = StatementError::new(wanted.span, format!("there is no column {written}"));
        let has_tables = self
            .scopes
            .iter()
            .flat_map(|s| &s.relations)
            .next()
            .is_some();
        match (near.as_slice(), has_tables) {
            ([], true) => error.cure(
                "a path begins with a column like spec, status or labels; object holds everything",
            ),
            ([], false) => error.cure("there is no FROM clause in reach"),
            (near, _) => error.cure(format!("did you mean {}?", near.join(" or "))),
        }
    }

    fn relation(&self, ident: &Ident) -> Option<&Relation> {
        let name = folded(ident);
        self.scopes
            .iter()
            .rev()
            .flat_map(|s| &s.relations)
            .find(|r| r.alias == name)
    }
}

impl Scope {
    /// What the chain begins with, when it begins here.
    pub(super) fn head(&self, chain: &[Ident]) -> Result<Option<Head>, StatementError> {
        let Some((first, rest)) = chain.split_first() else {
            return Ok(None);
        };
        let name = folded(first);
        if let (Some(second), Some(relation)) = (
            rest.first(),
            self.relations.iter().find(|r| r.alias == name),
        ) {
            if let Some(head) = relation.named(second) {
                return Ok(Some(head));
            }
            if matches!(relation.source, Source::Derived(_)) {
                return Ok(Some(Head::Opaque { alias: name }));
            }
        }
        // `schema.table.column` for a table that kept its own name.
        if let ([second, third, ..], Some(relation)) = (
            rest,
            rest.first()
                .and_then(|s| self.relations.iter().find(|r| r.alias == folded(s))),
        ) && let Source::Table { shape, .. } = &relation.source
            && shape.schema == name
            && shape.table == folded(second)
            && let Some(head) = relation.head(third, 3)
        {
            return Ok(Some(head));
        }
        if self.merged.contains(&name) {
            // Of INNER and LEFT joins, which USING is for, the left side has every value.
            return Ok(self.relations.iter().find_map(|left| left.head(first, 1)));
        }
        let mut owners = self
            .relations
            .iter()
            .filter(|r| r.source.has(&first.value, is_quoted(first)) || r.source.has(&name, true));
        let Some(owner) = owners.next() else {
            return Ok(None);
        };
        let others: Vec<&str> = owners.map(|r| r.alias.as_str()).collect();
        if !others.is_empty() {
            let written = chain
                .iter()
                .map(|i| i.value.as_str())
                .collect::<Vec<_>>()
                .join(".");
            let candidates: Vec<String> = std::iter::once(owner.alias.as_str())
                .chain(others)
                .map(|alias| format!("{alias}.{written}"))
                .collect();
            return Err(
                StatementError::new(first.span, format!("column {written} is ambiguous"))
                    .cure(format!("write {}", candidates.join(" or "))),
            );
        }
        Ok(owner.head(first, 1))
    }
}
