//! FROM: tables, subqueries and joins.

use std::ops::Range;

use sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Spanned,
    TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
};
use sqlparser::tokenizer::Span;

use super::output::find;
use super::scope::{Relation, Scope, Source};
use super::unnest::{Unnest, is_unnest, not_beside};
use super::{Output, Rewriter, TableUse, folded, quoted, settle, unsupported};
use crate::{Resolution, StatementError, ViewShape};

impl Rewriter<'_> {
    /// Resolves the relations of a FROM clause and opens their scope.
    pub(super) fn from(&mut self, from: &mut Vec<TableWithJoins>) -> Result<(), StatementError> {
        self.scopes.push(Scope::default());
        let mut kept: Vec<TableWithJoins> = Vec::new();
        for mut tables in std::mem::take(from) {
            let start = self.count();
            if !is_unnest(&tables.relation) {
                self.factor(&mut tables.relation)?;
            } else if let Unnest::Gone = self.unnest_alone(&mut tables.relation)? {
                if tables.joins.is_empty() {
                    continue;
                }
                return Err(StatementError::new(
                    tables.relation.span(),
                    "nothing can be joined to an UNNEST behind a comma",
                )
                .cure("write CROSS JOIN UNNEST(...) AS c, and the joins behind it"));
            }
            self.joins(&mut tables, start)?;
            kept.push(tables);
        }
        // Conditions may name every relation of the clause.
        kept.iter_mut()
            .try_for_each(|tables| self.conditions(tables))?;
        kept.iter_mut().for_each(|tables| self.call(tables));
        *from = kept;
        Ok(())
    }

    /// Rewrites what is joined to a relation; `start` is the first of what is joined.
    fn joins(&mut self, tables: &mut TableWithJoins, start: usize) -> Result<(), StatementError> {
        for mut join in std::mem::take(&mut tables.joins) {
            let right = self.count();
            if !is_unnest(&join.relation) {
                self.factor(&mut join.relation)?;
            } else if let Unnest::Gone = self.unnest_join(&mut join, start)? {
                continue;
            }
            self.join(&mut join)?;
            self.may_be_empty(&join.join_operator, start..right);
            tables.joins.push(join);
        }
        Ok(())
    }

    /// How many relations the clause has so far.
    fn count(&self) -> usize {
        self.scopes.last().map_or(0, |scope| scope.relations.len())
    }

    /// Marks what a join may leave empty: `left` is what it joins with the relations behind.
    fn may_be_empty(&mut self, join: &JoinOperator, left: Range<usize>) {
        use JoinOperator as Op;
        let (of_left, of_right) = match join {
            Op::Left(_) | Op::LeftOuter(_) => (false, true),
            Op::Right(_) | Op::RightOuter(_) => (true, false),
            Op::FullOuter(_) => (true, true),
            _ => (false, false),
        };
        let relations = self.scopes.last_mut().map(|scope| &mut scope.relations);
        for (at, relation) in relations.into_iter().flatten().enumerate() {
            relation.nullable |= of_left && left.contains(&at) || of_right && at >= left.end;
        }
    }

    /// Names each table that has lists after them.
    fn call(&self, tables: &mut TableWithJoins) {
        let joined = tables.joins.iter_mut().map(|join| &mut join.relation);
        for factor in std::iter::once(&mut tables.relation).chain(joined) {
            match factor {
                TableFactor::NestedJoin {
                    table_with_joins, ..
                } => self.call(table_with_joins),
                TableFactor::Table {
                    name,
                    alias: Some(alias),
                    ..
                } => {
                    let relations = self.scopes.last().map(|scope| scope.relations.iter());
                    let mut known = relations.into_iter().flatten();
                    if let Some(index) = known.find_map(|r| r.table_called(&alias.name.value))
                        && let Some(used) = self.tables.get(index)
                        && !used.unnested.is_empty()
                    {
                        let span = alias.name.span;
                        let parts = [used.shape.schema.clone(), used.name()];
                        *name = ObjectName::from(parts.map(|part| quoted(part, span)).to_vec());
                    }
                }
                _ => {}
            }
        }
    }

    fn conditions(&mut self, tables: &mut TableWithJoins) -> Result<(), StatementError> {
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = &mut tables.relation
        {
            self.conditions(table_with_joins)?;
        }
        for join in &mut tables.joins {
            if let TableFactor::NestedJoin {
                table_with_joins, ..
            } = &mut join.relation
            {
                self.conditions(table_with_joins)?;
            }
            if let Some(JoinConstraint::On(condition)) = constraint(&mut join.join_operator) {
                self.expr(condition)?;
            }
        }
        Ok(())
    }

    fn join(&mut self, join: &mut Join) -> Result<(), StatementError> {
        let span = join.relation.span();
        let keeps_right = matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        );
        if join.global {
            return unsupported(span, "GLOBAL JOIN");
        }
        match constraint(&mut join.join_operator) {
            None => unsupported(span, "this kind of join").map_err(|error: StatementError| {
                error.cure("write INNER, LEFT, RIGHT, FULL or CROSS JOIN, or WHERE [NOT] EXISTS")
            }),
            Some(JoinConstraint::Natural) => Err(StatementError::new(
                span,
                "NATURAL JOIN is refused: tables share columns like labels and uid that are not keys",
            )
            .cure("write ON a.namespace = b.namespace AND ...")),
            Some(JoinConstraint::Using(_)) if keeps_right => {
                Err(StatementError::new(span, "USING is not supported in RIGHT and FULL joins").cure("write ON"))
            }
            Some(JoinConstraint::Using(names)) => {
                let names: Vec<&mut ObjectName> = names.iter_mut().collect();
                self.using(names)
            }
            Some(JoinConstraint::On(_) | JoinConstraint::None) => Ok(()),
        }
    }

    /// Each name must be a declared column on both sides.
    fn using(&mut self, names: Vec<&mut ObjectName>) -> Result<(), StatementError> {
        for name in names {
            let span = name.span();
            let [ObjectNamePart::Identifier(ident)] = name.0.as_mut_slice() else {
                return unsupported(span, "a qualified name in USING");
            };
            let wanted = folded(ident);
            let relations = self
                .scopes
                .last()
                .map(|s| s.relations.clone())
                .unwrap_or_default();
            let mut sides = 0;
            for relation in relations {
                match relation.source {
                    Source::Table { shape, index } => {
                        let Some(column) = shape.column(&wanted, true) else {
                            continue;
                        };
                        sides += 1;
                        if let Some(used) = self.tables.get_mut(index) {
                            used.columns.insert(column.name.clone());
                        }
                    }
                    Source::Element { .. } => {}
                    Source::Derived(columns) => {
                        sides += usize::from(find(&columns, &wanted).is_some());
                    }
                }
            }
            if sides < 2 {
                return Err(StatementError::new(
                    span,
                    format!("USING ({wanted}): both sides need that column"),
                )
                .cure("write ON with the two columns or paths"));
            }
            *ident = quoted(&wanted, ident.span);
            if let Some(scope) = self.scopes.last_mut() {
                scope.merged.push(wanted);
            }
        }
        Ok(())
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Result<(), StatementError> {
        let span = factor.span();
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                if let Some(view) = self.table(name, alias, span)? {
                    *factor = view;
                }
                Ok(())
            }
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                sample: None,
            } => self.derived(*lateral, subquery, alias, span),
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => {
                let start = self.count();
                self.factor(&mut table_with_joins.relation)?;
                self.joins(table_with_joins, start)
            }
            unnest if is_unnest(unnest) => Err(not_beside(span)),
            TableFactor::Table {
                args: Some(_),
                name,
                ..
            }
            | TableFactor::Function { name, .. } => Err(StatementError::new(
                span,
                format!("there is no table function {name}"),
            )),
            other => unsupported(span, &format!("{other} in FROM")),
        }
    }

    fn derived(
        &mut self,
        lateral: bool,
        subquery: &mut Query,
        alias: &mut Option<TableAlias>,
        span: Span,
    ) -> Result<(), StatementError> {
        // Only LATERAL sees the relations beside it.
        let beside = if lateral { None } else { self.scopes.pop() };
        let columns = self.query(subquery, false);
        self.scopes.extend(beside);
        let columns = columns?;
        let Some(alias) = alias else {
            return Err(StatementError::new(span, "a subquery in FROM needs a name")
                .cure("write (SELECT ...) AS name"));
        };
        let columns = renamed(alias, columns)?;
        self.relation_in_scope(&mut alias.name, Source::Derived(columns))
    }

    fn table(
        &mut self,
        name: &mut ObjectName,
        alias: &mut Option<TableAlias>,
        span: Span,
    ) -> Result<Option<TableFactor>, StatementError> {
        let mut idents = Vec::with_capacity(name.0.len());
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => idents.push(ident.clone()),
                ObjectNamePart::Function(_) => return unsupported(span, "a computed table name"),
            }
        }
        let (schema, table) = match idents.as_slice() {
            [table] => (None, table),
            [schema, table] => (Some(folded(schema)), table),
            _ => {
                return Err(
                    StatementError::new(span, format!("{name} is no table name"))
                        .cure("write schema.table, like apps.deployments"),
                );
            }
        };
        let plain = folded(table);
        if schema.is_none()
            && let Some(cte) = self.ctes.iter().rev().find(|cte| cte.name == plain)
        {
            let mut columns = cte.columns.clone();
            *name = ObjectName::from(vec![quoted(&cte.given, table.span)]);
            if cte.given != plain {
                alias.get_or_insert_with(|| plain_alias(&plain, table.span));
            }
            let mut own = quoted(&plain, table.span);
            let ident = match alias {
                Some(alias) => {
                    columns = renamed(alias, columns)?;
                    &mut alias.name
                }
                None => &mut own,
            };
            self.relation_in_scope(ident, Source::Derived(columns))?;
            return Ok(None);
        }
        let shape = match self.names.resolve(schema.as_deref(), &plain) {
            Resolution::Table(shape) => shape,
            Resolution::View(view) => return self.view(&view, alias.take(), span).map(Some),
            other => return Err(unresolved(other, schema.as_deref(), &plain, span)),
        };
        *name = ObjectName::from(vec![
            quoted(&shape.schema, table.span),
            quoted(&shape.table, table.span),
        ]);
        let alias = alias.get_or_insert_with(|| plain_alias(&shape.table, table.span));
        if !alias.columns.is_empty() || alias.at.is_some() {
            return Err(StatementError::new(
                span,
                "the columns of a table cannot be renamed in FROM",
            )
            .cure("rename them in SELECT with AS"));
        }
        let index = self.tables.len();
        self.tables
            .push(TableUse::new(shape.clone(), folded(&alias.name)));
        self.relation_in_scope(&mut alias.name, Source::Table { shape, index })?;
        Ok(None)
    }

    /// The query that a view stands for. It sees nothing of what is around it.
    fn view(
        &mut self,
        view: &ViewShape,
        alias: Option<TableAlias>,
        span: Span,
    ) -> Result<TableFactor, StatementError> {
        let mut query = crate::parse(&view.query)?.into_query();
        let around = (
            std::mem::take(&mut self.scopes),
            std::mem::take(&mut self.ctes),
        );
        let columns = self.query(&mut query, false);
        (self.scopes, self.ctes) = around;
        let mut alias = alias.unwrap_or_else(|| plain_alias(&view.name, span));
        let columns = renamed(&mut alias, columns?)?;
        self.relation_in_scope(&mut alias.name, Source::Derived(columns))?;
        Ok(TableFactor::Derived {
            lateral: false,
            subquery: query,
            alias: Some(alias),
            sample: None,
        })
    }

    pub(super) fn relation_in_scope(
        &mut self,
        ident: &mut Ident,
        source: Source,
    ) -> Result<(), StatementError> {
        settle(ident);
        let alias = ident.value.clone();
        let Some(scope) = self.scopes.last_mut() else {
            return Ok(());
        };
        if scope
            .relations
            .iter()
            .any(|relation| relation.alias == alias)
        {
            return Err(
                StatementError::new(ident.span, format!("{alias} is in FROM twice"))
                    .cure(format!("give one another name: {alias} AS other")),
            );
        }
        scope.relations.push(Relation {
            alias,
            source,
            nullable: false,
        });
        Ok(())
    }
}

/// A table under another name.
pub(super) fn named_table(name: Vec<Ident>, alias: Ident) -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(name),
        alias: Some(TableAlias {
            explicit: true,
            name: alias,
            columns: Vec::new(),
            at: None,
        }),
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

fn plain_alias(name: &str, span: Span) -> TableAlias {
    TableAlias {
        explicit: true,
        name: quoted(name, span),
        columns: Vec::new(),
        at: None,
    }
}

/// The columns under the names that `AS alias (a, b)` gives them.
pub(super) fn renamed(
    alias: &mut TableAlias,
    mut columns: Output,
) -> Result<Output, StatementError> {
    if alias.at.is_some() {
        return unsupported(alias.name.span, "AT");
    }
    if alias.columns.len() > columns.len() {
        return Err(StatementError::new(
            alias.name.span,
            format!(
                "{} names {} columns of {}",
                alias.name.value,
                alias.columns.len(),
                columns.len()
            ),
        ));
    }
    for (column, definition) in columns.iter_mut().zip(&mut alias.columns) {
        if definition.data_type.is_some() {
            return unsupported(definition.name.span, "a column type in an alias");
        }
        settle(&mut definition.name);
        column.name = definition.name.value.clone();
    }
    // The engine wants a name for each column or for none.
    if !alias.columns.is_empty() {
        let rest = columns.iter().skip(alias.columns.len());
        alias.columns.extend(rest.map(|column| TableAliasColumnDef {
            name: quoted(&column.name, alias.name.span),
            data_type: None,
        }));
    }
    Ok(columns)
}

/// The condition of the joins that are supported.
fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some(constraint),
        _ => None,
    }
}

pub(crate) fn unresolved(
    resolution: Resolution,
    schema: Option<&str>,
    table: &str,
    span: Span,
) -> StatementError {
    let written = schema.map(|s| format!("{s}.")).unwrap_or_default() + table;
    match resolution {
        Resolution::Ambiguous(candidates) => {
            StatementError::new(span, format!("table {written} is ambiguous"))
                .cure(format!("write {}", candidates.join(" or ")))
        }
        Resolution::Unreadable { reason } => {
            StatementError::new(span, format!("table {written} cannot be read: {reason}"))
        }
        Resolution::Missing { nearest } if !nearest.is_empty() => {
            StatementError::new(span, format!("there is no table {written}"))
                .cure(format!("did you mean {}?", nearest.join(" or ")))
        }
        Resolution::Missing { .. } | Resolution::Table(_) | Resolution::View(_) => {
            StatementError::new(span, format!("there is no table {written}"))
                .cure("SELECT * FROM kybern.kinds lists the tables")
        }
    }
}

/// An expression of plain columns: `"alias"."column"`.
pub(super) fn column(alias: &str, name: &str, span: Span) -> Expr {
    Expr::CompoundIdentifier(vec![quoted(alias, span), quoted(name, span)])
}
