use super::*;
use crate::outgoing::{Client, Granted};
use kybern_plugin::{Outgoing, Request};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HIDDEN: &str = "hunter2-hunter2";

/// Holds one value, and counts how often it was read.
#[derive(Clone)]
struct Vault {
    seen: Seen,
    reads: Arc<Mutex<Vec<String>>>,
}

impl Vault {
    fn of(seen: Seen) -> Self {
        Self {
            seen,
            reads: Arc::default(),
        }
    }

    fn holding(value: &str) -> Self {
        let got = Got::Value(Hidden::new(value.as_bytes()));
        Self::of(Seen::There([("token".to_owned(), got)].into()))
    }
}

impl ReadSecret for Vault {
    fn read<'a>(&'a self, at: &'a ObjectAt, key: &'a str) -> BoxFuture<'a, Seen> {
        self.reads.lock().push(format!("{at} {key}"));
        std::future::ready(self.seen.clone()).boxed()
    }
}

fn grants(change: impl FnOnce(&mut Value)) -> Grants {
    let mut secret = json!({
        "name": "api-token", "secretRef": { "name": "creds", "key": "token" },
        "hosts": ["127.0.0.1"], "allowPlainHttp": true,
    });
    change(&mut secret);
    serde_json::from_value(json!({ "secrets": [secret] })).unwrap()
}

fn header(secret: &str) -> SecretHeader {
    SecretHeader {
        name: "Authorization".into(),
        prefix: "Bearer ".into(),
        secret: secret.into(),
    }
}

fn request(url: &str) -> Request {
    Request {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: None,
    }
}

fn secrets(grants: &Grants, vault: &Vault) -> Secrets {
    let asked = ["api-token"].into_iter();
    Secrets::new(
        grants,
        asked,
        Some("shop".into()),
        Some(Arc::new(vault.clone())),
    )
}

/// Sends a request to a server that says what it was sent.
fn sent(
    grants: &Grants,
    vault: &Vault,
    headers: Vec<SecretHeader>,
    to: impl FnOnce(u16) -> String,
) -> (Result<Response, SendError>, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(String::new()));
    let hearing = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            use std::io::{Read, Write};
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let authorization = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: "));
            let authorization = authorization.unwrap_or("nothing").to_owned();
            let body = format!("you said {authorization}, {authorization}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nx-echo: {authorization}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            *hearing.lock() = head;
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let http = json!({ "host": "127.0.0.1", "ports": [port] });
    let http = vec![serde_json::from_value(http).unwrap()];
    let client = {
        let _inside = runtime.enter();
        Client::new()
    };
    let way = Granted::new(
        client,
        http,
        secrets(grants, vault),
        CancellationToken::new(),
    );
    let answer = way.send(request(&to(port)), headers, Duration::from_secs(5), 4096);
    let heard = heard.lock().clone();
    (answer, heard)
}

fn plain(port: u16) -> String {
    format!("http://127.0.0.1:{port}/x")
}

#[test]
fn the_server_gets_it_and_the_guest_does_not() {
    let vault = Vault::holding(&format!("{HIDDEN}\n"));
    let (answer, heard) = sent(&grants(|_| ()), &vault, vec![header("api-token")], plain);
    let answer = answer.unwrap();
    assert!(
        heard.contains(&format!("authorization: Bearer {HIDDEN}\r\n")),
        "{heard}"
    );
    let body = String::from_utf8(answer.body).unwrap();
    assert_eq!(body, "you said Bearer ********, Bearer ********");
    let echo = answer
        .headers
        .iter()
        .find(|header| header.name == "x-echo")
        .unwrap();
    assert_eq!(echo.value, "Bearer ********");
    assert_eq!(*vault.reads.lock(), ["Secret shop/creds token"]);
}

#[test]
fn a_text_that_looks_like_a_reference_is_a_text() {
    let vault = Vault::holding(HIDDEN);
    let to = |port| {
        format!("http://127.0.0.1:{port}/api-token/{{{{secret:api-token}}}}")
            .replace(['{', '}'], "%7B")
    };
    let (_, heard) = sent(&grants(|_| ()), &vault, Vec::new(), to);
    assert!(
        heard.contains("secret:api-token") && !heard.contains(HIDDEN),
        "{heard}"
    );
    assert!(
        vault.reads.lock().is_empty(),
        "nothing is read that nobody names"
    );
}

#[test]
fn what_no_grant_allows_is_neither_read_nor_sent() {
    let vault = Vault::holding(HIDDEN);
    let denied = |grants: Grants, headers: Vec<SecretHeader>| {
        let (answer, heard) = sent(&grants, &vault, headers, plain);
        assert!(heard.is_empty(), "{heard}");
        match answer.unwrap_err() {
            SendError::Denied(why) | SendError::Invalid(why) => why,
            other => panic!("{other:?}"),
        }
    };
    let one = || vec![header("api-token")];
    let told = [
        denied(Grants::default(), one()),
        denied(grants(|_| ()), vec![header("other")]),
        denied(grants(|_| ()), vec![header("../creds")]),
        denied(
            grants(|secret| secret["name"] = json!("other")),
            vec![header("other")],
        ),
        denied(
            grants(|secret| secret["hosts"] = json!(["127.0.0.2", "*.0.0.1"])),
            one(),
        ),
        denied(
            grants(|secret| secret["allowPlainHttp"] = json!(false)),
            one(),
        ),
        denied(grants(|_| ()), vec![header("api-token"); 9]),
        denied(
            grants(|_| ()),
            vec![SecretHeader {
                name: "Host".into(),
                ..header("api-token")
            }],
        ),
    ];
    insta::assert_snapshot!(told.join("\n"));
    assert!(vault.reads.lock().is_empty());
}

#[test]
fn a_prefix_adds_no_header() {
    let vault = Vault::holding(HIDDEN);
    let split = SecretHeader {
        prefix: "x\r\nX-More: ".into(),
        ..header("api-token")
    };
    let (answer, heard) = sent(&grants(|_| ()), &vault, vec![split], plain);
    assert!(matches!(answer, Err(SendError::Invalid(_))) && heard.is_empty());
}

#[test]
fn what_is_missing_is_named_by_its_reference_and_never_told() {
    let failed = |seen: Seen| {
        let (answer, heard) = sent(
            &grants(|_| ()),
            &Vault::of(seen),
            vec![header("api-token")],
            plain,
        );
        assert!(heard.is_empty(), "{heard}");
        match answer.unwrap_err() {
            SendError::Failed(why) => why,
            other => panic!("{other:?}"),
        }
    };
    let value = |text: &str| {
        let got = Got::Value(Hidden::new(text.as_bytes()));
        Seen::There([("token".to_owned(), got)].into())
    };
    let told = [
        failed(Seen::Absent),
        failed(Seen::Failed("forbidden".into())),
        failed(Seen::There(BTreeMap::new())),
        failed(value("hunter2")),
        failed(value("hunter2\nhunter2\n")),
        failed(value(&"hunter2".repeat(2_000))),
    ];
    let told = told.join("\n");
    assert!(!told.contains("hunter2"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn a_resource_without_a_namespace_needs_one_in_the_grant() {
    let grants = grants(|_| ());
    let vault: Arc<dyn ReadSecret> = Arc::new(Vault::holding(HIDDEN));
    let none = Secrets::new(&grants, ["api-token"].into_iter(), None, Some(vault));
    let read = none.read(&[&grants.secrets[0]]).now_or_never().unwrap();
    let Err(SendError::Failed(why)) = read else {
        panic!("{read:?}");
    };
    assert!(why.contains("has no namespace"), "{why}");
}

#[test]
fn only_exact_repeats_are_taken_out() {
    let values = |all: &[&str]| {
        let all = all
            .iter()
            .map(|value| ((*value).to_owned(), Hidden::new(value.as_bytes())));
        all.collect::<Values>()
    };
    let shown = |body: &str, all: &[&str]| {
        let answer = Response {
            status: 200,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        String::from_utf8(taken_out(answer, &values(all)).body).unwrap()
    };
    assert_eq!(
        shown("a 12345678 b 12345678", &["12345678"]),
        "a ******** b ********"
    );
    // One that is a part of another does not leave the rest of it.
    assert_eq!(shown("1234567890", &["12345678", "1234567890"]), "********");
    assert_eq!(shown("1234567", &["12345678"]), "1234567");
    assert_eq!(shown("", &["12345678"]), "");
}

#[test]
fn what_is_granted_names_a_place_and_hosts() {
    let fault = |change: fn(&mut Value)| check(&grants(change)).unwrap_err();
    assert_eq!(check(&grants(|_| ())), Ok(()));
    assert!(fault(|secret| secret["name"] = json!("Api Token")).contains("api-token"));
    assert!(fault(|secret| secret["hosts"] = json!([])).contains("names no hosts"));
    assert!(fault(|secret| secret["hosts"] = json!(["*"])).contains("host `*`"));
    assert!(fault(|secret| secret["secretRef"]["key"] = json!("")).contains("secretRef.key"));
    let mut twice = grants(|_| ());
    twice.secrets.extend(twice.secrets.clone());
    assert!(check(&twice).unwrap_err().contains("twice"));
}
