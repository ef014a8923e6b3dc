//! Crashes, stops and full disks: what was acknowledged is carried out.

use std::io::Write as _;
use std::time::Duration;

use bigin_sync::domain::lead::LeadId;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind};
use bigin_sync::store::Filter;
use serde_json::{Value, json};

use crate::process::{Stage, eventually, open, run};
use crate::world::{ADMIN_TOKEN, answer, client, id, lead, with};

/// A call that is under way for longer than the test.
const LONG: Duration = Duration::from_secs(30);

/// When the program is killed: the fault that holds it there, and how to see that it is there.
pub struct Moment {
    pub name: &'static str,
    pub hold: fn(&Stage),
    pub reached: fn(&Stage) -> bool,
    pub lead: fn() -> Value,
    pub ends: &'static str,
}

fn ada() -> Value {
    lead("Ada")
}

fn bad() -> Value {
    with(lead("Ada"), json!({ "emailAddress": "no address" }))
}

pub const MOMENTS: [Moment; 8] = [
    Moment {
        name: "requested: the lead is being read",
        hold: |stage| {
            stage
                .sanity
                .model()
                .faults
                .fail_next(Kind::Doc, SanityFault::Hang(LONG), 1)
        },
        reached: |stage| stage.sanity.model().faults.is_empty(),
        lead: ada,
        ends: "SENT",
    },
    Moment {
        name: "requested: a token is being granted",
        hold: |stage| stage.bigin.model().fail_next(CallKind::Token, Fault::Hang(LONG), 1),
        reached: |stage| stage.bigin.model().faults_left() == 0,
        lead: ada,
        ends: "SENT",
    },
    Moment {
        name: "requested: the upsert has not reached Bigin",
        hold: |stage| stage.bigin.model().fail_next(CallKind::Upsert, Fault::Stall(LONG), 1),
        reached: |stage| stage.bigin.model().faults_left() == 0,
        lead: ada,
        ends: "SENT",
    },
    Moment {
        name: "requested: the upsert is done and its reply on the way",
        hold: |stage| stage.bigin.model().fail_next(CallKind::Upsert, Fault::Hang(LONG), 1),
        reached: |stage| stage.bigin.model().contacts().count() == 1,
        lead: ada,
        ends: "SENT",
    },
    Moment {
        name: "upserted: the tag waits for its time",
        hold: |_| {},
        reached: |stage| stage.bigin.model().contacts().count() == 1,
        lead: ada,
        ends: "SENT",
    },
    Moment {
        name: "upserted: the tag is there and its reply on the way",
        hold: |stage| stage.bigin.model().fail_next(CallKind::AddTags, Fault::Hang(LONG), 1),
        reached: |stage| {
            stage
                .bigin
                .model()
                .contacts()
                .any(|(_, contact)| !contact.tags.is_empty())
        },
        lead: ada,
        ends: "SENT",
    },
    Moment {
        name: "tagged: the result is written and the reply on the way",
        hold: |stage| {
            stage
                .sanity
                .model()
                .faults
                .fail_next(Kind::Mutate, SanityFault::Hang(LONG), 1)
        },
        reached: |stage| stage.says(&id("Ada"), "crmStatus").as_deref() == Some("SENT"),
        lead: ada,
        ends: "SENT",
    },
    Moment {
        name: "rejected: the result is written and the reply on the way",
        hold: |stage| {
            stage
                .sanity
                .model()
                .faults
                .fail_next(Kind::Mutate, SanityFault::Hang(LONG), 1)
        },
        reached: |stage| stage.says(&id("Ada"), "crmStatus").as_deref() == Some("FAILED"),
        lead: bad,
        ends: "FAILED",
    },
];

async fn killed_at(moment: &Moment) {
    let stage = Stage::new().await;
    (moment.hold)(&stage);
    let first = stage.serve().await;
    stage.request((moment.lead)()).await;
    eventually(moment.name, || async { (moment.reached)(&stage).then_some(()) }).await;
    first.kill();

    let second = stage.serve().await;
    stage.until_status(&id("Ada"), moment.ends).await;
    let filter = format!("{}/api/syncs?state={}", second.url, moment.ends.to_lowercase());
    eventually("the end is recorded", || async {
        let (_, page) = answer(client().get(&filter).bearer_auth(ADMIN_TOKEN)).await;
        (page["syncs"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    second.stop().await;
    let contacts = stage.bigin.model().contacts().count();
    assert_eq!(contacts, usize::from(moment.ends == "SENT"), "{}", moment.name);
    let ledger = stage.ledger().await;
    assert_eq!((ledger.accepted, ledger.created), (1, 1), "{}", moment.name);
    stage.finish().await;
}

#[actix_web::test]
async fn killed_in_every_state_ends_the_same() {
    futures_util::future::join_all(MOMENTS.iter().map(killed_at)).await;
}

#[actix_web::test]
async fn acknowledged_webhooks_survive_kill() {
    let stage = Stage::new().await;
    stage.bigin.model().switches.down = true;
    let process = stage.serve().await;
    let numbers: Vec<usize> = (0..500).collect();
    for some in numbers.chunks(50) {
        let posts = some.iter().map(|number| {
            let lead = format!("lead-{number}");
            let (process, stage) = (&process, &stage);
            async move { process.webhook(stage, &lead, &format!("rev{number}")).await }
        });
        let statuses = futures_util::future::join_all(posts).await;
        assert!(statuses.iter().all(|status| *status == 202), "{statuses:?}");
    }
    process.kill();

    let store = open(&stage.folder.path().join("bigin-sync.db"));
    assert_eq!(store.ledger().await.unwrap().accepted, 500);
    for number in numbers {
        let lead = LeadId::parse(&format!("lead-{number}")).unwrap();
        let filter = Filter {
            lead: Some(lead),
            ..Filter::default()
        };
        assert_eq!(store.list(filter, 2).await.unwrap().len(), 1, "lead {number}");
    }
    drop(store);
    // Nobody published these leads, so their syncs end as soon as they are read.
    stage.bigin.model().switches.down = false;
    let process = stage.serve().await;
    eventually("all of them have ended", || async {
        let request = client().get(format!("{}/api/syncs?limit=1&state=requested", process.url));
        let (_, page) = answer(request.bearer_auth(ADMIN_TOKEN)).await;
        page["syncs"].as_array()?.is_empty().then_some(())
    })
    .await;
    process.stop().await;
    stage.finish().await;
}

#[actix_web::test]
async fn stop_finishes_call_in_flight() {
    let stage = Stage::new().await;
    stage
        .bigin
        .model()
        .fail_next(CallKind::Upsert, Fault::Hang(Duration::from_secs(1)), 1);
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    eventually("the upsert is under way", || async {
        (stage.bigin.model().contacts().count() == 1).then_some(())
    })
    .await;
    process.stop().await;
    let process = stage.serve().await;
    stage.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    assert_eq!(
        stage.bigin.model().count(CallKind::Upsert),
        1,
        "its outcome was recorded before the end"
    );
    assert_eq!(stage.bigin.model().grants(), 1, "the token outlives the process");
    stage.finish().await;
}

#[actix_web::test]
async fn stop_does_not_wait_for_hanging_call() {
    let stage = Stage::new().await;
    stage.bigin.model().fail_next(CallKind::Upsert, Fault::Hang(LONG), 1);
    let mut stage = stage;
    stage.env.insert("LEASE_DURATION".into(), "60s".into());
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    eventually("the upsert is under way", || async {
        (stage.bigin.model().contacts().count() == 1).then_some(())
    })
    .await;
    process.terminate();
    let ended = tokio::time::timeout(Duration::from_secs(10), process.ended()).await;
    assert!(ended.expect("it ends within ten seconds").success());
    let store = open(&stage.folder.path().join("bigin-sync.db"));
    assert_eq!(
        store.ledger().await.unwrap().in_progress,
        1,
        "and its lead is taken up again"
    );
}

#[actix_web::test]
async fn stop_answers_waiting_requests() {
    let mut stage = Stage::new().await;
    stage.env.insert("TAG_DELAY".to_owned(), "60s".to_owned());
    let process = stage.serve().await;
    stage.sanity.model().seed(lead("Ada")).unwrap();
    let url = format!("{}/api/send-to-bigin", process.url);
    let request = client()
        .post(url)
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({ "leadId": id("Ada") }));
    let waiting = tokio::spawn(answer(request));
    eventually("the lead is upserted", || async {
        stage.log().contains("upserted").then_some(())
    })
    .await;
    process.terminate();
    let (status, body) = waiting.await.unwrap();
    assert_eq!(
        (status, &body["success"], &body["error"]),
        (202, &json!(false), &json!("still being sent"))
    );
    assert!(process.ended().await.success());
}

#[actix_web::test]
async fn second_process_is_rejected() {
    let stage = Stage::new().await;
    let process = stage.serve().await;
    let mut second = crate::process::binary();
    second
        .arg("serve")
        .env_clear()
        .envs(&stage.env)
        .current_dir(stage.folder.path());
    let (code, out, err) = run(second);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("bigin-sync.db is in use by another bigin-sync"), "{err}");
    process.stop().await;
    stage.finish().await;
}

#[actix_web::test]
async fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new().await;
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    for file in ["bigin-sync.db", "bigin-sync.db-wal", "bigin-sync.db.lock"] {
        let mode = std::fs::metadata(stage.folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    stage.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    stage.finish().await;
}

#[actix_web::test]
async fn file_of_stopped_process_is_complete_by_itself() {
    let stage = Stage::new().await;
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    stage.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(stage.folder.path().join("bigin-sync.db"), copy.path()).unwrap();
    let copy = rusqlite::Connection::open(copy.path()).unwrap();
    let state: String = copy.query_row("SELECT state FROM sync", [], |row| row.get(0)).unwrap();
    assert_eq!(state, "sent");
    stage.finish().await;
}

#[actix_web::test]
async fn full_disk_answers_503_and_loses_nothing() {
    let stage = Stage::new().await;
    stage.bigin.model().switches.down = true;
    // Files may grow to half a megabyte; a write beyond that fails, instead of ending the process by a signal.
    let process = stage.serve_limited("ulimit -S -f 1024; trap '' XFSZ").await;
    let mut acknowledged = 0;
    let mut refused = 0;
    for number in 0.. {
        match process.webhook(&stage, &format!("lead-{number}"), "rev").await {
            202 => acknowledged += 1,
            status => {
                assert_eq!(status, 503);
                refused += 1;
            }
        }
        if refused == 20 {
            break;
        }
        assert!(number < 5_000, "the limit is never met");
    }
    let (status, ready) = answer(client().get(format!("{}/readyz", process.url))).await;
    assert_eq!(status, 503);
    assert_eq!(ready["degraded"][0]["code"], "disk_full");

    let pid = rustix::process::Pid::from_child(&process.child);
    let roomy = rustix::process::Rlimit {
        current: None,
        maximum: None,
    };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, roomy).unwrap();
    assert_eq!(
        process.webhook(&stage, "lead-after", "rev").await,
        202,
        "there is room again, without a restart"
    );
    process.kill();
    let store = open(&stage.folder.path().join("bigin-sync.db"));
    let ledger = store.ledger().await.unwrap();
    assert!(ledger.balances());
    assert_eq!(ledger.created, acknowledged + 1);
}

#[actix_web::test]
#[ignore = "needs mount namespaces"]
async fn full_disk_makes_not_ready() {
    let mut stage = Stage::new().await;
    stage
        .env
        .insert("DATABASE_URL".into(), "sqlite://disk/bigin-sync.db".into());
    let (process, disk) = stage.serve_on_disk_of(16 * 1024 * 1024).await;
    let get = |path| client().get(format!("{}{path}", process.url)).bearer_auth(ADMIN_TOKEN);
    let ready = || answer(get("/readyz"));
    // The log beside the database reaches its full size, and has room for what comes next.
    for number in 0..300 {
        assert_eq!(process.webhook(&stage, &format!("lead-{number}"), "rev").await, 202);
    }
    eventually("all have ended", || async {
        let (_, health) = answer(get("/api/health")).await;
        (health["ledger"]["lead_deleted"] == 300).then_some(())
    })
    .await;
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let full = std::iter::repeat_with(|| file.write(&[1; 4096])).find(Result::is_err);
    assert!(full.is_some());
    let (status, said) = ready().await;
    assert_eq!(status, 503);
    assert_eq!(said["degraded"][0]["code"], "disk_full");
    std::fs::remove_file(filler).unwrap();
    drop(file);
    eventually("there is room again", || async {
        (ready().await.0 == 200).then_some(())
    })
    .await;
    process.stop().await;
}
