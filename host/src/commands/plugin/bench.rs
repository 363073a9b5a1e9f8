//! `kybern plugin bench`: what compiling the plugin and calling it costs on this machine.

use super::component::Component;
use super::situation::Situation;
use super::subject::{Ended, Input, Subject};
use super::{document, refused};
use crate::args::{BenchArgs, Format, Report};
use crate::terminal::say;
use kybern_plugin::Usage;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// Calls before those that count: the first pay for memory that later ones find.
const WARM_UP: u32 = 20;

/// Calls `decide` in a fresh instance each time, and prints what it took.
pub(super) async fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let component = Component::read(&args.wasm)?;
    let situation = Situation::read(&args.situation)?;
    let subject = match Subject::load(&component).await? {
        Ok(subject) => subject,
        Err(why) => return Ok(refused(&component, &why)),
    };
    let measured = match subject.input(&situation)? {
        Ok(input) => measure(&subject, &input, args.calls),
        Err(ended) => Err(ended),
    };
    let usages = match measured {
        Ok(usages) => usages,
        Err(ended) => {
            eprintln!("no plan: {ended}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let figures = Figures::of(&component, &subject, &usages);
    match args.output {
        Report::Text => figures.print(),
        Report::Json => document::print(&figures, Format::Json)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What each of so many calls used.
fn measure(subject: &Subject, input: &Input, calls: u32) -> Result<Vec<Usage>, Ended> {
    for _ in 0..WARM_UP {
        subject.decide_on(input, false)?;
    }
    let calls = (0..calls).map(|_| Ok(subject.decide_on(input, false)?.usage));
    calls.collect()
}

/// What is printed; times in microseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    digest: String,
    component_bytes: usize,
    code_bytes: usize,
    compile_micros: u64,
    calls: usize,
    cpu_micros: Spread,
    wall_micros: Spread,
    peak_memory_bytes: usize,
    bytes_in: u64,
    bytes_out: u64,
}

/// Percentiles, by nearest rank.
#[derive(Debug, PartialEq, Serialize)]
struct Spread {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.collect();
        times.sort();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            let time = times.get(rank - 1).copied().unwrap_or_default();
            // Tenths of a microsecond: finer differs with each run.
            (time.as_secs_f64() * 1e7).round() / 10.0
        };
        Self {
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            max: rank(100),
        }
    }
}

impl Figures {
    fn of(component: &Component, subject: &Subject, usages: &[Usage]) -> Self {
        let last = usages.last().copied().unwrap_or_default();
        let peaks = usages.iter().map(|usage| usage.peak_memory);
        Self {
            digest: component.digest.clone(),
            component_bytes: component.bytes.len(),
            code_bytes: subject.plugin.code_bytes(),
            compile_micros: u64::try_from(subject.load_time.as_micros()).unwrap_or(u64::MAX),
            calls: usages.len(),
            cpu_micros: Spread::of(usages.iter().map(|usage| usage.time)),
            wall_micros: Spread::of(usages.iter().map(|usage| usage.wall_time)),
            peak_memory_bytes: peaks.max().unwrap_or_default(),
            bytes_in: last.bytes_in,
            bytes_out: last.bytes_out,
        }
    }

    fn print(&self) {
        let line = |what: &str, spread: &Spread| {
            let Spread { p50, p90, p99, max } = spread;
            say!("{what:<18} {p50:>9.1} {p90:>9.1} {p99:>9.1} {max:>9.1}");
        };
        say!(
            "component          {} bytes; {} bytes of machine code",
            self.component_bytes,
            self.code_bytes
        );
        say!(
            "check and compile  {:.1} ms",
            Duration::from_micros(self.compile_micros).as_secs_f64() * 1e3
        );
        say!(
            "calls              {}, each in a fresh instance",
            self.calls
        );
        say!(
            "{:<18} {:>9} {:>9} {:>9} {:>9}",
            "microseconds",
            "p50",
            "p90",
            "p99",
            "max"
        );
        line("  CPU", &self.cpu_micros);
        line("  clock", &self.wall_micros);
        say!("peak memory        {} bytes", self.peak_memory_bytes);
        say!(
            "handed over        {} bytes in, {} bytes out",
            self.bytes_in,
            self.bytes_out
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let spread = |count: u64| Spread::of((1..=count).rev().map(Duration::from_micros));
        let known = Spread {
            p50: 50.0,
            p90: 90.0,
            p99: 99.0,
            max: 100.0,
        };
        assert_eq!(spread(100), known);
        let one = Spread {
            p50: 1.0,
            p90: 1.0,
            p99: 1.0,
            max: 1.0,
        };
        assert_eq!(spread(1), one);
    }
}
