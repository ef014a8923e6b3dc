//! The API for people and programs with the admin token: syncs are listed, looked at and opened.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::{State, problem};
use crate::domain::breaker::Open;
use crate::domain::lead::LeadId;
use crate::domain::state::State as SyncState;
use crate::domain::sync::{Source, SyncId};
use crate::store::{Accepted, Filter, HistoryEntry, SyncView};

/// Syncs of a page, where the request does not say.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 200;

/// Lets a request pass that carries the admin token.
pub(super) async fn authorize(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let token = request
        .app_data::<web::Data<State>>()
        .and_then(|state| state.admin_token.clone());
    let Some(token) = token else {
        let response = problem::answer(404, "The API is off: set ADMIN_TOKEN to turn it on.");
        return Ok(request.into_response(response).map_into_right_body());
    };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .map(HeaderValue::as_bytes)
        .and_then(|value| {
            let (scheme, token) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
    if given.is_some_and(|given| bool::from(given.ct_eq(token.expose_secret().as_bytes()))) {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    let mut response = problem::answer(401, "Send the admin token: `Authorization: Bearer …`.");
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Ok(request.into_response(response).map_into_right_body())
}

/// A sync, as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SyncJson {
    id: SyncId,
    lead_id: LeadId,
    state: &'static str,
    contact_id: Option<String>,
    action: Option<&'static str>,
    reason: Option<String>,
    tag_not_before: Option<Timestamp>,
    last_synced_at: Option<Timestamp>,
    requests: u32,
    by_person: bool,
    edits: u32,
    attempts: u32,
    last_problem: Option<String>,
    due_at: Option<Timestamp>,
    opened_at: Timestamp,
    changed_at: Timestamp,
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<HistoryEntry>>,
}

impl SyncJson {
    pub(super) fn new(view: SyncView, history: Option<Vec<HistoryEntry>>) -> Self {
        let SyncView { sync, changed_at } = view;
        let state = &sync.state;
        let (action, last_synced_at) = match state {
            SyncState::Upserted { delivered, .. } => (Some(delivered.action.label()), None),
            SyncState::Tagged {
                delivered, synced_at, ..
            }
            | SyncState::Sent { delivered, synced_at } => (Some(delivered.action.label()), Some(*synced_at)),
            _ => (None, None),
        };
        Self {
            id: sync.id,
            state: state.label(),
            contact_id: state.contact().map(ToString::to_string),
            action,
            reason: match state {
                SyncState::Rejected { reason, .. } | SyncState::Failed { reason, .. } => Some(reason.clone()),
                SyncState::Cancelled { by } => Some(format!("cancelled by {}", by.label())),
                _ => None,
            },
            tag_not_before: match state {
                SyncState::Upserted { tag_not_before, .. } => Some(*tag_not_before),
                _ => None,
            },
            last_synced_at,
            requests: sync.requests.count,
            by_person: sync.requests.by_person,
            edits: sync.edits,
            attempts: sync.failures.count,
            last_problem: sync.failures.last,
            due_at: sync.finished_at.is_none().then_some(sync.due_at),
            opened_at: sync.opened_at,
            finished_at: sync.finished_at,
            lead_id: sync.lead,
            changed_at,
            history,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    state: Option<String>,
    lead: Option<String>,
    before: Option<i64>,
    limit: Option<usize>,
}

/// Newest first. `next` is the `before` of the next page; it stays good while syncs are opened.
pub(super) async fn list(query: web::Query<ListQuery>, state: web::Data<State>) -> HttpResponse {
    let query = query.into_inner();
    if let Some(label) = query
        .state
        .as_deref()
        .filter(|label| !SyncState::LABELS.contains(label))
    {
        let detail = format!(
            "There is no state {label:?}: there are {}.",
            SyncState::LABELS.join(", ")
        );
        return problem::answer(400, &detail);
    }
    let lead = match query.lead.as_deref().map(LeadId::parse).transpose() {
        Ok(lead) => lead,
        Err(error) => return problem::answer(400, &format!("The lead is {error}.")),
    };
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let filter = Filter {
        state: query.state,
        lead,
        before: query.before.map(SyncId),
        ..Filter::default()
    };
    match state.store.list(filter, limit).await {
        Ok(views) => {
            let next = (views.len() == limit)
                .then(|| views.last().map(|view| view.sync.id))
                .flatten();
            let syncs: Vec<_> = views.into_iter().map(|view| SyncJson::new(view, None)).collect();
            HttpResponse::Ok().json(json!({ "syncs": syncs, "next": next }))
        }
        Err(error) => problem::unavailable(&error),
    }
}

pub(super) async fn one(id: web::Path<i64>, state: web::Data<State>) -> HttpResponse {
    match state.store.sync(SyncId(*id)).await {
        Ok(Some((view, history))) => HttpResponse::Ok().json(SyncJson::new(view, Some(history))),
        Ok(None) => problem::answer(404, "There is no such sync, or it has been forgotten (RETENTION)."),
        Err(error) => problem::unavailable(&error),
    }
}

#[derive(Deserialize)]
pub(super) struct OpenBody {
    #[serde(rename = "leadId")]
    pub(super) lead_id: String,
}

/// Opens a sync, or joins the active one, and does not wait for it.
pub(super) async fn open(body: web::Json<OpenBody>, state: web::Data<State>) -> HttpResponse {
    let id = match request(&state, &body.lead_id).await {
        Ok(id) => id,
        Err(response) => return response,
    };
    match state.store.sync(id).await {
        Ok(Some((view, _))) => HttpResponse::Accepted().json(SyncJson::new(view, None)),
        Ok(None) => HttpResponse::Accepted().json(json!({ "id": id })),
        Err(error) => problem::unavailable(&error),
    }
}

/// A person's request for a sync.
pub(super) async fn request(state: &State, lead_id: &str) -> Result<SyncId, HttpResponse> {
    let lead = LeadId::parse(lead_id).map_err(|error| problem::answer(400, &format!("The leadId is {error}.")))?;
    match state.store.request(lead.clone(), Source::Person, None).await {
        Ok(Accepted::Opened(id) | Accepted::Joined(id)) => {
            tracing::info!(sync_id = %id, lead_id = %lead, "sync {id} of lead {lead}: requested by a person");
            Ok(id)
        }
        // Only deliveries and reconciliation have repeats.
        Ok(Accepted::Repeat) => Err(problem::answer(500, "The request was taken for a repeat.")),
        Err(error) => Err(problem::unavailable(&error)),
    }
}

/// The ledger of promise 1, whether it balances, and the services that take no work now.
pub(super) async fn health(state: web::Data<State>) -> HttpResponse {
    let (ledger, breakers) = match (state.store.ledger().await, state.store.open_breakers().await) {
        (Ok(ledger), Ok(breakers)) => (ledger, breakers),
        (Err(error), _) | (_, Err(error)) => return problem::unavailable(&error),
    };
    let breakers = breakers.into_iter().filter_map(|breaker| {
        let Open {
            since,
            until,
            code,
            message,
        } = breaker.open?;
        let remote = breaker.remote.label();
        Some(json!({ "remote": remote, "since": since, "until": until, "code": code, "message": message }))
    });
    HttpResponse::Ok().json(json!({
        "ledger": ledger,
        "balances": ledger.balances(),
        "breakers": breakers.collect::<Vec<_>>(),
    }))
}
