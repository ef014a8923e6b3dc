//! `bigin-sync demo`: the real service between a Sanity and a Bigin that are played on this machine, killed in the midst
//! of its work and judged by what the two have seen. Reads nothing of the user's.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::checker::Verdict;
use self::child::{Log, Service};
use self::fixtures::Cast;
use self::progress::Progress;
use self::watcher::{Api, Seen};
use super::api::SyncJob;
use crate::clock::{SharedClock, SystemClock, until};
use crate::config::parse_duration;
use crate::domain::lead::REQUESTED;
use crate::fake::bigin::FakeBigin;
use crate::fake::sanity::FakeSanity;
use crate::http_client;

pub mod checker;
mod child;
mod fakes;
mod fixtures;
mod progress;
mod recorder;
mod report;
mod scenario;
mod watcher;

/// The demo ends within a minute, which leaves so much for the leads.
const CURTAIN: Duration = Duration::from_secs(50);

/// What a call to Bigin takes here, about as long as a real one.
const LATENCY: Duration = Duration::from_millis(150);

/// How often Sanity looks for webhooks to deliver.
const DELIVERY: Duration = Duration::from_millis(20);

const DATABASE: &str = "demo.db";
const ADMIN_TOKEN: &str = "demo-admin-token-demo-admin-token-demo";

const EXAMPLES: &str = "\
Examples:
  bigin-sync demo
  bigin-sync demo --tag-delay 15s --leads 200
  bigin-sync demo --keep          leaves both services and the dashboard running to play with
  bigin-sync demo --stand-ins     plays both services alone, for `bigin-sync setup` to be tried on";

/// What the user may choose.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Options {
    /// Wait between a contact's upsert and its tag, 1s to 15s; the service's own default is 15s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = tag_delay)]
    tag_delay: Duration,
    /// Leads in the crowd that is asked for at once, beside the nine leads with a story; 1 to 500
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=500))]
    leads: u16,
    /// Stay up after the report, with addresses and tokens to play with, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Play Sanity and Bigin alone until Ctrl-C, with all that `bigin-sync setup` asks for
    #[arg(long, conflicts_with_all = ["keep", "leads", "tag_delay"])]
    stand_ins: bool,
}

fn tag_delay(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_secs(1)..=Duration::from_secs(15);
    let delay = parse_duration(text).ok_or("that is not a duration such as 500ms or 5s")?;
    if allowed.contains(&delay) {
        Ok(delay)
    } else {
        Err("the demo takes 1s to 15s, so that it ends within a minute".to_owned())
    }
}

/// Everything but the service.
struct Stage {
    clock: SharedClock,
    sanity: Arc<FakeSanity>,
    bigin: FakeBigin,
    cast: Cast,
    tag_delay: Duration,
}

impl Stage {
    async fn set(options: &Options, clock: SharedClock) -> anyhow::Result<Self> {
        let sanity = Arc::new(FakeSanity::start(SharedClock::clone(&clock)).await?);
        let bigin = FakeBigin::start(SharedClock::clone(&clock)).await?;
        let cast = Cast::new(options.leads.into());
        cast.settle(&mut sanity.model())?;
        {
            let mut crm = bigin.model();
            crm.switches.latency = LATENCY;
            fixtures::settle_contacts(&mut crm);
        }
        Ok(Self {
            clock,
            sanity,
            bigin,
            cast,
            tag_delay: options.tag_delay,
        })
    }

    /// The service's whole environment.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let (sanity, bigin) = (&self.sanity, &self.bigin);
        vec![
            ("SANITY_PROJECT_ID", sanity.project_id().to_owned()),
            ("SANITY_DATASET", sanity.dataset().to_owned()),
            ("SANITY_API_URL", sanity.url()),
            ("SANITY_API_WRITE_TOKEN", sanity.token().to_owned()),
            ("SANITY_WEBHOOK_SECRET", sanity.webhook_secret().to_owned()),
            ("BIGIN_ACCOUNTS_URL", bigin.url()),
            ("BIGIN_API_DOMAIN", bigin.url()),
            ("BIGIN_CLIENT_ID", bigin.client_id()),
            ("BIGIN_CLIENT_SECRET", bigin.client_secret()),
            ("BIGIN_REFRESH_TOKEN", bigin.refresh_token()),
            ("DATABASE_URL", format!("sqlite://{DATABASE}")),
            ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("TAG_DELAY", format!("{}ms", self.tag_delay.as_millis())),
            ("LEASE_DURATION", "6s".to_owned()),
            ("RECONCILE_INTERVAL", "2s".to_owned()),
            ("RECONCILE_MIN_AGE", "3s".to_owned()),
            ("RETRY_BASE_DELAY", "500ms".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("RUST_LOG", "info".to_owned()),
        ]
    }

    /// The leads that are asked for at the beginning: all but the two whose webhooks are to fail.
    fn asked_at_once(&self) -> impl Iterator<Item = &str> {
        let later = |id: &&str| ![fixtures::LOST, fixtures::DOWN].contains(id);
        let crowd_first = self.cast.crowd.iter().chain(&self.cast.told);
        crowd_first.map(|lead| lead.id.as_str()).filter(later)
    }

    fn name(&self, id: &str) -> &str {
        let lead = self.cast.all().find(|lead| lead.id == id);
        lead.map_or("a lead", |lead| lead.name.as_str())
    }

    /// Whether every lead has come to its end, in Sanity and in the service.
    fn is_over(&self, seen: &Seen) -> bool {
        let lake = self.sanity.model();
        let settled = |id: &str| !matches!(lake.text(id, "crmStatus"), Some(REQUESTED | "NOT_SENT"));
        let mut leads = self.cast.all();
        leads.all(|lead| settled(&lead.id)) && seen.up && seen.syncs.values().all(SyncJob::is_over)
    }
}

/// Plays the demo.
///
/// # Errors
/// It could not be played, or a promise was broken.
pub(super) async fn demo(options: &Options) -> anyhow::Result<()> {
    let stopped = stop_signal()?;
    if options.stand_ins {
        return tokio::select! {
            result = fakes::play() => result,
            () = stopped => Ok(()),
        };
    }
    let (log, verdicts) = (Log::default(), OnceCell::new());
    tokio::select! {
        result = run(options, &log, &verdicts) => result.inspect_err(|_| show_log(&log)),
        () = stopped => match verdicts.get() {
            Some(verdicts) => judged(verdicts),
            None => anyhow::bail!("stopped before its end"),
        }
    }
}

async fn run(options: &Options, log: &Log, end: &OnceCell<Vec<Verdict>>) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let started = clock.now();
    let folder = TempDir::with_prefix("bigin-sync-demo-").context("there is no room for temporary files")?;
    let stage = Stage::set(options, SharedClock::clone(&clock)).await?;
    let mut service = Service::start(folder.path().to_owned(), stage.settings(), log.clone()).await?;
    report::introduce(&stage, &service.url());
    stage.sanity.set_webhook(&format!("{}/webhooks/sanity", service.url()));
    let _deliveries = Deliveries::start(Arc::clone(&stage.sanity));

    let api = Api {
        client: http_client::local_client("bigin-sync demo")?,
        url: service.url(),
        token: ADMIN_TOKEN.to_owned(),
    };
    let progress = Progress::new(&stage.cast, stage.tag_delay, clock);
    let (tell, seen) = watch::channel(Seen::default());
    let watching = watcher::watch(&api, &progress, tell);
    let playing = scenario::play(&stage, &mut service, &progress, seen.clone());
    tokio::select! {
        ended = tokio::time::timeout(CURTAIN, playing) => match ended {
            Ok(played) => played?,
            Err(_) => progress.say("The time is up, and not all leads have come to their end"),
        },
        ended = watching => ended?,
    }
    progress.finish();

    let evidence = recorder::collect(&stage, &api, folder.path(), log).await;
    let verdicts = end.get_or_init(|| checker::judge(&evidence));
    report::report(&stage, &evidence, &seen.borrow(), verdicts);
    report::took(until(started, stage.clock.now()));
    if options.keep {
        report::invite(&stage, &api);
        keep(&stage, &api).await?;
    }
    judged(verdicts)
}

/// Shows what happens, for ever: Ctrl-C ends it.
async fn keep(stage: &Stage, api: &Api) -> anyhow::Result<()> {
    let (tell, _seen) = watch::channel(Seen::default());
    let progress = Progress::lines(&stage.cast, stage.tag_delay, SharedClock::clone(&stage.clock));
    watcher::watch(api, &progress, tell).await
}

fn judged(verdicts: &[Verdict]) -> anyhow::Result<()> {
    match verdicts.iter().filter(|verdict| !verdict.kept()).count() {
        0 => Ok(()),
        1 => anyhow::bail!("a promise was broken"),
        broken => anyhow::bail!("{broken} promises were broken"),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "what went wrong is for people, beside the report on standard output"
)]
fn show_log(log: &Log) {
    let tail = log.tail();
    if !tail.is_empty() {
        eprintln!("\nThe last lines of the service's log:\n{tail}\n");
    }
}

/// Resolves at Ctrl-C, when a host stops us, and when the terminal is closed.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

/// Sanity's delivery of webhooks; ends when dropped.
struct Deliveries(tokio::task::JoinHandle<()>);

impl Deliveries {
    fn start(sanity: Arc<FakeSanity>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                sanity.deliver_due().await;
                tokio::time::sleep(DELIVERY).await;
            }
        }))
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_is_a_failure() {
        let verdict = |faults: &[&str]| Verdict {
            promise: "Never early",
            sentence: String::new(),
            faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
        };
        assert!(judged(&[verdict(&[]), verdict(&[])]).is_ok());
        let error = judged(&[verdict(&[]), verdict(&["a tag came early", "and another"])]).unwrap_err();
        assert_eq!(error.to_string(), "a promise was broken");
    }
}
