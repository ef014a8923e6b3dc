//! `bigin-sync send`: asks a running service to send leads, and waits for their end where that is wanted.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ArgGroup;
use serde_json::json;

use self::show::Show;
use super::api::{Api, SyncJob, Target};
use super::progress::{counted, leads};
use super::{Usage, print};
use crate::clock::{SharedClock, SystemClock};
use crate::config::parse_duration;

mod ask;
mod follow;
mod ids;
mod show;

/// More leads than this are not sent from a terminal before somebody has said yes.
const WITHOUT_ASKING: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  bigin-sync send lead-1 lead-2             sends two leads
  bigin-sync send --wait lead-1             and says how it ends: exit 0 once it is SENT
  bigin-sync send --failed --dry-run        why leads have failed, and how many each reason concerns
  bigin-sync send --failed --reason 'Bigin refused Email: not an email address'
  bigin-sync send --query '*[_type == $type && city == \"Derry\"]{_id}' --wait=10m
  bigin-sync send - < ids.txt               ids from standard input, one a line

It speaks to a running service: --url or BIGIN_SYNC_URL says where it is, ADMIN_TOKEN (or ADMIN_TOKEN_FILE) opens it.
--query reads Sanity itself, with SANITY_PROJECT_ID, SANITY_DATASET and SANITY_API_WRITE_TOKEN.

Without --wait it stays for a few seconds at most, until the service has read the leads: one that does not exist in Sanity, or
is not published, is reported, and so is one that no longer asks to be sent, which --failed skips.

Exit 0: all were accepted, with --wait all were SENT. 1: one was not, or does not exist, or the service cannot be reached. 2:
wrong usage.";

/// Without --wait: for so long until the service has read the leads.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Which leads, and how.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES, group(ArgGroup::new("which").required(true).args(["ids", "ids_from", "failed", "query"])))]
pub(super) struct Options {
    /// Ids of published leads in Sanity; - reads them from standard input
    #[arg(value_name = "LEAD_ID")]
    ids: Vec<String>,
    /// Read the ids from a file: separated by spaces or line breaks, from a '#' to the end of its line a comment
    #[arg(long, value_name = "FILE")]
    ids_from: Option<PathBuf>,
    /// Send again every lead whose last sync has failed
    #[arg(long)]
    failed: bool,
    /// Only those that failed for this very reason, as `status` and --dry-run show it
    #[arg(long, value_name = "TEXT", requires = "failed")]
    reason: Option<String>,
    /// Send what this query finds among Sanity's published documents: ids, or documents with their _id; $type is the
    /// leads' document type
    #[arg(long, value_name = "GROQ")]
    query: Option<String>,
    /// Say which leads it would be, and send nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Stay until every lead is SENT or has failed, or for so long (30s, 10m)
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = limit)]
    wait: Option<Wait>,
    /// Do not ask before more than 20 leads are sent from a terminal
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON document at the end, for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// For how long to wait; none is for ever.
#[derive(Debug, Clone, Copy)]
struct Wait(Option<Duration>);

fn limit(text: &str) -> Result<Wait, &'static str> {
    match text {
        "" => Ok(Wait(None)),
        text => match parse_duration(text) {
            Some(limit) => Ok(Wait(Some(limit))),
            None => Err("that is not a duration such as 30s or 10m"),
        },
    }
}

/// Sends leads.
///
/// # Errors
/// Wrong usage, no service, or a lead that was not accepted, or not sent.
pub(super) async fn send(options: &Options) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    if options.failed {
        return send_failed(options, clock).await;
    }
    let is_duration = |id: &&String| id.starts_with(|c: char| c.is_ascii_digit()) && parse_duration(id).is_some();
    if let (Some(Wait(None)), Some(id)) = (options.wait, options.ids.iter().find(is_duration)) {
        return Err(wrong(format!("{id:?} is a duration and no lead: write --wait={id}")));
    }
    let leads = ids::gather(options, &clock).await?;
    if leads.is_empty() {
        let body = json!({ "leads": [] });
        return tell(options, "There is no lead in it: nothing is sent.", &body);
    }
    if options.dry_run {
        let lines: Vec<&str> = leads.iter().map(crate::domain::lead::LeadId::as_str).collect();
        let body = json!({ "leads": lines.iter().map(|id| json!({ "leadId": id })).collect::<Vec<_>>() });
        return tell(options, &lines.join("\n"), &body);
    }
    let api = options.target.api()?;
    confirm(options, u64::try_from(leads.len()).unwrap_or(u64::MAX))?;
    let after = since(options, &api).await?;
    let mut show = Show::new(options, clock);
    let (syncs, stopped) = ask::ask(&api, &leads, &mut show).await;
    let sending = Sending::new(syncs);
    let Some(error) = stopped else {
        return sending.end(options, &api, after, show).await;
    };
    let accepted = sending.syncs.len();
    if accepted == 0 {
        return Err(error.into());
    }
    sending.report(options, &mut show)?;
    let all = self::leads(leads.len());
    let context = format!("{accepted} of {all} were accepted; to ask for all of them again does no harm");
    Err(anyhow::Error::from(error).context(context))
}

/// Sends every lead again that has failed.
async fn send_failed(options: &Options, clock: SharedClock) -> anyhow::Result<()> {
    let api = options.target.api()?;
    let failed = ask::failed(&api, options.reason.as_deref()).await?;
    if options.dry_run || failed.leads == 0 {
        return tell(options, &failed.to_string(), &json!({ "failures": failed.groups }));
    }
    confirm(options, failed.leads)?;
    let after = since(options, &api).await?;
    let mut show = Show::new(options, clock);
    let syncs = ask::retry(&api, options.reason.as_deref()).await?;
    for sync in &syncs {
        show.accepted(sync);
    }
    Sending::new(syncs).end(options, &api, after, show).await
}

/// The last event before anything is asked, so that nothing is missed. Who does not wait can do without.
async fn since(options: &Options, api: &Api) -> anyhow::Result<Option<i64>> {
    match api.last_event().await {
        Ok(after) => Ok(Some(after)),
        Err(_) if options.wait.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The syncs that carry out what was asked.
struct Sending {
    syncs: BTreeMap<i64, SyncJob>,
}

impl Sending {
    fn new(syncs: Vec<SyncJob>) -> Self {
        Self {
            syncs: syncs.into_iter().map(|sync| (sync.id, sync)).collect(),
        }
    }

    /// Waits, where that is wanted, and says how it ended.
    async fn end(mut self, options: &Options, api: &Api, after: Option<i64>, mut show: Show) -> anyhow::Result<()> {
        let Some((Wait(limit), after)) = options.wait.zip(after) else {
            if let Some(after) = after {
                // What was accepted is accepted, also where it cannot be watched.
                let reading = follow::follow(api, after, &mut self.syncs, &mut show, SyncJob::is_read);
                let _ = tokio::time::timeout(READ_WITHIN, reading).await;
            }
            self.report(options, &mut show)?;
            return self.missing();
        };
        let following = follow::follow(api, after, &mut self.syncs, &mut show, SyncJob::is_over);
        let waited = match limit {
            Some(limit) => tokio::time::timeout(limit, following).await.unwrap_or(Ok(())),
            None => following.await,
        };
        self.report(options, &mut show)?;
        waited?;
        let (all, unfinished) = (self.syncs.len(), self.count(|sync| !sync.is_over()));
        let unsent = self.count(|sync| sync.state != "sent");
        match (unfinished, unsent) {
            (0, 0) => Ok(()),
            (0, unsent) => anyhow::bail!("{unsent} of {} ended otherwise than SENT", leads(all)),
            (unfinished, _) => anyhow::bail!(
                "the time is up with {unfinished} of {} still on the way; the service carries them on, and `bigin-sync status` shows how",
                leads(all)
            ),
        }
    }

    /// Fails where a lead does not exist.
    fn missing(&self) -> anyhow::Result<()> {
        match self.count(|sync| sync.state == "lead_deleted") {
            0 => Ok(()),
            missing => anyhow::bail!(
                "{missing} of {} not found: no published lead in Sanity has this id",
                leads(self.syncs.len())
            ),
        }
    }

    fn count(&self, is_it: impl Fn(&SyncJob) -> bool) -> usize {
        self.syncs.values().filter(|sync| is_it(sync)).count()
    }

    fn report(&self, options: &Options, show: &mut Show) -> anyhow::Result<()> {
        show.finish();
        let syncs: Vec<&SyncJob> = self.syncs.values().collect();
        let all = leads(syncs.len());
        let line = match options.wait {
            Some(_) => format!("{all}: {}", counted(syncs.iter().copied())),
            None => {
                let skipped = self.count(|sync| sync.state == "cancelled");
                let skipped = match skipped {
                    0 => String::new(),
                    skipped => format!(", {skipped} skipped: no longer asked for"),
                };
                format!("{all} accepted{skipped}")
            }
        };
        let body = json!({
            "leads": syncs,
            "accepted": syncs.len(),
            "sent": self.count(|sync| sync.state == "sent"),
            "unfinished": self.count(|sync| !sync.is_over()),
        });
        tell(options, &line, &body)
    }
}

/// Prints what is for people, or what is for machines.
fn tell(options: &Options, text: &str, body: &serde_json::Value) -> anyhow::Result<()> {
    let printed = match options.json {
        true => print(&format!("{body:#}\n")),
        false => print(&format!("{text}\n")),
    };
    printed.context("the result cannot be written")
}

/// Lets somebody at a terminal think again before many leads are sent.
fn confirm(options: &Options, count: u64) -> anyhow::Result<()> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if count <= WITHOUT_ASKING || options.yes || !is_terminal {
        return Ok(());
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "Send {} to Bigin? [y/N] ", leads(count)).and_then(|()| err.flush());
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => anyhow::bail!("nothing is sent"),
    }
}

/// The ids are wrong, or what they are to be read from.
fn wrong(message: String) -> anyhow::Error {
    Usage(message).into()
}
