//! The program `bigin-sync`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bigin_sync::cli::main(std::env::args_os())
}
