//! Collects the evidence: what the simulated services contain and received, and what the service wrote.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::checker::{Evidence, RequestedLead, Rules, Trace};
use super::child::Log;
use super::client::Client;
use super::fixtures::{self, BAD};
use super::{ADMIN_TOKEN, Simulation};
use crate::domain::lead::SENT;

/// The service and the simulated services have clocks of their own, started from the machine's. The machine's time is
/// corrected by less than this during a demo.
const SLACK: Duration = Duration::from_millis(20);

/// A lead is read right before its tag, and the tag takes another call.
const MAX_READ_AGE: Duration = Duration::from_secs(1);

/// The beginning of every simulated access token.
const ACCESS_TOKEN: &str = "1000.a0000";

pub(super) async fn collect(simulation: &Simulation, client: &Client, folder: &Path, log: &Log) -> Evidence {
    let traces = traces(client, folder, log).await;
    let ledger = client.ledger().await;
    // Before the models are locked, since it locks them too.
    let private = private(simulation);
    let crm = simulation.bigin.model();
    let lake = simulation.sanity.model();
    let id = |document: &crate::fake::sanity::Document| {
        let id = document.get("_id").and_then(serde_json::Value::as_str);
        id.unwrap_or_default().to_owned()
    };
    Evidence {
        rules: rules(simulation),
        requested: requested(simulation),
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

fn rules(simulation: &Simulation) -> Rules {
    Rules {
        tag_delay: simulation.tag_delay,
        slack: SLACK,
        max_read_age: MAX_READ_AGE,
        tags: vec!["DBR_Dashboard_Import".to_owned()],
        max_grants: 1,
        max_in_flight: 4,
        // Sanity delivers one webhook at a time, slowly on a slow disk, so a call may leave before all leads have arrived.
        queued_together: (simulation.leads.others.len() / 4).clamp(1, 10),
        by_phone: true,
        region: "GB".to_owned(),
    }
}

fn requested(simulation: &Simulation) -> Vec<RequestedLead> {
    let requested = simulation.leads.all().map(|lead| RequestedLead {
        id: lead.id.clone(),
        name: lead.name.clone(),
        status: Some(SENT),
        may_fail: lead.id == BAD,
    });
    requested.collect()
}

fn private(simulation: &Simulation) -> Vec<String> {
    let tokens = [
        simulation.sanity.token().to_owned(),
        simulation.sanity.webhook_secret().to_owned(),
        simulation.bigin.client_secret(),
        simulation.bigin.refresh_token(),
        ACCESS_TOKEN.to_owned(),
        ADMIN_TOKEN.to_owned(),
    ];
    fixtures::private_texts(&simulation.leads)
        .into_iter()
        .chain(tokens)
        .collect()
}

/// The log, the files, and answers of the API.
async fn traces(client: &Client, folder: &Path, log: &Log) -> Vec<Trace> {
    let mut answers = String::new();
    for path in ["/livez", "/readyz", "/api/health", "/api/syncs?limit=200"] {
        let answer = client
            .get::<serde_json::Value>(path)
            .await
            .map(|answer| answer.to_string());
        answers.push_str(&answer.unwrap_or_default());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // The lock file beside the database may not be readable.
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
