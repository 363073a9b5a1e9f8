//! `\d TABLE`: its columns, and the paths that its kind's schema knows.

use super::complete::schema_of;
use super::output::Grid;
use arrow::datatypes::DataType;
use kybern_sql::{CatalogTable, PathStep, View};
use kybern_table::{Column, Path, PathType, Segment};

/// Names of a path that are shown before the rest is counted.
const NAMES: usize = 2;
/// Stands for the key of a map.
const ANY_KEY: &str = "KEY";

/// What a table is.
pub(crate) fn title(table: &CatalogTable) -> String {
    let key = &table.def.key;
    let scope = if table.def.namespaced {
        "namespaced"
    } else {
        "cluster-scoped"
    };
    let schema = schema_of(table);
    let name = &table.def.plural;
    format!(
        "{schema}.{name}: {} {}, {scope}\n",
        key.api_version(),
        key.kind
    )
}

/// The columns.
pub(crate) fn columns(table: &CatalogTable) -> Grid {
    let metadata = Column::METADATA.iter();
    let metadata = metadata.map(|column| (column.name(), metadata_type(column)));
    let top = table.top_level.iter().map(|field| {
        let of = table.types.get(&[Segment::Key(field.clone())]);
        (field.as_str(), of.map_or("json", path_type))
    });
    let rows = metadata.chain(top).chain([("object", "json")]);
    let rows = rows.map(|(name, of)| vec![name.to_owned(), of.to_owned()]);
    Grid::new(&["column", "type"], rows.collect())
}

/// The paths below one, or below all top-level fields; deep ones are counted together. None if
/// the schema knows none.
pub(crate) fn paths(table: &CatalogTable, below: Option<&Path>) -> Option<Grid> {
    let mut from = below
        .map(|path| path.segments().to_vec())
        .unwrap_or_default();
    let names = keys(&from) + NAMES;
    let mut found = Vec::new();
    leaves(table, &mut from, &mut found);
    let mut rows: Vec<(String, Type)> = Vec::new();
    for (path, of) in found {
        let short = head(&path, names);
        let text = Path::from_segments(short.to_vec())?.to_string();
        if short.len() == path.len() {
            rows.push((text, Type::One(of)));
        } else if let Some((_, Type::Many(count))) = rows.last_mut().filter(|(at, _)| *at == text) {
            *count += 1;
        } else {
            rows.push((text, Type::Many(1)));
        }
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(path, of)| vec![path, of.name()])
        .collect();
    (!rows.is_empty()).then(|| Grid::new(&["path", "type"], rows))
}

/// What a view is, and its columns.
pub(crate) fn view(view: &View) -> (String, Grid) {
    let parent = view.parent();
    let title = format!(
        "{}.{}: a view of {}.{}\n",
        view.schema(),
        view.name(),
        schema_of(parent),
        parent.def.plural
    );
    let columns = view.columns().iter();
    let rows = columns.map(|(name, of)| vec![(*name).to_owned(), path_type(*of).to_owned()]);
    (title, Grid::new(&["column", "type"], rows.collect()))
}

/// The columns of a table about the host.
pub(crate) fn of_schema(schema: &arrow::datatypes::Schema) -> Grid {
    let fields = schema.fields().iter();
    let rows = fields.map(|field| vec![field.name().clone(), data_type(field.data_type()).into()]);
    Grid::new(&["column", "type"], rows.collect())
}

/// The type of what is at or below a path.
enum Type {
    One(PathType),
    Many(usize),
}

impl Type {
    fn name(&self) -> String {
        match self {
            Self::One(of) => path_type(*of).to_owned(),
            Self::Many(1) => "1 path below".to_owned(),
            Self::Many(count) => format!("{count} paths below"),
        }
    }
}

fn leaves(
    table: &CatalogTable,
    path: &mut Vec<Segment>,
    found: &mut Vec<(Vec<Segment>, PathType)>,
) {
    for (step, of) in table.types.below(path) {
        let segment = match step {
            PathStep::Key(key) => Segment::Key(key),
            PathStep::AnyKey => Segment::Key(ANY_KEY.to_owned()),
            PathStep::AnyItem => Segment::Index(0),
        };
        // These are columns of their own.
        if path.is_empty()
            && !table
                .top_level
                .iter()
                .any(|top| Segment::Key(top.clone()) == segment)
        {
            continue;
        }
        path.push(segment);
        match of {
            Some(of) if path.len() > 1 => found.push((path.clone(), of)),
            _ => leaves(table, path, found),
        }
        path.pop();
    }
}

fn keys(path: &[Segment]) -> usize {
    path.iter()
        .filter(|step| matches!(step, Segment::Key(_)))
        .count()
}

/// The path up to its so many names, with the index behind the last.
fn head(path: &[Segment], names: usize) -> &[Segment] {
    let end = (0..=path.len()).find(|end| keys(path.get(..*end).unwrap_or_default()) > names);
    let end = end.map_or(path.len(), |end| end.saturating_sub(1));
    path.get(..end).unwrap_or_default()
}

fn path_type(of: PathType) -> &'static str {
    match of {
        PathType::Text => "text",
        PathType::Json => "json",
        PathType::Bool => "boolean",
        PathType::Int => "bigint",
        PathType::Float => "double precision",
        PathType::Timestamp => "timestamp",
    }
}

fn metadata_type(column: &Column) -> &'static str {
    match column {
        Column::Labels | Column::Annotations | Column::Owners | Column::Finalizers => "json",
        other => data_type(&other.data_type()),
    }
}

fn data_type(of: &DataType) -> &'static str {
    match of {
        DataType::Boolean => "boolean",
        DataType::Timestamp(..) => "timestamp",
        DataType::Float64 => "double precision",
        other if other.is_integer() => "bigint",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    fn shown(name: &str, below: Option<&str>) -> String {
        let kinds = Kinds::default();
        crate::kinds::builtin::fill(&kinds, &[]).unwrap();
        let catalog = kinds.catalog();
        let table = catalog
            .tables()
            .find(|table| table.def.plural == name)
            .unwrap();
        let below = below.map(|path| path.parse::<Path>().unwrap());
        let paths = paths(table, below.as_ref()).map(|grid| grid.table(None));
        let columns = columns(table).table(None);
        format!("{}{columns}{}", title(table), paths.unwrap_or_default())
    }

    #[test]
    fn a_table_is_described_with_its_columns_and_paths() {
        insta::assert_snapshot!(shown("poddisruptionbudgets", None), @r#"
    policy.poddisruptionbudgets: policy/v1 PodDisruptionBudget, namespaced
    COLUMN               TYPE
    namespace            text
    name                 text
    uid                  text
    resource_version     bigint
    generation           bigint
    creation_timestamp   timestamp
    deletion_timestamp   timestamp
    labels               json
    annotations          json
    owner_uid            text
    owners               json
    finalizers           json
    spec                 json
    status               json
    object               json
    PATH                              TYPE
    spec.maxUnavailable               text
    spec.minAvailable                 text
    spec.selector                     4 paths below
    spec.unhealthyPodEvictionPolicy   text
    status.conditions[0]              6 paths below
    status.currentHealthy             bigint
    status.desiredHealthy             bigint
    status.disruptedPods              1 path below
    status.disruptionsAllowed         bigint
    status.expectedPods               bigint
    status.observedGeneration         bigint
    "#);
    }

    #[test]
    fn paths_below_one_are_shown_deeper() {
        let text = shown("pods", Some("spec.tolerations[0]"));
        let (_, paths) = text.split_once("object               json\n").unwrap();
        insta::assert_snapshot!(paths, @r#"
    PATH                                    TYPE
    spec.tolerations[0].effect              text
    spec.tolerations[0].key                 text
    spec.tolerations[0].operator            text
    spec.tolerations[0].tolerationSeconds   bigint
    spec.tolerations[0].value               text
    "#);
    }

    #[test]
    fn a_view_is_described_with_its_columns() {
        let kinds = Kinds::default();
        crate::kinds::builtin::fill(&kinds, &[]).unwrap();
        let catalog = kinds.catalog();
        let found = super::super::complete::view("Nodes_conditions", &catalog).unwrap();
        let (title, columns) = view(found);
        insta::assert_snapshot!(title + &columns.table(None), @r"
        core.nodes_conditions: a view of core.nodes
        COLUMN                 TYPE
        namespace              text
        name                   text
        uid                    text
        type                   text
        status                 text
        reason                 text
        message                text
        last_transition_time   timestamp
        observed_generation    bigint
        ");
    }

    #[test]
    fn a_table_without_a_schema_has_columns_only() {
        assert!(!shown("configmaps", Some("nosuch")).contains("PATH"));
    }
}
