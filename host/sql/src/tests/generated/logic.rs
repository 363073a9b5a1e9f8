//! Conditions, and what they are by the rules of three truth values.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::world::{Cell, Kind, Of, TEXTS};
use crate::Param;

/// What a condition compares.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// A column of the kind, by position.
    Column(usize),
    /// A text column where a number is wanted.
    Number(usize),
    Value(Cell),
    Coalesce(usize, Cell),
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    Constant(Option<bool>),
    Compare(Term, &'static str, Term),
    /// A column that is boolean.
    Holds(usize),
    Null {
        of: Term,
        not: bool,
    },
    In {
        of: Term,
        list: Vec<Cell>,
        not: bool,
    },
    Between {
        of: Term,
        from: Cell,
        to: Cell,
        not: bool,
    },
    Like {
        of: Term,
        pattern: &'static str,
        not: bool,
    },
    Distinct {
        one: Term,
        other: Term,
        not: bool,
    },
    Is {
        of: Box<Condition>,
        truth: Option<bool>,
        not: bool,
    },
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Case(Box<Condition>, Box<Condition>, Box<Condition>),
}

const OPERATORS: [&str; 6] = ["=", "=", "<>", "<", "<=", ">="];
const PATTERNS: [&str; 8] = ["%", "shop%", "%o%", "_", "", "it''s", "%\u{e4}%", "n_"];

fn value(of: Of) -> BoxedStrategy<Cell> {
    let some = match of {
        Of::Text => select(TEXTS.to_vec())
            .prop_map(|text| Cell::Text(text.to_owned()))
            .boxed(),
        Of::Int => select(vec![-1, 0, 1, 2, 3, 10, i64::MAX])
            .prop_map(Cell::Int)
            .boxed(),
        Of::Bool => any::<bool>().prop_map(Cell::Bool).boxed(),
    };
    prop_oneof![12 => some, 1 => Just(Cell::Null)].boxed()
}

fn not_null(of: Of) -> impl Strategy<Value = Cell> {
    value(of).prop_filter("a value", |cell| *cell != Cell::Null)
}

/// Conditions on one column.
fn on(kind: &'static Kind, column: usize) -> BoxedStrategy<Condition> {
    let of = kind.columns[column].of;
    let alike: Vec<usize> = (0..kind.columns.len())
        .filter(|other| kind.columns[*other].of == of)
        .collect();
    let term = prop_oneof![
        6 => Just(Term::Column(column)),
        1 => not_null(of).prop_map(move |cell| Term::Coalesce(column, cell)),
    ];
    let other = prop_oneof![
        5 => value(of).prop_map(Term::Value),
        1 => select(alike).prop_map(Term::Column),
    ];
    let not = any::<bool>;
    let compare = (term.clone(), select(OPERATORS.to_vec()), other.clone())
        .prop_map(|(one, operator, other)| Condition::Compare(one, operator, other));
    let null = (term.clone(), not()).prop_map(|(of, not)| Condition::Null { of, not });
    let list = (term.clone(), prop::collection::vec(value(of), 1..6), not())
        .prop_map(|(of, list, not)| Condition::In { of, list, not });
    let between = (term.clone(), value(of), value(of), not())
        .prop_map(|(of, from, to, not)| Condition::Between { of, from, to, not });
    let distinct = (term.clone(), other, not()).prop_map(|(one, other, not)| Condition::Distinct {
        one,
        other,
        not,
    });
    let common = prop_oneof![4 => compare, 1 => null, 3 => list, 1 => between, 1 => distinct];
    match of {
        Of::Text => {
            let like = (term, select(PATTERNS.to_vec()), not())
                .prop_map(|(of, pattern, not)| Condition::Like { of, pattern, not });
            let number =
                (select(OPERATORS.to_vec()), -1..4i64).prop_map(move |(operator, number)| {
                    Condition::Compare(
                        Term::Number(column),
                        operator,
                        Term::Value(Cell::Int(number)),
                    )
                });
            prop_oneof![10 => common, 2 => like, 1 => number].boxed()
        }
        Of::Int => common.boxed(),
        Of::Bool => prop_oneof![3 => common, 1 => Just(Condition::Holds(column))].boxed(),
    }
}

/// Conditions on one of the columns of a kind.
pub(super) fn simple(kind: &'static Kind) -> impl Strategy<Value = Condition> {
    (0..kind.columns.len()).prop_flat_map(move |column| on(kind, column))
}

/// Conditions on the rows of a kind.
pub(super) fn condition(kind: &'static Kind) -> BoxedStrategy<Condition> {
    let constant = select(vec![Some(true), Some(false), None]).prop_map(Condition::Constant);
    let leaf = prop_oneof![20 => simple(kind), 1 => constant];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let two = (inner.clone(), inner.clone())
            .prop_map(|(one, other)| (Box::new(one), Box::new(other)));
        prop_oneof![
            3 => two.clone().prop_map(|(one, other)| Condition::And(one, other)),
            3 => two.prop_map(|(one, other)| Condition::Or(one, other)),
            2 => inner.clone().prop_map(|one| Condition::Not(Box::new(one))),
            1 => (inner.clone(), select(vec![Some(true), Some(false), None]), any::<bool>())
                .prop_map(|(of, truth, not)| Condition::Is { of: Box::new(of), truth, not }),
            1 => (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| {
                Condition::Case(Box::new(a), Box::new(b), Box::new(c))
            }),
        ]
    })
    .boxed()
}

/// How a condition is written: the names of its columns, and whether values are parameters.
pub(super) struct Written<'a> {
    pub name: &'a dyn Fn(usize) -> String,
    pub params: Option<Vec<Param>>,
}

fn literal(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Cell::Int(number) => number.to_string(),
        Cell::Bool(truth) => truth.to_string(),
    }
}

impl Written<'_> {
    fn value(&mut self, cell: &Cell) -> String {
        let Some(params) = &mut self.params else {
            return literal(cell);
        };
        params.push(match cell {
            Cell::Null => Param::Null,
            Cell::Text(text) => Param::from(text.as_str()),
            Cell::Int(number) => Param::Int(*number),
            Cell::Bool(truth) => Param::Bool(*truth),
        });
        format!("${}", params.len())
    }

    fn term(&mut self, term: &Term) -> String {
        match term {
            Term::Column(column) | Term::Number(column) => (self.name)(*column),
            Term::Value(cell) => self.value(cell),
            Term::Coalesce(column, cell) => {
                format!("coalesce({}, {})", (self.name)(*column), literal(cell))
            }
        }
    }

    pub(super) fn condition(&mut self, condition: &Condition) -> String {
        let word = |not: &bool| if *not { " NOT" } else { "" };
        match condition {
            Condition::Constant(truth) => literal(&truth.map_or(Cell::Null, Cell::Bool)),
            // A number beside a text makes it a number only where it is written as one.
            Condition::Compare(one @ Term::Number(_), operator, Term::Value(number)) => {
                format!("{} {operator} {}", self.term(one), literal(number))
            }
            Condition::Compare(one, operator, other) => {
                format!("{} {operator} {}", self.term(one), self.term(other))
            }
            Condition::Holds(column) => (self.name)(*column),
            Condition::Null { of, not } => format!("{} IS{} NULL", self.term(of), word(not)),
            Condition::In { of, list, not } => {
                let of = self.term(of);
                let list: Vec<String> = list.iter().map(|cell| self.value(cell)).collect();
                format!("{of}{} IN ({})", word(not), list.join(", "))
            }
            Condition::Between { of, from, to, not } => {
                let of = self.term(of);
                format!(
                    "{of}{} BETWEEN {} AND {}",
                    word(not),
                    self.value(from),
                    self.value(to)
                )
            }
            Condition::Like { of, pattern, not } => {
                format!("{}{} LIKE '{pattern}'", self.term(of), word(not))
            }
            Condition::Distinct { one, other, not } => {
                format!(
                    "{} IS{} DISTINCT FROM {}",
                    self.term(one),
                    word(not),
                    self.term(other)
                )
            }
            Condition::Is { of, truth, not } => {
                let truth = match truth {
                    Some(true) => "TRUE",
                    Some(false) => "FALSE",
                    None => "UNKNOWN",
                };
                format!("({}) IS{} {truth}", self.condition(of), word(not))
            }
            Condition::Not(of) => format!("NOT ({})", self.condition(of)),
            Condition::And(one, other) => {
                format!("({}) AND ({})", self.condition(one), self.condition(other))
            }
            Condition::Or(one, other) => {
                format!("({}) OR ({})", self.condition(one), self.condition(other))
            }
            Condition::Case(when, then, other) => format!(
                "CASE WHEN {} THEN {} ELSE {} END",
                self.condition(when),
                self.condition(then),
                self.condition(other)
            ),
        }
    }
}

/// A condition as text, with its columns named so and its values as literals.
pub(super) fn written(condition: &Condition, name: &dyn Fn(usize) -> String) -> String {
    Written { name, params: None }.condition(condition)
}

fn not(truth: Option<bool>) -> Option<bool> {
    truth.map(|truth| !truth)
}

fn and(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn compare(one: &Cell, operator: &str, other: &Cell) -> Option<bool> {
    if *one == Cell::Null || *other == Cell::Null {
        return None;
    }
    Some(match operator {
        "=" => one == other,
        "<>" => one != other,
        "<" => one < other,
        "<=" => one <= other,
        ">=" => one >= other,
        other => panic!("{other}"),
    })
}

/// `%` is any text, `_` any character.
fn like(text: &str, pattern: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    if first == '%' {
        let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        return ends.any(|at| like(&text[at..], rest));
    }
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|char| (first == '_' || first == char) && like(chars.as_str(), rest))
}

impl Term {
    fn of(&self, kind: &Kind, object: &Value) -> Cell {
        match self {
            Self::Column(column) => kind.columns[*column].of(object),
            Self::Number(column) => match kind.columns[*column].of(object) {
                Cell::Text(text) => text.parse().map_or(Cell::Null, Cell::Int),
                other => other,
            },
            Self::Value(cell) => cell.clone(),
            Self::Coalesce(column, cell) => match kind.columns[*column].of(object) {
                Cell::Null => cell.clone(),
                some => some,
            },
        }
    }
}

impl Condition {
    /// What it is for one object.
    pub(super) fn of(&self, kind: &Kind, object: &Value) -> Option<bool> {
        let negated = |truth: Option<bool>, by: bool| if by { not(truth) } else { truth };
        match self {
            Self::Constant(truth) => *truth,
            Self::Compare(one, operator, other) => {
                compare(&one.of(kind, object), operator, &other.of(kind, object))
            }
            Self::Holds(column) => match kind.columns[*column].of(object) {
                Cell::Bool(truth) => Some(truth),
                _ => None,
            },
            Self::Null { of, not } => Some((of.of(kind, object) == Cell::Null) != *not),
            Self::In { of, list, not } => {
                let of = of.of(kind, object);
                let equal: Vec<_> = list.iter().map(|cell| compare(&of, "=", cell)).collect();
                let any = match equal.contains(&Some(true)) {
                    true => Some(true),
                    false if equal.contains(&None) => None,
                    false => Some(false),
                };
                negated(any, *not)
            }
            Self::Between { of, from, to, not } => {
                let of = of.of(kind, object);
                negated(and(compare(&of, ">=", from), compare(&of, "<=", to)), *not)
            }
            Self::Like { of, pattern, not } => match of.of(kind, object) {
                Cell::Text(text) => Some(like(&text, &pattern.replace("''", "'")) != *not),
                _ => None,
            },
            Self::Distinct { one, other, not } => {
                Some((one.of(kind, object) != other.of(kind, object)) != *not)
            }
            Self::Is { of, truth, not } => Some((of.of(kind, object) == *truth) != *not),
            Self::Not(of) => not(of.of(kind, object)),
            Self::And(one, other) => and(one.of(kind, object), other.of(kind, object)),
            Self::Or(one, other) => {
                not(and(not(one.of(kind, object)), not(other.of(kind, object))))
            }
            Self::Case(when, then, other) => match when.of(kind, object) {
                Some(true) => then.of(kind, object),
                _ => other.of(kind, object),
            },
        }
    }
}
