//! Tests of what needs no server: how statements are written for it, and what replicas tell each other.

use tokio::sync::Notify;

use super::*;
use crate::store::sql::writer::STORE_TIMEOUT;

fn told(wake: [bool; 3], changes: usize) -> AfterCommit {
    let mut after = AfterCommit::default();
    after.wake = wake;
    after.changes = (0..changes)
        .map(|number| Change {
            sync: SyncId(i64::try_from(number).unwrap()),
            lead: LeadId::parse(&format!("lead-{number}")).unwrap(),
            state: "sent",
        })
        .collect();
    after
}

#[test]
fn a_statement_is_written_as_the_server_has_it() {
    let sql = "SELECT 1 FROM sync INDEXED BY sync_leased WHERE id = ?1 AND x IN (SELECT y FROM z INDEXED BY w)";
    assert_eq!(
        dialect(sql),
        "SELECT 1 FROM sync  WHERE id = $1 AND x IN (SELECT y FROM z )"
    );
}

#[tokio::test]
async fn what_one_replica_tells_the_others_hear_and_itself_does_not() {
    let listeners = listeners(Arc::default());
    let mut changes = listeners.changes.subscribe();
    let messages = messages("a", &told([false, true, false], 1000));
    assert!(messages.len() > 1 && messages.iter().all(|message| message.len() <= MESSAGE));
    for message in &messages {
        hear(message, "a", &listeners);
    }
    assert!(changes.try_recv().is_err(), "its own");
    for message in &messages {
        hear(message, "b", &listeners);
    }
    let notified = |stage: &Notify| futures_util::FutureExt::now_or_never(stage.notified()).is_some();
    assert_eq!(
        [0, 1, 2].map(|stage| notified(&listeners.stages[stage])),
        [false, true, false]
    );
    for number in 0..1000 {
        let change = changes.recv().await.unwrap();
        assert_eq!((change.sync.0, change.state), (number, "sent"));
        assert_eq!(change.lead.as_str(), format!("lead-{number}"));
    }
}

#[test]
fn a_commit_that_concerns_nobody_is_not_told() {
    assert_eq!(messages("a", &told([false; 3], 0)), Vec::<String>::new());
}

#[test]
fn what_another_version_tells_is_left() {
    let listeners = listeners(Arc::default());
    let mut changes = listeners.changes.subscribe();
    for odd in [
        "",
        "b",
        "b 1",
        "b 000\n1",
        "b 000\nx sent lead-1",
        "b 000\n1 flying lead-1",
        "b 000\n1 sent ",
    ] {
        hear(odd, "a", &listeners);
    }
    assert!(changes.try_recv().is_err());
}

#[test]
fn callers_are_answered_before_the_server_ends_a_statement() {
    for begin in [BEGIN, READ] {
        let limit = |name: &str| {
            let (_, value) = begin.split_once(&format!("{name} = '")).unwrap();
            Duration::from_secs(value.split_once("s'").unwrap().0.parse().unwrap())
        };
        assert!(STORE_TIMEOUT < limit("lock_timeout"));
        assert!(
            limit("lock_timeout") < limit("statement_timeout"),
            "it would never be met"
        );
        assert!(limit("statement_timeout") < Duration::from_secs(30), "Sanity gives up");
    }
}

#[test]
fn a_step_of_the_server_s_clock_is_told_from_a_slow_answer() {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let reading = |asked, said, answered| Reading {
        asked: at(asked),
        said: at(said),
        answered: at(answered),
    };
    let before = reading(100, 1000, 110);
    for (later, step) in [
        (reading(200, 1095, 201), 0),
        (reading(200, 1101, 201), 0),
        (reading(200, 4600, 201), 3499),
        (reading(200, 0, 201), -1090),
        (reading(200, 1090, 299), 0),
        (reading(200, 1089, 299), -1),
    ] {
        assert_eq!(before.step(&later), SignedDuration::from_secs(step));
    }
}
