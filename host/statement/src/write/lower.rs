//! Reads a statement that changes objects, and makes the SELECT of its rows.
//!
//! The SELECT is put together from the author's own tokens, so that messages about it name places
//! in the author's text.

use sqlparser::ast::{Expr, Query, SetExpr, Statement as Ast};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::clauses::{self, Clauses, list, word};
use super::{KEYS, Mode, Propagation, Relation, Verb, Write, statement};
use crate::guard::{self, Statement};
use crate::rewrite::folded;
use crate::{Position, Refused, StatementError};

/// Columns of which every change of an object is a change.
const VERSIONS: &[&str] = &["resource_version", "resourceversion", "object"];

/// Whether a statement is one that changes objects, or one before which `DRY RUN` or EXPLAIN
/// stands. It need not be a good one.
pub fn is_write(sql: &str) -> bool {
    let Ok(tokens) = guard::tokens(sql) else {
        return false;
    };
    let tokens = own(&tokens);
    let mut clauses = Clauses::new(&tokens);
    if clauses.take(&["EXPLAIN"]) {
        while clauses.take(&["ANALYZE"]) || clauses.take(&["VERBOSE"]) {}
        let _ = clauses.parenthesised();
    }
    if clauses.is(&["DRY", "RUN"]) {
        return true;
    }
    let _ = with(&mut clauses);
    let words = ["UPDATE", "DELETE", "INSERT", "APPLY"];
    words.iter().any(|word| clauses.is(&[word]))
}

/// Reads exactly one statement that changes objects.
pub fn parse_write(sql: &str) -> Result<Write, StatementError> {
    let mut tokens = guard::tokens(sql)?;
    guard::prepare(&mut tokens)?;
    let tokens = own(&tokens);
    clauses::balanced(&tokens)?;
    let mut clauses = Clauses::new(&tokens);
    let mode = mode(&mut clauses)?;
    let with = with(&mut clauses);
    // RETURNING reads what became of the objects.
    let returning = |token: &TokenWithSpan| word(token).as_deref() == Some("RETURNING");
    let end = tokens.iter().rposition(returning).unwrap_or(tokens.len());
    let reads_version = tokens.iter().take(end).any(is_version);
    let lowering = Lowering {
        sql,
        mode,
        with,
        reads_version,
    };
    if clauses.take(&["UPDATE"]) {
        lowering.update(clauses)
    } else if clauses.take(&["DELETE"]) {
        lowering.delete(clauses)
    } else if clauses.take(&["INSERT"]) {
        lowering.insert(clauses)
    } else if clauses.take(&["APPLY"]) {
        lowering.apply(clauses)
    } else {
        Err(StatementError::new(
            clauses.span(),
            "UPDATE, DELETE, INSERT or APPLY must stand here",
        )
        .refused(Refused::Other))
    }
}

/// The message for a SELECT that gives another number of values than there are places for them.
pub(super) fn width(verb: Verb, found: usize, wanted: usize) -> StatementError {
    let message = match verb {
        Verb::Apply { .. } => format!("APPLY takes one column of JSON, not {found}"),
        _ => format!("there are {wanted} columns to set and {found} values in each row"),
    };
    StatementError::new(Position::default(), message)
}

/// The tokens without blanks, comments and semicolons around the statement.
fn own(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    guard::significant(tokens)
        .filter(|token| token.token != Token::SemiColon)
        .cloned()
        .collect()
}

fn mode(clauses: &mut Clauses<'_>) -> Result<Mode, StatementError> {
    if clauses.take(&["DRY", "RUN"]) {
        return Ok(Mode::DryRun);
    }
    if !clauses.take(&["EXPLAIN"]) {
        return Ok(Mode::Write);
    }
    let at = clauses.span();
    let options = clauses.parenthesised().unwrap_or_default();
    let mut words: Vec<String> = options.iter().filter_map(word).collect();
    loop {
        let before = words.len();
        for option in ["ANALYZE", "VERBOSE"] {
            if clauses.take(&[option]) {
                words.push(option.to_owned());
            }
        }
        if words.len() == before {
            break;
        }
    }
    if clauses.is(&["DRY", "RUN"]) || words.iter().any(|word| word != "VERBOSE") {
        return Err(StatementError::new(
            at,
            "EXPLAIN of a statement that changes objects takes VERBOSE and nothing else",
        )
        .cure("EXPLAIN says how rows are found; DRY RUN says what would become of them"));
    }
    let verbose = !words.is_empty();
    Ok(Mode::Explain { verbose })
}

/// `WITH ...` up to what it is for.
fn with<'a>(clauses: &mut Clauses<'a>) -> &'a [TokenWithSpan] {
    if !clauses.is(&["WITH"]) {
        return &[];
    }
    let verbs = ["UPDATE", "DELETE", "INSERT", "APPLY", "SELECT", "VALUES"];
    clauses.until(|here| here.is_behind_parenthesis() && verbs.iter().any(|verb| here.is(&[verb])))
}

fn is_version(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(word) => VERSIONS.contains(&word.value.to_lowercase().as_str()),
        _ => false,
    }
}

struct Lowering<'a> {
    sql: &'a str,
    mode: Mode,
    with: &'a [TokenWithSpan],
    reads_version: bool,
}

impl Lowering<'_> {
    fn update(&self, mut clauses: Clauses<'_>) -> Result<Write, StatementError> {
        let table = clauses.clause();
        let relation = self.relation(table, clauses.span())?;
        clauses.need(&["SET"], "UPDATE")?;
        let (targets, values) = assignments(clauses.clause(), clauses.span())?;
        let beside = if clauses.take(&["FROM"]) {
            let at = clauses.span();
            Some(filled(clauses.clause(), at, "FROM")?)
        } else {
            None
        };
        let condition = condition(&mut clauses, "UPDATE")?;
        let returning = self.returning(&mut clauses, table)?;
        ended(&clauses, "UPDATE")?;
        let rows = self.select(&relation, table, &values, beside, condition)?;
        Ok(self.write(Verb::Update, Some(relation), targets, rows, returning))
    }

    fn delete(&self, mut clauses: Clauses<'_>) -> Result<Write, StatementError> {
        clauses.need(&["FROM"], "DELETE")?;
        let is_using = |here: &Clauses<'_>| here.begins() || here.is(&["USING"]);
        let table = clauses.until(is_using);
        let relation = self.relation(table, clauses.span())?;
        let beside = if clauses.take(&["USING"]) {
            let at = clauses.span();
            Some(filled(clauses.clause(), at, "USING")?)
        } else {
            None
        };
        let condition = condition(&mut clauses, "DELETE")?;
        let propagation = propagation(&mut clauses)?;
        let returning = self.returning(&mut clauses, table)?;
        ended(&clauses, "DELETE")?;
        let rows = self.select(&relation, table, &[], beside, condition)?;
        let verb = Verb::Delete { propagation };
        Ok(self.write(verb, Some(relation), Vec::new(), rows, returning))
    }

    fn insert(&self, mut clauses: Clauses<'_>) -> Result<Write, StatementError> {
        clauses.need(&["INTO"], "INSERT")?;
        let starts = ["SELECT", "VALUES", "WITH", "DEFAULT"];
        let begins = |here: &Clauses<'_>| {
            here.begins() || here.at_parenthesis() || starts.iter().any(|word| here.is(&[word]))
        };
        let table = clauses.until(begins);
        let relation = self.relation(table, clauses.span())?;
        let at = clauses.span();
        let Some(columns) = clauses.parenthesised() else {
            return Err(
                StatementError::new(at, "INSERT does not say which fields it sets").cure(
                    "name them: INSERT INTO configmaps (namespace, name, data['a']) VALUES ...",
                ),
            );
        };
        let columns = filled(columns, at, "INSERT")?;
        let targets = list(columns).into_iter();
        let targets = targets.map(|target| path(target, at));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let at = clauses.span();
        let is_end = |here: &Clauses<'_>| here.is(&["RETURNING"]) || here.is(&["ON", "CONFLICT"]);
        let query = filled(clauses.until(is_end), at, "INSERT")?;
        let at = clauses.span();
        let mut do_nothing = false;
        if clauses.take(&["ON", "CONFLICT"]) {
            do_nothing = clauses.take(&["DO", "NOTHING"]);
            if !do_nothing {
                return Err(StatementError::new(at, "ON CONFLICT can only DO NOTHING")
                    .cure("write APPLY to create objects or change those that are there"));
            }
        }
        let returning = self.returning(&mut clauses, table)?;
        ended(&clauses, "INSERT")?;
        let rows = self.rows([self.with, query].concat())?;
        let verb = Verb::Insert { do_nothing };
        Ok(self.write(verb, Some(relation), targets, rows, returning))
    }

    fn apply(&self, mut clauses: Clauses<'_>) -> Result<Write, StatementError> {
        let force = clauses.take(&["FORCE"]);
        let is_query = ["SELECT", "VALUES", "WITH"]
            .iter()
            .any(|word| clauses.is(&[word]));
        let at = clauses.span();
        if !is_query {
            let given = clauses.clause();
            if clauses.is(&["RETURNING"]) {
                return Err(no_returning(clauses.span()));
            }
            ended(&clauses, "APPLY")?;
            let mut tokens = vec![made("VALUES", at)];
            for (index, value) in list(filled(given, at, "APPLY")?).into_iter().enumerate() {
                if index > 0 {
                    tokens.push(at_place(Token::Comma, at));
                }
                tokens.extend(in_parentheses(filled(value, at, "APPLY")?));
            }
            if !self.with.is_empty() {
                return Err(StatementError::new(at, "WITH stands before a query only")
                    .cure("write WITH ... APPLY SELECT ..."));
            }
            let rows = self.rows(tokens)?;
            return Ok(self.write(Verb::Apply { force }, None, Vec::new(), rows, None));
        }
        let query = clauses.until(|here| here.is(&["RETURNING"]));
        if !clauses.is_done() {
            return Err(no_returning(clauses.span()));
        }
        let rows = self.rows([self.with, query].concat())?;
        Ok(self.write(Verb::Apply { force }, None, Vec::new(), rows, None))
    }

    fn write(
        &self,
        verb: Verb,
        table: Option<Relation>,
        targets: Vec<Expr>,
        rows: Statement,
        returning: Option<Statement>,
    ) -> Write {
        Write {
            sql: self.sql.to_owned(),
            verb,
            mode: self.mode,
            table,
            targets,
            rows,
            returning,
            reads_version: self.reads_version,
        }
    }

    /// A table and the name that its columns have.
    fn relation(&self, tokens: &[TokenWithSpan], at: Span) -> Result<Relation, StatementError> {
        let refused = |at: Span| {
            StatementError::new(at, "one table must stand here")
                .cure("write its name, and an alias behind it if need be")
        };
        let span = tokens.first().map_or(at, |token| token.span);
        let mut name = Vec::new();
        let mut rest = tokens;
        while let [first, behind @ ..] = rest {
            name.push(ident(first).ok_or_else(|| refused(first.span))?);
            rest = behind;
            match rest {
                [dot, behind @ ..] if dot.token == Token::Period => rest = behind,
                _ => break,
            }
        }
        let alias = match rest {
            [] => None,
            [alias] => Some(alias),
            [as_, alias] if word(as_).as_deref() == Some("AS") => Some(alias),
            [other, ..] => return Err(refused(other.span)),
        };
        let alias = alias.map(|alias| ident(alias).ok_or_else(|| refused(alias.span)));
        let alias = alias.transpose()?;
        let (schema, table) = match name.as_slice() {
            [table] => (None, table.clone()),
            [schema, table] => (Some(schema.clone()), table.clone()),
            _ => return Err(refused(span)),
        };
        let named = |cte: &[TokenWithSpan]| {
            cte.first()
                .and_then(ident)
                .is_some_and(|name| name == table)
        };
        let ctes = self.with.get(1..).unwrap_or_default();
        if schema.is_none() && list(ctes).into_iter().any(named) {
            let message = format!("{table} is a query of WITH: its rows are no objects");
            return Err(StatementError::new(span, message).cure("name the table, with its schema"));
        }
        Ok(Relation {
            called: alias.unwrap_or_else(|| table.clone()),
            schema,
            table,
            span,
        })
    }

    /// `SELECT keys, values FROM table, beside WHERE condition`.
    fn select(
        &self,
        relation: &Relation,
        table: &[TokenWithSpan],
        values: &[&[TokenWithSpan]],
        beside: Option<&[TokenWithSpan]>,
        condition: Option<&[TokenWithSpan]>,
    ) -> Result<Statement, StatementError> {
        let at = relation.span;
        let mut tokens = self.with.to_vec();
        tokens.push(made("SELECT", at));
        for (index, key) in KEYS.iter().enumerate() {
            if index > 0 {
                tokens.push(at_place(Token::Comma, at));
            }
            tokens.push(quoted(&relation.called, at));
            tokens.push(at_place(Token::Period, at));
            tokens.push(quoted(key, at));
            tokens.push(made("AS", at));
            tokens.push(quoted(key, at));
        }
        for (index, value) in values.iter().enumerate() {
            tokens.push(at_place(Token::Comma, at));
            tokens.extend(in_parentheses(value));
            tokens.push(made("AS", at));
            tokens.push(quoted(&format!("value {}", index + 1), at));
        }
        tokens.push(made("FROM", at));
        tokens.extend_from_slice(table);
        if let Some(beside) = beside {
            tokens.push(at_place(Token::Comma, at));
            tokens.extend_from_slice(beside);
        }
        if let Some(condition) = condition {
            tokens.push(made("WHERE", at));
            tokens.extend(in_parentheses(condition));
        }
        self.rows(tokens)
    }

    fn returning(
        &self,
        clauses: &mut Clauses<'_>,
        table: &[TokenWithSpan],
    ) -> Result<Option<Statement>, StatementError> {
        let at = clauses.span();
        if !clauses.take(&["RETURNING"]) {
            return Ok(None);
        }
        let mut tokens = vec![made("SELECT", at)];
        tokens.extend_from_slice(filled(clauses.clause(), at, "RETURNING")?);
        tokens.push(made("FROM", at));
        tokens.extend_from_slice(table);
        let select = self.rows(tokens)?;
        Ok(Some(select))
    }

    fn rows(&self, tokens: Vec<TokenWithSpan>) -> Result<Statement, StatementError> {
        match guard::ast(tokens)? {
            Some(Ast::Query(query)) if is_rows(&query) => Ok(statement(self.sql, query)),
            _ => Err(StatementError::new(
                Position::default(),
                "the rows of the statement are no SELECT",
            )),
        }
    }
}

/// Whether a query is made of rows alone and not of statements that change something.
fn is_rows(query: &Query) -> bool {
    matches!(
        *query.body,
        SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::SetOperation { .. } | SetExpr::Query(_)
    )
}

/// What is set, and to what.
type Assignments<'a> = (Vec<Expr>, Vec<&'a [TokenWithSpan]>);

fn assignments(tokens: &[TokenWithSpan], at: Span) -> Result<Assignments<'_>, StatementError> {
    let (mut targets, mut values) = (Vec::new(), Vec::new());
    for assignment in list(filled(tokens, at, "SET")?) {
        let equals = assignment
            .iter()
            .position(|token| matches!(token.token, Token::Eq | Token::Assignment));
        let place = assignment.first().map_or(at, |token| token.span);
        let sides = equals.and_then(|equals| {
            let (target, value) = assignment.split_at_checked(equals)?;
            Some((target, value.get(1..)?))
        });
        let Some((target, value)) = sides else {
            return Err(StatementError::new(place, "SET takes path = value")
                .cure("write SET spec.replicas = 3"));
        };
        targets.push(path(target, place)?);
        values.push(filled(value, place, "SET")?);
    }
    Ok((targets, values))
}

fn path(tokens: &[TokenWithSpan], at: Span) -> Result<Expr, StatementError> {
    guard::expression(filled(tokens, at, "SET")?.to_vec())
}

/// WHERE, or none for ALL ROWS; one of them must be there.
fn condition<'a>(
    clauses: &mut Clauses<'a>,
    verb: &str,
) -> Result<Option<&'a [TokenWithSpan]>, StatementError> {
    let at = clauses.span();
    if clauses.take(&["WHERE"]) {
        let condition = filled(clauses.clause(), at, "WHERE")?;
        if clauses.is(&["ALL", "ROWS"]) {
            return Err(StatementError::new(
                clauses.span(),
                "ALL ROWS and WHERE exclude each other",
            ));
        }
        return Ok(Some(condition));
    }
    if clauses.take(&["ALL", "ROWS"]) {
        return Ok(None);
    }
    misplaced(clauses, verb)?;
    Err(StatementError::new(
        at,
        format!("{verb} without WHERE would be about every object"),
    )
    .cure("write WHERE ..., or ALL ROWS if that is meant"))
}

fn propagation(clauses: &mut Clauses<'_>) -> Result<Propagation, StatementError> {
    if !clauses.take(&["PROPAGATION"]) {
        return Ok(Propagation::default());
    }
    let known = [
        ("BACKGROUND", Propagation::Background),
        ("FOREGROUND", Propagation::Foreground),
        ("ORPHAN", Propagation::Orphan),
    ];
    let found = known.iter().find(|(word, _)| clauses.take(&[word]));
    match found {
        Some((_, propagation)) => Ok(*propagation),
        None => Err(StatementError::new(
            clauses.span(),
            "PROPAGATION is BACKGROUND, FOREGROUND or ORPHAN",
        )),
    }
}

/// Refuses what is left.
fn ended(clauses: &Clauses<'_>, verb: &str) -> Result<(), StatementError> {
    if clauses.is_done() {
        return Ok(());
    }
    misplaced(clauses, verb)?;
    Err(StatementError::new(
        clauses.span(),
        format!("{verb} is over before this"),
    ))
}

/// Refuses clauses that only a SELECT has.
fn misplaced(clauses: &Clauses<'_>, verb: &str) -> Result<(), StatementError> {
    let Some(word) = clauses.word(0) else {
        return Ok(());
    };
    let cure = match word.as_str() {
        "LIMIT" | "OFFSET" | "FETCH" | "ORDER" => {
            "choose rows in a subquery: WHERE uid IN (SELECT uid FROM ... ORDER BY ... LIMIT n)"
        }
        "GROUP" | "HAVING" | "WINDOW" => "compute in a subquery",
        "UNION" | "INTERSECT" | "EXCEPT" => "write a statement for each",
        "PROPAGATION" => "only DELETE has it",
        _ => return Ok(()),
    };
    Err(StatementError::new(clauses.span(), format!("{verb} has no {word}")).cure(cure))
}

fn no_returning(at: Span) -> StatementError {
    StatementError::new(
        at,
        "APPLY has no RETURNING: its objects may be of many kinds",
    )
    .cure("SELECT them afterwards")
}

/// Refuses a clause of which nothing is there.
fn filled<'a>(
    tokens: &'a [TokenWithSpan],
    at: Span,
    what: &str,
) -> Result<&'a [TokenWithSpan], StatementError> {
    match tokens {
        [] => Err(StatementError::new(at, format!("{what} is empty"))),
        some => Ok(some),
    }
}

/// A name, in lower case unless it is quoted.
fn ident(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) => Some(folded(&word.clone().into_ident(token.span))),
        _ => None,
    }
}

fn in_parentheses(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let at = tokens.first().map_or(Span::empty(), |token| token.span);
    let mut around = vec![at_place(Token::LParen, at)];
    around.extend_from_slice(tokens);
    around.push(at_place(Token::RParen, at));
    around
}

fn made(keyword: &str, at: Span) -> TokenWithSpan {
    at_place(Token::make_keyword(keyword), at)
}

fn quoted(name: &str, at: Span) -> TokenWithSpan {
    at_place(Token::make_word(name, Some('"')), at)
}

fn at_place(token: Token, span: Span) -> TokenWithSpan {
    TokenWithSpan { token, span }
}
