//! What is being listed, on standard error, when it takes long and somebody looks.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A list that is shorter is not told about.
const QUIET: Duration = Duration::from_millis(500);
/// Time between two lines.
const EACH: Duration = Duration::from_millis(200);
/// Erases the line and goes to its beginning.
const ERASE: &str = "\r\x1b[2K";

/// The tables that are listed and how many objects of each have come.
pub(crate) struct Progress {
    doing: &'static str,
    tables: Vec<(String, AtomicUsize)>,
}

impl Progress {
    /// Nothing has come yet.
    pub(crate) fn new(tables: impl Iterator<Item = String>) -> Self {
        Self::of("listing", tables)
    }

    /// Something else that is counted.
    pub(crate) fn of(doing: &'static str, tables: impl Iterator<Item = String>) -> Self {
        Self {
            doing,
            tables: tables.map(|name| (name, AtomicUsize::new(0))).collect(),
        }
    }

    /// So many objects of that table are there.
    pub(crate) fn set(&self, table: usize, objects: usize) {
        if let Some((_, count)) = self.tables.get(table) {
            count.store(objects, Ordering::Relaxed);
        }
    }

    /// Runs the work; writes lines meanwhile if standard error is a terminal.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        if !std::io::stderr().is_terminal() {
            return work.await;
        }
        tokio::pin!(work);
        let mut shown = Shown(false);
        let mut pause = QUIET;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(pause) => {
                    let width = crate::terminal::width(std::io::stderr()).unwrap_or(80);
                    say(&format!("{ERASE}{}", self.line(width)));
                    shown.0 = true;
                    pause = EACH;
                }
            }
        }
    }

    /// `listing pods 12500, nodes 3 ...`, in at most `width` columns.
    fn line(&self, width: usize) -> String {
        let tables = self.tables.iter();
        let counts =
            tables.map(|(name, count)| format!("{name} {}", count.load(Ordering::Relaxed)));
        let line = format!("{} {}", self.doing, counts.collect::<Vec<_>>().join(", "));
        line.chars().take(width.saturating_sub(1)).collect()
    }
}

/// Whether there is a line; it goes when the work is done or, with Ctrl-C, dropped.
struct Shown(bool);

impl Drop for Shown {
    fn drop(&mut self) {
        if self.0 {
            say(ERASE);
        }
    }
}

/// Progress that cannot be shown is no fault.
fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_each_table_and_fits_the_terminal() {
        let progress = Progress::new(["pods", "nodes"].map(str::to_owned).into_iter());
        progress.set(0, 12_500);
        progress.set(7, 1);
        assert_eq!(progress.line(80), "listing pods 12500, nodes 0");
        assert_eq!(progress.line(10), "listing p");
    }
}
