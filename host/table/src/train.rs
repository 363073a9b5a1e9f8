//! Which dictionary a table's bodies are compressed with, and when it gets a new one.
//!
//! # Why
//!
//! Objects of one kind repeat each other, so a dictionary trained on some of them
//! makes each small by itself, and spares most of the time of finding that out
//! anew. Bodies change as a cluster does: a dictionary is replaced when there is
//! much more to learn from, or when it has become worse.
//!
//! # Limits
//!
//! A table keeps chunks of [`GENERATIONS`] dictionaries; those of older ones are
//! rewritten.

use std::sync::Arc;

use crate::block::Slot;
use crate::body::{Arena, Codec};
use crate::config::StoreConfig;

/// Dictionaries of one table that bodies may need at one time.
const GENERATIONS: u32 = 3;
/// A new one when so many times as much has been sealed as at the last.
const GROWTH: usize = 8;
/// The longest part of a body that is learnt from.
const SAMPLE_BYTES: usize = 16 << 10;
/// All that is learnt from. Training takes about a tenth of a second for it.
const SAMPLES_BYTES: usize = 2 << 20;
/// The smallest and largest dictionary; also at most 1 % of the bodies.
const DICTIONARY_BYTES: (usize, usize) = (4 << 10, 64 << 10);

/// The dictionaries of one table.
#[derive(Debug)]
pub(crate) struct Dictionaries {
    codec: Arc<Codec>,
    /// Bytes of bodies that were ever sealed.
    sealed: usize,
    /// After so many the next dictionary is due.
    next: usize,
    /// Bytes of the table's bodies when a job was last made.
    bodies: usize,
    training: bool,
    /// Bytes before and after compression since the last look.
    window: (usize, usize),
    /// Bytes after compression of 1,024 before, in the dictionary's first window.
    best: Option<usize>,
}

/// A dictionary to train, from the rows that there were.
#[derive(Debug)]
pub(crate) struct Training {
    slots: Arc<Vec<Arc<Slot>>>,
    bytes: usize,
    codec: Arc<Codec>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Trained(Codec);

impl Dictionaries {
    pub(crate) fn new(codec: Arc<Codec>) -> Dictionaries {
        Dictionaries {
            codec,
            sealed: 0,
            next: 1,
            bodies: 0,
            training: false,
            window: (0, 0),
            best: None,
        }
    }

    /// What new chunks are compressed with.
    pub(crate) fn codec(&self) -> &Arc<Codec> {
        &self.codec
    }

    /// Whether chunks of this dictionary are to be rewritten.
    pub(crate) fn is_outdated(&self, codec: &Arc<Codec>) -> bool {
        codec.generation() > 0 && codec.generation() + GENERATIONS <= self.codec.generation()
    }

    /// Notes a chunk that was sealed.
    pub(crate) fn sealed(&mut self, bodies: &Arena) {
        self.sealed += bodies.raw_bytes();
        if !Arc::ptr_eq(bodies.codec(), &self.codec) || self.codec.generation() == 0 {
            return;
        }
        self.window.0 += bodies.raw_bytes();
        self.window.1 += bodies.bytes();
        if self.window.0 >= SAMPLES_BYTES {
            let share = self.window.1 * 1024 / self.window.0;
            self.window = (0, 0);
            let best = *self.best.get_or_insert(share);
            if share * 2 > best * 3 {
                self.next = self.sealed;
            }
        }
    }

    /// Whether a new dictionary would pay. `bodies` gives the bytes of all the
    /// table's bodies before compression.
    pub(crate) fn wants_training(
        &mut self,
        config: &StoreConfig,
        bodies: impl FnOnce() -> usize,
    ) -> bool {
        if self.training || self.sealed < self.next.max(config.dictionary_after) {
            return false;
        }
        self.bodies = bodies();
        self.bodies >= config.dictionary_after
    }

    pub(crate) fn training(&mut self, slots: Arc<Vec<Arc<Slot>>>) -> Training {
        self.training = true;
        let (least, most) = DICTIONARY_BYTES;
        Training {
            slots,
            bytes: (self.bodies / 100).clamp(least, most),
            codec: Arc::clone(&self.codec),
        }
    }

    pub(crate) fn put_in(&mut self, trained: Trained) {
        self.codec = Arc::new(trained.0);
        self.training = false;
        self.next = self.sealed.saturating_mul(GROWTH);
        self.window = (0, 0);
        self.best = None;
    }
}

impl Training {
    pub(crate) fn run(self) -> Trained {
        let samples = self.samples();
        Trained(self.codec.trained(&samples, self.bytes))
    }

    /// Bodies, or the beginnings of long ones, spread over the table.
    fn samples(&self) -> Vec<Vec<u8>> {
        let live: usize = self.slots.iter().map(|slot| slot.live_rows).sum();
        let bytes: usize = self.slots.iter().map(|slot| slot.raw_bytes).sum();
        let average = (bytes / live.max(1)).clamp(1, SAMPLE_BYTES);
        let stride = live.div_ceil(SAMPLES_BYTES / average).max(1);
        let mut samples = Vec::new();
        let mut scratch = Vec::new();
        let mut room = SAMPLES_BYTES;
        let rows = self.slots.iter().flat_map(|slot| slot.rows());
        for (_, row) in rows.step_by(stride) {
            let body = row.body(&mut scratch).as_bytes();
            let sample: Vec<u8> = body.iter().copied().take(SAMPLE_BYTES.min(room)).collect();
            room -= sample.len();
            samples.push(sample);
            if room == 0 {
                break;
            }
        }
        samples
    }
}
