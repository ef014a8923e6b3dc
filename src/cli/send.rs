//! `bigin-sync send`: requests syncs from a running service, and with --wait waits for their results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgGroup;
use serde_json::{Value, json};

use self::show::Show;
use super::api::{Api, Target};
use super::progress::count_by_state;
use super::{Usage, print_result, prompt, text};
use crate::api_types::SyncJson;
use crate::clock::{SharedClock, SystemClock};
use crate::config::parse_duration;
use crate::domain::lead::LeadId;
use crate::domain::sync::SyncId;

mod follow;
mod ids;
mod request;
mod show;

/// More leads than this need a confirmation at a terminal.
const CONFIRM_THRESHOLD: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  bigin-sync send lead-1 lead-2             send two leads
  bigin-sync send --wait lead-1             send a lead and wait for the result: exit 0 if it was sent
  bigin-sync send --failed --dry-run        show why leads failed, and how many for each reason
  bigin-sync send --failed --reason invalid_value:Email
  bigin-sync send --query '*[_type == $type && city == \"Derry\"]{_id}' --wait=10m
  bigin-sync send - < ids.txt               read ids from standard input, one a line

It calls a running service: set --url or BIGIN_SYNC_URL to its URL, and ADMIN_TOKEN (or ADMIN_TOKEN_FILE) to its token.
--query reads Sanity itself, with SANITY_PROJECT_ID, SANITY_DATASET and SANITY_API_WRITE_TOKEN.

Without --wait it waits a few seconds at most, until the service has read the leads. It reports a lead that does not exist in
Sanity or is not published, and one whose crmStatus was changed, which --failed skips.

Exit 0: all leads were accepted; with --wait, all were sent. 1: one was not, or does not exist, or the service cannot be
reached. 2: wrong usage.";

/// Without --wait, for the service to read the leads.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES, group(ArgGroup::new("which").required(true).args(["ids", "ids_from", "failed", "query"])))]
pub(super) struct Options {
    /// IDs of published leads in Sanity; - reads them from standard input
    #[arg(value_name = "LEAD_ID")]
    ids: Vec<String>,
    /// Read the IDs from a file: separated by spaces or line breaks; '#' starts a comment
    #[arg(long, value_name = "FILE")]
    ids_from: Option<PathBuf>,
    /// Send every lead again whose last sync failed
    #[arg(long)]
    failed: bool,
    /// Only leads that failed with this code, as --dry-run shows it: name_missing, invalid_value, invalid_value:Email
    #[arg(long, value_name = "CODE[:FIELD]", requires = "failed")]
    reason: Option<String>,
    /// Send the results of this query on Sanity's published documents: IDs, or documents with their _id; $type is the
    /// document type of leads
    #[arg(long, value_name = "GROQ")]
    query: Option<String>,
    /// Show which leads would be sent, and send nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait until every lead is sent or has failed, or for this long (30s, 10m)
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = parse_wait)]
    wait: Option<Wait>,
    /// Send more than 20 leads from a terminal without confirmation
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON document at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// `None` waits without a limit.
#[derive(Debug, Clone, Copy)]
struct Wait(Option<Duration>);

fn parse_wait(text: &str) -> Result<Wait, &'static str> {
    match text {
        "" => Ok(Wait(None)),
        text => match parse_duration(text) {
            Some(limit) => Ok(Wait(Some(limit))),
            None => Err("not a duration such as 30s or 10m"),
        },
    }
}

/// # Errors
/// Wrong usage, no service, or a lead that was not accepted or not sent.
pub(super) async fn send(options: &Options) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    if options.failed {
        return send_failed(options, clock).await;
    }
    let is_duration = |id: &&String| id.starts_with(|c: char| c.is_ascii_digit()) && parse_duration(id).is_some();
    if let (Some(Wait(None)), Some(id)) = (options.wait, options.ids.iter().find(is_duration)) {
        return Err(usage(format!("{id:?} is a duration, not a lead: use --wait={id}")));
    }
    let leads = ids::gather(options, &clock).await?;
    if leads.is_empty() {
        return output(options, "No leads found. Nothing was sent.", &json!({ "leads": [] }));
    }
    if options.dry_run {
        let lines: Vec<&str> = leads.iter().map(LeadId::as_str).collect();
        let body = json!({ "leads": lines.iter().map(|id| json!({ "leadId": id })).collect::<Vec<_>>() });
        return output(options, &lines.join("\n"), &body);
    }
    let api = options.target.api()?;
    confirm(options, u64::try_from(leads.len()).unwrap_or(u64::MAX))?;
    let after = last_event(options, &api).await?;
    let mut show = Show::new(options, clock);
    let (syncs, error) = request::request_all(&api, &leads, &mut show).await;
    let sending = Sending::new(syncs);
    let Some(error) = error else {
        return sending.finish(options, &api, after, show).await;
    };
    let accepted = sending.syncs.len();
    if accepted == 0 {
        return Err(error.into());
    }
    sending.report(options, &mut show)?;
    let context = format!(
        "{accepted} of {} accepted; it is safe to send all of them again",
        text::count(leads.len(), "lead")
    );
    Err(anyhow::Error::from(error).context(context))
}

async fn send_failed(options: &Options, clock: SharedClock) -> anyhow::Result<()> {
    let api = options.target.api()?;
    let failed = request::failed(&api, options.reason.as_deref()).await?;
    if options.dry_run || failed.leads == 0 {
        return output(options, &failed.to_string(), &json!({ "failures": failed.groups }));
    }
    confirm(options, failed.leads)?;
    let after = last_event(options, &api).await?;
    let mut show = Show::new(options, clock);
    let syncs = request::retry(&api, options.reason.as_deref()).await?;
    for sync in &syncs {
        show.accepted(sync);
    }
    Sending::new(syncs).finish(options, &api, after, show).await
}

/// The event to follow from, read before any request so that none is missed. Only --wait depends on it.
async fn last_event(options: &Options, api: &Api) -> anyhow::Result<Option<i64>> {
    match api.last_event().await {
        Ok(after) => Ok(Some(after)),
        Err(_) if options.wait.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The accepted syncs.
struct Sending {
    syncs: BTreeMap<SyncId, SyncJson>,
}

impl Sending {
    fn new(syncs: Vec<SyncJson>) -> Self {
        Self {
            syncs: syncs.into_iter().map(|sync| (sync.id, sync)).collect(),
        }
    }

    async fn finish(mut self, options: &Options, api: &Api, after: Option<i64>, mut show: Show) -> anyhow::Result<()> {
        let Some((Wait(limit), after)) = options.wait.zip(after) else {
            if let Some(after) = after {
                // The syncs are accepted even if they cannot be followed.
                let reading = follow::follow(api, after, &mut self.syncs, &mut show, SyncJson::is_read);
                let _ = tokio::time::timeout(READ_TIMEOUT, reading).await;
            }
            self.report(options, &mut show)?;
            return self.check_found();
        };
        let following = follow::follow(api, after, &mut self.syncs, &mut show, SyncJson::is_finished);
        let followed = match limit {
            Some(limit) => tokio::time::timeout(limit, following).await.unwrap_or(Ok(())),
            None => following.await,
        };
        self.report(options, &mut show)?;
        followed?;
        let all = text::count(self.syncs.len(), "lead");
        let unfinished = self.count(|sync| !sync.is_finished());
        let unsent = self.count(|sync| sync.state != "sent");
        match (unfinished, unsent) {
            (0, 0) => Ok(()),
            (0, unsent) => anyhow::bail!("{unsent} of {all} not sent"),
            (unfinished, _) => anyhow::bail!(
                "timed out with {unfinished} of {all} in progress; the service finishes them, `bigin-sync status` shows their state"
            ),
        }
    }

    fn check_found(&self) -> anyhow::Result<()> {
        match self.count(|sync| sync.state == "lead_deleted") {
            0 => Ok(()),
            missing => anyhow::bail!(
                "{missing} of {} not found: no published lead in Sanity has this ID",
                text::count(self.syncs.len(), "lead")
            ),
        }
    }

    fn count(&self, matches: impl Fn(&SyncJson) -> bool) -> usize {
        self.syncs.values().filter(|sync| matches(sync)).count()
    }

    fn report(&self, options: &Options, show: &mut Show) -> anyhow::Result<()> {
        show.finish();
        let syncs: Vec<&SyncJson> = self.syncs.values().collect();
        let all = text::count(syncs.len(), "lead");
        let line = match (options.wait, self.count(|sync| sync.state == "cancelled")) {
            (Some(_), _) => format!("{all}: {}", count_by_state(syncs.iter().copied())),
            (None, 0) => format!("{all} accepted"),
            (None, skipped) => format!("{all} accepted, {skipped} skipped: crmStatus was changed in Sanity"),
        };
        let body = json!({
            "leads": syncs,
            "accepted": syncs.len(),
            "sent": self.count(|sync| sync.state == "sent"),
            "unfinished": self.count(|sync| !sync.is_finished()),
        });
        output(options, &line, &body)
    }
}

fn output(options: &Options, line: &str, body: &Value) -> anyhow::Result<()> {
    print_result(options.json, body, &format!("{line}\n"))
}

/// Asks at a terminal before many leads are sent; scripts are not asked.
fn confirm(options: &Options, count: u64) -> anyhow::Result<()> {
    let must_ask = count > CONFIRM_THRESHOLD && !options.yes && prompt::is_interactive();
    if must_ask && !prompt::confirm(&format!("Send {} to Bigin?", text::count(count, "lead")))? {
        anyhow::bail!("cancelled; nothing was sent");
    }
    Ok(())
}

fn usage(message: String) -> anyhow::Error {
    Usage(message).into()
}
