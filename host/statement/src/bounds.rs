//! Refuses statements whose syntax tree would be too deep to walk.
//!
//! The parser bounds parentheses and prefixes, but builds `a OR b OR c ...` and
//! `a UNION b UNION ...` as deep as they are long, and copying or dropping such
//! a tree takes stack. The bound is therefore taken from the tokens.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::StatementError;

/// How many operators may stand in one expression outside of parentheses.
pub(crate) const MAX_OPERATORS: usize = 250;
/// How many set operations a statement may have.
const MAX_SETS: usize = 50;

#[derive(Default)]
struct Level {
    current: usize,
    deepest: usize,
}

impl Level {
    fn reset(&mut self) {
        self.deepest = self.deepest.max(self.current);
        self.current = 0;
    }
}

/// Counts operators per nesting level; a level is as deep as its deepest operand
/// and one more for each operator.
pub(crate) fn check(tokens: &[TokenWithSpan]) -> Result<(), StatementError> {
    let mut levels = vec![Level::default()];
    let mut sets = 0;
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => levels.push(Level::default()),
            closing @ (Token::RParen | Token::RBracket) => {
                let closed = levels
                    .pop()
                    .map_or(0, |level| level.deepest.max(level.current));
                if levels.is_empty() {
                    levels.push(Level::default());
                }
                if let Some(level) = levels.last_mut() {
                    let postfix = usize::from(*closing == Token::RBracket);
                    level.current = level.current.max(closed) + postfix;
                }
            }
            Token::Comma => {
                if let Some(level) = levels.last_mut() {
                    level.reset();
                }
            }
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EOF => {}
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => sets += 1,
                Keyword::AND
                | Keyword::OR
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::COLLATE
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::SIMILAR
                | Keyword::AT
                | Keyword::OPERATOR
                | Keyword::XOR
                | Keyword::DIV
                | Keyword::OVERLAPS
                | Keyword::REGEXP
                | Keyword::RLIKE
                | Keyword::MATCH => {
                    levels
                        .iter_mut()
                        .rev()
                        .take(1)
                        .for_each(|level| level.current += 1);
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::ON
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE
                | Keyword::HAVING
                | Keyword::BY => {
                    levels.iter_mut().rev().take(1).for_each(Level::reset);
                }
                _ => {}
            },
            _ => levels
                .iter_mut()
                .rev()
                .take(1)
                .for_each(|level| level.current += 1),
        }
        if levels
            .last()
            .is_some_and(|level| level.current > MAX_OPERATORS)
        {
            return Err(StatementError::new(
                token.span,
                format!("more than {MAX_OPERATORS} operators in one expression"),
            )
            .cure("write column IN (...) instead of a chain of OR"));
        }
        if sets > MAX_SETS {
            return Err(StatementError::new(
                token.span,
                format!("more than {MAX_SETS} set operations"),
            ));
        }
    }
    Ok(())
}
