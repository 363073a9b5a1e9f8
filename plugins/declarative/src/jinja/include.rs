//! Which templates include which.

use crate::bundle::{Bundle, resolve};
use crate::diagnostic::{Diagnostic, Errors};
use std::collections::BTreeSet;

/// Templates that one reaches.
const TEMPLATES: usize = 1000;

/// A template and all that it includes by name.
pub(super) fn all(bundle: &Bundle, path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        if found.len() >= TEMPLATES || !bundle.has(&path) || !found.insert(path.clone()) {
            continue;
        }
        let text = bundle.text(&path).unwrap_or_default();
        open.extend(
            named(&path, &text)
                .into_iter()
                .filter_map(|one| one.path.ok()),
        );
    }
    found
}

/// What is wrong: names that lead nowhere or out of the bundle, and circles.
pub(super) fn check(bundle: &Bundle, path: &str) -> Errors {
    let mut errors = Errors::default();
    let mut way = Vec::new();
    walk(bundle, path, &mut way, &mut BTreeSet::new(), &mut errors);
    errors
}

fn walk(
    bundle: &Bundle,
    path: &str,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
    errors: &mut Errors,
) {
    if done.contains(path) || way.len() > TEMPLATES {
        return;
    }
    let text = match bundle.text(path) {
        Ok(text) => text,
        Err(_) => return,
    };
    way.push(path.to_owned());
    for one in named(path, &text) {
        let place = super::place_of(&text, one.position, one.length);
        let told = |message: String| Diagnostic::new(path, place, message).within(&text);
        match one.path {
            Err(why) => errors.push(told(why)),
            Ok(next) if one.optional && !bundle.has(&next) => {}
            Ok(next) if !bundle.has(&next) => errors.push(told(bundle.missing(&next))),
            Ok(next) => {
                if let Some(from) = way.iter().position(|there| *there == next) {
                    let circle = way.iter().skip(from).map(String::as_str);
                    let circle: Vec<&str> = circle.chain([next.as_str()]).collect();
                    let message = format!("templates include each other: {}", circle.join(" -> "));
                    errors.push(told(message).cure("what calls itself is a macro"));
                } else {
                    walk(bundle, &next, way, done, errors);
                }
            }
        }
    }
    way.pop();
    done.insert(path.to_owned());
}

struct Named {
    path: Result<String, String>,
    position: usize,
    length: usize,
    optional: bool,
}

/// The names in `{% include "x" %}` and its like.
fn named(path: &str, text: &str) -> Vec<Named> {
    let pattern = r#"\{%[-+]?\s*(?:include|extends|import|from)\s+(?:"([^"]*)"|'([^']*)')([^%]*)"#;
    let Ok(pattern) = regex_lite::Regex::new(pattern) else {
        return Vec::new();
    };
    let found = pattern.captures_iter(text).filter_map(|found| {
        let name = found.get(1).or_else(|| found.get(2))?;
        let rest = found.get(3).map_or("", |rest| rest.as_str());
        Some(Named {
            path: resolve(path, name.as_str()),
            position: name.start(),
            length: name.len(),
            optional: rest.contains("ignore missing"),
        })
    });
    found.collect()
}
