//! Random numbers of one render: SHA-256 in counter mode, so that the same seed gives the same ones.

use sha2::{Digest, Sha256};

#[derive(Debug)]
pub(crate) struct Random {
    seed: [u8; 32],
    counter: u64,
    left: Vec<u8>,
}

impl Random {
    pub(crate) fn seeded(seed: [u8; 32]) -> Self {
        Self {
            seed,
            counter: 0,
            left: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.left.len() < count {
            let block = Sha256::new()
                .chain_update(self.seed)
                .chain_update(self.counter.to_le_bytes())
                .finalize();
            self.counter = self.counter.wrapping_add(1);
            self.left.extend_from_slice(&block);
        }
        self.left.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_for_each_seed_however_it_is_read() {
        let mut whole = Random::seeded([7; 32]);
        let mut parts = Random::seeded([7; 32]);
        let whole = whole.take(100);
        let parts = [parts.take(1), parts.take(64), parts.take(35)].concat();
        assert_eq!(whole, parts);
        assert_ne!(whole, Random::seeded([8; 32]).take(100));
        assert_ne!(whole[..32], whole[32..64]);
    }
}
