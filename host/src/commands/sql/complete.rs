//! What Tab offers: keywords, functions, schemas, tables, columns and paths.

use kybern_sql::{Catalog, CatalogTable, PathStep, View};
use kybern_table::{Column, Path, Segment};

/// Words of the language.
const KEYWORDS: &[&str] = &[
    "ALL",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FIRST",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "SUBSCRIBE",
    "THEN",
    "TRUE",
    "UNION",
    "UNNEST",
    "USING",
    "WHEN",
    "WHERE",
    "WITH",
];
/// Functions that people look for.
const FUNCTIONS: &[&str] = &[
    "array_agg(",
    "avg(",
    "bytes(",
    "coalesce(",
    "count(",
    "cpu_millis(",
    "date_trunc(",
    "length(",
    "lower(",
    "max(",
    "min(",
    "now()",
    "nullif(",
    "quantity(",
    "regexp_like(",
    "split_part(",
    "starts_with(",
    "string_agg(",
    "sum(",
    "upper(",
];
/// Commands of the prompt.
const COMMANDS: &[&str] = &[
    r"\?",
    r"\d",
    r"\dk",
    r"\g",
    r"\o",
    r"\q",
    r"\refresh",
    r"\timing",
    r"\watch",
    r"\x",
];
/// Formats that `\o` takes.
const FORMATS: &[&str] = &["csv", "json", "table", "wide", "yaml"];
/// Tables about the host.
const HOST_TABLES: &[(&str, &str)] = &[
    ("information_schema", "columns"),
    ("information_schema", "tables"),
    ("kybern", "desired"),
    ("kybern", "drift"),
    ("kybern", "effects"),
    ("kybern", "kinds"),
    ("kybern", "memory"),
    ("kybern", "passes"),
    ("kybern", "plugins"),
    ("kybern", "queue"),
    ("kybern", "watches"),
];

/// A table that a statement names, as it is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    name: String,
    alias: Option<String>,
}

impl Named {
    /// The kind's table, if there is one of that name.
    pub(crate) fn find<'a>(&self, catalog: &'a Catalog) -> Option<&'a CatalogTable> {
        let mut tables = catalog.tables().filter(|table| table.listable);
        match self.name.split_once('.') {
            Some((schema, name)) => {
                tables.find(|table| schema_of(table) == schema && table.def.plural == name)
            }
            None => tables.find(|table| table.preferred && table.def.plural == self.name),
        }
    }
}

/// The view of that name, unless a kind has it.
pub(crate) fn view<'a>(name: &str, catalog: &'a Catalog) -> Option<&'a View> {
    let named = Named {
        name: name.to_lowercase(),
        alias: None,
    };
    if named.find(catalog).is_some() {
        return None;
    }
    let mut views = catalog.views().filter(|view| view.parent().listable);
    match named.name.split_once('.') {
        Some((schema, name)) => views.find(|view| view.schema() == schema && view.name() == name),
        None => views.find(|view| view.parent().preferred && view.name() == named.name),
    }
}

/// The schema that a table is found in.
pub(crate) fn schema_of(table: &CatalogTable) -> String {
    match table.preferred {
        true => table.def.schema.clone(),
        false => format!("{}_{}", table.def.schema, table.def.key.version),
    }
}

/// Where the word at the cursor begins, and what it may become.
pub(crate) fn complete(input: &str, cursor: usize, catalog: &Catalog) -> (usize, Vec<String>) {
    let before = input.get(..cursor).unwrap_or(input);
    let start = match before.find('\\') {
        // The backslash belongs to the command's name.
        Some(at) if is_command(before) && !before.contains(char::is_whitespace) => at,
        _ => word_start(before),
    };
    let word = before.get(start..).unwrap_or_default();
    let tokens = tokens(before.get(..start).unwrap_or_default());
    let found = if super::script::is_quoted_at_end(before) {
        Vec::new()
    } else if is_command(before) {
        command(before, word, catalog)
    } else if wants_table(&tokens) {
        tables(word, catalog)
    } else {
        expressions(word, &tables_in(input), catalog)
    };
    (start, found)
}

fn is_command(line: &str) -> bool {
    line.starts_with('\\')
}

fn command(line: &str, word: &str, catalog: &Catalog) -> Vec<String> {
    match line.split_whitespace().next().unwrap_or_default() {
        _ if !line.contains(char::is_whitespace) => matching(COMMANDS.iter().copied(), word),
        r"\d" | r"\dt" => tables(word, catalog),
        r"\o" => matching(FORMATS.iter().copied(), word),
        _ => Vec::new(),
    }
}

fn tables(word: &str, catalog: &Catalog) -> Vec<String> {
    let readable = catalog.tables().filter(|table| table.listable);
    let mut found = Vec::new();
    for table in readable {
        let schema = schema_of(table);
        found.push(format!("{schema}.{}", table.def.plural));
        if table.preferred {
            found.push(table.def.plural.clone());
        }
        found.push(format!("{schema}."));
    }
    for view in catalog.views().filter(|view| view.parent().listable) {
        found.push(format!("{}.{}", view.schema(), view.name()));
        if view.parent().preferred {
            found.push(view.name().to_owned());
        }
    }
    for (schema, table) in HOST_TABLES {
        found.push(format!("{schema}.{table}"));
        found.push(format!("{schema}."));
    }
    // Schemas first: all tables of all schemas are too many to read.
    found.retain(|name| match (name.find('.'), word.contains('.')) {
        (Some(at), false) => at + 1 == name.len(),
        (at, true) => at.is_some_and(|at| at + 1 < name.len()),
        (None, false) => true,
    });
    matching(found.iter().map(String::as_str), word)
}

fn expressions(word: &str, used: &[Named], catalog: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    for named in used {
        let table = named.find(catalog);
        let view = view(&named.name, catalog);
        let columns = |word: &str| match (table, view) {
            (Some(table), _) => columns(table, word),
            (None, Some(view)) => view
                .columns()
                .iter()
                .map(|(name, _)| (*name).into())
                .collect(),
            (None, None) => Vec::new(),
        };
        if table.is_none() && view.is_none() {
            continue;
        }
        let short = named.name.rsplit('.').next().unwrap_or_default();
        let handle = named.alias.as_deref().unwrap_or(short);
        let qualified = word
            .strip_prefix(handle)
            .and_then(|rest| rest.strip_prefix('.'));
        if let Some(rest) = qualified {
            let columns = columns(rest).into_iter();
            found.extend(columns.map(|column| format!("{handle}.{column}")));
        }
        found.extend(columns(word));
        if used.len() > 1 {
            found.push(format!("{handle}."));
        }
    }
    let lower = word.starts_with(|c: char| c.is_lowercase());
    let keywords = KEYWORDS.iter().map(|keyword| match lower {
        true => keyword.to_lowercase(),
        false => (*keyword).to_owned(),
    });
    if !word.contains('.') {
        found.extend(keywords);
        found.extend(FUNCTIONS.iter().map(|name| (*name).to_owned()));
    }
    matching(found.iter().map(String::as_str), word)
}

/// Columns, or the steps below the path that the word has come to.
fn columns(table: &CatalogTable, word: &str) -> Vec<String> {
    let Some((path, _)) = word.rsplit_once('.') else {
        let metadata = Column::METADATA
            .iter()
            .map(|column| column.name().to_owned());
        let top = table.top_level.iter().cloned();
        let own = ["object".to_owned()];
        return metadata.chain(top).chain(own).collect();
    };
    let Ok(parsed) = path.parse::<Path>() else {
        return Vec::new();
    };
    let below = table.types.below(parsed.segments());
    let steps = below.into_iter().filter_map(|(step, _)| match step {
        PathStep::Key(key) => Some((key, parsed.segments())),
        PathStep::AnyKey | PathStep::AnyItem => None,
    });
    steps
        .filter_map(|(key, before)| {
            let mut segments = before.to_vec();
            segments.push(Segment::Key(key));
            let item = table.types.below(&segments);
            let path = Path::from_segments(segments)?.to_string();
            let list = item.iter().any(|(step, _)| *step == PathStep::AnyItem);
            Some(if list { format!("{path}[0]") } else { path })
        })
        .collect()
}

/// Those that begin with the word, in order, each once.
fn matching<'a>(candidates: impl Iterator<Item = &'a str>, word: &str) -> Vec<String> {
    let mut found: Vec<String> = candidates
        .filter(|candidate| {
            let beginning = candidate.get(..word.len());
            beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(word))
        })
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Whether a table's name is to follow.
fn wants_table(before: &[&str]) -> bool {
    let is = |token: &str, word: &str| token.eq_ignore_ascii_case(word);
    match before.last() {
        Some(&last) if is(last, "FROM") || is(last, "JOIN") => true,
        Some(&",") => {
            let clause = before.iter().rev().find(|token| {
                let clauses = [
                    "SELECT", "FROM", "WHERE", "GROUP", "ORDER", "HAVING", "ON", "(", ")",
                ];
                clauses.iter().any(|clause| is(token, clause))
            });
            clause.is_some_and(|clause| is(clause, "FROM"))
        }
        _ => false,
    }
}

/// The tables that a statement names after FROM, JOIN and the commas between.
pub(crate) fn tables_in(statement: &str) -> Vec<Named> {
    let tokens = tokens(statement);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = tokens.get(..at).unwrap_or_default();
        if !wants_table(before) || !token.starts_with(is_word) {
            continue;
        }
        let mut after = tokens.get(at + 1..).unwrap_or_default().iter();
        let mut next = after.next();
        if next.is_some_and(|word| word.eq_ignore_ascii_case("AS")) {
            next = after.next();
        }
        let is_alias = |word: &&&str| {
            word.starts_with(is_word) && !KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(word))
        };
        found.push(Named {
            name: token.to_lowercase(),
            alias: next.filter(is_alias).map(|word| (*word).to_owned()),
        });
    }
    found
}

/// Words, with the dots and indexes of paths, and single other characters.
fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            c if is_word(c) => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
            c @ ('\'' | '"') => {
                let inner = rest.get(1..).unwrap_or_default();
                inner.find(c).map_or(rest.len(), |at| at + 2)
            }
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        found.push(token);
        rest = after.trim_start();
    }
    found
}

fn word_start(before: &str) -> usize {
    let word = before.char_indices().rev().take_while(|(_, c)| is_part(*c));
    word.last().map_or(before.len(), |(at, _)| at)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_part(c: char) -> bool {
    is_word(c) || matches!(c, '.' | '[' | ']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    fn catalog() -> Catalog {
        let kinds = Kinds::default();
        crate::kinds::builtin::fill(&kinds, &[]).unwrap();
        kinds.catalog()
    }

    /// The word and what it may become, with the cursor at `^`.
    fn offered(input: &str) -> Vec<String> {
        let cursor = input.find('^').unwrap();
        let input = input.replace('^', "");
        let (start, found) = complete(&input, cursor, &catalog());
        for candidate in &found {
            let word = &input[start..cursor];
            assert!(
                candidate.to_lowercase().starts_with(&word.to_lowercase()),
                "{candidate}"
            );
        }
        found
    }

    #[test]
    fn keywords_keep_the_case_that_was_begun() {
        assert_eq!(offered("SEL^"), ["SELECT"]);
        assert_eq!(offered("sel^"), ["select"]);
        assert_eq!(offered("SELECT 1 UN^"), ["UNION", "UNNEST"]);
    }

    #[test]
    fn tables_follow_from_and_join() {
        assert_eq!(
            offered("SELECT * FROM deploy^"),
            ["deployments", "deployments_conditions"]
        );
        assert_eq!(
            offered("SELECT * FROM pods p JOIN nod^"),
            ["node_k8s_io.", "nodes", "nodes_conditions"]
        );
        assert_eq!(
            offered("SELECT name FROM pods, nod^"),
            ["node_k8s_io.", "nodes", "nodes_conditions"]
        );
        assert_eq!(offered("SELECT name, nod^ FROM pods"), Vec::<String>::new());
        assert_eq!(
            offered("SELECT * FROM apps.d^"),
            [
                "apps.daemonsets",
                "apps.daemonsets_conditions",
                "apps.deployments",
                "apps.deployments_conditions"
            ]
        );
        assert_eq!(
            offered("SELECT * FROM ap^"),
            [
                "apiextensions_k8s_io.",
                "apiregistration_k8s_io.",
                "apiservices",
                "apiservices_conditions",
                "apps."
            ]
        );
        assert_eq!(offered("SELECT * FROM kybern.k^"), ["kybern.kinds"]);
        assert_eq!(
            offered("SELECT * FROM deployments_^"),
            ["deployments_conditions"]
        );
        assert_eq!(
            offered("SELECT * FROM core.pod_c^"),
            ["core.pod_containers"]
        );
        assert!(!offered("SELECT count(^) FROM pods").contains(&"pods".to_owned()));
    }

    #[test]
    fn columns_are_those_of_the_tables_that_are_named() {
        assert_eq!(
            offered("SELECT st^ FROM pods"),
            ["starts_with(", "status", "string_agg("]
        );
        assert_eq!(
            offered("SELECT name FROM pods WHERE namesp^"),
            ["namespace"]
        );
        assert_eq!(
            offered("SELECT p.na^ FROM pods p, nodes n"),
            ["p.name", "p.namespace"]
        );
        assert!(offered("SELECT d^ FROM configmaps").contains(&"data".to_owned()));
        assert_eq!(
            offered("SELECT c.re^ FROM pod_containers c"),
            ["c.ready", "c.reason", "c.restart_count"]
        );
        assert!(!offered("SELECT d^ FROM pods").contains(&"data".to_owned()));
    }

    #[test]
    fn paths_are_completed_step_by_step() {
        assert_eq!(
            offered("SELECT spec.rep^ FROM deployments"),
            ["spec.replicas"]
        );
        assert_eq!(
            offered("SELECT p.spec.initC^ FROM core.pods AS p"),
            ["p.spec.initContainers[0]"]
        );
        assert_eq!(
            offered("SELECT spec.containers[0].imageP^ FROM pods"),
            ["spec.containers[0].imagePullPolicy"]
        );
        assert_eq!(
            offered("SELECT spec.nodeN^ FROM pods p JOIN nodes n ON true"),
            ["spec.nodeName"]
        );
        assert_eq!(
            offered("SELECT spec.nosuch.^ FROM pods"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn commands_and_their_words_are_completed() {
        assert_eq!(offered(r"\re^"), [r"\refresh"]);
        assert_eq!(offered(r"\o j^"), ["json"]);
        assert_eq!(offered(r"\d configm^"), ["configmaps"]);
    }

    #[test]
    fn nothing_is_offered_inside_of_a_text() {
        assert_eq!(
            offered("SELECT * FROM pods WHERE name = 'sel^"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn tables_are_found_with_their_aliases() {
        let found = tables_in(
            "SELECT 1 FROM apps.deployments AS d JOIN Pods p ON x = (SELECT 1 FROM nodes WHERE y), secrets",
        );
        let shown: Vec<_> = found
            .iter()
            .map(|n| (n.name.as_str(), n.alias.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("apps.deployments", Some("d")),
                ("pods", Some("p")),
                ("nodes", None)
            ]
        );
    }
}
