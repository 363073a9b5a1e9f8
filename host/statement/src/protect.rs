//! Keeps the words of a path from being read as keywords or functions.
//!
//! `spec.user`, `spec.type`, `spec.from` and `spec.interval` are fields here;
//! the parser would read some of these words as syntax. Every word that stands
//! beside a dot is therefore marked as quoted before parsing, with a quote
//! character that the dialect cannot produce. The mark says "not quoted by the
//! author", so that the rewriter still knows which names ignore case.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// The quote character of words that the author did not quote.
pub(crate) const MARK: char = '`';

/// Marks each word beside a dot, unless it is the name of a call.
pub(crate) fn protect(tokens: &mut [TokenWithSpan]) {
    let significant: Vec<usize> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)))
        .map(|(index, _)| index)
        .collect();
    let kind = |position: Option<usize>| {
        position
            .and_then(|p| significant.get(p))
            .and_then(|i| tokens.get(*i))
            .map(|t| &t.token)
    };
    let marked: Vec<usize> = significant
        .iter()
        .enumerate()
        .filter(|(position, _)| {
            let before = kind(position.checked_sub(1));
            let after = kind(Some(position + 1));
            let is_call = matches!(after, Some(Token::LParen));
            (matches!(before, Some(Token::Period)) && !is_call)
                || matches!(after, Some(Token::Period))
        })
        .map(|(_, index)| *index)
        .collect();
    for index in marked {
        if let Some(TokenWithSpan {
            token: Token::Word(word),
            ..
        }) = tokens.get_mut(index)
            && word.quote_style.is_none()
        {
            word.quote_style = Some(MARK);
            word.keyword = Keyword::NoKeyword;
        }
    }
}
