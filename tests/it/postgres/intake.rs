//! Replicas store webhooks beside each other: what holds nevertheless.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bigin_sync::clock::SystemClock;
use bigin_sync::database::Database;
use bigin_sync::store::{Accepted, Delivery, Prefer, Stage, Store};
use futures_util::future::join_all;
use secrecy::SecretString;

use crate::cluster::{self, Cluster};
use crate::process;
use crate::replicas::delivery;

fn open(url: &str) -> Store {
    let database = Database::parse(&SecretString::from(url.to_owned())).unwrap();
    cluster::open(&database, Arc::new(SystemClock::new()), process::settings())
}

fn revision(lead: &str, rev: &str) -> Delivery {
    Delivery {
        rev: Some(rev.to_owned()),
        ..delivery(lead)
    }
}

/// How many transactions the server has ended because they waited for each other in a circle.
fn deadlocks(url: &str) -> Vec<String> {
    cluster::ask(
        url,
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
}

/// What another replica does in a transaction, until it is dropped.
struct Transaction(Option<postgres::Client>);

impl Transaction {
    fn begin(url: &str, statements: &str) -> Self {
        // The client waits for the server, which a task must not.
        std::thread::scope(|scope| {
            let begin = || {
                let mut client = postgres::Client::connect(url, postgres::NoTls).unwrap();
                client.batch_execute(&format!("BEGIN; {statements}")).unwrap();
                Self(Some(client))
            };
            scope.spawn(begin).join().unwrap()
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::scope(|scope| scope.spawn(|| drop(client)).join().unwrap());
    }
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn webhooks_do_not_wait_for_those_of_other_replicas() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let store = open(&url);
    let other = Transaction::begin(&url, "SELECT pg_advisory_xact_lock_shared(2444679622)");
    let accepted = tokio::time::timeout(Duration::from_secs(10), store.accept(delivery("a"))).await;
    assert!(matches!(accepted, Ok(Ok(Accepted::Created(_)))), "{accepted:?}");
    // Whatever else is written does.
    let claim = store.claim(Stage::Upsert, 1, Prefer::Fresh);
    let mut claim = std::pin::pin!(claim);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut claim).await.is_err());
    drop(other);
    assert_eq!(claim.await.unwrap().syncs.len(), 1);
    // And they wait for it.
    let other = Transaction::begin(&url, "SELECT pg_advisory_xact_lock(2444679622)");
    let accept = store.accept(delivery("b"));
    let mut accept = std::pin::pin!(accept);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut accept).await.is_err());
    drop(other);
    assert!(matches!(accept.await, Ok(Accepted::Created(_))));
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn webhook_that_reaches_two_replicas_at_once_creates_one_sync() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let (one, two) = (open(&url), open(&url));
    for round in 0..5 {
        let leads: Vec<String> = (0..100).map(|number| format!("lead-{round}-{number}")).collect();
        let to_one = leads.iter().map(|lead| one.accept(revision(lead, "r1")));
        let to_two = leads.iter().map(|lead| two.accept(revision(lead, "r1")));
        // Each comes to have some of the leads, and waits for one.
        let statement = format!("SELECT pg_advisory_xact_lock(2444, hashtext('lead-{round}-50'))");
        let other = Transaction::begin(&url, &statement);
        let release = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(other);
        };
        let (by_one, by_two, ()) = tokio::join!(join_all(to_one), join_all(to_two), release);
        for ((lead, one), two) in leads.iter().zip(by_one).zip(by_two) {
            let results = [one.unwrap(), two.unwrap()];
            let created = results
                .iter()
                .filter(|accepted| matches!(accepted, Accepted::Created(_)));
            assert_eq!(created.count(), 1, "{lead}: {results:?}");
            assert!(results.contains(&Accepted::Duplicate), "{lead}: {results:?}");
        }
    }
    let ledger = one.ledger().await.unwrap();
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.accepted, ledger.created, ledger.duplicates), (1000, 500, 500));
    assert_eq!(deadlocks(&url), ["0"]);
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn webhooks_of_one_lead_at_two_replicas_are_all_counted_and_remembered() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let stores = [open(&url), open(&url)];
    let deliveries: Vec<Delivery> = (0..40).map(|number| revision("a", &format!("r{number}"))).collect();
    let accept = |(number, delivery): (usize, &Delivery)| stores[number % 2].accept(delivery.clone());
    // Two at a time, one at each.
    for pair in deliveries.chunks(2) {
        join_all(pair.iter().enumerate().map(accept)).await;
    }
    let (sync, _) = stores[0]
        .sync(bigin_sync::domain::sync::SyncId(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sync.sync.requests.count, 40);
    for repeat in join_all(deliveries.iter().enumerate().map(accept)).await {
        assert_eq!(repeat, Ok(Accepted::Duplicate));
    }
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn events_of_transactions_that_overlap_are_all_read() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let (one, two) = (open(&url), open(&url));
    // The transaction that has added the first event is committed after the one that has added the second.
    cluster::tell(
        &url,
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT FROM sync WHERE id = NEW.sync_id AND lead_id = 'slow') THEN PERFORM pg_advisory_xact_lock(42); END IF;
            RETURN NULL; END $$;
        CREATE TRIGGER wait AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION wait()",
    );
    let other = Transaction::begin(&url, "SELECT pg_advisory_xact_lock(42)");
    let slow = one.accept(delivery("slow"));
    let mut slow = std::pin::pin!(slow);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut slow)
            .await
            .is_err()
    );
    two.accept(delivery("quick")).await.unwrap();
    let mut seen = two.last_event_id().await.unwrap();
    let mut read = BTreeSet::new();
    let mut other = Some(other);
    for _ in 0..3 {
        let events = two.events_after(seen, 10).await.unwrap();
        seen = events.last().map_or(seen, |event| event.id);
        read.extend(events.into_iter().map(|event| event.lead_id.to_string()));
        if let Some(other) = other.take() {
            assert_eq!(read, BTreeSet::new(), "the first one is not committed");
            drop(other);
            assert!(slow.as_mut().await.is_ok());
        }
    }
    assert_eq!(read, BTreeSet::from(["quick".to_owned(), "slow".to_owned()]));
}

/// The address of the same database, from which each byte comes by itself.
fn byte_by_byte(cluster: &Cluster, url: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = cluster.port;
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
            client.set_nodelay(true).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut byte = [0];
                while server.read_exact(&mut byte).is_ok() && client.write_all(&byte).is_ok() {
                    std::thread::sleep(Duration::from_micros(1));
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    url.replace(&format!(":{server}/"), &format!(":{port}/"))
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn answers_that_come_in_pieces_are_waited_for() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let store = open(&byte_by_byte(&cluster, &url));
    for lead in ["a", "b"] {
        let accepted = store.accept(delivery(lead)).await;
        assert!(matches!(accepted, Ok(Accepted::Created(_))), "{accepted:?}");
    }
    let claim = store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    assert_eq!(claim.syncs.len(), 2);
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn ledger_balances_in_each_look() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let (one, two) = (open(&url), open(&url));
    let storing = async {
        for round in 0..100 {
            let leads = (0..4).map(|lead| delivery(&format!("lead-{round}-{lead}")));
            let stored = leads
                .enumerate()
                .map(|(number, delivery)| [&one, &two][number % 2].accept(delivery));
            join_all(stored).await;
        }
    };
    let looking = async {
        let mut looks = BTreeSet::new();
        loop {
            let ledger = two.ledger().await.unwrap();
            assert!(ledger.balances(), "{ledger:?}");
            looks.insert(ledger.created);
            if ledger.created == 400 {
                return looks.len();
            }
        }
    };
    let (looks, ()) = tokio::join!(looking, storing);
    assert!(looks > 10, "{looks} are too few to tell");
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn statement_that_fails_undoes_its_webhook_alone() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let store = open(&url);
    // Of the statements that are not waited for.
    cluster::tell(
        &url,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT FROM sync WHERE id = NEW.sync_id AND lead_id = 'bad') THEN RAISE EXCEPTION 'on purpose'; END IF;
            RETURN NULL; END $$;
        CREATE TRIGGER refuse AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let accepted = join_all(["a", "bad", "b"].map(|lead| store.accept(delivery(lead)))).await;
    assert!(accepted[0].is_ok() && accepted[2].is_ok(), "{accepted:?}");
    let refused = accepted[1].as_ref().unwrap_err().to_string();
    assert!(refused.contains("on purpose"), "{refused}");
    let ledger = store.ledger().await.unwrap();
    assert!(ledger.balances() && ledger.created == 2, "{ledger:?}");
}
