//! Finds the contacts of leads without a unique value, so that a lost reply makes no second one: by phone, or, where a lead
//! has none, among the contacts that were made since it was asked for.

use std::time::Duration;

use super::batch::Batch;
use super::prepared::{PreparedLead, has_only_a_name, is_unidentified, name};
use super::{BIGIN_ANSWERED, Context};
use crate::bigin::{Bare, Found, lacks_permission};
use crate::clock::before;
use crate::domain::failure::{CallError, Remote};
use crate::domain::phone;
use crate::domain::record::Record;
use crate::domain::reject_reason::RejectReason;
use crate::store::{Claimed, StoreError};

/// By how much Bigin's clock may be behind ours.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);

/// Leads without a unique value are looked up before each upsert, and so also after one whose end is unknown. Those that
/// cannot be are settled here.
pub(super) async fn match_contact(
    context: &Context,
    batch: &mut Batch<'_>,
    prepared: Vec<PreparedLead>,
) -> Result<Vec<PreparedLead>, StoreError> {
    let prepared = by_phone(context, batch, prepared).await;
    among_the_latest(context, batch, prepared).await
}

/// Spellings that are looked up in one step, which is four calls: they share a deadline. Leads with more wait for the next.
const MAX_SPELLINGS: usize = 200;

async fn by_phone(context: &Context, batch: &mut Batch<'_>, prepared: Vec<PreparedLead>) -> Vec<PreparedLead> {
    let region = context.mapping.phone_region();
    let mut spellings: Vec<String> = Vec::new();
    let (prepared, later): (Vec<_>, Vec<_>) = prepared.into_iter().partition(|prepared| {
        let phone = prepared.record.text("Phone").filter(|_| is_unidentified(prepared));
        let of_lead = phone.map(|phone| phone::spellings(phone, region)).unwrap_or_default();
        let fits = spellings.is_empty() || spellings.len() + of_lead.len() <= MAX_SPELLINGS;
        if fits {
            spellings.extend(of_lead);
        }
        fits
    });
    later.into_iter().for_each(|prepared| batch.release(prepared.claimed));
    if spellings.is_empty() {
        return prepared;
    }
    let has_phone = |prepared: &PreparedLead| is_unidentified(prepared) && prepared.phone.is_some();
    let found = match batch.deadline().await {
        Some(deadline) => context.bigin.find_by_phone(&spellings, deadline).await,
        None => return put_back(batch, prepared),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return without(batch, prepared, has_phone, error),
    };
    batch.answered(&BIGIN_ANSWERED);
    let find = |phone: &str| found.iter().find(|found| is_theirs(found, phone, region));
    prepared
        .into_iter()
        .map(|mut prepared| {
            if has_phone(&prepared) {
                prepared.contact = prepared
                    .phone
                    .as_deref()
                    .and_then(find)
                    .map(|found| found.contact.clone());
            }
            prepared
        })
        .collect()
}

fn is_theirs(found: &Found, phone: &str, region: &str) -> bool {
    found
        .phones
        .iter()
        .any(|theirs| match phone::canonical(theirs, region) {
            Some(number) => number == phone,
            None => theirs.trim() == phone,
        })
}

/// A contact of the lead's name, with nothing else to tell it by, that was made since the lead was first asked for and is no
/// other lead's, was made by a call whose reply was lost.
async fn among_the_latest(
    context: &Context,
    batch: &mut Batch<'_>,
    prepared: Vec<PreparedLead>,
) -> Result<Vec<PreparedLead>, StoreError> {
    let asked = prepared
        .iter()
        .filter(|prepared| has_only_a_name(prepared))
        .map(|prepared| &prepared.claimed)
        .map(|claimed| claimed.link.created_from.unwrap_or(claimed.sync.created_at));
    let Some(since) = asked.min() else {
        return Ok(prepared);
    };
    let found = match batch.deadline().await {
        Some(deadline) => {
            let since = before(since, MAX_CLOCK_SKEW);
            context.bigin.find_bare(since, deadline).await
        }
        None => return Ok(put_back(batch, prepared)),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return Ok(without(batch, prepared, has_only_a_name, error)),
    };
    batch.answered(&BIGIN_ANSWERED);
    let owned = context
        .store
        .owners(found.iter().map(|bare| bare.contact.clone()).collect())
        .await?;
    // No other lead of this call has the same name.
    let find = |record: &Record| {
        let is_theirs = |bare: &&Bare| (bare.first_name.trim(), bare.last_name.trim()) == name(record);
        found
            .iter()
            .filter(is_theirs)
            .map(|bare| bare.contact.clone())
            .find(|contact| !owned.contains_key(contact))
    };
    let with_contact = |mut prepared: PreparedLead| {
        if has_only_a_name(&prepared) {
            prepared.contact = find(&prepared.record);
        }
        prepared
    };
    Ok(prepared.into_iter().map(with_contact).collect())
}

fn put_back(batch: &mut Batch<'_>, prepared: Vec<PreparedLead>) -> Vec<PreparedLead> {
    prepared
        .into_iter()
        .for_each(|prepared| batch.release(prepared.claimed));
    Vec::new()
}

/// Without the look-up those who need it could be doubled, so they wait; the others go on.
fn without(
    batch: &mut Batch<'_>,
    prepared: Vec<PreparedLead>,
    needs_it: impl Fn(&PreparedLead) -> bool,
    error: CallError,
) -> Vec<PreparedLead> {
    let (waiting, others): (Vec<_>, Vec<_>) = prepared.into_iter().partition(needs_it);
    not_looked_up(
        batch,
        waiting.into_iter().map(|prepared| prepared.claimed).collect(),
        error,
    );
    others
}

/// A missing permission concerns only them.
fn not_looked_up(batch: &mut Batch<'_>, waiting: Vec<Claimed>, error: CallError) {
    match error {
        CallError::Service(service_error) if lacks_permission(&service_error.code) => {
            for claimed in waiting {
                let error = RejectReason::SearchForbidden {
                    service_code: service_error.code.clone(),
                };
                batch.failed(claimed, &service_error.code, error);
            }
        }
        // Queries alone may be in trouble: those who need them are suspects, and the others go on in the next step.
        error @ CallError::Ambiguous { .. } => {
            batch.call_with_leads_failed(waiting, Remote::Bigin, error);
        }
        // A number of one of them may have spoilt the query.
        CallError::Rejected { code, reason } => {
            for claimed in waiting {
                batch.failed(claimed, &code, reason.clone());
            }
        }
        error @ CallError::Service(_) => {
            batch.end();
            batch.call_failed(waiting, Remote::Bigin, error);
        }
    }
}
