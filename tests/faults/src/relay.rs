//! Passes the events of one watch on, as the disturbances in force say.

use crate::ask::Ask;
use crate::events::Event;
use crate::serve::{Body, Cut};
use crate::watches::{Pass, Watches};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot, watch};

/// Events that wait for a slow reader before the API server has to.
const WAITING: usize = 256;
/// Of one event.
const MAX_LINE_BYTES: usize = 16 << 20;

type Out = mpsc::Sender<Result<Frame<Bytes>, Cut>>;

/// What the host reads.
struct Inbox(mpsc::Receiver<Result<Frame<Bytes>, Cut>>);

impl hyper::body::Body for Inbox {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0.poll_recv(cx)
    }
}

/// One event that has not gone on.
struct Waiting {
    line: Bytes,
    event: Option<Event>,
    seen: bool,
}

/// A watch on its way to the host.
pub(crate) struct Relay {
    ask: Ask,
    watches: Arc<Watches>,
    cut: oneshot::Receiver<()>,
    changes: watch::Receiver<u64>,
    buffer: BytesMut,
    queue: VecDeque<Waiting>,
    /// Whether what comes is still the list that the watch begins with.
    listing: bool,
}

/// What ends a relay.
enum End {
    /// As the API server ended it.
    Over,
    /// In the middle.
    Broken,
}

impl Relay {
    pub(crate) fn new(ask: &Ask, watches: &Arc<Watches>) -> Self {
        Self {
            ask: ask.clone(),
            watches: Arc::clone(watches),
            cut: watches.opened(ask),
            changes: watches.changes(),
            buffer: BytesMut::new(),
            queue: VecDeque::new(),
            listing: ask.initial_events,
        }
    }

    /// The body that the host reads, and the work that fills it. `first` are lines that the API
    /// server did not send; with any, the list is over with them.
    pub(crate) fn start(
        mut self,
        first: Vec<Bytes>,
        body: Incoming,
    ) -> (Body, impl Future<Output = ()>) {
        let (out, inbox) = mpsc::channel(WAITING);
        let body_out = Inbox(inbox).boxed_unsync();
        let work = async move {
            self.listing &= first.is_empty();
            let sent = send_all(&out, first).await;
            if sent.is_ok() && matches!(self.run(body, &out).await, End::Broken) {
                // Nobody left to tell is as good.
                let _ = out.send(Err(Cut)).await;
            }
        };
        (body_out, work)
    }

    async fn run(&mut self, mut body: Incoming, out: &Out) -> End {
        let mut ended = false;
        loop {
            if self.pass_on(out).await.is_err() {
                return End::Over;
            }
            if ended && self.queue.is_empty() {
                return End::Over;
            }
            tokio::select! {
                _ = &mut self.cut => return End::Broken,
                () = out.closed() => return End::Over,
                Ok(()) = self.changes.changed() => {}
                frame = body.frame(), if !ended => match frame {
                    None => ended = true,
                    Some(Err(_)) => return End::Broken,
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            self.buffer.extend_from_slice(data);
                        }
                        if self.cut_lines().is_err() {
                            return End::Broken;
                        }
                    }
                },
            }
        }
    }

    /// Whole lines go from the buffer to the queue.
    fn cut_lines(&mut self) -> Result<(), Cut> {
        while let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(at.saturating_add(1)).freeze();
            let event = Event::of(&self.ask, &line);
            self.queue.push_back(Waiting {
                line,
                event,
                seen: false,
            });
        }
        if self.buffer.len() > MAX_LINE_BYTES {
            return Err(Cut);
        }
        Ok(())
    }

    /// Sends what may go, in order: behind what must wait everything waits.
    async fn pass_on(&mut self, out: &Out) -> Result<(), Cut> {
        while let Some(next) = self.queue.front_mut() {
            let fate = match &next.event {
                Some(event) if !self.listing => self.watches.fate(event, !next.seen),
                _ => Pass::Once,
            };
            next.seen = true;
            if fate == Pass::Later {
                return Ok(());
            }
            if let Some(next) = self.queue.pop_front() {
                self.send(next, fate, out).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, next: Waiting, fate: Pass, out: &Out) -> Result<(), Cut> {
        let times = match fate {
            Pass::Never => 0,
            Pass::Twice => 2,
            Pass::Once | Pass::Later => 1,
        };
        send_all(out, std::iter::repeat_n(next.line, times)).await?;
        if let Some(event) = next.event {
            self.listing &= !event.ends_list;
        }
        Ok(())
    }
}

async fn send_all(out: &Out, lines: impl IntoIterator<Item = Bytes>) -> Result<(), Cut> {
    for line in lines {
        out.send(Ok(Frame::data(line))).await.map_err(|_| Cut)?;
    }
    Ok(())
}
