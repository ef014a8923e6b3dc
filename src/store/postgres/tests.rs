//! Tests of what needs no server: how statements are written for it, and what replicas tell each other.

use tokio::sync::Notify;

use super::*;

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
