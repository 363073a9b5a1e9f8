//! From text to values with places.

use super::{Data, Key, Node, resolve};
use crate::diagnostic::{Diagnostic, Errors, Place};
use base64::Engine;
use granit_parser::{Event, Options, Parser, ScalarStyle, Span};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a text.
    pub bytes: usize,
    /// Values in it, those that aliases repeat included.
    pub values: usize,
    /// Levels of nesting.
    pub depth: usize,
}

impl Limits {
    /// For files that people write.
    pub const WRITTEN: Self = Self {
        bytes: 1024 * 1024,
        values: 50_000,
        depth: 64,
    };
    /// For what templates and charts give.
    pub const RENDERED: Self = Self {
        bytes: 8 * 1024 * 1024,
        values: 400_000,
        depth: 64,
    };
}

/// What becomes of a key that is there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// An error.
    Refused,
    /// The last one counts, as Helm has it.
    LastCounts,
}

/// The documents of a text; empty ones are left out.
pub fn documents(
    file: &str,
    text: &str,
    limits: &Limits,
    duplicates: Duplicates,
) -> Result<Vec<Node>, Errors> {
    if text.len() > limits.bytes {
        let message = format!(
            "the YAML has {} bytes; at most {} are read",
            text.len(),
            limits.bytes
        );
        return Err(Diagnostic::new(file, Place::default(), message).into());
    }
    let mut options = Options::default();
    options.emit_anchor_events = false;
    options.emit_unresolved_aliases = true;
    let mut reader = Reader {
        file,
        text,
        limits,
        duplicates,
        values: 0,
        anchors: BTreeMap::new(),
        parser: Parser::new_from_str_with_options(text, options),
    };
    reader.stream().map_err(|one| one.within(text).into())
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    limits: &'a Limits,
    duplicates: Duplicates,
    values: usize,
    /// What an alias repeats, and how many values that is.
    anchors: BTreeMap<usize, (Node, usize)>,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
}

type Read<T> = Result<T, Diagnostic>;

impl<'a> Reader<'a> {
    fn stream(&mut self) -> Read<Vec<Node>> {
        let mut documents = Vec::new();
        loop {
            let Some((event, span)) = self.next()? else {
                return Ok(documents);
            };
            match event {
                Event::DocumentStart(..) => self.anchors.clear(),
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                event => {
                    let node = self.node(event, span, 0)?;
                    if node.data != Data::Null {
                        documents.push(node);
                    }
                }
            }
        }
    }

    fn next(&mut self) -> Read<Option<(Event<'a>, Span)>> {
        // Other crates of a build may ask the parser for comments, so all builds do.
        let mut events =
            (&mut self.parser).filter(|next| !matches!(next, Ok((Event::Comment(..), _))));
        match events.next() {
            None => Ok(None),
            Some(Ok(next)) => Ok(Some(next)),
            Some(Err(error)) => {
                let at = error.marker();
                let place = Place {
                    line: at.line(),
                    column: at.col() + 1,
                    length: 1,
                };
                let text = error.to_string();
                // The place is told apart.
                let message = text.split(" at char ").next().unwrap_or(&text);
                let message = message.split(" at byte ").next().unwrap_or(message);
                let one = self.error(place, format!("this is no YAML: {message}"));
                Err(self.explained(one))
            }
        }
    }

    /// The mistakes that most often make YAML unreadable.
    fn explained(&self, one: Diagnostic) -> Diagnostic {
        let lines = || self.text.lines();
        let Some(line) = lines().nth(one.place.line.saturating_sub(1)) else {
            return one;
        };
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        if indent.contains('\t') {
            return one.cure("indent with spaces: a tab is not allowed here");
        }
        let bare = |line: &str| line.contains(": {{") || line.trim_start().starts_with("- {{");
        if bare(line) || line.contains("{%") {
            return one.cure("this file is read as YAML: quote what begins with {{");
        }
        one
    }

    fn error(&self, place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.file, place, message)
    }

    fn count(&mut self, values: usize, place: Place) -> Read<()> {
        self.values = self.values.saturating_add(values);
        if self.values > self.limits.values {
            let message = format!("more than {} values", self.limits.values);
            let one = self.error(place, message);
            return Err(if values > 1 {
                one.cure("aliases repeat what they stand for: write less of it")
            } else {
                one.cure("split the file")
            });
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Read<Node> {
        let place = place(&span);
        if depth > self.limits.depth {
            let message = format!("nested deeper than {} levels", self.limits.depth);
            return Err(self.error(place, message));
        }
        let before = self.values;
        let (anchor, node) = match event {
            Event::Alias(id) => return self.alias(id, place),
            Event::UnresolvedAlias(name) => {
                let message = format!("no anchor `&{name}` stands before this alias");
                return Err(self.error(place, message));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, place)?;
                let tag = tag.as_ref().map(|tag| tag.to_string());
                let data = self.scalar(text, style, tag.as_deref(), place)?;
                let plain = style == ScalarStyle::Plain && span.start.line() == span.end.line();
                (anchor, Node { place, data, plain })
            }
            Event::SequenceStart(_, anchor, _) => {
                self.count(1, place)?;
                let mut items = Vec::new();
                loop {
                    match self.within(place)? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (
                    anchor,
                    Node {
                        place,
                        data: Data::List(items),
                        plain: false,
                    },
                )
            }
            Event::MappingStart(_, anchor, _) => {
                self.count(1, place)?;
                let entries = self.map(place, depth)?;
                (
                    anchor,
                    Node {
                        place,
                        data: Data::Map(entries),
                        plain: false,
                    },
                )
            }
            other => return Err(self.error(place, format!("this is no YAML: {other:?}"))),
        };
        if anchor > 0 {
            let values = self.values - before;
            self.anchors.insert(anchor, (node.clone(), values));
        }
        Ok(node)
    }

    fn within(&mut self, open: Place) -> Read<(Event<'a>, Span)> {
        match self.next()? {
            Some(next) => Ok(next),
            None => Err(self.error(open, "this is never closed")),
        }
    }

    fn alias(&mut self, id: usize, place: Place) -> Read<Node> {
        let Some(values) = self.anchors.get(&id).map(|(_, values)| *values) else {
            return Err(self.error(place, "this alias stands inside what it repeats"));
        };
        // Counted before it is copied.
        self.count(values.max(2), place)?;
        let node = self.anchors.get(&id).map(|(node, _)| node.clone());
        node.map(|node| Node { place, ..node })
            .ok_or_else(|| self.error(place, "this alias stands inside what it repeats"))
    }

    fn map(&mut self, open: Place, depth: usize) -> Read<Vec<(Key, Node)>> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.within(open)?;
            if event == Event::MappingEnd {
                break;
            }
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.key(event, span, depth)?;
            let (event, span) = self.within(open)?;
            let value = self.node(event, span, depth + 1)?;
            if merge {
                merged.push((key.place, value));
                continue;
            }
            if !seen.insert(key.name.clone()) {
                if self.duplicates == Duplicates::Refused {
                    let message = format!("`{}` is there twice", key.name);
                    return Err(self.error(key.place, message).cure("keep one of them"));
                }
                entries.retain(|(there, _)| there.name != key.name);
            }
            entries.push((key, value));
        }
        for (place, value) in merged {
            let sources = match &value.data {
                Data::Map(_) => vec![&value],
                Data::List(items) => items.iter().collect(),
                _ => Vec::new(),
            };
            if sources.is_empty() || sources.iter().any(|one| !matches!(one.data, Data::Map(_))) {
                return Err(self.error(place, "`<<` takes a map or a list of maps"));
            }
            for (key, value) in sources.into_iter().flat_map(Node::entries) {
                if seen.insert(key.name.clone()) {
                    entries.push((key.clone(), value.clone()));
                }
            }
        }
        Ok(entries)
    }

    fn key(&mut self, event: Event<'a>, span: Span, depth: usize) -> Read<Key> {
        let at = place(&span);
        // As written: `y`, `on` and `080` are names where they are keys.
        let written = match &event {
            Event::Scalar(text, ..) => Some(text.to_string()),
            _ => None,
        };
        let node = self.node(event, span, depth + 1)?;
        let name = match (written, node.data) {
            (Some(text), _) | (None, Data::Text(text)) => text,
            (None, Data::Number(number)) => number.to_string(),
            (None, Data::Bool(value)) => value.to_string(),
            (None, Data::Null) => "null".to_owned(),
            (None, Data::List(_) | Data::Map(_)) => {
                return Err(self
                    .error(at, "a list or a map cannot be a key")
                    .cure("a value that begins with {{ is quoted, unless the file is a template"));
            }
        };
        Ok(Key { name, place: at })
    }

    fn scalar(
        &self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<&str>,
        place: Place,
    ) -> Read<Data> {
        let tag = tag.map(|tag| tag.trim_start_matches("tag:yaml.org,2002:"));
        let tag = tag.map(|tag| tag.trim_start_matches('!'));
        let wrong = |what: &str| self.error(place, format!("`{text}` is no {what}"));
        let resolved = match tag {
            Some("str") => return Ok(Data::Text(text.into_owned())),
            Some("binary") => {
                let packed: String = text.split_whitespace().collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
                let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                return text.map(Data::Text).ok_or_else(|| wrong("base64 of text"));
            }
            Some("int" | "float") => match resolve(&text) {
                number @ Value::Number(_) => number,
                _ => return Err(wrong("number")),
            },
            Some("bool") => match resolve(&text) {
                value @ Value::Bool(_) => value,
                _ => return Err(wrong("boolean")),
            },
            Some("null") => Value::Null,
            _ if style == ScalarStyle::Plain => {
                let odd = text.trim_start_matches(['+', '-']).to_lowercase();
                if odd == ".inf" || odd == ".nan" {
                    let one = self.error(place, format!("`{text}` is no number that JSON has"));
                    return Err(one.cure("quote it"));
                }
                resolve(&text)
            }
            _ => return Ok(Data::Text(text.into_owned())),
        };
        Ok(match resolved {
            Value::Null => Data::Null,
            Value::Bool(value) => Data::Bool(value),
            Value::Number(value) => Data::Number(value),
            _ => Data::Text(text.into_owned()),
        })
    }
}

fn place(span: &Span) -> Place {
    let one_line = span.start.line() == span.end.line();
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
        length: if one_line {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Vec<Value>, String> {
        documents("f.yaml", text, &Limits::WRITTEN, Duplicates::Refused)
            .map(|nodes| nodes.iter().map(Node::value).collect())
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn documents_are_read_and_empty_ones_left_out() {
        assert_eq!(
            read("a: 1\n---\n# nothing\n---\nb: [x, 2]\n...\n"),
            Ok(vec![json!({"a": 1}), json!({"b": ["x", 2]})])
        );
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn anchors_merge_keys_tags_and_odd_keys_are_read() {
        let text = "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nlist: [*b]\n8080: !!str 5\nyes: |\n  a\n  b\n";
        assert_eq!(
            read(text),
            Ok(vec![json!({
                "base": {"x": 1, "y": 2}, "use": {"y": 3, "x": 1}, "list": [{"x": 1, "y": 2}],
                "8080": "5", "yes": "a\nb\n",
            })])
        );
    }

    #[test]
    fn places_are_those_of_the_file() {
        let nodes = documents(
            "f",
            "a:\n  - cmd: é x\n",
            &Limits::WRITTEN,
            Duplicates::Refused,
        );
        let nodes = nodes.unwrap();
        let command = &nodes[0].get("a").unwrap().items()[0];
        let (key, value) = &command.entries()[0];
        assert_eq!(
            (key.place.line, key.place.column, key.place.length),
            (2, 5, 3)
        );
        assert_eq!(
            (value.place.line, value.place.column, value.place.length),
            (2, 10, 3)
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            (
                "a: 1\na: 2\n",
                "f.yaml:2:1: `a` is there twice\n2 | a: 2\n  | ^\ncure: keep one of them",
            ),
            (
                "a: *b\n",
                "f.yaml:1:4: no anchor `&b` stands before this alias\n1 | a: *b\n  |    ^^",
            ),
            (
                "a: .inf\n",
                "f.yaml:1:4: `.inf` is no number that JSON has\n1 | a: .inf\n  |    ^^^^\ncure: quote it",
            ),
            (
                "? [a]\n: b\n",
                "f.yaml:1:3: a list or a map cannot be a key",
            ),
            ("a: [1\nb: 2", "f.yaml:"),
            ("a:\n\tb: 1\n", "f.yaml:2:"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
        assert!(
            read("a:\n\tb: 1\n")
                .unwrap_err()
                .contains("cure: indent with spaces")
        );
    }

    #[test]
    fn a_bomb_of_aliases_ends_before_it_goes_off() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        let told = read(&text).unwrap_err();
        assert!(told.starts_with("f.yaml:5:"), "{told}");
        assert!(told.contains("more than 50000 values"), "{told}");
        assert!(
            told.ends_with("cure: aliases repeat what they stand for: write less of it"),
            "{told}"
        );
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(
            read(&deep)
                .unwrap_err()
                .contains("nested deeper than 64 levels")
        );
        let block: String = (0..100).map(|n| format!("{}- \n", " ".repeat(n))).collect();
        assert!(
            read(&block).unwrap_err().contains("nested"),
            "{:?}",
            read(&block)
        );
        let deeper = "[".repeat(100_000);
        assert!(read(&deeper).is_err());
        let large = format!("a: {}", "x".repeat(Limits::WRITTEN.bytes));
        assert_eq!(
            read(&large).unwrap_err(),
            "f.yaml: the YAML has 1048579 bytes; at most 1048576 are read"
        );
    }

    #[test]
    fn an_alias_in_its_own_anchor_is_an_error() {
        let told = read("a: &a [*a]\n").unwrap_err();
        assert!(told.contains("inside what it repeats"), "{told}");
    }
}
