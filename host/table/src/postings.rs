//! Where rows with one key may be: the candidates of one index entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::num::narrow;

/// A row's place in its table: it never moves inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) block: u32,
    pub(crate) row: u16,
}

impl Position {
    /// Block and row in one number, in the same order; below 2^48.
    pub(crate) fn packed(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.row)
    }

    /// The position of a packed number.
    pub(crate) fn of(packed: u64) -> Position {
        Position {
            block: u32::try_from(packed >> 16).unwrap_or(u32::MAX),
            row: u16::try_from(packed & 0xffff).unwrap_or(u16::MAX),
        }
    }
}

/// Beyond so many candidates they are grouped by block: one in the middle of a
/// list costs a move of those behind it.
const LIST: usize = 1024;

/// Candidates, in a shape that is cheap to copy: a reader copies them under the
/// index's lock, so the copy must not depend on how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Postings {
    One(Position),
    /// Packed, ascending.
    List(Arc<Vec<u64>>),
    Blocks(Arc<BTreeMap<u32, Arc<Vec<u16>>>>),
}

impl Postings {
    pub(crate) fn insert(&mut self, position: Position) {
        match self {
            Postings::One(first) if *first == position => {}
            Postings::One(first) => {
                let mut pair = [first.packed(), position.packed()];
                pair.sort_unstable();
                *self = Postings::List(Arc::new(pair.to_vec()));
            }
            Postings::List(list) => {
                let packed = position.packed();
                if let Err(at) = list.binary_search(&packed) {
                    // Blocks ascend, so this is a push but for a merge.
                    Arc::make_mut(list).insert(at, packed);
                }
                if list.len() > LIST {
                    let mut blocks = BTreeMap::new();
                    for packed in list.iter() {
                        add(&mut blocks, Position::of(*packed));
                    }
                    *self = Postings::Blocks(Arc::new(blocks));
                }
            }
            Postings::Blocks(blocks) => add(Arc::make_mut(blocks), position),
        }
    }

    /// Removes a candidate; says whether none is left.
    pub(crate) fn remove(&mut self, position: Position) -> bool {
        match self {
            Postings::One(only) => return *only == position,
            Postings::List(list) => {
                if let Ok(at) = list.binary_search(&position.packed()) {
                    let list = Arc::make_mut(list);
                    list.remove(at);
                    if list.len() * 4 < list.capacity() {
                        list.shrink_to(list.len() * 2);
                    }
                }
                match list.as_slice() {
                    [] => return true,
                    [only] => *self = Postings::One(Position::of(*only)),
                    _ => {}
                }
            }
            Postings::Blocks(blocks) => {
                let blocks = Arc::make_mut(blocks);
                if let Some(rows) = blocks.get_mut(&position.block) {
                    let rows = Arc::make_mut(rows);
                    if let Ok(at) = rows.binary_search(&position.row) {
                        rows.remove(at);
                    }
                    if rows.is_empty() {
                        blocks.remove(&position.block);
                    }
                }
                // Far fewer than it takes to group them, so that the shape does
                // not go back and forth.
                if blocks.len() <= LIST / 4 {
                    let left: usize = blocks.values().map(|rows| rows.len()).sum();
                    if left == 0 {
                        return true;
                    }
                    if left <= LIST / 4 {
                        let list = positions(blocks).map(Position::packed).collect();
                        *self = Postings::List(Arc::new(list));
                    }
                }
            }
        }
        false
    }

    /// Calls `visit` with the candidates, ascending inside a block.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Position)) {
        match self {
            Postings::One(only) => visit(*only),
            Postings::List(list) => list.iter().copied().map(Position::of).for_each(visit),
            Postings::Blocks(blocks) => positions(blocks).for_each(visit),
        }
    }

    /// Bytes beside the value itself, about.
    pub(crate) fn bytes(&self) -> usize {
        const SHARED: usize = 16;
        match self {
            Postings::One(_) => 0,
            Postings::List(list) => SHARED + size_of::<Vec<u64>>() + list.capacity() * 8,
            Postings::Blocks(blocks) => blocks
                .values()
                .map(|rows| 2 * SHARED + size_of::<Vec<u16>>() + rows.capacity() * 2)
                .sum(),
        }
    }
}

fn positions(blocks: &BTreeMap<u32, Arc<Vec<u16>>>) -> impl Iterator<Item = Position> + '_ {
    blocks.iter().flat_map(|(block, rows)| {
        rows.iter().map(|row| Position {
            block: *block,
            row: *row,
        })
    })
}

fn add(blocks: &mut BTreeMap<u32, Arc<Vec<u16>>>, position: Position) {
    let rows = Arc::make_mut(blocks.entry(position.block).or_default());
    // Rows come in order, so this is a push but for a merge.
    let at = rows.partition_point(|row| *row < position.row);
    if rows.get(at) != Some(&position.row) {
        rows.insert(at, position.row);
    }
}

/// An entry of an index in 8 bytes with the alignment of 4: most keys have one
/// candidate, which is the entry itself; of the others it says where they stand.
#[derive(Clone, Copy, Debug)]
struct Entry([u32; 2]);

enum Place {
    Here(Position),
    Kept(usize),
}

impl Entry {
    /// Above any packed position.
    const KEPT: u64 = 1 << 63;

    fn new(number: u64) -> Entry {
        let half = |number: u64| u32::try_from(number & 0xffff_ffff).unwrap_or(u32::MAX);
        Entry([half(number >> 32), half(number)])
    }

    fn here(position: Position) -> Entry {
        Entry::new(position.packed())
    }

    fn kept(at: usize) -> Entry {
        Entry::new(Entry::KEPT | u64::from(narrow(at)))
    }

    fn place(self) -> Place {
        let [high, low] = self.0;
        let number = u64::from(high) << 32 | u64::from(low);
        if number & Entry::KEPT == 0 {
            Place::Here(Position::of(number))
        } else {
            Place::Kept(crate::num::wide(low))
        }
    }
}

/// Spreads keys that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct Spread(u64);

impl std::hash::Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.0 = (self.0 ^ u64::from(key)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// From hashes of keys to candidates: 13 bytes for a key with one candidate.
#[derive(Debug, Default)]
pub(crate) struct Map {
    entries: std::collections::HashMap<u32, Entry, std::hash::BuildHasherDefault<Spread>>,
    /// Of the keys with several candidates.
    kept: Vec<Option<Postings>>,
    free: Vec<usize>,
}

impl Map {
    pub(crate) fn get(&self, hash: u32) -> Option<Postings> {
        match self.entries.get(&hash)?.place() {
            Place::Here(position) => Some(Postings::One(position)),
            Place::Kept(at) => self.kept.get(at)?.clone(),
        }
    }

    pub(crate) fn insert(&mut self, hash: u32, position: Position) {
        let Some(entry) = self.entries.get_mut(&hash) else {
            self.entries.insert(hash, Entry::here(position));
            return;
        };
        match entry.place() {
            Place::Here(first) => {
                let mut postings = Postings::One(first);
                postings.insert(position);
                if !matches!(postings, Postings::One(_)) {
                    let at = self.free.pop().unwrap_or(self.kept.len());
                    if at == self.kept.len() {
                        self.kept.push(None);
                    }
                    if let Some(place) = self.kept.get_mut(at) {
                        *place = Some(postings);
                    }
                    *entry = Entry::kept(at);
                }
            }
            Place::Kept(at) => {
                if let Some(Some(postings)) = self.kept.get_mut(at) {
                    postings.insert(position);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, hash: u32, position: Position) {
        let Some(entry) = self.entries.get_mut(&hash) else {
            return;
        };
        match entry.place() {
            Place::Here(only) => {
                if only == position {
                    self.entries.remove(&hash);
                }
            }
            Place::Kept(at) => {
                let Some(place) = self.kept.get_mut(at) else {
                    return;
                };
                let gone = place.as_mut().is_none_or(|all| all.remove(position));
                let left = match place {
                    Some(Postings::One(left)) => Some(*left),
                    _ => None,
                };
                if gone || left.is_some() {
                    *place = None;
                    self.free.push(at);
                }
                if let Some(left) = left.filter(|_| !gone) {
                    *entry = Entry::here(left);
                } else if gone {
                    self.entries.remove(&hash);
                }
            }
        }
    }

    /// Keys with candidates.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        // A hash table has an eighth more places than it promises to hold.
        let places = self.entries.capacity() / 7 * 8;
        let kept = self.kept.iter().flatten().map(Postings::bytes);
        places * (size_of::<(u32, Entry)>() + 1)
            + self.kept.capacity() * size_of::<Option<Postings>>()
            + kept.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn found(postings: Option<&Postings>) -> BTreeSet<Position> {
        let mut found = BTreeSet::new();
        if let Some(postings) = postings {
            postings.for_each(|position| {
                assert!(found.insert(position), "twice");
            });
        }
        found
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_of_sets(changes in prop::collection::vec(
            (any::<bool>(), 0u32..3, 0u32..4, 0u16..8), 0..300,
        )) {
            let mut model: BTreeMap<u32, BTreeSet<Position>> = BTreeMap::new();
            let mut map = Map::default();
            for (insert, hash, block, row) in changes {
                let position = Position { block: block * 0x5555_5555, row: row * 9_000 };
                let set = model.entry(hash).or_default();
                if insert {
                    set.insert(position);
                    map.insert(hash, position);
                } else {
                    set.remove(&position);
                    map.remove(hash, position);
                }
                if set.is_empty() {
                    model.remove(&hash);
                }
                for hash in 0..3 {
                    let expected = model.get(&hash).cloned().unwrap_or_default();
                    prop_assert_eq!(found(map.get(hash).as_ref()), expected);
                }
                prop_assert_eq!(map.len(), model.len());
                let kept = map.kept.iter().flatten().count();
                prop_assert_eq!(kept + map.free.len(), map.kept.len());
            }
        }
    }

    #[test]
    fn many_candidates_are_grouped_and_ungrouped() {
        let mut map = Map::default();
        let mut model = BTreeSet::new();
        let position = |n: u32| Position {
            block: n % 37,
            row: u16::try_from(n / 37).unwrap(),
        };
        for n in 0..5_000 {
            map.insert(7, position(n));
            model.insert(position(n));
        }
        assert!(matches!(map.get(7), Some(Postings::Blocks(_))));
        assert_eq!(found(map.get(7).as_ref()), model);
        for n in 0..4_999 {
            map.remove(7, position(n));
            model.remove(&position(n));
            if n % 100 == 0 || n > 4_700 {
                assert_eq!(found(map.get(7).as_ref()), model);
            }
        }
        assert!(matches!(map.get(7), Some(Postings::One(_))));
        map.remove(7, position(4_999));
        assert!(map.get(7).is_none() && map.len() == 0);
    }

    #[test]
    fn an_entry_takes_12_bytes() {
        assert_eq!(size_of::<(u32, Entry)>(), 12);
    }
}
