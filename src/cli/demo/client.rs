//! A client of the service's API, which reads what a dashboard would.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::api_types::{Health, Page, SyncJson};
use crate::http_client;
use crate::store::Ledger;

/// On one machine an answer is quick, or does not come.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The service's state at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) is_up: bool,
    /// The newest sync of each lead; while the service is down, of the time before.
    pub(super) syncs: BTreeMap<String, SyncJson>,
}

impl Snapshot {
    /// The state of a lead's newest sync.
    pub(super) fn state(&self, lead: &str) -> Option<&str> {
        self.syncs.get(lead).map(|sync| &*sync.state)
    }

    /// The number of syncs whose tag is due after `now`.
    pub(super) fn waiting_to_tag(&self, now: Timestamp) -> usize {
        let tags = self.syncs.values().filter_map(|sync| sync.tag_not_before);
        tags.filter(|tag| *tag > now).count()
    }
}

#[derive(Clone)]
pub(super) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) url: String,
    pub(super) token: String,
}

impl Client {
    /// The body of a successful answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer = http_client::send(request, CALL_TIMEOUT).await.ok()?;
        serde_json::from_value(answer.json.filter(|_| answer.status.is_success())?).ok()
    }

    pub(super) async fn ledger(&self) -> Option<Ledger> {
        Some(self.get::<Health>("/api/health").await?.ledger)
    }

    /// The newest sync of each lead.
    pub(super) async fn syncs(&self) -> Option<BTreeMap<String, SyncJson>> {
        let mut newest = BTreeMap::new();
        let mut path = "/api/syncs?limit=200".to_owned();
        loop {
            let page: Page = self.get(&path).await?;
            for sync in page.syncs {
                newest.entry(sync.lead_id.to_string()).or_insert(sync);
            }
            match page.next {
                Some(before) => path = format!("/api/syncs?limit=200&before={before}"),
                None => return Some(newest),
            }
        }
    }
}
