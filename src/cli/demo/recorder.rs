//! Takes down what the stand-ins hold and saw, and what the service has written.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::checker::{Asked, Evidence, Rules, Trace};
use super::child::Log;
use super::fixtures::{self, BAD};
use super::watcher::Api;
use super::{ADMIN_TOKEN, Stage};

/// The service's clock and the stand-ins' are two: both began at the machine's time, and a machine corrects its time by
/// less than this while a demo runs.
const SLACK: Duration = Duration::from_millis(20);

/// A lead is read right before its tag, and the tag then takes a call.
const GLANCE: Duration = Duration::from_secs(1);

/// The beginning of every access token that Bigin's stand-in grants.
const ACCESS_TOKEN: &str = "1000.a0000";

pub(super) async fn collect(stage: &Stage, api: &Api, folder: &Path, log: &Log) -> Evidence {
    let traces = traces(api, folder, log).await;
    let ledger = api.ledger().await;
    // Before the models are locked, since it asks them too.
    let private = private(stage);
    let crm = stage.bigin.model();
    let lake = stage.sanity.model();
    let id = |document: &crate::fake::sanity::Document| {
        let id = document.get("_id").and_then(serde_json::Value::as_str);
        id.unwrap_or_default().to_owned()
    };
    Evidence {
        rules: rules(stage),
        asked: asked(stage),
        documents: lake
            .documents()
            .map(|document| (id(document), document.clone()))
            .collect(),
        transactions: lake.transactions.clone(),
        deliveries: lake.deliveries.clone(),
        contacts: crm
            .contacts()
            .map(|(id, contact)| (id.to_owned(), contact.clone()))
            .collect(),
        removed: BTreeSet::new(),
        changes: crm.changes.clone(),
        calls: crm.calls.clone(),
        grants: crm.grants(),
        ledger,
        traces,
        private,
    }
}

fn rules(stage: &Stage) -> Rules {
    Rules {
        tag_delay: stage.tag_delay,
        slack: SLACK,
        glance: GLANCE,
        tags: vec!["DBR_Dashboard_Import".to_owned()],
        most_grants: 1,
        most_in_flight: 4,
        // Sanity delivers one webhook after the other, and on a slow disk each takes a while: not all of the crowd are
        // there when a call leaves, but some are.
        together: (stage.cast.crowd.len() / 4).clamp(1, 10),
        by_phone: true,
        region: "GB".to_owned(),
    }
}

fn asked(stage: &Stage) -> Vec<Asked> {
    let asked = stage.cast.all().map(|lead| Asked {
        id: lead.id.clone(),
        name: lead.name.clone(),
        end: Some("SENT"),
        may_fail: lead.id == BAD,
    });
    asked.collect()
}

fn private(stage: &Stage) -> Vec<String> {
    let tokens = [
        stage.sanity.token().to_owned(),
        stage.sanity.webhook_secret().to_owned(),
        stage.bigin.client_secret(),
        stage.bigin.refresh_token(),
        ACCESS_TOKEN.to_owned(),
        ADMIN_TOKEN.to_owned(),
    ];
    fixtures::private_texts(&stage.cast).into_iter().chain(tokens).collect()
}

/// The log, the files, and what the service answers to whoever asks.
async fn traces(api: &Api, folder: &Path, log: &Log) -> Vec<Trace> {
    let mut answers = String::new();
    for path in ["/livez", "/readyz", "/api/health", "/api/syncs?limit=200"] {
        let answer = api.get(path).await.map(|answer| answer.to_string());
        answers.push_str(&answer.unwrap_or_default());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // The lock beside the database may not be readable while it is held.
        files.extend(std::fs::read(entry.path()).unwrap_or_default());
    }
    let trace = |name: &str, bytes: Vec<u8>| Trace {
        name: name.to_owned(),
        bytes,
    };
    vec![
        trace("the log", log.text().into_bytes()),
        trace("the database", files),
        trace("answers", answers.into_bytes()),
    ]
}
