//! What is told of a subscription, row by row: by a running host, or by this process.

use super::client::{Host, HostError};
use super::server::{Asked, Refusal};
use super::subscribe::Teller;
use super::{AskConfig, KEY_HEADER, PROGRESS_HEADER, SQL_PATH};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::UInt64Type;
use arrow::ipc::reader::StreamDecoder;
use axum::BoxError;
use axum::body::Body;
use http::HeaderMap;
use http_body_util::BodyExt;
use kybern_sql::{Answer, Engine, Subscribe};
use kybern_table::Sequence;
use std::any::Any;
use tokio::sync::watch;

/// A subscription. It ends when this is dropped.
pub(crate) struct Feed {
    /// None: this process tells.
    host: Option<Host>,
    body: Body,
    decoder: StreamDecoder,
    buffer: Buffer,
    /// Whether marks were asked for; they come in any case.
    pub(crate) marks: bool,
    /// The columns by which rows are told apart, by position.
    pub(crate) key: Option<Vec<usize>>,
    /// What must be there for as long as it is told.
    keep: Vec<Box<dyn Any + Send>>,
}

/// Rows that came together.
pub(crate) struct News {
    pub(crate) of: Vec<Happened>,
    /// For each of `of` the row before and the row after; of what is none of a row, NULLs.
    pub(crate) old: Answer,
    pub(crate) new: Answer,
}

/// What happened to one row, or to the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    /// `insert`, `update`, `delete`, `progress` or `error`.
    pub(crate) op: String,
    pub(crate) sequence: u64,
    /// Of a mark, what RESUME takes; of an error, its text for people.
    pub(crate) text: Option<String>,
    pub(crate) has_old: bool,
    pub(crate) has_new: bool,
}

impl Host {
    /// Begins to be told what becomes of an answer.
    pub(crate) async fn subscribe(&self, statement: &str) -> Result<Feed, HostError> {
        let sent = self.send(SQL_PATH, statement.to_owned()).await?;
        let (head, body, connection) = self.accepted(sent).await?;
        let feed = Feed::new(&head.headers, Body::new(body), Some(self.clone()));
        Ok(feed.with(Box::new(connection)))
    }
}

/// The same where this process has the tables.
pub(crate) async fn tell_here(
    sql: Engine,
    commits: watch::Receiver<Sequence>,
    asked: Subscribe,
    statement: &str,
) -> Result<Feed, HostError> {
    let teller = Teller {
        sql,
        asked: Asked::new(&AskConfig::default()),
        commits,
        run: crate::clock::wall().as_microsecond().unsigned_abs(),
    };
    let told = teller.response(asked, statement).await;
    let (head, body) = told.map_err(HostError::from)?.into_parts();
    Ok(Feed::new(&head.headers, body, None))
}

impl From<Refusal> for HostError {
    fn from(Refusal(status, text): Refusal) -> Self {
        let at_fault = status.is_client_error();
        Self::Refused { at_fault, text }
    }
}

impl Feed {
    fn new(headers: &HeaderMap, body: Body, host: Option<Host>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            marks: text(PROGRESS_HEADER) == Some("true"),
            key: text(KEY_HEADER).and_then(|key| serde_json::from_str(key).ok()),
            host,
            body,
            decoder: StreamDecoder::new(),
            buffer: Buffer::default(),
            keep: Vec::new(),
        }
    }

    /// The same with something that goes with it.
    pub(crate) fn with(mut self, keep: Box<dyn Any + Send>) -> Self {
        self.keep.push(keep);
        self
    }

    fn broken(&self, error: impl Into<BoxError>) -> HostError {
        match &self.host {
            Some(host) => host.broken(error),
            None => HostError::Refused {
                at_fault: false,
                text: format!("error: internal error: {}\n", error.into()),
            },
        }
    }

    /// What comes next; none where the host has ended without a word. Nothing is lost if this is
    /// dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Option<News>, HostError> {
        loop {
            let decoded = self.decoder.decode(&mut self.buffer);
            if let Some(rows) = decoded.map_err(|error| self.broken(error))? {
                return Ok(Some(news(&rows).map_err(|error| self.broken(error))?));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| self.broken(error))?;
            if let Ok(bytes) = frame.into_data() {
                self.buffer = Buffer::from(bytes);
            }
        }
    }
}

fn news(rows: &RecordBatch) -> Result<News, String> {
    let column = |name: &str| {
        let column = rows.column_by_name(name);
        column.ok_or_else(|| format!("there is no column {name}"))
    };
    let wrong = || "a column has another type than it should".to_owned();
    let texts = |name| column(name)?.as_string_opt::<i32>().ok_or_else(wrong);
    let (ops, words) = (texts("op")?, texts("text")?);
    let sequences = column("sequence")?;
    let sequences = sequences
        .as_primitive_opt::<UInt64Type>()
        .ok_or_else(wrong)?;
    let (old, new) = (column("old")?, column("new")?);
    let of = (0..rows.num_rows()).map(|row| Happened {
        op: ops.value(row).to_owned(),
        sequence: sequences.value(row),
        text: words.is_valid(row).then(|| words.value(row).to_owned()),
        has_old: old.is_valid(row),
        has_new: new.is_valid(row),
    });
    Ok(News {
        of: of.collect(),
        old: answer(old)?,
        new: answer(new)?,
    })
}

/// The rows of one side as an answer.
fn answer(rows: &ArrayRef) -> Result<Answer, String> {
    let rows = rows.as_struct_opt().ok_or("a row is no struct")?;
    let schema = arrow::datatypes::Schema::new(rows.fields().clone());
    let schema = std::sync::Arc::new(schema);
    let batch = RecordBatch::try_new(std::sync::Arc::clone(&schema), rows.columns().to_vec());
    Ok(Answer {
        schema,
        rows: rows.len(),
        batches: vec![batch.map_err(|error| error.to_string())?],
        fingerprint: 0,
    })
}
