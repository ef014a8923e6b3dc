//! The command line. Data goes to standard output, logs and errors to standard error. Exit codes: 0 success, 1 failure,
//! 2 wrong usage or invalid settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::Value;

use crate::config::{ConfigErrors, Layers};

mod api;
mod auth;
mod check;
mod completions;
#[cfg(feature = "demo")]
pub mod demo;
mod doctor;
mod env_file;
mod interrupt;
mod progress;
mod prompt;
mod send;
mod serve;
mod setup;
mod status;
mod text;

fn examples() -> String {
    let demo = match cfg!(feature = "demo") {
        true => "  bigin-sync demo                 try it without any account\n",
        false => "",
    };
    format!(
        "\
Examples:
{demo}  bigin-sync setup                set up an installation
  bigin-sync serve                run the service
  bigin-sync doctor               check an installation
  bigin-sync send --wait lead-1   send a lead and wait for the result
  bigin-sync status               show the state of a running service
  bigin-sync check bigin          retry an unavailable remote service now

`bigin-sync help COMMAND` shows examples of each command."
    )
}

/// Syncs leads from Sanity to Zoho Bigin, without losing any.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_long_help = examples())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    #[command(after_long_help = serve::EXAMPLES)]
    Serve(Sources),
    /// Try it on this machine: sample leads, simulated services, and a crash in the middle
    #[cfg(feature = "demo")]
    Demo(demo::Options),
    /// Set up bigin-sync interactively: settings, webhook, checks
    Setup(setup::Options),
    /// Get a refresh token from a Zoho API console code
    Auth(auth::Options),
    /// Check an installation: what is wrong, why it matters, how to fix it
    Doctor(doctor::Options),
    /// Send leads now, whatever their crmStatus is, through a running service
    Send(send::Options),
    /// Show the state of the service, or of one lead
    Status(status::Options),
    /// Retry an unavailable remote service now instead of at its next attempt
    Check(check::Options),
    /// Write shell completions to standard output
    Completions(completions::Completions),
    /// Write the manual page
    Man(completions::Man),
}

/// The files that settings are read from.
#[derive(Clone, Default, clap::Args)]
struct Sources {
    /// The settings file [default: bigin-sync.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file of NAME=value lines [default: .env beside the settings file, if it exists]
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl Sources {
    fn layers(&self, environment: BTreeMap<String, String>) -> Layers {
        Layers::read(self.config.as_deref(), self.env_file.as_deref(), environment)
    }
}

/// The user can correct the command or the settings: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// The output has reported the failure already: exit code 1 without a message.
#[derive(Debug, thiserror::Error)]
#[error("already reported")]
struct AlreadyReported;

/// The command line's definition, from which completions and the manual are generated. The tests check the docs against it.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs a command line and returns its exit code. The one place that prints errors.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(&error.into()),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(sources) => serve::serve(&sources).await,
            #[cfg(feature = "demo")]
            Command::Demo(options) => demo::demo(&options).await,
            Command::Setup(options) => Box::pin(setup::setup(&options)).await,
            Command::Auth(options) => auth::auth(&options).await,
            Command::Doctor(options) => Box::pin(doctor::doctor(&options)).await,
            Command::Send(options) => send::send(&options).await,
            Command::Status(options) => status::status(&options).await,
            Command::Check(options) => check::check(&options).await,
            Command::Completions(options) => completions::completions(&options),
            Command::Man(options) => completions::man(&options),
        }
    });
    // A call whose sync is retried when its lease expires must not delay the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<AlreadyReported>() {
        return ExitCode::FAILURE;
    }
    if interrupt::is_interrupt(error) {
        interrupt::report();
        return ExitCode::from(interrupt::EXIT_CODE);
    }
    // Not `eprintln!`, which panics where standard error is closed: the exit code must still be right.
    let _ = writeln!(std::io::stderr(), "bigin-sync: {error:#}");
    ExitCode::from(if error.is::<Usage>() || error.is::<ConfigErrors>() {
        2
    } else {
        1
    })
}

/// Writes to standard output. A reader that closes the pipe early is no error.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Writes a command's result: a JSON document, or the text for a terminal.
fn print_result(json: bool, body: &Value, text: &str) -> anyhow::Result<()> {
    let printed = match json {
        true => print(&format!("{body:#}\n")),
        false => print(text),
    };
    printed.context("cannot write the result")
}
