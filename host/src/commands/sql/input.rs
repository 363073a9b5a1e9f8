//! What a person typed at the prompt: statements and commands.

use super::script::{self, Part, Statement};
use crate::args::Output;
use clap::ValueEnum;
use std::time::Duration;

/// Time between two answers of `\watch`.
const WATCH: Duration = Duration::from_secs(2);
/// Shortest such time.
const FASTEST: f64 = 0.1;
/// Longest such time.
const SLOWEST: f64 = 86_400.0;

/// What `\?` shows.
pub(crate) const HELP: &str = r"\d                  tables
\d TABLE [PATH]     a table's columns and paths with their types; those below PATH
\dk                 all kinds: whether they can be read, and why not
\o FORMAT           output: table, wide, json, csv or yaml
\x                  one line for each value, or again one for each row
\timing             how long each statement takes, or no longer
\watch [SECONDS]    answers the statement again every 2 s, or so many; Ctrl-C ends it
\refresh            forgets what was listed: the next statement lists again
\g                  runs the statement, as ; does
\q                  leaves; so do Ctrl-D, quit and exit
A statement ends with ; and may have several lines. Tab completes; Ctrl-C cancels.
";

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step<'a> {
    Run(Statement<'a>),
    /// Runs the statement, or the one before, again and again.
    Watch(Option<Statement<'a>>, Duration),
    Do(Command),
    /// Not understood; why.
    Wrong(String),
}

/// A command of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Quit,
    Tables,
    Table { name: String, below: Option<String> },
    Kinds,
    Output(Output),
    Expanded,
    Timing,
    Refresh,
}

/// Whether Enter ends the input; else it begins a new line.
pub(crate) fn is_complete(input: &str) -> bool {
    if input.trim().is_empty() || word(input).is_some() {
        return true;
    }
    match script::parts(input).last() {
        Some(Part::Command(_)) => true,
        Some(Part::Statement(last)) => last.ended && !script::is_quoted_at_end(input),
        // Only comments.
        None => !script::is_quoted_at_end(input),
    }
}

/// What to do, in order. A statement at the end needs no `;`.
pub(crate) fn steps(input: &str) -> Vec<Step<'_>> {
    if let Some(command) = word(input) {
        return vec![Step::Do(command)];
    }
    let mut steps = Vec::new();
    for part in script::parts(input) {
        match part {
            Part::Statement(statement) => steps.push(Step::Run(statement)),
            Part::Command(text) => command(text, &mut steps),
        }
    }
    steps
}

/// Words that people type to leave or to ask.
fn word(input: &str) -> Option<Command> {
    match input.trim().trim_end_matches(';') {
        "quit" | "exit" => Some(Command::Quit),
        "help" => Some(Command::Help),
        _ => None,
    }
}

fn command<'a>(text: &str, steps: &mut Vec<Step<'a>>) {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let words: Vec<&str> = words.map(|word| word.trim_end_matches(';')).collect();
    let step = match (name.trim_end_matches(';'), words.as_slice()) {
        (r"\g", []) => return,
        (r"\?" | r"\h", _) => Step::Do(Command::Help),
        (r"\q", []) => Step::Do(Command::Quit),
        (r"\d" | r"\dt", []) => Step::Do(Command::Tables),
        (r"\d" | r"\dt", [name]) => table(name, None),
        (r"\d" | r"\dt", [name, below]) => table(name, Some((*below).to_owned())),
        (r"\dk", []) => Step::Do(Command::Kinds),
        (r"\x", []) => Step::Do(Command::Expanded),
        (r"\timing", []) => Step::Do(Command::Timing),
        (r"\refresh", []) => Step::Do(Command::Refresh),
        (r"\o", [format]) => match Output::from_str(format, true) {
            Ok(output) => Step::Do(Command::Output(output)),
            Err(_) => wrong(text, r"\o takes table, wide, json, csv or yaml"),
        },
        (r"\o", _) => wrong(text, r"\o takes table, wide, json, csv or yaml"),
        (r"\watch", []) => Step::Watch(unfinished(steps), WATCH),
        (r"\watch", [seconds]) => match pause(seconds) {
            Some(pause) => Step::Watch(unfinished(steps), pause),
            None => wrong(text, r"\watch takes seconds, from 0.1 on"),
        },
        _ => wrong(text, r"\? shows the commands"),
    };
    steps.push(step);
}

fn table<'a>(name: &str, below: Option<String>) -> Step<'a> {
    let name = name.to_owned();
    Step::Do(Command::Table { name, below })
}

fn wrong<'a>(text: &str, cure: &str) -> Step<'a> {
    Step::Wrong(format!("not a command: {text}; {cure}"))
}

/// The statement that stands before the command on its own: it is not also run by itself.
fn unfinished<'a>(steps: &mut Vec<Step<'a>>) -> Option<Statement<'a>> {
    match steps.pop() {
        Some(Step::Run(statement)) if !statement.ended => Some(statement),
        Some(other) => {
            steps.push(other);
            None
        }
        None => None,
    }
}

fn pause(seconds: &str) -> Option<Duration> {
    let seconds: f64 = seconds.parse().ok()?;
    (FASTEST..=SLOWEST)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(input: &str) -> Vec<String> {
        let steps = steps(input).into_iter();
        steps
            .map(|step| match step {
                Step::Run(statement) => format!("run {}", statement.text),
                Step::Watch(statement, pause) => {
                    format!("watch {} {pause:?}", statement.map_or("-", |s| s.text))
                }
                Step::Do(command) => format!("{command:?}"),
                Step::Wrong(why) => why,
            })
            .collect()
    }

    #[test]
    fn enter_ends_the_input_once_it_is_whole() {
        for whole in [
            "",
            "  ",
            "SELECT 1;",
            "SELECT 1; -- x",
            "-- x",
            "SELECT 1\n;",
            r"\d",
            r"SELECT 1 \g",
            r"SELECT 1 \watch 3",
            "quit",
            "exit;",
            "help",
            "SELECT ';';",
        ] {
            assert!(is_complete(whole), "{whole:?}");
        }
        for part in [
            "SELECT 1",
            "SELECT ';",
            "SELECT 1; SELECT 2",
            "SELECT 'a\n;",
            "SELECT $$;",
            "/* x",
        ] {
            assert!(!is_complete(part), "{part:?}");
        }
    }

    #[test]
    fn statements_and_commands_become_steps() {
        let cases = [
            ("SELECT 1; SELECT 2;", vec!["run SELECT 1", "run SELECT 2"]),
            ("SELECT 1", vec!["run SELECT 1"]),
            (r"\o json", vec!["Output(Json)"]),
            (r"\o YAML;", vec!["Output(Yaml)"]),
            (r"\d", vec!["Tables"]),
            (r"\d pods;", vec![r#"Table { name: "pods", below: None }"#]),
            (
                r"\d pods spec",
                vec![r#"Table { name: "pods", below: Some("spec") }"#],
            ),
            (r"SELECT 1 \watch", vec!["watch SELECT 1 2s"]),
            (
                r"SELECT 1; \watch 0.5",
                vec!["run SELECT 1", "watch - 500ms"],
            ),
            (r"\watch", vec!["watch - 2s"]),
            (r"SELECT 1 \g", vec!["run SELECT 1"]),
            ("exit", vec!["Quit"]),
            ("", vec![]),
        ];
        for (input, wanted) in cases {
            assert_eq!(shown(input), wanted, "{input}");
        }
    }

    #[test]
    fn what_is_no_command_says_what_to_type() {
        for (input, cure) in [
            (r"\z", r"\? shows the commands"),
            (r"\o xml", "json, csv or yaml"),
            (r"\o", "json, csv or yaml"),
            (r"\watch 0", "from 0.1 on"),
            (r"\watch NaN", "from 0.1 on"),
            (r"\watch 1e300", "from 0.1 on"),
        ] {
            let shown = shown(input);
            assert!(
                shown.iter().any(|text| text.contains(cure)),
                "{input}: {shown:?}"
            );
        }
    }

    #[test]
    fn every_command_of_the_help_is_one() {
        for line in HELP.lines().filter(|line| line.starts_with('\\')) {
            let text = line.split("  ").next().unwrap();
            let text = text
                .replace("TABLE [PATH]", "pods")
                .replace("FORMAT", "json");
            let text = text.replace("[SECONDS]", "");
            assert!(
                !shown(&text).iter().any(|s| s.contains("not a command")),
                "{text}"
            );
        }
    }
}
