//! A small cluster: two namespaces, one custom resource kind, and what runs for it.

use bytes::Bytes;
use kybern_table::{
    Batch, Change, Deleted, KindKey, Origin, Path, PathType, Reader, Snapshot, StoreConfig,
    TableDef, Writer, store,
};
use serde_json::{Value, json};

use crate::{
    AccessSet, Answer, Catalog, CatalogTable, Engine, Param, PathStep, PathTypes, SqlError,
    SqlLimits,
};

pub(crate) struct Cluster {
    pub writer: Writer,
    pub reader: Reader,
    pub engine: Engine,
    version: u64,
}

pub(crate) fn kind(name: &str) -> KindKey {
    match name {
        "App" => KindKey::new("example.com", "v1", "App"),
        "Deployment" => KindKey::new("apps", "v1", "Deployment"),
        "Event" => KindKey::new("events.k8s.io", "v1", "Event"),
        core => KindKey::new("", "v1", core),
    }
}

fn types(paths: &[(&str, PathType)]) -> PathTypes {
    let mut types = PathTypes::default();
    for (path, of) in paths {
        let mut steps = Vec::new();
        for part in path.split('.') {
            match part.strip_suffix("[*]") {
                Some(key) => steps.extend([PathStep::Key(key.to_owned()), PathStep::AnyItem]),
                None if part == "*" => steps.push(PathStep::AnyKey),
                None => steps.push(PathStep::Key(part.to_owned())),
            }
        }
        types.insert(steps, *of);
    }
    types
}

fn table(
    name: &str,
    schema: &str,
    plural: &str,
    top: &[&str],
    of: &[(&str, PathType)],
) -> CatalogTable {
    CatalogTable {
        def: TableDef {
            key: kind(name),
            schema: schema.to_owned(),
            plural: plural.to_owned(),
            namespaced: name != "Node",
            label_keys: vec!["app".to_owned()],
            path_indexes: match name {
                "Pod" => vec!["spec.nodeName".parse::<Path>().unwrap()],
                _ => Vec::new(),
            },
        },
        preferred: true,
        singular: name.to_lowercase(),
        short_names: if name == "Deployment" {
            vec!["deploy".to_owned()]
        } else {
            Vec::new()
        },
        top_level: top.iter().map(|field| (*field).to_owned()).collect(),
        types: types(of),
        listable: true,
        watchable: true,
    }
}

pub(crate) fn catalog_tables() -> Vec<CatalogTable> {
    use PathType::{Bool, Int, Text, Timestamp};
    let usual = &["spec", "status"][..];
    let mut old = table("Event", "core", "events", &["reason"], &[]);
    old.def.key = KindKey::new("", "v1", "Event");
    let mut metrics = table("Binding", "core", "bindings", &["target"], &[]);
    metrics.listable = false;
    let mut statuses = table(
        "ComponentStatus",
        "core",
        "componentstatuses",
        &["conditions"],
        &[],
    );
    statuses.watchable = false;
    let mut beta = table("Deployment", "apps", "deployments", usual, &[]);
    beta.def.key = KindKey::new("apps", "v1beta1", "Deployment");
    beta.preferred = false;
    vec![
        // A kind without a schema: all its paths are of unknown type.
        table("App", "example_com", "apps", usual, &[]),
        table(
            "Deployment",
            "apps",
            "deployments",
            usual,
            &[
                ("spec.replicas", Int),
                ("spec.paused", Bool),
                ("spec.template.spec.containers[*].image", Text),
                ("status.readyReplicas", Int),
                ("status.conditions[*].type", Text),
            ],
        ),
        beta,
        table(
            "Service",
            "core",
            "services",
            usual,
            &[("spec.type", Text), ("spec.selector.*", Text)],
        ),
        table(
            "Pod",
            "core",
            "pods",
            usual,
            &[
                ("spec.nodeName", Text),
                ("status.phase", Text),
                ("status.startTime", Timestamp),
            ],
        ),
        table(
            "Node",
            "core",
            "nodes",
            usual,
            &[("spec.unschedulable", Bool)],
        ),
        table(
            "Secret",
            "core",
            "secrets",
            &["data", "type", "immutable"],
            &[("type", Text), ("data.*", Text)],
        ),
        old,
        table("Event", "events_k8s_io", "events", &["reason"], &[]),
        metrics,
        statuses,
    ]
}

/// The kinds that have rows.
pub(crate) const LOADED: [&str; 6] = ["App", "Deployment", "Service", "Pod", "Node", "Secret"];

impl Cluster {
    /// All tables defined and empty, none ready.
    pub(crate) fn loading() -> Self {
        Self::with_chunks(4)
    }

    /// The same with chunks of so many rows.
    fn with_chunks(chunk_rows: usize) -> Self {
        let (mut writer, reader) = store(StoreConfig {
            chunk_rows,
            ..StoreConfig::default()
        });
        let changes = catalog_tables()
            .into_iter()
            .filter(|table| LOADED.iter().any(|name| kind(name) == table.def.key))
            .map(|table| Change::Define(table.def))
            .collect();
        writer.apply(Batch { changes });
        let engine = Engine::new(reader.clone(), SqlLimits::default());
        engine.set_catalog(Catalog::new(catalog_tables()));
        Self {
            writer,
            reader,
            engine,
            version: 100,
        }
    }

    /// All tables ready and empty.
    pub(crate) fn empty() -> Self {
        Self::loading().ready()
    }

    /// All tables ready and empty, with chunks of so many rows.
    pub(crate) fn empty_with_chunks(chunk_rows: usize) -> Self {
        Self::with_chunks(chunk_rows).ready()
    }

    fn ready(self) -> Self {
        let mut cluster = self;
        for name in LOADED {
            cluster.apply(vec![
                Change::ListBegin { table: kind(name) },
                Change::ListEnd {
                    table: kind(name),
                    resource_version: 100,
                },
            ]);
        }
        cluster
    }

    /// The cluster that most tests read.
    pub(crate) fn new() -> Self {
        let mut cluster = Self::empty();
        for object in objects() {
            cluster.put(object);
        }
        cluster
    }

    pub(crate) fn apply(&mut self, changes: Vec<Change>) {
        let applied = self.writer.apply(Batch { changes });
        assert!(applied.errors.is_empty(), "{:?}", applied.errors);
    }

    /// Creates or replaces an object, in one commit.
    pub(crate) fn put(&mut self, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let table = kind(object["kind"].as_str().unwrap());
        let raw = Bytes::from(object.to_string());
        self.apply(vec![Change::Upsert {
            table,
            raw,
            origin: Origin::Watch,
        }]);
    }

    pub(crate) fn delete(&mut self, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let table = kind(object["kind"].as_str().unwrap());
        let raw = Bytes::from(object.to_string());
        self.apply(vec![Change::Delete {
            table,
            target: Deleted::Raw(raw),
        }]);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.reader.snapshot()
    }

    /// Answers a statement for someone who may see everything.
    pub(crate) async fn ask(&self, sql: &str, params: &[Param]) -> Result<Answer, SqlError> {
        self.ask_as(sql, params, &AccessSet::all()).await
    }

    pub(crate) async fn ask_as(
        &self,
        sql: &str,
        params: &[Param],
        access: &AccessSet,
    ) -> Result<Answer, SqlError> {
        let prepared = self.engine.prepare(sql, access).await?;
        self.engine
            .execute(&prepared, params, &self.snapshot())
            .await
    }

    /// The rows of an answer, or its error, as text.
    pub(crate) async fn text(&self, sql: &str, params: &[Param], access: &AccessSet) -> String {
        match self.ask_as(sql, params, access).await {
            Ok(answer) => text(&answer),
            Err(error) => error.render(sql),
        }
    }

    /// The rows only, in one line each.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let answer = self
            .ask(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}\n{}", error.render(sql)));
        text(&answer).lines().skip(1).map(str::to_owned).collect()
    }
}

/// A header and a line for each row.
pub(crate) fn text(answer: &Answer) -> String {
    use arrow::array::Array;
    use arrow::util::display::array_value_to_string;
    let header: Vec<String> = answer
        .schema
        .fields()
        .iter()
        .map(|f| format!("{} {}", f.name(), short(f.data_type())))
        .collect();
    let mut lines = vec![header.join(" | ")];
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| match column.is_valid(row) {
                    true => array_value_to_string(column, row).unwrap(),
                    false => "NULL".to_owned(),
                })
                .collect();
            lines.push(cells.join(" | "));
        }
    }
    lines.join("\n")
}

fn short(of: &arrow::datatypes::DataType) -> &'static str {
    use arrow::datatypes::DataType;
    match of {
        DataType::Boolean => "bool",
        DataType::Int64 => "int",
        DataType::UInt64 => "uint",
        DataType::Float64 => "float",
        DataType::Utf8 => "text",
        DataType::Binary => "bytes",
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some(zone))
            if &**zone == "UTC" =>
        {
            "time"
        }
        other => panic!("{other} is no type of an answer"),
    }
}

pub(crate) fn meta(
    kind: &str,
    namespace: &str,
    name: &str,
    labels: Value,
    owner: Option<&str>,
) -> Value {
    let api_version = match kind {
        "App" => "example.com/v1",
        "Deployment" => "apps/v1",
        _ => "v1",
    };
    let mut metadata = json!({
        "name": name,
        "uid": format!("{kind}-{namespace}-{name}"),
        "labels": labels,
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "generation": 1,
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    if let Some(owner) = owner {
        metadata["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": owner, "controller": true}]);
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})
}

pub(crate) fn with(mut object: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        object[key] = value.clone();
    }
    object
}

pub(crate) fn pod(
    namespace: &str,
    name: &str,
    app: &str,
    node: Option<&str>,
    phase: &str,
    cpu: Value,
) -> Value {
    let labels = json!({"app": app, "app.kubernetes.io/name": app});
    let mut spec = json!({
        "containers": [
            {"name": "main", "image": format!("{app}:1"), "resources": {"requests": {"cpu": cpu, "memory": "128Mi"}}},
            {"name": "side", "image": "proxy:2"},
        ],
    });
    if let Some(node) = node {
        spec["nodeName"] = json!(node);
    }
    with(
        meta(
            "Pod",
            namespace,
            name,
            labels,
            Some(&format!("Deployment-{namespace}-{app}")),
        ),
        json!({"spec": spec, "status": {"phase": phase, "startTime": "2026-02-03T04:05:06Z"}}),
    )
}

pub(crate) fn app(namespace: &str, name: &str, spec: Value) -> Value {
    with(
        meta("App", namespace, name, json!({"tier": "gold"}), None),
        json!({"spec": spec}),
    )
}

pub(crate) fn deployment(namespace: &str, app: &str, replicas: i64, ready: Option<i64>) -> Value {
    let mut status = json!({});
    if let Some(ready) = ready {
        status["readyReplicas"] = json!(ready);
    }
    let owner = format!("App-{namespace}-{app}");
    with(
        meta(
            "Deployment",
            namespace,
            app,
            json!({"app": app}),
            Some(&owner),
        ),
        json!({
            "spec": {
                "replicas": replicas,
                "template": {"spec": {"containers": [{"name": "main", "image": format!("{app}:1")}]}},
            },
            "status": status,
        }),
    )
}

fn objects() -> Vec<Value> {
    let service = |namespace: &str, name: &str, app: &str, of: &str| {
        with(
            meta("Service", namespace, name, json!({}), None),
            json!({"spec": {"selector": {"app": app}, "type": of, "ports": [{"port": 80}]}}),
        )
    };
    let node = |name: &str, cpu: &str, memory: &str, spec: Value| {
        with(
            meta("Node", "", name, json!({"zone": "z1"}), None),
            json!({"spec": spec, "status": {"capacity": {"cpu": cpu, "memory": memory}}}),
        )
    };
    vec![
        app(
            "a",
            "shop",
            json!({"replicas": 3, "size": "25%", "user": "ann", "type": "web", "from": "git", "tags": ["x", "y"]}),
        ),
        app(
            "a",
            "blog",
            json!({"replicas": 1, "size": 2, "user": "bob", "type": "web", "from": "oci"}),
        ),
        app(
            "b",
            "shop",
            json!({"replicas": "many", "size": "10", "user": null, "type": "job", "from": "git"}),
        ),
        deployment("a", "shop", 3, Some(2)),
        deployment("a", "blog", 1, Some(1)),
        deployment("b", "shop", 2, None),
        service("a", "shop", "shop", "ClusterIP"),
        service("a", "old", "gone", "NodePort"),
        service("b", "shop", "shop", "ClusterIP"),
        pod("a", "shop-1", "shop", Some("n1"), "Running", json!("250m")),
        pod("a", "shop-2", "shop", Some("n2"), "Running", json!("1")),
        pod("a", "shop-3", "shop", None, "Pending", json!(2)),
        pod("a", "blog-1", "blog", Some("n1"), "Running", json!("100m")),
        pod("b", "shop-1", "shop", Some("n2"), "Failed", json!("half")),
        node("n1", "4", "16Gi", json!({})),
        node("n2", "8", "32Gi", json!({"unschedulable": true})),
        node("n3", "8", "1024Mi", json!({"unschedulable": false})),
        with(
            meta("Secret", "a", "tls", json!({}), None),
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "QQ=="}, "immutable": true}),
        ),
    ]
}
