//! UNNEST in FROM: the elements of a table's list become columns of that table.
//!
//! # Why
//!
//! `pods p, UNNEST(p.spec.containers) AS c` is one scan of pods with a row for
//! each container. To the engine `c.image` is a column of `p` like any other
//! path, so that conditions, indexes, read sets and grants stay those of pods.
//!
//! # Contract
//!
//! The UNNEST is taken out of FROM, and its condition becomes one of WHERE. That
//! is the same only where no outer join can leave the table empty, so anything
//! else is refused. Below a subquery, `UNNEST(p.spec.containers)` of a table
//! around it is a table of its own, tied to `p` by the object's key.

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, Ident, Join, JoinConstraint, JoinOperator,
    ObjectName, Spanned, TableAlias, TableFactor, Value,
};
use sqlparser::tokenizer::Span;

use super::access::{Access, access};
use super::from::column;
use super::scope::{Head, Source};
use super::{Rewriter, TableUse, folded, quoted, settle, unsupported};
use crate::unnested::Unnested;
use crate::{Element, Found, Path, Segment, StatementError};

/// UNNEST as it stands in FROM.
struct Written {
    list: Expr,
    alias: Option<TableAlias>,
    ordinality: bool,
    span: Span,
}

/// A list, and the table that has it.
struct List {
    table: usize,
    of: Option<usize>,
    path: Path,
    span: Span,
}

/// A condition that is to hold in WHERE, and the table that no outer join may leave empty then.
pub(super) struct Moved {
    pub condition: Expr,
    table: usize,
    /// The name of a table around the query that it is tied to.
    around: Option<String>,
}

/// What became of an UNNEST.
pub(super) enum Unnest {
    /// It is a part of its table.
    Gone,
    /// It is a table of its own.
    Table,
}

pub(super) fn is_unnest(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::UNNEST { .. } => true,
        TableFactor::Function { name, .. } => is_named_unnest(name),
        _ => false,
    }
}

fn is_named_unnest(name: &ObjectName) -> bool {
    name.to_string().eq_ignore_ascii_case("unnest")
}

impl Written {
    fn of(factor: &TableFactor) -> Result<Self, StatementError> {
        let span = factor.span();
        let one = |lists: &[Expr]| match lists {
            [list] => Ok(list.clone()),
            _ => Err(StatementError::new(span, "UNNEST takes one list")
                .cure("write one UNNEST for each list")),
        };
        match factor {
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_ordinality,
                ..
            } => Ok(Self {
                span: array_exprs.first().map_or(span, Spanned::span),
                list: one(array_exprs)?,
                alias: alias.clone(),
                ordinality: *with_ordinality,
            }),
            TableFactor::Function {
                args,
                with_ordinality,
                alias,
                ..
            } => {
                let lists = args.iter().filter_map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                    _ => None,
                });
                let lists: Vec<Expr> = lists.collect();
                Ok(Self {
                    span: lists.first().map_or(span, Spanned::span),
                    list: one(&lists)?,
                    alias: alias.clone(),
                    ordinality: *with_ordinality,
                })
            }
            _ => unsupported(span, "WITH OFFSET").map_err(|error: StatementError| {
                error.cure("write WITH ORDINALITY, which counts from 1")
            }),
        }
    }

    /// The names of the relation, of the element and of its number.
    fn names(&self) -> Result<(Ident, String, Option<String>), StatementError> {
        let Some(alias) = &self.alias else {
            let name = "unnest".to_owned();
            return Ok((quoted(&name, self.span), name, self.number("ordinality")));
        };
        let names: Vec<String> = alias.columns.iter().map(|c| folded(&c.name)).collect();
        let own = folded(&alias.name);
        let most = 1 + usize::from(self.ordinality);
        if alias.at.is_some() || alias.columns.iter().any(|c| c.data_type.is_some()) {
            return unsupported(alias.name.span, "this alias of UNNEST");
        }
        if names.len() > most {
            let message = format!("{own} names {} columns of {most}", names.len());
            return Err(StatementError::new(alias.name.span, message)
                .cure("name the element, and with WITH ORDINALITY its number"));
        }
        let mut names = names.into_iter();
        let element = names.next().unwrap_or_else(|| own.clone());
        let number = names.next().unwrap_or_else(|| "ordinality".to_owned());
        Ok((alias.name.clone(), element, self.number(&number)))
    }

    fn number(&self, name: &str) -> Option<String> {
        self.ordinality.then(|| name.to_owned())
    }
}

impl Rewriter<'_> {
    /// An UNNEST that nothing joins: behind a comma, or the only one of a FROM.
    pub(super) fn unnest_alone(
        &mut self,
        factor: &mut TableFactor,
    ) -> Result<Unnest, StatementError> {
        let written = Written::of(factor)?;
        let list = self.list(&written, 0)?;
        match list {
            Some(list) => {
                self.unnested(&written, list, false)?;
                Ok(Unnest::Gone)
            }
            None => {
                *factor = self.outer(&written)?;
                Ok(Unnest::Table)
            }
        }
    }

    /// An UNNEST that is joined with what is left of it, which begins at relation `start`.
    pub(super) fn unnest_join(
        &mut self,
        join: &mut Join,
        start: usize,
    ) -> Result<Unnest, StatementError> {
        let written = Written::of(&join.relation)?;
        let (outer, constraint) = match &join.join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
                (false, on.clone())
            }
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (true, on.clone()),
            _ => {
                return unsupported(written.span, "UNNEST in this kind of join").map_err(
                    |error: StatementError| error.cure("write CROSS JOIN, JOIN or LEFT JOIN"),
                );
            }
        };
        let condition = match constraint {
            JoinConstraint::None => None,
            JoinConstraint::On(condition) => Some(condition).filter(|on| !is_true(on)),
            _ => {
                return unsupported(written.span, "USING with UNNEST")
                    .map_err(|error: StatementError| error.cure("write ON"));
            }
        };
        let Some(list) = self.list(&written, start)? else {
            if outer {
                return Err(not_beside(written.span));
            }
            join.relation = self.outer(&written)?;
            return Ok(Unnest::Table);
        };
        let table = list.table;
        self.unnested(&written, list, outer)?;
        match condition {
            Some(condition) if outer => self.matching(table, &condition)?,
            Some(condition) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.moved.push(Moved {
                        condition,
                        table,
                        around: None,
                    });
                }
            }
            None => {}
        }
        Ok(Unnest::Gone)
    }

    /// The list that UNNEST is about; none if its table stands around the query.
    fn list(&self, written: &Written, start: usize) -> Result<Option<List>, StatementError> {
        let Some(found) = access(&written.list)? else {
            let message = format!("{} is no path of a table", written.list);
            return Err(StatementError::new(written.span, message).cure(
                "write UNNEST(p.spec.containers) beside the table p; for other values write VALUES",
            ));
        };
        let own = match self.scopes.last() {
            Some(scope) => scope.head(found.names())?,
            None => None,
        };
        let is_own = own.is_some();
        let head = match own {
            Some(head) => head,
            None => match self.head(found.names())? {
                Some(head) => head,
                None => return Err(self.unknown_column(found.names())),
            },
        };
        let list = self.list_of(head, &found)?;
        self.refuse_no_list(&list)?;
        if !is_own {
            return Ok(None);
        }
        let relations = self.scopes.last().map(|scope| &scope.relations);
        let at = relations.and_then(|relations| relations.iter().position(|r| r.is(list.table)));
        match at {
            Some(at) if at >= start => Ok(Some(list)),
            _ => Err(not_beside(written.span)),
        }
    }

    fn list_of(&self, head: Head, found: &Access) -> Result<List, StatementError> {
        let span = found.span();
        match head {
            Head::Column {
                table,
                column,
                used,
                ..
            } => match &column.root {
                Some(root) if column.json => Ok(List {
                    table,
                    of: None,
                    path: root.join(&found.steps(used)),
                    span,
                }),
                _ => Err(no_list(span, &column.name)),
            },
            Head::Element {
                number: true, name, ..
            } => Err(no_list(span, &name)),
            Head::Element {
                table, list, used, ..
            } => Ok(List {
                table,
                of: Some(list),
                path: Path(found.steps(used)),
                span,
            }),
            Head::Derived { alias, .. } | Head::Opaque { alias } => Err(StatementError::new(
                span,
                format!("UNNEST cannot enter a column of the subquery {alias}"),
            )
            .cure("write UNNEST inside of the subquery, beside the table")),
        }
    }

    /// What the schema knows to be something else is a mistake; what it does not know may be one.
    fn refuse_no_list(&self, list: &List) -> Result<(), StatementError> {
        let Some(table) = self.tables.get(list.table) else {
            return Ok(());
        };
        let path = self.full_path(list);
        match self.names.found(&table.shape, &path) {
            Found::List | Found::Unknown => Ok(()),
            Found::Scalar => Err(no_list(list.span, &table.shape.virtual_name(&path))),
            Found::Object => {
                let around = list.of.and_then(|of| table.unnested.get(of));
                let name = around.map_or_else(
                    || table.shape.virtual_name(&path),
                    |around| around.column(&list.path),
                );
                let message = format!("{name} is an object, not a list");
                Err(StatementError::new(list.span, message)
                    .cure("name its keys, as in labels['app']"))
            }
        }
    }

    /// Where the list is in the object.
    fn full_path(&self, list: &List) -> Path {
        let table = self.tables.get(list.table);
        let around = list.of.and_then(|of| table?.unnested.get(of));
        around.map_or_else(
            || list.path.clone(),
            |around| around.element.join(list.path.segments()),
        )
    }

    /// Puts the list's elements into the table and into scope.
    fn unnested(
        &mut self,
        written: &Written,
        list: List,
        outer: bool,
    ) -> Result<(), StatementError> {
        let (mut ident, element, number) = written.names()?;
        let root = self.full_path(&list);
        if self.may_lack(list.table) && !outer {
            let message = "an outer join may leave the table of this UNNEST empty";
            return Err(StatementError::new(written.span, message).cure(
                "write LEFT JOIN UNNEST(...) AS c ON true, or join (SELECT ... FROM p, UNNEST(...))",
            ));
        }
        let Some(table) = self.tables.get_mut(list.table) else {
            return Ok(());
        };
        let index = table.add(list.of, list.path, root, outer);
        let source = Source::Element {
            table: list.table,
            of: table.alias.clone(),
            list: index,
            element,
            number,
        };
        self.relation_in_scope(&mut ident, source)
    }

    /// UNNEST of a table around the query: a table of its own with the same object.
    fn outer(&mut self, written: &Written) -> Result<TableFactor, StatementError> {
        let (mut ident, element, number) = written.names()?;
        let Some(found) = access(&written.list)? else {
            return Err(not_beside(written.span));
        };
        let Some(head) = self.head(found.names())? else {
            return Err(self.unknown_column(found.names()));
        };
        let list = self.list_of(head, &found)?;
        let root = self.full_path(&list);
        let Some(around) = self.tables.get_mut(list.table) else {
            return Err(not_beside(written.span));
        };
        let Some(namespaced) = around.shape.keyed_by_name else {
            return Err(not_beside(written.span));
        };
        settle(&mut ident);
        // A name of its own: the table around may be called like the element.
        let alias = format!("{} of {}", ident.value, around.alias);
        let mut own = TableUse::new(around.shape.clone(), alias.clone());
        let copied = own.copy(around, list.of);
        let of = copied.last().map(|(_, mine)| *mine);
        let index = own.add(of, list.path, root, false);
        let mut ties: Vec<(String, String)> = Vec::new();
        for key in ["namespace", "name"]
            .into_iter()
            .skip(usize::from(!namespaced))
        {
            own.columns.insert(key.to_owned());
            around.columns.insert(key.to_owned());
            ties.push((key.to_owned(), key.to_owned()));
        }
        for (theirs, mine) in copied {
            ties.extend(own.count(mine).zip(around.count(theirs)));
        }
        let outer = around.alias.clone();
        let table = self.tables.len();
        for (mine, theirs) in ties {
            let condition = Expr::BinaryOp {
                left: Box::new(column(&alias, &mine, written.span)),
                op: BinaryOperator::Eq,
                right: Box::new(column(&outer, &theirs, written.span)),
            };
            if let Some(scope) = self.scopes.last_mut() {
                let around = Some(outer.clone());
                scope.settled.push(Moved {
                    condition,
                    table,
                    around,
                });
            }
        }
        let parts = [own.shape.schema.clone(), own.name()];
        let name = parts.map(|part| quoted(part, written.span)).to_vec();
        let source = Source::Element {
            table,
            of: alias.clone(),
            list: index,
            element,
            number,
        };
        self.tables.push(own);
        self.relation_in_scope(&mut ident, source)?;
        Ok(super::from::named_table(name, quoted(alias, written.span)))
    }

    /// `LEFT JOIN UNNEST(...) AS s ON s.name = c.name`: two text columns of the table.
    fn matching(&mut self, table: usize, condition: &Expr) -> Result<(), StatementError> {
        let refused = || {
            StatementError::new(
                condition.span(),
                "the condition of LEFT JOIN UNNEST is true, or one = of two text paths of the table",
            )
            .cure("put other conditions into CASE or WHERE")
        };
        let Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } = condition
        else {
            return Err(refused());
        };
        let mut names = Vec::new();
        for side in [left, right] {
            let found = access(side)?.ok_or_else(refused)?;
            let replaced = self.replace(&found)?;
            let (Expr::CompoundIdentifier(idents), true) = (&replaced.expr, replaced.untyped)
            else {
                return Err(refused());
            };
            let of = self.tables.get(table).map(|table| &table.alias);
            match idents.as_slice() {
                [alias, name] if Some(&alias.value) == of => names.push(name.value.clone()),
                _ => return Err(refused()),
            }
        }
        let (Some(table), Some(right), Some(left)) =
            (self.tables.get_mut(table), names.pop(), names.pop())
        else {
            return Err(refused());
        };
        if let Some(last) = table.unnested.last_mut() {
            last.on = Some((left, right));
        }
        Ok(())
    }

    /// Whether an outer join may leave the table empty.
    fn may_lack(&self, table: usize) -> bool {
        let relations = self.scopes.iter().flat_map(|scope| &scope.relations);
        let mut own = relations.filter(|relation| relation.is(table));
        own.any(|relation| relation.nullable)
    }

    /// What the conditions of UNNESTs and the ties to tables around the query add to WHERE.
    pub(super) fn moved(&mut self) -> Result<(Vec<Expr>, Vec<Expr>), StatementError> {
        let Some(scope) = self.scopes.last_mut() else {
            return Ok((Vec::new(), Vec::new()));
        };
        let (moved, settled) = (
            std::mem::take(&mut scope.moved),
            std::mem::take(&mut scope.settled),
        );
        let hides = |around: &Option<String>| {
            let mut own = self.scopes.last().into_iter().flat_map(|s| &s.relations);
            own.any(|relation| Some(relation.given()) == around.as_deref())
        };
        let condition = |moved: Moved| match self.may_lack(moved.table) {
            _ if hides(&moved.around) => Err(not_beside(moved.condition.span())),
            false => Ok(moved.condition),
            true => {
                let message = "an outer join may leave the table of this UNNEST empty";
                Err(StatementError::new(moved.condition.span(), message)
                    .cure("write CROSS JOIN UNNEST(...), and its condition in WHERE"))
            }
        };
        let moved = moved.into_iter().map(condition).collect::<Result<_, _>>()?;
        let settled = settled.into_iter().map(condition);
        Ok((moved, settled.collect::<Result<_, _>>()?))
    }
}

impl TableUse {
    /// Copies a list of another use of the table, and those around it. Their places there and here.
    fn copy(&mut self, other: &TableUse, list: Option<usize>) -> Vec<(usize, usize)> {
        let Some((place, found)) = list.and_then(|at| Some((at, other.unnested.get(at)?))) else {
            return Vec::new();
        };
        let mut copied = self.copy(other, found.of);
        let of = copied.last().map(|(_, mine)| *mine);
        let (outer, on) = (false, None);
        self.unnested.push(Unnested {
            of,
            outer,
            on,
            ..found.clone()
        });
        copied.push((place, self.unnested.len() - 1));
        copied
    }

    /// The column that numbers the elements of a list.
    fn count(&mut self, list: usize) -> Option<String> {
        let name = self.unnested.get(list)?.ordinality();
        let number = Element::Ordinality { list };
        self.elements.insert(name.clone(), number);
        Some(name)
    }

    /// Another list; its place.
    fn add(&mut self, of: Option<usize>, list: Path, root: Path, outer: bool) -> usize {
        let label = match of.and_then(|of| self.unnested.get(of)) {
            Some(around) => around.column(&list),
            None => match self.shape.column_at(&list) {
                Some(column) => column.name.clone(),
                None => self.shape.virtual_name(&list),
            },
        };
        let taken = |name: &String| self.unnested.iter().any(|known| known.name == *name);
        let numbered = (2..).map(|n| format!("{label}[* {n}]"));
        let name = std::iter::once(format!("{label}[*]"))
            .chain(numbered)
            .find(|name| !taken(name));
        self.unnested.push(Unnested {
            of,
            list,
            element: root.join(&[Segment::Index(0)]),
            name: name.unwrap_or(label),
            outer,
            on: None,
        });
        self.unnested.len() - 1
    }
}

fn is_true(condition: &Expr) -> bool {
    matches!(condition, Expr::Value(value) if value.value == Value::Boolean(true))
}

fn no_list(span: Span, name: &str) -> StatementError {
    StatementError::new(span, format!("{name} is no list"))
        .cure("UNNEST takes the path of a list, like spec.containers")
}

pub(super) fn not_beside(span: Span) -> StatementError {
    StatementError::new(span, "UNNEST does not stand beside its table").cure(
        "write FROM pods p CROSS JOIN UNNEST(p.spec.containers) AS c, and join others behind it",
    )
}
