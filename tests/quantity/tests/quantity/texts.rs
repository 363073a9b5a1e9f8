//! Texts that are quantities, nearly are, or are not. The same ones in every run.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;

const SUFFIXES: [&str; 17] = [
    "", "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
];
/// What looks like a suffix.
const NEARLY: [&str; 15] = [
    "K", "i", "mi", "ki", "Kii", "e", "E+", "e-", "ee3", "m3", "Ki+3", "Zi", "µ", " ", "e ",
];

/// The expression is read once, not for each text.
fn matching(expression: &str) -> impl Strategy<Value = String> + use<> {
    string_regex(expression).unwrap()
}

fn exponent() -> impl Strategy<Value = String> {
    let small = (select(vec!["e", "E"]), select(vec!["", "+", "-"]), 0..25u32)
        .prop_map(|(letter, sign, number)| format!("{letter}{sign}{number}"));
    // The API server makes all the digits: larger ones take it minutes.
    let large = (select(vec!["e", "E-", "e+"]), 25..400u32)
        .prop_map(|(letter, number)| format!("{letter}{number}"));
    let zeros = matching("e-?0{1,20}[0-9]");
    let odd = select(vec![
        "e4294967296",
        "e-4294967299",
        "E9223372036854775807",
        "e9223372036854775808",
        "e99999999999999999999",
        "e1.5",
        "e1e1",
        "e 1",
        "e+-1",
    ]);
    prop_oneof![16 => small, 2 => large, 1 => zeros, 1 => odd.prop_map(str::to_owned)]
}

/// Near the bounds of 64 bits, of the cap, of 18 digits.
fn edge() -> impl Strategy<Value = String> {
    let bound = select(vec![
        i128::from(i64::MAX),
        1 << 53,
        10i128.pow(9),
        10i128.pow(18),
        10i128.pow(19),
        10i128.pow(29),
        10i128.pow(38),
        1000,
        1024,
    ]);
    (bound, -2..3i128).prop_map(|(bound, off)| (bound + off).to_string())
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => matching("[0-9]{1,4}"),
        6 => matching("[0-9]{1,3}\\.[0-9]{0,4}"),
        2 => matching("\\.[0-9]{1,12}"),
        2 => matching("0{0,3}[1-9][0-9]{0,25}0{0,6}"),
        2 => matching("[0-9]{0,20}\\.[0-9]{0,20}"),
        3 => edge(),
        1 => (edge(), matching("[0-9]{0,10}")).prop_map(|(whole, rest)| format!("{whole}.{rest}")),
        1 => Just(String::new()),
        1 => matching("[0-9.]{0,6}"),
    ]
}

fn one() -> impl Strategy<Value = String> {
    let sign = prop_oneof![
        30 => select(vec!["", "", "", "", "-", "-", "+"]),
        1 => select(vec!["--", "+-", " ", "−"]),
    ];
    let suffix = prop_oneof![
        12 => select(SUFFIXES.to_vec()).prop_map(str::to_owned),
        1 => select(NEARLY.to_vec()).prop_map(str::to_owned),
        3 => exponent(),
    ];
    let formed = (sign, number(), suffix)
        .prop_map(|(sign, number, suffix)| format!("{sign}{number}{suffix}"));
    let spaced = (
        unsigned(),
        select(vec![" ", "\t", "\n", "\u{a0}", "\u{feff}"]),
        any::<bool>(),
    )
        .prop_map(|(text, space, before)| {
            if before {
                format!("{space}{text}")
            } else {
                format!("{text}{space}")
            }
        });
    prop_oneof![
        40 => formed,
        1 => spaced,
        2 => matching("[-+]?[0-9.eEinumkKMGTP+-]{0,6}"),
        1 => matching("\\PC{0,6}"),
        1 => matching("[0-9]{1,3}[٠-٩０-９]{1,2}"),
        1 => Just(String::new()),
    ]
}

fn unsigned() -> impl Strategy<Value = String> {
    (number(), select(SUFFIXES.to_vec())).prop_map(|(number, suffix)| number + suffix)
}

/// So many texts.
pub(crate) fn texts(count: usize) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let strategy = one();
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}
