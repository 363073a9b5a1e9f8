//! `wasi:io/streams`: standard input, which is at its end, and lines for the plugin's log.

use super::poll::{self, Pollable, StreamFailure};
use crate::log::{CallLog, Level, MESSAGE};
use crate::state::CallState;
use wasmtime::component::{ComponentType, Linker, Lower, Resource, ResourceType, WasmList};
use wasmtime::{Error, Result, StoreContextMut};

/// Bytes that a guest may write at once.
const PERMIT: usize = 64 * 1024;

/// `input-stream`: there is only standard input.
pub(super) struct Input;

/// `output-stream`; its handle's number says which of the two it is.
pub(super) struct Output;

/// Where a guest prints to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Stream {
    /// A handle for the guest.
    pub(super) fn handle(self) -> Resource<Output> {
        Resource::new_own(match self {
            Self::Out => 1,
            Self::Err => 2,
        })
    }

    fn of(handle: &Resource<Output>) -> Self {
        if handle.rep() == Self::Err.handle().rep() {
            Self::Err
        } else {
            Self::Out
        }
    }

    /// Not an error: warnings go the same way.
    fn level(self) -> Level {
        match self {
            Self::Out => Level::Info,
            Self::Err => Level::Warn,
        }
    }
}

/// What was printed and is no whole line yet.
#[derive(Debug, Default)]
pub(super) struct Printed {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Printed {
    fn print(&mut self, stream: Stream, bytes: &[u8], log: &mut CallLog) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = self.line(stream);
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") || line.len() >= MESSAGE {
                write(stream, line, log);
            }
        }
    }

    /// Writes what has no end of line.
    pub(super) fn finish(&mut self, log: &mut CallLog) {
        for stream in [Stream::Out, Stream::Err] {
            write(stream, self.line(stream), log);
        }
    }

    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

/// Writes the line, unless it is empty, and empties it.
fn write(stream: Stream, line: &mut Vec<u8>, log: &mut CallLog) {
    let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
    line.clear();
    if text.is_empty() {
        return;
    }
    log.write(stream.level(), &text);
    if stream == Stream::Err {
        log.remember(&text);
    }
}

/// `stream-error`, as the interface has it.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "part of the type; nothing fails here")]
    Failed(Resource<StreamFailure>),
    #[component(name = "closed")]
    Closed,
}

type Outcome<T> = std::result::Result<T, StreamError>;
type Store<'a> = StoreContextMut<'a, CallState>;

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut streams = linker.instance("wasi:io/streams@0.2.0")?;
    streams.resource("input-stream", ResourceType::host::<Input>(), |_, _| Ok(()))?;
    for name in ["read", "blocking-read"] {
        streams.func_wrap(
            &format!("[method]input-stream.{name}"),
            |_: Store<'_>, (_, _): (Resource<Input>, u64)| -> Result<(Outcome<Vec<u8>>,)> {
                Ok((Err(StreamError::Closed),))
            },
        )?;
    }
    for name in ["skip", "blocking-skip"] {
        streams.func_wrap(
            &format!("[method]input-stream.{name}"),
            |_: Store<'_>, (_, _): (Resource<Input>, u64)| -> Result<(Outcome<u64>,)> {
                Ok((Err(StreamError::Closed),))
            },
        )?;
    }
    streams.func_wrap(
        "[method]input-stream.subscribe",
        |mut store: Store<'_>, (_,): (Resource<Input>,)| {
            Ok((poll::push(store.data_mut(), Pollable::Ready)?,))
        },
    )?;

    streams.resource("output-stream", ResourceType::host::<Output>(), |_, _| {
        Ok(())
    })?;
    streams.func_wrap(
        "[method]output-stream.check-write",
        |_: Store<'_>, (_,): (Resource<Output>,)| -> Result<(Outcome<u64>,)> {
            Ok((Ok(u64::try_from(PERMIT).unwrap_or(u64::MAX)),))
        },
    )?;
    for name in ["write", "blocking-write-and-flush"] {
        streams.func_wrap(&format!("[method]output-stream.{name}"), print)?;
    }
    for name in ["flush", "blocking-flush"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Store<'_>, (_,): (Resource<Output>,)| -> Result<(Outcome<()>,)> { Ok((Ok(()),)) },
        )?;
    }
    // Zeroes are no text.
    for name in ["write-zeroes", "blocking-write-zeroes-and-flush"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Store<'_>, (_, _): (Resource<Output>, u64)| -> Result<(Outcome<()>,)> {
                Ok((Ok(()),))
            },
        )?;
    }
    // There is only standard input to take from.
    for name in ["splice", "blocking-splice"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Store<'_>,
             (_, _, _): (Resource<Output>, Resource<Input>, u64)|
             -> Result<(Outcome<u64>,)> { Ok((Err(StreamError::Closed),)) },
        )?;
    }
    streams.func_wrap(
        "[method]output-stream.subscribe",
        |mut store: Store<'_>, (_,): (Resource<Output>,)| {
            Ok((poll::push(store.data_mut(), Pollable::Ready)?,))
        },
    )
}

fn print(
    mut store: Store<'_>,
    (output, bytes): (Resource<Output>, WasmList<u8>),
) -> Result<(Outcome<()>,)> {
    store.data().check()?;
    if bytes.len() > PERMIT {
        return Err(Error::msg(format!(
            "it prints {} bytes at once, more than the {PERMIT} that it may",
            bytes.len()
        )));
    }
    let bytes = bytes.as_le_slice(&store).to_vec();
    let CallState { wasi, log, .. } = store.data_mut();
    wasi.printed.print(Stream::of(&output), &bytes, log);
    Ok((Ok(()),))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_and_what_has_no_end_is_one_at_last() {
        let mut log = CallLog::new("test", 64 * 1024);
        let mut printed = Printed::default();
        printed.print(Stream::Out, b"one\n\ntwo", &mut log);
        printed.print(Stream::Err, b"why\n", &mut log);
        printed.print(Stream::Out, b" and more\r\nlast", &mut log);
        assert_eq!(log.lines, 3);
        printed.finish(&mut log);
        assert_eq!((log.lines, log.dropped), (4, 0));
        printed.finish(&mut log);
        assert_eq!(log.lines, 4);
        assert_eq!(log.reason().as_deref(), Some("why"));
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut log = CallLog::new("test", 1024 * 1024);
        let mut printed = Printed::default();
        for _ in 0..10 {
            printed.print(Stream::Out, &[b'a'; MESSAGE / 2], &mut log);
        }
        assert_eq!(log.lines, 5);
        assert!(printed.out.is_empty());
    }
}
