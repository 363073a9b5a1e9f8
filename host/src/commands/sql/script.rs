//! Cuts text into statements and commands of the prompt.
//!
//! # Contract
//!
//! A statement ends at `;`, at a command or at the end of the text; not inside of quotes,
//! dollar quotes or comments, as in PostgreSQL. A command begins with a backslash outside of
//! them and ends with its line. Blanks and comments alone are no statement.

/// A part of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// One statement.
    Statement(Statement<'a>),
    /// One command, from its backslash on.
    Command(&'a str),
}

/// One statement and its place in the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// Without the `;`.
    pub(crate) text: &'a str,
    line: usize,
    column: usize,
    /// Whether `;` ended it.
    pub(crate) ended: bool,
}

impl Statement<'_> {
    /// The statement at the place where it stands in its script, so that messages name that place.
    pub(crate) fn in_place(&self) -> String {
        let (lines, blanks) = ("\n".repeat(self.line), " ".repeat(self.column));
        format!("{lines}{blanks}{}", self.text)
    }
}

/// What the scanner is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Code,
    /// `'...'`; with backslash escapes after `E`.
    Text {
        escapes: bool,
    },
    /// `"..."`.
    Name,
    /// `-- ...`.
    Line,
    /// `/* ... */`, which nest.
    Block {
        depth: usize,
    },
    /// `$tag$...$tag$`: the length of the tag with its dollars, and where it began.
    Dollars {
        from: usize,
        length: usize,
    },
}

/// The parts of a script, in order.
pub(crate) fn parts(script: &str) -> Vec<Part<'_>> {
    let mut scanner = Scanner::new(script);
    scanner.run();
    scanner.parts
}

/// Whether the text ends inside of a quote or of a comment that goes on after its line.
pub(crate) fn is_quoted_at_end(script: &str) -> bool {
    let mut scanner = Scanner::new(script);
    scanner.run();
    !matches!(scanner.inside, Inside::Code | Inside::Line)
}

struct Scanner<'a> {
    script: &'a str,
    at: usize,
    inside: Inside,
    /// Where the first character of code of the statement is.
    begin: Option<usize>,
    parts: Vec<Part<'a>>,
}

impl<'a> Scanner<'a> {
    fn new(script: &'a str) -> Self {
        Self {
            script,
            at: 0,
            inside: Inside::Code,
            begin: None,
            parts: Vec::new(),
        }
    }

    fn rest(&self) -> &'a str {
        self.script.get(self.at..).unwrap_or_default()
    }

    fn run(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            match self.inside {
                Inside::Code => self.code(c),
                Inside::Text { escapes: true } if c == '\\' => self.skip(2),
                Inside::Text { .. } => self.until("'", c),
                Inside::Name => self.until("\"", c),
                Inside::Line => self.until("\n", c),
                Inside::Block { depth } => self.block(depth, c),
                Inside::Dollars { from, length } => self.dollars(from, length, c),
            }
        }
        self.end(self.at, false);
    }

    fn code(&mut self, c: char) {
        let rest = self.rest();
        let into = if rest.starts_with("--") {
            Inside::Line
        } else if rest.starts_with("/*") {
            self.at += 2;
            self.inside = Inside::Block { depth: 1 };
            return;
        } else if c == '\'' {
            let escapes = self.is_after_e();
            Inside::Text { escapes }
        } else if c == '"' {
            Inside::Name
        } else if let Some(length) = dollar_tag(rest).filter(|_| !self.is_in_word()) {
            let from = self.at;
            self.begin.get_or_insert(from);
            self.at += length;
            self.inside = Inside::Dollars { from, length };
            return;
        } else {
            return self.plain(c);
        };
        if into != Inside::Line {
            self.begin.get_or_insert(self.at);
        }
        self.at += c.len_utf8();
        self.inside = into;
    }

    fn plain(&mut self, c: char) {
        match c {
            ';' => {
                self.end(self.at, true);
                self.at += 1;
            }
            '\\' => {
                self.end(self.at, false);
                let line = self.rest().lines().next().unwrap_or_default();
                self.parts.push(Part::Command(line.trim_end()));
                self.at += line.len();
            }
            _ => {
                if !c.is_whitespace() {
                    self.begin.get_or_insert(self.at);
                }
                self.at += c.len_utf8();
            }
        }
    }

    /// Goes on until the closing character, which a quote doubles to mean itself.
    fn until(&mut self, close: &str, c: char) {
        if self.rest().starts_with(close) {
            self.inside = Inside::Code;
        }
        self.at += c.len_utf8();
    }

    fn block(&mut self, depth: usize, c: char) {
        let rest = self.rest();
        if rest.starts_with("/*") {
            self.inside = Inside::Block { depth: depth + 1 };
            self.at += 2;
        } else if rest.starts_with("*/") {
            self.inside = match depth {
                1 => Inside::Code,
                _ => Inside::Block { depth: depth - 1 },
            };
            self.at += 2;
        } else {
            self.at += c.len_utf8();
        }
    }

    fn dollars(&mut self, from: usize, length: usize, c: char) {
        let tag = self.script.get(from..from + length).unwrap_or_default();
        if self.rest().starts_with(tag) {
            self.inside = Inside::Code;
            self.at += length;
        } else {
            self.at += c.len_utf8();
        }
    }

    fn skip(&mut self, chars: usize) {
        let skipped = self.rest().chars().take(chars).map(char::len_utf8);
        self.at += skipped.sum::<usize>();
    }

    /// Whether the quote here belongs to `E'...'`.
    fn is_after_e(&self) -> bool {
        let before = self.script.get(..self.at).unwrap_or_default();
        let mut before = before.chars().rev();
        before.next().is_some_and(|c| c == 'e' || c == 'E') && !before.next().is_some_and(is_word)
    }

    /// Whether the character before belongs to a name, which may hold dollars.
    fn is_in_word(&self) -> bool {
        let before = self.script.get(..self.at).unwrap_or_default();
        before.chars().next_back().is_some_and(is_word)
    }

    fn end(&mut self, at: usize, ended: bool) {
        let Some(begin) = self.begin.take() else {
            return;
        };
        let before = self.script.get(..begin).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.parts.push(Part::Statement(Statement {
            text: self.script.get(begin..at).unwrap_or_default().trim_end(),
            line: before.matches('\n').count(),
            column: before.get(line_start..).unwrap_or_default().chars().count(),
            ended,
        }));
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of `$$` or `$tag$` at the beginning; `$1` is a parameter.
fn dollar_tag(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('$')?;
    let end = inner.find('$')?;
    let tag = inner.get(..end)?;
    let fits = tag.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !tag.starts_with(|c: char| c.is_ascii_digit());
    fits.then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn statements(script: &str) -> Vec<String> {
        parts(script)
            .into_iter()
            .map(|part| match part {
                Part::Statement(statement) if statement.ended => format!("{};", statement.text),
                Part::Statement(statement) => statement.text.to_owned(),
                Part::Command(command) => command.to_owned(),
            })
            .collect()
    }

    #[test]
    fn semicolons_end_statements_but_not_inside_of_quotes_and_comments() {
        let cases = [
            ("SELECT 1", vec!["SELECT 1"]),
            ("SELECT 1;", vec!["SELECT 1;"]),
            (" ; ;; \n", vec![]),
            ("-- only this\n/* ; */ ;", vec![]),
            ("SELECT 1; SELECT 2 ;\n", vec!["SELECT 1;", "SELECT 2;"]),
            (
                "SELECT ';', 'it''s;' ; x",
                vec!["SELECT ';', 'it''s;';", "x"],
            ),
            (r"SELECT '\'; SELECT 2", vec![r"SELECT '\';", "SELECT 2"]),
            (
                r"SELECT E'\';'; SELECT 2",
                vec![r"SELECT E'\';';", "SELECT 2"],
            ),
            ("SELECT \"a;\"\"b\"; x", vec!["SELECT \"a;\"\"b\";", "x"]),
            (
                "SELECT 1 -- a; b\n, 2; x",
                vec!["SELECT 1 -- a; b\n, 2;", "x"],
            ),
            (
                "SELECT /* a /* ; */ ; */ 1; x",
                vec!["SELECT /* a /* ; */ ; */ 1;", "x"],
            ),
            ("SELECT $$a;'b$$; x", vec!["SELECT $$a;'b$$;", "x"]),
            (
                "SELECT $t$ $$;$x$ $t$; x",
                vec!["SELECT $t$ $$;$x$ $t$;", "x"],
            ),
            ("SELECT $1; SELECT $2;", vec!["SELECT $1;", "SELECT $2;"]),
            ("SELECT 'open; x", vec!["SELECT 'open; x"]),
        ];
        for (script, wanted) in cases {
            assert_eq!(statements(script), wanted, "{script}");
        }
    }

    #[test]
    fn commands_end_with_their_line_and_end_a_statement() {
        assert_eq!(
            statements("\\x\nSELECT 1 \\watch 2\nSELECT '\\d';\\q"),
            ["\\x", "SELECT 1", "\\watch 2", "SELECT '\\d';", "\\q"]
        );
    }

    #[test]
    fn messages_name_the_place_in_the_script() {
        let script = "SELECT 1; -- ä\n  /* ß */ SELECT x;";
        let Some(Part::Statement(second)) = parts(script).pop() else {
            panic!("no statement");
        };
        assert_eq!(second.in_place(), "\n          SELECT x");
    }

    #[test]
    fn what_is_open_is_known() {
        for open in ["'a", "SELECT \"a", "/* a", "$$ a", "$t$ $$", "E'\\'"] {
            assert!(is_quoted_at_end(open), "{open}");
        }
        for closed in ["'a'", "-- a", "/* a */", "$$ a $$", "", "$1"] {
            assert!(!is_quoted_at_end(closed), "{closed}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_fails(script in r#"[ab'";$\\/*\-\n eE1ä]{0,40}"#) {
            let mut at = 0;
            for part in parts(&script) {
                let text = match part {
                    Part::Statement(statement) => statement.text,
                    Part::Command(command) => command,
                };
                let found = script.get(at..).unwrap().find(text);
                prop_assert!(found.is_some(), "{text:?} is not after {at} in {script:?}");
                at += found.unwrap() + text.len();
            }
        }
    }
}
