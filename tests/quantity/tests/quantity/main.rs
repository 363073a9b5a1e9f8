//! Reads, rounds, compares and adds what Kubernetes' own code does, on the same texts.
#![cfg(test)]

mod texts;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kybern_statement::Quantity;
use serde::Deserialize;

/// 10^29: where our values end.
const END: i128 = 10i128.pow(38);

/// What the Go program says of one text.
#[derive(Deserialize)]
struct Answer {
    valid: bool,
    #[serde(default)]
    canonical: String,
    milli: i64,
    value: i64,
    #[serde(default)]
    nanos: String,
    #[serde(default)]
    milli_up: String,
    #[serde(default)]
    value_up: String,
    compared: Option<i8>,
    #[serde(default)]
    sum: String,
}

impl Answer {
    /// Billionths; capped as ours are.
    fn nanos(&self) -> i128 {
        capped(&self.nanos)
    }
}

/// An integer of any length.
fn capped(text: &str) -> i128 {
    let last = if text.starts_with('-') {
        1 - END
    } else {
        END - 1
    };
    text.parse().unwrap_or(last).clamp(1 - END, END - 1)
}

fn in_64_bits(text: &str) -> i64 {
    text.parse().unwrap_or(if text.starts_with('-') {
        -i64::MAX
    } else {
        i64::MAX
    })
}

fn ask(texts: &[String]) -> Vec<Answer> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let program = kybern_testcluster::go_program("quantity", &module).unwrap();
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = kybern_testcluster::spawn(command).unwrap();
    // It reads all before it writes anything.
    let mut input = child.stdin.take().unwrap();
    for text in texts {
        writeln!(input, "{}", serde_json::to_string(text).unwrap()).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How many texts showed what.
#[derive(Debug, Default)]
struct Seen {
    valid: usize,
    invalid: usize,
    capped: usize,
    overflowed: usize,
    rounded_otherwise: usize,
    pairs: usize,
}

#[test]
fn quantities_are_those_of_kubernetes() {
    let texts = texts::texts(10_000);
    let answers = ask(&texts);
    assert_eq!(answers.len(), texts.len());
    let mut seen = Seen::default();
    let mut before: Option<(Quantity, &Answer, &str)> = None;
    for (text, answer) in texts.iter().zip(&answers) {
        let ours: Result<Quantity, _> = text.parse();
        assert_eq!(ours.is_ok(), answer.valid, "{text:?}: {ours:?}");
        let Ok(ours) = ours else {
            seen.invalid += 1;
            before = None;
            continue;
        };
        seen.valid += 1;
        one(text, ours, answer, &mut seen);
        if let Some((first, answer, other)) = before {
            two(
                &format!("{other:?} and {text:?}"),
                first,
                ours,
                answer,
                &mut seen,
            );
        }
        before = Some((ours, answer, text));
    }
    // Texts of one sort only would prove little.
    let enough = seen.valid > 6000 && seen.invalid > 1500 && seen.pairs > 4000;
    assert!(enough && seen.capped < 1000, "{seen:?}");
    let rare = [seen.capped, seen.overflowed, seen.rounded_otherwise];
    assert!(rare.iter().all(|seen| *seen > 10), "{seen:?}");
}

/// Whether it is the value itself, not the last one.
fn is_inside(quantity: Quantity) -> bool {
    quantity.nanos().abs() < END - 1
}

fn one(text: &str, ours: Quantity, answer: &Answer, seen: &mut Seen) {
    assert_eq!(ours.nanos(), answer.nanos(), "{text:?}");
    seen.capped += usize::from(!is_inside(ours));
    // Past E there is no suffix: the API server writes such a value without one.
    let past = ours.nanos() != 0 && ours.nanos() % 10i128.pow(30) == 0;
    if is_inside(ours) && !past {
        let again: Quantity = answer.canonical.parse().unwrap();
        assert_eq!(again, ours, "{text:?} is {:?}", answer.canonical);
    }
    let again: Quantity = ours.to_string().parse().unwrap();
    assert_eq!(again, ours, "{text:?} is {ours}");
    for (ours, theirs, up) in [
        (ours.milli_value(), answer.milli, &answer.milli_up),
        (ours.value(), answer.value, &answer.value_up),
    ] {
        assert_eq!(ours, in_64_bits(up), "{text:?}");
        if ours == theirs {
            continue;
        }
        // Elsewhere they differ only where theirs is no longer the value.
        let overflows = up.parse::<i64>().is_err() || i64::try_from(answer.nanos()).is_err();
        if overflows {
            seen.overflowed += 1;
        } else {
            let off = theirs - ours;
            assert!(
                ours < 0 && (1..=2).contains(&off),
                "{text:?}: {ours} and {theirs}"
            );
            seen.rounded_otherwise += 1;
        }
    }
}

fn two(texts: &str, first: Quantity, second: Quantity, answer: &Answer, seen: &mut Seen) {
    if !is_inside(first) && !is_inside(second) {
        return;
    }
    seen.pairs += 1;
    let compared = answer.compared.map(|theirs| theirs.cmp(&0));
    assert_eq!(Some(first.cmp(&second)), compared, "{texts}");
    if is_inside(first) && is_inside(second) {
        let sum = first.nanos() + second.nanos();
        assert_eq!(sum.to_string(), answer.sum, "{texts}");
    }
}
