//! Tells who asked what becomes of an answer, until one of the two goes.
//!
//! # Contract
//!
//! The stream is Arrow IPC with the rows of [`kybern_sql::Telling`]; behind all that belongs to one
//! sequence, and each second, comes a row `progress`, and where it ends by itself a row `error` with
//! text for people. Nothing is made before what was made is taken: who reads slowly is told later, of
//! all changes at once.
//!
//! # Limits
//!
//! [`super::AskConfig::subscriptions`], and for what is kept the memory budget: who holds most is
//! ended first.

use super::server::{Asked, Refusal, internal, refused, rows_at_once};
use super::{KEY_HEADER, PROGRESS_HEADER};
use crate::wiring::work;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::BoxError;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kybern_sql::{AccessSet, Engine, SqlError, Subscribe, Subscription};
use kybern_table::Sequence;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Time between two marks while nothing else is told.
const MARK: Duration = Duration::from_secs(1);
/// Snapshots that may expire, one after the other, before one advance is done.
const TRIES: usize = 5;

/// Who tells.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) sql: Engine,
    pub(super) asked: Asked,
    /// The newest commit, and news of later ones.
    pub(super) commits: watch::Receiver<Sequence>,
    /// The number of this run of the host.
    pub(super) run: u64,
}

impl Teller {
    /// The beginning of the stream, once it is known that there is one.
    pub(super) async fn response(self, asked: Subscribe, text: &str) -> Result<Response, Refusal> {
        let place = self.asked.subscribe().map_err(|most| {
            let text = format!(
                "error: the host tells {most} subscriptions and takes no more at once: ask again when one of them has ended\n"
            );
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        // What comes while the snapshot is read is news.
        let mut commits = self.commits.clone();
        commits.mark_unchanged();
        let (sql, run, query) = (self.sql.clone(), self.run, asked.clone());
        let begin = async move {
            let subscription = sql.subscribe(&query, &AccessSet::all(), run).await?;
            let held = Held {
                subscription,
                rows: None,
                at: 0,
                _place: place,
            };
            let (held, told) = held.advance(&sql).await;
            told.map(|()| held)
        };
        // It ends with this future, which is dropped when the connection is closed.
        let begin = AbortOnDropHandle::new(work::pool().spawn(begin));
        let held = begin.await.map_err(|error| internal(&error))?;
        let held = held.map_err(|error| refused(&error, text))?;
        let key = held.subscription.key();
        let key = key.map(serde_json::to_string).transpose();
        let key = key.map_err(|error| internal(&error))?;
        let mut response = Feed::new(self.sql, held, commits)
            .map_err(|error| internal(&error))?
            .into_response();
        let headers = response.headers_mut();
        let mut put = |name, value: &str| value.parse().map(|value| headers.insert(name, value));
        put(PROGRESS_HEADER, &asked.progress.to_string()).map_err(|error| internal(&error))?;
        if let Some(key) = key {
            put(KEY_HEADER, &key).map_err(|error| internal(&error))?;
        }
        Ok(response)
    }
}

/// What goes when its memory is wanted back.
struct Held {
    subscription: Subscription,
    /// What is being passed on, from a row on.
    rows: Option<RecordBatch>,
    at: usize,
    _place: OwnedSemaphorePermit,
}

impl Held {
    async fn advance(mut self, sql: &Engine) -> (Self, Result<(), SqlError>) {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.subscription.advance(&sql.snapshot()).await {
                Ok(told) => {
                    (self.rows, self.at) = (told.rows, 0);
                    return (self, Ok(()));
                }
                Err(SqlError::Expired(_)) if tries < TRIES => {}
                Err(error) => return (self, Err(error)),
            }
        }
    }
}

/// What the connection takes, part by part.
struct Feed {
    sql: Engine,
    commits: watch::Receiver<Sequence>,
    schema: SchemaRef,
    /// Until the end.
    writer: Option<StreamWriter<Vec<u8>>>,
    held: Arc<Mutex<Option<Held>>>,
    /// Set once `held` is gone, with the reason.
    gone: CancellationToken,
    why: Arc<Mutex<Option<SqlError>>>,
    /// Everything that was told until now belongs to this.
    at: Sequence,
    /// Whether rows were passed on that no mark follows yet.
    owes_mark: bool,
    next_mark: Instant,
    next_look: Instant,
    _watch: JoinSet<()>,
}

impl Feed {
    fn new(
        sql: Engine,
        held: Held,
        commits: watch::Receiver<Sequence>,
    ) -> Result<Self, ArrowError> {
        let schema = SchemaRef::clone(held.subscription.schema());
        let kept = held.subscription.kept();
        let at = held.subscription.mark().map(|mark| mark.sequence);
        let held = Arc::new(Mutex::new(Some(held)));
        let gone = CancellationToken::new();
        let why: Arc<Mutex<Option<SqlError>>> = Arc::default();
        let wanted_back = {
            let (held, gone, why) = (Arc::clone(&held), gone.clone(), Arc::clone(&why));
            async move {
                let error = kept.cancelled().await;
                tracing::warn!(why = %error, "a subscription is told no further");
                *why.lock() = Some(error);
                gone.cancel();
                // Not while it is advanced: then it goes right after that.
                drop(held.lock().take());
            }
        };
        let mut watches = JoinSet::new();
        watches.spawn(wanted_back);
        let now = Instant::now();
        Ok(Self {
            sql,
            commits,
            writer: Some(StreamWriter::try_new(Vec::new(), &schema)?),
            schema,
            held,
            gone,
            why,
            at: at.unwrap_or_default(),
            // An empty snapshot is told, too.
            owes_mark: true,
            next_mark: now + MARK,
            next_look: now,
            _watch: watches,
        })
    }

    fn into_response(self) -> Response {
        let parts = futures::stream::unfold(self, |mut feed| async move {
            let part = feed.part().await.transpose()?;
            Some((part.map_err(BoxError::from), feed))
        });
        Body::from_stream(parts).into_response()
    }

    /// The next bytes; none at the end.
    async fn part(&mut self) -> Result<Option<Vec<u8>>, ArrowError> {
        loop {
            if self.writer.is_none() {
                return Ok(None);
            }
            if self.gone.is_cancelled() {
                let why = self.why.lock().take();
                let why = why.map_or_else(|| "it has ended".to_owned(), |why| why.to_string());
                return self.end(&format!("error: {why}\n"));
            }
            if let Some(part) = self.rows()? {
                return Ok(Some(part));
            }
            if self.owes_mark || Instant::now() >= self.next_mark {
                return self.mark();
            }
            if let Err(why) = self.advance().await {
                return self.end(&why);
            }
        }
    }

    /// Rows that have not been passed on, and behind the last of them a mark.
    fn rows(&mut self) -> Result<Option<Vec<u8>>, ArrowError> {
        let mut held = self.held.lock();
        let (Some(held), Some(writer)) = (&mut *held, &mut self.writer) else {
            return Ok(None);
        };
        let Some(rows) = &held.rows else {
            return Ok(None);
        };
        let left = rows.num_rows().saturating_sub(held.at);
        let part = rows.slice(held.at, left.min(rows_at_once(rows)));
        held.at += part.num_rows();
        writer.write(&part)?;
        if held.at >= rows.num_rows() {
            held.rows = None;
            held.subscription.passed_on();
            self.owes_mark = true;
        }
        Ok(Some(std::mem::take(writer.get_mut())))
    }

    fn mark(&mut self) -> Result<Option<Vec<u8>>, ArrowError> {
        let progress = match &*self.held.lock() {
            Some(held) => held.subscription.progress(),
            // The reason is told next.
            None => return Ok(Some(Vec::new())),
        };
        self.owes_mark = false;
        self.next_mark = Instant::now() + MARK;
        self.write(&progress.map_err(|error| ArrowError::ExternalError(Box::new(error)))?)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<Option<Vec<u8>>, ArrowError> {
        let Some(writer) = &mut self.writer else {
            return Ok(None);
        };
        writer.write(rows)?;
        Ok(Some(std::mem::take(writer.get_mut())))
    }

    /// The last bytes: why there are no more.
    fn end(&mut self, why: &str) -> Result<Option<Vec<u8>>, ArrowError> {
        let row = Subscription::failure(&self.schema, self.at, why);
        let row = row.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        // What it holds is of no use any more.
        drop(self.held.lock().take());
        let Some(mut writer) = self.writer.take() else {
            return Ok(None);
        };
        writer.write(&row)?;
        writer.finish()?;
        writer.into_inner().map(Some)
    }

    /// Waits for commits and looks what they changed, or until a mark is due.
    async fn advance(&mut self) -> Result<(), String> {
        let (due, look) = (self.next_mark, self.next_look);
        let news = async {
            sleep_until(look).await;
            self.commits.changed().await
        };
        tokio::select! {
            () = self.gone.cancelled() => return Ok(()),
            () = sleep_until(due) => return Ok(()),
            news = news => news.map_err(|_| "error: the host ends\n".to_owned())?,
        }
        let Some(held) = self.held.lock().take() else {
            return Ok(());
        };
        let sql = self.sql.clone();
        let began = Instant::now();
        let work = work::pool().spawn(async move { held.advance(&sql).await });
        let done = AbortOnDropHandle::new(work).await;
        let (held, told) =
            done.map_err(|error: JoinError| format!("error: internal error: {error}\n"))?;
        let now = Instant::now();
        self.next_look = now + held.subscription.pause(now - began);
        if let Some(mark) = held.subscription.mark() {
            self.at = mark.sequence;
        }
        let mut place = self.held.lock();
        if !self.gone.is_cancelled() {
            *place = Some(held);
        }
        told.map_err(|error| format!("error: {error}\n"))
    }
}
