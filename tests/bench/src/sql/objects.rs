//! The objects, and what peers are given of them.

use crate::recording::SEED;
use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use kybern_seed::{Deployments, Nodes, Pods};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// How many there are of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objects {
    pub(crate) pods: u64,
}

/// The tables, in the order in which they are loaded.
pub(crate) const TABLES: [&str; 3] = ["pods", "deployments", "nodes"];

impl Objects {
    /// The JSON texts of a table.
    pub(crate) fn of(self, table: &str) -> Box<dyn Iterator<Item = String>> {
        match table {
            "deployments" => Box::new(self.deployments()),
            "nodes" => Box::new(self.nodes()),
            _ => Box::new((0..self.pods).map(|number| Pods::new(SEED).pod(number, 0))),
        }
    }

    /// A tenth as many as pods, each name once.
    fn deployments(self) -> impl Iterator<Item = String> {
        let (all, mut seen) = (Deployments::new(SEED), HashSet::new());
        let take = usize::try_from(self.pods / 10).unwrap_or(0);
        (0..)
            .filter(move |number| seen.insert((all.namespace(*number), all.name(*number))))
            .map(move |number| all.deployment(number))
            .take(take)
    }

    /// A twentieth as many as pods; a few that pods name are missing.
    fn nodes(self) -> impl Iterator<Item = String> {
        let take = usize::try_from(self.pods / 20).unwrap_or(0);
        (0..)
            .filter(|number| number % 401 != 7)
            .map(|number| Nodes::new(SEED).node(number))
            .take(take)
    }

    /// The namespace and name of some pod; all have their turn.
    pub(crate) fn key(self, turn: usize) -> (String, String) {
        let turn = u64::try_from(turn).unwrap_or(0);
        let number = turn * 7_919 % self.pods.max(1);
        let pods = Pods::new(SEED);
        (pods.namespace(number), pods.name(number))
    }

    /// The image of the first container of the first pod.
    pub(crate) fn image(self) -> Result<String> {
        let text = Pods::new(SEED).pod(0, 0);
        let pod: Object<'_> = serde_json::from_str(&text)?;
        let spec: Spec = serde_json::from_str(pod.spec.get())?;
        let first = spec.containers.into_iter().next();
        Ok(first.context("a pod has a container")?.image)
    }

    /// Writes `TABLE.arrow` for each table.
    pub(crate) fn write(self, folder: &Path) -> Result<()> {
        for table in TABLES {
            let mut columns = Columns::default();
            for text in self.of(table) {
                columns.push(table, &text)?;
            }
            let rows = columns.finish()?;
            let file = File::create(folder.join(format!("{table}.arrow")))?;
            let mut writer = FileWriter::try_new(file, &rows.schema())?;
            writer.write(&rows)?;
            writer.finish()?;
        }
        Ok(())
    }
}

/// A table as [`Objects::write`] wrote it.
pub(crate) fn read(folder: &Path, table: &str) -> Result<Vec<RecordBatch>> {
    let path = folder.join(format!("{table}.arrow"));
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let rows = FileReader::try_new(file, None)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

#[derive(Deserialize)]
struct Object<'a> {
    metadata: Metadata,
    #[serde(borrow)]
    spec: &'a RawValue,
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    replicas: i64,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    image: String,
    resources: Resources,
}

#[derive(Deserialize)]
struct Resources {
    requests: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    allocatable: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    restart_count: i64,
}

#[derive(Deserialize)]
struct Condition {
    status: String,
}

/// Columns by name, in the order of their names.
#[derive(Default)]
struct Columns {
    texts: BTreeMap<&'static str, Vec<String>>,
    numbers: BTreeMap<&'static str, Vec<i64>>,
}

impl Columns {
    fn text(&mut self, column: &'static str, value: String) {
        self.texts.entry(column).or_default().push(value);
    }

    fn number(&mut self, column: &'static str, value: i64) {
        self.numbers.entry(column).or_default().push(value);
    }

    fn push(&mut self, table: &str, text: &str) -> Result<()> {
        let Object {
            mut metadata,
            spec: raw,
            status,
        } = serde_json::from_str(text)?;
        let mut label = |key: &str| metadata.labels.remove(key).context("a label is missing");
        match table {
            "nodes" => {
                self.text("zone", label("topology.kubernetes.io/zone")?);
                self.number("cpu", millis(&status.allocatable)?);
                let ready = status.conditions.into_iter().nth(3);
                self.text("ready", ready.context("four conditions")?.status);
            }
            "deployments" => {
                self.number(
                    "replicas",
                    serde_json::from_str::<Spec>(raw.get())?.replicas,
                );
                self.text("namespace", metadata.namespace);
            }
            _ => {
                let spec: Spec = serde_json::from_str(raw.get())?;
                self.text("app", label("app")?);
                self.text("namespace", metadata.namespace);
                self.text("node", spec.node_name);
                self.text("phase", status.phase.context("a pod has a phase")?);
                let first = spec.containers.first().context("a pod has a container")?;
                self.number("cpu", millis(&first.resources.requests)?);
                let first = status.container_statuses.first();
                let restarts = first.context("a container has a status")?.restart_count;
                self.number("restarts", restarts);
                self.text("spec", raw.get().to_owned());
            }
        }
        self.text("name", metadata.name);
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch> {
        let texts = self.texts.into_iter().map(|(name, values)| {
            let values: ArrayRef = Arc::new(StringArray::from(values));
            (name, values)
        });
        let numbers = self.numbers.into_iter().map(|(name, values)| {
            let values: ArrayRef = Arc::new(Int64Array::from(values));
            (name, values)
        });
        Ok(RecordBatch::try_from_iter(texts.chain(numbers))?)
    }
}

/// The thousandths of a processor that the seed's quantities say.
fn millis(resources: &BTreeMap<String, String>) -> Result<i64> {
    let cpu = resources.get("cpu").context("no cpu")?;
    let millis = cpu.strip_suffix('m').context("cpu in thousandths")?;
    Ok(millis.parse()?)
}
