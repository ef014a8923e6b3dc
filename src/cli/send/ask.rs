//! Asks for syncs. To ask twice does no harm: whoever asks for a lead that is on its way joins it.

use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;

use super::show::Show;
use crate::cli::api::{Api, ApiError, FailureGroup, Failures, PATIENCE, Page, SyncJob, plain};
use crate::cli::progress::leads;
use crate::domain::lead::LeadId;

/// Requests at once: the service commits whatever has come in as one transaction.
const AT_ONCE: usize = 8;

/// A service that has answered before is waited for while it is started again.
const TRIES: u32 = 30;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// A great many failed leads are not asked for again within moments.
const PATIENCE_FOR_MANY: Duration = Duration::from_secs(120);

/// Asks for each lead. What was accepted, in the order of the leads, and why it ended before all were.
pub(super) async fn ask(api: &Api, all: &[LeadId], show: &mut Show) -> (Vec<SyncJob>, Option<ApiError>) {
    let Some((first, rest)) = all.split_first() else {
        return (Vec::new(), None);
    };
    // Alone and once, so that whoever has mistaken the address is told so at once.
    let first = stream::once(ask_for(api, first, 1));
    let rest = stream::iter(rest)
        .map(|lead| ask_for(api, lead, TRIES))
        .buffered(AT_ONCE);
    let mut asking = std::pin::pin!(first.chain(rest));
    let mut syncs = Vec::new();
    while let Some(asked) = asking.next().await {
        match asked {
            Ok(sync) => {
                show.accepted(&sync);
                syncs.push(sync);
            }
            Err(error) => return (syncs, Some(error)),
        }
    }
    (syncs, None)
}

async fn ask_for(api: &Api, lead: &LeadId, tries: u32) -> Result<SyncJob, ApiError> {
    let body = json!({ "leadId": lead });
    let mut tried = 1;
    loop {
        match api.post("/api/syncs", &body, PATIENCE).await {
            Err(error) if error.passing && tried < tries => tokio::time::sleep(BETWEEN_TRIES).await,
            asked => return asked,
        }
        tried += 1;
    }
}

/// The leads that have failed and that nobody has asked for again.
pub(super) struct Failed {
    /// How many there are of those that were meant.
    pub(super) leads: u64,
    /// For which reason how many failed, the most frequent first; of those that were meant, or of all where that is none.
    pub(super) groups: Vec<FailureGroup>,
}

/// What of the overview is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    failed_leads: u64,
}

/// Looks which leads have failed, for this very reason where one is given.
pub(super) async fn failed(api: &Api, reason: Option<&str>) -> Result<Failed, ApiError> {
    let Failures { failures: mut groups } = api.get("/api/failures").await?;
    let Some(reason) = reason else {
        let health: Health = api.get("/api/health").await?;
        return Ok(Failed {
            leads: health.failed_leads,
            groups,
        });
    };
    let meant = |group: &FailureGroup| group.reason == reason;
    let leads = groups.iter().find(|group| meant(group)).map_or(0, |group| group.leads);
    if leads > 0 {
        groups.retain(meant);
    }
    Ok(Failed { leads, groups })
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: u64 = self.groups.iter().map(|group| group.leads).sum();
        match (self.leads, listed) {
            (0, 0) => return f.write_str("No lead has failed: nothing is sent."),
            (0, _) => {
                f.write_str("No lead has failed for this very reason: nothing is sent. Leads have failed for:")?
            }
            (all, _) => write!(f, "{} would be sent again, which failed for:", leads(all))?,
        }
        for group in &self.groups {
            write!(f, "\n{:>6}  {}", group.leads, plain(&group.reason))?;
        }
        match self.leads.checked_sub(listed) {
            None | Some(0) => Ok(()),
            Some(others) => write!(f, "\n{others:>6}  other reasons"),
        }
    }
}

#[derive(Deserialize)]
struct Retried {
    retried: usize,
}

/// Asks for all failed leads again, and finds the syncs by which they are sent.
pub(super) async fn retry(api: &Api, reason: Option<&str>) -> Result<Vec<SyncJob>, ApiError> {
    let newest: Page = api.find("/api/syncs", &[("limit", "1")]).await?;
    let before = newest.syncs.first().map_or(0, |sync| sync.id);
    let retried: Retried = api
        .post("/api/syncs/retry", &json!({ "reason": reason }), PATIENCE_FOR_MANY)
        .await?;
    // The answer tells how many; they are the newest ones that a person has asked for.
    let mut syncs: Vec<SyncJob> = Vec::new();
    let mut next = None;
    while syncs.len() < retried.retried {
        let mut query = vec![("limit", "200".to_owned())];
        query.extend(next.map(|id: i64| ("before", id.to_string())));
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let page: Page = api.find("/api/syncs", &query).await?;
        let old = page.syncs.last().is_none_or(|last| last.id <= before);
        let news = page.syncs.into_iter().filter(|sync| sync.id > before && sync.is_manual);
        syncs.extend(news);
        next = page.next;
        if old || next.is_none() {
            break;
        }
    }
    syncs.reverse();
    Ok(syncs)
}
