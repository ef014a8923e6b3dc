//! Looks at the service through its own API, as a dashboard would, and tells whoever wants to know.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::progress::Progress;
use crate::cli::api::{Page, SyncJob};
use crate::http_client;
use crate::store::Ledger;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(100);

/// An answer comes from this machine; one that takes longer than this does not come.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the service says at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// It answered.
    pub(super) up: bool,
    /// The newest sync of each lead. While the service is down, what it said last.
    pub(super) syncs: BTreeMap<String, SyncJob>,
}

impl Seen {
    /// The state of a lead's newest sync.
    pub(super) fn state(&self, lead: &str) -> Option<&str> {
        self.syncs.get(lead).map(|sync| sync.state.as_str())
    }

    /// Until when tags wait, for those that still do at `now`.
    pub(super) fn waiting(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let tags = self.syncs.values().filter_map(|sync| sync.tag_not_before);
        tags.filter(move |tag| *tag > now)
    }
}

/// A caller of the service's API.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) client: reqwest::Client,
    pub(super) url: String,
    pub(super) token: String,
}

impl Api {
    /// The answer, where it is a good one.
    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer = http_client::send(request, PATIENCE).await.ok()?;
        answer.status.is_success().then_some(answer.json).flatten()
    }

    /// The ledger of promise 1.
    pub(super) async fn ledger(&self) -> Option<Ledger> {
        let health = self.get("/api/health").await?;
        serde_json::from_value(health.get("ledger")?.clone()).ok()
    }

    /// The newest sync of each lead.
    async fn syncs(&self) -> Option<BTreeMap<String, SyncJob>> {
        let mut newest = BTreeMap::new();
        let mut path = "/api/syncs?limit=200".to_owned();
        loop {
            let page: Page = serde_json::from_value(self.get(&path).await?).ok()?;
            for sync in page.syncs {
                newest.entry(sync.lead_id.clone()).or_insert(sync);
            }
            match page.next {
                Some(before) => path = format!("/api/syncs?limit=200&before={before}"),
                None => return Some(newest),
            }
        }
    }
}

/// Looks, shows and tells, and never ends.
pub(super) async fn watch(api: &Api, progress: &Progress, tell: watch::Sender<Seen>) -> anyhow::Result<()> {
    loop {
        let syncs = api.syncs().await;
        tell.send_modify(|seen| {
            seen.up = syncs.is_some();
            if let Some(syncs) = syncs {
                seen.syncs = syncs;
            }
        });
        progress.show(&tell.borrow());
        tokio::time::sleep(EVERY).await;
    }
}
