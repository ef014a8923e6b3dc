//! Starts on PostgreSQL: steps with code, and a schema that is not as this version expects it. On SQLite:
//! `store::migrations::tests`.

use std::sync::Arc;

use bigin_sync::clock::SystemClock;
use bigin_sync::database::Database;
use bigin_sync::store::{Accepted, Migration, POSTGRES_STEPS, Store, inspect, postgres};
use secrecy::SecretString;

use super::{newest, postgres_steps_with};
use crate::cluster::{self, Cluster};
use crate::process;
use crate::replicas::delivery;

const ADDS: &str = "CREATE TABLE extra (value BIGINT)";

fn database(url: &str) -> Database {
    Database::parse(&SecretString::from(url.to_owned())).unwrap()
}

/// Starts as the version would that has these steps.
pub fn start_with(url: &str, steps: &[Migration]) -> Result<Store, String> {
    let Database::Postgres(address) = database(url) else {
        panic!("{url}");
    };
    let open = || {
        let clock = Arc::new(SystemClock::new());
        postgres::open_with(&address, clock, Arc::default(), process::settings(), steps)
    };
    // It waits for the server, which a task must not.
    std::thread::scope(|scope| scope.spawn(open).join().unwrap()).map_err(|error| error.to_string())
}

fn version(url: &str) -> usize {
    let version = cluster::ask(url, "SELECT max(version) FROM schema_version").remove(0);
    version.parse().unwrap()
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn step_with_code_runs_once_or_not_at_all() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let store = start_with(&url, POSTGRES_STEPS).unwrap();
    assert!(matches!(store.accept(delivery("a")).await, Ok(Accepted::Created(_))));

    let fails = Migration::sql(ADDS).then(|db| {
        db.batch("INSERT INTO extra VALUES (1)")?;
        db.batch("INSERT INTO nowhere VALUES (1)")
    });
    let failed = start_with(&url, &postgres_steps_with(fails)).err().unwrap();
    assert!(
        failed.contains(&format!(
            "the upgrade to schema {} failed, and nothing was changed",
            newest() + 1
        )) && failed.contains("nowhere"),
        "{failed}"
    );
    assert_eq!(version(&url), newest());

    // One that passes over an error commits nothing either.
    let hides = Migration::sql(ADDS).then(|db| {
        let _ = db.batch("INSERT INTO nowhere VALUES (1)");
        Ok(())
    });
    start_with(&url, &postgres_steps_with(hides)).err().unwrap();
    assert_eq!(version(&url), newest());

    let steps =
        postgres_steps_with(Migration::sql(ADDS).then(|db| db.batch("INSERT INTO extra SELECT requests FROM sync")));
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| start_with(&url, &steps))).collect();
        for start in starts {
            start.join().unwrap().unwrap();
        }
    });
    assert_eq!(version(&url), newest() + 1);
    assert_eq!(
        cluster::ask(&url, "SELECT value FROM extra"),
        ["1"],
        "once, with what the SQL had made"
    );
}

#[test]
#[ignore = "needs PostgreSQL"]
fn changed_schema_is_refused_and_extended_one_is_not() {
    let cluster = Cluster::start();
    for (change, named) in [
        ("DROP TABLE kv", Some("table kv: missing")),
        ("DROP INDEX sync_active", Some("table sync, index sync_active: missing")),
        (
            "DROP INDEX sync_active; CREATE INDEX sync_active ON sync (lead_id) WHERE finished_at IS NULL",
            Some("instead of \"unique (lead_id) where"),
        ),
        (
            "DROP INDEX sync_due; CREATE INDEX sync_due ON sync (state, next_attempt_at, id) WHERE state IN ('requested', 'upserted', 'tagged')",
            Some("table sync, index sync_due: "),
        ),
        (
            "ALTER TABLE sync ALTER requests TYPE NUMERIC",
            Some("table sync, column requests: \"numeric not null\" instead of \"bigint not null\""),
        ),
        (
            "ALTER TABLE sync ALTER requests DROP NOT NULL",
            Some("table sync, column requests: \"bigint\" instead of"),
        ),
        ("ALTER TABLE sync ALTER version DROP DEFAULT", Some("table sync, column version")),
        (
            "ALTER TABLE sync ALTER lead_id TYPE TEXT COLLATE \"POSIX\"",
            Some("table sync, column lead_id"),
        ),
        ("ALTER TABLE event SET UNLOGGED", Some("table event: \"unlogged\"")),
        (
            "ALTER TABLE credit RENAME used TO spent",
            Some("table credit, column used: missing; table credit, column spent: unknown, required and without a default"),
        ),
        (
            "CREATE SCHEMA other; ALTER TABLE lock SET SCHEMA other",
            Some("table lock: missing"),
        ),
        (
            "ALTER TABLE sync ADD later TEXT, ADD latest BIGINT NOT NULL DEFAULT 7; CREATE TABLE ours (name TEXT NOT NULL);
            CREATE INDEX sync_ours ON sync (changed_at); CREATE VIEW shown AS SELECT id FROM sync",
            None,
        ),
    ] {
        let url = cluster::make_database(&cluster.url("postgres"));
        start_with(&url, POSTGRES_STEPS).unwrap();
        cluster::tell(&url, change);
        let doctor = inspect::condition(&database(&url)).unwrap();
        let started = start_with(&url, &postgres_steps_with(Migration::sql(ADDS)));
        let Some(named) = named else {
            assert_eq!(doctor.schema_fault, None);
            started.unwrap();
            continue;
        };
        let refused = started.err().unwrap();
        assert!(
            refused.contains(named) && refused.contains("restore a backup"),
            "{change}: {refused}"
        );
        assert_eq!(version(&url), newest(), "nor was the step taken that was pending");
        let fault = doctor.schema_fault.unwrap();
        assert!(refused.contains(&fault), "doctor says the same: {fault}");
        assert_eq!(doctor.write, Some(Ok(())));
    }
}

/// The role has the rights that POSTGRESQL.md asks for, and its search path leads to a schema of its own.
#[test]
#[ignore = "needs PostgreSQL"]
fn schema_is_found_by_the_search_path_of_any_role() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    cluster::tell(
        &url,
        "CREATE ROLE service LOGIN PASSWORD 'invented-password'; CREATE SCHEMA service AUTHORIZATION service;
        CREATE TABLE public.sync (id BIGINT)",
    );
    let url = url.replace("postgres:invented", "service:invented");
    for _ in 0..2 {
        start_with(&url, POSTGRES_STEPS).unwrap();
        assert_eq!(inspect::condition(&database(&url)).unwrap().schema_fault, None);
    }
    cluster::tell(&url, "DROP INDEX sync_due");
    start_with(&url, POSTGRES_STEPS).err().unwrap();
}
