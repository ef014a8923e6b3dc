//! What is said before and after, on standard output.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::checker::{Evidence, Verdict};
use super::fixtures::Lead;
use super::watcher::{Api, Seen};
use super::{Stage, fixtures};
use crate::domain::lead::REQUESTED;
use crate::fake::bigin::{Action, CallKind, Change};
use crate::fake::sanity::{By, Document};
use crate::store::Ledger;

/// The lead's field that names its contact.
const CONTACT: &str = "biginContactId";

/// Access tokens that Zoho grants within ten minutes (Zoho CRM docs, token-validity).
const GRANTS_ALLOWED: usize = 10;

/// Prints a line. Whoever has closed the other end of the pipe has read enough.
fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// Says what is about to be seen.
pub(super) fn introduce(stage: &Stage, service: &str) {
    line("bigin-sync demo: all of it runs on this machine, and everybody in it is invented");
    line(format!("  Sanity (a stand-in)   {}", stage.sanity.url()));
    line(format!("  bigin-sync            {service}"));
    line(format!("  Bigin (a stand-in)    {}", stage.bigin.url()));
    line("");
}

/// Says how long it took.
pub(super) fn took(duration: Duration) {
    line(format!("\nThis took {:.0} s.", duration.as_secs_f64()));
}

/// The whole report.
pub(super) fn report(stage: &Stage, evidence: &Evidence, seen: &Seen, verdicts: &[Verdict]) {
    line("\nWhat became of the leads");
    table(&leads(stage, evidence, seen));
    line("\nCalls to Bigin                this run    the plan's way");
    calls(stage, evidence);
    line("\nThe ledger");
    match &evidence.ledger {
        Some(ledger) => sums(ledger),
        None => line("  The service does not answer."),
    }
    line("\nThe promises");
    for verdict in verdicts {
        judgement(verdict);
    }
}

fn judgement(verdict: &Verdict) {
    if verdict.kept() {
        return line(format!("  ✓ {}: {}", verdict.promise, verdict.sentence));
    }
    line(format!("  ✗ {}", verdict.promise));
    const SHOWN: usize = 5;
    for fault in verdict.faults.iter().take(SHOWN) {
        line(format!("      {fault}"));
    }
    if verdict.faults.len() > SHOWN {
        line(format!("      and {} more", verdict.faults.len() - SHOWN));
    }
}

fn leads(stage: &Stage, evidence: &Evidence, seen: &Seen) -> Vec<[String; 5]> {
    let mut rows = vec![["lead", "story", "ended", "contact", "upserts"].map(str::to_owned)];
    for lead in &stage.cast.told {
        let contact = field(evidence, lead, CONTACT);
        rows.push([
            lead.name.clone(),
            lead.story.to_owned(),
            ends(evidence, &lead.id),
            format!(
                "{} …{}",
                action(evidence, seen, lead),
                last_digits(contact.unwrap_or_default())
            ),
            upserts(evidence, contact).to_string(),
        ]);
    }
    rows.push(crowd(stage, evidence, seen));
    rows
}

fn crowd(stage: &Stage, evidence: &Evidence, seen: &Seen) -> [String; 5] {
    let crowd = &stage.cast.crowd;
    let tally = |words: Vec<String>| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for word in words {
            *counts.entry(word).or_default() += 1;
        }
        let parts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        parts.join(", ")
    };
    let contacts: BTreeSet<&str> = crowd.iter().filter_map(|lead| field(evidence, lead, CONTACT)).collect();
    let upserts: usize = contacts
        .into_iter()
        .map(|contact| upserts(evidence, Some(contact)))
        .sum();
    [
        fixtures::others(crowd.len()),
        fixtures::CROWD.to_owned(),
        tally(crowd.iter().map(|lead| ends(evidence, &lead.id)).collect()),
        tally(
            crowd
                .iter()
                .map(|lead| action(evidence, seen, lead).to_owned())
                .collect(),
        ),
        upserts.to_string(),
    ]
}

fn field<'a>(evidence: &'a Evidence, lead: &Lead, field: &str) -> Option<&'a str> {
    evidence.documents.get(&lead.id)?.get(field)?.as_str()
}

fn last_digits(id: &str) -> &str {
    id.get(id.len().saturating_sub(4)..).unwrap_or(id)
}

/// The results that were written to a lead, in their order.
fn ends(evidence: &Evidence, id: &str) -> String {
    let by_us = evidence
        .transactions
        .iter()
        .filter(|transaction| transaction.by == By::Api);
    let changes = by_us
        .flat_map(|transaction| &transaction.documents)
        .filter(|change| change.id == id);
    let ends: Vec<&str> = changes.filter_map(|change| status(change.after.as_ref())).collect();
    if ends.is_empty() {
        "no end".to_owned()
    } else {
        ends.join(", then ")
    }
}

fn status(document: Option<&Document>) -> Option<&str> {
    document?.get("crmStatus")?.as_str()
}

/// Whether the lead's contact came to be here. Of leads that share one, only the first made it.
fn action(evidence: &Evidence, seen: &Seen, lead: &Lead) -> &'static str {
    let Some(id) = field(evidence, lead, CONTACT) else {
        return "none";
    };
    let made = evidence
        .changes
        .iter()
        .any(|change| matches!(change, Change::Upserted { contact, action: Action::Insert, .. } if contact == id));
    let sharing = evidence
        .documents
        .values()
        .filter(|document| document.get(CONTACT).and_then(Value::as_str) == Some(id));
    let found_it = seen.syncs.get(&lead.id).and_then(|sync| sync.action.as_deref()) == Some("update");
    if made && !(found_it && sharing.count() > 1) {
        "made"
    } else {
        "found"
    }
}

fn upserts(evidence: &Evidence, id: Option<&str>) -> usize {
    let is_of = |change: &&Change| matches!(change, Change::Upserted { contact, .. } if Some(contact.as_str()) == id);
    evidence.changes.iter().filter(is_of).count()
}

/// Prints columns, each as wide as its widest text.
fn table(rows: &[[String; 5]]) {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|text| text.chars().count())
            .max()
    };
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in rows {
        let cells = row.iter().zip(widths).map(|(text, width)| format!("{text:<width$}"));
        line(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
    }
}

/// The plan asks for a token, upserts and tags for each request by itself; a credit for each of the latter two. What Bigin
/// refuses it does not tag.
fn calls(stage: &Stage, evidence: &Evidence) {
    let count = |kinds: &[CallKind]| evidence.calls.iter().filter(|call| kinds.contains(&call.kind)).count();
    let requests = changes_into(evidence, By::Studio, REQUESTED);
    let refused = changes_into(evidence, By::Api, "FAILED");
    let credits: u32 = evidence.calls.iter().map(|call| call.credits).sum();
    let tagged = requests.saturating_sub(refused);
    let rows = [
        ("access tokens", count(&[CallKind::Token]), requests),
        (
            "upserts and updates",
            count(&[CallKind::Upsert, CallKind::Update, CallKind::Insert]),
            requests,
        ),
        ("adding tags", count(&[CallKind::AddTags]), tagged),
        ("fields, look-ups", count(&[CallKind::Fields, CallKind::Coql]), 0),
        ("calls in all", evidence.calls.len(), 2 * requests + tagged),
        (
            "API credits",
            usize::try_from(credits).unwrap_or(usize::MAX),
            requests + tagged,
        ),
    ];
    for (what, here, plan) in rows {
        line(format!("  {what:<24} {here:>11} {plan:>17}"));
    }
    let leads = stage.cast.all().count();
    let throttled = if requests > GRANTS_ALLOWED {
        format!(
            "\n  Zoho would have refused it the {}th token within ten minutes.",
            GRANTS_ALLOWED + 1
        )
    } else {
        String::new()
    };
    line(format!(
        "  The plan's way is 1 token, 1 upsert and 1 tag for each of {requests} requests for {leads} leads.{throttled}"
    ));
}

/// How often a published lead came to have this status.
fn changes_into(evidence: &Evidence, by: By, wanted: &str) -> usize {
    let transactions = evidence.transactions.iter().filter(|transaction| transaction.by == by);
    let changes = transactions.flat_map(|transaction| &transaction.documents);
    let into = |before: Option<&Document>, after: Option<&Document>| {
        status(after) == Some(wanted) && status(before) != Some(wanted)
    };
    changes
        .filter(|change| into(change.before.as_ref(), change.after.as_ref()))
        .count()
}

fn sums(ledger: &Ledger) {
    line(format!(
        "  webhooks  {} accepted = {} opened a sync + {} joined one + {} repeated",
        ledger.accepted, ledger.created_by_webhook, ledger.coalesced_by_webhook, ledger.duplicates
    ));
    line(format!(
        "  syncs     {} opened   = {} sent + {} failed + {} lead deleted + {} cancelled + {} in progress",
        ledger.created, ledger.sent, ledger.failed, ledger.lead_deleted, ledger.cancelled, ledger.in_progress
    ));
    line(format!(
        "            of these {} by webhook, {} by reconciliation, {} by a person",
        ledger.created_by_webhook, ledger.created_by_reconciliation, ledger.created_manually
    ));
}

/// What there is to play with.
pub(super) fn invite(stage: &Stage, api: &Api) {
    let (sanity, lead) = (&stage.sanity, fixtures::NEW);
    line("\nEverything stays up until Ctrl-C, and webhooks go on being delivered.");
    line(format!("  bigin-sync   {}    ADMIN_TOKEN {}", api.url, api.token));
    line(format!(
        "  Sanity       {}    token {}, dataset {}",
        sanity.url(),
        sanity.token(),
        sanity.dataset()
    ));
    line(format!(
        "  Bigin        {}    client {}, refresh token {}",
        stage.bigin.url(),
        stage.bigin.client_id(),
        stage.bigin.refresh_token()
    ));
    line(format!(
        "\nWatch it in a browser, logged in with the ADMIN_TOKEN: {}/",
        api.url
    ));
    line("Send a lead, as the plan's button does:");
    line(format!(
        "  curl -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{{\"leadId\":\"{lead}\"}}' {}/api/send-to-bigin",
        api.token, api.url
    ));
    line("Edit a lead and ask for it, as an editor does in Sanity:");
    let patch = format!(
        "{{\"mutations\":[{{\"patch\":{{\"id\":\"{lead}\",\"set\":{{\"city\":\"Otherton\",\"crmStatus\":\"{REQUESTED}\"}}}}}}]}}"
    );
    line(format!(
        "  curl -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{patch}' {}/v2025-02-19/data/mutate/{}",
        sanity.token(),
        sanity.url(),
        sanity.dataset()
    ));
    line("See all syncs:");
    line(format!(
        "  curl -H 'Authorization: Bearer {}' {}/api/syncs\n",
        api.token, api.url
    ));
}
