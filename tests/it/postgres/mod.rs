//! The integration tests that hold on PostgreSQL too, and the connection to it.

use std::process::{Command, Stdio};
use std::sync::Arc;

use bigin_sync::clock::SystemClock;
use bigin_sync::database::Database;
use secrecy::SecretString;

use crate::cluster::{self, Cluster, SERVER};
use crate::process;

mod intake;
mod outages;

/// Tests of the file, of its one process, or of two claims at once, which replicas make in turns.
const OF_ONE_PROCESS: [&str; 10] = [
    "alerts::heartbeat_of_healthy_reconciliation",
    "webhook_intake::full_write_queue_answers_503",
    "webhook_intake::locked_database_answers_503",
    "tag_delay::unrecorded_upsert_restarts_delay",
    "store_contract::clock_set_back_brings_no_tag_forward",
    "store_contract::full_queue_is_busy_and_loses_nothing",
    "store_contract::restart_waits_for_calls_in_flight",
    "store_contract::failed_sync_probes_only_if_alone",
    "store_contract::moved_tag_waits_for_its_new_time",
    "store_contract::upsert_restarts_delay_of_its_contact_only",
];

#[test]
#[ignore = "needs PostgreSQL"]
fn integration_tests_on_postgresql() {
    let cluster = Cluster::start();
    // What was written by tests that have ended need not stay on the disk.
    for statement in ["ALTER SYSTEM SET max_wal_size = '128MB'", "SELECT pg_reload_conf()"] {
        cluster::tell(&cluster.url("postgres"), statement);
    }
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.env(SERVER, cluster.url("postgres")).env("RUST_BACKTRACE", "0");
    let features = [
        "access_tokens::",
        "alerts::",
        "ambiguous_inserts::",
        "api::",
        "bad_leads::",
        "bisection::",
        "breakers::",
        "connections::",
        "contact_matching::",
        "drafts::",
        "edits_during_sync::",
        "field_metadata::",
        "lead_reads::",
        "leases::",
        "operator::",
        "privacy::",
        "reconciliation::",
        "recovery::stop_answers_waiting_requests",
        "retention::",
        "settings::",
        "slow_bigin::",
        "store_contract::",
        "sync::",
        "tag::",
        "tag_delay::",
        "upsert::",
        "webhook_intake::",
        "write_back::",
    ];
    tests
        .args(features)
        .args(OF_ONE_PROCESS.iter().flat_map(|test| ["--skip", test]));
    let output = tests.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // What passed would bury what did not.
    let failures = told
        .split_once("\nfailures:\n")
        .map_or(&*told, |(_, failures)| failures);
    assert!(output.status.success(), "{failures}");
    let passed = told.lines().filter(|line| line.ends_with("... ok")).count();
    assert!(passed > 220, "{passed} tests are not all: {told}");
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn tls_needs_a_trusted_certificate() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let certificate = cluster.speak_tls();
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(certificate, copy.path()).unwrap();
    let encrypted = url.replace("sslmode=disable", "sslmode=verify-full");
    let open = |url: &str| {
        let database = Database::parse(&SecretString::from(url.to_owned())).unwrap();
        cluster::try_open(&database, Arc::new(SystemClock::new()), process::settings())
            .map_err(|error| error.to_string())
    };
    let trusted = open(&format!("{encrypted}&sslrootcert={}", copy.path().display())).unwrap();
    trusted.check().await.unwrap();
    let refused = open(&encrypted).err().unwrap();
    assert!(
        refused.contains("certificate") && refused.contains("DATABASE_URL"),
        "{refused}"
    );
    let plain = open(&url.replace("invented-password", "wrong")).err().unwrap();
    assert!(
        plain.contains("password authentication failed") && !plain.contains("wrong"),
        "{plain}"
    );
}
