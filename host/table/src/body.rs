//! Bodies at rest: each compressed on its own, all of a chunk in one arena.
//!
//! # Why
//!
//! Blocks of many bodies are no smaller and cost a whole block per read; a
//! dictionary makes single bodies small, because objects of one kind repeat each
//! other. The dictionary is raw content, a few bodies of the kind, so that it
//! needs no training.

use std::cell::RefCell;
use std::sync::Arc;

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound};

use crate::num::{narrow, wide};

thread_local! {
    static ENCODER: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECODER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// How the bodies of some chunks of one table are compressed.
pub(crate) struct Codec {
    level: i32,
    dictionary: Option<(CDict<'static>, DDict<'static>)>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("level", &self.level)
            .field("dictionary", &self.dictionary.is_some())
            .finish()
    }
}

impl Codec {
    pub(crate) fn plain(level: i32) -> Codec {
        Codec {
            level,
            dictionary: None,
        }
    }

    /// A codec whose dictionary is this content.
    pub(crate) fn with_dictionary(level: i32, content: &[u8]) -> Codec {
        let encoder = CDict::try_create(content, level);
        Codec {
            level,
            dictionary: encoder.zip(DDict::try_create(content)),
        }
    }

    pub(crate) fn has_dictionary(&self) -> bool {
        self.dictionary.is_some()
    }

    /// What both forms of the dictionary take.
    pub(crate) fn dictionary_bytes(&self) -> usize {
        let dictionary = self.dictionary.as_ref();
        dictionary.map_or(0, |(encoder, decoder)| encoder.sizeof() + decoder.sizeof())
    }

    /// Compresses into `out`; the content itself where that is not smaller.
    fn encode(&self, content: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.reserve(compress_bound(content.len()));
        let done = ENCODER.with_borrow_mut(|context| match &self.dictionary {
            Some((dictionary, _)) => context.compress_using_cdict(out, content, dictionary),
            None => context.compress(out, content, self.level),
        });
        if done.is_err() || out.len() >= content.len() {
            out.clear();
            out.extend_from_slice(content);
        }
    }

    fn decode(&self, stored: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
        out.clear();
        if stored.len() == length {
            out.extend_from_slice(stored);
            return true;
        }
        out.reserve(length);
        let done = DECODER.with_borrow_mut(|context| match &self.dictionary {
            Some((_, dictionary)) => context.decompress_using_ddict(out, stored, dictionary),
            None => context.decompress(out, stored),
        });
        done.is_ok() && out.len() == length
    }
}

/// The bodies of one chunk.
#[derive(Debug)]
pub(crate) struct Arena {
    codec: Arc<Codec>,
    bytes: Box<[u8]>,
    /// Where each body ends.
    ends: Box<[u32]>,
    /// How long each body is when decompressed.
    lengths: Box<[u32]>,
}

impl Arena {
    /// The body of a row, in `scratch`.
    pub(crate) fn read<'a>(&self, row: usize, scratch: &'a mut Vec<u8>) -> &'a str {
        let length = self.lengths.get(row).copied().map_or(0, wide);
        let decoded = self.codec.decode(self.stored(row), length, scratch);
        match std::str::from_utf8(scratch) {
            Ok(text) if decoded => text,
            _ => {
                tracing::error!(row, "a compressed body cannot be read back");
                "null"
            }
        }
    }

    pub(crate) fn codec(&self) -> &Arc<Codec> {
        &self.codec
    }

    /// Compressed bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + (self.ends.len() + self.lengths.len()) * size_of::<u32>()
    }

    /// Bytes before compression.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.lengths.iter().copied().map(wide).sum()
    }

    fn stored(&self, row: usize) -> &[u8] {
        let start = match row.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().map_or(0, wide),
            None => 0,
        };
        let end = self.ends.get(row).copied().map_or(0, wide);
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// Fills an [`Arena`].
#[derive(Debug)]
pub(crate) struct ArenaBuilder {
    codec: Arc<Codec>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    lengths: Vec<u32>,
    scratch: Vec<u8>,
}

impl ArenaBuilder {
    pub(crate) fn new(codec: Arc<Codec>) -> ArenaBuilder {
        ArenaBuilder {
            codec,
            bytes: Vec::new(),
            ends: Vec::new(),
            lengths: Vec::new(),
            scratch: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, body: &str) {
        self.codec.encode(body.as_bytes(), &mut self.scratch);
        self.bytes.extend_from_slice(&self.scratch);
        self.end(narrow(body.len()));
    }

    /// Takes a row of another arena, compressed as it is where the codec is the same.
    pub(crate) fn copy(&mut self, from: &Arena, row: usize) {
        if Arc::ptr_eq(&self.codec, &from.codec) {
            self.bytes.extend_from_slice(from.stored(row));
            self.end(from.lengths.get(row).copied().unwrap_or(0));
        } else {
            let mut scratch = Vec::new();
            self.push(from.read(row, &mut scratch));
        }
    }

    /// A row without a body.
    pub(crate) fn skip(&mut self) {
        self.end(0);
    }

    pub(crate) fn finish(self) -> Arena {
        Arena {
            codec: self.codec,
            bytes: self.bytes.into(),
            ends: self.ends.into(),
            lengths: self.lengths.into(),
        }
    }

    fn end(&mut self, length: u32) {
        self.ends.push(narrow(self.bytes.len()));
        self.lengths.push(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codecs() -> Vec<Arc<Codec>> {
        let sample = br#"{"metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":3}}"#;
        vec![
            Arc::new(Codec::plain(3)),
            Arc::new(Codec::with_dictionary(3, &sample.repeat(20))),
        ]
    }

    proptest! {
        #[test]
        fn bodies_come_back(bodies in prop::collection::vec(
            prop_oneof![any::<String>(), "(\\{\"spec\":\\{\"replicas\":[0-9]\\}\\} ?){0,40}"],
            0..20,
        )) {
            let mut scratch = Vec::new();
            for codec in codecs() {
                let mut builder = ArenaBuilder::new(Arc::clone(&codec));
                for body in &bodies {
                    builder.push(body);
                    builder.skip();
                }
                let arena = builder.finish();
                for other in codecs() {
                    let mut builder = ArenaBuilder::new(other);
                    for row in 0..bodies.len() * 2 {
                        builder.copy(&arena, row);
                    }
                    let copied = builder.finish();
                    for (row, body) in bodies.iter().enumerate() {
                        prop_assert_eq!(arena.read(row * 2, &mut scratch), body);
                        prop_assert_eq!(arena.read(row * 2 + 1, &mut scratch), "");
                        prop_assert_eq!(copied.read(row * 2, &mut scratch), body);
                    }
                }
            }
        }
    }

    #[test]
    fn a_dictionary_pays() {
        let body = r#"{"metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":4}}"#;
        let sizes: Vec<usize> = codecs()
            .into_iter()
            .map(|codec| {
                let mut builder = ArenaBuilder::new(codec);
                builder.push(body);
                builder.finish().bytes.len()
            })
            .collect();
        assert!(sizes[1] * 2 < sizes[0], "{sizes:?}");
    }
}
