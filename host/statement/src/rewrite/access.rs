//! Paths: finds them in an expression and makes one column of each.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Ident, Spanned, Subscript, Value,
};
use sqlparser::tokenizer::Span;

use super::output::{Inside, Json, find};
use super::scope::{Head, Source};
use super::{Rewriter, quoted};
use crate::{Element, Path, Segment, StatementError};

/// A dotted chain and the steps after it, as they were written.
pub(super) struct Access {
    chain: Vec<Ident>,
    steps: Vec<Segment>,
    /// Whether the last operator asks for text (`->>`, `#>>`).
    text: bool,
    /// Whether JSON operators or subscripts were used.
    explicit: bool,
    span: Span,
}

/// The names that an expression begins with, and the steps after them.
pub(crate) struct Steps {
    pub names: Vec<Ident>,
    pub steps: Vec<Segment>,
    pub span: Span,
}

/// Reads an expression as a path. `Ok(None)`: it is something else.
pub(crate) fn steps(expr: &Expr) -> Result<Option<Steps>, StatementError> {
    let found = access(expr)?;
    Ok(found.map(|found| Steps {
        names: found.chain,
        steps: found.steps,
        span: found.span,
    }))
}

/// A column that an access turned into.
pub(super) struct Replaced {
    pub expr: Expr,
    /// The name that the output column gets when the author gives none.
    pub name: String,
    /// Whether the value may be cast without failing: it is text of unknown content.
    pub untyped: bool,
    /// Where it is JSON that paths may enter, once it is the column of a subquery.
    pub json: Option<Json>,
}

/// Reads an expression as an access. `Ok(None)`: it is something else.
pub(super) fn access(expr: &Expr) -> Result<Option<Access>, StatementError> {
    match expr {
        Expr::Identifier(ident) => Ok(Some(Access::chain(vec![ident.clone()], ident.span))),
        Expr::CompoundIdentifier(idents) => Ok(Some(Access::chain(idents.clone(), expr.span()))),
        Expr::Nested(inner) => access(inner),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let Some(mut found) = access(root)? else {
                return Ok(None);
            };
            for step in access_chain {
                found.step(step)?;
            }
            Ok(Some(found))
        }
        Expr::BinaryOp { left, op, right } => {
            let (many, text) = match op {
                BinaryOperator::Arrow => (false, false),
                BinaryOperator::LongArrow => (false, true),
                BinaryOperator::HashArrow => (true, false),
                BinaryOperator::HashLongArrow => (true, true),
                _ => return Ok(None),
            };
            let Some(mut found) = access(left)? else {
                return Err(StatementError::new(
                    left.span(),
                    format!("{op} works on columns of tables only"),
                )
                .cure("select the path inside the subquery and name it"));
            };
            found.explicit = true;
            found.text = text;
            if many {
                found.literal_path(right)?
            } else {
                found.literal_key(right)?
            }
            Ok(Some(found))
        }
        _ => Ok(None),
    }
}

fn literal_cure(error: StatementError) -> StatementError {
    error.cure("keys are literals: ->'name', ->0, ['name'], [0] or #>>'{a,b}'")
}

impl Access {
    pub(super) fn chain(chain: Vec<Ident>, span: Span) -> Self {
        Self {
            chain,
            steps: Vec::new(),
            text: false,
            explicit: false,
            span,
        }
    }

    /// The names that it begins with.
    pub(super) fn names(&self) -> &[Ident] {
        &self.chain
    }

    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// What follows behind the first so many names.
    pub(super) fn steps(&self, used: usize) -> Vec<Segment> {
        let names = self.chain.iter().skip(used);
        let names = names.map(|ident| Segment::Key(ident.value.clone()));
        names.chain(self.steps.iter().cloned()).collect()
    }

    fn step(&mut self, step: &AccessExpr) -> Result<(), StatementError> {
        self.explicit = true;
        match step {
            AccessExpr::Dot(Expr::Identifier(ident)) if self.steps.is_empty() => {
                self.chain.push(ident.clone());
                Ok(())
            }
            AccessExpr::Dot(Expr::Identifier(ident)) => {
                self.steps.push(Segment::Key(ident.value.clone()));
                Ok(())
            }
            AccessExpr::Subscript(Subscript::Index { index }) => self.literal_key(index),
            AccessExpr::Dot(other) => Err(literal_cure(StatementError::new(
                other.span(),
                format!("{other} is no field name"),
            ))),
            AccessExpr::Subscript(_) => Err(literal_cure(StatementError::new(
                self.span,
                "a slice is not supported in a path",
            ))),
        }
    }

    /// The column as text, where text is asked for.
    fn typed(&self, column: Expr, is_text: bool) -> Expr {
        if !self.text || is_text {
            return column;
        }
        Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(column),
            data_type: DataType::Text,
            array: false,
            format: None,
        }
    }

    fn literal_key(&mut self, key: &Expr) -> Result<(), StatementError> {
        let refused = || {
            literal_cure(StatementError::new(
                key.span(),
                format!("{key} is no literal key"),
            ))
        };
        let Expr::Value(value) = key else {
            return Err(refused());
        };
        self.steps.push(match &value.value {
            Value::SingleQuotedString(name) | Value::EscapedStringLiteral(name) => {
                Segment::Key(name.clone())
            }
            Value::Number(number, _) => Segment::Index(number.parse().map_err(|_| refused())?),
            _ => return Err(refused()),
        });
        Ok(())
    }

    /// `'{a,0,"b c"}'`: a PostgreSQL array of text. Digits are an index.
    fn literal_path(&mut self, path: &Expr) -> Result<(), StatementError> {
        let refused = || {
            literal_cure(StatementError::new(
                path.span(),
                format!("{path} is no literal path"),
            ))
        };
        let Expr::Value(value) = path else {
            return Err(refused());
        };
        let Value::SingleQuotedString(text) = &value.value else {
            return Err(refused());
        };
        let inner = text
            .trim()
            .strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'))
            .ok_or_else(refused)?;
        for element in split_array(inner).ok_or_else(refused)? {
            self.steps.push(match element {
                Item::Bare(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                    Segment::Index(text.parse().map_err(|_| refused())?)
                }
                Item::Bare(text) | Item::Quoted(text) => Segment::Key(text),
            });
        }
        Ok(())
    }
}

enum Item {
    Bare(String),
    Quoted(String),
}

/// The elements of an array literal without its braces; `None` when it is malformed.
fn split_array(inner: &str) -> Option<Vec<Item>> {
    let mut elements = Vec::new();
    let mut rest = inner.trim();
    loop {
        if let Some(after) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next()? {
                    (end, '"') => break end,
                    (_, '\\') => text.push(characters.next()?.1),
                    (_, other) => text.push(other),
                }
            };
            elements.push(Item::Quoted(text));
            rest = after.get(end + 1..)?.trim_start();
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let text = rest.get(..end)?.trim();
            if text.is_empty() || text.contains(['{', '}', '"']) {
                return None;
            }
            elements.push(Item::Bare(text.to_owned()));
            rest = rest.get(end..)?;
        }
        if rest.is_empty() {
            return Some(elements);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

impl Rewriter<'_> {
    /// The column that an access means.
    pub(super) fn replace(&mut self, access: &Access) -> Result<Replaced, StatementError> {
        match self.head(&access.chain)? {
            None => Err(self.unknown_column(&access.chain)),
            Some(Head::Column {
                shape,
                table,
                alias,
                column,
                used,
            }) => {
                let steps = access.steps(used);
                let full = column.root.as_ref().map(|root| root.join(&steps));
                let exact = full.as_ref().and_then(|path| shape.column_at(path));
                let (name, path) = match (exact, full) {
                    (_, _) if steps.is_empty() && column.selectable => (column.name.clone(), None),
                    (Some(declared), _) => (declared.name.clone(), None),
                    (None, Some(path)) if column.json => (shape.virtual_name(&path), Some(path)),
                    _ => {
                        return Err(StatementError::new(
                            access.span,
                            format!(
                                "column {} of {} has no fields",
                                column.name,
                                shape.full_name()
                            ),
                        )
                        .cure(
                            "a path begins with a JSON column like spec, status, labels or object",
                        ));
                    }
                };
                let read = path
                    .as_ref()
                    .or(column.root.as_ref().filter(|_| column.json));
                let is_text = read.is_none_or(|path| self.names.is_text(&shape, path));
                let untyped = is_text && read.is_some();
                let json = read.map(|path| Json::at(&shape, path));
                if let Some(used) = self.tables.get_mut(table) {
                    match path {
                        Some(path) => drop(used.paths.insert(name.clone(), path)),
                        None => drop(used.columns.insert(name.clone())),
                    }
                }
                let idents = vec![quoted(alias, access.span), quoted(&name, access.span)];
                Ok(Replaced {
                    expr: access.typed(Expr::CompoundIdentifier(idents), is_text),
                    name,
                    untyped,
                    json,
                })
            }
            Some(Head::Derived {
                idents,
                alias,
                json,
                used,
            }) => self.derived_path(access, idents, json, &Path(access.steps(used)), &alias),
            Some(Head::Opaque { alias }) => self.opaque(access, &alias),
            Some(head @ Head::Element { .. }) => self.element(access, head),
        }
    }

    /// A column about the elements of a list.
    pub(super) fn element(
        &mut self,
        access: &Access,
        head: Head,
    ) -> Result<Replaced, StatementError> {
        let Head::Element {
            table,
            of,
            list,
            name,
            number,
            alone,
            used,
        } = head
        else {
            return Err(self.unknown_column(&access.chain));
        };
        let path = Path(access.steps(used));
        if number && !path.0.is_empty() {
            let message = format!("the number {name} has no fields");
            return Err(StatementError::new(access.span, message));
        }
        let names = self.names;
        let found = self.tables.get_mut(table).and_then(|table| {
            let unnested = table.unnested.get(list)?;
            let whole = unnested.element.join(path.segments());
            let is_text = !number && names.is_text(&table.shape, &whole);
            let (column, element) = match number {
                true => (unnested.ordinality(), Element::Ordinality { list }),
                false => {
                    let path = path.clone();
                    (unnested.column(&path), Element::At { list, path })
                }
            };
            table.elements.insert(column.clone(), element);
            let json = (!number).then(|| Json::at(&table.shape, &whole));
            Some((column, is_text, json))
        });
        let Some((column, is_text, json)) = found else {
            return Err(self.unknown_column(&access.chain));
        };
        let idents = vec![quoted(of, access.span), quoted(column, access.span)];
        // Like a table's own name, that of the element is no part of the column's.
        let shown = match alone && !number && !path.0.is_empty() {
            true => path.to_string(),
            false => {
                let mut shown = name;
                let _ = crate::path::write_segments(&mut shown, path.segments(), false);
                shown
            }
        };
        Ok(Replaced {
            expr: access.typed(Expr::CompoundIdentifier(idents), is_text),
            name: shown,
            untyped: is_text,
            json,
        })
    }

    /// A column of a subquery, or what is at a path in it.
    fn derived_path(
        &self,
        access: &Access,
        idents: Vec<Ident>,
        json: Option<Json>,
        path: &Path,
        alias: &str,
    ) -> Result<Replaced, StatementError> {
        let mut name = idents.last().map(|i| i.value.clone()).unwrap_or_default();
        if path.segments().is_empty() {
            return Ok(Replaced {
                expr: Expr::CompoundIdentifier(idents),
                name,
                untyped: false,
                json,
            });
        }
        let inside = json.and_then(|json| self.inside(idents, &json, path));
        let Inside {
            expr,
            json,
            is_text,
        } = inside.ok_or_else(|| on_derived(access, alias))?;
        let _ = crate::path::write_segments(&mut name, path.segments(), false);
        Ok(Replaced {
            expr: access.typed(expr, is_text),
            name,
            untyped: is_text,
            json: Some(json),
        })
    }

    /// A column that the subquery has under the canonical name of a path, or of its beginning.
    fn opaque(&self, access: &Access, alias: &str) -> Result<Replaced, StatementError> {
        let path = Path(access.steps(1));
        let relation = self
            .scopes
            .iter()
            .rev()
            .flat_map(|scope| &scope.relations)
            .find(|relation| relation.alias == alias);
        let columns = match relation.map(|r| &r.source) {
            Some(Source::Derived(columns)) => columns.as_slice(),
            _ => &[],
        };
        for end in (1..=path.segments().len()).rev() {
            let (begin, rest) = path.segments().split_at(end);
            if let Some(column) = find(columns, &Path(begin.to_vec()).to_string()) {
                let idents = vec![
                    quoted(alias, access.span),
                    quoted(&column.name, access.span),
                ];
                let rest = Path(rest.to_vec());
                return self.derived_path(access, idents, column.json.clone(), &rest, alias);
            }
        }
        match access.chain.len() == 2 && !access.explicit {
            true => Err(self.unknown_column(&access.chain)),
            false => Err(on_derived(access, alias)),
        }
    }
}

fn on_derived(access: &Access, alias: &str) -> StatementError {
    StatementError::new(
        access.span,
        format!("a path cannot enter a column of the subquery {alias}"),
    )
    .cure("select the path inside the subquery and name it")
}
