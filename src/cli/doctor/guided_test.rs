//! What only the organisation itself can show: whether the tag starts Bigin's automation. No API tells; so an invented contact
//! is sent as a lead is, and a person looks.

use std::io::Write as _;

use jiff::Timestamp;

use super::bigin::sentence;
use super::finding::{Finding, Group};
use super::{PATIENCE, Patient, confirmed};
use crate::cli::{Usage, print};
use crate::domain::failure::ItemError;
use crate::domain::lead::ContactId;
use crate::domain::record::Record;

/// How to find out.
pub(super) fn offer() -> Finding {
    Finding::skipped(
        Group::Live,
        "automation",
        "whether the tag starts your automation: no API tells, and Bigin documents no rule \"tag added\"",
        "`bigin-sync doctor --guided-test` sends an invented contact and tags it, for you to look",
    )
}

/// Sends an invented contact, waits the delay, tags it, and says what to look for.
///
/// # Errors
/// The settings have faults, nobody has agreed, or Bigin refuses.
pub(super) async fn test(patient: &Patient, agreed: bool, may_ask: bool) -> anyhow::Result<()> {
    let tags = patient.settings.bigin.tags.join(", ");
    if !patient.faults.is_empty() {
        return Err(Usage("the settings have faults: `bigin-sync doctor` shows them".to_owned()).into());
    }
    let question = format!(
        "A contact \"Test Bigin-Sync\" is made in your Bigin and gets the tag {tags}, which may start what your automation does (messages, too). You delete it afterwards. Go on?"
    );
    if !agreed && !may_ask {
        let message = "--guided-test makes a contact in your Bigin: --yes says that it may, where nobody can be asked";
        return Err(Usage(message.to_owned()).into());
    }
    if !agreed && !confirmed(&question).await {
        print("Nothing was sent.\n")?;
        return Ok(());
    }
    let contact = made(patient).await?;
    print(&format!("The contact {contact} is in Bigin: \"Test Bigin-Sync\".\n"))?;
    let delay = patient.settings.tag_delay;
    let _ = writeln!(std::io::stderr(), "Waiting {} s, as for every lead.", delay.as_secs());
    tokio::time::sleep(delay).await;
    let tagged = patient.bigin.add_tags(std::slice::from_ref(&contact), PATIENCE).await;
    match tagged.as_deref() {
        Ok([Ok(())]) => {}
        Ok([Err(error), ..]) => anyhow::bail!(
            "the contact {contact} is there and could not be tagged: {}",
            refusal(error)
        ),
        Ok(_) => anyhow::bail!("the contact {contact} is there and could not be tagged"),
        Err(error) => anyhow::bail!(
            "the contact {contact} is there and could not be tagged: {}",
            sentence(error)
        ),
    }
    print(&format!(
        "It has the tag {tags}.

Now look in Bigin, for a minute or two:
  1. Is the contact \"Test Bigin-Sync\" there, with the tag?
  2. Has your automation run: is the contact in the pipeline, is the task there, was the message sent?

Where 1 is so and 2 is not, the automation waits for something else. Bigin documents rules that run when a contact is made or
edited, and none for a tag that is added; whether a tag counts as an edit is what this test shows. See that the rule runs on
edits and asks for this tag, to the letter; where it still does not run, try a longer TAG_DELAY.

Afterwards delete the contact in Bigin by hand: this program deletes nothing.
"
    ))?;
    Ok(())
}

async fn made(patient: &Patient) -> anyhow::Result<ContactId> {
    let record = record(patient.clock.wall(), patient.settings.bigin.lead_id_field.as_deref());
    let made = patient.bigin.upsert(&[record], &["Email"], PATIENCE).await;
    match made.as_deref() {
        Ok([Ok(upserted)]) => Ok(upserted.contact.clone()),
        Ok([Err(error), ..]) => anyhow::bail!("Bigin did not take the contact: {}", refusal(error)),
        Ok(_) => anyhow::bail!("Bigin did not take the contact"),
        Err(error) => anyhow::bail!("Bigin did not take the contact: {}", sentence(error)),
    }
}

/// Nobody's name, and an address that cannot be anybody's (RFC 2606). It is another each time, so that each test starts with a
/// new contact.
fn record(now: Timestamp, lead_id_field: Option<&str>) -> Record {
    let mark = now.as_second();
    let mut record = Record::default();
    record.set("First_Name", "Test".into());
    record.set("Last_Name", "Bigin-Sync".into());
    record.set("Email", format!("bigin-sync-test-{mark}@example.org").into());
    record.set(
        "Description",
        "Made by `bigin-sync doctor --guided-test`. Delete it.".into(),
    );
    if let Some(field) = lead_id_field {
        record.set(field, format!("bigin-sync-test-{mark}").into());
    }
    record
}

fn refusal(error: &ItemError) -> String {
    match error {
        ItemError::Rejected { reason, .. } => reason.to_string(),
        ItemError::ContactGone => "it is gone".to_owned(),
        ItemError::Service { error: service_error } => service_error.to_string(),
        ItemError::Retry { code } => format!("try again in a minute ({code})"),
    }
}
