//! Accepts one SELECT, or EXPLAIN of one, and refuses every other statement.

use std::sync::Arc;

use sqlparser::ast::{self, Statement as Ast, UtilityOption};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use crate::error::{Position, Refused, StatementError};
use crate::protect::protect;
use crate::rewrite::{self, Rewritten};
use crate::{MAX_DEPTH, MAX_SQL_BYTES, Names, TableShape, bounds, distinct};

/// What a statement asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows.
    Select,
    /// How the rows would be found, or with `analyze` how they were.
    Explain {
        /// Whether the query is run.
        analyze: bool,
        /// Whether to print all there is.
        verbose: bool,
    },
}

/// One statement that may be answered.
#[derive(Clone, Debug)]
pub struct Statement {
    sql: String,
    kind: Kind,
    query: Box<ast::Query>,
}

impl Statement {
    /// The text, as it came in.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// What it asks for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The tables that it names, without a look at columns.
    pub fn tables(&self, names: &dyn Names) -> Result<Vec<Arc<TableShape>>, StatementError> {
        crate::relations::tables(&self.query, names)
    }

    /// A SELECT that stands in a statement of this text.
    pub(crate) fn select(sql: &str, query: Box<ast::Query>) -> Self {
        Self {
            sql: sql.to_owned(),
            kind: Kind::Select,
            query,
        }
    }

    /// The same rows; how they are found is said instead.
    #[must_use]
    pub fn explained(mut self, verbose: bool) -> Self {
        let analyze = false;
        self.kind = Kind::Explain { analyze, verbose };
        self
    }

    /// The query as it was parsed.
    pub(crate) fn into_query(self) -> Box<ast::Query> {
        self.query
    }

    /// Resolves its names and turns paths into columns.
    pub fn rewrite(&self, names: &dyn Names) -> Result<Rewritten, StatementError> {
        rewrite::rewrite(&self.query, names)
    }
}

/// Reads exactly one SELECT or EXPLAIN.
pub fn parse(sql: &str) -> Result<Statement, StatementError> {
    let mut tokens = tokens(sql)?;
    first_word(&tokens)?;
    prepare(&mut tokens)?;
    match ast(tokens)? {
        Some(statement) => classify(sql, statement),
        None => Err(StatementError::new(
            Position::default(),
            "there must be exactly one statement",
        )),
    }
}

/// The tokens of exactly one statement.
pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, StatementError> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(StatementError::new(
            Position::default(),
            format!(
                "the statement is {} bytes long; the limit is {MAX_SQL_BYTES}",
                sql.len()
            ),
        )
        .cure("pass values as parameters $1, $2, ..."));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(tokenizer)?;
    one_statement(&tokens)?;
    Ok(tokens)
}

/// Makes tokens ready for the grammar, once for each statement.
pub(crate) fn prepare(tokens: &mut [TokenWithSpan]) -> Result<(), StatementError> {
    bounds::check(tokens)?;
    protect(tokens);
    distinct::replace(tokens)
}

/// The tree of exactly one statement; none if there are more or fewer.
pub(crate) fn ast(tokens: Vec<TokenWithSpan>) -> Result<Option<Ast>, StatementError> {
    let mut statements = parser(tokens).parse_statements().map_err(grammar)?;
    Ok(statements.pop().filter(|_| statements.is_empty()))
}

/// The tree of one expression and nothing else.
pub(crate) fn expression(tokens: Vec<TokenWithSpan>) -> Result<ast::Expr, StatementError> {
    let mut parser = parser(tokens);
    let expr = parser.parse_expr().map_err(grammar)?;
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Ok(expr);
    }
    Err(StatementError::new(
        next.span,
        format!("{} is out of place", next.token),
    ))
}

fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(MAX_DEPTH)
        .with_tokens_with_locations(tokens)
}

/// The tokens that mean something, in order.
pub(crate) fn significant(tokens: &[TokenWithSpan]) -> impl Iterator<Item = &TokenWithSpan> {
    tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
}

/// Refuses by the first word, before the grammar is asked: the reason is
/// clearer than what the parser would say about a statement it half knows.
fn first_word(tokens: &[TokenWithSpan]) -> Result<(), StatementError> {
    let first = significant(tokens).find(|token| token.token != Token::SemiColon);
    match first {
        Some(TokenWithSpan {
            token: Token::Word(word),
            span,
        }) => refuse_word(&word.value, (*span).into()),
        _ => Ok(()),
    }
}

fn one_statement(tokens: &[TokenWithSpan]) -> Result<(), StatementError> {
    let mut significant = significant(tokens).skip_while(|t| t.token == Token::SemiColon);
    if significant.next().is_none() {
        return Err(StatementError::new(
            Position::default(),
            "there is no statement",
        ));
    }
    let mut ended = false;
    for token in significant {
        match token.token {
            Token::SemiColon => ended = true,
            _ if ended => {
                return Err(
                    StatementError::new(token.span, "a second statement begins here")
                        .cure("send one statement at a time"),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse_word(word: &str, at: Position) -> Result<(), StatementError> {
    let upper = word.to_ascii_uppercase();
    let refuse = |message: String, cure: &str, refused| {
        Err(StatementError::new(at, message).cure(cure).refused(refused))
    };
    match upper.as_str() {
        "SELECT" | "WITH" | "VALUES" | "EXPLAIN" => Ok(()),
        "TABLE" | "FROM" => refuse(
            format!("{upper} is not supported at the beginning"),
            "write SELECT * FROM ...",
            Refused::Other,
        ),
        "INSERT" | "UPDATE" | "DELETE" | "APPLY" | "DRY" => refuse(
            format!("{upper} is refused here: only SELECT is answered"),
            "`kybern sql` on a cluster (without --host and -f) changes objects",
            Refused::Write,
        ),
        "MERGE" | "UPSERT" | "REPLACE" => refuse(
            format!("{upper} is not supported"),
            "write APPLY, or UPDATE ... FROM and INSERT",
            Refused::Write,
        ),
        "TRUNCATE" => refuse(
            "TRUNCATE is not supported".to_owned(),
            "write DELETE FROM ... ALL ROWS",
            Refused::Write,
        ),
        "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "END" | "ABORT"
        | "PREPARE" => refuse(
            format!("{upper} is refused: there are no transactions"),
            "leave it out: every statement reads one snapshot",
            Refused::Transaction,
        ),
        "SET" | "RESET" | "SHOW" | "DISCARD" | "USE" | "LISTEN" | "NOTIFY" | "UNLISTEN" => refuse(
            format!("{upper} is refused: a session has no settings"),
            "tables are listed in kybern.kinds, columns in information_schema.columns",
            Refused::Session,
        ),
        "COPY" => refuse(
            "COPY is refused: rows leave only as the answer of a SELECT".to_owned(),
            "write SELECT",
            Refused::Copy,
        ),
        "DESCRIBE" | "DESC" => refuse(
            format!("{upper} is not supported: this host answers SELECT only"),
            "SELECT * FROM information_schema.columns WHERE table_name = '...'",
            Refused::Other,
        ),
        "SUBSCRIBE" => refuse(
            "SUBSCRIBE is refused here: a running host answers it, and nothing else does"
                .to_owned(),
            "ask the host, with kybern sql --host, or write SELECT",
            Refused::Other,
        ),
        "CREATE" | "ALTER" | "DROP" | "GRANT" | "REVOKE" | "COMMENT" => refuse(
            format!("{upper} is refused: tables are the kinds that the API server serves"),
            "define kinds with a CustomResourceDefinition",
            Refused::Definition,
        ),
        _ => refuse(
            format!("{upper} is not supported: this host answers SELECT only"),
            "begin with SELECT, WITH or EXPLAIN",
            Refused::Other,
        ),
    }
}

fn classify(sql: &str, statement: Ast) -> Result<Statement, StatementError> {
    let made = |kind, query| {
        Ok(Statement {
            sql: sql.to_owned(),
            kind,
            query,
        })
    };
    match statement {
        Ast::Query(query) => made(Kind::Select, query),
        Ast::Explain {
            analyze,
            verbose,
            statement,
            query_plan,
            estimate,
            format,
            options,
            ..
        } => {
            if query_plan || estimate || format.is_some() {
                return Err(other("this form of EXPLAIN is not supported")
                    .cure("write EXPLAIN or EXPLAIN ANALYZE"));
            }
            let (analyze, verbose) = explain_options(options.as_deref(), analyze, verbose)?;
            match *statement {
                Ast::Query(query) => made(Kind::Explain { analyze, verbose }, query),
                _ => {
                    Err(other("EXPLAIN takes a SELECT only here").cure("write EXPLAIN SELECT ..."))
                }
            }
        }
        _ => Err(other("this host answers SELECT only")),
    }
}

fn explain_options(
    options: Option<&[UtilityOption]>,
    mut analyze: bool,
    mut verbose: bool,
) -> Result<(bool, bool), StatementError> {
    for option in options.unwrap_or_default() {
        let on = match option
            .arg
            .as_ref()
            .map(|arg| arg.to_string().to_ascii_lowercase())
        {
            None => true,
            Some(arg) if ["true", "on", "1"].contains(&arg.as_str()) => true,
            Some(arg) if ["false", "off", "0"].contains(&arg.as_str()) => false,
            Some(arg) => {
                return Err(StatementError::new(
                    option.name.span,
                    format!("EXPLAIN option {} cannot be {arg}", option.name.value),
                ));
            }
        };
        match option.name.value.to_ascii_lowercase().as_str() {
            "analyze" => analyze = on,
            "verbose" => verbose = on,
            name => {
                return Err(StatementError::new(
                    option.name.span,
                    format!("EXPLAIN has no option {name}"),
                )
                .cure("the options are ANALYZE and VERBOSE"));
            }
        }
    }
    Ok((analyze, verbose))
}

fn other(message: &str) -> StatementError {
    StatementError::new(Position { line: 1, column: 1 }, message).refused(Refused::Other)
}

fn tokenizer(error: TokenizerError) -> StatementError {
    StatementError::new(error.location, error.message)
}

/// The parser puts the place at the end of its message.
fn grammar(error: ParserError) -> StatementError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => {
            return StatementError::new(
                Position::default(),
                format!("the statement nests deeper than {MAX_DEPTH}"),
            )
            .cure("use IN lists or a join instead of nested expressions");
        }
    };
    let Some((text, place)) = message.rsplit_once(" at Line: ") else {
        return StatementError::new(Position::default(), message);
    };
    let position = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Position {
            line: line.trim().parse().ok()?,
            column: column.trim().parse().ok()?,
        })
    });
    StatementError::new(position.unwrap_or_default(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sql: &str) -> (Option<Refused>, String) {
        let error = parse(sql).expect_err(sql);
        (error.refused, error.message)
    }

    #[test]
    fn select_and_explain_are_accepted() {
        let kinds = [
            ("SELECT 1", Kind::Select),
            ("  ;; WITH a AS (SELECT 1) SELECT * FROM a;", Kind::Select),
            (
                "EXPLAIN SELECT 1",
                Kind::Explain {
                    analyze: false,
                    verbose: false,
                },
            ),
            (
                "EXPLAIN ANALYZE SELECT 1",
                Kind::Explain {
                    analyze: true,
                    verbose: false,
                },
            ),
            (
                "EXPLAIN (ANALYZE, VERBOSE) SELECT 1",
                Kind::Explain {
                    analyze: true,
                    verbose: true,
                },
            ),
            (
                "EXPLAIN (ANALYZE false) SELECT 1",
                Kind::Explain {
                    analyze: false,
                    verbose: false,
                },
            ),
            ("(SELECT 1) UNION (SELECT 2)", Kind::Select),
        ];
        for (sql, kind) in kinds {
            assert_eq!(parse(sql).expect(sql).kind(), kind, "{sql}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        use Refused::{Copy, Definition, Other, Session, Transaction, Write};
        let refused = [
            ("INSERT INTO pods VALUES (1)", Write),
            ("update pods set a = 1", Write),
            ("DELETE FROM pods", Write),
            (
                "MERGE INTO pods USING x ON true WHEN MATCHED THEN DELETE",
                Write,
            ),
            ("TRUNCATE pods", Write),
            ("BEGIN", Transaction),
            ("COMMIT", Transaction),
            ("START TRANSACTION", Transaction),
            ("PREPARE x AS SELECT 1", Transaction),
            ("SET x = 1", Session),
            ("SHOW TABLES", Session),
            ("COPY pods TO '/tmp/x'", Copy),
            ("CREATE TABLE x (a int)", Definition),
            ("DROP TABLE pods", Definition),
            ("DESCRIBE pods", Other),
            ("CALL f()", Other),
            ("DO $$ x $$", Other),
            ("EXPLAIN DELETE FROM pods", Other),
            ("EXPLAIN ANALYZE INSERT INTO pods VALUES (1)", Other),
            ("VACUUM", Other),
            ("SUBSCRIBE SELECT 1", Other),
        ];
        for (sql, reason) in refused {
            assert_eq!(refusal(sql).0, Some(reason), "{sql}");
        }
        assert!(
            refusal("DELETE FROM x")
                .1
                .contains("only SELECT is answered")
        );
    }

    #[test]
    fn exactly_one_statement() {
        let error = parse("SELECT 1;\nDELETE FROM pods").expect_err("two");
        assert_eq!(error.position, Position { line: 2, column: 1 });
        assert_eq!(
            parse("  -- nothing\n ;").expect_err("none").message,
            "there is no statement"
        );
    }

    #[test]
    fn grammar_errors_have_their_place() {
        let error = parse("SELECT a\nFROM x y z").expect_err("broken");
        assert_eq!(error.position.line, 2, "{error}");
        assert!(!error.message.contains("Line:"), "{error}");
        let error = parse("SELECT 'open").expect_err("broken");
        assert_eq!(error.position.line, 1);
    }

    #[test]
    fn bounds() {
        let long = format!("SELECT '{}'", "x".repeat(MAX_SQL_BYTES));
        assert!(
            parse(&long)
                .expect_err("long")
                .message
                .contains("bytes long")
        );
        let deep = format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500));
        assert!(
            parse(&deep)
                .expect_err("deep")
                .message
                .contains("nests deeper")
        );
    }
}
