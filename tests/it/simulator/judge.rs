//! What must hold after a run, whatever happened in it: the guarantees by the checker of the demo, and that every lead says
//! in the end what people last wanted of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bigin_sync::cli::demo::checker::{self, Evidence, RequestedLead, Rules, Trace};
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Attempt, Document};

use super::cast::{PRIVATE, names};
use super::people::{is_bad, rivals, text};
use super::plan::Plan;
use super::play::{Played, TAG_DELAY};
use crate::world::ADMIN_TOKEN;

/// Two clocks began at the machine's time, each read by itself.
const SLACK: Duration = Duration::from_millis(20);

/// What is wrong, a sentence each.
pub fn judge(plan: &Plan, played: &Played) -> Vec<String> {
    let evidence = evidence(plan, played);
    let verdicts = checker::judge(&evidence);
    let mut faults: Vec<String> = verdicts
        .into_iter()
        .flat_map(|verdict| {
            verdict
                .faults
                .into_iter()
                .map(move |fault| format!("{}: {fault}", verdict.guarantee))
        })
        .collect();
    let cuts = played.power.losses.iter().chain(&played.power.disorder);
    faults.extend(cuts.map(|fault| format!("after a power cut: {fault}")));
    let mut rivals = rivals(&evidence.transactions);
    if was_refused_as_a_whole(played) {
        rivals.extend(played.people.asked.keys().cloned());
    }
    for (id, asked) in &played.people.asked {
        let status = evidence.documents.get(id).map(|lead| text(lead, "crmStatus"));
        if !asked.is_met_by(status, rivals.contains(id)) {
            faults.push(format!("{id} says {status:?} in the end, after {asked:?}"));
        }
    }
    if played.disturbed > 0 {
        faults.push(format!(
            "the token endpoint was asked {} times while it wanted silence",
            played.disturbed
        ));
    }
    faults
}

/// Bigin rejected a call for its content once, and would have taken the same the next time: the lead that was alone in it
/// may have been blamed.
fn was_refused_as_a_whole(played: &Played) -> bool {
    let crm = played.stage.bigin.model();
    crm.struck
        .iter()
        .any(|(kind, fault)| *kind != CallKind::AddTags && matches!(fault, Fault::BodyError { .. }))
}

fn evidence(plan: &Plan, played: &Played) -> Evidence {
    let traces = traces(played);
    let stage = &played.stage;
    let was_refused = was_refused_as_a_whole(played);
    let tokens = [stage.bigin.client_secret(), stage.bigin.refresh_token()];
    let crm = stage.bigin.model();
    let lake = stage.sanity.model();
    let id = |document: &Document| text(document, "_id").to_owned();
    let documents: BTreeMap<String, Document> = lake
        .documents()
        .map(|document| (id(document), document.clone()))
        .collect();
    let bad: BTreeSet<&str> = lake
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.documents)
        .filter(|change| change.after.as_ref().is_some_and(is_bad))
        .map(|change| change.id.as_str())
        .collect();
    let token_faults = crm.struck.iter().filter(|(kind, _)| *kind == CallKind::Token).count();
    let drops = played.seen.get("tokens are dropped").copied().unwrap_or(0);
    let secrets = [
        stage.sanity.token(),
        stage.sanity.webhook_secret(),
        "1000.a0000",
        ADMIN_TOKEN,
    ];
    let open = PRIVATE.into_iter().chain(names()).map(str::to_owned);
    let secrets = secrets.map(str::to_owned).into_iter().chain(tokens);
    let mut evidence = Evidence {
        rules: Rules {
            tag_delay: TAG_DELAY,
            slack: SLACK,
            max_read_age: Duration::from_millis(match (plan.replicas, plan.profile.slow) {
                (1, false) => 1_500,
                (1, true) => 4_000,
                // Between a read and its tag the lease may be renewed, on a line that says nothing.
                _ => 8_000,
            }),
            tags: vec!["DBR_Dashboard_Import".to_owned()],
            // A grant may have been lost with its answer, or with the process that got it.
            max_grants: (1 + drops + token_faults + played.kills + played.troubles).min(9),
            // The calls of a killed process, or of one that is held past its lease, go on for a while beside those of the next.
            max_in_flight: if played.kills + played.troubles > 0 { 8 } else { 4 },
            queued_together: 0,
            by_phone: !plan.profile.lead_id_field,
            region: "GB".to_owned(),
        },
        requested: Vec::new(),
        transactions: lake.transactions.clone(),
        deliveries: lake.deliveries.iter().map(|attempt| told(plan, attempt)).collect(),
        contacts: crm
            .contacts()
            .map(|(id, contact)| (id.to_owned(), contact.clone()))
            .collect(),
        removed: played.people.removed.clone(),
        changes: crm.changes.clone(),
        calls: crm.calls.clone(),
        grants: crm.grants(),
        ledger: Some(played.ledger),
        traces,
        private: open.chain(secrets).collect(),
        documents,
    };
    let rivals = rivals(&evidence.transactions);
    let asked = played.people.asked.keys().map(|id| RequestedLead {
        id: id.clone(),
        name: id.clone(),
        // What it has to say is judged here, since it depends on what people did.
        status: evidence.documents.get(id).map(|lead| match text(lead, "crmStatus") {
            "SENT" => "SENT",
            "FAILED" => "FAILED",
            _ => "NOT_SENT",
        }),
        may_fail: was_refused || bad.contains(id.as_str()) || rivals.contains(id),
    });
    evidence.requested = asked.collect();
    evidence
}

/// What Sanity knows of a delivery. Where the answer to a commit was cut off, a webhook that is told to come again may have
/// been stored.
fn told(plan: &Plan, attempt: &Attempt) -> Attempt {
    let mut told = attempt.clone();
    told.status = attempt.status.filter(|status| plan.replicas == 1 || *status < 500);
    told
}

fn traces(played: &Played) -> Vec<Trace> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(played.stage.folder.path()).unwrap() {
        files.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let trace = |name: &str, bytes: Vec<u8>| Trace {
        name: name.to_owned(),
        bytes,
    };
    vec![
        trace("the log or the database", files),
        trace("the server's tables", played.stored.clone().into_bytes()),
        trace("answers", played.answers.clone().into_bytes()),
    ]
}
