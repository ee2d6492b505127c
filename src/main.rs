//! The `guardrail` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    guardrail::cli::main()
}
