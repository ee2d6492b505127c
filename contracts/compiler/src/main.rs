//! Prints the artifact that the contract's sources give: `guardrail-contract-compiler CONTRACTS_DIR`.
//!
//! `guardrail contract build` and `verify` run it. Exit 0, or 1 with what failed on stderr.

mod artifact;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(contracts) = std::env::args_os().nth(1) else {
        eprintln!("usage: guardrail-contract-compiler CONTRACTS_DIR");
        return ExitCode::from(2);
    };
    let printed = artifact::compile(Path::new(&contracts))
        .and_then(|text| std::io::stdout().write_all(text.as_bytes()).map_err(artifact::BuildError::Print));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
