//! Statements with joins, subqueries, groups and windows, made of a tape of choices.

use proptest::prelude::*;

use super::logic::{Condition, condition, simple, written};
use super::world::{KINDS, Kind, NAMES, NAMESPACES, Of};

/// The choices that make a statement.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    choices: Vec<usize>,
    /// Conditions for each kind.
    conditions: Vec<Vec<Condition>>,
}

pub(super) fn tape() -> impl Strategy<Value = Tape> {
    let conditions: Vec<_> = KINDS
        .iter()
        .map(|kind| (condition(kind), simple(kind)).prop_map(|(one, other)| vec![one, other]))
        .collect();
    let choices = prop::collection::vec(0..240usize, 40);
    (choices, conditions).prop_map(|(choices, conditions)| Tape {
        choices,
        conditions,
    })
}

/// How the tables of a statement are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    Plain,
    /// Each behind a window, which no condition passes.
    Hidden,
    /// Each a subquery of whole objects, which paths enter from outside.
    Below,
}

impl Tape {
    /// The same statement with its tables written one way or the other.
    pub(super) fn statement(&self, tables: Tables) -> String {
        self.maker(tables, Asks::Nothing).statement()
    }

    /// A statement with columns that must equal `$1`, `$2` or `$3`.
    pub(super) fn asking(&self) -> String {
        self.maker(Tables::Plain, Asks::Keys).statement()
    }

    fn maker(&self, tables: Tables, asks: Asks) -> Maker<'_> {
        Maker {
            tape: self,
            at: 0,
            tables,
            asks,
            names: 0,
        }
    }
}

/// Whether a statement has parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nothing,
    Keys,
}

struct Maker<'a> {
    tape: &'a Tape,
    at: usize,
    tables: Tables,
    asks: Asks,
    names: usize,
}

/// A table in a FROM.
#[derive(Clone)]
struct Named {
    kind: usize,
    name: String,
    /// How the elements of a list of it are joined to it; one column is then theirs.
    elements: Option<&'static str>,
}

/// The column that is of an element where there are some, and the list.
const FIRST_IMAGE: &str = "spec.template.spec.containers[0].image";
const LIST: &str = "spec.template.spec.containers";

impl Named {
    fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }

    /// What a column is where the table has that name, and its elements that one.
    fn column(&self, table: &str, elements: &str, at: usize) -> String {
        match self.kind().columns[at].sql {
            FIRST_IMAGE if self.elements.is_some() => format!("{elements}.image"),
            column => format!("{table}.{column}"),
        }
    }

    /// What a column is where the table gives objects and elements.
    fn below(&self, at: usize) -> String {
        let of = match self.kind().columns[at].sql {
            FIRST_IMAGE if self.elements.is_some() => "e.image".to_owned(),
            path if path.starts_with("spec") || path.starts_with("status") => format!("o.{path}"),
            column => column.to_owned(),
        };
        format!("{}.{of}", self.name)
    }

    /// The table in FROM.
    fn relation(&self, table: &str, elements: &str) -> String {
        let kind = self.kind().table;
        match self.elements {
            None => format!("{kind} {table}"),
            Some("LEFT JOIN") => {
                format!("({kind} {table} LEFT JOIN UNNEST({table}.{LIST}) {elements} ON true)")
            }
            Some(join) => format!("({kind} {table} {join} UNNEST({table}.{LIST}) {elements})"),
        }
    }
}

impl Maker<'_> {
    fn pick(&mut self, count: usize) -> usize {
        let choice = self.tape.choices.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        choice % count
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        let at = self.pick(choices.len());
        choices[at].clone()
    }

    fn named(&mut self) -> Named {
        self.names += 1;
        let kind = self.pick(KINDS.len());
        let has_list = KINDS[kind].columns.iter().any(|c| c.sql == FIRST_IMAGE);
        Named {
            kind,
            name: format!("t{}", self.names),
            elements: match has_list {
                true => self.of(&[None, Some("CROSS JOIN"), Some("LEFT JOIN")]),
                false => None,
            },
        }
    }

    fn from(&self, table: &Named) -> String {
        let kind = table.kind();
        let columns = |name: &dyn Fn(usize) -> String| {
            let columns: Vec<String> = (0..kind.columns.len()).map(name).collect();
            columns.join(", ")
        };
        match self.tables {
            Tables::Plain => table.relation(&table.name, &format!("{}e", table.name)),
            Tables::Below => {
                let element = if table.elements.is_some() { ", e" } else { "" };
                format!(
                    "(SELECT i.namespace, i.name, i.uid, i.owner_uid, i.labels, i.object AS o{element} FROM {}) {}",
                    table.relation("i", "e"),
                    table.name
                )
            }
            Tables::Hidden => format!(
                "(SELECT {} FROM (SELECT {}, row_number() OVER (ORDER BY i.uid) AS n FROM {}) h WHERE h.n > 0) {}",
                columns(&|at| format!("c{at}")),
                columns(&|at| format!("{} AS c{at}", table.column("i", "e", at))),
                table.relation("i", "e"),
                table.name
            ),
        }
    }

    fn name(&self, table: &Named, column: usize) -> String {
        match self.tables {
            Tables::Plain => table.column(&table.name, &format!("{}e", table.name), column),
            Tables::Hidden => format!("{}.c{column}", table.name),
            Tables::Below => table.below(column),
        }
    }

    fn any_column(&mut self, table: &Named) -> String {
        let column = self.pick(table.kind().columns.len());
        self.name(table, column)
    }

    fn text_column(&mut self, table: &Named) -> String {
        let columns = table.kind().columns;
        let texts: Vec<usize> = (0..columns.len())
            .filter(|at| columns[*at].of == Of::Text)
            .collect();
        let column = self.of(&texts);
        self.name(table, column)
    }

    /// A column that often equals one of another table.
    fn joined_column(&mut self, table: &Named) -> String {
        let columns = table.kind().columns;
        let wanted = self.of(&["name", "name", "namespace", "labels['app']", ""]);
        match columns.iter().position(|column| column.sql == wanted) {
            Some(column) => self.name(table, column),
            None => self.text_column(table),
        }
    }

    fn condition(&mut self, table: &Named) -> String {
        let conditions = &self.tape.conditions[table.kind];
        let condition = &conditions[self.pick(conditions.len())];
        format!("({})", written(condition, &|at| self.name(table, at)))
    }

    /// One row by its key.
    fn key(&mut self, table: &Named) -> String {
        let (namespace, name) = (self.of(&NAMESPACES), self.of(&NAMES));
        let uid = match table.kind().name {
            "Node" => format!("Node--{name}"),
            kind => format!("{kind}-{namespace}-{name}"),
        };
        format!("{} = '{uid}'", self.name(table, 0))
    }

    /// `SELECT ... FROM one table WHERE`, with a condition that may look outside.
    fn inner(&mut self, outer: &Named, select: impl Fn(&mut Self, &Named) -> String) -> String {
        let table = self.named();
        let select = select(self, &table);
        let mut conditions = Vec::new();
        if self.pick(3) > 0 {
            let (one, other) = (self.joined_column(&table), self.joined_column(outer));
            conditions.push(format!("{one} = {other}"));
        }
        if conditions.is_empty() || self.pick(2) == 0 {
            conditions.push(self.condition(&table));
        }
        if self.asks == Asks::Keys && self.pick(4) == 0 {
            conditions.push(self.asked(&table));
        }
        format!(
            "(SELECT {select} FROM {} WHERE {})",
            self.from(&table),
            conditions.join(" AND ")
        )
    }

    fn filter(&mut self, tables: &[Named]) -> String {
        let table = self.of(tables);
        match self.pick(8) {
            0 | 1 => self.condition(&table),
            2 => self.key(&table),
            3 => format!("EXISTS {}", self.inner(&table, |_, _| "1".to_owned())),
            4 => format!("NOT EXISTS {}", self.inner(&table, |_, _| "1".to_owned())),
            5 => {
                let not = self.of(&["", " NOT"]);
                let column = self.joined_column(&table);
                format!(
                    "{column}{not} IN {}",
                    self.inner(&table, |maker, table| maker.joined_column(table))
                )
            }
            6 => {
                let count = self.pick(3);
                format!(
                    "{} > {count}",
                    self.inner(&table, |_, _| "count(*)".to_owned())
                )
            }
            _ => {
                let column = self.joined_column(&table);
                let most =
                    |maker: &mut Self, table: &Named| format!("max({})", maker.text_column(table));
                format!("{column} = {}", self.inner(&table, most))
            }
        }
    }

    /// FROM and WHERE.
    fn rows(&mut self) -> (Vec<Named>, String) {
        let first = self.named();
        let mut text = format!("FROM {}", self.from(&first));
        let mut tables = vec![first];
        for _ in 0..self.of(&[0, 0, 1, 1, 2]) {
            let table = self.named();
            let join = self.of(&[
                "JOIN",
                "JOIN",
                "LEFT JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
            ]);
            let before = self.of(&tables);
            let (one, other) = (self.joined_column(&before), self.joined_column(&table));
            text += &format!(" {join} {} ON {one} = {other}", self.from(&table));
            match self.pick(6) {
                0 => text += &format!(" AND {}", self.condition(&table)),
                1 => text += &format!(" AND {}", self.condition(&before)),
                _ => {}
            }
            tables.push(table);
        }
        let most = match self.asks {
            Asks::Nothing => [0, 1, 1, 2],
            // Keys leave few rows already.
            Asks::Keys => [0, 0, 0, 1],
        };
        let filters: Vec<String> = (0..self.of(&most)).map(|_| self.filter(&tables)).collect();
        if !filters.is_empty() {
            let word = self.of(&[" AND ", " AND ", " AND ", " OR "]);
            let filters = filters.join(word);
            text += &match self.asks {
                Asks::Nothing => format!(" WHERE {filters}"),
                Asks::Keys => format!(" WHERE ({filters})"),
            };
        }
        if self.asks == Asks::Keys {
            let mut word = if filters.is_empty() { "WHERE" } else { "AND" };
            for _ in 0..self.of(&[1, 2, 2, 3]) {
                let table = self.of(&tables);
                text += &format!(" {word} {}", self.asked(&table));
                word = "AND";
            }
        }
        (tables, text)
    }

    /// That a column has the value of a parameter.
    fn asked(&mut self, table: &Named) -> String {
        let column = match self.pick(5) {
            0 => self.any_column(table),
            1 => self.joined_column(table),
            2 if table.kind().name != "Node" => format!("{}.namespace", table.name),
            _ => format!("{}.name", table.name),
        };
        let parameter = self.of(&[1, 1, 1, 2, 2, 3]);
        match self.pick(2) {
            0 => format!("{column} = ${parameter}"),
            _ => format!("${parameter} = {column}"),
        }
    }

    fn columns(&mut self, tables: &[Named]) -> String {
        let columns: Vec<String> = (0..=self.pick(3))
            .map(|at| {
                let table = self.of(tables);
                format!("{} AS o{at}", self.any_column(&table))
            })
            .collect();
        columns.join(", ")
    }

    fn select(&mut self) -> String {
        let (tables, rows) = self.rows();
        let table = self.of(&tables);
        let (one, other) = (self.any_column(&table), self.any_column(&table));
        match self.pick(8) {
            0..=2 => format!("SELECT {} {rows}", self.columns(&tables)),
            3 => format!(
                "SELECT {one} AS k, count(*) AS n, count({other}) AS m, min({other}) AS least {rows} GROUP BY 1"
            ),
            4 => format!(
                "SELECT {one} AS k, count(DISTINCT {other}) AS n {rows} GROUP BY 1 HAVING count(*) > 1"
            ),
            5 => format!("SELECT count(*) AS n, max({one}) AS most {rows}"),
            6 => format!("SELECT DISTINCT {} {rows}", self.columns(&tables)),
            _ => format!(
                "SELECT {one} AS k, count(*) OVER (PARTITION BY {other}) AS n {rows} ORDER BY 1, 2 LIMIT 3"
            ),
        }
    }

    /// Two groups beside each other.
    fn totals(&mut self) -> String {
        let mut half = || {
            let (tables, rows) = self.rows();
            let table = self.of(&tables);
            let most = self.text_column(&table);
            let group = match self.pick(2) {
                0 => String::new(),
                _ => format!(" GROUP BY {}", self.any_column(&table)),
            };
            format!("(SELECT count(*) AS n, max({most}) AS most {rows}{group})")
        };
        let (one, other) = (half(), half());
        format!("SELECT x.n, x.most, y.n AS m FROM {one} x, {other} y")
    }

    fn statement(&mut self) -> String {
        if self.asks == Asks::Keys && self.pick(6) == 0 {
            return self.totals();
        }
        match self.pick(8) {
            0 => {
                let set = self.of(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
                let mut half = || {
                    let (tables, rows) = self.rows();
                    let table = self.of(&tables);
                    format!("SELECT {} AS o {rows}", self.text_column(&table))
                };
                let (one, other) = (half(), half());
                format!("{one} {set} {other}")
            }
            1 => {
                let (tables, rows) = self.rows();
                let table = self.of(&tables);
                let key = self.text_column(&table);
                let other = self.named();
                let (on, shown) = (self.text_column(&other), self.any_column(&other));
                let join = self.of(&["JOIN", "LEFT JOIN"]);
                let asked = match self.asks {
                    Asks::Nothing => String::new(),
                    Asks::Keys => format!(" WHERE {}", self.asked(&other)),
                };
                format!(
                    "WITH g AS (SELECT {key} AS k, count(*) AS n {rows} GROUP BY 1) \
                     SELECT {shown} AS o, g.n FROM {} {join} g ON g.k = {on}{asked}",
                    self.from(&other)
                )
            }
            _ => self.select(),
        }
    }
}
