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
//! A table keeps chunks of [`GENERATIONS`] dictionaries; those of older ones, and
//! of the built-in one once there is another, are rewritten.

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
/// Bytes of bodies whose compression is compared with that of others.
const WINDOW_BYTES: usize = 512 << 10;
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
    /// Bytes that had been sealed when the dictionary was trained.
    trained_at: usize,
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
            trained_at: 0,
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
        let newest = self.codec.generation();
        match codec.generation() {
            // The built-in one knows nothing of this kind, and a list that comes fast has many
            // chunks before anything is learnt.
            0 => newest > 0,
            own => own + GENERATIONS <= newest,
        }
    }

    /// Notes a chunk that was sealed.
    pub(crate) fn sealed(&mut self, bodies: &Arena) {
        self.sealed += bodies.raw_bytes();
        if !Arc::ptr_eq(bodies.codec(), &self.codec) || self.codec.generation() == 0 {
            return;
        }
        self.window.0 += bodies.raw_bytes();
        self.window.1 += bodies.bytes();
        if self.window.0 >= WINDOW_BYTES {
            let share = self.window.1 * 1024 / self.window.0;
            self.window = (0, 0);
            let best = *self.best.get_or_insert(share);
            // Not again and again for a mixture of good and bad.
            if share * 2 > best * 3 && self.sealed / 2 >= self.trained_at {
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
        self.give_up();
        self.trained_at = self.sealed;
        self.window = (0, 0);
        self.best = None;
    }
}

impl Dictionaries {
    /// No dictionary is being trained any more; the next is far away.
    pub(crate) fn give_up(&mut self) {
        self.training = false;
        self.next = self.sealed.saturating_mul(GROWTH);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::change::{Batch, Change, Origin};
    use crate::config::StoreConfig;
    use crate::key::{KindKey, TableDef};
    use crate::store::{Writer, store};

    fn writer(kind: &str) -> Writer {
        let (mut writer, _) = store(StoreConfig {
            chunk_rows: 16,
            dictionary_after: 10_000,
            ..StoreConfig::default()
        });
        let changes = vec![Change::Define(TableDef {
            key: KindKey::new("", "v1", kind),
            schema: "core".to_owned(),
            plural: "things".to_owned(),
            namespaced: false,
            label_keys: Vec::new(),
            path_indexes: Vec::new(),
        })];
        writer.apply(Batch { changes });
        writer
    }

    fn put(
        writer: &mut Writer,
        kind: &str,
        numbers: std::ops::Range<u64>,
        text: fn(u64) -> String,
    ) {
        for number in numbers {
            let text = text(number);
            let raw = format!(r#"{{"metadata":{{"name":"o{number}"}},"data":{{"t":"{text}"}}}}"#);
            let changes = vec![Change::Upsert {
                table: KindKey::new("", "v1", kind),
                raw: raw.into(),
                origin: Origin::Watch,
            }];
            assert!(writer.apply(Batch { changes }).errors.is_empty());
        }
    }

    /// The generations that the table's chunks are compressed with.
    fn generations(writer: &mut Writer) -> BTreeSet<u32> {
        let slots = writer.slots_of_first();
        let codecs = slots
            .version
            .slots
            .iter()
            .filter_map(|slot| slot.block.codec());
        codecs.map(|codec| codec.generation()).collect()
    }

    fn plain(number: u64) -> String {
        format!(
            "the same words in each of them, but for {number}, and {}",
            "so on ".repeat(12)
        )
    }

    fn noise(number: u64) -> String {
        let mut state = number.wrapping_add(1);
        let mut digits = String::new();
        for _ in 0..40 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            digits.push_str(&format!("{:x}", state >> 32));
        }
        digits
    }

    #[test]
    fn a_small_table_shares_the_built_in_dictionary() {
        let mut writer = writer("Thing");
        put(&mut writer, "Thing", 0..32, plain);
        assert_eq!(generations(&mut writer), BTreeSet::from([0]));
        // However often its rows change.
        for _ in 0..20 {
            put(&mut writer, "Thing", 0..32, plain);
        }
        assert_eq!(generations(&mut writer), BTreeSet::from([0]));
    }

    #[test]
    fn a_growing_table_keeps_few_dictionaries() {
        let mut writer = writer("Thing");
        put(&mut writer, "Thing", 0..200, plain);
        assert_eq!(generations(&mut writer), BTreeSet::from([1]));
        put(&mut writer, "Thing", 200..800, plain);
        assert_eq!(generations(&mut writer).last(), Some(&2));
        for round in 1..5 {
            // As if it had grown so much.
            writer.slots_of_first().dictionaries.next = 1;
            put(
                &mut writer,
                "Thing",
                round * 1_000..round * 1_000 + 100,
                plain,
            );
        }
        let all = generations(&mut writer);
        let newest = all.last().copied().unwrap();
        assert_eq!(newest, 6);
        let few = |one: &u32| *one > 0 && one + 3 > newest;
        assert!(all.iter().all(few), "{all:?}");
    }

    #[test]
    fn secrets_are_never_learnt_from() {
        let mut writer = writer("Secret");
        put(&mut writer, "Secret", 0..1_000, plain);
        assert_eq!(generations(&mut writer), BTreeSet::from([0]));
    }

    #[test]
    fn a_dictionary_that_has_become_worse_is_replaced() {
        let generation = |text: fn(u64) -> String| {
            let mut writer = writer("Thing");
            put(&mut writer, "Thing", 0..6_000, plain);
            let slots = writer.slots_of_first();
            // As if the next for its size were far away.
            slots.dictionaries.next = usize::MAX;
            let before = slots.dictionaries.codec().generation();
            put(&mut writer, "Thing", 10_000..14_000, text);
            writer.slots_of_first().dictionaries.codec().generation() - before
        };
        assert_eq!((generation(plain), generation(noise)), (0, 1));
    }
}
