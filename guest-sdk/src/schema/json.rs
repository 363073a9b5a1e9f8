//! Writes schemas as JSON while compiling.
//!
//! Keys are written in order, so that reading the text and writing it again
//! gives the same text. What a derive macro cannot see of other types is
//! checked here; a mistake is a compile error.

use super::writer::Text;
use super::{Field, Kind, Node, Part, Rule};

/// How many bytes the parts have together.
pub const fn length(parts: &[Part]) -> usize {
    let mut text = Text::<0>::new();
    text.parts(parts);
    text.length
}

/// The parts' text; `N` is its [`length`].
pub const fn bytes<const N: usize>(parts: &[Part]) -> [u8; N] {
    let mut text = Text::<N>::new();
    text.parts(parts);
    text.bytes
}

/// The bytes as text.
pub const fn text(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // They are whole texts, one after another.
        Err(_) => "",
    }
}

impl<const N: usize> Text<N> {
    const fn parts(&mut self, mut parts: &[Part]) {
        while let Some((part, rest)) = parts.split_first() {
            self.part(part);
            parts = rest;
        }
    }

    /// One schema; `more` are fields beside the node's own, `depth` is 1 for a spec or a status.
    pub(super) const fn node(&mut self, node: &Node, more: &[Field], depth: u32) {
        let mut start = true;
        let first = &mut start;
        self.byte(b'{');
        if let Kind::Map(values) = &node.kind {
            self.key(first, "additionalProperties");
            self.node(values, &[], depth + 1);
        }
        if !more.is_empty() {
            // Nothing has looked at a new object yet: without it `helm --wait` takes no status
            // for a good one.
            self.key(first, "default");
            self.raw(r#"{"observedGeneration":-1}"#);
        }
        if !node.description.is_empty() {
            self.key(first, "description");
            self.string(node.description);
        }
        if !node.values.is_empty() {
            self.key(first, "enum");
            self.list(node.values);
        }
        if !node.format.is_empty() {
            self.key(first, "format");
            self.string(node.format);
        }
        if let Kind::List(items) = &node.kind {
            self.key(first, "items");
            self.node(items, &[], depth + 1);
        }
        let (least, most) = match &node.kind {
            Kind::List(_) => ("minItems", "maxItems"),
            Kind::Text => ("minLength", "maxLength"),
            Kind::Map(_) | Kind::Object(_) => ("minProperties", "maxProperties"),
            _ => ("minimum", "maximum"),
        };
        self.limit(first, most, node.max);
        self.limit(first, least, node.min);
        if !node.shape.pattern().is_empty() {
            self.key(first, "pattern");
            self.string(node.shape.pattern());
        }
        self.fields(first, node, more, depth);
        let kind = match &node.kind {
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Text => "string",
            Kind::List(_) => "array",
            Kind::Object(_) | Kind::Map(_) => "object",
            // A status is an object, whatever is in it.
            Kind::Any if !more.is_empty() => "object",
            Kind::Any => "",
        };
        if !kind.is_empty() {
            self.key(first, "type");
            self.string(kind);
        }
        if let Some(key) = map_key(node) {
            self.key(first, "x-kubernetes-list-map-keys");
            self.list(&[key]);
            self.key(first, "x-kubernetes-list-type");
            self.string("map");
        }
        if matches!(node.kind, Kind::Any) {
            self.key(first, "x-kubernetes-preserve-unknown-fields");
            self.raw("true");
        }
        self.rules(first, node);
        self.byte(b'}');
    }

    /// `properties`, in the order of their names, and which of them are required.
    #[expect(clippy::panic, reason = "while compiling: a compile error")]
    const fn fields(&mut self, first: &mut bool, node: &Node, more: &[Field], depth: u32) {
        let own = match &node.kind {
            Kind::Object(fields) => *fields,
            _ => &[],
        };
        if own.is_empty() && more.is_empty() {
            return;
        }
        self.key(first, "properties");
        self.byte(b'{');
        let mut start = true;
        let mut last = "";
        while let Some(field) = after(own, more, last) {
            if depth > 1 && !field.node.column.is_empty() {
                panic!("`column` is for the fields of a spec or a status themselves");
            }
            self.key(&mut start, field.name);
            self.node(&field.node, &[], depth + 1);
            last = field.name;
        }
        self.byte(b'}');
        let mut start = true;
        let mut last = "";
        while let Some(field) = after(own, more, last) {
            last = field.name;
            if !field.required {
                continue;
            }
            if start {
                self.key(first, "required");
            }
            self.byte(if start { b'[' } else { b',' });
            start = false;
            self.string(field.name);
        }
        if !start {
            self.byte(b']');
        }
    }

    /// Rules in CEL: the author's, and those that need a comparison of two values.
    const fn rules(&mut self, first: &mut bool, node: &Node) {
        let mut start = true;
        let mut rules = node.rules;
        while let Some((Rule { rule, message }, rest)) = rules.split_first() {
            self.rule(first, &mut start, &[rule], &[message]);
            rules = rest;
        }
        if node.immutable {
            self.rule(
                first,
                &mut start,
                &["self == oldSelf"],
                &["cannot be changed"],
            );
        }
        if let Kind::Object(mut fields) = node.kind {
            while let Some((field, rest)) = fields.split_first() {
                fields = rest;
                if field.node.immutable && !field.required {
                    let name = field.name;
                    self.rule(
                        first,
                        &mut start,
                        &["has(self.", name, ") == has(oldSelf.", name, ")"],
                        &[name, " cannot be added or removed later"],
                    );
                }
            }
        }
        self.unique(first, &mut start, node);
        if !start {
            self.byte(b']');
        }
    }

    #[expect(clippy::panic, reason = "while compiling: a compile error")]
    const fn unique(&mut self, first: &mut bool, start: &mut bool, node: &Node) {
        let mut names = node.unique;
        if map_key(node).is_some()
            && let Some((_, rest)) = names.split_first()
        {
            names = rest;
        }
        while let Some((name, rest)) = names.split_first() {
            names = rest;
            if node.max.is_none() {
                panic!("`unique` needs `max_items`: the API server bounds what a rule may cost");
            }
            let message = &[*name, " must differ from item to item"];
            if key(node, name).required {
                let rule = &[
                    "self.all(a, self.exists_one(b, b.",
                    name,
                    " == a.",
                    name,
                    "))",
                ];
                self.rule(first, start, rule, message);
            } else {
                let rule = &[
                    "self.all(a, !has(a.",
                    name,
                    ") || self.exists_one(b, has(b.",
                    name,
                    ") && b.",
                    name,
                    " == a.",
                    name,
                    "))",
                ];
                self.rule(first, start, rule, message);
            }
        }
    }

    const fn rule(&mut self, first: &mut bool, start: &mut bool, rule: &[&str], message: &[&str]) {
        if *start {
            self.key(first, "x-kubernetes-validations");
        }
        self.byte(if *start { b'[' } else { b',' });
        *start = false;
        self.raw(r#"{"message":"#);
        self.joined(message);
        self.raw(r#","rule":"#);
        self.joined(rule);
        self.byte(b'}');
    }
}

/// The field that tells the items of a list apart, if one that is always there does.
const fn map_key(node: &Node) -> Option<&'static str> {
    match node.unique.split_first() {
        Some((name, _)) if key(node, name).required => Some(name),
        _ => None,
    }
}

/// The field of a list's items.
#[expect(clippy::panic, reason = "while compiling: a compile error")]
const fn key(list: &Node, name: &str) -> &'static Field {
    let Kind::List(Node {
        kind: Kind::Object(fields),
        ..
    }) = list.kind
    else {
        panic!("`unique` is for a list of objects");
    };
    let mut fields = *fields;
    while let Some((field, rest)) = fields.split_first() {
        if matches!(compare(field.name, name), std::cmp::Ordering::Equal) {
            return field;
        }
        fields = rest;
    }
    panic!("`unique` names a field that the items do not have; use its name in JSON");
}

/// The field whose name comes next after `last`.
const fn after<'a>(own: &'a [Field], more: &'a [Field], last: &str) -> Option<&'a Field> {
    let mut found: Option<&Field> = None;
    let mut lists = [own, more];
    let mut at = 0;
    while at < 2 {
        let rest = if at == 0 {
            &mut lists[0]
        } else {
            &mut lists[1]
        };
        while let Some((field, more)) = rest.split_first() {
            *rest = more;
            let later = matches!(compare(last, field.name), std::cmp::Ordering::Less);
            let nearer = match found {
                None => true,
                Some(found) => matches!(compare(field.name, found.name), std::cmp::Ordering::Less),
            };
            if later && nearer {
                found = Some(field);
            }
        }
        at += 1;
    }
    found
}

/// Order of bytes, as JSON objects are written.
const fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.split_first(), b.split_first()) {
            (None, None) => return Equal,
            (None, Some(_)) => return Less,
            (Some(_), None) => return Greater,
            (Some((x, _)), Some((y, _))) if *x < *y => return Less,
            (Some((x, _)), Some((y, _))) if *x > *y => return Greater,
            (Some((_, rest_a)), Some((_, rest_b))) => {
                a = rest_a;
                b = rest_b;
            }
        }
    }
}
