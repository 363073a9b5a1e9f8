//! Checks a file against the table of keys; all that is wrong is told at once.

use super::{COMMANDS, Key, PROFILE, Type, duration};
use crate::diagnostic::{Diagnostic, Errors, Place, suggestion};
use crate::yaml::{Data, Node};

/// What is wrong with the keys and types of an operator file.
pub fn check(file: &str, text: &str, document: &Node) -> Errors {
    let mut checker = Checker {
        file,
        text,
        errors: Errors::default(),
    };
    if !matches!(document.data, Data::Map(_)) {
        let message = format!(
            "an operator file is a map of profiles, this is {}",
            document.what()
        );
        checker.tell(
            document.place,
            message,
            Some("default:\n  deploy: [...]".to_owned()),
        );
        return checker.errors;
    }
    for (name, profile) in document.entries() {
        let known = PROFILE.iter().map(|key| key.name);
        if known.clone().any(|known| known == name.name) {
            let message = format!("`{}` belongs into a profile", name.name);
            checker.tell(
                name.place,
                message,
                Some("put all keys below `default:`".to_owned()),
            );
            continue;
        }
        checker.keys(
            profile,
            name.place,
            PROFILE.iter(),
            &format!("profile `{}`", name.name),
        );
    }
    checker.errors
}

struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    errors: Errors,
}

impl Checker<'_> {
    fn tell(&mut self, place: Place, message: impl Into<String>, cure: Option<String>) {
        let one = Diagnostic::new(self.file, place, message).within(self.text);
        self.errors.push(match cure {
            Some(cure) => one.cure(cure),
            None => one,
        });
    }

    fn keys<'k>(
        &mut self,
        node: &Node,
        place: Place,
        keys: impl Iterator<Item = &'k Key> + Clone,
        what: &str,
    ) {
        if !matches!(node.data, Data::Map(_)) {
            let names: Vec<&str> = keys.clone().map(|key| key.name).collect();
            let at = if node.data == Data::Null {
                place
            } else {
                node.place
            };
            self.tell(
                at,
                format!("{what} is a map, not {}", node.what()),
                Some(format!("its keys are {}", names.join(", "))),
            );
            return;
        }
        for (name, value) in node.entries() {
            match keys.clone().find(|key| key.name == name.name) {
                Some(key) => self.value(value, name.place, key.takes, key.name),
                None => {
                    let known = keys.clone().map(|key| key.name);
                    let cure = match suggestion(&name.name, known.clone()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
                    };
                    self.tell(
                        name.place,
                        format!("unknown key `{}` in {what}", name.name),
                        Some(cure),
                    );
                }
            }
        }
        for key in keys.filter(|key| key.required && node.get(key.name).is_none()) {
            self.tell(
                place,
                format!("{what} needs `{}`", key.name),
                Some(key.doc.to_owned()),
            );
        }
    }

    fn value(&mut self, node: &Node, place: Place, takes: Type, name: &str) {
        match takes {
            Type::Any | Type::Templated => {}
            Type::Text | Type::Template | Type::Path | Type::Sql => {
                if node.text().is_none() {
                    let cure = match &node.data {
                        Data::Bool(_) | Data::Number(_) => Some("put it in quotes".to_owned()),
                        Data::Map(_) => {
                            Some("text that begins with {{ is put in quotes".to_owned())
                        }
                        _ => None,
                    };
                    self.wrong(node, place, name, "text", cure);
                } else if node.text().is_some_and(|text| text.trim().is_empty())
                    && !matches!(takes, Type::Template)
                {
                    self.tell(node.place, format!("`{name}` is empty"), None);
                }
            }
            Type::Expression => match &node.data {
                Data::Text(text) if text.trim().starts_with("{{") => {
                    let inner = text
                        .trim()
                        .trim_start_matches("{{")
                        .trim_end_matches("}}")
                        .trim();
                    self.tell(
                        node.place,
                        format!("`{name}` is an expression: it needs no braces"),
                        Some(format!("write {name}: {inner}")),
                    );
                }
                Data::Text(_) | Data::Bool(_) | Data::Number(_) => {}
                _ => self.wrong(node, place, name, "an expression", None),
            },
            Type::Bool => {
                if !matches!(node.data, Data::Bool(_)) {
                    self.wrong(node, place, name, "true or false", None);
                }
            }
            Type::Integer => {
                if !matches!(&node.data, Data::Number(number) if number.is_i64()) {
                    self.wrong(node, place, name, "a number without fraction", None);
                }
            }
            Type::Duration => match node.text().map(duration) {
                Some(Some(_)) => {}
                _ => self.wrong(
                    node,
                    place,
                    name,
                    "a duration",
                    Some("like 30s, 5m or 1h30m".to_owned()),
                ),
            },
            Type::Word(words) => self.word(node, place, words, name),
            Type::WordOr(words, keys) => match node.data {
                Data::Map(_) => self.keys(node, place, keys.iter(), &format!("`{name}`")),
                _ => self.word(node, place, words, name),
            },
            Type::List(item) => match &node.data {
                Data::List(items) => {
                    for one in items {
                        self.value(one, one.place, *item, name);
                    }
                }
                _ => self.wrong(
                    node,
                    place,
                    name,
                    "a list",
                    Some("begin each item with `- `".to_owned()),
                ),
            },
            Type::Many(item) => match &node.data {
                Data::List(items) => {
                    for one in items {
                        self.value(one, one.place, *item, name);
                    }
                }
                _ => self.value(node, place, *item, name),
            },
            Type::Map(value) => match &node.data {
                Data::Map(entries) => {
                    for (key, one) in entries {
                        self.value(one, key.place, *value, &key.name);
                    }
                }
                _ => self.wrong(node, place, name, "a map", None),
            },
            Type::Keys(keys) => {
                let what = if name == "maintain" {
                    "a rule".to_owned()
                } else {
                    format!("`{name}`")
                };
                self.keys(node, place, keys.iter(), &what);
            }
            Type::Command => self.command(node, place),
        }
    }

    fn word(&mut self, node: &Node, place: Place, words: &[&str], name: &str) {
        match node.text() {
            Some(word) if words.contains(&word) => {}
            Some(word) => {
                let near = suggestion(word, words.iter().copied());
                let cure = near.map_or_else(
                    || format!("it is one of {}", words.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.tell(
                    node.place,
                    format!("`{name}` cannot be `{word}`"),
                    Some(cure),
                );
            }
            None => self.wrong(
                node,
                place,
                name,
                "a word",
                Some(format!("it is one of {}", words.join(", "))),
            ),
        }
    }

    fn command(&mut self, node: &Node, place: Place) {
        let names = COMMANDS.iter().map(|command| command.name);
        let Some(word) = node.get("cmd") else {
            let all: Vec<&str> = names.collect();
            let at = node.entries().first().map_or(place, |(key, _)| key.place);
            self.tell(
                at,
                "a command needs `cmd`",
                Some(format!("it is one of {}", all.join(", "))),
            );
            return;
        };
        let found = word
            .text()
            .and_then(|word| COMMANDS.iter().find(|command| command.name == word));
        match found {
            Some(command) => {
                let keys: Vec<Key> = command.keys().copied().collect();
                self.keys(
                    node,
                    word.place,
                    keys.iter(),
                    &format!("command `{}`", command.name),
                );
            }
            None => {
                let all: Vec<&str> = names.collect();
                self.word(word, word.place, &all, "cmd");
            }
        }
    }

    fn wrong(&mut self, node: &Node, place: Place, name: &str, wanted: &str, cure: Option<String>) {
        let at = if node.data == Data::Null {
            place
        } else {
            node.place
        };
        self.tell(
            at,
            format!("`{name}` is {wanted}, not {}", node.what()),
            cure,
        );
    }
}
