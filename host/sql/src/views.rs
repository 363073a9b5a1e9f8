//! Child views: the lists of a kind that people ask about, as tables.
//!
//! # Contract
//!
//! A view is a query over its parent and nothing else, so that who may not name
//! the parent has no view of it, and rows that do not exist for the asker are not
//! in it. A kind of that name goes before.

use std::sync::Arc;

use kybern_statement::{Found, ViewShape};
use kybern_table::{PathType, Segment};

use crate::CatalogTable;
use crate::catalog::Table;

/// A table that shows what is in lists of a kind's objects.
#[derive(Debug)]
pub struct View {
    parent: Arc<Table>,
    columns: Vec<(&'static str, PathType)>,
    shape: Arc<ViewShape>,
    /// Whether the kind's schema is known to have the lists.
    certain: bool,
}

/// A column: its name, what it is, and its type.
type Column = (&'static str, String, PathType);

const LISTS: [(&str, &str, &str); 3] = [
    ("container", "containers", "containerStatuses"),
    ("init", "initContainers", "initContainerStatuses"),
    (
        "ephemeral",
        "ephemeralContainers",
        "ephemeralContainerStatuses",
    ),
];

impl View {
    /// The views of a kind.
    pub(crate) fn of(table: &Arc<Table>) -> Vec<Self> {
        let mut views = Vec::new();
        let key = table.key();
        if key.group.is_empty() && &*key.kind == "Pod" {
            views.push(Self::containers(table));
        }
        let types = &table.info.types;
        let path = ["status", "conditions"].map(|name| Segment::Key(name.to_owned()));
        let certain = types.found(&path) == Found::List;
        if (certain || types.is_empty()) && table.info.top_level.iter().any(|top| top == "status") {
            views.push(Self::conditions(table, certain));
        }
        views
    }

    fn new(table: &Arc<Table>, name: String, columns: &[Column], query: String) -> Self {
        let shape = ViewShape {
            schema: table.schema.clone(),
            name,
            parent: Arc::clone(&table.shape),
            query,
        };
        Self {
            parent: Arc::clone(table),
            columns: columns.iter().map(|(name, _, of)| (*name, *of)).collect(),
            shape: Arc::new(shape),
            certain: true,
        }
    }

    /// `<plural>_conditions`.
    fn conditions(table: &Arc<Table>, certain: bool) -> Self {
        use PathType::{Int, Text, Timestamp};
        let below = |field: &str, of| (path(table, "c", &["status", "conditions"], field, of), of);
        let mut columns = parent(["namespace", "name", "uid"]);
        for (name, (what, of)) in [
            ("type", below("type", Text)),
            ("status", below("status", Text)),
            ("reason", below("reason", Text)),
            ("message", below("message", Text)),
            (
                "last_transition_time",
                below("lastTransitionTime", Timestamp),
            ),
            ("observed_generation", below("observedGeneration", Int)),
        ] {
            columns.push((name, what, of));
        }
        let query = format!(
            "SELECT {} FROM {} AS p, UNNEST(p.status.conditions) AS c",
            listed(&columns),
            source(table)
        );
        let name = format!("{}_conditions", table.info.def.plural);
        Self {
            certain,
            ..Self::new(table, name, &columns, query)
        }
    }

    /// `pod_containers`: each container with its status.
    fn containers(table: &Arc<Table>) -> Self {
        let branches: Vec<(Vec<Column>, String)> = LISTS
            .iter()
            .map(|(kind, list, statuses)| branch(table, kind, list, statuses))
            .collect();
        let columns = branches.first().map(|(columns, _)| columns.clone());
        let queries: Vec<String> = branches.into_iter().map(|(_, query)| query).collect();
        let query = queries.join(" UNION ALL ");
        let columns = columns.unwrap_or_default();
        Self::new(table, "pod_containers".to_owned(), &columns, query)
    }

    /// The schema that it is in.
    pub fn schema(&self) -> &str {
        &self.shape.schema
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shape.name
    }

    /// The columns and their types.
    pub fn columns(&self) -> &[(&'static str, PathType)] {
        &self.columns
    }

    /// The kind that it is about.
    pub fn parent(&self) -> &CatalogTable {
        &self.parent.info
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.parent
    }

    pub(crate) fn shape(&self) -> &Arc<ViewShape> {
        &self.shape
    }

    pub(crate) fn is_certain(&self) -> bool {
        self.certain
    }
}

/// The containers of one list of a pod.
fn branch(table: &Arc<Table>, kind: &str, list: &str, statuses: &str) -> (Vec<Column>, String) {
    use PathType::{Bool, Int, Text};
    let of_list = |field: &str, of| path(table, "c", &["spec", list], field, of);
    let of_status = |field: &str, of| path(table, "s", &["status", statuses], field, of);
    let mut columns = parent(["namespace", "pod", "pod_uid"]);
    columns.extend([
        ("kind", format!("'{kind}'"), Text),
        ("name", of_list("name", Text), Text),
        ("image", of_list("image", Text), Text),
        ("ready", of_status("ready", Bool), Bool),
        ("started", of_status("started", Bool), Bool),
        ("restart_count", of_status("restartCount", Int), Int),
        ("state", STATE.to_owned(), Text),
        (
            "reason",
            "coalesce(s.state.waiting.reason, s.state.terminated.reason)".to_owned(),
            Text,
        ),
        (
            "exit_code",
            of_status("state.terminated.exitCode", Int),
            Int,
        ),
        (
            "last_reason",
            of_status("lastState.terminated.reason", Text),
            Text,
        ),
        (
            "last_exit_code",
            of_status("lastState.terminated.exitCode", Int),
            Int,
        ),
    ]);
    let query = format!(
        "SELECT {} FROM {} AS p CROSS JOIN UNNEST(p.spec.{list}) AS c \
         LEFT JOIN UNNEST(p.status.{statuses}) AS s ON s.name = c.name",
        listed(&columns),
        source(table)
    );
    (columns, query)
}

const STATE: &str = "CASE WHEN s.state.running IS NOT NULL THEN 'running' \
                     WHEN s.state.waiting IS NOT NULL THEN 'waiting' \
                     WHEN s.state.terminated IS NOT NULL THEN 'terminated' END";

/// Namespace, name and uid of the object under these names.
fn parent(names: [&'static str; 3]) -> Vec<Column> {
    let columns = ["namespace", "name", "uid"].into_iter().zip(names);
    columns
        .map(|(column, name)| (name, format!("p.{column}"), PathType::Text))
        .collect()
}

/// A path in an element; a cast where the schema says nothing of it or something else.
fn path(table: &Table, alias: &str, list: &[&str], field: &str, of: PathType) -> String {
    let key = |name: &str| Segment::Key(name.to_owned());
    let mut steps: Vec<Segment> = list.iter().copied().map(key).collect();
    steps.push(Segment::Index(0));
    steps.extend(field.split('.').map(key));
    let known = table.info.types.get(&steps);
    let cast = match of {
        _ if known == Some(of) => return format!("{alias}.{field}"),
        PathType::Text | PathType::Json => "text",
        PathType::Bool => "boolean",
        PathType::Int => "bigint",
        PathType::Float => "double precision",
        PathType::Timestamp => "timestamptz",
    };
    match known {
        None | Some(PathType::Text | PathType::Json) if cast == "text" => {
            format!("{alias}.{field}")
        }
        _ => format!("CAST({alias}.{field} AS {cast})"),
    }
}

fn listed(columns: &[Column]) -> String {
    let columns = columns
        .iter()
        .map(|(name, what, _)| format!("{what} AS \"{name}\""));
    columns.collect::<Vec<_>>().join(", ")
}

fn source(table: &Table) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!(
        "{}.{}",
        quoted(&table.schema),
        quoted(&table.info.def.plural)
    )
}
