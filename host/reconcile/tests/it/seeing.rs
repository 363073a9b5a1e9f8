//! What is counted of passes, to the bucket, and the spans that they leave.

use crate::spans;
use crate::world::{World, apply, cr, map, plan, simple};
use kybern_interface::HookError;
use kybern_reconcile::{
    Again, DecideError, Histogram, PassResult, PluginMetrics, Refusal, Stage, WriteError,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

fn counted(world: &World) -> PluginMetrics {
    world.engine.metrics().plugins["reg"].clone()
}

/// The buckets that are not empty.
fn filled(histogram: &Histogram) -> Vec<(f64, u64)> {
    histogram.buckets().filter(|(_, n)| *n > 0).collect()
}

fn results(counts: &PluginMetrics) -> Vec<(&'static str, u64)> {
    PassResult::ALL
        .into_iter()
        .map(|result| (result.name(), counts.ended(result)))
        .filter(|(_, n)| *n > 0)
        .collect()
}

/// A world whose queries take 30 ms, with one CR that is as planned.
async fn converged() -> World {
    let world = World::new();
    *world.hooks.delay.lock() = Duration::from_millis(30);
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "1" } })));
    world.settle().await;
    world
}

async fn edit(world: &World, value: &str) {
    world.api.edit("user", "App", "ns", "a", |a| {
        a["spec"]["maps"]["x"] = json!(value);
    });
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_pass_is_that_of_its_stages() {
    let world = converged().await;
    let counts = counted(&world);
    assert_eq!(results(&counts), [("succeeded", 1)]);
    let passes = &counts.passes[&PassResult::Succeeded];
    assert_eq!(filled(passes), [(0.05, 1)]);
    assert_eq!(passes.sum(), Duration::from_millis(30));
    assert_eq!(counts.pass_time(), passes.sum());
    let of = |stage| filled(&counts.stages[&stage]);
    assert_eq!(of(Stage::Sense), [(0.05, 1)]);
    for stage in [Stage::Decide, Stage::Write, Stage::Status] {
        assert_eq!(of(stage), [(0.00025, 1)], "{stage:?}");
    }
    let writes = [(("create", "2xx"), 1), (("status", "2xx"), 1)];
    assert_eq!(counts.writes, BTreeMap::from(writes));
    assert_eq!((counts.decides, counts.throttled), (1, 0));
    assert_eq!(counts.again, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn every_result_is_counted() {
    let world = converged().await;
    world.api.edit("user", "ConfigMap", "ns", "a-x", |map| {
        map["metadata"]["labels"]["noise"] = json!("1");
    });
    world.settle().await;
    world.decide(|_| Err(DecideError::Hook(HookError::invalid("spec.x", "no"))));
    edit(&world, "2").await;
    world.decide(|_| {
        Err(DecideError::Hook(HookError::Wait(
            kybern_interface::Failure {
                message: "for the moon".into(),
                retry_after_ms: Some(200_000),
            },
        )))
    });
    edit(&world, "3").await;
    world.decide(simple);
    let annotate = |value: &str| {
        world.api.edit("user", "App", "ns", "a", |a| {
            a["metadata"]["annotations"] = json!({ "kybern.dev/paused": value });
        });
    };
    annotate("true");
    world.settle().await;
    world.api.delete("App", "ns", "a");
    world.settle().await;
    let counts = counted(&world);
    let wanted = [
        ("unchanged", 1),
        ("succeeded", 1),
        ("paused", 1),
        ("waiting", 2),
        ("failed", 1),
        ("gone", 1),
    ];
    assert_eq!(results(&counts), wanted);
    let reasons = [("InvalidSpec".to_owned(), 1), ("Waiting".to_owned(), 2)];
    assert_eq!(counts.reasons, BTreeMap::from(reasons));
    assert_eq!(counts.again, BTreeMap::from([(Again::Waiting, 2)]));
    assert_eq!(counts.all_passes(), 7);
}

#[tokio::test(start_paused = true)]
async fn refused_writes_backoffs_and_throttling_are_counted() {
    let world = converged().await;
    let mut answers = vec![
        WriteError::Lost("cut off".into()),
        refused(500, "InternalError", None),
        refused(429, "TooManyRequests", Some(2)),
        // Of two the first is answered by reading the object again.
        refused(409, "Conflict", None),
        refused(409, "Conflict", None),
    ];
    world.api.fail_with(move |_| answers.pop());
    edit(&world, "2").await;
    assert_eq!(world.ready("a").0, "True");
    let counts = counted(&world);
    let writes = [
        (("apply", "2xx"), 1),
        (("create", "2xx"), 1),
        (("patch", "2xx"), 1),
        (("patch", "4xx"), 3),
        (("patch", "5xx"), 1),
        (("status", "2xx"), 2),
        (("status", "lost"), 1),
    ];
    assert_eq!(counts.writes, BTreeMap::from(writes));
    let again = [Again::Conflict, Again::Backoff, Again::Throttled];
    assert_eq!(counts.again, again.map(|again| (again, 1)).into());
    assert_eq!(counts.throttled, 1);
}

fn refused(code: u16, reason: &str, after: Option<u64>) -> WriteError {
    WriteError::Refused(Refusal {
        code,
        reason: reason.into(),
        retry_after: after.map(Duration::from_secs),
        ..Refusal::default()
    })
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_counted_by_priority_and_its_oldest_is_shown() {
    let world = World::new();
    *world.hooks.delay.lock() = Duration::from_millis(300);
    // Eight at once are under way, the ninth waits for one of them.
    for n in 0..9 {
        world.api.put("user", cr(&format!("c{n}"), json!({})));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let metrics = world.engine.metrics();
    assert_eq!((metrics.running, metrics.queued), (8, [0, 0, 0, 1]));
    assert_eq!(metrics.oldest, [0, 0, 0, 200].map(Duration::from_millis));
    world.settle().await;
    let counts = counted(&world);
    assert_eq!(filled(&counts.waited[3]), [(0.00025, 8), (0.5, 1)]);
    assert_eq!(world.engine.metrics().oldest, [Duration::ZERO; 4]);
}

#[tokio::test(start_paused = true)]
async fn counters_go_on_when_another_engine_comes_and_end_with_the_registration() {
    let mut world = converged().await;
    world.restart().await;
    world.settle().await;
    assert_eq!(results(&counted(&world)), [("succeeded", 2)]);
    world.engine.unregister("reg").await;
    assert_eq!(counted(&world).all_passes(), 2);
    world.counters.forget("reg");
    world.settle().await;
    assert!(world.engine.metrics().plugins.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pass_is_one_span_with_its_stages_and_says_nothing_of_what_it_read() {
    let world = World::new();
    world.decide(|_| {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" },
            "stringData": { "password": "hunter2" } });
        let map = map("m", json!({ "v": "hunter2" }));
        Ok(plan(json!([apply(map), apply(secret)])))
    });
    spans::listen();
    world
        .api
        .put("user", cr("a", json!({ "maps": { "x": "hunter2" } })));
    world.settle().await;
    let trace = spans::listen();
    let said = trace.events.clone();
    let seen = trace.spans();
    let shape: Vec<_> = seen.iter().map(|seen| (seen.name, seen.inside)).collect();
    let wanted = [
        ("pass", None),
        ("sense", Some("pass")),
        ("decide", Some("pass")),
        ("write", Some("pass")),
        ("status", Some("pass")),
    ];
    assert_eq!(shape, wanted);
    let fields = seen[0].fields.iter();
    let fields: Vec<_> = fields.map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        fields.join(" "),
        "cause=start kind=App name=a namespace=ns plugin=reg priority=startup result=succeeded"
    );
    assert!(said.contains("pass ended"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert!(!format!("{seen:?}").contains("hunter2"), "{seen:?}");
    // A pass over what is gone is a span as well, without stages.
    world.api.delete("App", "ns", "a");
    world.settle().await;
    let seen = spans::listen().spans();
    let ends: Vec<_> = seen
        .iter()
        .map(|seen| (seen.name, seen.fields["result"].as_str()))
        .collect();
    assert_eq!(ends, [("pass", "gone")]);
}
