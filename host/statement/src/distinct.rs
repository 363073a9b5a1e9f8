//! Gives `IS [NOT] DISTINCT FROM` the precedence of a comparison.
//!
//! The parser takes everything behind these words as their right side, so that
//! `a IS DISTINCT FROM b AND c` would mean `a IS DISTINCT FROM (b AND c)`. The
//! words are therefore replaced by one operator that no statement may hold
//! itself; the rewriter turns it back.

use sqlparser::ast::{BinaryOperator, Expr, Value};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};

use crate::StatementError;

/// Replaces the words; refuses the operators that stand for them.
pub(crate) fn replace(tokens: &mut [TokenWithSpan]) -> Result<(), StatementError> {
    if let Some(token) = tokens.iter().find(|token| stands_for(&token.token)) {
        let message = format!("the operator {} is not supported", token.token);
        return Err(StatementError::new(token.span, message)
            .cure("compare with IS DISTINCT FROM or with < and >"));
    }
    let significant: Vec<usize> = (0..tokens.len())
        .filter(|at| !matches!(tokens.get(*at), Some(token) if is_space(&token.token)))
        .collect();
    for start in 0..significant.len() {
        let words: Vec<Keyword> = significant
            .iter()
            .skip(start)
            .take(4)
            .filter_map(|at| tokens.get(*at).map(|token| keyword(&token.token)))
            .collect();
        let (operator, length) = match words.as_slice() {
            [Keyword::IS, Keyword::DISTINCT, Keyword::FROM, ..] => (overlaps(), 3),
            [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM] => (Token::Spaceship, 4),
            _ => continue,
        };
        let places = significant.iter().skip(start).take(length);
        let with = std::iter::once(operator).chain(std::iter::repeat(space()));
        for (at, token) in places.zip(with) {
            if let Some(place) = tokens.get_mut(*at) {
                place.token = token;
            }
        }
    }
    Ok(())
}

/// The expression that the author wrote, for an operator that [`replace`] put.
pub(crate) fn restore(expr: &mut Expr) {
    let Expr::BinaryOp { left, op, right } = expr else {
        return;
    };
    let nothing = || Box::new(Expr::value(Value::Null));
    let take = |side: &mut Box<Expr>| std::mem::replace(side, nothing());
    *expr = match op {
        BinaryOperator::Overlaps => Expr::IsDistinctFrom(take(left), take(right)),
        BinaryOperator::Spaceship => Expr::IsNotDistinctFrom(take(left), take(right)),
        _ => return,
    };
}

/// Whether [`replace`] put this operator.
pub(crate) fn stands_in(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Overlaps | BinaryOperator::Spaceship)
}

fn stands_for(token: &Token) -> bool {
    *token == Token::Spaceship || keyword(token) == Keyword::OVERLAPS
}

fn overlaps() -> Token {
    Token::Word(Word {
        value: "OVERLAPS".to_owned(),
        quote_style: None,
        keyword: Keyword::OVERLAPS,
    })
}

fn space() -> Token {
    Token::Whitespace(Whitespace::Space)
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}
