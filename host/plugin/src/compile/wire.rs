//! What parent and child say to each other: one order to standard input, one reply from standard output.

use super::Subject;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

const ORDER: &[u8; 8] = b"kybernco";
const REPLY: &[u8; 8] = b"kyberncr";
/// An order without its component.
const MAX_HEADER: u64 = 4 * 1024;
/// Of a message of the compiler, the first part is kept.
const MAX_MESSAGE: usize = 16 * 1024;

/// What is to be compiled, and for which engine. The component's bytes follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// What it is.
    pub(super) subject: Subject,
    /// Whether memories are small and may move.
    pub(super) scarce: bool,
    /// Stack of a guest in bytes.
    pub(super) max_stack: usize,
    /// Seconds of processor time.
    pub(super) seconds: u64,
    /// Bytes of memory.
    pub(super) memory: u64,
    /// Bytes of machine code.
    pub(super) code: u64,
    /// Bytes of the component.
    pub(super) bytes: usize,
}

impl Order {
    pub(super) fn write(&self, to: &mut impl Write, wasm: &[u8]) -> io::Result<()> {
        let header = serde_json::to_vec(self)?;
        to.write_all(ORDER)?;
        to.write_all(&length(header.len()))?;
        to.write_all(&header)?;
        to.write_all(wasm)?;
        to.flush()
    }

    /// The order; its component is still to be read.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let header = framed(from, ORDER, MAX_HEADER)?;
        Ok(serde_json::from_slice(&header)?)
    }

    /// The component that follows.
    pub(super) fn component(&self, from: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut wasm = vec![0; self.bytes];
        from.read_exact(&mut wasm)?;
        Ok(wasm)
    }
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Machine code.
    Code(Vec<u8>),
    /// The component is refused.
    Refused(String),
    /// There is more code than was allowed.
    TooMuchCode,
}

impl Reply {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (kind, body) = match self {
            Self::Code(code) => (0, code.as_slice()),
            Self::Refused(reason) => {
                let bytes = reason.as_bytes();
                (1, bytes.get(..MAX_MESSAGE).unwrap_or(bytes))
            }
            Self::TooMuchCode => (2, [].as_slice()),
        };
        to.write_all(REPLY)?;
        to.write_all(&length(body.len().saturating_add(1)))?;
        to.write_all(&[kind])?;
        to.write_all(body)?;
        to.flush()
    }

    /// A reply with at most so many bytes of code; an error if it is cut short or something else.
    pub(super) fn read(from: &mut impl Read, code: u64) -> io::Result<Self> {
        let limit = code.max(u64::try_from(MAX_MESSAGE).unwrap_or(u64::MAX));
        let mut body = framed(from, REPLY, limit.saturating_add(1))?;
        match body.first() {
            Some(0) => Ok(Self::Code(body.split_off(1))),
            Some(1) => Ok(Self::Refused(
                String::from_utf8_lossy(&body.split_off(1)).into_owned(),
            )),
            Some(2) => Ok(Self::TooMuchCode),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn length(bytes: usize) -> [u8; 8] {
    u64::try_from(bytes).unwrap_or(u64::MAX).to_le_bytes()
}

/// What follows this mark and its length. Memory grows with what arrives, not with what is claimed.
fn framed(from: &mut impl Read, mark: &[u8; 8], limit: u64) -> io::Result<Vec<u8>> {
    let mut eight = [0; 8];
    from.read_exact(&mut eight)?;
    if eight != *mark {
        return Err(io::ErrorKind::InvalidData.into());
    }
    from.read_exact(&mut eight)?;
    let length = u64::from_le_bytes(eight);
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Vec::new();
    from.take(length).read_to_end(&mut body)?;
    match u64::try_from(body.len()) {
        Ok(read) if read == length => Ok(body),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            subject: Subject::Module,
            scarce: false,
            max_stack: 1,
            seconds: 2,
            memory: 3,
            code: 4,
            bytes: 5,
        }
    }

    #[test]
    fn an_order_arrives_with_its_component() {
        let mut sent = Vec::new();
        order().write(&mut sent, b"12345").unwrap();
        let mut from = sent.as_slice();
        let read = Order::read(&mut from).unwrap();
        assert_eq!(read, order());
        assert_eq!(read.component(&mut from).unwrap(), b"12345");
        assert!(from.is_empty());
    }

    #[test]
    fn a_reply_arrives_whole_or_not_at_all() {
        let replies = [
            Reply::Code(b"code".to_vec()),
            Reply::Refused("why".to_owned()),
            Reply::TooMuchCode,
        ];
        for reply in replies {
            let mut sent = Vec::new();
            reply.write(&mut sent).unwrap();
            assert_eq!(Reply::read(&mut sent.as_slice(), 4).unwrap(), reply);
            for cut in 0..sent.len() {
                assert!(Reply::read(&mut &sent[..cut], 4).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn no_more_is_read_than_was_allowed_and_nothing_of_another_program() {
        let mut sent = Vec::new();
        let long = vec![0; MAX_MESSAGE + 1];
        Reply::Code(long).write(&mut sent).unwrap();
        assert!(Reply::read(&mut sent.as_slice(), 4).is_err());
        assert!(Reply::read(&mut b"\nrunning 1 test\n....".as_slice(), 4).is_err());
        // What claims to be long takes no memory before it is there.
        let claimed = [REPLY.as_slice(), &u64::MAX.to_le_bytes()].concat();
        assert!(Reply::read(&mut claimed.as_slice(), u64::MAX - 1).is_err());
    }
}
