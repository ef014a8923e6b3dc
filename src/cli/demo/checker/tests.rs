//! Every promise is broken once in a small made-up journal, and the checker says so.

use serde_json::json;

use self::journal::{attempt, call, contact, fields, kept, lead, object, sent, tagged, transaction, upserted};
use super::*;
use crate::fake::bigin::{Action, CallKind};
use crate::fake::sanity::By;

mod journal;

/// The promises that the checker holds to be broken, with their first faults.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<(&'static str, String)> {
    let mut evidence = kept();
    change(&mut evidence);
    let broken = judge(&evidence).into_iter().filter(|verdict| !verdict.kept());
    broken
        .map(|verdict| (verdict.promise, verdict.faults.first().cloned().unwrap_or_default()))
        .collect()
}

fn check(change: impl FnOnce(&mut Evidence), promise: &str, fault: &str) {
    let broken = broken(change);
    assert_eq!(broken, [(promise, fault.to_owned())]);
}

fn ledger(evidence: &mut Evidence) -> &mut Ledger {
    evidence.ledger.as_mut().unwrap()
}

#[test]
fn a_journal_without_fault_keeps_every_promise() {
    let verdicts = judge(&kept());
    assert_eq!(verdicts.len(), 7);
    assert_eq!(broken(|_| {}), []);
}

#[test]
fn a_lead_that_still_waits_is_lost() {
    let fault = "Ada Example says REQUESTED in the end, and should say SENT";
    check(
        |evidence| {
            evidence.documents.insert(
                "lead-1".to_owned(),
                lead("ada@example.org", json!({"biginContactId": "7001"})),
            );
        },
        "Nothing is lost",
        fault,
    );
    let stranger = |evidence: &mut Evidence| {
        evidence
            .documents
            .insert("lead-2".to_owned(), object(json!({"crmStatus": "REQUESTED"})));
    };
    check(stranger, "Nothing is lost", "lead lead-2 still says REQUESTED");
}

#[test]
fn a_webhook_that_is_refused_for_good_is_lost() {
    check(
        |evidence| evidence.deliveries.push(attempt(3, Some(401), "")),
        "Nothing is lost",
        "a webhook for lead lead-1 was refused with 401",
    );
    // These are sent again.
    assert_eq!(
        broken(|evidence| evidence.deliveries.push(attempt(3, Some(503), ""))),
        []
    );
    assert_eq!(broken(|evidence| evidence.deliveries.push(attempt(3, None, ""))), []);
}

#[test]
fn a_ledger_must_balance_and_agree_with_what_was_answered() {
    let promise = "Nothing is lost";
    check(
        |evidence| ledger(evidence).sent = 0,
        promise,
        "the ledger does not balance",
    );
    let unfinished = |evidence: &mut Evidence| {
        ledger(evidence).sent = 0;
        ledger(evidence).in_progress = 1;
    };
    check(unfinished, promise, "the ledger still has 1 syncs in progress");
    check(
        |evidence| evidence.deliveries.push(attempt(3, Some(202), "coalesced")),
        promise,
        "2 webhooks were answered as accepted, and the ledger has 1",
    );
    check(
        |evidence| evidence.ledger = None,
        promise,
        "the service could not be asked for its ledger",
    );
}

#[test]
fn two_contacts_of_one_person_are_double() {
    let promise = "Nothing is doubled";
    check(
        |evidence| {
            let again = fields("ADA@example.org");
            evidence.contacts.insert("7002".to_owned(), contact(0, again));
        },
        promise,
        "contacts 7001 and 7002 have the same email",
    );
    check(
        |evidence| {
            evidence.changes.push(upserted(20, "7002", Action::Insert));
            evidence
                .contacts
                .insert("7002".to_owned(), contact(20, fields("other@example.org")));
        },
        promise,
        "contacts were made that are no lead's: 7002",
    );
    // The lead was withdrawn after its contact had been deleted and another made, which it was never told.
    let withdrawn = |evidence: &mut Evidence| {
        evidence.contacts.remove("7001");
        evidence.removed.insert("7001".to_owned());
        evidence.changes.push(upserted(20, "7002", Action::Insert));
        evidence
            .contacts
            .insert("7002".to_owned(), contact(20, fields("ada@example.org")));
    };
    let doubled = broken(withdrawn).into_iter().filter(|(broken, _)| *broken == promise);
    assert_eq!(doubled.collect::<Vec<_>>(), []);
}

#[test]
fn a_contact_made_beside_one_with_the_same_number_is_double() {
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
            // The lead has no email either, or SENT would not be true.
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
        "Nothing is doubled",
        "contact 7001 was made though 6000 had its phone number",
    );
}

#[test]
fn sent_without_a_tag_is_untrue() {
    check(
        |evidence| evidence.changes.truncate(1),
        "SENT is true",
        "Ada Example says SENT, and its contact had no tag DBR_Dashboard_Import by then",
    );
}

#[test]
fn sent_with_old_data_is_untrue() {
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
        "Ada Example says SENT, but its email is not what Bigin was sent",
    );
    // The lead may have been read for the last time before this edit.
    assert_eq!(broken(edited(15)), []);
}

#[test]
fn sent_with_data_older_than_the_newest_request_is_untrue() {
    let fault = "Ada Example says SENT, but its email is not what Bigin was sent";
    check(
        |evidence| {
            let idle = lead("new@example.org", json!({"crmStatus": "NOT_SENT"}));
            let again = lead("new@example.org", json!({}));
            evidence
                .transactions
                .insert(1, transaction(16, By::Studio, Some(idle), Some(again)));
            hear_of_another(evidence, 16);
        },
        "SENT is true",
        fault,
    );
}

#[test]
fn a_request_that_the_service_never_heard_of_makes_no_result_untrue() {
    let unheard = |evidence: &mut Evidence| {
        let idle = lead("new@example.org", json!({"crmStatus": "NOT_SENT"}));
        let again = lead("new@example.org", json!({}));
        evidence
            .transactions
            .insert(1, transaction(16, By::Studio, Some(idle), Some(again)));
    };
    assert_eq!(broken(unheard), []);
}

/// A second webhook, booked as it should be.
fn hear_of_another(evidence: &mut Evidence, second: i64) {
    evidence.deliveries.push(attempt(second, Some(202), "coalesced"));
    if let Some(ledger) = &mut evidence.ledger {
        ledger.accepted += 1;
        ledger.coalesced_by_webhook += 1;
    }
}

#[test]
fn a_tag_before_its_time_is_early() {
    let early = "1 tag came earlier than 15 s after the contact's last upsert, one after 14.000 s";
    check(
        |evidence| evidence.changes.insert(1, upserted(2, "7001", Action::Update)),
        "Never early",
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
        "Never early",
        "contact 6000 was tagged and never upserted",
    );
}

#[test]
fn tokens_calls_and_batches_are_counted() {
    let promise = "Gentle";
    check(
        |evidence| evidence.grants = 2,
        promise,
        "2 access tokens were asked for, where 1 would have done",
    );
    check(
        |evidence| evidence.calls.push(call(CallKind::AddTags, 1, 5)),
        promise,
        "5 calls were under way at once, and 4 are allowed",
    );
    check(
        |evidence| evidence.rules.together = 10,
        promise,
        "10 leads waited together, and the largest call carried 1",
    );
}

/// Lets the lead be refused in second 3, before it is mended.
fn refuse(evidence: &mut Evidence, reason: &str) {
    let requested = lead("ada@example.org", json!({}));
    let failed = lead("ada@example.org", json!({"crmStatus": "FAILED", "crmError": reason}));
    let refused = transaction(3, By::Api, Some(requested.clone()), Some(failed.clone()));
    let mended = transaction(4, By::Studio, Some(failed), Some(requested));
    evidence.transactions.splice(1..1, [refused, mended]);
}

#[test]
fn only_a_bad_lead_may_fail_and_with_a_reason() {
    let promise = "One bad lead hurts only itself";
    let allow = |evidence: &mut Evidence| evidence.asked.iter_mut().for_each(|lead| lead.may_fail = true);
    check(
        |evidence| refuse(evidence, "Bigin refused Email"),
        promise,
        "Ada Example was FAILED, and there was nothing wrong with it",
    );
    let without_reason = |evidence: &mut Evidence| {
        allow(evidence);
        refuse(evidence, " ");
    };
    check(without_reason, promise, "Ada Example was FAILED without a reason");
    let quoting = |evidence: &mut Evidence| {
        allow(evidence);
        refuse(evidence, "Bigin refused ada@example.org");
    };
    check(quoting, promise, "the reason given for Ada Example quotes the lead");
    let leftover = |evidence: &mut Evidence| {
        let mut sent = sent();
        sent.insert("crmError".to_owned(), "Bigin refused Email".into());
        evidence.documents.insert("lead-1".to_owned(), sent);
    };
    check(leftover, promise, "Ada Example says SENT and still has an error");
    let good = |evidence: &mut Evidence| {
        allow(evidence);
        refuse(evidence, "Bigin refused Email");
    };
    assert_eq!(broken(good), []);
}

#[test]
fn a_name_in_the_log_is_not_quiet() {
    check(
        |evidence| evidence.traces[0].bytes.extend_from_slice(b" ADA EXAMPLE"),
        "Quiet about people",
        "the log contains \"Example\"",
    );
}
