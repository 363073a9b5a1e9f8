//! What is wrong with a bundle, and where: `file:line:column`, the line itself, and the cure.

use std::fmt;

/// Errors that are told at once; the rest is counted.
const TOLD: usize = 20;

/// Characters of a line that are shown.
const SHOWN: usize = 160;

/// A place in a file, counted from 1; line 0 = the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// Characters that are meant; 0 = unknown.
    pub length: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's path in the bundle.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub cure: Option<String>,
    /// The line that is meant.
    pub line: Option<String>,
}

impl Diagnostic {
    /// Something wrong at a place of a file.
    pub fn new(file: &str, place: Place, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            place,
            message: message.into(),
            cure: None,
            line: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// With the line out of the file's text.
    #[must_use]
    pub fn within(mut self, text: &str) -> Self {
        if self.line.is_none() && self.place.line > 0 {
            let line = text.lines().nth(self.place.line - 1);
            self.line = line.map(|line| line.replace('\t', " "));
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            line,
            column,
            length,
        } = self.place;
        match (line, column) {
            (0, _) => write!(f, "{}: {}", self.file, self.message)?,
            (_, 0) => write!(f, "{}:{line}: {}", self.file, self.message)?,
            _ => write!(f, "{}:{line}:{column}: {}", self.file, self.message)?,
        }
        if let Some(text) = self.line.as_deref().filter(|text| !text.trim().is_empty()) {
            // A long line is shown around its place.
            let from = column.saturating_sub(SHOWN / 2 + 1);
            let shown: String = text.chars().skip(from).take(SHOWN).collect();
            let gutter = line.to_string();
            write!(f, "\n{gutter} | {}", shown.trim_end())?;
            if column > 0 {
                let rest = shown.chars().count().saturating_sub(column - 1 - from);
                let marks = "^".repeat(length.clamp(1, rest.max(1)));
                let blank = " ".repeat(gutter.len());
                write!(f, "\n{blank} | {}{marks}", " ".repeat(column - 1 - from))?;
            }
        }
        match &self.cure {
            Some(cure) => write!(f, "\ncure: {cure}"),
            None => Ok(()),
        }
    }
}

/// All that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Errors(Vec<Diagnostic>);

impl Errors {
    /// One more.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    /// All of another list.
    pub fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|one| self.push(one));
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }
}

impl From<Diagnostic> for Errors {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Diagnostic> = self.0.iter().collect();
        sorted.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        for (at, one) in sorted.iter().take(TOLD).enumerate() {
            let between = if at == 0 { "" } else { "\n" };
            write!(f, "{between}{one}")?;
        }
        match sorted.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// The name among `known` that `written` was probably meant to be.
pub fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let small = written.to_lowercase().replace(['_', '-'], "");
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let away = distance(&small, &name.to_lowercase().replace(['_', '-'], ""));
        if best.is_none_or(|(least, _)| away < least) {
            best = Some((away, name));
        }
    }
    let near = |away: usize| away <= 2.min(written.chars().count() / 2);
    best.filter(|(away, _)| near(*away)).map(|(_, name)| name)
}

/// Edits between two words, a swap of neighbours being one.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, from) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let get = |row: &Vec<usize>, at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let kept = get(&last, j) + usize::from(from != *to);
            let mut least = kept.min(get(&last, j + 1) + 1).min(get(&row, j) + 1);
            let swapped = j > 0 && previous == Some(*to) && b.get(j - 1) == Some(&from);
            if swapped {
                least = least.min(get(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
        previous = Some(from);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_line_and_marks_the_place() {
        let place = Place {
            line: 2,
            column: 5,
            length: 5,
        };
        let one = Diagnostic::new("operator.yaml", place, "unknown key `chrat`")
            .cure("did you mean `chart`?")
            .within("- cmd: helm\n    chrat: x\n");
        assert_eq!(
            one.to_string(),
            "operator.yaml:2:5: unknown key `chrat`\n2 |     chrat: x\n  |     ^^^^^\ncure: did you mean `chart`?"
        );
    }

    #[test]
    fn a_long_line_is_shown_around_its_place() {
        let text = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let place = Place {
            line: 1,
            column: 501,
            length: 4,
        };
        let shown = Diagnostic::new("f", place, "m").within(&text).to_string();
        assert!(shown.len() < 400, "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[2].find('^').unwrap();
        assert_eq!(&lines[1][at..at + 4], "HERE");
    }

    #[test]
    fn what_was_meant_is_guessed_only_when_near() {
        let known = ["chart", "values", "when", "kube-apply"];
        assert_eq!(suggestion("chrat", known), Some("chart"));
        assert_eq!(suggestion("kube_apply", known), Some("kube-apply"));
        assert_eq!(suggestion("vlaues", known), Some("values"));
        assert_eq!(suggestion("replicas", known), None);
        assert_eq!(suggestion("x", known), None);
    }
}
