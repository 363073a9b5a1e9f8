//! What becomes of an answer, as text: a line for each change.
//!
//! # Contract
//!
//! For people `+`, `-` and `~` with the sequence; of an update the key and what is another. JSON has
//! one object for each line. CSV has the operation and the sequence before the columns, of an update
//! the new row; what RESUME takes is a column behind them where marks were asked for.

use super::grid::{NULL, cut, one_line};
use super::{Style, cells, csv, json, names};
use crate::args::Output;
use crate::asking::{Happened, News};
use kybern_sql::Answer;
use serde_json::{Map, Value, json};

/// Shows what happens, in order.
pub(crate) struct Changes {
    style: Style,
    key: Option<Vec<usize>>,
    /// Whether marks are shown.
    marks: bool,
    /// Whether the columns have been named.
    begun: bool,
}

impl Changes {
    pub(crate) fn new(style: Style, key: Option<Vec<usize>>, marks: bool) -> Self {
        Self {
            style,
            key,
            marks,
            begun: false,
        }
    }

    /// What has happened, as text. Errors are for others to tell.
    pub(crate) fn render(&mut self, news: &News) -> anyhow::Result<String> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) && self.style.output == Output::Csv {
            let first = ["op", "sequence"].into_iter();
            let first = first.chain(self.marks.then_some("resume"));
            let header = first.map(str::to_owned).chain(names(&news.new));
            csv::line(&mut text, header.map(|name| csv::field(Some(&name))));
        }
        let shown = |what: &Happened| match &*what.op {
            "progress" => self.marks,
            "error" => false,
            _ => true,
        };
        match self.style.output {
            Output::Table | Output::Wide => self.lines(&mut text, news, shown)?,
            Output::Csv => self.rows(&mut text, news, shown)?,
            Output::Json => {
                for object in self.objects(news, shown)? {
                    text.push_str(&format!("{object}\n"));
                }
            }
            Output::Yaml => {
                for object in self.objects(news, shown)? {
                    text.push_str(&format!("---\n{}", serde_saphyr::to_string(&object)?));
                }
            }
        }
        Ok(text)
    }

    fn lines(
        &self,
        text: &mut String,
        news: &News,
        shown: impl Fn(&Happened) -> bool,
    ) -> anyhow::Result<()> {
        let names = names(&news.new);
        let (old, new) = (cells(&news.old)?, cells(&news.new)?);
        for ((what, old), new) in news.of.iter().zip(&old).zip(&new) {
            if !shown(what) {
                continue;
            }
            let (sign, words) = match &*what.op {
                "insert" => ('+', row(&names, new)),
                "delete" => ('-', row(&names, old)),
                "update" => ('~', self.difference(&names, old, new)),
                _ => ('=', what.text.clone().unwrap_or_default()),
            };
            let line = format!("{sign} {}  {words}", what.sequence);
            match self.style.cut_to() {
                Some(width) => text.push_str(&cut(&line, width)),
                None => text.push_str(&line),
            }
            text.push('\n');
        }
        Ok(())
    }

    fn difference(
        &self,
        names: &[String],
        old: &[Option<String>],
        new: &[Option<String>],
    ) -> String {
        let columns = names.iter().zip(old.iter().zip(new)).enumerate();
        let words = columns.filter_map(|(at, (name, (old, new)))| {
            let key = self.key.as_ref().is_some_and(|key| key.contains(&at));
            match (key, old == new) {
                (true, _) => Some(format!("{}={}", one_line(name), cell(new))),
                (false, true) => None,
                (false, false) => {
                    Some(format!("{}={} -> {}", one_line(name), cell(old), cell(new)))
                }
            }
        });
        words.collect::<Vec<_>>().join("  ")
    }

    fn rows(
        &self,
        text: &mut String,
        news: &News,
        shown: impl Fn(&Happened) -> bool,
    ) -> anyhow::Result<()> {
        let (old, new) = (cells(&news.old)?, cells(&news.new)?);
        for ((what, old), new) in news.of.iter().zip(&old).zip(&new) {
            if !shown(what) {
                continue;
            }
            let row = if what.has_new { new } else { old };
            let sequence = what.sequence.to_string();
            let first = [Some(&*what.op), Some(&*sequence)].into_iter();
            let first = first.chain(self.marks.then_some(what.text.as_deref()));
            let rest = row.iter().map(|cell| cell.as_deref());
            csv::line(text, first.chain(rest).map(csv::field));
        }
        Ok(())
    }

    fn objects(
        &self,
        news: &News,
        shown: impl Fn(&Happened) -> bool,
    ) -> anyhow::Result<Vec<Value>> {
        let side = |answer: &Answer| match json::objects(answer) {
            Ok(Value::Array(rows)) => Ok(rows),
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let (olds, news_of) = (side(&news.old)?, side(&news.new)?);
        let names = names(&news.new);
        let both = news.of.iter().zip(olds.into_iter().zip(news_of));
        let shown = both.filter(|(what, _)| shown(what));
        Ok(shown
            .map(|(what, (old, new))| {
                if what.op == "progress" {
                    return json!({ "op": what.op, "sequence": what.sequence, "resume": what.text });
                }
                let key = self.key.as_ref().map(|key| {
                    let row = if what.has_new { &new } else { &old };
                    let value = |name: &String| Some((name.clone(), row.get(name)?.clone()));
                    let columns = key.iter().filter_map(|at| value(names.get(*at)?));
                    Value::Object(columns.collect::<Map<_, _>>())
                });
                let side = |there: bool, row: Value| if there { row } else { Value::Null };
                json!({
                    "op": what.op,
                    "sequence": what.sequence,
                    "key": key,
                    "old": side(what.has_old, old),
                    "new": side(what.has_new, new),
                })
            })
            .collect())
    }
}

fn row(names: &[String], row: &[Option<String>]) -> String {
    let words = names.iter().zip(row);
    let words = words.map(|(name, value)| format!("{}={}", one_line(name), cell(value)));
    words.collect::<Vec<_>>().join("  ")
}

fn cell(value: &Option<String>) -> String {
    match value {
        Some(text) => one_line(text).into_owned(),
        None => NULL.to_owned(),
    }
}
