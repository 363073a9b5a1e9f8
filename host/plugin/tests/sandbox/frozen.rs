//! A plugin as a release built it, kept as bytes: it goes on as it did, whatever the interface becomes.
//!
//! Documents are made of today's types, so that a field that is renamed or lost is missed here. What
//! the guest and its host said then is beside the bytes: see frozen/README.md.

use crate::guest::{answer, runtime};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use kybern_interface::{
    Effect, Gvk, HookError, Outcome, OutcomeResult, Plan, Sensing, Situation, Trigger,
};
use kybern_plugin::{
    CallError, CallLimits, Code, Header, NamedAnswer, Offer, Outgoing, Outline, Outside, Plugin,
    Request, Response, SecretHeader, SendError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Of the bytes: who changes them is told here.
const DIGEST: &str = "sha256:96e8217a2e52b05caf7e189b8784e6ea45e467a804096d9a0abbe76db51f3052";
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/0.1.0");
const NOW: &str = "2026-11-23T12:00:00Z";

fn frozen() -> &'static Plugin {
    static FROZEN: OnceLock<Plugin> = OnceLock::new();
    FROZEN.get_or_init(|| runtime().load(&wasm()).unwrap())
}

fn wasm() -> Vec<u8> {
    std::fs::read(format!("{KEPT}/guest.wasm")).unwrap()
}

/// What is kept under a name. Only what is not there yet is written, with KYBERN_BLESS=1.
#[expect(
    clippy::disallowed_methods,
    reason = "a test asks whoever runs it whether to write what is kept"
)]
fn kept(name: &str, now: &Value) -> Value {
    let path = PathBuf::from(format!("{KEPT}/{name}.json"));
    if !path.exists() && std::env::var("KYBERN_BLESS").is_ok() {
        std::fs::write(&path, format!("{now:#}\n")).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A document of today has all that the one of then had; there may be more in it.
fn has(now: &Value, then: &Value, place: &str) {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for (key, then) in then {
                let at = format!("{place}.{key}");
                let now = now.get(key).unwrap_or_else(|| panic!("{at} is lost"));
                has(now, then, &at);
            }
        }
        (Value::Array(now), Value::Array(then)) => {
            assert_eq!(now.len(), then.len(), "{place}");
            for (at, (now, then)) in now.iter().zip(then).enumerate() {
                has(now, then, &format!("{place}[{at}]"));
            }
        }
        _ => assert_eq!(now, then, "{place}"),
    }
}

/// What the host hands in, as the guest was built for it.
fn handed(name: &str, document: &impl Serialize) -> String {
    let now = serde_json::to_value(document).unwrap();
    has(&now, &kept(name, &now), name);
    now.to_string()
}

/// What the guest gave back: word for word as it was, and all of it is understood.
fn given<T: Serialize + DeserializeOwned>(name: &str, text: &str) -> T {
    let now: Value = serde_json::from_str(text).unwrap();
    assert_eq!(now, kept(name, &now), "{name}");
    let read: T = serde_json::from_value(now.clone()).unwrap();
    has(&serde_json::to_value(&read).unwrap(), &now, name);
    read
}

fn resource() -> Gvk {
    Gvk::new("frozen.example.com", "v1", "Frozen")
}

fn object(change: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({
        "apiVersion": "frozen.example.com/v1", "kind": "Frozen",
        "metadata": { "name": "web", "namespace": "team", "uid": "0-1", "generation": 3 },
        "spec": { "size": 3, "url": "http://server.team/", "everything": true },
    });
    change(&mut object);
    object
}

fn trigger(object: Value) -> Trigger {
    Trigger {
        resource: resource(),
        object,
        settings: json!({ "greeting": "hi" }),
        now: NOW.to_owned(),
        queries: Vec::new(),
    }
}

fn situation(object: Value) -> Situation {
    let outcome = |key: &str, attempt, result| Outcome {
        name: "call".to_owned(),
        key: key.to_owned(),
        attempt,
        result,
        at: NOW.to_owned(),
    };
    Situation {
        resource: resource(),
        object,
        queries: vec!["live".to_owned(), "mates".to_owned()],
        outcomes: vec![
            outcome("first", 1, OutcomeResult::Ok(json!({ "asked": "yes" }))),
            outcome("last", 2, OutcomeResult::Error("no answer".to_owned())),
        ],
        state: json!({ "largest": 5 }),
        settings: json!({ "greeting": "hi" }),
        now: NOW.to_owned(),
    }
}

fn answers() -> Vec<NamedAnswer> {
    let times = TimestampMicrosecondArray::from(vec![1_795_305_600_000_001]);
    let live: Vec<(&str, ArrayRef)> = vec![
        ("replicas", Arc::new(Int64Array::from(vec![2]))),
        ("made", Arc::new(times.with_timezone("UTC"))),
    ];
    let names = StringArray::from(vec!["web-mate-a", "web-mate-b", "web-mate-c"]);
    let mates: Vec<(&str, ArrayRef)> = vec![("name", Arc::new(names))];
    let batch = |columns| RecordBatch::try_from_iter(columns).unwrap();
    vec![
        answer("live", vec![batch(live)]),
        answer("mates", vec![batch(mates)]),
    ]
}

fn decide(situation: &Situation) -> Result<String, CallError> {
    let document = serde_json::to_string(situation).unwrap();
    let limits = CallLimits::default();
    frozen().decide_strict(&document, answers(), &limits).result
}

#[test]
fn its_bytes_are_those_of_the_release_and_are_taken() {
    let plugin = frozen();
    assert_eq!(plugin.digest(), DIGEST);
    assert_eq!(plugin.code(), Code::Compiled);
    assert!(plugin.has_sense() && plugin.has_act());
    let outline = Outline::read(&wasm()).unwrap();
    let offers: Vec<Offer> = outline.imports.iter().map(|import| import.offer).collect();
    for offer in [Offer::Rows, Offer::Log, Offer::Http] {
        assert!(offers.contains(&offer), "{offer:?}: {offers:?}");
    }
    let manifest = serde_json::to_value(plugin.manifest()).unwrap();
    has(&manifest, &kept("manifest", &manifest), "manifest");
}

#[test]
fn it_senses_what_it_sensed() {
    let limits = CallLimits::default();
    let document = handed("trigger", &trigger(object(|_| ())));
    let call = frozen().sense(&document, Vec::new(), &limits);
    assert_eq!(call.usage.log_lines, 1);
    let sensing: Sensing = given("sensing", &call.result.unwrap());
    assert!(matches!(sensing, Sensing::Queries(queries) if queries.len() == 1));
    let asleep = trigger(object(|object| object["spec"]["asleep"] = json!(true)));
    let document = serde_json::to_string(&asleep).unwrap();
    let skips = frozen()
        .sense(&document, Vec::new(), &limits)
        .result
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Sensing>(&skips).unwrap(),
        Sensing::Skip
    );
}

#[test]
fn it_plans_what_it_planned() {
    let situation = situation(object(|_| ()));
    handed("situation", &situation);
    let plan: Plan = given("plan", &decide(&situation).unwrap());
    assert_eq!(plan.actions.len(), 15);
}

#[test]
fn its_last_plans_are_what_they_were() {
    let mut leaving = situation(object(|object| {
        object["metadata"]["deletionTimestamp"] = json!(NOW);
    }));
    let _: Plan = given("leaving", &decide(&leaving).unwrap());
    leaving.outcomes[1].result = OutcomeResult::Ok(json!({}));
    let _: Plan = given("left", &decide(&leaving).unwrap());
}

#[test]
fn its_errors_are_what_they_were() {
    let failing = |how: &str| {
        let failing = situation(object(|object| object["spec"]["fails"] = json!(how)));
        decide(&failing).unwrap_err()
    };
    let invalid = HookError::invalid("spec.fails", "is invalid");
    assert_eq!(failing("invalid"), CallError::Hook(invalid));
    assert_eq!(failing("wait"), CallError::Hook(HookError::wait("waits")));
    let retry = HookError::retry("retries");
    assert_eq!(failing("retry"), CallError::Hook(retry));
    let internal = HookError::Internal("fails".to_owned());
    assert_eq!(failing("internal"), CallError::Hook(internal));
}

/// Answers, and keeps what it was asked.
#[derive(Default)]
struct Server(Mutex<Vec<Value>>);

impl Outgoing for Server {
    fn send(
        &self,
        request: Request,
        secrets: Vec<SecretHeader>,
        within: Duration,
        _: usize,
    ) -> Result<Response, SendError> {
        let header = |header: &Header| json!([header.name, header.value]);
        let secret = |secret: &SecretHeader| json!([secret.name, secret.prefix, secret.secret]);
        self.0.lock().unwrap().push(json!({
            "method": request.method,
            "url": request.url,
            "headers": request.headers.iter().map(header).collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(&request.body),
            "secrets": secrets.iter().map(secret).collect::<Vec<_>>(),
            "short": within <= Duration::from_secs(5),
        }));
        Ok(Response {
            status: 200,
            headers: Vec::new(),
            body: b"welcome".to_vec(),
        })
    }
}

#[test]
fn it_acts_as_it_acted() {
    let effect = Effect {
        name: "call".to_owned(),
        key: "first".to_owned(),
        attempt: 2,
        input: json!({ "url": "http://server.team/" }),
        resource: resource(),
        metadata: object(|_| ())["metadata"].as_object().unwrap().clone(),
        settings: json!({ "greeting": "hi" }),
    };
    let server = Arc::new(Server::default());
    let outgoing: Arc<dyn Outgoing> = Arc::<Server>::clone(&server);
    let outside = Outside {
        outgoing: Some(outgoing),
        ..Outside::default()
    };
    let document = handed("effect", &effect);
    let call = frozen().act(&document, &CallLimits::default(), outside);
    assert_eq!(call.usage.log_lines, 1);
    let _: Value = given("outcome", &call.result.unwrap());
    let asked = Value::from(server.0.lock().unwrap().clone());
    assert_eq!(asked, kept("requests", &asked));
}
