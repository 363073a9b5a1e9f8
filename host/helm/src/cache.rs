//! Responses by the digest of all that they follow from; the least recently used go first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) type Key = [u8; 32];

#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    bytes: usize,
    used: u64,
    responses: HashMap<Key, (u64, Arc<[u8]>)>,
    /// Keys by when they were used last.
    order: BTreeMap<u64, Key>,
}

/// What an entry takes beside its response, about.
const ENTRY: usize = 256;

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            used: 0,
            responses: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&mut self, key: &Key) -> Option<Arc<[u8]>> {
        let (used, response) = self.responses.get_mut(key)?;
        self.order.remove(used);
        self.used = self.used.saturating_add(1);
        *used = self.used;
        self.order.insert(self.used, *key);
        Some(Arc::clone(response))
    }

    pub(crate) fn put(&mut self, key: Key, response: Arc<[u8]>) {
        let bytes = size(&response);
        if bytes > self.limit || self.get(&key).is_some() {
            return;
        }
        self.used = self.used.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.responses.insert(key, (self.used, response));
        self.order.insert(self.used, key);
        self.shrink(self.limit);
    }

    /// Lets go until no more than this is left.
    pub(crate) fn shrink(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            if let Some((_, response)) = self.responses.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(size(&response));
            }
        }
    }
}

fn size(response: &[u8]) -> usize {
    response.len().saturating_add(ENTRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(bytes: usize) -> Arc<[u8]> {
        vec![0; bytes - ENTRY].into()
    }

    #[test]
    fn the_least_recently_used_go_first_and_what_is_too_large_is_not_kept() {
        let mut cache = Cache::new(3_000);
        for key in 0..3 {
            cache.put([key; 32], response(1_000));
        }
        assert_eq!(cache.bytes(), 3_000);
        assert!(cache.get(&[0; 32]).is_some());
        cache.put([3; 32], response(500));
        let there: Vec<bool> = (0..4).map(|key| cache.get(&[key; 32]).is_some()).collect();
        assert_eq!(there, [true, false, true, true]);
        assert_eq!(cache.bytes(), 2_500);
        cache.put([4; 32], response(3_001));
        assert!(cache.get(&[4; 32]).is_none());
        cache.put([3; 32], response(900));
        assert_eq!(cache.bytes(), 2_500);
        cache.shrink(0);
        assert_eq!(
            (cache.bytes(), cache.order.len(), cache.responses.len()),
            (0, 0, 0)
        );
    }
}
