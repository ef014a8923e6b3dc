//! `bigin-sync check`: has a running service call a remote service that is unavailable now, instead of at the end of the pause.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::api::{Target, plain};
use super::print;

/// The service waits some seconds for the call's end.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const EXAMPLES: &str = "\
Examples:
  bigin-sync check bigin               after a repair in Bigin
  bigin-sync check zoho_accounts       after a new refresh token or client secret
  bigin-sync check sanity              after a new Sanity token

After a repair the service retries by itself, but up to five minutes later, or as much later as the remote service has asked
for. This has one call go out at once: if it succeeds, sending continues. `bigin-sync status` shows which service is
unavailable. A setting that was changed takes effect with a restart, which checks by itself.

Exit 0: the service is reachable. 1: it is unavailable, or its answer is still out; or the check was refused. 2: wrong usage.";

/// Which service, and how.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Options {
    /// The service to check
    #[arg(value_name = "SERVICE", value_parser = ["bigin", "zoho_accounts", "sanity"])]
    service: String,
    /// Check Zoho Accounts also within the ten minutes of silence that it has asked for, which makes them start again
    #[arg(long)]
    insist: bool,
    /// Print one JSON document, for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What a check has shown.
#[derive(Deserialize)]
struct Checked {
    state: String,
    unavailable: Option<Unavailable>,
}

#[derive(Deserialize)]
struct Unavailable {
    until: Timestamp,
    code: String,
    what: String,
    action: String,
}

/// Has a service checked.
///
/// # Errors
/// It is not reachable, or the running service cannot be asked.
pub(super) async fn check(options: &Options) -> anyhow::Result<()> {
    let api = options.target.api()?;
    let query = if options.insist { "?insist=true" } else { "" };
    let path = format!("/api/services/{}/check{query}", options.service);
    let answer: serde_json::Value = api.post(&path, &json!({}), PATIENCE).await?;
    if options.json {
        print(&format!("{answer:#}\n")).context("the result cannot be written")?;
    }
    let checked = Checked::deserialize(&answer).map_err(|_| api.not_this_service())?;
    let service = &options.service;
    match (checked.state.as_str(), checked.unavailable) {
        ("reachable", _) if options.json => Ok(()),
        ("reachable", _) => Ok(print(&format!("{service} is reachable.\n"))?),
        ("checking", _) => {
            anyhow::bail!("{service} has not answered yet: `bigin-sync status` shows what comes of it")
        }
        (
            _,
            Some(Unavailable {
                until,
                code,
                what,
                action,
            }),
        ) => anyhow::bail!(
            "{service} is still unavailable: {} ({}); {}; next attempt at {}",
            plain(&what),
            plain(&code),
            plain(&action),
            until.strftime("%H:%M:%S UTC")
        ),
        (_, None) => anyhow::bail!("{service} is still unavailable: `bigin-sync status` says why"),
    }
}
