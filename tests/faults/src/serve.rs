//! One request on its way, with the faults in force.

use crate::ask::{Ask, Named, Verb};
use crate::fault::Deed;
use crate::journal::{Entry, Fate, Journal};
use crate::older;
use crate::owners::Owners;
use crate::relay::Relay;
use crate::rules::Rules;
use crate::upstream::{Connections, passed_on};
use crate::watches::Watches;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;
use tokio::runtime::Handle;

const MAX_BODY_BYTES: usize = 16 << 20;

/// The connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was cut")]
pub(crate) struct Cut;

pub(crate) type Body = UnsyncBoxBody<Bytes, Cut>;
type Answer = Result<Response<Body>, Cut>;

/// Everything between a host and an API server.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) connections: Connections,
    pub(crate) rules: Rules,
    pub(crate) journal: Journal,
    pub(crate) watches: Arc<Watches>,
    pub(crate) owners: Owners,
}

/// A request that was read.
struct Question {
    ask: Ask,
    parts: Parts,
    body: Bytes,
}

impl Way {
    /// Answers one request, or breaks its connection.
    pub(crate) async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = whole(body).await?;
        let mut ask = Ask::of(&parts, &body);
        self.owners.know(&mut ask);
        let question = Question { ask, parts, body };
        match self.rules.before(&question.ask) {
            Some(Deed::Refuse { code, retry_after }) => {
                self.note(&question.ask, Fate::Refused, None, &[]);
                Ok(refusal(&question.ask, code, retry_after))
            }
            Some(Deed::Silence) => {
                self.note(&question.ask, Fate::Silenced, None, &[]);
                std::future::pending().await
            }
            Some(Deed::Older { version }) => self.older(&question, &version).await,
            _ if question.ask.verb.writes() => {
                // Who asks may be killed meanwhile: the write is made and noted all the same.
                let writing = Handle::current().spawn(self.write(question));
                writing.await.map_err(|_| Cut)?
            }
            _ => self.read(&question).await,
        }
    }

    async fn write(self: Arc<Self>, question: Question) -> Answer {
        let answer = self.ask(&question, &question.parts.uri).await?;
        let (parts, body) = answer.into_parts();
        let code = parts.status.as_u16();
        let Ok(body) = whole(body).await else {
            return Err(self.unreachable(&question.ask));
        };
        match self.rules.after(&question.ask, code) {
            None => self.note(&question.ask, Fate::Answered, Some(code), &body),
            Some(deed) => {
                self.note(&question.ask, Fate::AnswerLost, Some(code), &body);
                if let Deed::After(hook) = deed {
                    let ask = question.ask.clone();
                    // A hook that panics breaks the connection as any other.
                    let _ = Handle::current().spawn_blocking(move || hook(&ask)).await;
                }
                return Err(Cut);
            }
        }
        Ok(Response::from_parts(onward(parts), full(body)))
    }

    async fn read(&self, question: &Question) -> Answer {
        let answer = self.ask(question, &question.parts.uri).await?;
        Ok(self.passed(&question.ask, Vec::new(), answer))
    }

    /// An answer that is streamed, behind lines of our own if it is a watch.
    fn passed(&self, ask: &Ask, first: Vec<Bytes>, answer: Response<Incoming>) -> Response<Body> {
        let (parts, body) = answer.into_parts();
        self.note(ask, Fate::Answered, Some(parts.status.as_u16()), &[]);
        let body = if ask.verb == Verb::Watch && parts.status.is_success() {
            self.relay(ask, first, body)
        } else {
            body.map_err(|_| Cut).boxed_unsync()
        };
        Response::from_parts(onward(parts), body)
    }

    /// A list as it was at `version`, and what follows from there; or only that.
    async fn older(&self, question: &Question, version: &str) -> Answer {
        let ask = &question.ask;
        let uri = &question.parts.uri;
        let mut first = Vec::new();
        if ask.verb == Verb::List || ask.initial_events {
            let list = older::list_uri(uri, version).ok_or(Cut)?;
            let (parts, body) = self.ask(question, &list).await?.into_parts();
            let body = whole(body).await.map_err(|Cut| self.unreachable(ask))?;
            if ask.verb == Verb::List || !parts.status.is_success() {
                self.note(ask, Fate::Answered, Some(parts.status.as_u16()), &[]);
                return Ok(Response::from_parts(onward(parts), full(body)));
            }
            first = older::lines(&body).ok_or(Cut)?;
        }
        let follows = older::watch_uri(uri, version).ok_or(Cut)?;
        let answer = self.ask(question, &follows).await?;
        Ok(self.passed(ask, first, answer))
    }

    fn relay(&self, ask: &Ask, first: Vec<Bytes>, body: Incoming) -> Body {
        let (body, work) = Relay::new(ask, &self.watches).start(first, body);
        // It ends with the host's connection, or with the runtime.
        Handle::current().spawn(work);
        body
    }

    /// What the API server says to the question, asked at `uri`.
    async fn ask(&self, question: &Question, uri: &Uri) -> Result<Response<Incoming>, Cut> {
        let Parts {
            method, headers, ..
        } = &question.parts;
        let body = question.body.clone();
        let sent = self.connections.send(method.clone(), uri, headers, body);
        sent.await.map_err(|_| self.unreachable(&question.ask))
    }

    fn unreachable(&self, ask: &Ask) -> Cut {
        self.note(ask, Fate::Unreachable, None, &[]);
        Cut
    }

    fn note(&self, ask: &Ask, fate: Fate, code: Option<u16>, answer: &[u8]) {
        let metadata = Named::of(answer).unwrap_or_default().metadata;
        self.journal.write(Entry {
            ask: ask.clone(),
            fate,
            code,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
        });
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Cut> {
    let read = Limited::new(body, MAX_BODY_BYTES).collect().await;
    Ok(read.map_err(|_| Cut)?.to_bytes())
}

fn full(body: Bytes) -> Body {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn onward(mut parts: http::response::Parts) -> http::response::Parts {
    parts.headers = passed_on(&parts.headers);
    parts
}

/// What an API server says in such a case.
fn refusal(ask: &Ask, code: u16, retry_after: Option<u32>) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 if ask.verb == Verb::Create => "AlreadyExists",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "a fault of a test", "reason": reason, "code": code,
        "details": { "name": ask.name, "kind": ask.resource, "retryAfterSeconds": retry_after },
    });
    let mut answer = Response::new(full(Bytes::from(status.to_string())));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}
