//! Name resolution for one asker: what is not granted is not there.

use std::sync::Arc;

use kybern_statement::{
    Found, Names, Path as Steps, Resolution, Segment as Step, TableShape, nearest,
};
use kybern_table::{PathType, Segment};

use crate::access::Grants;
use crate::catalog::{Catalog, Table};
use crate::json_path;
use crate::system::{NO_LIST, SystemTable};
use crate::views::View;

/// A catalog as one asker sees it.
pub(crate) struct Granted<'a> {
    pub catalog: &'a Catalog,
    pub grants: &'a Grants,
}

impl<'a> Granted<'a> {
    pub(crate) fn tables(&self) -> impl Iterator<Item = &'a Arc<Table>> {
        let grants = self.grants;
        self.catalog
            .all()
            .iter()
            .filter(move |table| grants.scope(table.key()).is_some())
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = &'a View> {
        let grants = self.grants;
        self.catalog
            .views()
            .filter(move |view| grants.scope(view.table().key()).is_some())
    }

    /// A view, and the error for a name that is none.
    fn view(&self, views: &[&View], wanted: &str) -> Resolution {
        let preferred = |view: &&&View| view.parent().preferred;
        let found = match views.iter().filter(preferred).collect::<Vec<_>>() {
            none if none.is_empty() => views.iter().collect(),
            some => some,
        };
        match found.as_slice() {
            [] => self.missing(wanted),
            [one] if one.parent().listable => Resolution::View(Arc::clone(one.shape())),
            [_] => Resolution::Unreadable {
                reason: NO_LIST.to_owned(),
            },
            many => Resolution::Ambiguous(
                many.iter()
                    .map(|view| format!("{}.{}", view.schema(), view.name()))
                    .collect(),
            ),
        }
    }

    fn sees(&self, table: &Table) -> bool {
        self.grants.scope(table.key()).is_some()
    }

    fn readable(table: &Arc<Table>) -> Resolution {
        if table.info.listable {
            Resolution::Table(Arc::clone(&table.shape))
        } else {
            Resolution::Unreadable {
                reason: NO_LIST.to_owned(),
            }
        }
    }

    fn missing(&self, wanted: &str) -> Resolution {
        let mut found: Vec<String> = self
            .tables()
            .filter(|table| {
                let short = table.info.short_names.iter().any(|name| name == wanted);
                table.info.preferred && short
                    || table.info.singular == wanted
                    || table.info.def.plural == wanted
            })
            .map(|table| table.full_name())
            .collect();
        let near = nearest(
            wanted,
            self.tables()
                .map(|table| table.info.def.plural.as_str())
                .chain(self.views().map(View::name)),
        );
        for name in near {
            let tables = self.tables().filter(|t| t.info.def.plural == name);
            found.extend(tables.map(|table| table.full_name()));
            let views = self.views().filter(|view| view.name() == name);
            found.extend(views.map(|view| format!("{}.{name}", view.schema())));
        }
        let mut seen = std::collections::HashSet::new();
        found.retain(|name| seen.insert(name.clone()));
        found.truncate(3);
        Resolution::Missing { nearest: found }
    }
}

impl Names for Granted<'_> {
    fn resolve(&self, schema: Option<&str>, table: &str) -> Resolution {
        if let Some(schema) = schema {
            let system = SystemTable::named(schema, table);
            if let Some(system) = system.filter(|system| system.exists_for(self.grants)) {
                return Resolution::Table(system.shape());
            }
            return match self
                .catalog
                .named(schema, table)
                .filter(|found| self.sees(found))
            {
                Some(found) => Self::readable(found),
                None => {
                    let named = |view: &&View| view.schema() == schema && view.name() == table;
                    self.view(&self.views().filter(named).collect::<Vec<_>>(), table)
                }
            };
        }
        let granted = || {
            self.catalog
                .plural(table)
                .iter()
                .filter(|found| self.sees(found))
        };
        let preferred: Vec<_> = granted().filter(|found| found.info.preferred).collect();
        let found = if preferred.is_empty() {
            granted().collect()
        } else {
            preferred
        };
        match found.as_slice() {
            [] => {
                let named = |view: &&View| view.name() == table;
                self.view(&self.views().filter(named).collect::<Vec<_>>(), table)
            }
            [one] => Self::readable(one),
            many => Resolution::Ambiguous(many.iter().map(|table| table.full_name()).collect()),
        }
    }

    fn is_text(&self, shape: &TableShape, path: &Steps) -> bool {
        let Some(table) = self.catalog.named(&shape.schema, &shape.table) else {
            return true;
        };
        let path = segments(path);
        matches!(
            table.info.types.get(&path),
            None | Some(PathType::Text | PathType::Json)
        )
    }

    fn inside(&self, at: Option<(&TableShape, &Steps)>) -> &'static str {
        let found = at.and_then(|(shape, path)| {
            let table = self.catalog.named(&shape.schema, &shape.table)?;
            table.info.types.get(&segments(path))
        });
        json_path::name(found.unwrap_or(PathType::Text))
    }

    fn found(&self, shape: &TableShape, path: &Steps) -> Found {
        let known = || {
            let table = self.catalog.named(&shape.schema, &shape.table)?;
            Some(table.info.types.found(&segments(path)))
        };
        of_metadata(path).or_else(known).unwrap_or(Found::Unknown)
    }
}

/// A catalog whose schemas may not all be known yet: what may be a view is taken for one.
pub(crate) struct Unlearnt<'a>(pub Granted<'a>);

impl Names for Unlearnt<'_> {
    fn resolve(&self, schema: Option<&str>, table: &str) -> Resolution {
        let found = self.0.resolve(schema, table);
        if !matches!(found, Resolution::Missing { .. }) {
            return found;
        }
        let possible = self.0.catalog.possible_views().iter();
        let named = possible.map(|view| &**view).filter(|view| {
            view.name() == table
                && schema.is_none_or(|schema| view.schema() == schema)
                && self.0.sees(view.table())
        });
        match self.0.view(&named.collect::<Vec<_>>(), table) {
            // Those that come into question need their schemas first.
            Resolution::Missing { .. } => found,
            view => view,
        }
    }

    fn is_text(&self, shape: &TableShape, path: &Steps) -> bool {
        self.0.is_text(shape, path)
    }

    fn inside(&self, at: Option<(&TableShape, &Steps)>) -> &'static str {
        self.0.inside(at)
    }

    fn found(&self, shape: &TableShape, path: &Steps) -> Found {
        self.0.found(shape, path)
    }
}

/// What the metadata that all objects have is at a path.
pub(crate) fn of_metadata(path: &Steps) -> Option<Found> {
    let keys: Vec<&str> = path
        .segments()
        .iter()
        .map_while(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    match keys.as_slice() {
        [] | ["metadata"] | ["metadata", "labels" | "annotations"] => Some(Found::Object),
        ["metadata", "labels" | "annotations", _] => Some(Found::Scalar),
        _ => None,
    }
}

/// The steps of a statement's path as the table's.
pub(crate) fn segments(path: &Steps) -> Vec<Segment> {
    path.segments()
        .iter()
        .map(|step| match step {
            Step::Key(key) => Segment::Key(key.clone()),
            Step::Index(index) => Segment::Index(*index),
        })
        .collect()
}
