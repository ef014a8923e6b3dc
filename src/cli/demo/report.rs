//! The introduction and the report on standard output, in lines of at most 80 characters.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::checker::{Evidence, Verdict};
use super::client::{Client, Snapshot};
use super::fixtures::Lead;
use super::{Simulation, fixtures};
use crate::cli::progress::state_name;
use crate::cli::text::count;
use crate::domain::lead::{FAILED, REQUESTED};
use crate::fake::bigin::{Action, CallKind, Change};
use crate::fake::sanity::{By, Document};
use crate::store::Ledger;

/// The lead's field that names its contact.
const CONTACT: &str = "biginContactId";

/// Access tokens that Zoho grants within ten minutes (Zoho CRM docs, token-validity).
const MAX_GRANTS: usize = 10;

/// The width of a terminal.
const WIDTH: usize = 80;

/// Prints a line; a reader that closes the pipe early is no error.
fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

pub(super) fn print_introduction(simulation: &Simulation, service: &str) {
    line("bigin-sync demo: everything runs on this machine with fictional people");
    line(format!("  Sanity (simulated)    {}", simulation.sanity.url()));
    line(format!("  bigin-sync            {service}"));
    line(format!("  Bigin (simulated)     {}", simulation.bigin.url()));
    line("");
}

pub(super) fn print_duration(duration: Duration) {
    line(format!("\nDuration: {:.0} s.", duration.as_secs_f64()));
}

pub(super) fn print_report(simulation: &Simulation, evidence: &Evidence, snapshot: &Snapshot, verdicts: &[Verdict]) {
    line("\nResults");
    table(&leads(simulation, evidence, snapshot));
    line(format!(
        "\n{:<26} {:>11} {:>19}",
        "Calls to Bigin", "this run", "one call per step"
    ));
    calls(simulation, evidence);
    line("\nLedger");
    match &evidence.ledger {
        Some(ledger) => totals(ledger),
        None => line("  The service does not answer."),
    }
    line("\nChecks");
    for verdict in verdicts {
        result(verdict);
    }
}

/// Prints text in lines that are indented after the first.
fn wrapped(text: &str) {
    let mut current = " ".to_owned();
    for word in text.split(' ') {
        if current.chars().count() + 1 + word.chars().count() > WIDTH {
            line(&current);
            current = "   ".to_owned();
        }
        current.push(' ');
        current.push_str(word);
    }
    line(current);
}

fn result(verdict: &Verdict) {
    if verdict.is_kept() {
        return wrapped(&format!("✓ {}: {}", verdict.guarantee, verdict.sentence));
    }
    line(format!("  ✗ {}", verdict.guarantee));
    const MAX_SHOWN: usize = 5;
    for fault in verdict.faults.iter().take(MAX_SHOWN) {
        line(format!("      {fault}"));
    }
    if verdict.faults.len() > MAX_SHOWN {
        line(format!("      and {} more", verdict.faults.len() - MAX_SHOWN));
    }
}

fn leads(simulation: &Simulation, evidence: &Evidence, snapshot: &Snapshot) -> Vec<[String; 5]> {
    let mut rows = vec![["lead", "case", "result", "contact", "upserts"].map(str::to_owned)];
    for lead in &simulation.leads.named {
        let contact = field(evidence, lead, CONTACT);
        rows.push([
            lead.name.clone(),
            lead.case.to_owned(),
            results(evidence, &lead.id),
            format!(
                "{} …{}",
                origin(evidence, snapshot, lead),
                last_digits(contact.unwrap_or_default())
            ),
            upserts(evidence, contact).to_string(),
        ]);
    }
    rows.push(others(simulation, evidence, snapshot));
    rows
}

fn others(simulation: &Simulation, evidence: &Evidence, snapshot: &Snapshot) -> [String; 5] {
    let others = &simulation.leads.others;
    let tally = |words: Vec<String>| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for word in words {
            *counts.entry(word).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        counts.join(", ")
    };
    let contacts: BTreeSet<&str> = others
        .iter()
        .filter_map(|lead| field(evidence, lead, CONTACT))
        .collect();
    let upserts: usize = contacts
        .into_iter()
        .map(|contact| upserts(evidence, Some(contact)))
        .sum();
    [
        count(others.len(), "other"),
        fixtures::OTHERS.to_owned(),
        tally(others.iter().map(|lead| results(evidence, &lead.id)).collect()),
        tally(
            others
                .iter()
                .map(|lead| origin(evidence, snapshot, lead).to_owned())
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

/// The results that were written to a lead, in order.
fn results(evidence: &Evidence, id: &str) -> String {
    let by_us = evidence
        .transactions
        .iter()
        .filter(|transaction| transaction.by == By::Api);
    let changes = by_us
        .flat_map(|transaction| &transaction.documents)
        .filter(|change| change.id == id);
    let results = changes.filter_map(|change| status(change.after.as_ref()));
    let results: Vec<String> = results.map(|status| state_name(&status.to_lowercase())).collect();
    match results.as_slice() {
        [] => "none".to_owned(),
        results => results.join(" → "),
    }
}

fn status(document: Option<&Document>) -> Option<&str> {
    document?.get("crmStatus")?.as_str()
}

/// Whether the lead's contact is new or was in Bigin already. Of leads that share one, only the first created it.
fn origin(evidence: &Evidence, snapshot: &Snapshot, lead: &Lead) -> &'static str {
    let Some(id) = field(evidence, lead, CONTACT) else {
        return "none";
    };
    let created = evidence
        .changes
        .iter()
        .any(|change| matches!(change, Change::Upserted { contact, action: Action::Insert, .. } if contact == id));
    let sharing = evidence
        .documents
        .values()
        .filter(|document| document.get(CONTACT).and_then(Value::as_str) == Some(id));
    let updated = snapshot.syncs.get(&lead.id).and_then(|sync| sync.action.as_deref()) == Some("update");
    if created && !(updated && sharing.count() > 1) {
        "new"
    } else {
        "old"
    }
}

fn upserts(evidence: &Evidence, id: Option<&str>) -> usize {
    let is_of = |change: &&Change| matches!(change, Change::Upserted { contact, .. } if Some(contact.as_str()) == id);
    evidence.changes.iter().filter(is_of).count()
}

/// Prints columns, each as wide as its longest text.
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

/// One call per step means a token, an upsert and a tag for each request, with a credit for each of the last two; a lead that
/// Bigin rejects is not tagged.
fn calls(simulation: &Simulation, evidence: &Evidence) {
    let number = |kinds: &[CallKind]| evidence.calls.iter().filter(|call| kinds.contains(&call.kind)).count();
    let requests = changes_into(evidence, By::Studio, REQUESTED);
    let rejected = changes_into(evidence, By::Api, FAILED);
    let credits: u32 = evidence.calls.iter().map(|call| call.credits).sum();
    let tagged = requests.saturating_sub(rejected);
    let rows = [
        ("access tokens", number(&[CallKind::Token]), requests),
        (
            "upserts and updates",
            number(&[CallKind::Upsert, CallKind::Update, CallKind::Insert]),
            requests,
        ),
        ("tags", number(&[CallKind::AddTags]), tagged),
        ("fields and look-ups", number(&[CallKind::Fields, CallKind::Coql]), 0),
        ("all calls", evidence.calls.len(), 2 * requests + tagged),
        (
            "API credits",
            usize::try_from(credits).unwrap_or(usize::MAX),
            requests + tagged,
        ),
    ];
    for (what, here, naive) in rows {
        line(format!("  {what:<24} {here:>11} {naive:>19}"));
    }
    let leads = simulation.leads.all().count();
    let limited = match requests > MAX_GRANTS {
        true => format!(" It would have hit Zoho's limit of {MAX_GRANTS} tokens per 10 minutes."),
        false => String::new(),
    };
    wrapped(&format!(
        "One call per step (naive) is 1 token, 1 upsert and 1 tag for each of {requests} requests for {leads} leads.{limited}"
    ));
}

/// How often a published lead got this status.
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

/// The counts that must balance, without zeros.
fn totals(ledger: &Ledger) {
    let sum = |parts: &[(u64, &str)], separator: &str| {
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<String> = parts.map(|(number, what)| format!("{number} {what}")).collect();
        parts.join(separator)
    };
    let webhooks = [
        (ledger.created_by_webhook, "created"),
        (ledger.coalesced_by_webhook, "coalesced"),
        (ledger.duplicates, "duplicate"),
    ];
    let syncs = [
        (ledger.sent, "sent"),
        (ledger.failed, "failed"),
        (ledger.lead_deleted, "lead deleted"),
        (ledger.cancelled, "cancelled"),
        (ledger.in_progress, "in progress"),
    ];
    let sources = [
        (ledger.created_by_webhook, "by webhook"),
        (ledger.created_by_reconciliation, "by reconciliation"),
        (ledger.created_manually, "manually"),
    ];
    line(format!(
        "  webhooks  {} accepted = {}",
        ledger.accepted,
        sum(&webhooks, " + ")
    ));
    line(format!(
        "  syncs     {} created  = {}",
        ledger.created,
        sum(&syncs, " + ")
    ));
    line(format!("            created: {}", sum(&sources, ", ")));
}

/// The URLs, tokens and commands for --keep.
pub(super) fn print_addresses(simulation: &Simulation, client: &Client) {
    let (sanity, bigin) = (&simulation.sanity, &simulation.bigin);
    line("\nEverything keeps running until Ctrl-C.");
    line(format!("  bigin-sync     {}", client.url));
    line(format!("  ADMIN_TOKEN    {}", client.token));
    line(format!("  Sanity         {}", sanity.url()));
    line(format!("  dataset        {}", sanity.dataset()));
    line(format!("  token          {}", sanity.token()));
    line(format!("  Bigin          {}", bigin.url()));
    line(format!("  client         {}", bigin.client_id()));
    line(format!("  refresh token  {}", bigin.refresh_token()));
    line(format!(
        "\nOpen the dashboard and log in with the ADMIN_TOKEN: {}/",
        client.url
    ));
    line("Send a lead through the API:");
    line(format!(
        "  curl -H 'Authorization: Bearer {}' \\
    -H 'Content-Type: application/json' \\
    -d '{{\"leadId\":\"{}\"}}' \\
    {}/api/send-to-bigin",
        client.token,
        fixtures::NEW,
        client.url
    ));
    line("Edit and request a lead, as an editor does in Sanity:");
    line(fixtures::curl_request(sanity, &[("city", "Otherton"), ("crmStatus", REQUESTED)]).trim_end());
    line("List all syncs:");
    line(format!(
        "  curl -H 'Authorization: Bearer {}' \\\n    {}/api/syncs\n",
        client.token, client.url
    ));
}
