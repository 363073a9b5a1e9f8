//! Where rows with one key may be: the candidates of one index entry.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A row's place in its table: it never moves inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) block: u32,
    pub(crate) row: u16,
}

/// Beyond so many candidates they are grouped by block.
const FEW: usize = 8;

/// Candidates, in a shape that is cheap to copy: a reader copies them under the
/// index's lock, so the copy must not depend on how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Postings {
    One(Position),
    Few(Vec<Position>),
    Many(Arc<BTreeMap<u32, Arc<Vec<u16>>>>),
}

impl Postings {
    pub(crate) fn insert(&mut self, position: Position) {
        match self {
            Postings::One(first) if *first == position => {}
            Postings::One(first) => *self = Postings::Few(vec![*first, position]),
            Postings::Few(few) if few.contains(&position) => {}
            Postings::Few(few) if few.len() < FEW => few.push(position),
            Postings::Few(few) => {
                let mut many: BTreeMap<u32, Arc<Vec<u16>>> = BTreeMap::new();
                for position in few.iter().chain([&position]) {
                    add(&mut many, *position);
                }
                *self = Postings::Many(Arc::new(many));
            }
            Postings::Many(many) => add(Arc::make_mut(many), position),
        }
    }

    /// Removes a candidate; says whether none is left.
    pub(crate) fn remove(&mut self, position: Position) -> bool {
        match self {
            Postings::One(only) => return *only == position,
            Postings::Few(few) => {
                few.retain(|candidate| *candidate != position);
                match few.as_slice() {
                    [] => return true,
                    [only] => *self = Postings::One(*only),
                    _ => {}
                }
            }
            Postings::Many(many) => {
                let many = Arc::make_mut(many);
                if let Some(rows) = many.get_mut(&position.block) {
                    let rows = Arc::make_mut(rows);
                    if let Ok(at) = rows.binary_search(&position.row) {
                        rows.remove(at);
                    }
                    if rows.is_empty() {
                        many.remove(&position.block);
                    }
                }
                let (first, second) = {
                    let mut left = positions(many);
                    (left.next(), left.next())
                };
                match (first, second) {
                    (None, _) => return true,
                    (Some(only), None) => *self = Postings::One(only),
                    _ => {}
                }
            }
        }
        false
    }

    /// Calls `visit` with the candidates, ascending inside a block.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Position)) {
        match self {
            Postings::One(only) => visit(*only),
            Postings::Few(few) => few.iter().copied().for_each(visit),
            Postings::Many(many) => positions(many).for_each(visit),
        }
    }
}

fn positions(many: &BTreeMap<u32, Arc<Vec<u16>>>) -> impl Iterator<Item = Position> + '_ {
    many.iter().flat_map(|(block, rows)| {
        rows.iter().map(|row| Position {
            block: *block,
            row: *row,
        })
    })
}

fn add(many: &mut BTreeMap<u32, Arc<Vec<u16>>>, position: Position) {
    let rows = Arc::make_mut(many.entry(position.block).or_default());
    // Rows come in order, so this is a push but for a merge.
    let at = rows.partition_point(|row| *row < position.row);
    if rows.get(at) != Some(&position.row) {
        rows.insert(at, position.row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set(changes in prop::collection::vec(
            (any::<bool>(), 0u32..4, 0u16..8), 0..200,
        )) {
            let mut model: BTreeSet<Position> = BTreeSet::new();
            let mut postings: Option<Postings> = None;
            for (insert, block, row) in changes {
                let position = Position { block, row };
                if insert {
                    model.insert(position);
                    match &mut postings {
                        Some(postings) => postings.insert(position),
                        None => postings = Some(Postings::One(position)),
                    }
                } else {
                    model.remove(&position);
                    if postings.as_mut().is_some_and(|all| all.remove(position)) {
                        postings = None;
                    }
                }
                let mut found = BTreeSet::new();
                if let Some(postings) = &postings {
                    postings.for_each(|position| {
                        assert!(found.insert(position), "twice");
                    });
                }
                prop_assert_eq!(&found, &model);
            }
        }
    }
}
