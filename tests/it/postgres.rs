//! Several replicas on PostgreSQL: the stories of one process hold on it too, and what only replicas can go through.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bigin_sync::clock::SystemClock;
use bigin_sync::database::Database;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::store::{Ledger, Store};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use serde_json::json;

use crate::cluster::{self, Cluster, SERVER};
use crate::process::{self, Process, Stage, TAG_DELAY, eventually};
use crate::recovery;
use crate::world::{id, lead, no_tag_before_its_time, secs};

/// Stories of the file, of its one process, or of two claims at once, which replicas make in turns.
const OF_ONE_PROCESS: [&str; 10] = [
    "alerts::a_monitor_hears_of_healthy_reconciliations_only",
    "bounds::with_the_queue_of_writes_full_webhooks_are_told_when_to_come_again",
    "intake::while_another_connection_holds_the_file_webhooks_are_told_to_come_again",
    "promises::an_upsert_that_could_not_be_recorded_moves_the_tag_of_its_contact",
    "store_contract::a_clock_set_back_during_a_restart_brings_no_tag_forward",
    "store_contract::a_full_queue_is_busy_and_loses_nothing_it_took",
    "store_contract::a_restart_voids_leases_but_waits_out_an_upsert_that_may_be_under_way",
    "store_contract::a_sync_that_has_failed_probes_only_where_no_other_can",
    "store_contract::a_tag_that_was_moved_while_it_was_tried_is_not_tried_again_before_its_new_time",
    "store_contract::another_leads_upsert_moves_the_tag_of_their_contact_and_of_no_other",
];

#[test]
#[ignore = "needs PostgreSQL"]
fn the_stories_hold_on_postgresql() {
    let cluster = Cluster::start();
    // What was written by stories that are over need not stay on the disk.
    for statement in ["ALTER SYSTEM SET max_wal_size = '128MB'", "SELECT pg_reload_conf()"] {
        cluster::tell(&cluster.url("postgres"), statement);
    }
    let mut stories = Command::new(std::env::current_exe().unwrap());
    stories.env(SERVER, cluster.url("postgres")).env("RUST_BACKTRACE", "0");
    let themes = [
        "store_contract::",
        "journey::",
        "trouble::",
        "promises::",
        "guards::",
        "bad_leads::",
        "slow_bigin::",
        "reads::",
        "breakers::",
        "truth::",
        "intake::",
        "steering::",
        "alerts::",
        "api::",
        "events::",
        "clocks::",
        "bounds::",
        "edges::",
    ];
    stories
        .args(themes)
        .args(OF_ONE_PROCESS.iter().flat_map(|story| ["--skip", story]));
    let output = stories.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // What passed would bury what did not.
    let failures = told
        .split_once("\nfailures:\n")
        .map_or(&*told, |(_, failures)| failures);
    assert!(output.status.success(), "{failures}");
    let passed = told.lines().filter(|line| line.ends_with("... ok")).count();
    assert!(passed > 220, "{passed} stories are not all: {told}");
}

/// Replicas on a database of their own.
pub struct Replicas {
    pub stage: Stage,
    pub url: String,
}

impl Replicas {
    pub async fn on(cluster: &Cluster) -> Self {
        let mut stage = Stage::new().await;
        let url = cluster::make_database(&cluster.url("postgres"));
        stage.env.insert("DATABASE_URL".into(), url.clone());
        Self { stage, url }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
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

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn what_a_replica_was_doing_when_it_was_killed_another_ends() {
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
async fn one_replica_is_killed_one_stopped_and_one_held_past_its_lease_and_no_promise_is_broken() {
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
async fn while_the_database_is_down_webhooks_are_told_to_come_again_and_what_was_taken_is_carried_out() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster).await;
    let running = replicas.start(2).await;
    for number in 0..20 {
        replicas.request(&format!("Lead{number}"), &running[number % 2]).await;
    }
    cluster.crash();
    for replica in &running {
        assert_eq!(replica.webhook(&replicas.stage, "lead-late", "r1").await, 503);
    }
    cluster.resume();
    for number in 0..20 {
        replicas.stage.until_status(&id(&format!("Lead{number}")), "SENT").await;
    }
    replicas.request("Late", &running[0]).await;
    replicas.stage.until_status(&id("Late"), "SENT").await;
    for replica in running {
        replica.stop().await;
    }
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn a_rolling_restart_answers_no_webhook_with_a_refusal_for_good() {
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
async fn replicas_that_start_together_make_one_schema() {
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
async fn a_tag_waits_for_an_upsert_that_another_replica_has_under_way() {
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
async fn a_replica_whose_clock_is_wrong_goes_by_the_databases() {
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

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn a_server_is_spoken_to_by_tls_and_must_show_a_certificate_that_is_trusted() {
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
