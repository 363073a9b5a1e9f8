//! Standard output: a reader that has gone away (`| head`) ends the command quietly.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

/// Columns of the terminal that the stream is; none if it is none.
pub(crate) fn width(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Writes text as it is.
pub(crate) fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("error: standard output: {error}");
        }
        std::process::exit(i32::from(error.kind() != ErrorKind::BrokenPipe));
    }
}

/// Writes one line, with `format!`'s arguments.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::terminal::write(&format!("{}\n", format_args!($($argument)*)))
    };
}
pub(crate) use say;
