//! Spells out `*` and `alias.*`.

use sqlparser::ast::{
    ObjectNamePart, SelectItem, SelectItemQualifiedWildcardKind, Spanned, WildcardAdditionalOptions,
};

use sqlparser::tokenizer::Span;

use super::access::Access;
use super::from::column;
use super::output::{Column, Json, Output};
use super::scope::{Relation, Source};
use super::{Rewriter, folded, quoted, unsupported};
use crate::StatementError;

/// What is selected, under which name, and where its JSON is from.
type Item = (SelectItem, String, Option<Json>);

impl Rewriter<'_> {
    /// The columns that a wildcard stands for.
    pub(super) fn wildcard(&mut self, item: &SelectItem) -> Result<Vec<Item>, StatementError> {
        let span = item.span();
        let (relations, merged) = match self.scopes.last() {
            Some(scope) => (scope.relations.clone(), scope.merged.clone()),
            None => Default::default(),
        };
        let (relations, options) = match item {
            SelectItem::Wildcard(options) => (relations, options),
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) => {
                let Some(ObjectNamePart::Identifier(ident)) = name.0.last() else {
                    return unsupported(span, "this wildcard");
                };
                let wanted = folded(ident);
                let Some(relation) = relations.iter().find(|r| r.alias == wanted) else {
                    return Err(StatementError::new(
                        span,
                        format!("there is no table {wanted} in FROM"),
                    ));
                };
                (vec![relation.clone()], options)
            }
            _ => return unsupported(span, "this wildcard"),
        };
        if has_options(options) {
            return Err(StatementError::new(span, "options of * are not supported")
                .cure("name the columns"));
        }
        if relations.is_empty() {
            return Err(StatementError::new(span, "* needs a FROM clause"));
        }
        let unqualified = matches!(item, SelectItem::Wildcard(_));
        let mut items = Vec::new();
        let mut seen = Vec::new();
        for relation in &relations {
            if matches!(relation.source, Source::Element { .. }) {
                items.extend(self.element_columns(relation, span)?);
                continue;
            }
            for Column { name, json } in self.columns(relation) {
                if unqualified && merged.contains(&name) {
                    if seen.contains(&name) {
                        continue;
                    }
                    seen.push(name.clone());
                }
                let item = SelectItem::UnnamedExpr(column(&relation.alias, &name, span));
                items.push((item, name, json));
            }
        }
        Ok(items)
    }

    fn columns(&mut self, relation: &Relation) -> Output {
        match &relation.source {
            Source::Table { shape, index } => {
                let columns: Output = shape
                    .columns
                    .iter()
                    .filter(|column| column.wildcard)
                    .map(|column| Column {
                        name: column.name.clone(),
                        json: column
                            .root
                            .as_ref()
                            .filter(|_| column.json)
                            .map(|root| Json::at(shape, root)),
                    })
                    .collect();
                if let Some(used) = self.tables.get_mut(*index) {
                    used.columns.extend(columns.iter().map(|c| c.name.clone()));
                }
                columns
            }
            Source::Derived(columns) => columns.clone(),
            Source::Element { .. } => Vec::new(),
        }
    }

    /// An element, and its number where that has a name.
    fn element_columns(
        &mut self,
        relation: &Relation,
        span: Span,
    ) -> Result<Vec<Item>, StatementError> {
        let Source::Element {
            element, number, ..
        } = &relation.source
        else {
            return Ok(Vec::new());
        };
        let mut items = Vec::new();
        for name in std::iter::once(element).chain(number) {
            let Some(head) = relation.element(name, 1) else {
                continue;
            };
            let access = Access::chain(vec![quoted(name, span)], span);
            let replaced = self.element(&access, head)?;
            let item = SelectItem::ExprWithAlias {
                expr: replaced.expr,
                alias: quoted(name, span),
            };
            items.push((item, name.clone(), replaced.json));
        }
        Ok(items)
    }
}

fn has_options(options: &WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_some()
        || options.opt_exclude.is_some()
        || options.opt_except.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
        || options.opt_alias.is_some()
}
