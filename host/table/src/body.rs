//! Bodies at rest: each compressed on its own, all of a chunk in one arena.
//!
//! # Why
//!
//! Blocks of many bodies are no smaller and cost a whole block per read; a
//! dictionary makes single bodies small, because objects of one kind repeat each
//! other. Kinds with few objects share a built-in one of what most kinds have.

use std::cell::RefCell;
use std::sync::Arc;

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound, train_from_buffer};

use crate::num::{narrow, wide};

thread_local! {
    static ENCODER: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECODER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// What most kinds have in common; the most common last, as zstd wants it.
const BUILT_IN: &str = include_str!("builtin.json");

/// How the bodies of some chunks are compressed.
pub(crate) struct Codec {
    level: i32,
    /// 0 for the built-in dictionary, ascending with each that a table trains.
    generation: u32,
    dictionary: Option<(CDict<'static>, DDict<'static>)>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("level", &self.level)
            .field("generation", &self.generation)
            .finish()
    }
}

impl Codec {
    /// The codec of tables that have no dictionary of their own.
    pub(crate) fn built_in(level: i32) -> Codec {
        Codec::of(level, 0, BUILT_IN.as_bytes())
    }

    /// The next generation, with a dictionary of at most so many bytes that was
    /// trained on these bodies.
    pub(crate) fn trained(&self, samples: &[Vec<u8>], bytes: usize) -> Codec {
        let sizes: Vec<usize> = samples.iter().map(Vec::len).collect();
        let all = samples.concat();
        let mut dictionary = Vec::with_capacity(bytes);
        if train_from_buffer(&mut dictionary, &all, &sizes).is_err() {
            // Too few or too small: the bodies themselves do as well.
            dictionary = all.get(..bytes.min(all.len())).unwrap_or_default().to_vec();
        }
        Codec::of(self.level, self.generation + 1, &dictionary)
    }

    fn of(level: i32, generation: u32, dictionary: &[u8]) -> Codec {
        let encoder = CDict::try_create(dictionary, level);
        Codec {
            level,
            generation,
            dictionary: encoder.zip(DDict::try_create(dictionary)),
        }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
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
        let decoded = self
            .codec
            .decode(self.stored(row), self.length(row), scratch);
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

    /// Bytes of one body before compression.
    pub(crate) fn length(&self, row: usize) -> usize {
        self.lengths.get(row).copied().map_or(0, wide)
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
    use std::sync::LazyLock;

    fn web(replicas: usize) -> String {
        format!(
            r#"{{"metadata":{{"name":"web-{replicas}","namespace":"shop"}},"spec":{{"replicas":{replicas},"color":"blueish-green-with-dots"}}}}"#
        )
    }

    static CODECS: LazyLock<Vec<Arc<Codec>>> = LazyLock::new(codecs);

    fn codecs() -> Vec<Arc<Codec>> {
        let samples: Vec<Vec<u8>> = (0..2000).map(|n| web(n).into_bytes()).collect();
        let built_in = Codec::built_in(3);
        let trained = built_in.trained(&samples, 4096);
        // Too few to train on.
        let content = trained.trained(&samples[..3], 4096);
        assert_eq!((trained.generation(), content.generation()), (1, 2));
        [built_in, trained, content]
            .into_iter()
            .map(Arc::new)
            .collect()
    }

    proptest! {
        #[test]
        fn bodies_come_back(bodies in prop::collection::vec(
            prop_oneof![any::<String>(), "(\\{\"spec\":\\{\"replicas\":[0-9]\\}\\} ?){0,40}"],
            0..20,
        )) {
            let mut scratch = Vec::new();
            for codec in &*CODECS {
                let mut builder = ArenaBuilder::new(Arc::clone(codec));
                for body in &bodies {
                    builder.push(body);
                    builder.skip();
                }
                let arena = builder.finish();
                for other in &*CODECS {
                    let mut builder = ArenaBuilder::new(Arc::clone(other));
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
    fn dictionaries_pay() {
        let size = |codec: &Arc<Codec>, body: &str| {
            let mut builder = ArenaBuilder::new(Arc::clone(codec));
            builder.push(body);
            builder.finish().bytes.len()
        };
        let codecs = &*CODECS;
        let sizes: Vec<usize> = codecs
            .iter()
            .map(|codec| size(codec, &web(7_777)))
            .collect();
        assert!(sizes[1] * 2 < sizes[0], "{sizes:?}");
        assert!(sizes[2] * 2 < sizes[0], "{sizes:?}");
        let lease = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"creationTimestamp":"2026-11-01T10:00:00Z","name":"kybern","namespace":"kube-system","resourceVersion":"4711","uid":"0b9f7a9e-30a5-44a5-a5f4-c3b0b1b0a001"},"spec":{"acquireTime":"2026-11-01T10:00:00.000000Z","holderIdentity":"a","leaseDurationSeconds":15,"leaseTransitions":0,"renewTime":"2026-11-01T10:00:00.000000Z"}}"#;
        let plain = zstd::bulk::compress(lease.as_bytes(), 3).unwrap().len();
        let built_in = size(&codecs[0], lease);
        assert!(built_in * 4 < plain * 3, "{built_in} {plain}");
    }
}
