//! Uids of a chunk: 16 bytes each when they are canonical UUIDs.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::num::narrow;

/// The groups of a canonical UUID, in hexadecimal digits.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// A column of uids; other texts than canonical UUIDs stand in a side table.
#[derive(Debug, Default)]
pub(crate) struct Uids {
    /// 0 for none and for those in the side table.
    packed: Vec<u128>,
    others: HashMap<u32, Box<str>>,
}

impl Uids {
    /// Appends one; the empty text is none.
    pub(crate) fn push(&mut self, uid: &str) {
        let packed = pack(uid);
        if packed.is_none() && !uid.is_empty() {
            self.others.insert(narrow(self.packed.len()), uid.into());
        }
        self.packed.push(packed.unwrap_or(0));
    }

    pub(crate) fn get(&self, row: usize) -> Option<Cow<'_, str>> {
        match self.packed.get(row).copied() {
            None => None,
            Some(0) => self
                .others
                .get(&narrow(row))
                .map(|uid| Cow::Borrowed(&**uid)),
            Some(packed) => Some(Cow::Owned(unpack(packed))),
        }
    }

    pub(crate) fn is(&self, row: usize, uid: &str) -> bool {
        match pack(uid) {
            Some(packed) => self.packed.get(row) == Some(&packed),
            None => self.get(row).as_deref() == Some(uid),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let others: usize = self.others.values().map(|uid| uid.len() + 24).sum();
        self.packed.capacity() * size_of::<u128>() + others
    }

    pub(crate) fn shrink(&mut self) {
        self.packed.shrink_to_fit();
    }
}

/// The number of a canonical (lower-case, hyphenated, not nil) UUID.
fn pack(uid: &str) -> Option<u128> {
    let mut groups = uid.split('-');
    let mut packed = 0u128;
    for length in GROUPS {
        let group = groups.next().filter(|group| group.len() == length)?;
        for byte in group.bytes() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            packed = packed << 4 | u128::from(digit);
        }
    }
    (groups.next().is_none() && packed != 0).then_some(packed)
}

fn unpack(packed: u128) -> String {
    let digits = format!("{packed:032x}");
    let mut text = String::with_capacity(36);
    let mut at = 0;
    for length in GROUPS {
        if at > 0 {
            text.push('-');
        }
        text.push_str(digits.get(at..at + length).unwrap_or_default());
        at += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_comes_back(uids in prop::collection::vec(prop_oneof![
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[0-9A-Fa-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{11,13}",
            Just("00000000-0000-0000-0000-000000000000".to_owned()),
            any::<String>(),
        ], 0..10)) {
            let mut column = Uids::default();
            for uid in &uids {
                column.push(uid);
            }
            for (row, uid) in uids.iter().enumerate() {
                let expected = (!uid.is_empty()).then_some(uid.as_str());
                let found = column.get(row);
                prop_assert_eq!(found.as_deref(), expected);
                for other in &uids {
                    prop_assert_eq!(column.is(row, other), uid == other && !uid.is_empty());
                }
            }
            prop_assert_eq!(column.get(uids.len()), None);
        }
    }

    #[test]
    fn canonical_uuids_are_packed() {
        let mut column = Uids::default();
        column.push("8d4c1a52-7f5e-4b0e-9d63-0a1b2c3d4e5f");
        assert!(column.others.is_empty());
    }
}
