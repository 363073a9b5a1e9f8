//! Which rows of a chunk are live.

use arrow::array::BooleanArray;
use arrow::buffer::{BooleanBuffer, Buffer};

const WORD: usize = 64;

/// A growable bitmap; copied when a shared one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    pub(crate) fn push(&mut self, bit: bool) {
        let at = self.len;
        if at.is_multiple_of(WORD) {
            self.words.push(0);
        }
        self.len += 1;
        if let Some(word) = self.words.last_mut() {
            *word |= u64::from(bit) << (at % WORD);
        }
    }

    pub(crate) fn get(&self, at: usize) -> bool {
        let word = self.words.get(at / WORD).copied().unwrap_or(0);
        at < self.len && (word >> (at % WORD)) & 1 == 1
    }

    /// Clears one bit; says whether it was set.
    pub(crate) fn clear(&mut self, at: usize) -> bool {
        let was = self.get(at);
        if was && let Some(word) = self.words.get_mut(at / WORD) {
            *word &= !(1 << (at % WORD));
        }
        was
    }

    /// The positions of set bits, ascending.
    pub(crate) fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = usize::try_from(left.trailing_zeros()).ok()?;
                if left == 0 {
                    return None;
                }
                left &= left - 1;
                Some(at * WORD + bit)
            })
        })
    }

    pub(crate) fn to_array(&self) -> BooleanArray {
        let buffer = Buffer::from_vec(self.words.clone());
        BooleanArray::new(BooleanBuffer::new(buffer, 0, self.len), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_vector_of_bools(
            mut bits in prop::collection::vec(any::<bool>(), 0..300),
            clears in prop::collection::vec(0usize..320, 0..50),
        ) {
            let mut map = Bitmap::default();
            for bit in &bits {
                map.push(*bit);
            }
            for at in clears {
                let was = bits.get(at).copied().unwrap_or(false);
                prop_assert_eq!(map.clear(at), was);
                if let Some(bit) = bits.get_mut(at) {
                    *bit = false;
                }
            }
            let ones: Vec<usize> = (0..bits.len()).filter(|at| bits[*at]).collect();
            prop_assert_eq!(map.ones().collect::<Vec<_>>(), ones);
            let array = map.to_array();
            prop_assert_eq!(array.len(), bits.len());
            for (at, bit) in bits.iter().enumerate() {
                prop_assert_eq!(map.get(at), *bit);
                prop_assert_eq!(array.value(at), *bit);
            }
        }
    }
}
