//! The API for people and programs with the admin token: syncs are listed, looked at and opened.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::problem::{self, ProblemDetails};
use super::{AppState, answer};
use crate::api_types::{Page, SyncJson};
use crate::domain::lead::{ContactId, LeadId};
use crate::domain::reject_reason::{ReasonKey, RejectReason};
use crate::domain::state::State as SyncState;
use crate::domain::sync::{Source, SyncId};
use crate::store::{Accepted, Filter, SyncEvent, SyncView};

/// Syncs of a page, where the request does not say.
const PAGE: u32 = 50;
const MAX_PAGE_SIZE: usize = 200;

impl SyncJson {
    pub(super) fn new(view: SyncView, events: Option<Vec<SyncEvent>>) -> Self {
        let SyncView {
            sync,
            changed_at,
            contact,
            next,
            dismissed_at,
        } = view;
        let state = &sync.state;
        let (action, last_synced_at) = match state {
            SyncState::Upserted { delivered, .. } => (Some(delivered.action.label().into()), None),
            SyncState::Tagged {
                delivered, synced_at, ..
            }
            | SyncState::Sent { delivered, synced_at } => (Some(delivered.action.label().into()), Some(*synced_at)),
            _ => (None, None),
        };
        let rejected = state.reason();
        Self {
            id: sync.id,
            state: state.label().into(),
            reason_code: rejected.map(|reason| reason.code().into()),
            reason_field: rejected.and_then(RejectReason::field).map(str::to_owned),
            advice: rejected.map(RejectReason::advice),
            contact_id: contact.map(|contact| contact.to_string()),
            next_sync: next,
            dismissed_at,
            unavailable: Vec::new(),
            action,
            reason: match state {
                SyncState::Rejected { reason, .. } | SyncState::Failed { reason, .. } => Some(reason.to_string()),
                SyncState::Cancelled { by } => Some(format!("cancelled by {}", by.label())),
                _ => None,
            },
            cancelled_by: match state {
                SyncState::Cancelled { by } => Some(by.label().into()),
                _ => None,
            },
            tag_not_before: match state {
                SyncState::Upserted { tag_not_before, .. } => Some(*tag_not_before),
                _ => None,
            },
            last_synced_at,
            requests: sync.requests.count,
            is_manual: sync.requests.is_manual || sync.requests.is_retry,
            edits: sync.edits,
            attempts: sync.attempts.count,
            last_error: sync.attempts.last_error.map(|error| error.to_string()),
            next_attempt_at: sync.finished_at.is_none().then_some(sync.next_attempt_at),
            created_at: sync.created_at,
            finished_at: sync.finished_at,
            lead_id: sync.lead,
            changed_at,
            events,
        }
    }
}

impl SyncJson {
    /// What it is filtered and retried by, where it was rejected.
    pub(super) fn reason_key(&self) -> Option<ReasonKey> {
        Some(ReasonKey {
            code: self.reason_code.as_deref()?.to_owned(),
            field: self.reason_field.clone(),
        })
    }
}

/// Which syncs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those in this state.
    #[param(pattern = "^(requested|upserted|tagged|rejected|sent|failed|lead_deleted|cancelled)$")]
    pub(super) state: Option<String>,
    /// Only those of this lead.
    #[param(pattern = r"^(?!drafts\.|versions\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
    pub(super) lead: Option<String>,
    /// Only those of this contact of Bigin.
    #[param(pattern = "^[0-9]{1,30}$")]
    pub(super) contact: Option<String>,
    /// Only those with this in the id of the lead or of the contact, in whatever case.
    #[param(pattern = r"^[^\x00]*$")]
    pub(super) part: Option<String>,
    /// Only those that were rejected with this code, or with this code and field: invalid_value, invalid_value:Email.
    #[param(pattern = r"^[^\x00]*$")]
    pub(super) reason: Option<String>,
    /// Only those before this one: `next` of the page before.
    pub(super) before: Option<i64>,
    /// How many, at most 200; 50 where nothing is said.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<u32>,
}

impl ListQuery {
    /// The same as the store understands it.
    fn filter(self) -> Result<Filter, HttpResponse> {
        if let Some(label) = self.state.as_deref().filter(|label| !SyncState::LABELS.contains(label)) {
            let detail = format!(
                "There is no state {label:?}: there are {}.",
                SyncState::LABELS.join(", ")
            );
            return Err(problem::answer(400, &detail));
        }
        let lead = match self.lead.as_deref().map(LeadId::parse).transpose() {
            Ok(lead) => lead,
            Err(error) => return Err(problem::answer(400, &format!("The lead is {error}."))),
        };
        let contact = match self.contact.as_deref() {
            None => None,
            Some(id) => match ContactId::parse(id) {
                Some(contact) => Some(contact),
                None => return Err(problem::answer(400, "The contact is not the id of a contact in Bigin.")),
            },
        };
        let texts = [&self.part, &self.reason];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(problem::answer(400, "part and reason must not contain a NUL byte."));
        }
        Ok(Filter {
            state: self.state,
            lead,
            contact,
            part: self.part.filter(|part| !part.is_empty()),
            reason: self.reason.as_deref().map(ReasonKey::parse),
            before: self.before.map(SyncId),
        })
    }
}

/// Lists syncs, newest first.
#[utoipa::path(get, path = "/api/syncs", tag = "syncs", params(ListQuery), responses(
    (status = 200, description = "A page of syncs", body = Page),
    (status = 400, description = "A parameter is invalid", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn list(query: web::Query<ListQuery>, state: web::Data<AppState>) -> HttpResponse {
    answer(page(&state, query.into_inner()).await)
}

/// One page, for the API and for people.
pub(super) async fn page(state: &AppState, query: ListQuery) -> Result<Page, HttpResponse> {
    let limit = usize::try_from(query.limit.unwrap_or(PAGE)).unwrap_or(usize::MAX);
    if !(1..=MAX_PAGE_SIZE).contains(&limit) {
        return Err(problem::answer(400, "The limit is from 1 to 200."));
    }
    let views = state.store.list(query.filter()?, limit).await?;
    let next = (views.len() == limit)
        .then(|| views.last().map(|view| view.sync.id))
        .flatten();
    let syncs = views.into_iter().map(|view| SyncJson::new(view, None)).collect();
    Ok(Page { syncs, next })
}

/// Shows one sync with everything that has happened to it.
#[utoipa::path(get, path = "/api/syncs/{id}", tag = "syncs", params(("id" = i64, Path, description = "The sync's number")), responses(
    (status = 200, description = "The sync with its history", body = SyncJson),
    (status = 404, description = "It does not exist, or was deleted after the retention period", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn one(id: web::Path<i64>, state: web::Data<AppState>) -> HttpResponse {
    answer(find(&state, SyncId(*id)).await)
}

/// One sync with its history, for the API and for people.
pub(super) async fn find(state: &AppState, id: SyncId) -> Result<SyncJson, HttpResponse> {
    let (view, events) = state.store.sync(id).await?.ok_or_else(missing)?;
    Ok(SyncJson::new(view, Some(events)))
}

/// One sync without its history.
pub(super) async fn brief(state: &AppState, id: SyncId) -> Result<SyncJson, HttpResponse> {
    let sync = find(state, id).await?;
    Ok(SyncJson { events: None, ..sync })
}

pub(super) fn missing() -> HttpResponse {
    problem::answer(
        404,
        "This sync doesn't exist, or was deleted after the retention period.",
    )
}

/// A lead to be sent.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LeadToSend {
    /// Sanity's id of the published lead.
    #[serde(rename = "leadId")]
    #[schema(pattern = r"^(?!drafts\.|versions\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
    pub(super) lead_id: String,
}

/// Creates a sync for a lead, or coalesces with its active one, and does not wait for the result.
///
/// The lead is sent whatever its crmStatus says.
#[utoipa::path(post, path = "/api/syncs", tag = "syncs", request_body = LeadToSend, responses(
    (status = 202, description = "The sync that carries it out", body = SyncJson),
    (status = 400, description = "There is no id of a lead in it", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn create(body: web::Json<LeadToSend>, state: web::Data<AppState>) -> HttpResponse {
    match request(&state, &body.lead_id).await {
        Ok(id) => accepted(&state, id).await,
        Err(response) => response,
    }
}

pub(super) async fn accepted(state: &AppState, id: SyncId) -> HttpResponse {
    match brief(state, id).await {
        Ok(sync) => HttpResponse::Accepted().json(sync),
        Err(response) => response,
    }
}

/// A person's request for a sync.
pub(super) async fn request(state: &AppState, lead_id: &str) -> Result<SyncId, HttpResponse> {
    let lead = LeadId::parse(lead_id).map_err(|error| problem::answer(400, &format!("The leadId is {error}.")))?;
    match state.store.request(lead.clone(), Source::Manual, None).await? {
        Accepted::Created(id) | Accepted::Coalesced(id) => {
            tracing::info!(sync_id = %id, lead_id = %lead, "sync {id} of lead {lead}: requested by the operator");
            Ok(id)
        }
        // Only deliveries and reconciliation have repeats.
        Accepted::Duplicate => Err(duplicate()),
    }
}

/// The answer that a request of an operator never gets.
pub(super) fn duplicate() -> HttpResponse {
    problem::answer(
        500,
        "Internal error: the request was treated as a duplicate. Please report it.",
    )
}
