//! A lead through all of it: an invented document in Sanity that asks to be sent, and what becomes of it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::cli::doctor::{PATIENCE, Patient};
use crate::cli::print;
use crate::domain::lead::{LeadId, REQUESTED};

pub(super) const OFFER: &str = "Send an invented lead through all of it now? The service has to run, here or elsewhere";

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Reconciliation, the tag's delay and a few retries are over by then.
const PATIENTLY: u32 = 300;

/// Puts the lead into Sanity and waits for its end.
///
/// # Errors
/// It could not be made, has failed, or nothing came of it.
pub(super) async fn send(patient: &Patient) -> anyhow::Result<()> {
    let mark = patient.now().as_second();
    let text = format!("bigin-sync-test-{mark}");
    let id = LeadId::parse(&text).context("the id of the test lead")?;
    // Nobody's name, and an address that cannot be anybody's (RFC 2606).
    let lead = json!({
        "_id": text,
        "_type": patient.sanity_settings().lead_type,
        "firstName": "Test",
        "secondName": "Bigin-Sync",
        "emailAddress": format!("{text}@example.org"),
        "crmStatus": REQUESTED,
    });
    patient.sanity_client().make_lead(&lead, PATIENCE).await?;
    print(&format!(
        "\nThe lead {id} is in Sanity and asks to be sent. Start `bigin-sync serve` in another terminal, if it does not run yet.\n"
    ))?;
    for _ in 0..PATIENTLY {
        tokio::time::sleep(EVERY).await;
        // What cannot be read now may be in a second.
        let ids = std::slice::from_ref(&id);
        let read = patient.sanity_client().read(ids, PATIENCE, |_, lead, _| lead).await;
        let lead = read.ok().and_then(|mut reads| reads.remove(&id)?.made());
        let Some(lead) = lead else { continue };
        let Some(lead) = lead.published else {
            bail!("the lead {id} is not in Sanity any more");
        };
        match lead.crm_status.as_deref() {
            Some(REQUESTED) => {}
            Some("SENT") => {
                let contact = lead.contact.map(|contact| contact.to_string()).unwrap_or_default();
                print(&format!(
                    "It is SENT, and the contact {contact} in Bigin. Has your automation run? Then delete both by hand.\n"
                ))?;
                return Ok(());
            }
            Some(other) => {
                bail!("the lead {id} says {other} now; `bigin-sync status {id}` says why. Delete it by hand");
            }
            None => bail!("the lead {id} lost its crmStatus"),
        }
    }
    bail!(
        "nothing has come of the lead {id} in five minutes: does the service run, and what does `bigin-sync doctor` say? Delete it by hand"
    )
}
