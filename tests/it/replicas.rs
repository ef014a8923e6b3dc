//! Several replicas on one database: they share work, locks and what they know of the services.

use std::collections::BTreeMap;
use std::sync::Arc;

use bigin_sync::clock::SystemClock;
use bigin_sync::database::Database;
use bigin_sync::domain::failure::{Remote, ServiceError, ServiceErrorKind};
use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::state::Event;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::store::{Accepted, Delivery, Detail, Effect, Ledger, Migration, Outcome, Stage, StepReport, Store};
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use serde_json::json;

use crate::cluster::{self, Cluster};
use crate::process::{self, Process, Stage as Program, TAG_DELAY, eventually};
use crate::recovery;
use crate::schema::start::start_with;
use crate::schema::{newest, postgres_steps_with};
use crate::world::{id, lead, no_tag_before_its_time, secs};

/// Replicas on a database of their own.
pub struct Replicas {
    pub stage: Program,
    pub url: String,
}

impl Replicas {
    pub async fn on(cluster: &Cluster) -> Self {
        let mut stage = Program::new().await;
        let url = cluster::make_database(&cluster.url("postgres"));
        stage.env.insert("DATABASE_URL".into(), url.clone());
        Self { stage, url }
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.stage.env.insert(name.into(), value.into());
        self
    }

    pub async fn start(&self, number: usize) -> Vec<Process> {
        let mut replicas = Vec::new();
        for _ in 0..number {
            replicas.push(self.stage.serve().await);
        }
        replicas
    }

    /// Publishes a lead that asks to be sent, and delivers the webhook to one of the replicas.
    pub async fn request(&self, name: &str, to: &Process) {
        self.stage.sanity.set_webhook(&format!("{}/webhooks/sanity", to.url));
        self.stage.request(lead(name)).await;
    }

    pub async fn ledger(&self) -> Ledger {
        let database = Database::parse(&SecretString::from(self.url.clone())).unwrap();
        let store = cluster::open(&database, Arc::new(SystemClock::new()), process::settings());
        store.ledger().await.unwrap()
    }

    /// What must hold at the end of every one of these stories.
    pub async fn finish(self) {
        let ledger = self.ledger().await;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.in_progress, 0, "{ledger:?}");
        let bigin = self.stage.bigin.model();
        no_tag_before_its_time(&bigin.changes, TAG_DELAY);
        assert!(bigin.max_in_flight() <= 4, "of all replicas together");
        let mut emails = BTreeMap::new();
        for (contact, record) in bigin.contacts() {
            let before = emails.insert(record.text("Email").map(str::to_owned), contact);
            assert_eq!(before, None, "a lead has two contacts");
        }
        process::nothing_personal_in(&self.stage.log(), &self.stage.bigin.refresh_token());
    }
}

fn signal(process: &Process, signal: Signal) {
    kill_process(Pid::from_child(&process.child), signal).unwrap();
}

/// Two replicas' stores on a database of their own, and its address.
pub fn two_stores(cluster: &Cluster) -> ([Store; 2], String) {
    let url = cluster::make_database(&cluster.url("postgres"));
    (std::array::from_fn(|_| store(&url)), url)
}

pub fn store(url: &str) -> Store {
    let database = Database::parse(&SecretString::from(url.to_owned())).unwrap();
    cluster::open(&database, Arc::new(SystemClock::new()), process::settings())
}

pub fn delivery(lead: &str) -> Delivery {
    Delivery {
        key: None,
        lead: LeadId::parse(lead).unwrap(),
        rev: None,
        updated_at: None,
    }
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn killed_replicas_work_is_taken_over() {
    let cluster = Cluster::start();
    for moment in &recovery::MOMENTS {
        let replicas = Replicas::on(&cluster).await;
        let stage = &replicas.stage;
        (moment.hold)(stage);
        let first = stage.serve().await;
        stage.request((moment.lead)()).await;
        eventually(moment.name, || async { (moment.reached)(stage).then_some(()) }).await;
        let _second = stage.serve().await;
        first.kill();
        stage.until_status(&id("Ada"), moment.ends).await;
        eventually("its end is recorded", || async {
            (replicas.ledger().await.in_progress == 0).then_some(())
        })
        .await;
        replicas.finish().await;
    }
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn killed_stopped_and_frozen_replicas() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster)
        .await
        .set("RECONCILE_INTERVAL", "1s")
        .set("RECONCILE_MIN_AGE", "1s");
    let mut running = replicas.start(4).await;
    let names: Vec<String> = (0..40).map(|number| format!("Lead{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let held = number > 20 && number % 4 == 2;
        replicas
            .request(name, &running[if held { 1 } else { number % 4 }])
            .await;
        match number {
            10 => {
                running.remove(3).kill();
                running.push(replicas.stage.serve().await);
            }
            20 => signal(&running[2], Signal::STOP),
            30 => {
                running.remove(0).stop().await;
                running.insert(0, replicas.stage.serve().await);
            }
            _ => {}
        }
    }
    for name in &names {
        replicas.stage.until_status(&id(name), "SENT").await;
    }
    signal(&running[2], Signal::CONT);
    replicas.request("Late", &running[2]).await;
    replicas.stage.until_status(&id("Late"), "SENT").await;
    assert_eq!(replicas.stage.bigin.model().grants(), 1, "one access token serves all");
    for replica in running {
        replica.stop().await;
    }
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn rolling_restart_rejects_no_webhook() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster).await;
    let mut running = replicas.start(3).await;
    let mut sent = 0;
    for _ in 0..3 {
        let leaving = running.remove(0);
        for _ in 0..20 {
            sent += 1;
            let to = if sent % 4 == 0 { &leaving } else { &running[sent % 2] };
            if sent % 20 == 5 {
                leaving.terminate();
            }
            // A connection that is refused is delivered again, like a 503.
            let status = to.try_webhook(&replicas.stage, &format!("nobody-{sent}"), "r1").await;
            assert!(matches!(status, None | Some(202 | 503)), "{status:?}");
        }
        assert!(leaving.ended().await.success());
        running.push(replicas.stage.serve().await);
    }
    eventually("all are ended", || async {
        (replicas.ledger().await.in_progress == 0).then_some(())
    })
    .await;
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn concurrent_starts_make_one_schema() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let database = Database::parse(&SecretString::from(url)).unwrap();
    let open = || cluster::open(&database, Arc::new(SystemClock::new()), process::settings());
    let stores: Vec<_> = std::thread::scope(|scope| {
        let openings: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        openings.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    for store in &stores {
        store.check().await.unwrap();
    }
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn tag_waits_for_upsert_of_another() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster).await;
    let running = replicas.start(2).await;
    replicas.request("Ada", &running[0]).await;
    let bigin = &replicas.stage.bigin;
    eventually("Ada is upserted", || async {
        (bigin.model().contacts().count() == 1).then_some(())
    })
    .await;
    // The reply is longer on its way than Ada's tag would wait.
    bigin.model().fail_next(CallKind::Upsert, Fault::Hang(secs(2)), 1);
    let namesake = crate::world::with(lead("Grace"), json!({ "emailAddress": "ada@example.org" }));
    replicas
        .stage
        .sanity
        .set_webhook(&format!("{}/webhooks/sanity", running[1].url));
    replicas.stage.request(namesake).await;
    for name in ["Ada", "Grace"] {
        replicas.stage.until_status(&id(name), "SENT").await;
    }
    for replica in running {
        replica.stop().await;
    }
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn wrong_clock_follows_the_database() {
    let cluster = Cluster::start();
    for offset in ["+1h", "-1h"] {
        let replicas = Replicas::on(&cluster).await;
        let right = replicas.stage.serve().await;
        let wrong = replicas.stage.serve_at(offset).await;
        for number in 0..6 {
            let to = if number % 2 == 0 { &wrong } else { &right };
            replicas.request(&format!("Lead{number}"), to).await;
        }
        for number in 0..6 {
            replicas.stage.until_status(&id(&format!("Lead{number}")), "SENT").await;
        }
        right.stop().await;
        // Alone it does what is left, and no sooner than it may.
        replicas.request("Late", &wrong).await;
        replicas.stage.until_status(&id("Late"), "SENT").await;
        assert_eq!(replicas.stage.bigin.model().grants(), 1, "one access token serves both");
        wrong.stop().await;
        replicas.finish().await;
    }
}

/// What a newer version adds. Its code fills the new column, also of what is in progress.
fn newer_steps() -> Vec<Migration> {
    let adds =
        "ALTER TABLE sync ADD COLUMN added_later BIGINT, ADD COLUMN added_with_default BIGINT NOT NULL DEFAULT 7;
        ALTER TABLE kv ADD COLUMN added_later BIGINT; ALTER TABLE event ADD COLUMN added_later TEXT;
        CREATE TABLE added_later (id BIGINT PRIMARY KEY); CREATE INDEX sync_added_later ON sync (added_later)";
    let fills = Migration::sql(adds).then(|db| db.batch("UPDATE sync SET added_later = requests"));
    postgres_steps_with(fills)
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn tolerates_newer_schema() {
    let cluster = Cluster::start();
    let ([older, _], url) = two_stores(&cluster);
    assert!(matches!(older.accept(delivery("a")).await, Ok(Accepted::Created(_))));
    let mut claim = older
        .claim(Stage::Upsert, 1, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    let released = Outcome {
        claimed: claim.syncs.remove(0),
        effect: Effect::Released,
        detail: Detail::default(),
    };
    older.record(vec![released], StepReport::default()).await.unwrap();
    let newer = start_with(&url, &newer_steps()).unwrap();
    assert!(matches!(older.accept(delivery("b")).await, Ok(Accepted::Created(_))));
    assert!(matches!(older.accept(delivery("a")).await, Ok(Accepted::Coalesced(_))));
    let claim = older
        .claim(Stage::Upsert, 10, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    assert_eq!(claim.syncs.len(), 2);
    assert!(matches!(newer.accept(delivery("b")).await, Ok(Accepted::Coalesced(_))));
    let ends = claim.syncs.into_iter().map(|claimed| Outcome {
        claimed,
        effect: Effect::Event(Event::LeadDeleted),
        detail: Detail::default(),
    });
    older.record(ends.collect(), StepReport::default()).await.unwrap();
    let ledger = newer.ledger().await.unwrap();
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!(ledger.in_progress, 1, "one was requested again meanwhile: {ledger:?}");
    // What it does not know stays as the newer version had it.
    let added = cluster::ask(
        &url,
        "SELECT coalesce(added_later, 0) + added_with_default FROM sync ORDER BY id",
    );
    assert_eq!(added, ["8", "7"]);
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn older_replica_works_on_until_restarted() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster).await;
    let stage = &replicas.stage;
    let older = replicas.start(2).await;
    replicas.request("Before", &older[0]).await;
    stage.until_status(&id("Before"), "SENT").await;
    // One is in progress while the other version starts.
    stage.bigin.model().fail_next(CallKind::Upsert, Fault::Hang(secs(1)), 1);
    replicas.request("During", &older[1]).await;
    let newer = start_with(&replicas.url, &newer_steps()).unwrap();
    for number in 0..6 {
        replicas.request(&format!("After{number}"), &older[number % 2]).await;
    }
    for number in 0..6 {
        stage.until_status(&id(&format!("After{number}")), "SENT").await;
    }
    stage.until_status(&id("During"), "SENT").await;
    assert_eq!(
        stage.bigin.model().grants(),
        1,
        "the token in the changed table is used"
    );

    // One that restarts is refused, and says why. The others go on.
    let mut older = older.into_iter();
    older.next().unwrap().stop().await;
    let refused = stage.spawn("refused", &BTreeMap::new());
    let refused = Process {
        child: refused,
        url: String::new(),
    };
    assert_eq!(refused.ended().await.code(), Some(1));
    let said = std::fs::read_to_string(stage.folder.path().join("refused")).unwrap();
    let expected = format!(
        "was written by a newer version of bigin-sync (schema {}, this one knows {}): start that version",
        newest() + 1,
        newest()
    );
    assert!(said.contains(&expected), "{said}");
    let last = older.next().unwrap();
    replicas.request("Late", &last).await;
    stage.until_status(&id("Late"), "SENT").await;
    eventually("its end is recorded", || async {
        (newer.ledger().await.unwrap().in_progress == 0).then_some(())
    })
    .await;
    last.stop().await;
    let ledger = newer.ledger().await.unwrap();
    assert!(ledger.balances() && ledger.sent == 9, "{ledger:?}");
    drop(newer);
    // What every one of these stories ends with is read by this version, which would be refused as well.
    let undo = format!("DELETE FROM schema_version WHERE version > {}", newest());
    cluster::tell(&replicas.url, &undo);
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn serialised_at_any_isolation_level() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let name = url.rsplit(['/', '?']).nth(1).unwrap();
    let prefer = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'");
    cluster::tell(&cluster.url("postgres"), &prefer);
    let stores = [store(&url), store(&url)];
    for round in 0..20 {
        let leads: Vec<String> = (0..20).map(|number| format!("lead-{round}-{number}")).collect();
        // Each adds to the same counters of the ledger.
        let accepted = join_all(
            leads
                .iter()
                .enumerate()
                .map(|(number, lead)| stores[number % 2].accept(delivery(lead))),
        );
        for accepted in accepted.await {
            assert!(matches!(accepted, Ok(Accepted::Created(_))), "{accepted:?}");
        }
    }
    assert_eq!(stores[0].ledger().await.unwrap().accepted, 400);
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn share_breakers_and_reconciliation() {
    let cluster = Cluster::start();
    let ([one, other], _) = two_stores(&cluster);
    for lead in ["a", "b"] {
        one.accept(delivery(lead)).await.unwrap();
    }
    let claim = one
        .claim(Stage::Upsert, 1, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    let epoch = claim.breakers[&Remote::Bigin].epoch;
    let service_error = ServiceError {
        remote: Remote::Bigin,
        kind: ServiceErrorKind::Unavailable,
        code: "HTTP 503".into(),
        what: "no answer".into(),
        action: None,
        retry_after: Some(secs(60)),
    };
    one.open_breaker(service_error, bigin_sync::domain::breaker::Cause::Service, epoch, 0.0)
        .await
        .unwrap();
    assert!(
        other
            .claim(Stage::Upsert, 1, bigin_sync::store::Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .is_empty()
    );
    let heard = |epoch| StepReport {
        answered: vec![(Remote::Bigin, epoch)],
        ..StepReport::default()
    };
    other.record(Vec::new(), heard(epoch)).await.unwrap();
    assert_eq!(
        one.open_breakers().await.unwrap().len(),
        1,
        "its call began before the trouble"
    );
    other.record(Vec::new(), heard(epoch + 1)).await.unwrap();
    assert!(one.open_breakers().await.unwrap().is_empty());

    assert!(one.try_lock("reconciliation", "one", secs(60)).await.unwrap());
    assert!(!other.try_lock("reconciliation", "other", secs(60)).await.unwrap());
    assert!(one.try_lock("reconciliation", "one", secs(60)).await.unwrap(), "again");
    other.unlock("reconciliation", "other").await.unwrap();
    assert!(
        !other.try_lock("reconciliation", "other", secs(60)).await.unwrap(),
        "it had nothing to give back"
    );
    one.unlock("reconciliation", "one").await.unwrap();
    assert!(other.try_lock("reconciliation", "other", secs(60)).await.unwrap());
}
