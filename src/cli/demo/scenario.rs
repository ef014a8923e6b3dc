//! The demo's scenario: the editors' actions in Sanity, and the crash of the service.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::watch;

use super::Simulation;
use super::child::Service;
use super::client::Snapshot;
use super::fixtures::{BAD, DOWN, EDITED, FIXED_EMAIL, LOST, TWICE, conversation};
use super::progress::Progress;
use crate::cli::text::count;
use crate::domain::lead::{NOT_SENT, REQUESTED};

/// The first upserts take about a second, but longer on a busy machine.
const UPSERT_TIMEOUT: Duration = Duration::from_secs(20);

/// Between the crash and the restart.
const DOWNTIME: Duration = Duration::from_secs(1);

/// After the last result: nothing more may happen.
const QUIET_PERIOD: Duration = Duration::from_millis(500);

/// Between the edits and the crash: less than RECONCILE_MIN_AGE, after which reconciliation counts a webhook as missed.
const MAX_DELAY_BEFORE_KILL: Duration = Duration::from_millis(1500);

/// Returns when all leads are finished; the caller sets a timeout.
///
/// # Errors
/// The service does not restart, or does not upsert the leads in time.
pub(super) async fn play(
    simulation: &Simulation,
    service: &mut Service,
    progress: &Progress,
    mut snapshots: watch::Receiver<Snapshot>,
) -> anyhow::Result<()> {
    request_all(simulation, progress)?;
    let upserted = wait_for(&mut snapshots, |snapshot| {
        simulation.requested_at_start().all(|lead| is_upserted(snapshot, lead))
    });
    tokio::time::timeout(UPSERT_TIMEOUT, upserted)
        .await
        .context("the service did not upsert the leads in time")??;

    tokio::time::sleep(simulation.tag_delay / 5).await;
    edit_leads(simulation, progress)?;
    tokio::time::sleep((simulation.tag_delay / 5).min(MAX_DELAY_BEFORE_KILL)).await;
    crash(simulation, service, progress, &snapshots).await?;
    fix_bad_lead(simulation, progress)?;

    wait_for(&mut snapshots, |snapshot| {
        snapshot.state(LOST).is_some() && snapshot.state(DOWN).is_some()
    })
    .await?;
    progress.log("Reconciliation found the two leads with missed webhooks");
    wait_for(&mut snapshots, |snapshot| simulation.is_finished(snapshot)).await?;
    tokio::time::sleep(QUIET_PERIOD).await;
    Ok(())
}

async fn wait_for(
    snapshots: &mut watch::Receiver<Snapshot>,
    condition: impl Fn(&Snapshot) -> bool,
) -> anyhow::Result<()> {
    let snapshot = snapshots.wait_for(|snapshot| condition(snapshot)).await;
    snapshot.context("the service is not watched")?;
    Ok(())
}

/// Whether its contact is in Bigin, or it failed.
fn is_upserted(snapshot: &Snapshot, lead: &str) -> bool {
    !matches!(snapshot.state(lead), None | Some("requested" | "rejected"))
}

fn request_all(simulation: &Simulation, progress: &Progress) -> anyhow::Result<()> {
    let all: Vec<&str> = simulation.requested_at_start().collect();
    progress.log(&format!(
        "An editor requests {} leads at once. Sanity sends one webhook twice",
        all.len()
    ));
    let mut lake = simulation.sanity.model();
    for lead in all.into_iter().filter(|lead| *lead != TWICE) {
        lake.request(lead)?;
    }
    lake.webhooks.repeat_next(1);
    lake.request(TWICE)?;
    Ok(())
}

/// While the tags are waiting.
fn edit_leads(simulation: &Simulation, progress: &Progress) -> anyhow::Result<()> {
    let name = |lead| simulation.name(lead);
    progress.log(&format!("{}'s lead changes after it was copied to Bigin", name(EDITED)));
    progress.log(&format!("{} is requested again", name(TWICE)));
    progress.log(&format!("{} is requested, and the webhook is lost", name(LOST)));
    let mut lake = simulation.sanity.model();
    lake.edit(EDITED, json!({ "conversationHistory": conversation(true) }))?;
    lake.edit(TWICE, json!({ "crmStatus": NOT_SENT }))?;
    lake.request(TWICE)?;
    lake.webhooks.lose_next(1);
    lake.request(LOST)?;
    progress.expect(LOST, "requested; webhook lost");
    Ok(())
}

async fn crash(
    simulation: &Simulation,
    service: &mut Service,
    progress: &Progress,
    snapshots: &watch::Receiver<Snapshot>,
) -> anyhow::Result<()> {
    let waiting = snapshots.borrow().waiting_to_tag(simulation.clock.now());
    service.kill().await?;
    progress.log(&format!(
        "SIGKILL: the service is down, with {} waiting to tag",
        count(waiting, "lead")
    ));
    simulation.sanity.model().request(DOWN)?;
    progress.log(&format!(
        "{} is requested, and the webhook fails",
        simulation.name(DOWN)
    ));
    progress.expect(DOWN, "requested; webhook failed");
    tokio::time::sleep(DOWNTIME).await;
    service.restart().await?;
    progress.log("The service restarts with the same database and continues");
    Ok(())
}

fn fix_bad_lead(simulation: &Simulation, progress: &Progress) -> anyhow::Result<()> {
    progress.log(&format!(
        "{}'s email is fixed, and the lead requested again",
        simulation.name(BAD)
    ));
    let fields = json!({ "emailAddress": FIXED_EMAIL, "crmStatus": REQUESTED });
    simulation.sanity.model().edit(BAD, fields)?;
    Ok(())
}
