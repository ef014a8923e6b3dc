//! Whether the tag starts Bigin's automation, which the API cannot show: sends a test contact as leads are sent, and the operator
//! looks for the result.

use std::io::Write as _;

use anyhow::{Context as _, anyhow, bail};
use jiff::Timestamp;

use super::bigin::sentence;
use super::finding::{Check, Finding, Group};
use super::{CALL_TIMEOUT, Installation};
use crate::cli::text::duration;
use crate::cli::{Usage, print, prompt};
use crate::domain::failure::{CallError, ItemError};
use crate::domain::lead::ContactId;
use crate::domain::record::Record;

pub(super) fn offer() -> Finding {
    Check(Group::Live, "automation").skipped(
        "the API can't tell whether the tag starts your automation; Bigin documents no rule \"tag added\"",
        "`bigin-sync doctor --guided-test` creates a test contact and tags it: check whether your automation runs",
    )
}

/// # Errors
/// Invalid settings, no confirmation, or Bigin rejected a call.
pub(super) async fn run(installation: &Installation, agreed: bool, interactive: bool) -> anyhow::Result<()> {
    let tags = installation.settings.bigin.tags.join(", ");
    if !installation.errors.is_empty() {
        bail!(Usage(
            "the settings are invalid: `bigin-sync doctor` lists the problems".to_owned()
        ));
    }
    if !agreed && !interactive {
        bail!(Usage(
            "--guided-test creates a contact in your Bigin, and cannot prompt without a terminal; pass --yes"
                .to_owned()
        ));
    }
    let question = format!(
        "This creates the contact \"Test Bigin-Sync\" in your Bigin and adds the tag {tags}. Your automation may start and send \
         messages. Delete the contact afterwards. Continue?"
    );
    if !agreed && !prompt::confirm(&question)? {
        print("Cancelled. Nothing was sent.\n")?;
        return Ok(());
    }
    let contact = create_contact(installation).await?;
    print(&format!("Created the contact {contact}: \"Test Bigin-Sync\".\n"))?;
    let delay = installation.settings.tag_delay;
    let _ = writeln!(std::io::stderr(), "Waiting {} (TAG_DELAY).", duration(delay));
    tokio::time::sleep(delay).await;
    let contacts = std::slice::from_ref(&contact);
    let tagged = installation.bigin.add_tags(contacts, CALL_TIMEOUT).await;
    only_item(tagged).with_context(|| format!("cannot tag the contact {contact}, which stays in Bigin"))?;
    print(&format!(
        "Added the tag {tags}.

Now look in Bigin, for a minute or two:
  1. Is the contact \"Test Bigin-Sync\" there, with the tag?
  2. Did your automation run: is the contact in the pipeline, is the task there, was the message sent?

If only 1 is true, the automation waits for something else. Bigin documents rules that run when a contact is created or edited,
and none that runs when a tag is added; this test shows whether a tag counts as an edit. Check that the rule runs on edits and
has this tag as its condition, with the same upper and lower case. If it still does not run, try a longer TAG_DELAY.

Delete the contact in Bigin afterwards: bigin-sync deletes nothing.
"
    ))?;
    Ok(())
}

async fn create_contact(installation: &Installation) -> anyhow::Result<ContactId> {
    let record = record(installation.now(), installation.settings.bigin.lead_id_field.as_deref());
    let created = installation.bigin.upsert(&[&record], &["Email"], CALL_TIMEOUT).await;
    let created = only_item(created).context("cannot create the contact")?;
    Ok(created.contact)
}

/// The result of a call with one record.
fn only_item<T>(result: Result<Vec<Result<T, ItemError>>, CallError>) -> anyhow::Result<T> {
    let items = result.map_err(|error| anyhow!(sentence(&error)))?;
    let item = items.into_iter().next().context("Bigin's answer is empty")?;
    item.map_err(|error| match error {
        ItemError::Rejected { reason, .. } => anyhow!(reason.to_string()),
        ItemError::ContactGone => anyhow!("it was deleted"),
        ItemError::Service { error } => anyhow!(error.to_string()),
        ItemError::Retry { code } => anyhow!("retry in a minute ({code})"),
    })
}

/// The address cannot exist (RFC 2606), and is new in each test, so that a new contact is created.
fn record(now: Timestamp, lead_id_field: Option<&str>) -> Record {
    let mark = now.as_second();
    let mut record = Record::default();
    record.set("First_Name", "Test".into());
    record.set("Last_Name", "Bigin-Sync".into());
    record.set("Email", format!("bigin-sync-test-{mark}@example.org").into());
    record.set(
        "Description",
        "Created by `bigin-sync doctor --guided-test`. Delete it.".into(),
    );
    if let Some(field) = lead_id_field {
        record.set(field, format!("bigin-sync-test-{mark}").into());
    }
    record
}
