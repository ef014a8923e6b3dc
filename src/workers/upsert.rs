//! Requested → Upserted: reads the leads, renders them, finds out which contacts they are, and sends them together.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::batch::Batch;
use super::bisect::{BatchItem, ItemOutcome, send};
use super::match_contact::match_contact;
use super::org_fields::read_org_fields;
use super::prepared::{PreparedLead, has_only_a_name, is_unidentified, name};
use super::read::{missing, read, reject, take_answered};
use super::{Context, Stepped};
use crate::bigin::{Results, Upserted};
use crate::clock::after;
use crate::domain::decide::{BeforeUpsert, View, before_upsert, known_contact, restores, settles_at};
use crate::domain::failure::CallError;
use crate::domain::lead::{ContactId, LeadRead};
use crate::domain::mapping::canonical_phone;
use crate::domain::record::{OrgFields, Record};
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{Delivered, Event, Seen};
use crate::sanity::{RawDocument, Read};
use crate::store::{Claimed, Stage, StoreError};

pub(super) async fn step(context: &Context) -> Result<Stepped, StoreError> {
    let claimed_at = context.clock.now();
    let (limit, prefer) = context.next_claim(Stage::Upsert);
    let claim = context.store.claim(Stage::Upsert, limit, prefer).await?;
    if claim.syncs.is_empty() {
        return Ok(Stepped::Idle(claim.next_due));
    }
    let (mut batch, syncs) = Batch::new(context, Stage::Upsert, claimed_at, claim);
    let (syncs, fields) = read_org_fields(context, &mut batch, syncs).await;
    let judged = read(context, &mut batch, syncs, bytes_of, |claimed, lead, document| {
        judge(context, claimed, lead, document, fields.as_deref())
    });
    let judged = judged.await;
    let prepared = prepare(context, &mut batch, judged, fields.as_deref()).await?;
    let prepared = settled(&mut batch, prepared, context.store.now().await?);
    let prepared = one_per_identity(&mut batch, prepared);

    let mut contacts = batch.wait_for(context.contacts.lock()).await;
    if contacts.has_unrecorded_upsert {
        batch.ambiguous_upsert();
    }
    contacts.has_unrecorded_upsert = true;
    let prepared = match_contact(context, &mut batch, prepared).await?;
    let prepared = not_given_up(context, &mut batch, prepared);
    for group in groups(prepared) {
        let sent = send(context, &mut batch, group).await;
        // After the reply, and by the store's time, which is what the due time is compared with.
        let tag_not_before = after(context.store.now().await?, context.tag_delay);
        for (prepared, sent) in sent {
            record_outcome(context, &mut batch, prepared, sent, tag_not_before);
        }
    }
    let stepped = batch.finish().await?;
    contacts.has_unrecorded_upsert = false;
    Ok(stepped)
}

/// Postpones leads whose ambiguous insert may still be applied: a look-up would not find the contact yet.
fn settled(batch: &mut Batch<'_>, prepared: Vec<PreparedLead>, now: Timestamp) -> Vec<PreparedLead> {
    let (settling, settled): (Vec<_>, Vec<_>) = prepared
        .into_iter()
        .partition(|prepared| is_unidentified(prepared) && settles_at(&prepared.claimed.link, now).is_some());
    settling
        .into_iter()
        .for_each(|prepared| batch.settling(prepared.claimed));
    settled
}

/// Rejects leads that have failed for `GIVE_UP_AFTER` and whose look-up found no contact: they were sent back only to be
/// looked up.
fn not_given_up(context: &Context, batch: &mut Batch<'_>, prepared: Vec<PreparedLead>) -> Vec<PreparedLead> {
    let mut rest = Vec::with_capacity(prepared.len());
    for prepared in prepared {
        let PreparedLead { claimed, seen, .. } = &prepared;
        let is_given_up = is_unidentified(&prepared)
            && claimed.link.ambiguous_until.is_some()
            && !claimed.sync.attempts.backoff_total.is_zero()
            && claimed.sync.has_failed_for_long(&context.retry);
        match &claimed.sync.attempts.last_error {
            Some(reason) if is_given_up => {
                let (reason, seen) = (reason.clone(), seen.clone());
                batch.record_event(prepared.claimed, Event::Rejected { reason, seen });
            }
            _ => rest.push(prepared),
        }
    }
    rest
}

/// A lead that was read and rendered. Its document is no longer needed.
struct Judged {
    read: LeadRead,
    record: Record,
    hash: String,
    seen: Seen,
}

/// What happens to a lead that is not sent.
enum Unsent {
    Happens(Event),
    Unfit(RejectReason),
    /// Its document cannot be parsed.
    Missing,
}

fn bytes_of(judged: &Result<Judged, Unsent>) -> usize {
    judged.as_ref().map_or(0, |judged| judged.record.size())
}

/// Judges and renders a lead while its document is at hand.
fn judge(
    context: &Context,
    claimed: &Claimed,
    read: LeadRead,
    document: Option<RawDocument<'_>>,
    fields: Option<&OrgFields>,
) -> Result<Judged, Unsent> {
    let view = View {
        sync: &claimed.sync,
        link: &claimed.link,
        read: &read,
    };
    let lead = match before_upsert(view) {
        BeforeUpsert::Send(lead) => lead,
        BeforeUpsert::Event(event) => return Err(Unsent::Happens(event)),
    };
    let seen = claimed.sync.seen(lead, &claimed.link);
    let raw = document.ok_or(Unsent::Missing)?;
    let document = raw.parse().ok_or_else(|| match raw.is_too_large() {
        true => Unsent::Unfit(RejectReason::LeadTooLarge),
        false => Unsent::Missing,
    })?;
    let record = context
        .render(&lead.id, document, fields)
        .map_err(|reason| match reason {
            RejectReason::LeadNotRendered => Unsent::Unfit(reason),
            reason => Unsent::Happens(Event::Rejected {
                reason,
                seen: seen.clone(),
            }),
        })?;
    let hash = context.hasher.hash(&record);
    if let Some(restored) = restores(view, lead, &hash) {
        return Err(Unsent::Happens(restored));
    }
    Ok(Judged {
        read,
        record,
        hash,
        seen,
    })
}

/// Finds out which contacts the leads are known to be; what is settled without a call is settled here.
async fn prepare(
    context: &Context,
    batch: &mut Batch<'_>,
    reads: Vec<(Claimed, Read<Result<Judged, Unsent>>)>,
    fields: Option<&OrgFields>,
) -> Result<Vec<PreparedLead>, StoreError> {
    let mut judged = Vec::with_capacity(reads.len());
    for (claimed, read) in reads {
        match take_answered(batch, claimed, read) {
            Some((claimed, Ok(lead))) => judged.push((claimed, lead)),
            Some((claimed, Err(Unsent::Happens(event)))) => batch.record_event(claimed, event),
            Some((claimed, Err(Unsent::Unfit(unfit)))) => reject(batch, claimed, unfit),
            Some((claimed, Err(Unsent::Missing))) => missing(batch, claimed),
            None => {}
        }
    }
    let named = judged
        .iter()
        .filter_map(|(_, judged)| judged.read.published.as_ref()?.contact.clone())
        .collect();
    let owners = context.store.owners(named).await?;
    let mut prepared = Vec::with_capacity(judged.len());
    for (claimed, judged) in judged {
        let Judged {
            read,
            record,
            hash,
            seen,
        } = judged;
        let view = View {
            sync: &claimed.sync,
            link: &claimed.link,
            read: &read,
        };
        let others = |contact: &ContactId| owners.get(contact).is_some_and(|owner| *owner != claimed.sync.lead);
        let contact = read
            .published
            .as_ref()
            .and_then(|lead| known_contact(view, lead, others));
        let duplicate_check_fields = unique_fields(context, &record, fields);
        let key = |field: &String| record.text(field).map(|value| context.hasher.key(field, value));
        let keys = duplicate_check_fields.iter().filter_map(key).collect();
        let canonical = canonical_phone(&record, context.mapping.phone_region());
        let retried = claimed.sync.has_failed() || claimed.link.ambiguous_until.is_some();
        let as_spelled = || {
            record
                .text("Phone")
                .filter(|_| retried)
                .map(|text| text.trim().to_owned())
        };
        let phone = canonical.or_else(as_spelled);
        prepared.push(PreparedLead {
            claimed,
            contact,
            record,
            duplicate_check_fields,
            keys,
            hash,
            seen,
            phone,
        });
    }
    Ok(prepared)
}

/// The unique fields of the record, by which Bigin can tell that a contact is there already: the lead's id first, then
/// Email, then what else the organisation lets no two contacts share. Only fields with a value, since Bigin makes a new
/// contact of a record that lacks one of those named.
fn unique_fields(context: &Context, record: &Record, fields: Option<&OrgFields>) -> Vec<String> {
    let own = context.lead_id_field.as_deref();
    let first = own.into_iter().chain(["Email"]);
    let others = record
        .fields()
        .map(|(name, _)| name)
        .filter(|name| Some(*name) != own && *name != "Email" && fields.is_some_and(|fields| fields.is_unique(name)));
    let named = first.chain(others).filter(|name| record.text(name).is_some());
    named.map(str::to_owned).collect()
}

/// Two leads with one identity never travel in the same step: the later one is put back, and finds the contact that
/// the first has made.
fn one_per_identity(batch: &mut Batch<'_>, prepared: Vec<PreparedLead>) -> Vec<PreparedLead> {
    let mut taken = BTreeSet::new();
    let mut kept = Vec::with_capacity(prepared.len());
    for prepared in prepared {
        let email = prepared
            .record
            .text("Email")
            .map(|email| format!("email {}", email.trim().to_lowercase()));
        let phone = prepared.phone.as_ref().map(|phone| format!("phone {phone}"));
        let contact = prepared.contact.as_ref().map(|contact| format!("contact {contact}"));
        let name = has_only_a_name(&prepared).then(|| format!("name {:?}", name(&prepared.record)));
        let identities: Vec<String> = [email, phone, contact, name].into_iter().flatten().collect();
        if identities.iter().any(|identity| taken.contains(identity)) {
            batch.release(prepared.claimed);
        } else {
            taken.extend(identities);
            kept.push(prepared);
        }
    }
    kept
}

/// One call each: known contacts, and for the others those with the same unique fields.
fn groups(prepared: Vec<PreparedLead>) -> Vec<Vec<PreparedLead>> {
    let mut groups: Vec<Vec<PreparedLead>> = Vec::new();
    for prepared in prepared {
        let same = |group: &&mut Vec<PreparedLead>| {
            group
                .first()
                .is_some_and(|first| match (&first.contact, &prepared.contact) {
                    (Some(_), Some(_)) => true,
                    (None, None) => first.duplicate_check_fields == prepared.duplicate_check_fields,
                    _ => false,
                })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(prepared),
            None => groups.push(vec![prepared]),
        }
    }
    groups
}

/// What became of one lead.
fn record_outcome(
    context: &Context,
    batch: &mut Batch<'_>,
    prepared: PreparedLead,
    sent: ItemOutcome<Upserted>,
    tag_not_before: Timestamp,
) {
    let is_insert = is_unidentified(&prepared);
    let PreparedLead {
        claimed,
        hash,
        keys,
        seen,
        ..
    } = prepared;
    match sent {
        ItemOutcome::Answered(Ok(Upserted { contact, action })) => {
            context.last_reads.forget(claimed.sync.id);
            let delivered = Delivered {
                contact,
                action,
                hash,
                keys,
            };
            batch.record_event(
                claimed,
                Event::Upserted {
                    delivered,
                    seen,
                    tag_not_before,
                },
            );
        }
        ItemOutcome::Answered(Err(error)) => {
            batch.not_accepted(claimed, error, seen, |service_code| RejectReason::NotAccepted {
                service_code,
            });
        }
        ItemOutcome::Alone(failed_call) if !failed_call.is_ambiguous && batch.others_succeeded(&claimed) => {
            let reason = failed_call.reason;
            batch.record_event(claimed, Event::Rejected { reason, seen });
        }
        ItemOutcome::Alone(failed_call) => batch.failed_alone(claimed, failed_call, is_insert),
        ItemOutcome::Ambiguous { code, bisect_limit } => batch.ambiguous(claimed, &code, bisect_limit, is_insert),
        ItemOutcome::NotSent => batch.release(claimed),
    }
}

impl BatchItem for PreparedLead {
    type Answer = Upserted;

    fn claimed(&self) -> &Claimed {
        &self.claimed
    }

    fn mark_possibly_applied(&self, batch: &mut Batch<'_>) {
        batch.mark_possibly_changed(self.contact.as_ref(), &self.keys);
    }

    /// Of a group either all contacts are known or none is.
    async fn call(context: &Context, part: &[Self], deadline: Duration) -> Result<Results<Upserted>, CallError> {
        let known: Option<Vec<(&ContactId, &Record)>> = part
            .iter()
            .map(|prepared| Some((prepared.contact.as_ref()?, &prepared.record)))
            .collect();
        if let Some(known) = known {
            return context.bigin.update(&known, deadline).await;
        }
        let records: Vec<&Record> = part.iter().map(|prepared| &prepared.record).collect();
        let check = part
            .first()
            .map(|prepared| prepared.duplicate_check_fields.as_slice())
            .unwrap_or_default();
        let check: Vec<&str> = check.iter().map(String::as_str).collect();
        context.bigin.upsert(&records, &check, deadline).await
    }
}
