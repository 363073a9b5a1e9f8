//! A server of a test: plain HTTP, one request for each connection, answers as it is told.

use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// What a request is answered with.
pub(super) enum Reply {
    /// These bytes, then the connection is closed.
    Whole(Vec<u8>),
    /// These bytes, and nothing more until the other side goes.
    Hangs(Vec<u8>),
}

/// A whole answer.
pub(super) fn answer(status: &str, headers: &str, body: &[u8]) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
    Reply::Whole([head.as_bytes(), body].concat())
}

pub(super) fn ok(body: &[u8]) -> Reply {
    answer("200 OK", "", body)
}

pub(super) fn redirect(to: &str) -> Reply {
    answer(
        "307 Temporary Redirect",
        &format!("location: {to}\r\n"),
        b"",
    )
}

/// The server, and what it was asked.
pub(super) struct Fake {
    /// `127.0.0.1:PORT`.
    pub(super) address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Answers each request by its path, with the query.
    pub(super) fn new(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_head(move |path, _| answer(path))
    }

    /// Answers each request by its path and its head, in lower case.
    pub(super) fn with_head(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (Arc::clone(&seen), Arc::new(answer));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &noted, &*answer));
            }
        });
        Self { address, seen }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Heads of all requests so far, in lower case.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    /// Heads of requests for paths that begin so.
    pub(super) fn asked(&self, path: &str) -> Vec<String> {
        let mut seen = self.seen();
        seen.retain(|head| {
            head.split(' ')
                .nth(1)
                .is_some_and(|of| of.starts_with(path))
        });
        seen
    }
}

fn serve(
    mut stream: TcpStream,
    noted: &Mutex<Vec<String>>,
    answer: &(dyn Fn(&str, &str) -> Reply + Send + Sync),
) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    noted.lock().push(text.clone());
    match answer(&path, &text) {
        Reply::Whole(bytes) => {
            let _ = stream.write_all(&bytes);
        }
        Reply::Hangs(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = stream.read(&mut byte);
        }
    }
}
