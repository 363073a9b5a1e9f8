//! What was measured: lines of JSON for programs, a table for people.

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// With less the 99th percentile is one of the largest samples, and says little.
const ENOUGH_FOR_P99: usize = 1_000;

/// One result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) bench: &'static str,
    pub(crate) case: String,
    pub(crate) metric: &'static str,
    /// The median of `n` samples, or another quantile where the metric says so.
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) system: String,
    pub(crate) n: usize,
}

/// A metric's name and unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// Collects results; prints JSON as it comes and the table at the end.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Report {
        Report {
            json,
            lines: Vec::new(),
        }
    }

    /// Reports the median; nothing when there is no sample.
    pub(crate) fn median(
        &mut self,
        (bench, case): (&'static str, &str),
        metric: Metric,
        system: String,
        samples: &[f64],
    ) {
        if let Some(value) = median(samples) {
            self.value((bench, case), metric, system, (value, samples.len()));
        }
    }

    /// Reports the 99th percentile; nothing when there are too few samples for one.
    pub(crate) fn p99(
        &mut self,
        of: (&'static str, &str),
        metric: Metric,
        system: String,
        samples: &[f64],
    ) {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let enough = sorted.len() >= ENOUGH_FOR_P99;
        let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        if let Some(value) = sorted.get(at).filter(|_| enough) {
            self.value(of, metric, system, (*value, sorted.len()));
        }
    }

    fn value(
        &mut self,
        (bench, case): (&'static str, &str),
        metric: Metric,
        system: String,
        (value, n): (f64, usize),
    ) {
        let line = Line {
            bench,
            case: case.to_owned(),
            metric: metric.name,
            value: rounded(value),
            unit: metric.unit,
            system,
            n,
        };
        if self.json {
            match serde_json::to_string(&line) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("error: a result cannot be written: {error}"),
            }
        }
        self.lines.push(line);
    }

    /// Says something that is no result. Never on standard output.
    #[expect(clippy::unused_self, reason = "results and remarks go one way")]
    pub(crate) fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Prints the table, unless programs read.
    pub(crate) fn finish(&self) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header(["bench", "case", "metric", "system", "value", "unit", "n"]);
        for line in &self.lines {
            table.add_row([
                line.bench,
                &line.case,
                line.metric,
                &line.system,
                &line.value.to_string(),
                line.unit,
                &line.n.to_string(),
            ]);
        }
        for column in [4, 6] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// Four digits that count: machines are noisier than that.
fn rounded(value: f64) -> f64 {
    if value.abs() >= 1_000.0 || value == 0.0 {
        return value.round();
    }
    let scale = 1_000.0 / 10_f64.powf(value.abs().log10().floor());
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn there_is_a_p99_of_enough_samples() {
        let metric = Metric {
            name: "p99_ms",
            unit: "ms",
        };
        let mut report = Report::new(true);
        let samples: Vec<f64> = (1..=1_000).map(f64::from).collect();
        report.p99(("b", "few"), metric, String::new(), &samples[1..]);
        assert!(report.lines.is_empty());
        report.p99(("b", "enough"), metric, String::new(), &samples);
        assert_eq!((report.lines[0].value, report.lines[0].n), (990.0, 1_000));
    }

    #[test]
    fn four_digits_stay() {
        assert_eq!(rounded(0.0), 0.0);
        assert_eq!(rounded(1.234_56), 1.235);
        assert_eq!(rounded(0.012_345_6), 0.012_35);
        assert_eq!(rounded(54_321.6), 54_322.0);
    }
}
