//! Requests syncs. Requesting a lead twice is harmless: the second request joins the sync in progress.

use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::show::Show;
use crate::api_types::{Failures, Health, Page, Retried, SyncJson};
use crate::cli::api::{Api, ApiError, REQUEST_TIMEOUT};
use crate::cli::text::{count, plain};
use crate::domain::lead::LeadId;
use crate::domain::reject_reason::ReasonKey;
use crate::domain::sync::SyncId;
use crate::store::FailureGroup;

/// Concurrent requests: the service commits them in one transaction.
const MAX_CONCURRENCY: usize = 8;

/// A service that has answered before may be restarting.
const MAX_TRIES: u32 = 30;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// All failed leads are retried in one request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// Requests each lead. Returns the syncs in the order of the leads, and the error that stopped it early.
pub(super) async fn request_all(api: &Api, leads: &[LeadId], show: &mut Show) -> (Vec<SyncJson>, Option<ApiError>) {
    let Some((first, rest)) = leads.split_first() else {
        return (Vec::new(), None);
    };
    // Alone and without retries, so that a wrong URL is reported at once.
    let first = stream::once(request_one(api, first, 1));
    let rest = stream::iter(rest)
        .map(|lead| request_one(api, lead, MAX_TRIES))
        .buffered(MAX_CONCURRENCY);
    let mut results = std::pin::pin!(first.chain(rest));
    let mut syncs = Vec::new();
    while let Some(result) = results.next().await {
        match result {
            Ok(sync) => {
                show.accepted(&sync);
                syncs.push(sync);
            }
            Err(error) => return (syncs, Some(error)),
        }
    }
    (syncs, None)
}

async fn request_one(api: &Api, lead: &LeadId, max_tries: u32) -> Result<SyncJson, ApiError> {
    let body = json!({ "leadId": lead });
    let mut tries = 1;
    loop {
        match api.post("/api/syncs", &body, REQUEST_TIMEOUT).await {
            Err(error) if error.is_temporary && tries < max_tries => tokio::time::sleep(RETRY_INTERVAL).await,
            result => return result,
        }
        tries += 1;
    }
}

/// Failed leads that were not requested again, of one reason if one is given.
pub(super) struct Failed {
    pub(super) leads: u64,
    /// The most frequent reason first. All reasons where no lead failed for the given one.
    pub(super) groups: Vec<FailureGroup>,
}

pub(super) async fn failed(api: &Api, reason: Option<&str>) -> Result<Failed, ApiError> {
    let Failures { failures: mut groups } = api.get("/api/failures").await?;
    let Some(reason) = reason else {
        let health: Health = api.get("/api/health").await?;
        return Ok(Failed {
            leads: health.failed_leads,
            groups,
        });
    };
    let key = ReasonKey::parse(reason);
    let has_reason = |group: &FailureGroup| key.covers(&group.key());
    let leads = groups
        .iter()
        .filter(|group| has_reason(group))
        .map(|group| group.leads)
        .sum();
    if leads > 0 {
        groups.retain(has_reason);
    }
    Ok(Failed { leads, groups })
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: u64 = self.groups.iter().map(|group| group.leads).sum();
        match (self.leads, listed) {
            (0, 0) => return f.write_str("No failed leads. Nothing was sent."),
            (0, _) => f.write_str("No lead failed for this reason. Nothing was sent. Reasons:")?,
            (all, _) => write!(f, "{} failed and would be sent again. Reasons:", count(all, "lead"))?,
        }
        for group in &self.groups {
            write!(f, "\n{:>6}  {} ({})", group.leads, plain(&group.reason), group.key())?;
        }
        match self.leads.checked_sub(listed) {
            None | Some(0) => Ok(()),
            Some(others) => write!(f, "\n{others:>6}  other reasons"),
        }
    }
}

/// Retries all failed leads and returns their syncs.
pub(super) async fn retry(api: &Api, reason: Option<&str>) -> Result<Vec<SyncJson>, ApiError> {
    let newest: Page = api.get_with("/api/syncs", &[("limit", "1")]).await?;
    let before = newest.syncs.first().map_or(SyncId(0), |sync| sync.id);
    let body = json!({ "reason": reason });
    let retried: Retried = api.post("/api/syncs/retry", &body, RETRY_TIMEOUT).await?;
    // The answer is a number only: its syncs are the newest manual ones.
    let mut syncs: Vec<SyncJson> = Vec::new();
    let mut next = None;
    while syncs.len() < retried.retried {
        let mut query = vec![("limit", "200".to_owned())];
        query.extend(next.map(|id: SyncId| ("before", id.to_string())));
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let page: Page = api.get_with("/api/syncs", &query).await?;
        let is_last = page.syncs.last().is_none_or(|last| last.id <= before);
        let new = page.syncs.into_iter().filter(|sync| sync.id > before && sync.is_manual);
        syncs.extend(new);
        next = page.next;
        if is_last || next.is_none() {
            break;
        }
    }
    syncs.reverse();
    Ok(syncs)
}
