//! `bigin-sync status`: how a running service fares, or how far one lead has come.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::api::{ApiError, Target, plain};
use super::{Said, Usage, print};
use crate::domain::lead::LeadId;

mod lead;
mod service;

/// Between two looks of --watch.
const EVERY: Duration = Duration::from_secs(2);

/// A health check that takes longer is a failed one, and hosts have time limits of their own.
const READY_WITHIN: Duration = Duration::from_millis(2500);

const EXAMPLES: &str = "\
Examples:
  bigin-sync status                 how things stand
  bigin-sync status --watch         the same, drawn anew every 2 seconds until Ctrl-C
  bigin-sync status lead-1          what has become of a lead, and why
  bigin-sync status --json          for machines
  bigin-sync status --ready         for the health check of a container: HEALTHCHECK CMD [\"bigin-sync\", \"status\", \"--ready\"]

It speaks to a running service: --url or BIGIN_SYNC_URL says where it is, ADMIN_TOKEN (or ADMIN_TOKEN_FILE) opens it.
--ready needs no token; without BIGIN_SYNC_URL it asks where LISTEN_ADDR or PORT let the service listen.

Exit 0: all is well. 1: something needs a person, leads that have failed included; the lead was not sent; or the service
cannot be reached. 2: wrong usage. With --ready 0 where webhooks can be stored, whatever else is in trouble, and 1 where not.";

/// What to look at, and how.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Options {
    /// The id of a published lead in Sanity; without it, the service as a whole
    #[arg(value_name = "LEAD_ID")]
    lead: Option<String>,
    /// Draw it anew every 2 seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print one JSON document, for machines
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Only say by the exit code whether webhooks can be stored: for the health check of a container
    #[arg(long, conflicts_with_all = ["lead", "watch", "json"])]
    ready: bool,
    #[command(flatten)]
    target: Target,
}

/// What was found.
struct Seen {
    /// For people, with a line break at its end.
    text: String,
    /// For machines.
    body: Value,
    /// Nothing needs a person.
    well: bool,
}

/// Shows how things stand.
///
/// # Errors
/// Something needs a person, or the service cannot be reached.
pub(super) async fn status(options: &Options) -> anyhow::Result<()> {
    if options.ready {
        return ready(&options.target).await;
    }
    let lead = options.lead.as_deref().map(parse).transpose()?;
    if options.watch && !std::io::stdout().is_terminal() {
        let message = "--watch draws on a terminal, and there is none: leave it out, or take --json";
        return Err(Usage(message.to_owned()).into());
    }
    let api = options.target.api()?;
    let look = async || match &lead {
        Some(lead) => lead::look(&api, lead).await,
        None => service::look(&api).await,
    };
    if options.watch {
        return watch(look).await;
    }
    let seen = look().await?;
    let text = match options.json {
        true => format!("{:#}\n", seen.body),
        false => seen.text,
    };
    print(&text).context("the result cannot be written")?;
    if seen.well { Ok(()) } else { Err(Said.into()) }
}

fn parse(id: &str) -> anyhow::Result<LeadId> {
    LeadId::parse(id).map_err(|error| Usage(format!("{id:?} is {error}")).into())
}

/// Whether webhooks can be stored. Says nothing where they can.
async fn ready(target: &Target) -> anyhow::Result<()> {
    let readiness = target.open_api()?.readiness(READY_WITHIN).await?;
    if readiness.status == "unavailable" {
        anyhow::bail!(
            "webhooks cannot be stored: {}",
            readiness
                .degraded
                .iter()
                .map(|problem| plain(&problem.to_string()))
                .collect::<Vec<_>>()
                .join("; ")
        );
    }
    Ok(())
}

/// Shows it again and again, until somebody has seen enough.
async fn watch(look: impl AsyncFn() -> Result<Seen, ApiError>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let drawing = async {
        loop {
            let text = match look().await {
                Ok(seen) => seen.text,
                // It is shown until it passes.
                Err(error) if error.passing => format!("{error}\n"),
                Err(error) => return Err(error.into()),
            };
            // To the upper left, and each line and then the rest of the screen cleared: no flicker.
            let text = text.replace('\n', "\x1b[K\n");
            print(&format!("\x1b[H{text}\x1b[K\nEvery 2 s; Ctrl-C ends it.\x1b[K\n\x1b[J"))?;
            tokio::time::sleep(EVERY).await;
        }
    };
    print("\x1b[2J")?;
    tokio::select! {
        failed = drawing => failed,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// `12 s`, `3 min`, `5 h`, `2 days`: rounded down, since nobody at a terminal counts the rest.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
