//! What must hold after a run, whatever happened in it: the guarantees by the checker of the demo, that every lead says in the
//! end what people last wanted of it, and that everything came to an end in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bigin_sync::cli::demo::checker::{self, Asked, Evidence, Rules, Trace};
use bigin_sync::fake::sanity::Document;
use serde_json::Value;

use super::cast::{PRIVATE, names};
use super::life::{ADMIN_TOKEN, Played, REST, TAG_DELAY};
use super::people::{self, Wanted, is_bad};
use super::plan::{Act, Fault, MINUTE, Op};
use super::world::{DENIED, World};

/// What is wrong, a sentence each.
pub fn judge(played: &Played) -> Vec<String> {
    let world = played.world.lock();
    let evidence = evidence(played, &world);
    let verdicts = checker::judge(&evidence);
    let mut faults: Vec<String> = verdicts
        .into_iter()
        .flat_map(|verdict| {
            verdict
                .faults
                .into_iter()
                .map(move |fault| format!("{}: {fault}", verdict.promise))
        })
        .collect();
    let rivals = rivals(&evidence);
    let may_fail = may_fail(&world);
    for (id, asked) in &world.people.asked {
        let status = evidence.documents.get(id).map(|lead| text(lead, "crmStatus"));
        if !world.cancelled.contains(id) && !is_wanted(asked, status, rivals.contains(id) || may_fail) {
            faults.push(format!("lead {id} says {status:?} in the end, after {asked:?}"));
        }
    }
    match played.rested_after {
        None => faults.push(format!("not every sync has ended {} min after all was well", REST / MINUTE)),
        Some(_) => faults.extend(too_many_calls(&world)),
    }
    if world.most_in_flight > 4 + 1 + 3 {
        faults.push(format!("{} calls were under way at once", world.most_in_flight));
    }
    faults
}

/// Bigin refuses a record or a call for its content, and would take the same the next time, or denies a lead's contact: the
/// lead that was in it may be blamed.
fn may_fail(world: &World) -> bool {
    // A lead whose answer is too large when it is read alone is rejected at once.
    let blames = |op: &Op, fault: &Fault| match fault {
        Fault::Body | Fault::Record(_) | Fault::EveryRecord(_) => true,
        Fault::Oversize => *op == Op::Doc,
        _ => false,
    };
    let plan = &world.plan;
    plan.profile.contradicts
        || plan.profile.poison
        || plan.profile.hang
        || plan.faults.iter().any(|(op, _, fault)| blames(op, fault))
        || plan.acts.iter().any(|(_, act)| matches!(act, Act::Denied(..)))
}

/// A lead costs a bounded number of calls, whatever befalls them.
fn too_many_calls(world: &World) -> Option<String> {
    let crm = world.bigin.model();
    let leads = world.people.asked.len();
    let most = 150 + 40 * leads + 4 * world.plan.faults.len();
    let calls = crm.calls.len();
    (calls > most).then(|| format!("{calls} calls to Bigin for {leads} leads, and {most} are allowed"))
}

fn is_wanted(asked: &people::Asked, status: Option<&str>, may_fail: bool) -> bool {
    let sent = Some("SENT");
    let failed = Some("FAILED");
    let by_result = match (asked.was_bad, asked.was_good) {
        (true, false) => status == failed,
        (false, _) if !may_fail => status == sent,
        _ => status == sent || status == failed,
    };
    match &asked.wanted {
        Wanted::Gone => status.is_none(),
        Wanted::Sent => by_result,
        Wanted::Status(wanted) if wanted == "SENT" || wanted == "FAILED" || asked.by_person => {
            status == Some(wanted) || status == sent || status == failed
        }
        Wanted::Status(wanted) => status == Some(wanted),
    }
}

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Leads that had an email which another lead had at some time: Bigin may refuse the one for the other's sake.
fn rivals(evidence: &Evidence) -> BTreeSet<String> {
    let mut holders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in evidence
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.documents)
    {
        if let Some(after) = &change.after {
            let id = change.id.rsplit('.').next().unwrap_or_default();
            holders.entry(text(after, "emailAddress")).or_default().insert(id);
        }
    }
    holders.remove("");
    let shared = holders.into_values().filter(|leads| leads.len() > 1).flatten();
    shared.map(str::to_owned).collect()
}

fn evidence(played: &Played, world: &World) -> Evidence {
    let tokens = [world.bigin.client_secret(), world.bigin.refresh_token()];
    let crm = world.bigin.model();
    let lake = world.sanity.model();
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
    let faults_of_grants = world.plan.faults.iter().filter(|(op, _, _)| *op == Op::Grant).count();
    let refused = world.plan.faults.iter().filter(|(_, _, fault)| *fault == Fault::TokenRefused).count();
    let changes = crm.changes.iter().enumerate();
    let changes = changes.filter(|(place, _)| !world.late_changes.contains(place));
    let secrets = [
        world.sanity.token(),
        world.sanity.webhook_secret(),
        "1000.a0000",
        ADMIN_TOKEN,
    ];
    let open = PRIVATE.into_iter().chain([DENIED]).chain(names()).map(str::to_owned);
    let secrets = secrets.map(str::to_owned).into_iter().chain(tokens);
    let mut evidence = Evidence {
        rules: Rules {
            tag_delay: TAG_DELAY,
            slack: Duration::ZERO,
            glance: Duration::from_secs(90),
            tags: vec!["DBR_Dashboard_Import".to_owned()],
            // One an hour; a grant may have been lost with its answer, or with the process that got it.
            most_grants: 2 + world.dropped_tokens + faults_of_grants + refused + world.deaths,
            most_in_flight: usize::MAX,
            together: 0,
            by_phone: !world.plan.profile.lead_id_field,
            region: "GB".to_owned(),
        },
        asked: Vec::new(),
        transactions: lake.transactions.clone(),
        deliveries: lake.deliveries.clone(),
        contacts: crm
            .contacts()
            .map(|(id, contact)| (id.to_owned(), contact.clone()))
            .collect(),
        removed: world.people.removed.clone(),
        changes: changes.map(|(_, change)| change.clone()).collect(),
        calls: crm.calls.clone(),
        grants: crm.grants(),
        ledger: Some(played.ledger),
        traces: traces(played),
        private: open.chain(secrets).collect(),
        documents,
    };
    let rivals = rivals(&evidence);
    let may_fail = may_fail(world);
    let asked = world.people.asked.keys().map(|id| Asked {
        id: id.clone(),
        name: id.clone(),
        // What it has to say is judged here, since it depends on what people did.
        end: evidence.documents.get(id).map(|lead| match text(lead, "crmStatus") {
            "SENT" => "SENT",
            "FAILED" => "FAILED",
            "REQUESTED" if world.cancelled.contains(id) => "REQUESTED",
            _ => "NOT_SENT",
        }),
        may_fail: may_fail || bad.contains(id.as_str()) || rivals.contains(id),
    });
    evidence.asked = asked.collect();
    evidence
}

fn traces(played: &Played) -> Vec<Trace> {
    let trace = |name: &str, bytes: &[u8]| Trace {
        name: name.to_owned(),
        bytes: bytes.to_vec(),
    };
    vec![
        trace("the log", &played.log),
        trace("the database", &played.files),
        trace("answers", played.answers.as_bytes()),
    ]
}
