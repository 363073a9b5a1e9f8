//! Cuts a statement into its clauses, at words outside of parentheses.

use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::StatementError;

/// Words that begin a clause of some statement, so that none of them is part of another clause.
const CLAUSES: &[&str] = &[
    "SET",
    "FROM",
    "WHERE",
    "RETURNING",
    "PROPAGATION",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "ORDER",
    "GROUP",
    "HAVING",
    "WINDOW",
    "UNION",
    "INTERSECT",
    "EXCEPT",
];

/// The significant tokens of a statement, from a place on.
pub(super) struct Clauses<'a> {
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl<'a> Clauses<'a> {
    pub(super) fn new(tokens: &'a [TokenWithSpan]) -> Self {
        Self { tokens, at: 0 }
    }

    /// Where it stands now.
    pub(super) fn span(&self) -> Span {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        token.map_or(Span::empty(), |token| token.span)
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// The word here, in upper case; none if it is quoted or no word.
    pub(super) fn word(&self, ahead: usize) -> Option<String> {
        self.tokens.get(self.at + ahead).and_then(word)
    }

    /// Whether these words stand here.
    pub(super) fn is(&self, words: &[&str]) -> bool {
        let mut words = words.iter().enumerate();
        words.all(|(ahead, wanted)| self.word(ahead).as_deref() == Some(*wanted))
    }

    /// Goes behind these words if they stand here.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let is = self.is(words);
        if is {
            self.at += words.len();
        }
        is
    }

    /// Goes behind these words, which must stand here.
    pub(super) fn need(&mut self, words: &[&str], in_what: &str) -> Result<(), StatementError> {
        if self.take(words) {
            return Ok(());
        }
        let found = match self.tokens.get(self.at) {
            Some(token) => format!("{} stands where", token.token),
            None => "the statement ends where".to_owned(),
        };
        let words = words.join(" ");
        Err(StatementError::new(
            self.span(),
            format!("{found} {in_what} needs {words}"),
        ))
    }

    /// The tokens up to the first place outside of parentheses where `ends` holds, or the end.
    pub(super) fn until(&mut self, ends: impl Fn(&Self) -> bool) -> &'a [TokenWithSpan] {
        let from = self.at;
        let mut depth = 0usize;
        while let Some(token) = self.tokens.get(self.at) {
            if depth == 0 && ends(self) {
                break;
            }
            match &token.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
        self.tokens.get(from..self.at).unwrap_or_default()
    }

    /// The tokens up to the next word that begins a clause.
    pub(super) fn clause(&mut self) -> &'a [TokenWithSpan] {
        self.until(Self::begins)
    }

    /// Whether a clause begins here.
    pub(super) fn begins(&self) -> bool {
        let Some(word) = self.word(0) else {
            return false;
        };
        CLAUSES.contains(&word.as_str())
            || self.is(&["ALL", "ROWS"])
            || self.is(&["ON", "CONFLICT"])
    }

    /// What stands in parentheses here.
    pub(super) fn parenthesised(&mut self) -> Option<&'a [TokenWithSpan]> {
        let begin = self.tokens.get(self.at)?;
        if begin.token != Token::LParen {
            return None;
        }
        let mut inner = Clauses::new(self.tokens.get(self.at + 1..)?);
        let content = inner.until(|here| here.is_token(&Token::RParen));
        // The closing parenthesis is at depth 0 of what follows the opening one.
        let end = self.at + 1 + content.len();
        self.tokens.get(end)?;
        self.at = end + 1;
        Some(content)
    }

    /// Whether a parenthesis opens here.
    pub(super) fn at_parenthesis(&self) -> bool {
        self.is_token(&Token::LParen)
    }

    /// Whether a parenthesis closes before this place.
    pub(super) fn is_behind_parenthesis(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        before.is_some_and(|token| token.token == Token::RParen)
    }

    fn is_token(&self, wanted: &Token) -> bool {
        self.tokens
            .get(self.at)
            .is_some_and(|token| token.token == *wanted)
    }
}

/// The parts between commas outside of parentheses.
pub(super) fn list(tokens: &[TokenWithSpan]) -> Vec<&[TokenWithSpan]> {
    let mut parts = Vec::new();
    let mut clauses = Clauses::new(tokens);
    loop {
        parts.push(clauses.until(|here| here.is_token(&Token::Comma)));
        if clauses.is_done() {
            return parts;
        }
        clauses.at += 1;
    }
}

/// An unquoted word, in upper case.
pub(super) fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
        _ => None,
    }
}

/// Refuses parentheses that do not close one another: clauses are cut by them.
pub(super) fn balanced(tokens: &[TokenWithSpan]) -> Result<(), StatementError> {
    let mut open: Vec<&TokenWithSpan> = Vec::new();
    for token in tokens {
        let wanted = match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open.push(token);
                continue;
            }
            Token::RParen => Token::LParen,
            Token::RBracket => Token::LBracket,
            Token::RBrace => Token::LBrace,
            _ => continue,
        };
        if open.pop().map(|token| &token.token) != Some(&wanted) {
            let message = format!("{} closes nothing", token.token);
            return Err(StatementError::new(token.span, message));
        }
    }
    match open.pop() {
        None => Ok(()),
        Some(token) => {
            let message = format!("{} is never closed", token.token);
            Err(StatementError::new(token.span, message))
        }
    }
}
