//! A database of each schema is carried forward: all that it holds reads as expected, and the work goes on from there.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bigin_sync::clock::Clock as _;
use bigin_sync::database::Database;
use bigin_sync::domain::failure::Remote;
use bigin_sync::domain::record::Action;
use bigin_sync::domain::state::Event;
use bigin_sync::store::{Accepted, Effect, Filter, Prefer, Stage, inspect};

use super::databases::{load_postgres, load_sqlite};
use super::story::{Carried, lead_id};
use super::{expect_file, newest, root};
use crate::cluster::Cluster;
use crate::replicas::delivery;
use crate::world::secs;

/// Shortly after the last row was written: one of the claims has expired, the other has not.
const LOADED: &str = "2026-11-10T10:01:40Z";

#[actix_web::test]
async fn sqlite_is_carried_forward() {
    for schema in 1..=newest() {
        let folder = tempfile::tempdir().unwrap();
        let database = load_sqlite(&folder.path().join("bigin-sync.db"), schema);
        is_carried_forward(&database, schema).await;
    }
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_is_carried_forward() {
    let cluster = Cluster::start();
    for schema in 1..=newest() {
        is_carried_forward(&load_postgres(&cluster, schema), schema).await;
    }
}

async fn is_carried_forward(database: &Database, schema: usize) {
    let carried = Carried::open(database, LOADED);
    let store = &carried.store;
    for stage in Stage::ALL {
        let claim = store.claim(stage, 100, Prefer::Fresh).await.unwrap();
        assert!(claim.syncs.is_empty(), "sending is paused");
    }
    // Both engines have seen to the claim that has expired by now: one at the start, the other when it claimed.
    let reading = reading(&carried).await;
    expect_file(&root().join(format!("tests/it/schema/reading-{schema}.txt")), &reading);
    holds_everything(&carried).await;
    let condition = inspect_apart(database);
    assert_eq!((condition.schema, condition.schema_fault), ((newest(), newest()), None));
    let is_sqlite = matches!(database, Database::Sqlite(_));
    assert_eq!(
        store.try_lock("reconciliation", "replica-2", secs(60)).await.unwrap(),
        is_sqlite,
        "another replica still holds it"
    );
    store.set_paused(false).await.unwrap();
    let claim = store.claim(Stage::WriteBack, 100, Prefer::Fresh).await.unwrap();
    let claimed = if is_sqlite { 2 } else { 0 };
    assert_eq!(
        claim.syncs.len(),
        claimed,
        "the claim of the process before is void, that of another replica is not"
    );
    work_goes_on(&carried).await;
}

/// It waits for the server, which a task must not.
fn inspect_apart(database: &Database) -> inspect::Condition {
    std::thread::scope(|scope| scope.spawn(|| inspect::condition(database).unwrap()).join().unwrap())
}

/// All that the store shows, a line for each.
async fn reading(carried: &Carried) -> String {
    let store = &carried.store;
    let mut text = String::new();
    let mut syncs = store.list(Filter::default(), 1000).await.unwrap();
    syncs.reverse();
    for view in &syncs {
        writeln!(text, "{view:?}").unwrap();
        let (_, history) = store.sync(view.sync.id).await.unwrap().unwrap();
        for event in history {
            let (kind, state, detail) = (event.kind, event.state, event.detail);
            writeln!(text, "    {} {kind} {state} {detail}", event.at).unwrap();
        }
        let link = store.link(view.sync.lead.clone()).await.unwrap();
        writeln!(text, "    {link:?}").unwrap();
    }
    let forgotten = store.link(lead_id("forgotten")).await.unwrap();
    writeln!(text, "forgotten {forgotten:?}").unwrap();
    let contacts = syncs
        .iter()
        .filter_map(|view| view.contact.clone())
        .chain(forgotten.contact);
    for owner in store.owners(contacts.collect()).await.unwrap() {
        writeln!(text, "{owner:?}").unwrap();
    }
    writeln!(text, "{:?}", store.overview().await.unwrap()).unwrap();
    for group in store.failure_groups(10).await.unwrap() {
        writeln!(text, "{group:?}").unwrap();
    }
    let since = carried.clock.now() - 100 * secs(24 * 60 * 60);
    for flow in store.flow(since, secs(60)).await.unwrap() {
        writeln!(text, "{flow:?}").unwrap();
    }
    for remote in Remote::ALL {
        writeln!(text, "{:?}", store.breaker(remote).await.unwrap()).unwrap();
    }
    for name in ["access_token", "alert_log", "paused", "missed_webhooks"] {
        writeln!(text, "{name} {:?}", store.kv_get(name).await.unwrap()).unwrap();
    }
    writeln!(text, "granted {:?}", store.grants(since).await.unwrap()).unwrap();
    text
}

/// What each of the databases has: see `story.rs`.
const STATES: [&str; 8] = [
    "requested",
    "upserted",
    "tagged",
    "rejected",
    "sent",
    "failed",
    "lead_deleted",
    "cancelled",
];
const KINDS: [&str; 16] = [
    "ambiguous",
    "attempt_failed",
    "cancelled",
    "changed",
    "coalesced",
    "contact_gone",
    "created",
    "dismissed",
    "lead_deleted",
    "rejected",
    "requested_again",
    "restored",
    "tagged",
    "upserted",
    "withdrawn",
    "written_back",
];

async fn holds_everything(carried: &Carried) {
    let store = &carried.store;
    let syncs = store.list(Filter::default(), 1000).await.unwrap();
    for state in STATES {
        assert!(syncs.iter().any(|view| view.sync.state.label() == state), "{state}");
    }
    let mut kinds = BTreeSet::new();
    for view in &syncs {
        let (_, history) = store.sync(view.sync.id).await.unwrap().unwrap();
        kinds.extend(history.into_iter().map(|event| event.kind));
    }
    for kind in KINDS {
        assert!(kinds.contains(kind), "{kind}");
    }
    let suspects = syncs.iter().filter(|view| view.sync.bisect_limit.is_some());
    assert_eq!(suspects.count(), 5, "two of them by the claim that expired");
    let ambiguous = store.link(lead_id("ambiguous")).await.unwrap();
    assert!(ambiguous.ambiguous_until.is_some());
    assert!(store.ledger().await.unwrap().balances());
}

async fn work_goes_on(carried: &Carried) {
    let store = &carried.store;
    let known = store.accept(bigin_sync::store::Delivery {
        rev: Some("r2".into()),
        ..delivery("coalesced")
    });
    assert_eq!(
        known.await,
        Ok(Accepted::Duplicate),
        "webhooks of the time before are recognised"
    );
    assert!(matches!(store.accept(delivery("new")).await, Ok(Accepted::Created(_))));
    carried.clock.advance(24 * 60 * secs(60));
    let mut rounds = 0;
    while store.ledger().await.unwrap().in_progress > 0 {
        rounds += 1;
        assert!(rounds < 200, "the work ends");
        carried
            .step(Stage::Upsert, |claimed| {
                Some(carried.upserted(claimed, Action::Update, secs(15)))
            })
            .await;
        carried.clock.advance(secs(15));
        carried.step(Stage::Tag, |claimed| Some(carried.tagged(claimed))).await;
        carried
            .step(Stage::WriteBack, |_| Some(Effect::Event(Event::WrittenBack)))
            .await;
        carried.clock.advance(secs(60));
    }
    let ledger = store.ledger().await.unwrap();
    assert!(ledger.balances(), "{ledger:?}");
    assert!(store.open_breakers().await.unwrap().is_empty());
    for lead in ["gone", "ambiguous", "suspect-1", "missed", "new"] {
        let link = store.link(lead_id(lead)).await.unwrap();
        assert!(link.contact.is_some() && link.synced_at.is_some(), "{lead}: {link:?}");
    }
}
