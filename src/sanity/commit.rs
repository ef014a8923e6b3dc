//! Writing results back: many leads with all their drafts and versions in one transaction,
//! `POST /data/mutate/{dataset}` (Sanity's docs, HTTP mutations).

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Sanity;
use super::answer::{self, CommitError, Owner};
use crate::crypto;
use crate::domain::failure::{CallError, Remote, TransportError};
use crate::domain::lead::LeadId;
use crate::http_client::{Answer, Deadline, Operation};

/// Sanity takes 25 mutation requests a second from one address (Sanity's docs, technical limits); this makes 20.
const PACE: Duration = Duration::from_millis(50);

/// What is to be written to one lead.
pub struct WriteBack<'a> {
    /// The published document.
    pub lead: &'a LeadId,
    /// Its revision as read: nothing is written if it has changed since.
    pub rev: &'a str,
    /// Full ids of its draft and versions, which take the same fields whatever their revision.
    pub drafts_and_versions: &'a [String],
    /// Fields to set.
    pub set: &'a Map<String, Value>,
    /// Fields to remove.
    pub unset: &'a [&'static str],
}

#[derive(Serialize)]
struct MutateBody<'a> {
    mutations: &'a [Mutation<'a>],
    #[serde(rename = "transactionId")]
    transaction_id: &'a str,
}

#[derive(Serialize)]
struct Mutation<'a> {
    patch: Patch<'a>,
}

#[derive(Serialize)]
struct Patch<'a> {
    id: &'a str,
    #[serde(rename = "ifRevisionID", skip_serializing_if = "Option::is_none")]
    if_revision_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    set: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unset: &'a [&'static str],
}

impl Sanity {
    /// Commits all write-backs or none. Sending the same again is safe: the transaction's id is a hash of its content, which
    /// holds the revisions, and Sanity answers a repeat with `transactionAlreadyExistsError`, which is success here.
    ///
    /// At most 20 commits a second leave this client; the wait for one's turn is part of `deadline`.
    ///
    /// # Errors
    /// [`CommitError`]. After [`CallError::Ambiguous`] read the leads again: it may have been committed.
    pub async fn commit(&self, writes: &[WriteBack<'_>], deadline: Duration) -> Result<(), CommitError> {
        if writes.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::new(&self.clock, deadline);
        let (owners, mutations): (Vec<_>, Vec<_>) = mutations(writes).unzip();
        let transaction_id = transaction_id(&mutations);
        let body = MutateBody {
            mutations: &mutations,
            transaction_id: &transaction_id,
        };
        let url = format!("{}/mutate/{}", self.base, self.dataset);
        let options = [("returnIds", "true"), ("visibility", "async")];
        let request = self.http.post(url).query(&options).json(&body);
        self.wait_for_turn(&deadline).await?;
        let label = |answer: &Answer| answer::commit_label(answer, &self.dataset, &owners);
        let answer = self
            .send(Operation::Mutate, writes.len(), request, &deadline, label)
            .await?;
        answer::judge_commit(&answer, &self.dataset, &owners)
    }

    async fn wait_for_turn(&self, deadline: &Deadline) -> Result<(), CallError> {
        let turn = async {
            let mut pace = self.pace.lock().await;
            let pace = pace.get_or_insert_with(|| {
                let mut pace = interval(PACE);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                pace
            });
            pace.tick().await;
        };
        let waited = timeout(deadline.left(), turn).await;
        waited.map_err(|_| TransportError::NotSent.into_call_error(Remote::Sanity))
    }
}

/// The mutations, each with the place of the write-back it belongs to and the document it is of.
fn mutations<'a>(writes: &'a [WriteBack<'a>]) -> impl Iterator<Item = (Owner<'a>, Mutation<'a>)> {
    writes.iter().enumerate().flat_map(|(place, write)| {
        let published = (write.lead.as_str(), Some(write.rev));
        let drafts_and_versions = write.drafts_and_versions.iter().map(|id| (id.as_str(), None));
        std::iter::once(published)
            .chain(drafts_and_versions)
            .map(move |(id, if_revision_id)| {
                let patch = Patch {
                    id,
                    if_revision_id,
                    set: write.set,
                    unset: write.unset,
                };
                ((place, id), Mutation { patch })
            })
    })
}

/// `bigin-sync-` and the hash of the content: the same content has the same id, and another another, as Sanity demands.
fn transaction_id(mutations: &[Mutation<'_>]) -> String {
    // Text and JSON values always serialise.
    let content = serde_json::to_vec(mutations).unwrap_or_default();
    format!("bigin-sync-{}", crypto::hex(&crypto::sha256(&content)))
}
