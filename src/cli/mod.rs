//! The command line. Data goes to standard output, logs and errors to standard error; exit 0 done, 1 it failed, 2 wrong
//! usage, which wrong settings are.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

mod api;
mod auth;
mod check;
mod completions;
pub mod demo;
mod doctor;
mod env_file;
mod interrupt;
mod progress;
mod send;
mod serve;
mod setup;
mod status;

const EXAMPLES: &str = "\
Examples:
  bigin-sync demo                 sees it work, without any account
  bigin-sync setup                sets an installation up
  bigin-sync serve                runs the service
  bigin-sync doctor               checks an installation
  bigin-sync send --wait lead-1   sends a lead, and says how it ends
  bigin-sync status               how a running service fares
  bigin-sync check bigin          retries an unavailable service now

`bigin-sync help COMMAND` has examples of each.";

/// Carries leads from Sanity into Zoho Bigin and loses none.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take webhooks and carry leads, until told to stop
    #[command(after_long_help = serve::EXAMPLES)]
    Serve(Sources),
    /// See it work on this machine alone: invented leads, both services played, and a process that is killed
    Demo(demo::Options),
    /// Set an installation up: asks for what is not set, makes the webhook, and checks it all
    Setup(setup::Options),
    /// Get access to Bigin: a code of Zoho's API console becomes a refresh token
    Auth(auth::Options),
    /// Check an installation: what is wrong, why it matters, and what to do
    Doctor(doctor::Options),
    /// Send leads now, whatever their crmStatus says, by asking a running service
    Send(send::Options),
    /// See how a running service fares, or how far a lead has come
    Status(status::Options),
    /// Check an unavailable service now, after a repair, instead of at the next attempt
    Check(check::Options),
    /// Write the completions of a shell to standard output
    Completions(completions::Completions),
    /// Write the manual page
    Man(completions::Man),
}

/// Where the settings are.
#[derive(Clone, Default, clap::Args)]
struct Sources {
    /// The settings' file [default: bigin-sync.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file of NAME=value lines [default: .env beside the settings' file, where there is one]
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

/// An error that is the user's to mend: exit 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// An error of which everything has been said already: exit 1, and no more words.
#[derive(Debug, thiserror::Error)]
#[error("it was said already")]
struct Said;

/// What the command line takes: completions and the manual are made from it, and the guides are checked against it.
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
        Err(error) => return failed(&error.into()),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(sources) => serve::serve(&sources).await,
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
    // A call that was left to its lease must not hold the process back.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<Said>() {
        return ExitCode::FAILURE;
    }
    if interrupt::is_one(error) {
        interrupt::say();
        return ExitCode::from(interrupt::INTERRUPTED);
    }
    // Not `eprintln!`, which panics where standard error is closed: the exit code still tells.
    let _ = writeln!(std::io::stderr(), "bigin-sync: {error:#}");
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// Writes data to standard output. Whoever closes it early has read enough.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
