//! Calls, timed one after another on one thread.

use super::{Case, Loading};
use crate::clock::now;
use crate::proc::resident;
use anyhow::{Context, Result, ensure};
use appservice::AppService;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use kybern_interface::Plan;
use kybern_plugin::{Call, CallLimits, NamedAnswer, Plugin, Runtime, RuntimeConfig};
use kybern_reconcile::parse_plan;
use kybern_sdk::testing::{Input, Situation};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Calls before those that count.
const WARM_UP: usize = 50;
/// Calls below which there is no p99.
const FOR_P99: usize = 1_000;
const ROWS: i64 = 1_000;
/// The row of the Deployment.
const COUNTS: [(&str, i64); 8] = [
    ("replicas", 3),
    ("readyReplicas", 2),
    ("availableReplicas", 2),
    ("updatedReplicas", 3),
    ("unavailableReplicas", 1),
    ("generation", 4),
    ("seen", 4),
    ("wanted", 3),
];
/// What `fresh_decide_4k` promises.
const BYTES: usize = 4_000;
const KEYS: usize = 120;

/// What the AppService plugin is asked, in the sandbox and without.
struct Asked {
    input: Input<AppService>,
    rows: NamedAnswer,
    limits: CallLimits,
}

/// Is what is measured: prints its cases on one line.
pub(crate) fn subject(guests: &Path, calls: usize, loaded: &[usize]) -> Result<()> {
    let read = |name: &str| {
        let path = guests.join(format!("{name}.wasm"));
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let app = read("appservice")?;
    let runtime = Runtime::new(RuntimeConfig::default())?;
    let mut cases = decides(&runtime.load(&app)?, calls)?;
    cases.push(floor(&runtime.load(&read("kybern_bench_floor")?)?, calls)?);
    let reader = runtime.load(&read("kybern_bench_reader")?)?;
    for form in ["arrow", "json"] {
        cases.push(rows(&reader, form, calls)?);
    }
    drop((reader, runtime));
    for &count in loaded {
        cases.push(many(&app, count, calls)?);
    }
    println!("{}", serde_json::to_string(&cases)?);
    Ok(())
}

/// The AppService plugin in the sandbox and without, in turn.
fn decides(plugin: &Plugin, calls: usize) -> Result<Vec<Case>> {
    let asked = application()?;
    let (mut fresh, mut native) = (Vec::new(), Vec::new());
    for turn in 0..WARM_UP + calls {
        let boxed = timed(|| decided(plugin, &asked))?;
        let bare = timed(|| Ok(parse_plan(&asked.input.decide()?)?))?;
        if turn >= WARM_UP {
            fresh.push(boxed);
            native.push(bare);
        }
    }
    Ok(vec![
        case("fresh_decide_4k", fresh)?,
        Case {
            native: true,
            ..case("native_decide_4k", native)?
        },
    ])
}

/// What a call costs whatever it does.
fn floor(plugin: &Plugin, calls: usize) -> Result<Case> {
    let limits = CallLimits::default();
    case(
        "floor",
        repeated(calls, |_| {
            output(plugin.decide("{}", Vec::new(), &limits)).map(drop)
        })?,
    )
}

/// A plugin that reads all rows in this form.
fn rows(plugin: &Plugin, form: &str, calls: usize) -> Result<Case> {
    let situation = json!({
        "resource": { "group": "bench.example.com", "version": "v1", "kind": "Reader" },
        "object": {
            "apiVersion": "bench.example.com/v1", "kind": "Reader",
            "metadata": { "name": "reader", "namespace": "default", "uid": "1" },
            "spec": { "form": form },
        },
        "queries": ["rows"],
        "now": "2026-01-01T00:00:00Z",
    })
    .to_string();
    let answer = pods()?;
    let limits = CallLimits::default();
    let read = |_| {
        let plan = output(plugin.decide(&situation, vec![answer.clone()], &limits))?;
        ensure!(
            plan.contains(r#""rows":1000"#),
            "it read something else: {plan}"
        );
        Ok(())
    };
    case(&format!("rows_1000_{form}"), repeated(calls, read)?)
}

/// So many components of one plugin, called in turn.
fn many(wasm: &[u8], count: usize, calls: usize) -> Result<Case> {
    let folder = tempfile::tempdir()?;
    let config = RuntimeConfig {
        cache_dir: Some(folder.path().join("compiled")),
        ..RuntimeConfig::default()
    };
    let (compiled, plugins) = loaded(&Runtime::new(config.clone())?, wasm, count)?;
    drop(plugins);
    let runtime = Runtime::new(config)?;
    let before = resident(std::process::id())?;
    let (cached, plugins) = loaded(&runtime, wasm, count)?;
    let after = resident(std::process::id())?;
    let input = application()?;
    let call = |turn: usize| {
        let plugin = plugins.get(turn % plugins.len()).context("a plugin")?;
        decided(plugin, &input)
    };
    let times = repeated(calls, |turn| call(turn).map(drop))?;
    let count = f64::from(u32::try_from(count)?);
    Ok(Case {
        loading: Some(Loading {
            compile_ms: compiled.as_secs_f64() * 1e3 / count,
            load_ms: cached.as_secs_f64() * 1e3 / count,
            idle_kb: (after.now - before.now).max(0.0) / 1e3 / count,
            idle_anonymous_kb: (after.anonymous - before.anonymous).max(0.0) / 1e3 / count,
        }),
        ..case(&format!("loaded_{count}"), times)?
    })
}

/// Different components that do the same, and the time that loading all of them took.
fn loaded(runtime: &Runtime, wasm: &[u8], count: usize) -> Result<(Duration, Vec<Plugin>)> {
    let mut plugins = Vec::new();
    let mut took = Duration::ZERO;
    for number in 0..count {
        let wasm = marked(wasm, number)?;
        let began = now()?;
        plugins.push(runtime.load(&wasm)?);
        took += now()? - began;
    }
    Ok((took, plugins))
}

/// The component with one more custom section, so that its digest is another.
fn marked(wasm: &[u8], number: usize) -> Result<Vec<u8>> {
    let name = b"bench";
    let text = number.to_string();
    // Custom section 0: its length, the name's length, the name, the rest; all below 128.
    let length = u8::try_from(1 + name.len() + text.len())?;
    let mut marked = wasm.to_vec();
    marked.extend([0, length, u8::try_from(name.len())?]);
    marked.extend(name);
    marked.extend(text.as_bytes());
    Ok(marked)
}

/// A custom resource with sixteen ports, as the plugin is asked about it.
fn application() -> Result<Asked> {
    let ports: Vec<Value> = (0..16)
        .map(|port| json!({ "port": 8000 + port, "targetPort": 9000 + port, "nodePort": 30000 + port }))
        .collect();
    let object = json!({
        "apiVersion": "app.example.com/v1", "kind": "AppService",
        "metadata": {
            "name": "shop-frontend",
            "labels": { "app.kubernetes.io/name": "shop-frontend", "app.kubernetes.io/part-of": "shop" },
        },
        "spec": { "size": 3, "image": "registry.example.com/shop/frontend:1.27.3", "ports": ports },
    });
    let counts = COUNTS.map(|(column, value)| (column.to_owned(), json!(value)));
    let mut deployment = Map::from_iter(counts);
    deployment.insert("reported".to_owned(), json!([]));
    let situation = Situation::new(object.clone()).rows("deployment", [deployment]);
    let input = situation.input::<AppService>()?;
    let plan: Value = serde_json::from_str(&input.decide()?)?;
    let bytes = object.to_string().len() + plan.to_string().len();
    let keys = keys(&object) + keys(&plan);
    ensure!(
        bytes >= BYTES && keys >= KEYS,
        "only {bytes} bytes with {keys} keys"
    );
    let counts = COUNTS.map(|(column, value)| -> (&str, ArrayRef) {
        (column, Arc::new(Int64Array::from(vec![value])))
    });
    let reported: ArrayRef = Arc::new(StringArray::from(vec!["[]"]));
    let columns = counts.into_iter().chain([("reported", reported)]);
    Ok(Asked {
        input,
        rows: answer("deployment", RecordBatch::try_from_iter(columns)?),
        limits: CallLimits::default(),
    })
}

fn keys(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.len() + fields.values().map(keys).sum::<usize>(),
        Value::Array(items) => items.iter().map(keys).sum(),
        _ => 0,
    }
}

/// One call, its plan read.
fn decided(plugin: &Plugin, asked: &Asked) -> Result<Plan> {
    let rows = vec![asked.rows.clone()];
    let plan = output(plugin.decide(asked.input.situation(), rows, &asked.limits))?;
    Ok(parse_plan(&plan)?)
}

fn output(call: Call<String>) -> Result<String> {
    Ok(call.result?)
}

/// 1,000 rows of three columns.
fn pods() -> Result<NamedAnswer> {
    let names = (0..ROWS).map(|pod| format!("shop-frontend-5d9c7b8f6-{pod:05}"));
    let nodes = (0..ROWS).map(|pod| format!("node-{}", pod % 50));
    let columns: [(&str, ArrayRef); 3] = [
        ("name", Arc::new(StringArray::from_iter_values(names))),
        ("node", Arc::new(StringArray::from_iter_values(nodes))),
        (
            "restarts",
            Arc::new(Int64Array::from_iter_values((0..ROWS).map(|pod| pod % 7))),
        ),
    ];
    Ok(answer("rows", RecordBatch::try_from_iter(columns)?))
}

fn answer(name: &str, batch: RecordBatch) -> NamedAnswer {
    NamedAnswer {
        name: name.to_owned(),
        schema: batch.schema(),
        batches: vec![batch],
    }
}

/// Times a call again and again, in seconds; it is told its number.
fn repeated(calls: usize, call: impl Fn(usize) -> Result<()>) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for turn in 0..WARM_UP + calls {
        let took = timed(|| call(turn))?;
        if turn >= WARM_UP {
            times.push(took);
        }
    }
    Ok(times)
}

/// Seconds until it returned; what it returned is dropped later.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let began = now()?;
    let result = work()?;
    let took = now()? - began;
    drop(result);
    Ok(took.as_secs_f64())
}

fn case(name: &str, mut times: Vec<f64>) -> Result<Case> {
    times.sort_by(f64::total_cmp);
    let at = |hundredths: usize| {
        let time = times.get(times.len() * hundredths / 100);
        time.map(|time| time * 1e6).context("nothing was timed")
    };
    Ok(Case {
        name: name.to_owned(),
        native: false,
        p50_us: at(50)?,
        p99_us: at(99).ok().filter(|_| times.len() >= FOR_P99),
        loading: None,
    })
}
