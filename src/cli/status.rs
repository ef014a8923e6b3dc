//! `bigin-sync status`: the state of a running service, or of one lead.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;

use super::api::{ApiError, Target};
use super::interrupt::stop_signal;
use super::text::plain;
use super::{AlreadyReported, Usage, print, print_result};
use crate::domain::lead::LeadId;

mod lead;
mod service;

const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Hosts count a slower health check as a failed one.
const READY_TIMEOUT: Duration = Duration::from_millis(2500);

const EXAMPLES: &str = "\
Examples:
  bigin-sync status                 the state of the service
  bigin-sync status --watch         the same, refreshed every 2 seconds until Ctrl-C
  bigin-sync status lead-1          the state and history of a lead
  bigin-sync status --json          one JSON document
  bigin-sync status --ready         for a container's health check: HEALTHCHECK CMD [\"bigin-sync\", \"status\", \"--ready\"]

It calls a running service: set --url or BIGIN_SYNC_URL to its URL, and ADMIN_TOKEN (or ADMIN_TOKEN_FILE) to its token.
--ready needs no token; without BIGIN_SYNC_URL it calls the address in LISTEN_ADDR or PORT.

Exit 0: nothing needs attention. 1: something does, failed leads included; the lead was not sent; or the service cannot be
reached. 2: wrong usage. With --ready 0 means that webhooks can be stored, even in a degraded state, and 1 that they cannot.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Options {
    /// The ID of a published lead in Sanity [default: the service as a whole]
    #[arg(value_name = "LEAD_ID")]
    lead: Option<String>,
    /// Refresh every 2 seconds
    #[arg(long)]
    watch: bool,
    /// Print one JSON document
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Print nothing; the exit code shows whether webhooks can be stored, for a container's health check
    #[arg(long, conflicts_with_all = ["lead", "watch", "json"])]
    ready: bool,
    #[command(flatten)]
    target: Target,
}

struct Report {
    /// For a terminal, with a line break at its end.
    text: String,
    body: Value,
    /// Nothing needs attention.
    ok: bool,
}

/// # Errors
/// Something needs attention, or the service cannot be reached.
pub(super) async fn status(options: &Options) -> anyhow::Result<()> {
    if options.ready {
        return ready(&options.target).await;
    }
    let parse = |id: &str| LeadId::parse(id).map_err(|error| Usage(format!("{id:?} is {error}")));
    let lead = options.lead.as_deref().map(parse).transpose()?;
    if options.watch && !std::io::stdout().is_terminal() {
        let message = "--watch needs a terminal: omit it, or use --json";
        return Err(Usage(message.to_owned()).into());
    }
    let api = options.target.api()?;
    let report = async || match &lead {
        Some(lead) => lead::report(&api, lead).await,
        None => service::report(&api).await,
    };
    if options.watch {
        return watch(report).await;
    }
    let Report { text, body, ok } = report().await?;
    print_result(options.json, &body, &text)?;
    if ok { Ok(()) } else { Err(AlreadyReported.into()) }
}

async fn ready(target: &Target) -> anyhow::Result<()> {
    let readiness = target.api_without_token()?.readiness(READY_TIMEOUT).await?;
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

async fn watch(report: impl AsyncFn() -> Result<Report, ApiError>) -> anyhow::Result<()> {
    let stopped = stop_signal()?;
    let refresh = async {
        loop {
            let text = match report().await {
                Ok(report) => report.text,
                Err(error) if error.is_temporary => format!("{error}\n"),
                Err(error) => return Err(error.into()),
            };
            // From the upper left corner, each line cleared to its end, then the rest of the screen: no flicker.
            let text = text.replace('\n', "\x1b[K\n");
            print(&format!(
                "\x1b[H{text}\x1b[K\nRefreshed every 2 s. Ctrl-C to quit.\x1b[K\n\x1b[J"
            ))?;
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    };
    print("\x1b[2J")?;
    tokio::select! {
        failed = refresh => failed,
        () = stopped => Ok(()),
    }
}
