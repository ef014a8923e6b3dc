//! A test lead: a new document in Sanity that requests a sync, followed to its result.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::cli::doctor::{CALL_TIMEOUT, Installation};
use crate::cli::print;
use crate::domain::lead::{LeadId, REQUESTED, SENT};

pub(super) const QUESTION: &str = "Send a test lead now? The service must be running.";

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Five minutes: time for reconciliation, the tag delay and a few retries.
const MAX_POLLS: u32 = 300;

/// # Errors
/// The lead could not be created, failed, or got no result in time.
pub(super) async fn send(installation: &Installation) -> anyhow::Result<()> {
    let text = format!("bigin-sync-test-{}", installation.now().as_second());
    let id = LeadId::parse(&text).context("the ID of the test lead")?;
    // The address cannot exist (RFC 2606).
    let lead = json!({
        "_id": text,
        "_type": installation.settings().sanity.lead_type,
        "firstName": "Test",
        "secondName": "Bigin-Sync",
        "emailAddress": format!("{text}@example.org"),
        "crmStatus": REQUESTED,
    });
    let sanity = installation.sanity_client();
    sanity.make_lead(&lead, CALL_TIMEOUT).await?;
    print(&format!(
        "\nThe test lead {id} is in Sanity. If the service is not running, start `bigin-sync serve` in another terminal.\n"
    ))?;
    for _ in 0..MAX_POLLS {
        tokio::time::sleep(POLL_INTERVAL).await;
        // A failed read is retried with the next poll.
        let ids = std::slice::from_ref(&id);
        let read = sanity.read(ids, CALL_TIMEOUT, |_, lead, _| lead).await;
        let lead = read.ok().and_then(|mut reads| reads.remove(&id)?.answered());
        let Some(lead) = lead else { continue };
        let Some(lead) = lead.published else {
            bail!("the lead {id} was deleted from Sanity");
        };
        match lead.crm_status.as_deref() {
            Some(REQUESTED) => {}
            Some(SENT) => {
                let contact = lead.contact.map(|contact| contact.to_string()).unwrap_or_default();
                print(&format!(
                    "Sent. Contact {contact} is in Bigin. Check that your automation ran, then delete the test lead and contact.\n"
                ))?;
                return Ok(());
            }
            Some(other) => {
                bail!(
                    "the crmStatus of {id} is {other}: `bigin-sync status {id}` shows why. Delete the test lead in Sanity"
                )
            }
            None => bail!("the lead {id} has no crmStatus any more"),
        }
    }
    bail!(
        "the lead {id} has no result after five minutes: is the service running? `bigin-sync doctor` shows what is wrong. Delete the \
         test lead in Sanity"
    )
}
