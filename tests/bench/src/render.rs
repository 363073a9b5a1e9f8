//! `render`: what it costs to render a Helm chart.
//!
//! *Work.* Two charts of plugins/helm-engine/testdata, with their own values: `shop` (9 templates, a
//! subchart, a schema) and `webapp` (3 templates as in many published charts). `kybern` is the host's
//! engine, a fresh sandbox for each render; `native` is the same Go code on the same requests, without
//! a sandbox, again and again in one process; `helm-engine` is that as a process for each render, and
//! `helm-template` Helm's own program. Kybern's renders are all different, so that none is answered from
//! those that are kept, but for `kept`, which is.
//!
//! *Figures.* Milliseconds on the wall, one render after the other, and processor time. `prepare` is
//! what it takes before the first render: compiling the engine, once for each release of it, and
//! loading its code from the cache, once for each start.
//!
//! *Cost model.* Fixed: an instance (memory mapped from the snapshot), parsing all templates; per
//! document: executing, and YAML parsed for the order. A process has Go's start-up, its packages'
//! variables, and for `helm-template` Kubernetes' schemes.
//!
//! *Limit.* The native renders: what is beyond is WebAssembly and the faults of fresh pages.

use crate::args::Options;
use crate::child::Child;
use crate::clock::{now, processor_time};
use crate::proc::waited;
use crate::report::{Metric, Report, median};
use crate::systems::{Runnable, System, runnable};
use anyhow::{Context, Result, ensure};
use kybern_helm::{Config, Engine, EngineFile};
use kybern_plugin::ModulesConfig;
use kybern_testcluster::{cache, guests, helm_engine_module, helm_engine_native};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Its name.
pub(crate) const NAME: &str = "render";

const SYSTEMS: [System; 4] = [
    System::Kybern,
    System::Native,
    System::HelmEngine,
    System::HelmTemplate,
];
const CHARTS: [&str; 2] = ["shop", "webapp"];
const RENDERS: usize = 50;
const QUICK_RENDERS: usize = 3;
/// A time of day for templates; each render has a later one.
const DAY: u64 = 1_767_225_600;

const WALL: Metric = Metric {
    name: "p50_ms",
    unit: "ms",
};
const PROCESSOR: Metric = Metric {
    name: "processor_ms",
    unit: "ms",
};
const COMPILE: Metric = Metric {
    name: "compile_ms",
    unit: "ms",
};
const LOAD: Metric = Metric {
    name: "load_ms",
    unit: "ms",
};

/// What the renders of one chart took.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cost {
    p50_ms: f64,
    processor_ms: f64,
    kept_ms: Option<f64>,
    compile_ms: Option<f64>,
    load_ms: Option<f64>,
}

/// Measures and reports.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let renders = match options.quick {
        true => QUICK_RENDERS,
        false => RENDERS,
    };
    let systems = runnable(&SYSTEMS, options)?;
    let mut samples: Vec<Vec<Vec<Cost>>> = vec![vec![Vec::new(); CHARTS.len()]; systems.len()];
    for _ in 0..options.rounds() {
        for (runnable, charts) in systems.iter().zip(&mut samples) {
            for (chart, costs) in CHARTS.into_iter().zip(charts) {
                let first = costs.is_empty() && Some(&chart) == CHARTS.first();
                let compile = first && !options.quick;
                costs.push(measure(runnable, chart, renders, compile)?);
            }
        }
    }
    for (runnable, charts) in systems.iter().zip(&samples) {
        for (chart, costs) in CHARTS.into_iter().zip(charts) {
            let figures = [
                (chart.to_owned(), WALL, of(costs, |cost| Some(cost.p50_ms))),
                (
                    chart.to_owned(),
                    PROCESSOR,
                    of(costs, |cost| Some(cost.processor_ms)),
                ),
                (
                    format!("{chart}_kept"),
                    WALL,
                    of(costs, |cost| cost.kept_ms),
                ),
            ];
            for (case, metric, samples) in figures {
                report.median((NAME, &case), metric, runnable.system.name(), &samples);
            }
        }
        // The same for each chart.
        let first = charts.first().map(Vec::as_slice).unwrap_or_default();
        for (metric, samples) in [
            (COMPILE, of(first, |cost| cost.compile_ms)),
            (LOAD, of(first, |cost| cost.load_ms)),
        ] {
            report.median((NAME, "prepare"), metric, runnable.system.name(), &samples);
        }
    }
    Ok(())
}

fn of(costs: &[Cost], figure: fn(&Cost) -> Option<f64>) -> Vec<f64> {
    costs.iter().filter_map(figure).collect()
}

fn measure(of: &Runnable, chart: &str, renders: usize, compile: bool) -> Result<Cost> {
    let folder = helm_engine_module()?
        .join("testdata")
        .join("charts")
        .join(chart);
    let request = tempfile::NamedTempFile::new()?;
    std::fs::write(request.path(), asked(&folder)?)?;
    let mut spawned = Command::new(&of.program);
    match of.system {
        System::HelmTemplate => {
            spawned
                .args(["template", "rel"])
                .arg(&folder)
                .args(["--namespace", "prod"]);
            each(renders, &mut spawned, None)
        }
        System::HelmEngine => each(renders, spawned.arg("template"), Some(request.path())),
        System::Native => {
            let mut native = Command::new(helm_engine_native()?);
            repeated(&mut native, renders, request.path())
        }
        _ => {
            let path = request.path().to_string_lossy();
            let words = [
                "be-render",
                &path,
                &renders.to_string(),
                &compile.to_string(),
            ];
            let mut child = Child::start(of, &words)?;
            let cost = serde_json::from_str(&child.line()?)?;
            child.end()?;
            Ok(cost)
        }
    }
}

/// The request for a chart's folder.
fn asked(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    read(folder, "", &mut files)?;
    let request = json!({
        "version": 1,
        "chart": {"files": files},
        "release": {"name": "rel", "namespace": "prod", "revision": 1, "isUpgrade": false},
        "capabilities": {"kubeVersion": "v1.37.0", "apiVersions": ["v1", "apps/v1", "batch/v1"]},
    });
    Ok(request.to_string())
}

fn read(folder: &Path, prefix: &str, files: &mut Vec<Value>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read(&path, &format!("{name}/"), files)?;
        } else {
            files.push(json!({"path": name, "text": std::fs::read_to_string(&path)?}));
        }
    }
    Ok(())
}

/// A process for each render.
fn each(renders: usize, command: &mut Command, input: Option<&Path>) -> Result<Cost> {
    let before = waited()?;
    let mut walls = Vec::new();
    for _ in 0..renders {
        command.stdin(match input {
            Some(path) => Stdio::from(std::fs::File::open(path)?),
            None => Stdio::null(),
        });
        let begun = now()?;
        let output = command.output()?;
        walls.push(milliseconds(now()?.saturating_sub(begun)));
        let failed = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && !output.stdout.is_empty(),
            "{failed}"
        );
    }
    cost(&walls, (waited()? - before) * 1_000.0)
}

/// One process, which says what each render took, in lines of nanoseconds.
fn repeated(command: &mut Command, renders: usize, input: &Path) -> Result<Cost> {
    let before = waited()?;
    let output = command
        .args(["repeat", &renders.to_string()])
        .stdin(std::fs::File::open(input)?)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "native renders: {}", output.status);
    let lines = String::from_utf8(output.stdout)?;
    let walls: Vec<f64> = lines
        .lines()
        .map(|line| line.parse::<f64>().map(|nanoseconds| nanoseconds / 1e6))
        .collect::<std::result::Result<_, _>>()?;
    ensure!(
        walls.len() == renders,
        "{renders} renders, {} times",
        walls.len()
    );
    cost(&walls, (waited()? - before) * 1_000.0)
}

fn cost(walls: &[f64], processor: f64) -> Result<Cost> {
    let renders = f64::from(u32::try_from(walls.len())?);
    Ok(Cost {
        p50_ms: median(walls).context("a render")?,
        processor_ms: processor / renders,
        kept_ms: None,
        compile_ms: None,
        load_ms: None,
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Is what is measured.
pub(crate) fn subject(request: &Path, renders: usize, compile: bool) -> Result<()> {
    let request = std::fs::read(request)?;
    let module = guests()?;
    let module = EngineFile::beside(&module)
        .with_context(|| {
            format!(
                "no helm-engine.wasm in {}: run `cargo xtask guests`",
                module.display()
            )
        })?
        .read()?;
    let prepared = |code: &Path| -> Result<(Engine, f64)> {
        let modules = ModulesConfig {
            cache_dir: Some(code.to_owned()),
            ..ModulesConfig::default()
        };
        let engine = Engine::new(module.clone(), Config::new(modules, [0; 32]))?;
        let begun = now()?;
        engine.prepare()?;
        Ok((engine, milliseconds(now()?.saturating_sub(begun))))
    };
    let fresh = tempfile::tempdir()?;
    let compile_ms = match compile {
        true => Some(prepared(&fresh.path().join("code"))?.1),
        false => None,
    };
    let code = cache()?.join("helm-compiled");
    prepared(&code)?;
    let (engine, load_ms) = prepared(&code)?;

    let (mut walls, mut kept) = (Vec::new(), Vec::new());
    let mut processor = 0.0;
    for time in (DAY..).take(renders) {
        let time = Duration::from_secs(time);
        let (begun, used) = (now()?, processor_time()?);
        let response = engine.render(&request, time)?;
        walls.push(milliseconds(now()?.saturating_sub(begun)));
        processor += milliseconds(processor_time()?.saturating_sub(used));
        let response: Value = serde_json::from_slice(&response)?;
        let error = response.get("error");
        ensure!(error.is_none(), "{error:?}");
        let begun = now()?;
        engine.render(&request, time)?;
        kept.push(milliseconds(now()?.saturating_sub(begun)));
    }
    let cost = Cost {
        kept_ms: median(&kept),
        compile_ms,
        load_ms: Some(load_ms),
        ..cost(&walls, processor)?
    };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&cost)?)?;
    Ok(())
}
