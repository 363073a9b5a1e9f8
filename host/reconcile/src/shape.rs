//! Field paths packed into bytes, to be compared with often and kept for every child.
//!
//! A [`FieldSet`] is a tree of texts; a tenth of its size, and read as it is, is this: of each node
//! the number of its children, then each child's step and node. Lengths are LEB128.

use crate::fields::{FieldSet, Step, spells};
use crate::intent::encode;
use serde_json::Value;

const FIELD: u8 = 0;
const KEY: u8 = 1;
const ITEM: u8 = 2;
const INDEX: u8 = 3;

/// Packed field paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape(Box<[u8]>);

impl Shape {
    /// The same paths.
    pub(crate) fn of(set: &FieldSet) -> Self {
        let mut out = Vec::with_capacity(512);
        pack(set, &mut out);
        Self(out.into())
    }

    /// A fingerprint of what an object has at these paths: equal for equal values.
    pub(crate) fn values(&self, live: &Value) -> u128 {
        let mut out = Vec::with_capacity(1_024);
        let mut packed = Packed(&self.0);
        let children = packed.length();
        packed.children(children, Some(live), &mut out);
        xxhash_rust::xxh3::xxh3_128(&out)
    }
}

fn pack(set: &FieldSet, out: &mut Vec<u8>) {
    length(set.steps().len(), out);
    for (step, inner) in set.steps() {
        match step {
            Step::Field(name) => {
                out.push(FIELD);
                text(name, out);
            }
            Step::Key(keys) => {
                out.push(KEY);
                length(keys.len(), out);
                for (key, value) in keys {
                    text(key, out);
                    text(value, out);
                }
            }
            Step::Item(value) => {
                out.push(ITEM);
                text(value, out);
            }
            Step::Index(at) => {
                out.push(INDEX);
                length(*at, out);
            }
        }
        pack(inner, out);
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// What is still to be read. It was packed here, so what cannot be read does not occur.
struct Packed<'p>(&'p [u8]);

impl<'p> Packed<'p> {
    /// Writes the values of so many children of a node; absent ones are told from present ones.
    fn children(&mut self, children: usize, live: Option<&Value>, out: &mut Vec<u8>) {
        for _ in 0..children {
            let found = self.step(live);
            out.push(u8::from(found.is_some()));
            match (self.length(), found) {
                (0, Some(value)) => encode(value, out),
                (below, found) => self.children(below, found, out),
            }
        }
    }

    /// The value that the next step leads to.
    fn step<'v>(&mut self, live: Option<&'v Value>) -> Option<&'v Value> {
        let items = live.and_then(Value::as_array);
        match self.byte() {
            FIELD => {
                let name = self.text();
                live.and_then(|live| live.get(name))
            }
            KEY => {
                let keys: Vec<(&str, &str)> = (0..self.length())
                    .map(|_| (self.text(), self.text()))
                    .collect();
                let has = |item: &&Value| {
                    keys.iter()
                        .all(|(key, text)| item.get(*key).is_some_and(|have| spells(have, text)))
                };
                items?.iter().find(has)
            }
            ITEM => {
                let text = self.text();
                items?.iter().find(|item| spells(item, text))
            }
            _ => {
                let at = self.length();
                items?.get(at)
            }
        }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn length(&mut self) -> usize {
        let mut length = 0;
        let mut shift = 0u32;
        loop {
            let byte = self.byte();
            length |= usize::from(byte & 0x7f)
                .checked_shl(shift)
                .unwrap_or_default();
            if byte & 0x80 == 0 {
                return length;
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> &'p str {
        let length = self.length();
        let (text, rest) = self.0.split_at_checked(length).unwrap_or_default();
        self.0 = rest;
        std::str::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    fn set() -> FieldSet {
        FieldSet::parse(&json!({
            "f:a": {},
            "f:b": { ".": {}, "f:c": {}, "f:d": { "f:e": {} } },
            "f:items": {
                "k:{\"name\":\"x\",\"port\":8}": { "f:v": {} },
                "k:{\"name\":\"a\\\"b\"}": { "f:v": {} },
            },
            "f:set": { "v:\"one\"": {}, "v:2": {} },
            "f:at": { "i:1": {} },
        }))
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3i64).prop_map(Value::from),
            prop_oneof![Just("x"), Just("one"), Just("a\"b"), Just("")].prop_map(Value::from),
            Just(json!({ "e": 1 })),
        ]
    }

    /// An object of names that the set knows, some of them missing.
    fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
        let fields = names.iter().map(|_| proptest::option::of(scalar()));
        fields.collect::<Vec<_>>().prop_map(|values| {
            let named = names.iter().zip(values);
            let fields = named.filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            Value::Object(fields.collect::<Map<_, _>>())
        })
    }

    fn live() -> impl Strategy<Value = Value> {
        let list = |item: BoxedStrategy<Value>| prop::collection::vec(item, 0..3);
        (
            proptest::option::of(scalar()),
            object(&["c", "d", "other"]),
            list(object(&["name", "port", "v", "other"]).boxed()),
            list(scalar().boxed()),
            list(scalar().boxed()),
        )
            .prop_map(|(a, b, items, set, at)| {
                let mut live = json!({ "b": b, "items": items, "set": set, "at": at });
                if let (Some(a), Some(fields)) = (a, live.as_object_mut()) {
                    fields.insert("a".into(), a);
                }
                live
            })
    }

    proptest! {
        #[test]
        fn values_are_equal_exactly_where_the_selections_are(one in live(), two in live()) {
            let (set, shape) = (set(), Shape::of(&set()));
            let same = set.select(&one) == set.select(&two);
            prop_assert_eq!(shape.values(&one) == shape.values(&two), same);
        }
    }

    #[test]
    fn long_names_and_far_items_are_read_back() {
        let name = "n".repeat(300);
        let set = FieldSet::parse(&json!({ format!("f:{name}"): { "i:200": {} } }));
        let shape = Shape::of(&set);
        let mut items = vec![json!(0); 201];
        let of = |items: &[Value]| shape.values(&json!({ name.as_str(): items }));
        let before = of(&items);
        items[199] = json!(1);
        assert_eq!(of(&items), before);
        items[200] = json!(1);
        assert_ne!(of(&items), before);
    }
}
