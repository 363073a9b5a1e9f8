//! Bundles: files that a guest interprets, a manifest that follows from them, charts that are rendered.

use crate::guest::{component, config, runtime};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use kybern_bundle::{Bundle, compose};
use kybern_interface::Sensing;
use kybern_plugin::{
    CallError, CallLimits, Code, LoadError, Plugin, Render, RenderFailure, Runtime, RuntimeConfig,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| component("kybern-describer"))
}

fn manifest() -> Value {
    json!({
        "name": "described", "version": "1.2.3", "world": "kybern:operator@0.1.0",
        "resources": [{ "group": "example.com", "version": "v1", "kind": "Web" }],
        "writes": [{ "version": "v1", "kind": "ConfigMap", "verbs": ["apply"] }],
    })
}

fn bundled(files: &[(&str, &str)]) -> Vec<u8> {
    let mut bundle = Bundle::default();
    for (path, content) in files {
        bundle.insert(path, (*content).into()).unwrap();
    }
    compose(wasm(), &bundle).unwrap()
}

fn refused(files: &[(&str, &str)]) -> LoadError {
    runtime().load(&bundled(files)).unwrap_err()
}

fn decided(plugin: &Plugin) -> Result<Value, CallError> {
    let situation = json!({
        "resource": { "group": "example.com", "version": "v1", "kind": "Web" },
        "object": { "metadata": { "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z" } },
        "now": "2026-11-22T00:00:00Z",
    });
    let called = plugin.decide(&situation.to_string(), Vec::new(), &CallLimits::default());
    let plan = serde_json::from_str::<Value>(&called.result?).unwrap();
    Ok(plan["actions"].clone())
}

#[test]
fn a_component_is_what_its_bundle_says() {
    let child = json!({ "kind": "ConfigMap", "metadata": { "name": "$name" } }).to_string();
    let text = manifest().to_string();
    let files = [
        ("manifest.json", text.as_str()),
        ("children/one.json", &child),
    ];
    let plugin = runtime().load(&bundled(&files)).unwrap();
    assert!(plugin.describes_itself());
    assert_eq!(plugin.manifest().name, "described");
    assert_eq!(plugin.manifest().writes[0].kind, "ConfigMap");
    assert_eq!(plugin.bundle().unwrap().paths().count(), 2);
    assert_eq!(
        decided(&plugin).unwrap()[0]["object"]["metadata"]["name"],
        "a"
    );
    // The same files, the same component.
    let same = runtime().load(&bundled(&files)).unwrap();
    assert!(same.shares_code_with(&plugin));
}

#[test]
fn another_bundle_is_another_version_of_the_same_code() {
    let folder = tempfile::tempdir().unwrap();
    let config = RuntimeConfig {
        cache_dir: Some(folder.path().join("code")),
        ..config()
    };
    let load = |runtime: &Runtime, version: &str| {
        let mut manifest = manifest();
        manifest["version"] = json!(version);
        let wasm = bundled(&[("manifest.json", &manifest.to_string())]);
        let near = runtime.is_near(&wasm);
        (near, runtime.load(&wasm).unwrap())
    };
    let first = Runtime::new(config.clone()).unwrap();
    let (near, one) = load(&first, "1.0.0");
    assert_eq!((near, one.code()), (false, Code::Compiled));
    let (near, two) = load(&first, "2.0.0");
    assert_eq!((near, two.code()), (true, Code::Cached));
    assert_ne!(one.digest(), two.digest());
    assert_eq!(one.code_digest(), two.code_digest());
    assert_eq!(two.manifest().version, "2.0.0");
    // Neither holds the other's files, and none is compiled by who starts anew.
    let (near, three) = load(&Runtime::new(config).unwrap(), "3.0.0");
    assert_eq!((near, three.code()), (true, Code::Cached));
    assert_eq!(first.compiled().succeeded, 1);
}

#[test]
fn what_is_wrong_with_a_bundle_is_told_as_the_plugin_tells_it() {
    let report =
        "operator.yaml:3:5: unknown key `wach`; did you mean `watch`?\n  3 | wach: {}\n    | ^^^^";
    let error = refused(&[("mode", report)]);
    assert!(
        matches!(&error, LoadError::Bundle { reason } if reason == report),
        "{error}"
    );
    let error = refused(&[("other.json", "{}")]).to_string();
    assert_eq!(error, "manifest.json: no such file; there are: other.json");
    let long = refused(&[("mode", &"a line\n".repeat(10_000))]).to_string();
    assert!(long.len() < 20_000 && long.ends_with("[cut]"));
}

#[test]
fn a_hostile_describe_ends_at_its_limits() {
    let refused = |mode| refused(&[("mode", mode)]);
    let call = |mode| match refused(mode) {
        LoadError::Describe(error) => error,
        other => panic!("{mode}: {other}"),
    };
    assert!(matches!(call("loop"), CallError::OutOfTime { .. }));
    assert!(matches!(call("memory"), CallError::OutOfMemory { .. }));
    assert!(matches!(call("huge"), CallError::OutputTooLarge { .. }));
    let trap = call("trap").to_string();
    assert!(trap.contains("as the bundle says"), "{trap}");
    for mode in ["deep", "text"] {
        let error = refused(mode);
        assert!(
            matches!(error, LoadError::Manifest { .. }),
            "{mode}: {error}"
        );
    }
    let mut many = manifest();
    many["reads"] = json!(vec![json!({ "version": "v1", "kind": "A" }); 257]);
    let error = self::refused(&[("manifest.json", &many.to_string())]).to_string();
    assert!(error.contains("257 reads"), "{error}");
}

#[test]
fn a_bundle_asks_for_no_more_than_its_component() {
    let mut greedy = manifest();
    greedy["capabilities"] = json!([{ "name": "render" }, { "name": "http" }]);
    let error = refused(&[("manifest.json", &greedy.to_string())]).to_string();
    assert!(error.contains("the capability http"), "{error}");
}

#[test]
fn a_section_that_nobody_composed_is_refused() {
    let good = bundled(&[("a", "text")]);
    let mut bent = good.clone();
    // The owner of the file: no reader of the bundle would mind.
    let at = bent.len() - 2_048 + 108;
    bent[at] = b'1';
    for (wasm, told) in [
        (bent, "no tar"),
        (
            [good.clone(), good[good.len() - 2_065..].to_vec()].concat(),
            "more than once",
        ),
    ] {
        match runtime().load(&wasm).unwrap_err() {
            LoadError::Section { reason } => assert!(reason.contains(told), "{reason}"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn sense_asks_again_and_sees_what_came() {
    let files = [
        ("manifest.json", &*manifest().to_string()),
        ("rounds", "2"),
        ("query.sql", "SELECT $1"),
    ];
    let plugin = runtime().load(&bundled(&files)).unwrap();
    let sense = |names: &[&str]| {
        let trigger = json!({
            "resource": { "group": "example.com", "version": "v1", "kind": "Web" },
            "object": {}, "now": "2026-11-22T00:00:00Z", "queries": names,
        });
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let rows = RecordBatch::try_from_iter([("n", column)]);
        let answers = names
            .iter()
            .map(|name| crate::guest::answer(name, vec![rows.as_ref().unwrap().clone()]));
        let called = plugin.sense(
            &trigger.to_string(),
            answers.collect(),
            &CallLimits::default(),
        );
        serde_json::from_str::<Sensing>(&called.result.unwrap()).unwrap()
    };
    let asked = |sensing| match sensing {
        Sensing::Again(queries) => (queries[0].name.clone(), queries[0].params[0].clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(sense(&[])), ("round-0".to_owned(), json!("0")));
    assert_eq!(
        asked(sense(&["round-0"])),
        ("round-1".to_owned(), json!("3"))
    );
    assert_eq!(sense(&["round-0", "round-1"]), Sensing::Queries(Vec::new()));
}

/// Tells what it was asked, and gives one ConfigMap.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Value>>);

impl Render for Told {
    fn helm(&self, request: Value, now: Duration, _: usize) -> Result<String, RenderFailure> {
        assert_eq!(now, Duration::from_secs(1_767_225_600));
        let bad = request["release"]["name"] == "bad";
        let large = request["release"]["name"] == "large";
        self.0.lock().push(request);
        match (bad, large) {
            (true, _) => Err(RenderFailure::Failed("the engine is tired".to_owned())),
            (_, true) => Ok("x".repeat(9 << 20)),
            _ => Ok(
                json!({ "manifests": [{ "source": "t", "content": "{\"kind\":\"ConfigMap\"}" }] })
                    .to_string(),
            ),
        }
    }
}

#[test]
fn a_chart_of_the_bundle_is_rendered_by_the_host() {
    let told = Arc::new(Told::default());
    let config = RuntimeConfig {
        render: Some(told.clone()),
        ..config()
    };
    let rendering = Runtime::new(config).unwrap();
    let mut asking = manifest();
    asking["capabilities"] = json!([{ "name": "render" }]);
    let decide = |runtime: &Runtime, manifest: &Value, chart: &str, release: &str| {
        let request = json!({ "chart": chart, "values": ["a: 1"], "release": { "name": release, "namespace": "n" } });
        let files = [
            ("manifest.json", &*manifest.to_string()),
            ("render.json", &request.to_string()),
            ("web/Chart.yaml", "name: web"),
            ("web/.helmignore", "*.bak"),
            ("web/a.bak", ""),
        ];
        decided(&runtime.load(&bundled(&files)).unwrap())
    };
    let actions = decide(&rendering, &asking, "web", "r").unwrap();
    assert_eq!(actions[0]["object"]["kind"], "ConfigMap");
    let asked = told.0.lock().pop().unwrap();
    assert_eq!(asked["version"], 1);
    assert_eq!(
        asked["chart"]["files"][1],
        json!({ "path": "Chart.yaml", "text": "name: web" })
    );
    assert_eq!(asked["chart"]["files"].as_array().unwrap().len(), 2);
    assert_eq!(asked["values"], json!(["a: 1"]));
    let why = |result: Result<Value, CallError>| result.unwrap_err().to_string();
    for (chart, release, told) in [
        ("gone", "r", "there are: web"),
        ("web", "bad", "the engine is tired"),
        ("web", "large", "larger than 8388608 bytes"),
    ] {
        let error = why(decide(&rendering, &asking, chart, release));
        assert!(error.contains(told), "{error}");
    }
    let error = why(decide(&rendering, &manifest(), "web", "r"));
    assert!(error.contains("asks for the capability render"), "{error}");
    let error = why(decide(runtime(), &asking, "web", "r"));
    assert!(error.contains("--helm-engine"), "{error}");
}
