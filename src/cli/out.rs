//! Data on stdout. A reader that goes away, like `head`, ends the command quietly.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use super::error::{CommandError, Exit};

/// Writes one line.
pub fn line(text: Arguments<'_>) -> Result<(), CommandError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_fmt(text).and_then(|()| stdout.write_all(b"\n"));
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => CommandError::message(Exit::Done, "nobody reads the output any more"),
        _ => CommandError::new(Exit::Failed, error),
    })
}

/// Prints a line of data.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::cli::out::line(format_args!($($text)*))
    };
}
pub(super) use outln;
