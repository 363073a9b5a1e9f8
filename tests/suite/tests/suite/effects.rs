//! Effects on a real API server: a plugin that calls an HTTP server of the test.

use crate::leader::{lead, leads};
use crate::scene::{SOON, Scene, kybern};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Host, Object, Progress, guest, until};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const CALL: &str = "caller.example.com/v1";

/// Sent and answered; it must not be seen anywhere.
const HIDDEN: &str = "not-to-be-shown";

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    path: String,
    key: String,
    body: String,
    pub(crate) authorization: String,
}

/// A server on the loopback interface. By path: `/ok...` is answered, `/flaky` is in trouble twice,
/// `/moved` leads elsewhere, `/slow` is never answered, `/echo` says what authorized it.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections to which no answer comes.
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        Self::leading_to("")
    }

    /// A server that moved to another address.
    fn leading_to(elsewhere: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Self {
            port: listener.local_addr()?.port(),
            seen: Arc::default(),
            held: Arc::default(),
        };
        let (seen, held) = (Arc::clone(&server.seen), Arc::clone(&server.held));
        let elsewhere = elsewhere.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &seen, &held, &elsewhere);
            }
        });
        Ok(server)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("no panic");
        seen.iter().filter(|s| s.path == path).cloned().collect()
    }

    /// Waits until a path was asked for so often.
    fn wait(&self, path: &str, times: usize) -> Result<()> {
        until(&format!("{times} requests for {path}"), SOON, || {
            let count = self.seen(path).len();
            Ok(match count >= times {
                true => Progress::Done(()),
                false => Progress::Waiting(count.to_string()),
            })
        })
    }

    /// Waits until the host has closed a connection that is not answered.
    fn closed(&self) -> Result<()> {
        let mut stream = self
            .held
            .lock()
            .expect("no panic")
            .pop()
            .context("one is held")?;
        stream.set_read_timeout(Some(SOON))?;
        ensure!(stream.read(&mut [0])? == 0, "it says no more");
        Ok(())
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Seen>>,
    held: &Mutex<Vec<TcpStream>>,
    elsewhere: &str,
) {
    let Ok((request, mut stream)) = read(stream) else {
        return;
    };
    let path = request.path.clone();
    let authorization = request.authorization.clone();
    let times = {
        let mut seen = seen.lock().expect("no panic");
        seen.push(request);
        seen.iter().filter(|s| s.path == path).count()
    };
    let (status, more) = match path.as_str() {
        "/slow" => {
            held.lock().expect("no panic").push(stream);
            return;
        }
        "/flaky" if times <= 2 => ("503 Service Unavailable", String::new()),
        "/moved" => ("302 Found", format!("location: {elsewhere}\r\n")),
        _ => ("200 OK", String::new()),
    };
    let more = match path.as_str() {
        "/echo" => format!("x-seen: {authorization}\r\n"),
        _ => more,
    };
    let body = match path.as_str() {
        "/echo" => &authorization,
        _ => HIDDEN,
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes());
}

fn read(stream: TcpStream) -> Result<(Seen, TcpStream)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("a path")?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |l| l.parse())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let seen = Seen {
        path,
        key: headers.remove("idempotency-key").unwrap_or_default(),
        authorization: headers.remove("authorization").unwrap_or_default(),
        body: String::from_utf8(body)?,
    };
    Ok((seen, reader.into_inner()))
}

impl Scene {
    /// A registration of the plugin that calls servers, which may reach this one.
    pub(crate) fn caller(&self, server: &Server) -> Result<Value> {
        Ok(json!({
            "apiVersion": "kybern.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": { "name": format!("{}-caller", self.namespace) },
            "spec": {
                "class": self.class,
                "resources": [{ "group": "caller.example.com", "version": "v1", "kind": "Call" }],
                "source": { "file": guest("kybern-caller")? },
                "grants": {
                    "http": [{ "host": "127.0.0.1", "ports": [server.port], "methods": ["GET", "POST"] }],
                    "secrets": [{
                        "name": "api-token", "secretRef": { "name": "creds", "key": "token" },
                        "hosts": ["127.0.0.1"], "allowPlainHttp": true,
                    }],
                    "state": true,
                },
            },
        }))
    }

    pub(crate) fn call(&self, name: &str, spec: &Value) -> Result<Object> {
        let manifest = json!({
            "apiVersion": CALL, "kind": "Call",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        });
        self.client().create(&manifest)?;
        Object::of(&manifest)
    }

    /// One effect that succeeds.
    pub(crate) fn one_call(&self, server: &Server) -> Result<()> {
        let call = self.call("one", &json!({ "url": server.url("/ok"), "key": "k1" }))?;
        self.said(&call, "k1 200 in 1")?;
        Ok(())
    }

    pub(crate) fn said(&self, call: &Object, text: &str) -> Result<Value> {
        self.wait(call, |c| {
            let said = c["status"]["said"].as_str();
            said.is_some_and(|said| said.contains(text))
        })
    }
}

/// A host with the plugin that calls this server.
fn calling(
    name: &str,
    server: &Server,
    change: impl FnOnce(&mut Value),
) -> Result<(Scene, Object)> {
    let mut scene = Scene::new(name)?;
    let mut registration = scene.caller(server)?;
    change(&mut registration["spec"]);
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    Ok((scene, plugin))
}

#[test]
fn an_effect_is_run_exactly_once_over_restarts_and_nothing_of_it_is_shown() -> Result<()> {
    let server = Server::start()?;
    let (mut scene, plugin) = calling("once", &server, |_| ())?;
    let spec = json!({ "url": server.url("/ok"), "key": "k1", "method": "POST", "secret": HIDDEN });
    let call = scene.call("web", &spec)?;
    scene.said(&call, "k1 200 in 1")?;
    scene.ready_reason(&call, "Call", |c| c["status"] == "True")?;
    scene.converged()?;
    let mut log = std::fs::read_to_string(scene.host().log())?;
    scene.kill_host();
    scene.start_host()?;
    scene.converged()?;
    log += &std::fs::read_to_string(scene.host().log())?;
    scene.stop_host()?;
    scene.start_host()?;
    scene.converged()?;
    let seen = server.seen("/ok");
    ensure!(seen.len() == 1, "{seen:?}");
    assert_eq!(
        (seen[0].key.as_str(), seen[0].body.as_str()),
        ("k1", HIDDEN)
    );

    log += &std::fs::read_to_string(scene.host().log())?;
    let kubeconfig = scene.plane.admin_kubeconfig()?;
    let told = kybern(&[
        "explain",
        "--kubeconfig",
        &kubeconfig.to_string_lossy(),
        &plugin.name,
        &format!("{}/web", scene.namespace),
    ])?;
    assert!(!told.contains(HIDDEN), "{told}");
    assert!(told.contains("effect call (k1): has succeeded"), "{told}");
    assert!(!log.contains(HIDDEN), "the log has it");
    // Another key is another effect.
    scene
        .client()
        .merge_patch(&call, &json!({ "spec": { "key": "k2" } }))?;
    scene.said(&call, "k2 200 in 1")?;
    assert_eq!(server.seen("/ok").len(), 2);
    Ok(())
}

#[test]
fn a_server_in_trouble_is_asked_again_told_and_then_it_is_done() -> Result<()> {
    let server = Server::start()?;
    let (scene, _) = calling("flaky", &server, |_| ())?;
    let call = scene.call("web", &json!({ "url": server.url("/flaky"), "key": "k1" }))?;
    let failed = scene.ready_reason(&call, "Call", |c| c["reason"] == "EffectFailed")?;
    let message = failed["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("effect call (k1): the server answered 503"),
        "{message}"
    );
    scene.event("web", "EffectFailed")?;
    scene.said(&call, "k1 200 in 3")?;
    scene.ready_reason(&call, "Call", |c| c["status"] == "True")?;
    scene.converged()?;
    assert_eq!(server.seen("/flaky").len(), 3);
    let label = format!("plugin=\"{}-caller\"", scene.namespace);
    let count = |result: &str| {
        scene.metric(
            "kybern_effects_total",
            &format!("{label},result=\"{result}\""),
        )
    };
    assert_eq!((count("failed")?, count("succeeded")?), (2.0, 1.0));
    Ok(())
}

#[test]
fn an_effect_that_was_under_way_when_the_host_was_killed_is_run_again_and_knows_it() -> Result<()> {
    let server = Server::start()?;
    let (mut scene, _) = calling("killed", &server, |_| ())?;
    let call = scene.call("web", &json!({ "url": server.url("/slow"), "key": "k1" }))?;
    server.wait("/slow", 1)?;
    scene.kill_host();
    server.closed()?;
    scene.start_host()?;
    server.wait("/slow", 2)?;
    // Answered with an error, it says which attempt it was.
    drop(server.held.lock().expect("no panic").pop());
    scene.said(&call, "k1 failed in 2")?;
    Ok(())
}

#[test]
fn an_effect_of_a_killed_leader_is_run_again_by_the_next_and_what_it_recorded_is_not() -> Result<()>
{
    let server = Server::start()?;
    let scene = Scene::new("failover")?;
    let registration = scene.caller(&server)?;
    scene.grant(std::slice::from_ref(&registration))?;
    let replica = || -> Result<Host> {
        let mut host = scene.launch(&["--leader-elect=true"])?;
        host.wait_ready()?;
        Ok(host)
    };
    let mut first = replica()?;
    lead(&first)?;
    let second = replica()?;
    scene.register(&registration)?;
    // One has succeeded, one is under way.
    let call = |name: &str| {
        let spec = json!({ "url": server.url(&format!("/{name}")), "key": "k1", "method": "POST" });
        scene.call(name, &spec)
    };
    let (done, slow) = (call("ok")?, call("slow")?);
    scene.said(&done, "k1 200 in 1")?;
    server.wait("/slow", 1)?;
    first.process().kill()?;
    server.closed()?;
    server.wait("/slow", 2)?;
    ensure!(leads(&second)?, "the second replica runs it");
    // Answered with an error, it says which attempt it was.
    drop(server.held.lock().expect("no panic").pop());
    scene.said(&slow, "k1 failed in 2")?;
    // The next leader has looked at the first one too: another key is another effect.
    let patch = json!({ "spec": { "key": "k2" } });
    scene.client().merge_patch(&done, &patch)?;
    scene.said(&done, "k2 200 in 1")?;
    let seen = server.seen("/ok");
    let keys: Vec<&str> = seen.iter().map(|seen| seen.key.as_str()).collect();
    assert_eq!(keys, ["k1", "k2"]);
    Ok(())
}

#[test]
fn what_is_to_be_undone_holds_the_resource_until_it_is() -> Result<()> {
    let server = Server::start()?;
    let (mut scene, _) = calling("undo", &server, |_| ())?;
    let spec = json!({ "url": server.url("/ok"), "key": "k1", "undo": server.url("/flaky") });
    let call = scene.call("web", &spec)?;
    scene.said(&call, "k1 200 in 1")?;
    assert_eq!(server.seen("/flaky").len(), 0, "not while it lives");
    scene.client().delete(&call)?;
    let held = scene.ready_reason(&call, "Call", |c| c["reason"] == "Deleting")?;
    let message = held["message"].as_str().unwrap_or_default();
    assert!(message.contains("effect undo"), "{message}");
    scene.kill_host();
    scene.start_host()?;
    scene.client().wait_gone(&call, SOON)?;
    let seen = server.seen("/flaky");
    ensure!(seen.len() == 3, "{seen:?}");
    Ok(())
}

#[test]
fn nothing_goes_where_no_grant_allows() -> Result<()> {
    let other = Server::start()?;
    let server = Server::leading_to(&other.url("/ok"))?;
    let (scene, _) = calling("denied", &server, |_| ())?;
    let denied = |name: &str, spec: Value, why: &str| -> Result<()> {
        let call = scene.call(name, &spec)?;
        let failed = scene.ready_reason(&call, "Call", |c| c["reason"] == "EffectFailed")?;
        let message = failed["message"].as_str().unwrap_or_default();
        ensure!(message.contains(why), "{name}: {message}");
        Ok(())
    };
    denied(
        "port",
        json!({ "url": other.url("/ok"), "key": "k" }),
        "no grant allows GET",
    )?;
    let method = json!({ "url": server.url("/ok"), "key": "k", "method": "DELETE" });
    denied("method", method, "no grant allows DELETE")?;
    let name = format!("http://localhost:{}/ok", server.port);
    denied(
        "name",
        json!({ "url": name, "key": "k" }),
        "no grant allows GET to localhost",
    )?;
    // A redirect is an answer, not a way around.
    denied(
        "moved",
        json!({ "url": server.url("/moved"), "key": "k" }),
        "answered 302",
    )?;
    let early = json!({ "url": server.url("/ok"), "early": true });
    scene.said(&scene.call("early", &early)?, "act hook only")?;
    assert_eq!((other.seen("/ok").len(), server.seen("/ok").len()), (0, 0));

    Ok(())
}

#[test]
fn a_plugin_that_asks_for_http_does_not_run_without_a_grant() -> Result<()> {
    let server = Server::start()?;
    let mut scene = Scene::new("bare")?;
    let mut registration = scene.caller(&server)?;
    registration["spec"]["grants"]["http"] = json!([]);
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.submit(&registration)?;
    let condition = scene.plugin_condition(&plugin, "Ready", "False")?;
    assert_eq!(condition["reason"], "CapabilityNotGranted");
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(message.contains("spec.grants.http"), "{message}");
    let grant = json!([{ "host": "127.0.0.1", "ports": [server.port] }]);
    let patch = json!({ "spec": { "grants": { "http": grant } } });
    scene.client().merge_patch(&plugin, &patch)?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_ends_at_the_limit_and_hurts_nobody_else() -> Result<()> {
    let server = Server::start()?;
    let limits = json!({ "effectTime": "3s" });
    let (scene, _) = calling("slow", &server, |spec| spec["limits"] = limits)?;
    let slow = scene.call("slow", &json!({ "url": server.url("/slow"), "key": "k" }))?;
    let spin = json!({ "url": server.url("/ok/spin"), "key": "k", "spin": true });
    let spin = scene.call("spin", &spin)?;
    server.wait("/slow", 1)?;
    let quick = scene.call("quick", &json!({ "url": server.url("/ok"), "key": "k" }))?;
    scene.said(&quick, "k 200 in 1")?;
    scene.said(
        &slow,
        "k failed in 1: it ran longer than its limit of 3000 ms",
    )?;
    server.closed()?;
    scene.said(&spin, "ran longer than its limit of 500 ms")?;
    Ok(())
}

#[test]
fn a_registration_that_goes_ends_its_effects() -> Result<()> {
    let server = Server::start()?;
    let limits = json!({ "effectTime": "10m" });
    let (scene, plugin) = calling("gone", &server, |spec| spec["limits"] = limits)?;
    let spec = json!({ "url": server.url("/slow"), "key": "k", "undo": server.url("/ok") });
    let call = scene.call("web", &spec)?;
    server.wait("/slow", 1)?;
    scene.client().delete(&plugin)?;
    scene.client().wait_gone(&plugin, SOON)?;
    server.closed()?;
    let left = scene.client().get(&call)?;
    assert_eq!(
        left["metadata"]["finalizers"],
        Value::Null,
        "nothing holds it"
    );
    let secrets = scene
        .client()
        .list("v1", "Secret", Some(&scene.namespace))?;
    let records = secrets.iter().filter(|s| s["type"] == "kybern.dev/record");
    assert_eq!(records.count(), 0);
    Ok(())
}
