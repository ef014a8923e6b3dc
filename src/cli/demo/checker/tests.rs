//! Each guarantee is broken once in made-up evidence, and the checker reports it.

use serde_json::json;

use self::evidence::{attempt, call, contact, fields, good, lead, object, sent, tagged, transaction, upserted};
use super::*;
use crate::domain::lead::{FAILED, NOT_SENT, REQUESTED};
use crate::fake::bigin::{Action, CallKind};
use crate::fake::sanity::By;

mod evidence;

/// The guarantees that the checker reports as broken, with their first faults.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<(&'static str, String)> {
    let mut evidence = good();
    change(&mut evidence);
    let broken = judge(&evidence).into_iter().filter(|verdict| !verdict.is_kept());
    broken
        .map(|verdict| (verdict.guarantee, verdict.faults.first().cloned().unwrap_or_default()))
        .collect()
}

fn check(change: impl FnOnce(&mut Evidence), guarantee: &str, fault: &str) {
    let broken = broken(change);
    assert_eq!(broken, [(guarantee, fault.to_owned())]);
}

fn ledger(evidence: &mut Evidence) -> &mut Ledger {
    evidence.ledger.as_mut().unwrap()
}

#[test]
fn good_evidence_keeps_all_guarantees() {
    let verdicts = judge(&good());
    assert_eq!(verdicts.len(), 7);
    assert_eq!(broken(|_| {}), []);
}

#[test]
fn unfinished_lead_is_lost() {
    let fault = "Ada Example is REQUESTED, and should be SENT";
    check(
        |evidence| {
            evidence.documents.insert(
                "lead-1".to_owned(),
                lead("ada@example.org", json!({"biginContactId": "7001"})),
            );
        },
        "No lead lost",
        fault,
    );
    let stranger = |evidence: &mut Evidence| {
        evidence
            .documents
            .insert("lead-2".to_owned(), object(json!({"crmStatus": REQUESTED})));
    };
    check(stranger, "No lead lost", "lead lead-2 is still REQUESTED");
}

#[test]
fn rejected_webhook_is_lost() {
    check(
        |evidence| evidence.deliveries.push(attempt(3, Some(401), "")),
        "No lead lost",
        "a webhook for lead lead-1 was rejected with 401",
    );
    // Sanity retries these.
    assert_eq!(
        broken(|evidence| evidence.deliveries.push(attempt(3, Some(503), ""))),
        []
    );
    assert_eq!(broken(|evidence| evidence.deliveries.push(attempt(3, None, ""))), []);
}

#[test]
fn ledger_must_balance_and_match_the_answers() {
    let guarantee = "No lead lost";
    check(
        |evidence| ledger(evidence).sent = 0,
        guarantee,
        "the ledger does not balance",
    );
    let unfinished = |evidence: &mut Evidence| {
        ledger(evidence).sent = 0;
        ledger(evidence).in_progress = 1;
    };
    check(unfinished, guarantee, "the ledger still has 1 syncs in progress");
    check(
        |evidence| evidence.deliveries.push(attempt(3, Some(202), "coalesced")),
        guarantee,
        "2 webhooks were accepted, and the ledger has 1",
    );
    check(
        |evidence| evidence.ledger = None,
        guarantee,
        "the service did not return its ledger",
    );
}

#[test]
fn reports_contacts_with_the_same_email() {
    let guarantee = "No duplicates";
    check(
        |evidence| {
            let again = fields("ADA@example.org");
            evidence.contacts.insert("7002".to_owned(), contact(0, again));
        },
        guarantee,
        "contacts 7001 and 7002 have the same email",
    );
    check(
        |evidence| {
            evidence.changes.push(upserted(20, "7002", Action::Insert));
            evidence
                .contacts
                .insert("7002".to_owned(), contact(20, fields("other@example.org")));
        },
        guarantee,
        "contacts were created that belong to no lead: 7002",
    );
    // The lead was cancelled after its contact had been deleted and replaced, so it has the former contact's ID.
    let cancelled = |evidence: &mut Evidence| {
        evidence.contacts.remove("7001");
        evidence.removed.insert("7001".to_owned());
        evidence.changes.push(upserted(20, "7002", Action::Insert));
        evidence
            .contacts
            .insert("7002".to_owned(), contact(20, fields("ada@example.org")));
    };
    let doubled = broken(cancelled).into_iter().filter(|(broken, _)| *broken == guarantee);
    assert_eq!(doubled.collect::<Vec<_>>(), []);
    // That explains no contact with an address which the lead never had.
    check(
        |evidence| {
            cancelled(evidence);
            if let Some(Change::Upserted { fields, .. }) = evidence.changes.last_mut() {
                fields.insert("Mailing_Street".to_owned(), json!("1 Other Lane"));
            }
        },
        guarantee,
        "contacts were created that belong to no lead: 7002",
    );
}

#[test]
fn reports_contacts_with_the_same_phone() {
    let without_email = || {
        let mut fields = fields("");
        fields.remove("Email");
        fields
    };
    check(
        |evidence| {
            let mut old = without_email();
            old.insert("Phone".to_owned(), json!("(07700) 900 123"));
            evidence.contacts.insert("6000".to_owned(), contact(-1000, old));
            evidence.contacts.insert("7001".to_owned(), contact(1, without_email()));
            if let Some(Change::Upserted { fields, .. }) = evidence.changes.first_mut() {
                *fields = without_email();
            }
            // Without this, SENT would not be true.
            for document in evidence
                .transactions
                .iter_mut()
                .flat_map(|transaction| &mut transaction.documents)
            {
                for lead in [&mut document.before, &mut document.after].into_iter().flatten() {
                    lead.remove("emailAddress");
                }
            }
        },
        "No duplicates",
        "contact 7001 was created, but 6000 had its phone number",
    );
}

#[test]
fn sent_needs_a_tag() {
    check(
        |evidence| evidence.changes.truncate(1),
        "SENT is true",
        "Ada Example is SENT, but its contact did not have the tag DBR_Dashboard_Import",
    );
}

#[test]
fn sent_needs_present_data() {
    let edited = |second: i64| {
        move |evidence: &mut Evidence| {
            let new = lead("new@example.org", json!({}));
            let old = lead("ada@example.org", json!({}));
            evidence
                .transactions
                .insert(1, transaction(second, By::Studio, Some(old), Some(new)));
        }
    };
    check(
        edited(5),
        "SENT is true",
        "Ada Example is SENT, but its email was not sent to Bigin",
    );
    // The last read may have been before this edit.
    assert_eq!(broken(edited(15)), []);
}

#[test]
fn sent_needs_data_of_the_newest_request() {
    let fault = "Ada Example is SENT, but its email was not sent to Bigin";
    check(
        |evidence| {
            let idle = lead("new@example.org", json!({"crmStatus": NOT_SENT}));
            let again = lead("new@example.org", json!({}));
            evidence
                .transactions
                .insert(1, transaction(16, By::Studio, Some(idle), Some(again)));
            receive_another(evidence, 16);
        },
        "SENT is true",
        fault,
    );
}

#[test]
fn request_without_webhook_does_not_count() {
    let not_received = |evidence: &mut Evidence| {
        let idle = lead("new@example.org", json!({"crmStatus": NOT_SENT}));
        let again = lead("new@example.org", json!({}));
        evidence
            .transactions
            .insert(1, transaction(16, By::Studio, Some(idle), Some(again)));
    };
    assert_eq!(broken(not_received), []);
}

/// A second webhook, with the right ledger.
fn receive_another(evidence: &mut Evidence, second: i64) {
    evidence.deliveries.push(attempt(second, Some(202), "coalesced"));
    if let Some(ledger) = &mut evidence.ledger {
        ledger.accepted += 1;
        ledger.coalesced_by_webhook += 1;
    }
}

#[test]
fn reports_early_tags() {
    let early = "1 tag came less than 15 s after the contact's last upsert, one after 14.000 s";
    check(
        |evidence| evidence.changes.insert(1, upserted(2, "7001", Action::Update)),
        "No early tags",
        early,
    );
    let slack = |evidence: &mut Evidence| {
        evidence.changes.insert(1, upserted(2, "7001", Action::Update));
        evidence.rules.slack = Duration::from_secs(1);
    };
    assert_eq!(broken(slack), []);
    let never_upserted = |evidence: &mut Evidence| evidence.changes.push(tagged(18, "6000"));
    check(
        never_upserted,
        "No early tags",
        "contact 6000 was tagged without an upsert",
    );
}

#[test]
fn counts_tokens_calls_and_batches() {
    let guarantee = "Within rate limits";
    check(
        |evidence| evidence.grants = 2,
        guarantee,
        "2 access tokens were requested, and 1 would have been enough",
    );
    check(
        |evidence| evidence.calls.push(call(CallKind::AddTags, 1, 5)),
        guarantee,
        "5 calls ran at once, and 4 are allowed",
    );
    check(
        |evidence| evidence.rules.queued_together = 10,
        guarantee,
        "10 leads were queued together, and the largest call had 1",
    );
}

/// Rejects the lead in second 3, before it is fixed.
fn reject(evidence: &mut Evidence, reason: &str) {
    let requested = lead("ada@example.org", json!({}));
    let failed = lead("ada@example.org", json!({"crmStatus": FAILED, "crmError": reason}));
    let rejected = transaction(3, By::Api, Some(requested.clone()), Some(failed.clone()));
    let fixed = transaction(4, By::Studio, Some(failed), Some(requested));
    evidence.transactions.splice(1..1, [rejected, fixed]);
}

#[test]
fn only_bad_leads_fail_and_with_a_reason() {
    let guarantee = "A bad lead affects only itself";
    let allow = |evidence: &mut Evidence| evidence.requested.iter_mut().for_each(|lead| lead.may_fail = true);
    check(
        |evidence| reject(evidence, "Bigin rejected Email"),
        guarantee,
        "Ada Example was FAILED without a bad value",
    );
    let without_reason = |evidence: &mut Evidence| {
        allow(evidence);
        reject(evidence, " ");
    };
    check(without_reason, guarantee, "Ada Example was FAILED without a reason");
    let quoting = |evidence: &mut Evidence| {
        allow(evidence);
        reject(evidence, "Bigin rejected ada@example.org");
    };
    check(quoting, guarantee, "the reason for Ada Example quotes the lead");
    let leftover = |evidence: &mut Evidence| {
        let mut sent = sent();
        sent.insert("crmError".to_owned(), "Bigin rejected Email".into());
        evidence.documents.insert("lead-1".to_owned(), sent);
    };
    check(leftover, guarantee, "Ada Example is SENT and still has an error");
    let good = |evidence: &mut Evidence| {
        allow(evidence);
        reject(evidence, "Bigin rejected Email");
    };
    assert_eq!(broken(good), []);
}

#[test]
fn reports_a_name_in_the_log() {
    check(
        |evidence| evidence.traces[0].bytes.extend_from_slice(b" ADA EXAMPLE"),
        "No personal data stored",
        "the log contains \"Example\"",
    );
}
