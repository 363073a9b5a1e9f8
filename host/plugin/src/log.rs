//! The host interface `log`: messages of a guest, capped per call.

use crate::state::CallState;
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};
use wasmtime::{Result, StoreContextMut};

/// What each message counts beside its text, so that empty ones are not free.
const OVERHEAD: usize = 64;
/// Bytes of one message; what is longer is cut.
const MESSAGE: usize = 8 * 1024;

/// How much a message matters, as the interface has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
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
    pub(crate) last_error: Option<String>,
}

impl CallLog {
    pub(crate) fn new(plugin: &str, bytes: usize) -> Self {
        Self {
            plugin: plugin.to_owned(),
            left: bytes,
            lines: 0,
            dropped: 0,
            last_error: None,
        }
    }

    /// Writes the message, or counts it as dropped if the call has logged too much.
    fn write(&mut self, level: Level, message: &str) {
        let message = printable(message);
        if level == Level::Error {
            // Kept even if the log is full: it is the reason of a trap.
            self.last_error = Some(message.clone());
        }
        let Some(left) = self
            .left
            .checked_sub(message.len().saturating_add(OVERHEAD))
        else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        self.left = left;
        self.lines = self.lines.saturating_add(1);
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
    let message = message.to_str(&store)?.into_owned();
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
        assert_eq!(log.last_error.as_deref(), Some("the reason"));
    }

    #[test]
    fn messages_cannot_forge_lines_and_are_cut_between_characters() {
        assert_eq!(printable("a\nERROR b\x1b[31m"), "a ERROR b\u{fffd}[31m");
        let long = printable(&"ä".repeat(MESSAGE));
        assert!(long.len() <= MESSAGE + " [cut]".len());
        assert!(long.ends_with("ä [cut]"));
    }
}
