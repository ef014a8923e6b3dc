//! What happens in the demo: what editors do in Sanity, and what is done to the service.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::watch;

use super::Stage;
use super::child::Service;
use super::fixtures::{BAD, DOWN, EDITED, LOST, MENDED_EMAIL, TWICE, conversation};
use super::progress::Progress;
use super::watcher::Seen;
use crate::domain::lead::REQUESTED;

/// The first round takes about a second; a machine that is busy may take longer.
const FIRST_ROUND: Duration = Duration::from_secs(20);

/// How long the service stays dead.
const DEAD: Duration = Duration::from_secs(1);

/// How long it is watched after the last lead has come to its end: nothing more may happen.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Between the edits and the kill: less than reconciliation waits before it takes a webhook for lost.
const LONGEST_BEFORE_KILL: Duration = Duration::from_millis(1500);

/// Plays it. Returns when all leads have come to their end; whoever calls sets a limit to that.
///
/// # Errors
/// The service does not start again, or does not do its first round.
pub(super) async fn play(
    stage: &Stage,
    service: &mut Service,
    progress: &Progress,
    mut seen: watch::Receiver<Seen>,
) -> anyhow::Result<()> {
    ask_for_all(stage, progress)?;
    let first_round = wait_for(&mut seen, |seen| {
        stage.asked_at_once().all(|lead| in_bigin_or_over(seen, lead))
    });
    tokio::time::timeout(FIRST_ROUND, first_round)
        .await
        .context("the service did not get the leads into Bigin in time")??;

    tokio::time::sleep(stage.tag_delay / 5).await;
    meddle(stage, progress)?;
    tokio::time::sleep((stage.tag_delay / 5).min(LONGEST_BEFORE_KILL)).await;
    kill(stage, service, progress, &seen).await?;
    mend(stage, progress)?;

    wait_for(&mut seen, |seen| {
        seen.state(LOST).is_some() && seen.state(DOWN).is_some()
    })
    .await?;
    progress.say("Reconciliation has found the two leads whose webhooks never arrived");
    wait_for(&mut seen, |seen| stage.is_over(seen)).await?;
    tokio::time::sleep(AFTERWARDS).await;
    Ok(())
}

async fn wait_for(seen: &mut watch::Receiver<Seen>, is_it: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
    seen.wait_for(|seen| is_it(seen))
        .await
        .context("nobody watches the service")?;
    Ok(())
}

fn in_bigin_or_over(seen: &Seen, lead: &str) -> bool {
    !matches!(seen.state(lead), None | Some("requested" | "rejected"))
}

fn ask_for_all(stage: &Stage, progress: &Progress) -> anyhow::Result<()> {
    let all: Vec<&str> = stage.asked_at_once().collect();
    progress.say(&format!(
        "An editor asks for {} leads at once; Sanity reports one of them twice",
        all.len()
    ));
    let mut lake = stage.sanity.model();
    for lead in all.into_iter().filter(|lead| *lead != TWICE) {
        lake.request(lead)?;
    }
    lake.webhooks.repeat_next(1);
    lake.request(TWICE)?;
    Ok(())
}

/// While the tags wait.
fn meddle(stage: &Stage, progress: &Progress) -> anyhow::Result<()> {
    let name = |lead| stage.name(lead);
    progress.say(&format!(
        "A message comes in for {}, who is in Bigin without it",
        name(EDITED)
    ));
    progress.say(&format!("{} is asked for once more", name(TWICE)));
    progress.say(&format!("{} is asked for, and Sanity loses the webhook", name(LOST)));
    let mut lake = stage.sanity.model();
    lake.edit(EDITED, json!({ "conversationHistory": conversation(true) }))?;
    lake.edit(TWICE, json!({ "crmStatus": "NOT_SENT" }))?;
    lake.request(TWICE)?;
    lake.webhooks.lose_next(1);
    lake.request(LOST)?;
    progress.expect(LOST, "asked for; its webhook is lost");
    Ok(())
}

async fn kill(
    stage: &Stage,
    service: &mut Service,
    progress: &Progress,
    seen: &watch::Receiver<Seen>,
) -> anyhow::Result<()> {
    let waiting = seen.borrow().waiting(stage.clock.now()).count();
    service.kill().await?;
    progress.say(&format!(
        "SIGKILL: the service is dead, while {waiting} leads wait for their tag"
    ));
    stage.sanity.model().request(DOWN)?;
    progress.say(&format!(
        "{} is asked for, and the webhook finds nobody",
        stage.name(DOWN)
    ));
    progress.expect(DOWN, "asked for; its webhook found nobody");
    tokio::time::sleep(DEAD).await;
    service.start_again().await?;
    progress.say("The service is started again on the same file, and goes on where it was");
    Ok(())
}

fn mend(stage: &Stage, progress: &Progress) -> anyhow::Result<()> {
    progress.say(&format!(
        "The email of {} is mended, and the lead asked for again",
        stage.name(BAD)
    ));
    let fields = json!({ "emailAddress": MENDED_EMAIL, "crmStatus": REQUESTED });
    stage.sanity.model().edit(BAD, fields)?;
    Ok(())
}
