//! Data on stdout. A reader that goes away, like `head`, ends the command quietly.

use std::fmt::Arguments;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use super::error::{CommandError, Exit};

/// Writes one line.
pub fn line(text: Arguments<'_>) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(text).and_then(|()| stdout.write_all(b"\n")).map_err(failed)
}

fn failed(error: io::Error) -> CommandError {
    match error.kind() {
        ErrorKind::BrokenPipe => CommandError::message(Exit::Done, "nobody reads the output any more"),
        _ => CommandError::new(Exit::Failed, error),
    }
}

/// Many lines, written in blocks.
pub struct Lines(BufWriter<Stdout>);

impl Lines {
    pub fn new() -> Self {
        Lines(BufWriter::with_capacity(64 * 1024, io::stdout()))
    }

    pub fn line(&mut self, text: &[u8]) -> Result<(), CommandError> {
        self.0.write_all(text).and_then(|()| self.0.write_all(b"\n")).map_err(failed)
    }

    pub fn finish(&mut self) -> Result<(), CommandError> {
        self.0.flush().map_err(failed)
    }
}

/// Prints a line of data.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::cli::out::line(format_args!($($text)*))
    };
}
pub(super) use outln;
