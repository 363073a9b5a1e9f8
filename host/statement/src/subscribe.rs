//! SUBSCRIBE: a query whose changes are told.
//!
//! ```text
//! [EXPLAIN] SUBSCRIBE [WITH (option [=] [value], ...)] query
//!
//! PROGRESS [boolean]   marks say up to where everything was told; off without it
//! SNAPSHOT [boolean]   the rows that are there come first; on without it
//! RESUME 'position'    goes on behind a mark; then no snapshot comes
//! ```
//!
//! WITH is read as options only where a parenthesis follows: a query may begin with WITH itself.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::MAX_SQL_BYTES;
use crate::error::{Position, Refused, StatementError};

/// What is to be told of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// How it would be told is asked for, and nothing else.
    pub explain: bool,
    /// Marks say up to where everything was told.
    pub progress: bool,
    /// The rows that are there come first.
    pub snapshot: bool,
    /// The mark behind which to go on, as it was told.
    pub resume: Option<String>,
    /// The query; what stood before it is blank, so that places in it are those of the statement.
    pub query: String,
}

/// Reads a statement that begins with SUBSCRIBE or EXPLAIN SUBSCRIBE; none for any other. The query
/// itself is not looked at.
pub fn subscribe(sql: &str) -> Result<Option<Subscribe>, StatementError> {
    // What is too long is refused by who reads the query.
    if sql.len() > MAX_SQL_BYTES {
        return Ok(None);
    }
    let dialect = PostgreSqlDialect {};
    // So is what is no text of tokens.
    let Ok(tokens) = Tokenizer::new(&dialect, sql).tokenize_with_location() else {
        return Ok(None);
    };
    let significant = tokens
        .iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF))
        .skip_while(|t| t.token == Token::SemiColon);
    let mut words = Words {
        tokens: significant.collect(),
        at: 0,
    };
    let explain = words.take("EXPLAIN");
    let how = explain && (words.take("ANALYZE") || words.take("VERBOSE"));
    if !words.take("SUBSCRIBE") {
        return Ok(None);
    }
    if how {
        return Err(words
            .wrong("EXPLAIN SUBSCRIBE takes no ANALYZE and no VERBOSE")
            .cure("write EXPLAIN SUBSCRIBE SELECT ..."));
    }
    let mut asked = Subscribe {
        explain,
        progress: false,
        snapshot: true,
        resume: None,
        query: String::new(),
    };
    if words.is("WITH") && words.token(1) == Some(&Token::LParen) {
        words.at += 2;
        options(&mut words, &mut asked)?;
    }
    let begins = ["SELECT", "WITH", "VALUES"];
    let is_query =
        begins.iter().any(|word| words.is(word)) || words.token(0) == Some(&Token::LParen);
    let Some(first) = words.tokens.get(words.at).filter(|_| is_query) else {
        return Err(words
            .wrong("SUBSCRIBE takes a SELECT")
            .cure("write SUBSCRIBE SELECT ... FROM ...")
            .refused(Refused::Other));
    };
    asked.query = blank_before(sql, first.span.start);
    Ok(Some(asked))
}

fn options(words: &mut Words<'_>, asked: &mut Subscribe) -> Result<(), StatementError> {
    let mut snapshot = None;
    loop {
        let option = words.at;
        if words.take("PROGRESS") {
            asked.progress = boolean(words)?;
        } else if words.take("SNAPSHOT") {
            snapshot = Some(boolean(words)?);
        } else if words.take("RESUME") {
            asked.resume = Some(position(words)?);
        } else {
            return Err(words
                .wrong("this is no option of SUBSCRIBE")
                .cure("the options are PROGRESS, SNAPSHOT false and RESUME 'position'"));
        }
        if snapshot == Some(true) && asked.resume.is_some() {
            words.at = option;
            return Err(words
                .wrong("what is resumed has no snapshot")
                .cure("leave SNAPSHOT out, or RESUME"));
        }
        match words.token(0) {
            Some(Token::Comma) => words.at += 1,
            Some(Token::RParen) => break,
            _ => return Err(words.wrong("a comma or ) is expected here")),
        }
    }
    words.at += 1;
    asked.snapshot = snapshot.unwrap_or(asked.resume.is_none());
    Ok(())
}

/// What an option is set to; without a word it is on.
fn boolean(words: &mut Words<'_>) -> Result<bool, StatementError> {
    let assigned = words.assigned();
    if words.take("TRUE") || words.take("ON") {
        return Ok(true);
    }
    if words.take("FALSE") || words.take("OFF") {
        return Ok(false);
    }
    match words.token(0) {
        Some(Token::Comma | Token::RParen) if !assigned => Ok(true),
        _ => Err(words.wrong("true or false is expected here")),
    }
}

fn position(words: &mut Words<'_>) -> Result<String, StatementError> {
    words.assigned();
    let text = match words.token(0) {
        Some(Token::SingleQuotedString(text)) => text.clone(),
        Some(Token::Number(number, _)) => number.clone(),
        _ => {
            return Err(words
                .wrong("the position of a progress mark is expected here")
                .cure("write RESUME '...' with what the last mark said"));
        }
    };
    words.at += 1;
    Ok(text)
}

/// Tokens that count, and how far they were read.
struct Words<'t> {
    tokens: Vec<&'t TokenWithSpan>,
    at: usize,
}

impl Words<'_> {
    fn token(&self, ahead: usize) -> Option<&Token> {
        let token = self.tokens.get(self.at.saturating_add(ahead))?;
        Some(&token.token)
    }

    fn is(&self, word: &str) -> bool {
        matches!(self.token(0), Some(Token::Word(found))
            if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    /// Reads on if it is the word.
    fn take(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    /// Reads on if there is a `=`.
    fn assigned(&mut self) -> bool {
        let is = self.token(0) == Some(&Token::Eq);
        self.at += usize::from(is);
        is
    }

    fn wrong(&self, message: &str) -> StatementError {
        let place = self.tokens.get(self.at).or_else(|| self.tokens.last());
        let place = place.map(|token| Position::from(token.span));
        StatementError::new(place.unwrap_or_default(), message)
    }
}

/// The text with blanks for all characters before a place.
fn blank_before(sql: &str, place: Location) -> String {
    let (mut line, mut column) = (1, 1);
    let mut text = String::with_capacity(sql.len());
    for c in sql.chars() {
        let is_before = (line, column) < (place.line, place.column);
        text.push(match c {
            '\n' | '\t' => c,
            _ if is_before => ' ',
            _ => c,
        });
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sql: &str) -> Subscribe {
        subscribe(sql).expect(sql).expect(sql)
    }

    fn wrong(sql: &str) -> String {
        subscribe(sql).expect_err(sql).to_string()
    }

    #[test]
    fn the_query_stays_where_it_is() {
        let plain = asked("SUBSCRIBE SELECT 1");
        assert_eq!(plain.query, "          SELECT 1");
        assert!(!plain.explain && !plain.progress && plain.snapshot && plain.resume.is_none());
        let lines = asked("-- wäs\n subscribe with (progress)\n\tSELECT 'SUBSCRIBE ä'");
        assert_eq!(
            lines.query,
            "      \n                          \n\tSELECT 'SUBSCRIBE ä'"
        );
        assert!(lines.progress);
    }

    #[test]
    fn with_is_a_list_of_options_or_the_beginning_of_the_query() {
        let query = asked("SUBSCRIBE WITH a AS (SELECT 1) SELECT * FROM a");
        assert!(query.query.trim_start().starts_with("WITH a AS"));
        let both = asked("SUBSCRIBE WITH (PROGRESS) WITH a AS (SELECT 1) SELECT * FROM a");
        assert!(both.progress && both.query.trim_start().starts_with("WITH a AS"));
        assert!(asked("SUBSCRIBE (SELECT 1)").snapshot);
        assert!(asked("SUBSCRIBE VALUES (1)").snapshot);
    }

    #[test]
    fn options_have_values_or_are_on() {
        let of = |options: &str| asked(&format!("SUBSCRIBE WITH ({options}) SELECT 1"));
        assert!(of("PROGRESS").progress && of("progress = on").progress);
        assert!(!of("PROGRESS false").progress && !of("PROGRESS OFF").progress);
        assert!(!of("SNAPSHOT false, PROGRESS").snapshot && of("SNAPSHOT").snapshot);
        let resumed = of("PROGRESS, RESUME '12@ab'");
        assert_eq!(resumed.resume.as_deref(), Some("12@ab"));
        assert!(!resumed.snapshot && resumed.progress);
        assert_eq!(of("RESUME = 12").resume.as_deref(), Some("12"));
    }

    #[test]
    fn what_is_wrong_has_its_place_and_its_cure() {
        assert_eq!(
            wrong("SUBSCRIBE WITH (FAST) SELECT 1"),
            "line 1, column 17: this is no option of SUBSCRIBE \
             (the options are PROGRESS, SNAPSHOT false and RESUME 'position')"
        );
        assert!(wrong("SUBSCRIBE WITH (SNAPSHOT maybe) SELECT 1").contains("column 26: true or"));
        assert!(wrong("SUBSCRIBE WITH (PROGRESS = ) SELECT 1").contains("true or false"));
        assert!(wrong("SUBSCRIBE WITH (RESUME) SELECT 1").contains("progress mark"));
        assert!(wrong("SUBSCRIBE WITH (PROGRESS SELECT 1").contains("true or false"));
        assert!(
            wrong("SUBSCRIBE WITH (SNAPSHOT true, RESUME '1@2') SELECT 1").contains("no snapshot")
        );
        for (sql, what) in [
            ("SUBSCRIBE", "takes a SELECT"),
            ("SUBSCRIBE pods", "write SUBSCRIBE SELECT"),
            ("SUBSCRIBE DELETE FROM pods", "takes a SELECT"),
            ("SUBSCRIBE WITH () SELECT 1", "no option"),
            ("EXPLAIN ANALYZE SUBSCRIBE SELECT 1", "no ANALYZE"),
        ] {
            assert!(wrong(sql).contains(what), "{sql}: {}", wrong(sql));
        }
    }

    #[test]
    fn other_statements_are_none() {
        for sql in [
            "",
            "SELECT 1",
            "EXPLAIN SELECT 1",
            "\"subscribe\" SELECT 1",
            "SELECT 'SUBSCRIBE'",
            "SELECT 'open",
        ] {
            assert_eq!(subscribe(sql), Ok(None), "{sql}");
        }
        assert!(asked("EXPLAIN SUBSCRIBE SELECT 1").explain);
    }
}
