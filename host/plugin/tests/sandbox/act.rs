//! The act hook: its own instances and limits, requests only through what it was given.

use crate::guest::{component, runtime};
use crate::text::{DECIDES, MANIFEST, decider, with_manifest};
use kybern_interface::{HookError, WIT};
use kybern_plugin::{
    CallError, CallLimits, Header, Outgoing, Outside, Plugin, Request, Response, Runtime,
    RuntimeConfig, SecretHeader, SendError, Stop,
};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| component("kybern-caller"))
}

fn caller() -> &'static Plugin {
    static CALLER: OnceLock<Plugin> = OnceLock::new();
    CALLER.get_or_init(|| runtime().load(wasm()).unwrap())
}

fn effect(change: impl FnOnce(&mut Value)) -> String {
    let mut effect = json!({
        "name": "call", "key": "k1", "attempt": 1,
        "input": { "url": "http://a.com/", "method": "POST", "secret": "body", "spin": false },
        "resource": { "group": "caller.example.com", "version": "v1", "kind": "Call" },
        "metadata": { "name": "a" },
    });
    change(&mut effect["input"]);
    effect.to_string()
}

/// Answers as it is told, and keeps what it was asked.
struct World {
    answer: Result<Response, SendError>,
    asked: Mutex<Vec<(Request, Duration, usize)>>,
    secrets: Mutex<Vec<SecretHeader>>,
}

impl Outgoing for World {
    fn send(
        &self,
        request: Request,
        secrets: Vec<SecretHeader>,
        within: Duration,
        most: usize,
    ) -> Result<Response, SendError> {
        let asked = (request, within, most);
        self.asked.lock().unwrap().push(asked);
        self.secrets.lock().unwrap().extend(secrets);
        self.answer.clone()
    }
}

fn world(answer: Result<Response, SendError>) -> Arc<World> {
    Arc::new(World {
        answer,
        asked: Mutex::default(),
        secrets: Mutex::default(),
    })
}

fn answer(status: u16, body: &[u8]) -> Result<Response, SendError> {
    Ok(Response {
        status,
        headers: Vec::new(),
        body: body.to_vec(),
    })
}

fn through(world: &Arc<World>) -> Outside {
    let outgoing: Arc<dyn Outgoing> = Arc::<World>::clone(world);
    Outside {
        outgoing: Some(outgoing),
        ..Outside::default()
    }
}

fn act(effect: &str, outside: Outside) -> Result<String, CallError> {
    caller().act(effect, &CallLimits::default(), outside).result
}

fn reason(error: &CallError) -> &str {
    match error {
        CallError::Hook(HookError::Invalid(reason)) => reason,
        CallError::Hook(HookError::Retry(failure)) => &failure.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_goes_out_and_its_answer_comes_back() {
    let world = world(answer(201, b"hello"));
    let outcome = act(&effect(|_| ()), through(&world)).unwrap();
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    assert_eq!(outcome, json!({ "status": 201, "text": "hello" }));
    let asked = world.asked.lock().unwrap();
    let (request, within, most) = &asked[0];
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "http://a.com/")
    );
    assert_eq!(request.body, b"body");
    let key = Header {
        name: "Idempotency-Key".into(),
        value: "k1".into(),
    };
    assert!(request.headers.contains(&key));
    assert!(*within <= Duration::from_secs(10) && *most == 1 << 20);
    assert!(
        !format!("{request:?}").contains("a.com"),
        "nothing prints it"
    );
}

#[test]
fn a_secret_is_a_name_beside_the_request() {
    let world = world(answer(200, b"hello"));
    let effect = effect(|input| input["authorized"] = json!(true));
    act(&effect, through(&world)).unwrap();
    let header = SecretHeader {
        name: "Authorization".into(),
        prefix: "Bearer ".into(),
        secret: "api-token".into(),
    };
    assert_eq!(*world.secrets.lock().unwrap(), [header]);
    let asked = world.asked.lock().unwrap();
    let (request, ..) = &asked[0];
    let mut headers = request.headers.iter();
    assert!(headers.all(|header| !header.value.contains("api-token")));
    // Without a way out it is denied like any other request.
    let denied = act(&effect, Outside::default()).unwrap_err();
    assert!(reason(&denied).contains("spec.grants.http"), "{denied:?}");
}

#[test]
fn why_there_is_no_answer_is_told() {
    for (error, expected) in [
        (SendError::Denied("not granted".into()), "not granted"),
        (
            SendError::Failed("nobody is there".into()),
            "nobody is there",
        ),
        (SendError::Timeout, "no answer in time"),
        (SendError::TooLarge(7), "larger than 7 bytes"),
    ] {
        let error = act(&effect(|_| ()), through(&world(Err(error)))).unwrap_err();
        assert!(reason(&error).contains(expected), "{error:?}");
    }
}

#[test]
fn without_a_way_out_and_in_pure_hooks_nothing_goes_out() {
    let error = act(&effect(|_| ()), Outside::default()).unwrap_err();
    assert!(reason(&error).contains("spec.grants.http"), "{error:?}");
    let situation = json!({
        "resource": { "group": "caller.example.com", "version": "v1", "kind": "Call" },
        "object": {
            "apiVersion": "caller.example.com/v1", "kind": "Call", "metadata": { "name": "a" },
            "spec": { "url": "http://a.com", "early": true },
        },
        "now": "2026-11-22T00:00:00Z",
    });
    let limits = CallLimits::default();
    let plan = caller().decide_strict(&situation.to_string(), Vec::new(), &limits);
    let plan = plan.result.unwrap();
    assert!(
        plan.contains("Denied") && plan.contains("act hook only"),
        "{plan}"
    );
}

#[test]
fn bodies_and_requests_are_bounded() {
    let limits = CallLimits {
        http_bytes: 1_000,
        ..CallLimits::default()
    };
    let large = vec![b'x'; 1_001];
    let answered = world(answer(200, &large));
    let call = caller().act(&effect(|_| ()), &limits, through(&answered));
    assert!(reason(&call.result.unwrap_err()).contains("larger than 1000 bytes"));
    let quiet = world(answer(200, b""));
    let asking = effect(|input| input["secret"] = json!("x".repeat(1_001)));
    let call = caller().act(&asking, &limits, through(&quiet));
    assert!(reason(&call.result.unwrap_err()).contains("larger than 1000 bytes"));
    assert!(quiet.asked.lock().unwrap().is_empty(), "it was not sent");
    let none = CallLimits {
        http_requests: 0,
        ..CallLimits::default()
    };
    let call = caller().act(&effect(|_| ()), &none, through(&quiet));
    assert!(reason(&call.result.unwrap_err()).contains("as many requests"));
}

#[test]
fn an_effect_that_never_returns_ends_at_its_limit_or_when_it_is_stopped() {
    let spin = effect(|input| input["spin"] = json!(true));
    let limits = CallLimits {
        time: Duration::from_millis(20),
        ..CallLimits::default()
    };
    let call = caller().act(&spin, &limits, Outside::default());
    assert!(
        matches!(call.result, Err(CallError::OutOfTime { .. })),
        "{call:?}"
    );
    let outside = Outside::default();
    let stop = outside.stop.clone();
    let stopped = std::thread::scope(|scope| {
        let endless = CallLimits {
            time: Duration::from_secs(600),
            wall_time: Duration::from_secs(600),
            ..CallLimits::default()
        };
        let running = scope.spawn(move || caller().act(&spin, &endless, outside));
        stop.stop();
        running.join().unwrap()
    });
    assert_eq!(stopped.result, Err(CallError::Stopped));
}

/// Says that it was asked, and answers when it is told to.
struct Slow {
    asked: SyncSender<()>,
    go: Mutex<Receiver<()>>,
}

impl Outgoing for Slow {
    fn send(
        &self,
        _: Request,
        _: Vec<SecretHeader>,
        _: Duration,
        _: usize,
    ) -> Result<Response, SendError> {
        self.asked.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        answer(200, b"")
    }
}

#[test]
fn an_effect_that_waits_takes_no_instance_from_pure_hooks() {
    let runtime = Runtime::new(RuntimeConfig {
        instances: 1,
        effects: 1,
        ..RuntimeConfig::default()
    })
    .unwrap();
    let plugin = runtime.load(wasm()).unwrap();
    let ((asked, was_asked), (go, may_go)) = (sync_channel(1), sync_channel(1));
    let slow: Arc<dyn Outgoing> = Arc::new(Slow {
        asked,
        go: Mutex::new(may_go),
    });
    let outside = Outside {
        outgoing: Some(slow),
        stop: Stop::default(),
    };
    let limits = CallLimits {
        wait: Duration::ZERO,
        ..CallLimits::default()
    };
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| plugin.act(&effect(|_| ()), &limits, outside));
        was_asked.recv().unwrap();
        let decided = plugin.decide("{}", Vec::new(), &limits).result;
        let second = plugin.act(&effect(|_| ()), &limits, Outside::default());
        // Before anything is said about them: the scope waits for the first one.
        go.send(()).unwrap();
        assert!(
            matches!(decided, Err(CallError::Hook(_))),
            "it ran: {decided:?}"
        );
        assert_eq!(second.result, Err(CallError::Busy));
        assert!(acting.join().unwrap().result.is_ok());
    });
}

#[test]
fn what_the_manifest_does_not_ask_for_cannot_be_imported_and_effects_need_a_hook() {
    let wit = format!("{WIT}\nworld tested {{ import http; export decide; }}");
    let send = r#"(module (import "kybern:operator/http@0.1.0" "send" (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
    let core = decider(0, 1024, 2, "{}", "").replacen("(module", send, 1);
    let refused = |manifest: &str, component: Vec<u8>| {
        let error = runtime().load(&with_manifest(component, manifest));
        error.unwrap_err().to_string()
    };
    let importing = crate::text::component_in(&wit, &core);
    let text = refused(MANIFEST, importing.clone());
    assert!(
        text.contains("http@0.1.0") && text.contains("ask for the capability http"),
        "{text}"
    );
    let asking = MANIFEST.replace('}', r#","capabilities":[{"name":"http"}]}"#);
    assert!(runtime().load(&with_manifest(importing, &asking)).is_ok());
    let effects = MANIFEST.replace('}', r#","effects":[{"name":"call"}]}"#);
    let plain = crate::text::component(DECIDES, &decider(0, 1024, 2, "{}", ""));
    let text = refused(&effects, plain);
    assert!(text.contains("no `act` hook"), "{text}");
}
