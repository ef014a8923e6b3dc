//! What must hold after a run, whatever happened in it: the guarantees by the checker of the demo, that every lead says in the
//! end what people last wanted of it, and that everything came to an end in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use bigin_sync::cli::demo::checker::{self, Evidence, RequestedLead, Rules};
use bigin_sync::clock::until;
use bigin_sync::domain::lead::REQUESTED;
use bigin_sync::fake::bigin::{CallKind, Change, Model};
use bigin_sync::fake::sanity::{self, By, Document, Transaction};
use jiff::Timestamp;
use serde_json::Value;

use super::cast::{HANGS, POISON, PRIVATE, names};
use super::life::{ADMIN_TOKEN, Played, REST, TAG_DELAY};
use super::people::{is_bad, lead_id, rivals, text};
use super::plan::{Act, Fault, LARGE, MINUTE, Op, SECOND};
use super::world::{DENIED, World};

/// What is wrong, a sentence each.
pub fn judge(played: &Played) -> Vec<String> {
    let world = played.world.lock();
    let (rivals, blamed) = {
        let lake = world.sanity.model();
        (rivals(&lake.transactions), blamed(&world, &lake.transactions))
    };
    let evidence = evidence(played, &world, (&rivals, &blamed));
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
    for (id, asked) in &world.people.asked {
        let status = evidence.documents.get(id).map(|lead| text(lead, "crmStatus"));
        let is_cancelled = world.may_be_cancelled(id, &world.sanity.model());
        if !is_cancelled && !asked.is_met_by(status, rivals.contains(id) || blamed.contains(id)) {
            faults.push(format!("lead {id} says {status:?} in the end, after {asked:?}"));
        }
    }
    match played.rested_after {
        None => faults.push(format!(
            "not every sync has ended {} min after all was well",
            REST / MINUTE
        )),
        Some(_) => faults.extend(too_many_calls(&world).into_iter().chain(too_many_records(&world))),
    }
    let was_deleted = world.seen.contains_key("deleted") || world.seen.contains_key("unpublished");
    if played.ledger.lead_deleted > 0 && !was_deleted {
        faults.push("a sync ended lead_deleted, and no lead was deleted".to_owned());
    }
    faults.extend(too_slow(&world));
    faults.extend(too_large(&world));
    faults.extend(too_eager(&world));
    faults.extend(too_often(&world));
    faults.extend(private(played, &world));
    // There is one process, and it knows how long its calls may take: what it has done is never thrown away.
    let lost = find_all(&played.log, b"came after its lease was lost");
    if lost > 0 {
        faults.push(format!("{lost} outcomes came after their leases were lost"));
    }
    faults.extend(too_many_at_once(&world));
    faults.extend(sent_apart(&world));
    faults
}

/// The leads that may end `FAILED` though Bigin would take what they say: those that something lasting is wrong with, those
/// in a call that was refused for its content or whose answer was too large, and those that share a contact with one of them.
fn blamed(world: &World, transactions: &[Transaction]) -> BTreeSet<String> {
    let denied = world.plan.acts.iter().filter_map(|(_, act)| match act {
        Act::Denied(lead, _) => Some(lead_id(*lead)),
        _ => None,
    });
    let denied: BTreeSet<String> = denied.collect();
    let all = transactions.iter().flat_map(|transaction| &transaction.documents);
    let all: Vec<(&str, &Document)> = all
        .filter_map(|change| Some((published(&change.id), change.after.as_ref()?)))
        .collect();
    let is_odd = |id: &str, lead: &Document| {
        let was_in_call = world.blamed.contains(id) || world.blamed.contains(text(lead, "address"));
        was_in_call || denied.contains(id) || !is_plain(lead) || is_large(lead)
    };
    let odd = all.iter().filter(|(id, lead)| is_odd(id, lead));
    let marks: BTreeSet<&str> = odd.flat_map(|(id, lead)| marks(lead).chain([*id])).collect();
    let shares = |lead: &Document| self::marks(lead).any(|mark| marks.contains(mark));
    let blamed = all.iter().filter(|(id, lead)| marks.contains(id) || shares(lead));
    blamed.map(|(id, _)| (*id).to_owned()).collect()
}

/// The id of the lead that a draft or a version is of.
pub fn published(id: &str) -> &str {
    id.rsplit('.').next().unwrap_or_default()
}

/// With a draft, a large lead is too large.
fn is_large(lead: &Document) -> bool {
    text(lead, "notes").len() >= LARGE
}

/// What is measured of a run, to be compared with its bounds: seconds, calls, records.
pub fn measures(played: &Played) -> [(&'static str, u64); 10] {
    let world = played.world.lock();
    let quiet = world.plan.is_quiet();
    let calls = world.bigin.model().calls.len();
    let requests = requests(&world).max(1);
    let records: usize = writes(&world.bigin.model()).sum();
    let beyond = |service| world.calls_to(service).saturating_sub(work(&world)) as u64;
    let at_once = |service, what| (what, world.most_in_flight.get(service).copied().unwrap_or(0) as u64);
    [
        ("longest rest, s", played.rested_after.unwrap_or_default() / 1_000),
        (
            if quiet {
                "longest way of a healthy lead, quiet, s"
            } else {
                "longest way of a healthy lead, s"
            },
            ways(&world).into_iter().max().unwrap_or_default().as_secs(),
        ),
        (
            if quiet {
                "calls per request, quiet, %"
            } else {
                "calls per request, %"
            },
            (calls * 100 / requests) as u64,
        ),
        ("answers over the limit", world.too_large as u64),
        (
            if quiet {
                "records per request, quiet, %"
            } else {
                "records per request, %"
            },
            (records * 100 / requests) as u64,
        ),
        at_once("Bigin", "calls to Bigin at once"),
        at_once("Sanity", "calls to Sanity at once"),
        at_once("the accounts server", "grants at once"),
        ("calls to Sanity beyond their work", beyond("Sanity")),
        ("calls to Bigin beyond their work", beyond("Bigin")),
    ]
}

/// How often a lead was asked for.
fn requests(world: &World) -> usize {
    let lake = world.sanity.model();
    lake.webhooks.messages.len() + lake.webhooks.lost.len()
}

/// From each request of a lead that nothing is wrong with to its result.
fn ways(world: &World) -> Vec<Duration> {
    let lake = world.sanity.model();
    let all = lake.transactions.iter().flat_map(|transaction| &transaction.documents);
    let bad = all
        .filter_map(|change| change.after.as_ref())
        .filter(|lead| !is_plain(lead));
    let shared: BTreeSet<&str> = bad.flat_map(marks).collect();
    // A lead whose webhook was lost is found later, the more so the more often it is edited.
    let lost: BTreeSet<&String> = lake.webhooks.lost.iter().collect();
    let mut begun: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut ways = Vec::new();
    for transaction in &lake.transactions {
        for change in &transaction.documents {
            let Some(after) = &change.after else {
                begun.remove(change.id.as_str());
                continue;
            };
            match text(after, "crmStatus") {
                // Who shares a contact with a bad lead shares its fate, and whose sync was cancelled waits for the next request.
                REQUESTED
                    if !world.was_cancelled(&change.id)
                        && !lost.contains(&change.id)
                        && is_plain(after)
                        && marks(after).all(|mark| !shared.contains(mark)) =>
                {
                    begun.entry(&change.id).or_insert(transaction.at);
                }
                "SENT" => ways.extend(begun.remove(change.id.as_str()).map(|at| until(at, transaction.at))),
                _ => {
                    begun.remove(change.id.as_str());
                }
            }
        }
    }
    ways
}

/// What a lead's contact is found by.
fn marks(lead: &Document) -> impl Iterator<Item = &str> {
    let marks = ["emailAddress", "phoneNumber"].map(|field| text(lead, field));
    marks.into_iter().filter(|mark| !mark.is_empty())
}

/// Whether a lead has none of the properties that make its own way longer.
fn is_plain(lead: &Document) -> bool {
    let address = text(lead, "address");
    !is_bad(lead) && ![POISON, HANGS, DENIED].contains(&address)
}

/// What the leads and the faults of a plan may cost in calls to one service, beside what a run without any costs.
fn work(world: &World) -> usize {
    10 * world.people.asked.len() + 4 * world.plan.faults.len()
}

/// Twice as many as were seen in 30,000 runs.
const MOST_CALLS: usize = 120;

/// A lead costs a bounded number of calls, whatever befalls them.
fn too_many_calls(world: &World) -> Vec<String> {
    let services = ["Bigin", "Sanity"].into_iter();
    let calls = services.map(|service| (service, world.calls_to(service)));
    let most = MOST_CALLS + work(world);
    let too_many = calls.filter(|(_, calls)| *calls > most);
    too_many
        .map(|(service, calls)| format!("{calls} calls to {service}, and {most} are allowed"))
        .collect()
}

/// Records are sent once.
fn too_many_records(world: &World) -> Option<String> {
    // Where no lead is at fault, what is sent twice is sent because of what changed.
    let profile = &world.plan.profile;
    let has_bad = profile.poison || profile.hang || profile.contradicts;
    if !world.plan.is_quiet() || has_bad {
        return None;
    }
    let (records, requests): (usize, usize) = (
        writes(&world.bigin.model()).sum(),
        requests(world) + world.people.asked.len(),
    );
    let most = requests * 3 / 2 + 4;
    (records > most).then(|| format!("{records} records were sent for {requests} requests, and {most} are allowed"))
}

/// Leads that are requested at one moment are sent together, unless something slows them down one by one.
fn sent_apart(world: &World) -> Option<String> {
    let profile = &world.plan.profile;
    let is_fast = profile.latency < SECOND && profile.per_record == 0 && profile.disk < 100 && profile.large == 0;
    let at_once = rush(world);
    (world.plan.is_quiet() && is_fast && at_once > 4 && world.most_together < 2)
        .then(|| format!("{at_once} leads were requested at once, and no two were sent together"))
}

/// One step of each stage and of what is done beside them; the rest waits its turn.
fn too_many_at_once(world: &World) -> Vec<String> {
    let most = world.most_in_flight.iter();
    let most = most.filter(|(service, at_once)| match **service {
        // Upserts and tags in turn, and what an operator asks.
        "Bigin" => **at_once > 3,
        "the accounts server" => **at_once > 1,
        _ => **at_once > 5,
    });
    most.map(|(service, at_once)| format!("{at_once} calls to {service} were under way at once"))
        .collect()
}

/// How many leads are requested at one moment, at most, of those that fit into one call: they have an email of their own.
fn rush(world: &World) -> usize {
    let email = |lead: &usize| world.cast.leads[*lead]["emailAddress"].as_str();
    let is_alone = |lead: &usize| {
        let holders = 0..world.cast.leads.len();
        email(lead).is_some_and(|own| holders.filter(|other| email(other) == Some(own)).count() == 1)
    };
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, act) in &world.plan.acts {
        if let Act::Request(lead) = act
            && is_alone(lead)
        {
            *times.entry(*at).or_default() += 1;
        }
    }
    times.into_values().max().unwrap_or_default()
}

/// Records of each upsert and update.
fn writes(crm: &Model) -> impl Iterator<Item = usize> {
    let writes = crm.calls.iter();
    let writes = writes.filter(|call| matches!(call.kind, CallKind::Upsert | CallKind::Update));
    writes.map(|call| call.records)
}

/// Each loss of a contact after the first counts, and is met with a longer wait until the lead is given up.
fn too_often(world: &World) -> Option<String> {
    let street = |fields: &BTreeMap<String, Value>| fields.get("Mailing_Street").is_some_and(|street| street == DENIED);
    let crm = world.bigin.model();
    let is_denied = |change: &&Change| matches!(change, Change::Upserted { fields, .. } if street(fields));
    let upserts = crm.changes.iter().filter(is_denied).count();
    let lake = world.sanity.model();
    let by_people = lake.transactions.iter().filter(|transaction| transaction.by != By::Api);
    let revisions = by_people.flat_map(|transaction| &transaction.documents);
    let is_denied = |change: &&sanity::Change| {
        change
            .after
            .as_ref()
            .is_some_and(|lead| text(lead, "address") == DENIED)
    };
    let asked = |(_, act): &&(u64, Act)| matches!(act, Act::RequestByPerson(_) | Act::Retry(_));
    let begun = revisions.filter(is_denied).count() + world.plan.acts.iter().filter(asked).count();
    let faults = world.plan.faults.iter();
    let faults = faults
        .filter(|(op, _, _)| matches!(op, Op::Upsert | Op::Update))
        .count();
    let most = MOST_LOSSES + 4 * begun + faults;
    (upserts > most)
        .then(|| format!("a lead whose contact Bigin denies was upserted {upserts} times, and {most} are allowed"))
}

/// How often a contact is lost while the services are not well, with a wait after each. Where it is asked for anew, the waits
/// begin with short ones again: that makes four more.
const MOST_LOSSES: usize = 20;

/// One lead that hangs, contradicts or is refused delays no other for longer than this.
const LONGEST_WAY: Duration = Duration::from_secs(5 * 60);

fn too_slow(world: &World) -> Option<String> {
    let longest = ways(world).into_iter().max().unwrap_or_default();
    // A service of which each call takes up to half a minute is no lead's fault.
    let is_fast = world.plan.profile.latency < SECOND;
    let is_slow = world.plan.is_quiet() && is_fast && longest > LONGEST_WAY;
    is_slow.then(|| format!("a healthy lead took {} s beside bad ones", longest.as_secs()))
}

/// What is read is made smaller once it is too large: a lead that passes the limit by itself is read alone, and not again.
fn too_large(world: &World) -> Option<String> {
    let planned = world.plan.faults.iter();
    let planned = planned
        .filter(|(op, _, fault)| *op == Op::Doc && *fault == Fault::Oversize)
        .count();
    let large = usize::from(world.plan.profile.large > 0);
    let most = planned + large * (8 + 4 * world.deaths + requests(world));
    let answers = world.too_large;
    (answers > most).then(|| format!("{answers} answers were too large, and {most} are allowed"))
}

/// Whoever is told that it asks too often, or for more than there is, asks no more, or with one lead at a time.
fn too_eager(world: &World) -> Vec<String> {
    let mut faults = Vec::new();
    if world.too_soon > 0 {
        let too_soon = world.too_soon;
        faults.push(format!(
            "{too_soon} tokens were asked for while the accounts server wanted quiet"
        ));
    }
    // A grant that a process has not written down before it died is not counted by the next.
    if world.throttles > world.deaths {
        faults.push(format!(
            "so many tokens were asked for that {} requests were refused",
            world.throttles
        ));
    }
    let most = UNDER_WAY * world.put_off;
    if world.too_early > most {
        let too_early = world.too_early;
        faults.push(format!(
            "{too_early} calls were sent before a service wanted to be called again, and {most} are allowed"
        ));
    }
    if world.pairs > 0 {
        faults.push(format!(
            "{} writes were begun beside others while credits were used up",
            world.pairs
        ));
    }
    let acts = world.plan.acts.iter();
    let probes = acts.map(|(_, act)| match act {
        Act::NoCredits(true) => PROBES,
        Act::CheckNow => 1,
        _ => 0,
    });
    let most = probes.sum::<usize>() + CROWDS * world.deaths;
    if world.in_vain > most {
        let in_vain = world.in_vain;
        faults.push(format!(
            "{in_vain} writes were sent while credits were used up, and {most} are allowed"
        ));
    }
    let most = CROWDS * (1 + world.deaths);
    if world.crowds > most {
        let crowds = world.crowds;
        faults.push(format!(
            "{crowds} calls with more than one lead were sent while credits were used up, and {most} are allowed"
        ));
    }
    faults
}

/// How often it is looked whether there are credits again, within three minutes: each pause is up to twice as long as the one
/// before, half a second first and half a minute at least in the end. Two more were claimed before.
const PROBES: usize = 14;

/// What was claimed before the refusal was recorded.
const CROWDS: usize = 2;

/// Calls of the steps that were under way when one of them was told to wait.
const UNDER_WAY: usize = 6;

fn evidence(played: &Played, world: &World, (rivals, blamed): (&BTreeSet<String>, &BTreeSet<String>)) -> Evidence {
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
    let refused = world
        .plan
        .faults
        .iter()
        .filter(|(_, _, fault)| *fault == Fault::TokenRefused)
        .count();
    let changes = crm.changes.iter().enumerate();
    let changes = changes.filter(|(place, _)| !world.late_changes.contains(place));
    let mut evidence = Evidence {
        rules: Rules {
            tag_delay: TAG_DELAY,
            slack: Duration::ZERO,
            max_read_age: Duration::from_secs(90),
            tags: vec!["DBR_Dashboard_Import".to_owned()],
            // One an hour; a grant may have been lost with its answer, or with the process that got it.
            max_grants: 2 + world.dropped_tokens + faults_of_grants + refused + world.deaths,
            max_in_flight: usize::MAX,
            queued_together: 0,
            by_phone: !world.plan.profile.lead_id_field,
            region: "GB".to_owned(),
        },
        requested: Vec::new(),
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
        traces: Vec::new(),
        private: Vec::new(),
        documents,
    };
    let asked = world.people.asked.keys().map(|id| RequestedLead {
        id: id.clone(),
        name: id.clone(),
        // What it has to say is judged here, since it depends on what people did.
        status: evidence.documents.get(id).map(|lead| match text(lead, "crmStatus") {
            "SENT" => "SENT",
            "FAILED" => "FAILED",
            "REQUESTED" if world.may_be_cancelled(id, &lake) => "REQUESTED",
            _ => "NOT_SENT",
        }),
        may_fail: blamed.contains(id.as_str()) || bad.contains(id.as_str()) || rivals.contains(id),
    });
    evidence.requested = asked.collect();
    evidence
}

/// How often a text is there.
fn find_all(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text).count()
}

/// What the program wrote of what is nobody's business: by the checker's rule, in one look for all words.
fn private(played: &Played, world: &World) -> Vec<String> {
    static SOUGHT: OnceLock<(Vec<String>, AhoCorasick)> = OnceLock::new();
    let (words, sought) = SOUGHT.get_or_init(|| {
        let plain = PRIVATE
            .into_iter()
            .chain([DENIED, "1000.a0000", ADMIN_TOKEN])
            .chain(names());
        let mut words: Vec<String> = plain.map(str::to_owned).collect();
        words.extend([world.bigin.client_secret(), world.bigin.refresh_token()]);
        words.extend([world.sanity.token(), world.sanity.webhook_secret()].map(str::to_owned));
        let sought = AhoCorasick::builder().ascii_case_insensitive(true).build(&words);
        (words, sought.unwrap())
    });
    let traces = [
        ("the log", played.log.as_slice()),
        ("the database", &played.files),
        ("an answer", played.answers.as_bytes()),
        ("an alert", &world.posted),
    ];
    let found = traces.into_iter().filter_map(|(name, bytes)| {
        let found = sought.find(bytes)?;
        Some(format!(
            "No personal data stored: {name} contains {:?}",
            words[found.pattern().as_usize()]
        ))
    });
    found.collect()
}
