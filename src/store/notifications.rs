//! Who is notified of a commit: the workers of this process, those who watch, and the other replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use super::Change;
use crate::domain::lead::LeadId;
use crate::domain::state::State;
use crate::domain::sync::SyncId;
use crate::metrics::Metrics;

/// Changes a slow watcher may be behind by before it misses some.
const WATCHED_CHANGES: usize = 1024;

/// What is to happen once a transaction is committed.
#[derive(Default, Clone)]
pub(super) struct AfterCommit {
    pub(super) wake: [bool; 3],
    pub(super) changes: Vec<Change>,
    pub(super) left: Vec<(&'static str, Duration)>,
    pub(super) ended: Vec<(&'static str, Duration)>,
    pub(super) counts: BTreeMap<&'static str, i64>,
}

/// Whom to notify after a commit.
#[derive(Clone)]
pub(super) struct Listeners {
    pub(super) stages: Arc<[Notify; 3]>,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) metrics: Arc<Metrics>,
}

impl Listeners {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let (changes, _) = broadcast::channel(WATCHED_CHANGES);
        Self {
            stages: Arc::new(std::array::from_fn(|_| Notify::new())),
            changes,
            metrics,
        }
    }
}

/// Where replicas notify each other of what they have committed.
pub(super) const CHANNEL: &str = "bigin_sync";

/// Longest text of one message to the others; PostgreSQL takes 8000 bytes.
pub(super) const MESSAGE: usize = 7000;

/// What one commit is worth telling the other replicas: whose it is, the stages to wake, and the changes of state, in as
/// many messages as they need. A wake-up only: a worker that misses one finds the work by its own clock.
pub(super) fn messages(name: &str, after: &AfterCommit) -> Vec<String> {
    let wake: String = after.wake.iter().map(|wake| if *wake { '1' } else { '0' }).collect();
    let mut messages = Vec::new();
    let mut message = format!("{name} {wake}");
    for change in &after.changes {
        let line = format!("\n{} {} {}", change.sync, change.state, change.lead);
        if message.len() + line.len() > MESSAGE {
            messages.push(std::mem::replace(&mut message, format!("{name} 000")));
        }
        message.push_str(&line);
    }
    if after.wake.contains(&true) || !after.changes.is_empty() {
        messages.push(message);
    }
    messages
}

/// Passes on what another replica has sent. What makes no sense comes from another version, and is left.
pub(super) fn receive(message: &str, own: &str, listeners: &Listeners) {
    let mut lines = message.lines();
    let Some((name, wake)) = lines.next().and_then(|line| line.split_once(' ')) else {
        return;
    };
    if name == own {
        return;
    }
    for (stage, wake) in listeners.stages.iter().zip(wake.chars()) {
        if wake == '1' {
            stage.notify_one();
        }
    }
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (Some(sync), Some(state), Some(lead)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let state = State::LABELS.into_iter().find(|label| *label == state);
        if let (Ok(sync), Some(state), Ok(lead)) = (sync.parse(), state, LeadId::parse(lead)) {
            // There may be no receiver.
            let _ = listeners.changes.send(Change {
                sync: SyncId(sync),
                lead,
                state,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_commit(wake: [bool; 3], changes: usize) -> AfterCommit {
        let change = |number: usize| Change {
            sync: SyncId(i64::try_from(number).unwrap()),
            lead: LeadId::parse(&format!("lead-{number}")).unwrap(),
            state: "sent",
        };
        AfterCommit {
            wake,
            changes: (0..changes).map(change).collect(),
            ..AfterCommit::default()
        }
    }

    #[tokio::test]
    async fn what_one_replica_tells_the_others_hear_and_itself_does_not() {
        let listeners = Listeners::new(Arc::default());
        let mut changes = listeners.changes.subscribe();
        let messages = messages("a", &after_commit([false, true, false], 1000));
        assert!(messages.len() > 1 && messages.iter().all(|message| message.len() <= MESSAGE));
        for message in &messages {
            receive(message, "a", &listeners);
        }
        assert!(changes.try_recv().is_err(), "its own");
        for message in &messages {
            receive(message, "b", &listeners);
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
        assert_eq!(messages("a", &after_commit([false; 3], 0)), Vec::<String>::new());
    }

    #[test]
    fn what_another_version_tells_is_left() {
        let listeners = Listeners::new(Arc::default());
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
            receive(odd, "a", &listeners);
        }
        assert!(changes.try_recv().is_err());
    }
}
