//! `bigin-sync check`: a running service calls an unavailable remote service now instead of at its next attempt.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::api::Target;
use super::print_result;
use super::text::plain;
use crate::api_types::{Checked, OpenBreaker};

/// Longer than the service waits for the call.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) const EXAMPLES: &str = "\
Examples:
  bigin-sync check bigin               after a fix in Bigin
  bigin-sync check zoho_accounts       after a new refresh token or client secret
  bigin-sync check sanity              after a new Sanity token

The service retries by itself, at most RETRY_MAX_DELAY later (5m by default), or later if the remote service requested that.
This command makes one call at once. If it succeeds, sending continues. `bigin-sync status` shows which remote service is
unavailable. A changed setting takes effect at a restart, which checks by itself.

Exit 0: the remote service is reachable. 1: it is unavailable, has not answered yet, or the check was rejected. 2: wrong usage.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Options {
    /// The remote service to check
    #[arg(value_name = "SERVICE", value_parser = ["bigin", "zoho_accounts", "sanity"])]
    service: String,
    /// Check Zoho Accounts even within its ten minutes of rate limiting, which this restarts
    #[arg(long)]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// # Errors
/// The remote service is not reachable, or the running service cannot be called.
pub(super) async fn check(options: &Options) -> anyhow::Result<()> {
    let api = options.target.api()?;
    let query = if options.force { "?force=true" } else { "" };
    let path = format!("/api/services/{}/check{query}", options.service);
    let answer: Value = api.post(&path, &json!({}), CHECK_TIMEOUT).await?;
    let checked = Checked::deserialize(&answer).map_err(|_| api.not_bigin_sync(None))?;
    let (service, state) = (&options.service, &*checked.state);
    if options.json || state == "reachable" {
        print_result(options.json, &answer, &format!("{service} is reachable.\n"))?;
    }
    match (state, checked.unavailable) {
        ("reachable", _) => Ok(()),
        ("checking", _) => {
            anyhow::bail!("{service} has not answered yet: `bigin-sync status` shows the result")
        }
        (
            _,
            Some(OpenBreaker {
                until,
                code,
                what,
                action,
                ..
            }),
        ) => anyhow::bail!(
            "{service} is still unavailable: {} ({}); {}; next attempt at {}",
            plain(&what),
            plain(&code),
            plain(&action),
            until.strftime("%H:%M:%S UTC")
        ),
        (_, None) => anyhow::bail!("{service} is still unavailable: `bigin-sync status` shows why"),
    }
}
