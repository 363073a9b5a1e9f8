//! The host interface `log`: messages of a guest, capped per call.

use crate::state::CallState;
use std::collections::VecDeque;
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};
use wasmtime::{Result, StoreContextMut};

/// What each message counts beside its text, so that empty ones are not free.
const OVERHEAD: usize = 64;
/// Bytes of one message; what is longer is cut.
pub(crate) const MESSAGE: usize = 8 * 1024;
/// Lines on standard error that are kept as the reason of a trap, and bytes of each.
const LAST: usize = 6;
const LAST_BYTES: usize = 512;

/// How much a message matters, as the interface has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the component model makes the values")
)]
pub(crate) enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

/// The log of one call.
#[derive(Debug)]
pub(crate) struct CallLog {
    plugin: String,
    left: usize,
    pub(crate) lines: u32,
    pub(crate) dropped: u32,
    /// The last error: what a panic says before it traps.
    last_error: Option<String>,
    /// The last lines on standard error, where a runtime says why it gives up.
    last_lines: VecDeque<String>,
}

impl CallLog {
    pub(crate) fn new(plugin: &str, bytes: usize) -> Self {
        Self {
            plugin: plugin.to_owned(),
            left: bytes,
            lines: 0,
            dropped: 0,
            last_error: None,
            last_lines: VecDeque::new(),
        }
    }

    /// Keeps a line on standard error, in case that it is the reason of a trap.
    pub(crate) fn remember(&mut self, line: &str) {
        if self.last_lines.len() >= LAST {
            self.last_lines.pop_front();
        }
        let end = line.floor_char_boundary(LAST_BYTES);
        let line = line.get(..end).unwrap_or_default();
        self.last_lines.push_back(printable(line));
    }

    /// What the guest said last about what is wrong.
    pub(crate) fn reason(&self) -> Option<String> {
        let lines = || Vec::from_iter(self.last_lines.iter().map(String::as_str)).join(" ");
        let printed = (!self.last_lines.is_empty()).then(lines);
        self.last_error.clone().or(printed)
    }

    /// Writes the message, or counts it as dropped if the call has logged too much.
    pub(crate) fn write(&mut self, level: Level, message: &str) {
        let length = message.len();
        let message = || printable(message);
        if level == Level::Error {
            // Kept even if the log is full: it is the reason of a trap.
            self.last_error = Some(message());
        }
        let size = length.min(MESSAGE).saturating_add(OVERHEAD);
        let Some(left) = self.left.checked_sub(size) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        self.left = left;
        self.lines = self.lines.saturating_add(1);
        let message = message();
        let plugin = self.plugin.as_str();
        match level {
            Level::Debug => tracing::debug!(target: "plugin", plugin, "{message}"),
            Level::Info => tracing::info!(target: "plugin", plugin, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, "{message}"),
            Level::Error => tracing::error!(target: "plugin", plugin, "{message}"),
        }
    }

    /// Says once that messages were dropped.
    pub(crate) fn finish(&self) {
        if self.dropped > 0 {
            tracing::warn!(
                target: "plugin",
                plugin = self.plugin.as_str(),
                dropped = self.dropped,
                "the plugin logged too much in one call"
            );
        }
    }
}

/// The message cut to size, without characters that could forge lines or steer a terminal.
pub(crate) fn printable(message: &str) -> String {
    let end = message.floor_char_boundary(MESSAGE);
    let (kept, cut) = message.split_at_checked(end).unwrap_or((message, ""));
    let mut text: String = kept
        .chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    if !cut.is_empty() {
        text.push_str(" [cut]");
    }
    text
}

/// Gives guests `kybern:operator/log`.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    linker
        .instance("kybern:operator/log@0.1.0")?
        .func_wrap("write", write)
}

fn write(
    mut store: StoreContextMut<'_, CallState>,
    (level, message): (Level, WasmStr),
) -> Result<()> {
    store.data().check()?;
    let message = message.to_str(&store)?;
    // A little more than is kept, so that the cut is seen and told; a guest's whole memory is not
    // copied for a message.
    let end = message.floor_char_boundary(MESSAGE.saturating_add(4));
    let message = message.get(..end).unwrap_or_default().to_owned();
    store.data_mut().log.write(level, &message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_over_the_cap() {
        let mut log = CallLog::new("test", 2 * OVERHEAD + 3);
        log.write(Level::Info, "");
        log.write(Level::Debug, "abcd");
        log.write(Level::Warn, "abc");
        log.write(Level::Error, "the reason");
        assert_eq!((log.lines, log.dropped), (2, 2));
        assert_eq!(log.reason().as_deref(), Some("the reason"));
    }

    #[test]
    fn the_last_lines_on_standard_error_are_a_reason_too() {
        let mut log = CallLog::new("test", 1024);
        assert_eq!(log.reason(), None);
        for line in ["1", "2", "3", "4", "5", "6", "7"] {
            log.remember(line);
        }
        assert_eq!(log.reason().as_deref(), Some("2 3 4 5 6 7"));
        log.remember(&"x".repeat(LAST_BYTES + 1));
        assert!(log.reason().unwrap().len() < LAST_BYTES + 20);
        log.write(Level::Error, "the reason");
        assert_eq!(log.reason().as_deref(), Some("the reason"));
    }

    #[test]
    fn messages_cannot_forge_lines_and_are_cut_between_characters() {
        assert_eq!(printable("a\nERROR b\x1b[31m"), "a ERROR b\u{fffd}[31m");
        let long = printable(&"ä".repeat(MESSAGE));
        assert!(long.len() <= MESSAGE + " [cut]".len());
        assert!(long.ends_with("ä [cut]"));
    }

    /// What a subscriber writes into.
    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn messages_carry_the_plugins_name_and_drops_are_told_once() {
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer({
                let written = written.clone();
                move || written.clone()
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut log = CallLog::new("appservice", OVERHEAD + 10);
            log.write(Level::Warn, "hello");
            log.write(Level::Info, "too much");
            log.write(Level::Info, "too much");
            log.finish();
        });
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["target"], "plugin");
        assert_eq!(lines[0]["fields"]["plugin"], "appservice");
        assert_eq!(lines[0]["fields"]["message"], "hello");
        assert_eq!(lines[1]["fields"]["dropped"], 2);
    }
}
