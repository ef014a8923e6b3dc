//! `bigin-sync demo`: the real service between a simulated Sanity and a simulated Bigin on this machine, killed in the middle and
//! checked by what the two received. It reads nothing of the user's.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::checker::Verdict;
use self::child::{Log, Service};
use self::client::{Client, Snapshot};
use self::fixtures::Leads;
use self::progress::Progress;
use super::interrupt;
use super::text::count;
use crate::api_types::SyncJson;
use crate::clock::{SharedClock, SystemClock, until};
use crate::config::parse_duration;
use crate::domain::lead::{NOT_SENT, REQUESTED};
use crate::fake::bigin::FakeBigin;
use crate::fake::sanity::FakeSanity;
use crate::http_client;

pub mod checker;
mod child;
mod client;
mod fakes;
mod fixtures;
mod progress;
mod recorder;
mod report;
mod scenario;

/// For all leads: the demo ends within a minute.
const TIMEOUT: Duration = Duration::from_secs(50);

/// Of a call to Bigin, about as of a real one.
const LATENCY: Duration = Duration::from_millis(150);

/// Between Sanity's checks for due webhooks.
const DELIVERY_INTERVAL: Duration = Duration::from_millis(20);

const WATCH_INTERVAL: Duration = Duration::from_millis(100);

const DATABASE: &str = "demo.db";
const ADMIN_TOKEN: &str = "demo-admin-token-demo-admin-token-demo";

const EXAMPLES: &str = "\
Examples:
  bigin-sync demo
  bigin-sync demo --tag-delay 15s --leads 200
  bigin-sync demo --keep          keep the services and the dashboard running afterwards
  bigin-sync demo --services-only run only the simulated services, to try `bigin-sync setup`";

/// The command's options.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Options {
    /// Tag delay, 1s to 15s; the service's default is 15s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = tag_delay)]
    tag_delay: Duration,
    /// Leads besides the nine special cases, 1 to 500
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=500))]
    leads: u16,
    /// Keep running after the report until Ctrl-C, and show URLs and tokens
    #[arg(long)]
    keep: bool,
    /// Run only the simulated Sanity and Bigin until Ctrl-C, and show what `bigin-sync setup` asks for
    #[arg(long, conflicts_with_all = ["keep", "leads", "tag_delay"])]
    services_only: bool,
}

fn tag_delay(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_secs(1)..=Duration::from_secs(15);
    let delay = parse_duration(text).ok_or("not a duration such as 500ms or 5s")?;
    if allowed.contains(&delay) {
        Ok(delay)
    } else {
        Err("use 1s to 15s, so that the demo ends within a minute".to_owned())
    }
}

/// The simulated services and their data.
struct Simulation {
    clock: SharedClock,
    sanity: Arc<FakeSanity>,
    bigin: FakeBigin,
    leads: Leads,
    tag_delay: Duration,
}

impl Simulation {
    async fn start(options: &Options, clock: SharedClock) -> anyhow::Result<Self> {
        let sanity = Arc::new(FakeSanity::start(SharedClock::clone(&clock)).await?);
        let bigin = FakeBigin::start(SharedClock::clone(&clock)).await?;
        let leads = Leads::new(options.leads.into());
        leads.seed(&mut sanity.model())?;
        {
            let mut crm = bigin.model();
            crm.switches.latency = LATENCY;
            fixtures::seed_contacts(&mut crm);
        }
        Ok(Self {
            clock,
            sanity,
            bigin,
            leads,
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

    /// All leads but the two whose webhooks will fail.
    fn requested_at_start(&self) -> impl Iterator<Item = &str> {
        let later = |id: &&str| ![fixtures::LOST, fixtures::DOWN].contains(id);
        let others_first = self.leads.others.iter().chain(&self.leads.named);
        others_first.map(|lead| lead.id.as_str()).filter(later)
    }

    fn name(&self, id: &str) -> &str {
        let lead = self.leads.all().find(|lead| lead.id == id);
        lead.map_or("a lead", |lead| lead.name.as_str())
    }

    /// Whether all leads are finished, in Sanity and in the service.
    fn is_finished(&self, snapshot: &Snapshot) -> bool {
        let lake = self.sanity.model();
        let has_result = |id: &str| !matches!(lake.text(id, "crmStatus"), Some(REQUESTED | NOT_SENT));
        let mut leads = self.leads.all();
        leads.all(|lead| has_result(&lead.id)) && snapshot.is_up && snapshot.syncs.values().all(SyncJson::is_finished)
    }
}

/// # Errors
/// The demo could not run, or a check of its results failed.
pub(super) async fn demo(options: &Options) -> anyhow::Result<()> {
    let stopped = stop_signal()?;
    if options.services_only {
        return tokio::select! {
            result = fakes::run() => result,
            () = stopped => Ok(()),
        };
    }
    let (log, verdicts) = (Log::default(), OnceCell::new());
    tokio::select! {
        result = run(options, &log, &verdicts) => result.inspect_err(|_| show_log(&log)),
        () = stopped => match verdicts.get() {
            Some(verdicts) => result_of(verdicts),
            None => anyhow::bail!("cancelled"),
        }
    }
}

async fn run(options: &Options, log: &Log, end: &OnceCell<Vec<Verdict>>) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let started = clock.now();
    let folder = TempDir::with_prefix("bigin-sync-demo-").context("cannot create a temporary folder")?;
    let simulation = Simulation::start(options, SharedClock::clone(&clock)).await?;
    let mut service = Service::start(folder.path().to_owned(), simulation.settings(), log.clone()).await?;
    report::print_introduction(&simulation, &service.url());
    simulation
        .sanity
        .set_webhook(&format!("{}/webhooks/sanity", service.url()));
    let _deliveries = Deliveries::start(Arc::clone(&simulation.sanity));

    let client = Client {
        http: http_client::local_client("bigin-sync demo")?,
        url: service.url(),
        token: ADMIN_TOKEN.to_owned(),
    };
    let progress = Progress::new(&simulation.leads, simulation.tag_delay, clock);
    let (sender, snapshots) = watch::channel(Snapshot::default());
    let watching = watch(&client, &progress, sender);
    let scenario = scenario::play(&simulation, &mut service, &progress, snapshots.clone());
    tokio::select! {
        ended = tokio::time::timeout(TIMEOUT, scenario) => match ended {
            Ok(ended) => ended?,
            Err(_) => progress.log("Timed out, and not all leads are finished"),
        },
        ended = watching => ended?,
    }
    progress.finish();

    let evidence = recorder::collect(&simulation, &client, folder.path(), log).await;
    let verdicts = end.get_or_init(|| checker::judge(&evidence));
    report::print_report(&simulation, &evidence, &snapshots.borrow(), verdicts);
    report::print_duration(until(started, simulation.clock.now()));
    if options.keep {
        report::print_addresses(&simulation, &client);
        let (sender, _snapshots) = watch::channel(Snapshot::default());
        let clock = SharedClock::clone(&simulation.clock);
        let progress = Progress::lines(&simulation.leads, simulation.tag_delay, clock);
        watch(&client, &progress, sender).await?;
    }
    result_of(verdicts)
}

/// Reads the service's state, shows it and sends it, without end.
async fn watch(client: &Client, progress: &Progress, sender: watch::Sender<Snapshot>) -> anyhow::Result<()> {
    loop {
        let syncs = client.syncs().await;
        sender.send_modify(|snapshot| {
            snapshot.is_up = syncs.is_some();
            if let Some(syncs) = syncs {
                snapshot.syncs = syncs;
            }
        });
        progress.show(&sender.borrow());
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn result_of(verdicts: &[Verdict]) -> anyhow::Result<()> {
    match verdicts.iter().filter(|verdict| !verdict.is_kept()).count() {
        0 => Ok(()),
        broken => anyhow::bail!("{} failed", count(broken, "check")),
    }
}

#[expect(clippy::print_stderr, reason = "the log goes beside the report on standard output")]
fn show_log(log: &Log) {
    let tail = log.tail();
    if !tail.is_empty() {
        eprintln!("\nThe end of the service's log:\n{tail}\n");
    }
}

/// Also resolves when the terminal is closed, so that the child process does not outlive the demo.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let stopped = interrupt::stop_signal()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            () = stopped => {}
            _ = hang_up.recv() => {}
        }
    })
}

/// Sanity's delivery of webhooks. It ends when dropped.
struct Deliveries(tokio::task::JoinHandle<()>);

impl Deliveries {
    fn start(sanity: Arc<FakeSanity>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                sanity.deliver_due().await;
                tokio::time::sleep(DELIVERY_INTERVAL).await;
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
    fn one_failed_check_fails_the_demo() {
        let verdict = |faults: &[&str]| Verdict {
            guarantee: "No early tags",
            sentence: String::new(),
            faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
        };
        assert!(result_of(&[verdict(&[]), verdict(&[])]).is_ok());
        let error = result_of(&[verdict(&[]), verdict(&["a tag came early", "another"])]).unwrap_err();
        assert_eq!(error.to_string(), "1 check failed");
    }
}
