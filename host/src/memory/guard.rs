//! The thread that looks, and what it does when memory is full.

use super::EXHAUSTED;
use super::level::{self, Level};
use super::message;
use super::meter::{Meter, Reading};
use crate::clock;
use kybern_budget::mebibytes;
use kybern_plugin::Runtime;
use kybern_table::Reader;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the host may take to end in good order once memory is full.
const GOOD_ORDER: Duration = Duration::from_secs(4);

/// How long a process that is killed may take to be gone, and its memory after it.
const STOPPED: Duration = Duration::from_secs(1);
/// Between two looks whether it is.
const AGAIN: Duration = Duration::from_millis(5);

/// What the guard works with.
pub(crate) struct GuardConfig {
    /// The figures.
    pub(crate) meter: Meter,
    /// Where the last message goes beside the log, if that file is there.
    pub(crate) termination_log: PathBuf,
    /// Whose tables are named.
    pub(crate) reader: Reader,
    /// Who may be compiling, in processes whose memory counts too.
    pub(crate) runtime: Option<Runtime>,
}

/// Looks at memory on a thread of its own, so that a busy runtime cannot keep it from looking.
/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    exhausted: CancellationToken,
    /// Its end is the thread's.
    _alive: mpsc::Sender<()>,
}

impl Guard {
    /// Starts looking.
    pub(crate) fn start(config: GuardConfig) -> std::io::Result<Self> {
        match config.meter.read() {
            Some(Reading {
                limit: Some(limit),
                used,
            }) => tracing::info!(
                limit,
                used,
                source = config.meter.source(),
                "memory is limited to {}",
                mebibytes(limit)
            ),
            Some(Reading { limit: None, used }) => {
                tracing::info!(used, "memory is not limited");
            }
            None => tracing::warn!("memory cannot be measured here; nothing guards it"),
        }
        let exhausted = CancellationToken::new();
        let (alive, ended) = mpsc::channel();
        let watch = Watch {
            config,
            exhausted: exhausted.clone(),
            ended,
            warned: false,
            trimmed: clock::monotonic(),
        };
        std::thread::Builder::new()
            .name("kybern-memory".into())
            .spawn(move || watch.run())?;
        Ok(Self {
            exhausted,
            _alive: alive,
        })
    }

    /// Returns once memory is full: then the host has [`GOOD_ORDER`] to end.
    pub(crate) async fn exhausted(&self) {
        self.exhausted.cancelled().await;
    }
}

/// Whether the guard is still wanted.
#[derive(PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

/// The thread's own.
struct Watch {
    config: GuardConfig,
    exhausted: CancellationToken,
    ended: mpsc::Receiver<()>,
    warned: bool,
    /// When the allocator was last asked to give back, on the monotonic clock.
    trimmed: Duration,
}

impl Watch {
    fn run(mut self) {
        loop {
            let reading = self.look();
            if let Some(full) = reading.filter(|r| Level::of(*r) == Level::Full) {
                return self.end(full);
            }
            let now = clock::monotonic();
            if now.saturating_sub(self.trimmed) >= kybern_allocator::TRIM {
                self.trimmed = now;
                kybern_allocator::trim();
            }
            let pause = reading.map_or(level::LONGEST, level::pause);
            if self.wait(pause) == Wanted::No {
                return;
            }
        }
    }

    /// Reads, warns, and makes the allocator give back; what is still full then is full.
    fn look(&mut self) -> Option<Reading> {
        let glance = self.config.meter.glance()?;
        if Level::of(glance) == Level::Roomy {
            self.warned &= !level::relaxed(glance);
            return Some(glance);
        }
        let mut reading = self.config.meter.read()?;
        self.warned &= !level::relaxed(reading);
        if Level::of(reading) == Level::Full {
            kybern_allocator::give_back();
            reading = self.config.meter.read()?;
        }
        if Level::of(reading) == Level::Full {
            reading = self.stop_compiling(reading)?;
        }
        if Level::of(reading) == Level::Tight && !self.warned {
            self.warned = true;
            tracing::warn!(
                limit = reading.limit,
                used = reading.used,
                "memory is tight: {} of {} are used. {} Raise resources.limits.memory before it is full",
                mebibytes(reading.used),
                mebibytes(reading.limit.unwrap_or_default()),
                message::largest(&self.config.reader.stats()),
            );
        }
        Some(reading)
    }

    /// What can be had again goes before the host does: plugins that are being compiled. What is used
    /// once their memory is back, which takes the kernel a moment.
    fn stop_compiling(&self, full: Reading) -> Option<Reading> {
        let stopped = match &self.config.runtime {
            Some(runtime) => runtime.stop_compiling(STOPPED),
            None => 0,
        };
        if stopped == 0 {
            return Some(full);
        }
        tracing::warn!(
            stopped,
            "memory is full: plugins that were being compiled are compiled later"
        );
        let deadline = clock::monotonic() + STOPPED;
        loop {
            let reading = self.config.meter.read()?;
            let over = Level::of(reading) != Level::Full || level::at_the_edge(reading);
            if over || clock::monotonic() > deadline || self.wait(AGAIN) == Wanted::No {
                return Some(reading);
            }
        }
    }

    /// Says why, asks the host to end, and ends it if it does not.
    fn end(self, reading: Reading) {
        let text = message::exhausted(reading, &self.config.reader.stats());
        tracing::error!(
            limit = reading.limit,
            used = reading.used,
            exit_code = EXHAUSTED,
            "{text}"
        );
        let log = &self.config.termination_log;
        if let Err(error) = message::to_termination_log(log, &text) {
            tracing::debug!(path = %log.display(), %error, "no termination log");
        }
        self.exhausted.cancel();
        let deadline = clock::monotonic() + GOOD_ORDER;
        while clock::monotonic() < deadline {
            if self.wait(Duration::from_millis(5)) == Wanted::No {
                return;
            }
            kybern_allocator::give_back();
            // Only the kernel enforces; a limit that the user gave can be passed without harm.
            if self
                .config
                .meter
                .container()
                .is_some_and(level::at_the_edge)
            {
                tracing::error!("memory ran out while stopping; stopping at once");
                break;
            }
        }
        std::process::exit(i32::from(EXHAUSTED));
    }

    /// Waits, or learns that nobody wants the guard any more.
    fn wait(&self, pause: Duration) -> Wanted {
        match self.ended.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => Wanted::Yes,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Wanted::No,
        }
    }
}
