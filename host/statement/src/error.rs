//! What is wrong with a statement, where, and what to do about it.

use sqlparser::tokenizer::{Location, Span};

/// A place in the statement's text. Both count from 1; 0 means "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character within the line.
    pub column: u64,
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self {
            line: location.line,
            column: location.column,
        }
    }
}

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        span.start.into()
    }
}

/// Why a kind of statement is not answered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// INSERT, UPDATE, DELETE, APPLY, MERGE, TRUNCATE.
    Write,
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ...
    Transaction,
    /// SET, RESET, SHOW, DISCARD, ...
    Session,
    /// COPY.
    Copy,
    /// CREATE, ALTER, DROP, GRANT, ...
    Definition,
    /// Anything else that is no SELECT.
    Other,
}

/// A statement that is not answered. Trying it again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}{}", place(.position), remedy(.cure))]
pub struct StatementError {
    /// Where.
    pub position: Position,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to write instead, where that is known.
    pub cure: Option<String>,
    /// Set when the statement is of a kind that is not answered.
    pub refused: Option<Refused>,
}

fn place(position: &Position) -> String {
    if position.line == 0 {
        String::new()
    } else {
        format!("line {}, column {}: ", position.line, position.column)
    }
}

fn remedy(cure: &Option<String>) -> String {
    cure.as_ref()
        .map(|cure| format!(" ({cure})"))
        .unwrap_or_default()
}

impl StatementError {
    pub(crate) fn new(at: impl Into<Position>, message: impl Into<String>) -> Self {
        Self {
            position: at.into(),
            message: message.into().replace(crate::protect::MARK, ""),
            cure: None,
            refused: None,
        }
    }

    pub(crate) fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    pub(crate) fn refused(mut self, refused: Refused) -> Self {
        self.refused = Some(refused);
        self
    }

    /// The message with the line it is about and a caret under the place.
    pub fn render(&self, sql: &str) -> String {
        let mut text = format!("error: {}\n", self.message);
        let line_number = usize::try_from(self.position.line).unwrap_or(0);
        if let Some(line) = line_number
            .checked_sub(1)
            .and_then(|index| sql.lines().nth(index))
        {
            let gutter = self.position.line.to_string();
            let before = usize::try_from(self.position.column)
                .unwrap_or(1)
                .saturating_sub(1);
            // Tabs are kept so that the caret stands under its character.
            let pad: String = line
                .chars()
                .take(before)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let blank = " ".repeat(gutter.len());
            text.push_str(&format!("{gutter} | {line}\n{blank} | {pad}^\n"));
        }
        if let Some(cure) = &self.cure {
            text.push_str(&format!("cure: {cure}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let error = StatementError::new(Position { line: 2, column: 4 }, "no such column")
            .cure("say which one");
        insta::assert_snapshot!(error.render("SELECT\n\ta, bad\nFROM x"), @r"
        error: no such column
        2 | 	a, bad
          | 	  ^
        cure: say which one
        ");
        assert_eq!(
            error.to_string(),
            "line 2, column 4: no such column (say which one)"
        );
    }

    #[test]
    fn an_unknown_place_is_left_out() {
        let error = StatementError::new(Position::default(), "too long");
        assert_eq!(error.render("SELECT 1"), "error: too long\n");
        assert_eq!(error.to_string(), "too long");
    }
}
