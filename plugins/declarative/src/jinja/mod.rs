//! Jinja: templates over the context, safe as YAML, strict, and bounded.
//!
//! # Limits
//! Fuel bounds steps and data of one rendering, [`OUTPUT`] what comes out of it. A template sees the
//! bundle's templates and the context, and nothing else: no files outside, no time, no randomness.

mod filters;
mod include;
mod whole;

use crate::bundle::{Bundle, resolve};
use crate::diagnostic::{Diagnostic, Errors, Place, suggestion};
use crate::yaml;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, ErrorKind, Output, State, UndefinedBehavior};
use serde_json::Value;
use std::fmt::Write;

/// Steps, and 64 bytes of data, that one rendering may use.
const FUEL: u64 = 400_000;

/// Bytes that one rendering may give.
pub const OUTPUT: usize = 2 * 1024 * 1024;

/// Templates in templates in templates.
const DEPTH: usize = 100;

/// What templates and expressions see.
#[derive(Debug, Clone)]
pub struct Context {
    document: Value,
    value: minijinja::Value,
}

impl Context {
    /// A context with these names.
    pub fn new(document: Value) -> Self {
        let value = minijinja::Value::from(Serde(&document));
        Self { document, value }
    }

    /// The context with one more name, or another value for it.
    #[must_use]
    pub fn with(&self, name: &str, value: Value) -> Self {
        let mut document = self.document.clone();
        if let Some(map) = document.as_object_mut() {
            map.insert(name.to_owned(), value);
        }
        Self::new(document)
    }

    /// What is at a path of names, as JSON.
    pub fn document(&self) -> &Value {
        &self.document
    }
}

/// Renders a bundle's templates.
pub struct Jinja {
    environment: Environment<'static>,
    bundle: Bundle,
}

impl std::fmt::Debug for Jinja {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jinja").finish_non_exhaustive()
    }
}

/// A piece of a file that is a template or an expression of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: String,
    /// Where it begins in the file.
    pub place: Place,
    /// The text.
    pub text: String,
    /// Columns in the text are columns in the file.
    pub plain: bool,
}

impl Jinja {
    /// For the templates of a bundle.
    pub fn new(bundle: &Bundle) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .keep_trailing_newline(true)
                .build()
                .unwrap_or_default(),
        );
        environment.set_debug(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(format);
        environment.set_path_join_callback(|name, parent| {
            resolve(parent, name)
                .unwrap_or_else(|_| name.to_owned())
                .into()
        });
        minijinja_contrib::add_to_environment(&mut environment);
        filters::add(&mut environment);
        let files = bundle.clone();
        environment.set_loader(move |name| {
            let refuse = |why: String| minijinja::Error::new(ErrorKind::InvalidOperation, why);
            let path = resolve("", name).map_err(refuse)?;
            let text = files.text(&path).map_err(refuse)?;
            Ok(Some(if is_yaml(&path) {
                whole::rewrite(&text).0
            } else {
                text
            }))
        });
        Self {
            environment,
            bundle: bundle.clone(),
        }
    }

    /// What is wrong with a template, and with those that it includes, before it is rendered.
    pub fn check(&self, path: &str) -> Errors {
        let mut errors = include::check(&self.bundle, path);
        for path in include::all(&self.bundle, path) {
            if let Err(error) = self.environment.get_template(&path) {
                errors.push(self.explained(&error, &path, None));
            }
        }
        errors
    }

    /// Whether a template, or one that it includes, may read this name of the context.
    pub fn mentions(&self, path: &str, name: &str) -> bool {
        include::all(&self.bundle, path).iter().any(|path| {
            let template = self.environment.get_template(path);
            template.is_ok_and(|template| template.undeclared_variables(false).contains(name))
        })
    }

    /// The text that a file gives.
    pub fn file(&self, path: &str, context: &Context) -> Result<String, Errors> {
        let failed = |error: minijinja::Error| {
            Errors::from(self.explained(&error, path, Some(&context.document)))
        };
        let template = self.environment.get_template(path).map_err(failed)?;
        let text = template.render(context.value.clone()).map_err(failed)?;
        if text.len() > OUTPUT {
            return Err(too_large(path, Place::default(), text.len()).into());
        }
        Ok(text)
    }

    /// The text that a template in a YAML file gives.
    pub fn text(&self, source: &Source, context: &Context) -> Result<String, Errors> {
        let failed = |error: minijinja::Error| self.within(&error, source, Some(&context.document));
        let template = self
            .environment
            .template_from_named_str(&source.file, &source.text);
        let text = template.and_then(|template| template.render(context.value.clone()));
        let text = text.map_err(failed)?;
        if text.len() > OUTPUT {
            return Err(too_large(&source.file, source.place, text.len()).into());
        }
        Ok(text)
    }

    /// The value of an expression.
    pub fn value(&self, source: &Source, context: &Context) -> Result<Value, Errors> {
        let failed = |error: minijinja::Error| self.within(&error, source, Some(&context.document));
        let expression = self.environment.compile_expression(&source.text);
        let value = expression.and_then(|expression| expression.eval(context.value.clone()));
        let value = value.map_err(failed)?;
        if value.is_undefined() {
            let error =
                minijinja::Error::new(ErrorKind::UndefinedError, source.text.trim().to_owned());
            return Err(failed(error));
        }
        serde_json::to_value(&value).map_err(|error| {
            let error = minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
            failed(error)
        })
    }

    /// Whether an expression holds, as `{% if %}` has it.
    pub fn holds(&self, source: &Source, context: &Context) -> Result<bool, Errors> {
        let failed = |error: minijinja::Error| self.within(&error, source, Some(&context.document));
        let expression = self.environment.compile_expression(&source.text);
        let value = expression.and_then(|expression| expression.eval(context.value.clone()));
        Ok(value.map_err(failed)?.is_true())
    }

    /// What is wrong with an expression before it is evaluated.
    pub fn check_expression(&self, source: &Source) -> Errors {
        match self.environment.compile_expression(&source.text) {
            Ok(_) => Errors::default(),
            Err(error) => self.within(&error, source, None),
        }
    }

    /// What is wrong with a template in a YAML file before it is rendered.
    pub fn check_text(&self, source: &Source) -> Errors {
        match self
            .environment
            .template_from_named_str(&source.file, &source.text)
        {
            Ok(_) => Errors::default(),
            Err(error) => self.within(&error, source, None),
        }
    }

    /// Whether a template in a YAML file may read this name of the context.
    pub fn text_mentions(&self, source: &Source, name: &str) -> bool {
        let template = self
            .environment
            .template_from_named_str(&source.file, &source.text);
        template.is_ok_and(|template| template.undeclared_variables(false).contains(name))
    }

    /// Whether an expression may read this name of the context.
    pub fn expression_mentions(&self, source: &Source, name: &str) -> bool {
        let expression = self.environment.compile_expression(&source.text);
        expression.is_ok_and(|expression| expression.undeclared_variables(false).contains(name))
    }

    /// An error of a file's template, in the file's own places.
    fn explained(
        &self,
        error: &minijinja::Error,
        path: &str,
        context: Option<&Value>,
    ) -> Diagnostic {
        let error = innermost(error);
        let file = error
            .name()
            .filter(|name| self.bundle.has(name))
            .unwrap_or(path);
        let text = self.bundle.text(file).unwrap_or_default();
        let edits = if is_yaml(file) {
            whole::rewrite(&text).1
        } else {
            whole::Edits::default()
        };
        let range = error.range().map(|range| {
            let (from, to) = (edits.original(range.start), edits.original(range.end));
            filtered(error, &text, trimmed(&text, from..to.max(from)))
        });
        let place = match &range {
            Some(range) => place_of(&text, range.start, range.len()),
            None => Place {
                line: error.line().unwrap_or_default(),
                ..Place::default()
            },
        };
        let meant = range.and_then(|range| text.get(range)).unwrap_or_default();
        message(error, file, place, meant, context).within(&text)
    }

    /// An error of a template in a YAML file, in that file's places.
    fn within(&self, error: &minijinja::Error, source: &Source, context: Option<&Value>) -> Errors {
        let error = innermost(error);
        // One that it includes has its own places.
        if error
            .name()
            .is_some_and(|name| name != source.file && self.bundle.has(name))
        {
            return self.explained(error, &source.file, context).into();
        }
        let range = error
            .range()
            .map(|range| filtered(error, &source.text, range));
        let meant = range
            .clone()
            .and_then(|range| source.text.get(range))
            .unwrap_or_default();
        let mut place = source.place;
        if let Some(range) = range.filter(|_| source.plain) {
            let before = source.text.get(..range.start).unwrap_or_default();
            place.column += before.chars().count();
            place.length = meant.chars().count();
        }
        let meant = if meant.is_empty() {
            source.text.as_str()
        } else {
            meant
        };
        let text = self.bundle.text(&source.file).unwrap_or_default();
        message(error, &source.file, place, meant, context)
            .within(&text)
            .into()
    }
}

/// The expression, if a text is one in braces and nothing else.
pub fn single(text: &str) -> Option<&str> {
    whole::single(text.trim())
}

fn is_yaml(path: &str) -> bool {
    let path = path
        .trim_end_matches(".j2")
        .trim_end_matches(".jinja")
        .trim_end_matches(".jinja2");
    path.ends_with(".yaml") || path.ends_with(".yml")
}

fn innermost(error: &minijinja::Error) -> &minijinja::Error {
    let mut innermost = error;
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(error) = source.downcast_ref::<minijinja::Error>() {
            innermost = error;
        }
        next = source.source();
    }
    innermost
}

/// The range without blanks around it.
fn trimmed(text: &str, range: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let within = text.get(range.clone()).unwrap_or_default();
    let mut from = range.start + (within.len() - within.trim_start().len());
    let to = from + within.trim().len();
    // Of `a.b.c` only what comes after the last value is named: told is all of it.
    if within.trim_start().starts_with('.') {
        let before = text.get(..from).unwrap_or_default();
        let path = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.'));
        from = before.rfind(path).map_or(0, |at| at + 1);
    }
    from..to
}

/// Of a filter that was given nothing: what was given to it, if that is a path.
fn filtered(
    error: &minijinja::Error,
    text: &str,
    range: std::ops::Range<usize>,
) -> std::ops::Range<usize> {
    let before = text.get(..range.start).unwrap_or_default().trim_end();
    let given = before.strip_suffix('|').map(str::trim_end);
    let undefined = error.kind() == ErrorKind::UndefinedError;
    let Some(given) = given.filter(|_| undefined) else {
        return range;
    };
    let outside = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.'));
    let from = given
        .char_indices()
        .rfind(|(_, c)| outside(*c))
        .map_or(0, |(at, c)| at + c.len_utf8());
    match given
        .get(from..)
        .is_some_and(|path| path_in(path).is_some())
    {
        true => from..given.len(),
        false => range,
    }
}

fn too_large(file: &str, place: Place, bytes: usize) -> Diagnostic {
    let message = format!("it renders to {bytes} bytes; at most {OUTPUT} are taken");
    Diagnostic::new(file, place, message).cure("render less, or split it into several files")
}

fn place_of(text: &str, position: usize, length: usize) -> Place {
    let before = text.get(..position).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = text.get(position..position + length).unwrap_or_default();
    Place {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        length: rest.split('\n').next().unwrap_or_default().chars().count(),
    }
}

/// What an error means to the author of a template.
fn message(
    error: &minijinja::Error,
    file: &str,
    place: Place,
    meant: &str,
    context: Option<&Value>,
) -> Diagnostic {
    let detail = error.detail().unwrap_or_default();
    let told = |message: String| Diagnostic::new(file, place, message);
    match error.kind() {
        ErrorKind::UndefinedError => {
            let path = path_in(meant);
            let name = path.as_deref().unwrap_or(meant.trim());
            let one = told(if name.is_empty() {
                "an undefined value".to_owned()
            } else {
                format!("`{name}` is undefined")
            });
            match path
                .as_deref()
                .zip(context)
                .and_then(|(path, context)| cure(path, context))
            {
                Some(cure) => one.cure(cure),
                None => one.cure("`| default(...)` says what stands in for it"),
            }
        }
        ErrorKind::OutOfFuel => told("the template does too much: it ran out of fuel".to_owned())
            .cure("a loop is too long, or a text too large: render less"),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
            let name = detail.split(' ').nth(1).unwrap_or_default();
            let one = told(error.kind().to_string() + ": " + detail);
            match suggestion(name, filters::NAMES.iter().copied()) {
                Some(near) => one.cure(format!("did you mean `{near}`?")),
                None => one,
            }
        }
        ErrorKind::TemplateNotFound => told(detail.to_owned()),
        ErrorKind::InvalidOperation if detail.contains("recursion limit") => told(format!(
            "templates or macros call each other more than {DEPTH} levels deep"
        ))
        .cure("one that calls itself has to end"),
        ErrorKind::InvalidOperation => told(detail.to_owned()),
        kind if detail.is_empty() => told(kind.to_string()),
        kind => told(format!("{kind}: {detail}")),
    }
}

/// The dotted path in what was meant: `cr.spec.x` of ` cr.spec.x | upper `.
fn path_in(meant: &str) -> Option<String> {
    let pattern = regex_lite::Regex::new(r"^[\s(]*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)").ok()?;
    let found = pattern.captures(meant)?.get(1)?.as_str().to_owned();
    Some(found)
}

/// Where a path ends in the context, and what is there instead.
fn cure(path: &str, context: &Value) -> Option<String> {
    let mut value = context;
    let mut walked = String::new();
    for name in path.split('.') {
        let map = value.as_object()?;
        if let Some(next) = map.get(name) {
            value = next;
            let _ = write!(walked, "{}{name}", if walked.is_empty() { "" } else { "." });
            continue;
        }
        let keys = map.keys().map(String::as_str);
        let near = suggestion(name, keys.clone());
        let place = if walked.is_empty() {
            "here".to_owned()
        } else {
            format!("in `{walked}`")
        };
        if let Some(near) = near {
            return Some(format!("did you mean `{near}`?"));
        }
        let all: Vec<&str> = keys.take(12).collect();
        return Some(if all.is_empty() {
            format!("{place} is nothing; `| default(...)` says what stands in for it")
        } else {
            format!(
                "{place} are {}; `| default(...)` says what stands in for it",
                all.join(", ")
            )
        });
    }
    None
}

/// How values become text: what YAML means by them.
fn format(
    out: &mut Output<'_>,
    _: &mut State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    let written = match value.kind() {
        ValueKind::Undefined => return Ok(()),
        ValueKind::None => out.write_str("null"),
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let json = serde_json::to_value(value).map_err(|error| {
                minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
            })?;
            out.write_str(&yaml::flow(&json))
        }
        _ => match value.as_str() {
            Some(text) => out.write_str(text),
            None => write!(out, "{value}"),
        },
    };
    written.map_err(minijinja::Error::from)
}

#[cfg(test)]
mod tests;
