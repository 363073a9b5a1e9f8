//! Answers who asks a running host.
//!
//! # Contract
//! One request is one statement, or one custom resource by name. An answer is an Arrow IPC stream,
//! that of a SUBSCRIBE one that goes on;
//! what is wrong is text for people, as the command that asked prints it: status 400 where the
//! statement is at fault, 503 where asking again or elsewhere can help. A statement ends when whoever
//! asked goes away.

use super::facts::EngineNow;
use super::socket::Socket;
use super::subscribe::Teller;
use super::{AskConfig, EXPLAIN_HEADER, FINGERPRINT_HEADER, LAST_PATH, LastAsk, SQL_PATH, last};
use crate::wiring::work;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{BoxError, Router};
use kybern_sql::{AccessSet, Answer, Engine, Kept, SqlError, Subscribe, parse_subscribe};
use kybern_table::Sequence;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::net::unix::SocketAddr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Rows that are made into bytes at once, at most.
const ROWS: usize = 1024;
/// Bytes of rows that are made into bytes at once, about; one row at least.
const PART: usize = 1 << 20;

/// Answers that are made or read now. Clones are the same count.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    places: Arc<Semaphore>,
    most: usize,
    subscriptions: Arc<Semaphore>,
    most_subscriptions: usize,
}

impl Asked {
    /// None yet.
    pub(crate) fn new(config: &AskConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.statements)),
            most: config.statements,
            subscriptions: Arc::new(Semaphore::new(config.subscriptions)),
            most_subscriptions: config.subscriptions,
        }
    }

    /// How many.
    pub(crate) fn running(&self) -> usize {
        self.most.saturating_sub(self.places.available_permits())
    }

    /// How many subscriptions.
    pub(crate) fn subscribed(&self) -> usize {
        let free = self.subscriptions.available_permits();
        self.most_subscriptions.saturating_sub(free)
    }

    /// A place for one more; how many there are if all are taken.
    pub(super) fn subscribe(&self) -> Result<OwnedSemaphorePermit, usize> {
        let places = Arc::clone(&self.subscriptions);
        places
            .try_acquire_owned()
            .map_err(|_| self.most_subscriptions)
    }
}

/// Who answers.
#[derive(Clone)]
pub(crate) struct Server {
    /// The statements.
    pub(crate) sql: Engine,
    /// The passes.
    pub(crate) engine: EngineNow,
    /// How many are answered.
    pub(crate) asked: Asked,
    /// The newest commit, and news of later ones.
    pub(crate) commits: watch::Receiver<Sequence>,
    /// A number that no other host has, nor this one after its next start.
    pub(crate) run: u64,
}

impl Server {
    /// Answers until `shutdown`.
    pub(crate) async fn run(
        self,
        socket: Socket,
        config: AskConfig,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        tracing::info!(socket = %socket.path().display(), "answering statements");
        let app = Router::new()
            .route(SQL_PATH, post(sql))
            .route(LAST_PATH, post(last_pass))
            .layer(DefaultBodyLimit::max(config.statement_bytes))
            .with_state(self);
        let served = axum::serve(Connections(socket), app);
        // Who reads slowly does not keep the host.
        tokio::select! {
            served = served => served,
            () = shutdown.cancelled() => Ok(()),
        }
    }
}

/// Who connects to the socket.
struct Connections(Socket);

impl axum::serve::Listener for Connections {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.listener().accept().await {
                Ok(connected) => return connected,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the socket was not accepted");
                    // As when there are too many open files: some have to be closed first.
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.listener().local_addr()
    }
}

/// What is told instead of an answer.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

async fn sql(State(server): State<Server>, body: Bytes) -> Result<Response, Refusal> {
    let text = String::from_utf8(body.into()).map_err(|_| {
        let text = "error: the statement is not UTF-8\n".to_owned();
        Refusal(StatusCode::BAD_REQUEST, text)
    })?;
    let subscribe = parse_subscribe(&text).map_err(|error| refused(&error.into(), &text))?;
    let explain = match subscribe {
        Some(asked) if !asked.explain => {
            let teller = Teller {
                sql: server.sql,
                asked: server.asked,
                commits: server.commits,
                run: server.run,
            };
            return teller.response(asked, &text).await;
        }
        explain => explain,
    };
    let place = Arc::clone(&server.asked.places);
    let place = place.try_acquire_owned().map_err(|_| {
        let most = server.asked.most;
        let text = format!(
            "error: the host answers {most} statements and takes no more at once: ask again when one of them is done\n"
        );
        Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    // It ends with this future, which is dropped when the connection is closed.
    let work = AbortOnDropHandle::new(work::pool().spawn(answer(server.sql, text, explain, place)));
    let answered = work.await.map_err(|error| internal(&error))??;
    answered.response().map_err(|error| internal(&error))
}

pub(super) fn internal(error: &dyn std::error::Error) -> Refusal {
    let text = format!("error: internal error: {error}\n");
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// An answer with the place that it has until it is read.
struct Answered {
    answer: Answer,
    is_explain: bool,
    kept: Kept,
    place: OwnedSemaphorePermit,
}

async fn answer(
    sql: Engine,
    text: String,
    explain: Option<Subscribe>,
    place: OwnedSemaphorePermit,
) -> Result<Answered, Refusal> {
    let answered = async {
        if let Some(asked) = &explain {
            let all = AccessSet::all();
            return Ok((sql.explain_subscription(asked, &all).await?, true));
        }
        let prepared = sql.prepare(&text, &AccessSet::all()).await?;
        let snapshot = sql.snapshot();
        let answer = sql.execute(&prepared, &[], &snapshot).await?;
        Ok((answer, prepared.is_explain()))
    };
    let (answer, is_explain) = answered.await.map_err(|error| refused(&error, &text))?;
    Ok(Answered {
        kept: sql.keep(&answer),
        answer,
        is_explain,
        place,
    })
}

pub(super) fn refused(error: &SqlError, text: &str) -> Refusal {
    let status = match error {
        SqlError::NotReady { .. }
        | SqlError::NotTold { .. }
        | SqlError::Expired(_)
        | SqlError::TooOld { .. }
        | SqlError::Cancelled { .. }
        | SqlError::Internal { .. } => StatusCode::SERVICE_UNAVAILABLE,
        SqlError::Statement(_)
        | SqlError::Plan { .. }
        | SqlError::Params { .. }
        | SqlError::Limit { .. }
        | SqlError::Execution { .. } => StatusCode::BAD_REQUEST,
    };
    Refusal(status, error.render(text))
}

impl Answered {
    fn response(self) -> Result<Response, ArrowError> {
        let headers = [
            (EXPLAIN_HEADER, self.is_explain.to_string()),
            (
                FINGERPRINT_HEADER,
                format!("{:032x}", self.answer.fingerprint),
            ),
        ];
        let kept = Arc::new(self.kept);
        let parts = Parts {
            writer: Some(StreamWriter::try_new(Vec::new(), &self.answer.schema)?),
            batches: self.answer.batches,
            at: 0,
            _kept: Arc::clone(&kept),
            _place: self.place,
        };
        let body = Body::from_stream(futures::stream::iter(Sent::new(parts, kept)));
        Ok((headers, body).into_response())
    }
}

/// An answer as bytes, part by part: it is not in memory twice.
struct Parts {
    /// Until the end.
    writer: Option<StreamWriter<Vec<u8>>>,
    /// What is left; the first from a row on.
    batches: Vec<RecordBatch>,
    at: usize,
    _kept: Arc<Kept>,
    _place: OwnedSemaphorePermit,
}

impl Parts {
    fn part(&mut self) -> Result<Option<Vec<u8>>, ArrowError> {
        while let (Some(batch), Some(writer)) = (self.batches.first(), &mut self.writer) {
            let left = batch.num_rows().saturating_sub(self.at);
            let rows = left.min(rows_at_once(batch));
            if rows == 0 {
                self.batches.remove(0);
                self.at = 0;
                continue;
            }
            let part = batch.slice(self.at, rows);
            self.at += rows;
            writer.write(&part)?;
            return Ok(Some(std::mem::take(writer.get_mut())));
        }
        // The end, and, of an answer without rows, its columns.
        let Some(mut writer) = self.writer.take() else {
            return Ok(None);
        };
        writer.finish()?;
        writer.into_inner().map(Some)
    }
}

/// How many rows of a batch are made into bytes at once.
pub(super) fn rows_at_once(batch: &RecordBatch) -> usize {
    let of_one = batch.get_array_memory_size() / batch.num_rows().max(1);
    (PART / of_one.max(1)).clamp(1, ROWS)
}

/// The parts that are read; they go when their memory is wanted back, also where nobody reads on.
struct Sent {
    parts: Arc<Mutex<Option<Parts>>>,
    _watch: JoinSet<()>,
}

impl Sent {
    fn new(parts: Parts, kept: Arc<Kept>) -> Self {
        let parts = Arc::new(Mutex::new(Some(parts)));
        let dropped = Arc::clone(&parts);
        let watch = async move {
            let why = kept.cancelled().await;
            tracing::warn!(%why, "an answer is not sent to its end");
            *dropped.lock() = None;
        };
        let mut watches = JoinSet::new();
        watches.spawn(watch);
        Self {
            parts,
            _watch: watches,
        }
    }
}

impl Iterator for Sent {
    type Item = Result<Vec<u8>, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut *self.parts.lock() {
            Some(parts) => parts.part().map_err(BoxError::from).transpose(),
            None => Some(Err("its memory was wanted back".into())),
        }
    }
}

async fn last_pass(State(server): State<Server>, body: Bytes) -> Result<String, Refusal> {
    let ask: LastAsk = serde_json::from_slice(&body).map_err(|error| {
        let text = format!("error: the request cannot be read: {error}\n");
        Refusal(StatusCode::BAD_REQUEST, text)
    })?;
    let engine = server.engine.engine().map_err(|why| {
        let text = format!("error: the last pass cannot be told: {why}\n");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    last::text(&engine, &ask).map_err(|text| Refusal(StatusCode::BAD_REQUEST, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};

    #[test]
    fn what_is_made_into_bytes_at_once_is_bounded_by_rows_and_by_bytes() {
        let rows = |of: usize| {
            let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(of); 64]));
            let batch = RecordBatch::try_from_iter([("t", texts)]).unwrap();
            rows_at_once(&batch)
        };
        assert_eq!(rows(8), ROWS);
        assert!((1..=2).contains(&rows(512 << 10)), "{}", rows(512 << 10));
        assert_eq!(rows(2 << 20), 1);
    }
}
