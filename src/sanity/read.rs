//! Reading leads with all their drafts and versions: `GET /data/doc/{dataset}/{ids}?includeAllVersions=true`, which "cuts
//! through any caching/indexing" (Sanity's docs, HTTP doc).
//!
//! Leads have no limit of their own in bytes (Sanity's documents have: 32 MB), so an answer has: leads are read in parts,
//! each within [`SanitySettings::max_answer`](crate::config::SanitySettings), and how many ids make a part is remembered. All readers of the
//! process share a budget of two such answers, and one at a time parses its part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::documents::{DocAnswer, RawDocument, Read, RevisionRead};
use super::{Sanity, answer};
use crate::domain::failure::{CallError, Remote, ServiceError, ServiceErrorKind, TransportError};
use crate::domain::lead::{LeadId, LeadRead};
use crate::http_client::{self, Call, Deadline, Operation, RawAnswer};

/// Maximum size of an answer with leads, in bytes, unless the client has another. A lead that exceeds it by itself, with its
/// drafts and versions, cannot be read.
pub const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Most leads of one call.
const MAX_IDS: usize = 100;

/// Most bytes of ids in one URL: Sanity takes 15 KB of headers (Sanity's docs, technical limits), many proxies 8 KiB.
const IDS_IN_URL: usize = 7500;

/// Answers with leads that the process holds at once.
const ANSWERS_AT_ONCE: usize = 2;

/// Why a part was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Other reads of this process held the budget until the deadline: it is not Sanity's doing.
    #[error("other reads took too long")]
    Busy,
    /// The call for the first `ids` of the leads failed.
    #[error("{error}")]
    Failed {
        /// How many leads were asked for.
        ids: usize,
        /// How it failed; it is [`ServiceErrorKind::Unauthorized`] where the token may read no lead at all.
        error: CallError,
    },
}

impl ReadError {
    /// The failure for callers that do not tell the two apart.
    pub fn into_error(self) -> CallError {
        match self {
            Self::Failed { error, .. } => error,
            Self::Busy => CallError::ambiguous("busy", "other reads took too long", None),
        }
    }
}

/// What the reads of a client share.
pub(super) struct Reading {
    max_answer: usize,
    /// In bytes.
    budget: Semaphore,
    /// Most ids of the next part.
    part: AtomicUsize,
    /// A parsed document takes many times its bytes, so one reader at a time has one.
    parsing: Mutex<()>,
    /// An answer without content had no revisions.
    lacks_revisions: AtomicBool,
}

impl Reading {
    pub(super) fn new(max_answer: usize) -> Self {
        // A semaphore's permits are counted in 32 bits where several are taken.
        let max_answer = max_answer.min(1 << 30);
        Self {
            max_answer,
            budget: Semaphore::new(max_answer * ANSWERS_AT_ONCE),
            part: AtomicUsize::new(MAX_IDS),
            parsing: Mutex::new(()),
            lacks_revisions: AtomicBool::new(false),
        }
    }

    /// Room for one answer.
    pub(super) async fn room(&self, deadline: &Deadline) -> Result<SemaphorePermit<'_>, ReadError> {
        let bytes = u32::try_from(self.max_answer).unwrap_or(u32::MAX);
        // The call after it needs the other half.
        match timeout(deadline.left() / 2, self.budget.acquire_many(bytes)).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(ReadError::Busy),
        }
    }

    /// The ids of the next part.
    fn part<'i>(&self, ids: &'i [LeadId]) -> &'i [LeadId] {
        let most = self.part.load(Ordering::Relaxed);
        &ids[..in_url(ids).min(most)]
    }

    /// A part of so many ids was too large, or took too long.
    fn shrink(&self, ids: usize) {
        self.part.fetch_min((ids / 2).max(1), Ordering::Relaxed);
    }

    /// A part of so many ids came to so many bytes.
    fn grow(&self, ids: usize, bytes: usize) {
        if bytes <= self.max_answer / 2 {
            let larger = (ids + ids / 4 + 1).min(MAX_IDS);
            // Where another reader has changed it meanwhile, that one knows better.
            let _ = self
                .part
                .compare_exchange(ids, larger, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Sanity {
    /// Reads the first of `ids`, which are distinct, as they are at this moment: as many as an answer is likely to have room
    /// for, and at least one. Returns them in their order. `visit` is called for every lead that Sanity has or says does not
    /// exist; a lead that was deleted or unpublished, or has another `_type`, has no [`LeadRead::published`]. What it keeps
    /// counts: the document is dropped after it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_part<T>(
        &self,
        ids: &[LeadId],
        deadline: Duration,
        mut visit: impl FnMut(&LeadId, LeadRead, Option<RawDocument<'_>>) -> T + Send,
    ) -> Result<Vec<(LeadId, Read<T>)>, ReadError> {
        let deadline = Deadline::new(&self.clock, deadline);
        let (part, read) = loop {
            let permit = self.reading.room(&deadline).await?;
            let part = self.reading.part(ids);
            let failed = |error| ReadError::Failed { ids: part.len(), error };
            let raw = match self.ask(part, &[("includeAllVersions", "true")], &deadline).await {
                Ok(raw) => raw,
                Err(TransportError::TooLarge) => {
                    self.reading.shrink(part.len());
                    match part {
                        [lead] => return Ok(vec![(lead.clone(), Read::TooLarge)]),
                        _ => continue,
                    }
                }
                Err(error) => {
                    // A service that is slow for each lead answers for fewer.
                    if !error.never_sent() {
                        self.reading.shrink(part.len());
                    }
                    return Err(failed(error.into_call_error(Remote::Sanity)));
                }
            };
            let answer = self.judged(&raw).map_err(failed)?;
            let parsing = self.reading.parsing.lock().await;
            let read = answer.by_lead(part, &self.lead_type, &mut visit).map_err(failed)?;
            self.reading.grow(part.len(), raw.body.len());
            drop((parsing, permit));
            break (part, read);
        };
        if part.is_empty() || read.iter().any(|(_, read)| matches!(read, Read::Answered(_))) {
            return Ok(read);
        }
        let failed = |error| ReadError::Failed { ids: part.len(), error };
        if self.reads_others(part, &deadline).await.map_err(failed)? {
            return Ok(read);
        }
        let denied = read.iter().any(|(_, read)| matches!(read, Read::Denied));
        let error = match denied {
            true => token_refused(),
            false => {
                CallError::unreadable("Sanity's answer has none of the leads, and does not say that they do not exist")
            }
        };
        Err(failed(error))
    }

    /// Reads leads in as many parts as it takes.
    ///
    /// # Errors
    /// [`CallError`]; what was read by then is dropped.
    pub async fn read<T>(
        &self,
        ids: &[LeadId],
        deadline: Duration,
        mut visit: impl FnMut(&LeadId, LeadRead, Option<RawDocument<'_>>) -> T + Send,
    ) -> Result<BTreeMap<LeadId, Read<T>>, CallError> {
        let deadline = Deadline::new(&self.clock, deadline);
        let distinct: BTreeSet<&LeadId> = ids.iter().collect();
        let ids: Vec<LeadId> = distinct.into_iter().cloned().collect();
        let mut leads = BTreeMap::new();
        let mut rest = ids.as_slice();
        while !rest.is_empty() {
            let part = self.read_part(rest, deadline.left(), &mut visit).await;
            let part = part.map_err(ReadError::into_error)?;
            rest = &rest[part.len().max(1)..];
            leads.extend(part);
        }
        Ok(leads)
    }

    /// The revisions of published leads, without their content (`excludeContent=true`), of as many as exist. `None` where
    /// Sanity's answers do not carry them: Sanity's docs do not say whether they do, so the first answer tells.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn revisions(
        &self,
        ids: &[LeadId],
        deadline: Duration,
    ) -> Result<Option<BTreeMap<LeadId, RevisionRead>>, ReadError> {
        let deadline = Deadline::new(&self.clock, deadline);
        let mut revisions = BTreeMap::new();
        let mut rest = ids;
        while !rest.is_empty() && !self.reading.lacks_revisions.load(Ordering::Relaxed) {
            let (part, others) = rest.split_at(in_url(rest));
            let failed = |error| ReadError::Failed { ids: part.len(), error };
            let _permit = self.reading.room(&deadline).await?;
            let options = [("includeAllVersions", "true"), ("excludeContent", "true")];
            let found = match self.ask(part, &options, &deadline).await {
                Ok(raw) => self.judged(&raw).map_err(failed)?.revisions(part),
                // Then it has the content.
                Err(TransportError::TooLarge) => None,
                Err(error) => return Err(failed(error.into_call_error(Remote::Sanity))),
            };
            match found {
                Some(found) => revisions.extend(found),
                None => self.reading.lacks_revisions.store(true, Ordering::Relaxed),
            }
            rest = others;
        }
        Ok(rest.is_empty().then_some(revisions).filter(|_| !self.lacks_revisions()))
    }

    /// Whether an answer without content has been seen to carry no revisions.
    pub fn lacks_revisions(&self) -> bool {
        self.reading.lacks_revisions.load(Ordering::Relaxed)
    }

    /// One call for these leads.
    async fn ask(
        &self,
        ids: &[LeadId],
        options: &[(&str, &str)],
        deadline: &Deadline,
    ) -> Result<RawAnswer, TransportError> {
        let names: Vec<&str> = ids.iter().map(LeadId::as_str).collect();
        let url = format!("{}/doc/{}/{}", self.base, self.dataset, names.join(","));
        let request = self.http.get(url).query(options);
        let call = Call {
            operation: Operation::Doc,
            of: ids.len(),
        };
        let label = |raw: &RawAnswer| match self.judged(raw) {
            Ok(_) => http_client::OK,
            Err(error) => error.label(),
        };
        let request = self.authorised(request);
        let max_answer = self.reading.max_answer;
        self.calls.send_raw(call, request, deadline, max_answer, label).await
    }

    /// Whether Sanity says of a lead's published document, by itself, that it does not exist.
    pub(super) async fn is_deleted(&self, id: &LeadId, deadline: &Deadline) -> Result<bool, CallError> {
        let ids = std::slice::from_ref(id);
        let _permit = self.reading.room(deadline).await.map_err(ReadError::into_error)?;
        let raw = match self.ask(ids, &[], deadline).await {
            Ok(raw) => raw,
            Err(TransportError::TooLarge) => return Ok(false),
            Err(error) => return Err(error.into_call_error(Remote::Sanity)),
        };
        let is_gone = |_: &LeadId, lead: LeadRead, _: Option<RawDocument<'_>>| lead.published.is_none();
        let read = self.judged(&raw)?.by_lead(ids, &self.lead_type, &mut { is_gone })?;
        Ok(matches!(read.first(), Some((_, Read::Answered(true)))))
    }

    fn judged<'a>(&self, raw: &'a RawAnswer) -> Result<DocAnswer<'a>, CallError> {
        let answer = DocAnswer::of(&raw.body).filter(|_| raw.status.is_success());
        answer.ok_or_else(|| answer::raw_failure(raw, &self.dataset))
    }

    /// Whether another lead can be read. An answer that has none of the leads is the service's fault where it has no other
    /// lead either, and theirs where it has: without this, a lead that is asked for alone could pause all of them for good.
    async fn reads_others(&self, ids: &[LeadId], deadline: &Deadline) -> Result<bool, CallError> {
        // What the service as a whole says of this call, like how long to wait, is more than what is known without it.
        let heed = |error| match error {
            CallError::Service(_) => Err(error),
            _ => Ok(false),
        };
        let latest = match self.latest(ids.len() + 1, deadline.left()).await {
            Ok(latest) => latest,
            Err(error) => return heed(error),
        };
        let Some(other) = latest.iter().find(|id| !ids.contains(id)) else {
            return Ok(false);
        };
        let Ok(_permit) = self.reading.room(deadline).await else {
            return Ok(false);
        };
        match self.ask(std::slice::from_ref(other), &[], deadline).await {
            Ok(raw) => self.judged(&raw).map_or_else(heed, |answer| Ok(answer.has_documents())),
            Err(error) => Ok(error == TransportError::TooLarge),
        }
    }
}

fn token_refused() -> CallError {
    CallError::Service(
        ServiceError::new(
            Remote::Sanity,
            ServiceErrorKind::Unauthorized,
            "permission",
            "SANITY_API_WRITE_TOKEN may not read the leads",
        )
        .with_action("give it the Editor role"),
    )
}

/// How many of the first ids one URL has room for. Ids need no escaping.
fn in_url(ids: &[LeadId]) -> usize {
    let mut length = 0;
    let fits = ids.iter().take(MAX_IDS).take_while(|id| {
        length += id.as_str().len() + 1;
        length <= IDS_IN_URL
    });
    fits.count()
}
