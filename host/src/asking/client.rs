//! Asks a running host.

use super::{EXPLAIN_HEADER, FINGERPRINT_HEADER, LAST_PATH, LastAsk, SOCKET, SQL_PATH};
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kybern_sql::Answer;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Longest answer that is read: an answer's own limit, and what its form costs.
const LONGEST: usize = 256 << 20;

/// Why a running host gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// There is no socket. Asking again helps once a host runs.
    #[error(
        "no host listens at {0}: is `kybern run` started with --socket, and does this command run where the host does, as in `kubectl exec`?"
    )]
    Absent(PathBuf),
    /// The host that had the socket has ended. Asking again helps once one runs.
    #[error("no host listens at {0} any more: it is left over from one that has ended")]
    Ended(PathBuf),
    /// Only the user that runs the host may ask.
    #[error("{0}: permission denied: only the user that runs the host may ask it")]
    Forbidden(PathBuf),
    /// The connection broke. Asking again may help.
    #[error("the host at {path} did not answer: {error}")]
    Broken {
        /// Its socket.
        path: PathBuf,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host says why it does not answer; text for people.
    #[error("{text}")]
    Refused {
        /// The statement is at fault, so that asking again does not help.
        at_fault: bool,
        /// With `error: ` and a line end.
        text: String,
    },
}

/// The beginning of an answer, what is to come of it, and the connection.
pub(super) type Sent = (Parts, Incoming, JoinSet<Result<(), hyper::Error>>);

/// A running host.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    path: PathBuf,
}

impl Host {
    /// The one that listens at this path; without it where `$KYBERN_SOCKET` says, else where the
    /// chart's hosts listen.
    pub(crate) fn at(path: Option<&Path>) -> Self {
        let path = path.map(Path::to_owned);
        let path = path.or_else(crate::environment::socket);
        Self {
            path: path.unwrap_or_else(|| PathBuf::from(SOCKET)),
        }
    }

    /// The answer to a statement, and whether it is that of an EXPLAIN.
    pub(crate) async fn answer(&self, statement: &str) -> Result<(Answer, bool), HostError> {
        let (headers, body) = self.post(SQL_PATH, statement.to_owned()).await?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_explain = text(EXPLAIN_HEADER) == Some("true");
        let fingerprint = text(FINGERPRINT_HEADER)
            .and_then(|digits| u128::from_str_radix(digits, 16).ok())
            .unwrap_or_default();
        let answer = read(body, fingerprint).map_err(|error| self.broken(error))?;
        Ok((answer, is_explain))
    }

    /// What the last pass over a custom resource did, for people.
    pub(crate) async fn last(
        &self,
        plugin: &str,
        namespace: &str,
        name: &str,
    ) -> Result<String, HostError> {
        let ask = LastAsk {
            plugin: plugin.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let ask = serde_json::to_string(&ask).map_err(|error| self.broken(error))?;
        let (_, body) = self.post(LAST_PATH, ask).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    pub(super) fn broken(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> HostError {
        HostError::Broken {
            path: self.path.clone(),
            error: error.into(),
        }
    }

    async fn connect(&self) -> Result<UnixStream, HostError> {
        let connected = UnixStream::connect(&self.path).await;
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => HostError::Absent(self.path.clone()),
            io::ErrorKind::ConnectionRefused => HostError::Ended(self.path.clone()),
            io::ErrorKind::PermissionDenied => HostError::Forbidden(self.path.clone()),
            _ => self.broken(error),
        })
    }

    /// Headers and body of a good answer. The connection is closed when this is dropped, which ends
    /// the statement.
    async fn post(&self, path: &str, body: String) -> Result<(HeaderMap, Bytes), HostError> {
        let sent = self.send(path, body).await?;
        let (head, body, _connection) = self.accepted(sent).await?;
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|error| self.broken(error))?.to_bytes();
        Ok((head.headers, body))
    }

    /// The beginning of an answer, whatever it is, and its connection.
    pub(super) async fn send(&self, path: &str, body: String) -> Result<Sent, HostError> {
        let stream = TokioIo::new(self.connect().await?);
        let connected = http1::handshake(stream).await;
        let (mut sender, connection) = connected.map_err(|error| self.broken(error))?;
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let request = Request::post(path)
            .header(http::header::HOST, "kybern")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(error))?;
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|error| self.broken(error))?.into_parts();
        Ok((head, body, connections))
    }

    /// The same, if it is a good one.
    pub(super) async fn accepted(&self, sent: Sent) -> Result<Sent, HostError> {
        let (head, body, connection) = sent;
        if head.status == StatusCode::OK {
            return Ok((head, body, connection));
        }
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|error| self.broken(error))?.to_bytes();
        Err(HostError::Refused {
            at_fault: head.status.is_client_error(),
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

fn read(body: Bytes, fingerprint: u128) -> Result<Answer, arrow::error::ArrowError> {
    let reader = StreamReader::try_new(Cursor::new(body), None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(Answer {
        schema,
        fingerprint,
        rows: batches.iter().map(|batch| batch.num_rows()).sum(),
        batches,
    })
}
