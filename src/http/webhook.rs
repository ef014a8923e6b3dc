//! Sanity's webhook: raw bytes → signature → stored → answered. Sanity tries again only after 429 and 5xx, so a request
//! that is good and cannot be stored must never be answered with another 4xx.

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::problem::{self, BROKEN_OFF, ProblemDetails};
use super::{AppState, connections};
use crate::domain::lead::{LeadId, REQUESTED, is_draft_or_version};
use crate::domain::sync::SyncId;
use crate::signature::{self, SignatureError};
use crate::store::{Accepted, Delivery};

/// The webhook's projection is five small fields; one without a projection is the whole lead, conversation included.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// A body beyond this takes its bytes from a budget that all of them share ([`LARGE_BODIES`](super::LARGE_BODIES)): its
/// signature can be verified only once it has been read.
pub(super) const SMALL_BODY: usize = 64 * 1024;

/// The part of the payload that is used. The rest is ignored: the lead is read from Sanity when it is due.
#[derive(Deserialize, ToSchema)]
#[schema(as = WebhookPayload)]
struct Payload {
    _id: String,
    _type: Option<String>,
    _rev: Option<String>,
    #[serde(rename = "_updatedAt")]
    updated_at: Option<String>,
    #[serde(rename = "crmStatus")]
    crm_status: Option<String>,
}

/// What became of a webhook.
#[derive(Debug, Serialize, ToSchema)]
struct Received {
    /// `created`, `coalesced`, `duplicate` or `ignored`.
    #[schema(value_type = String)]
    result: &'static str,
    /// The sync that carries it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    sync: Option<SyncId>,
    /// Why it was ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<&'static str>,
}

impl Received {
    fn new(result: &'static str) -> Self {
        Self {
            result,
            sync: None,
            reason: None,
        }
    }

    fn by(result: &'static str, sync: SyncId) -> Self {
        Self {
            sync: Some(sync),
            ..Self::new(result)
        }
    }
}

/// What was answered, in a word for metrics and spans, and the answer.
type Answered = (&'static str, HttpResponse);

/// Every word with every status it comes with.
pub(super) const ANSWERS: [[&str; 2]; 11] = [
    ["created", "202"],
    ["coalesced", "202"],
    ["duplicate", "200"],
    ["ignored", "200"],
    ["malformed", "400"],
    ["rejected", "400"],
    ["rejected", "401"],
    ["too_large", "413"],
    ["body_incomplete", "503"],
    ["busy", "503"],
    ["not_stored", "503"],
];

/// Takes a webhook of Sanity: checks its signature, stores the request, and answers.
#[utoipa::path(post, path = "/webhooks/sanity", tag = "webhook", security(()),
    params(
        ("sanity-webhook-signature" = String, Header, pattern = "^t=(1[7-9]|[2-9][0-9])[0-9]{11},v1=[A-Za-z0-9_-]{43}$", description = "Sanity's signature of the body"),
        ("idempotency-key" = Option<String>, Header, description = "Tells a repeat where the payload has no _rev"),
    ),
    request_body(content = Payload, description = "The webhook's projection"),
    responses(
        (status = 202, description = "Stored: it created a sync, or was coalesced into the active one", body = Received),
        (status = 200, description = "A duplicate, or ignored", body = Received),
        (status = 400, description = "Malformed", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "The signature is missing or wrong", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "Larger than 8 MiB", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be stored now, too many large bodies are being read, or it did not arrive whole: retry", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn receive(request: HttpRequest, body: web::Payload, state: web::Data<AppState>) -> HttpResponse {
    let span = tracing::info_span!(
        "webhook",
        otel.kind = "server",
        answer = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
    );
    let (answer, response) = take(&request, body, &state).instrument(span.clone()).await;
    let status = response.status();
    span.record("answer", answer);
    span.record("http.response.status_code", status.as_u16());
    let listed = ANSWERS
        .iter()
        .find(|[word, code]| *word == answer && *code == status.as_str());
    // A label is one of the program's own words, never one that a sender can invent.
    state.metrics.webhooks.add(listed.copied().unwrap_or([answer, "other"]));
    response
}

async fn take(request: &HttpRequest, body: web::Payload, state: &AppState) -> Answered {
    let headers = || request.headers().get_all(signature::HEADER).map(HeaderValue::as_bytes);
    // Before the body is read: a request without a signature costs no memory.
    let claimed = signature::sole_header(headers());
    if let Err(error) = claimed {
        return refused(state, error);
    }
    let body = match read(body, &state.large_bodies).await {
        Ok(body) => body,
        Err(answered) => return answered,
    };
    // Sanity signs by a clock of its own, so that one of ours which is ahead of the wall clock, for the sake of the store,
    // would make every signature look old.
    let verified = signature::verify(
        headers(),
        &body.bytes,
        &state.secrets,
        state.max_age,
        state.clock.wall(),
    );
    if let Err(error) = verified {
        return refused(state, error);
    }
    connections::authenticated(request);
    state.metrics.rejected_in_a_row.end();
    let Some(payload) = parse(&body.bytes) else {
        return malformed(
            "The body must be a JSON object with the lead's _id, and where they are there, texts in _type, _rev, _updatedAt and crmStatus: check the webhook's projection.",
        );
    };
    // Storing may take a while.
    drop(body);
    if let Some(reason) = ignored(&payload, &state.lead_type) {
        let received = Received {
            reason: Some(reason),
            ..Received::new("ignored")
        };
        return ("ignored", HttpResponse::Ok().json(received));
    }
    let Ok(lead) = LeadId::parse(&payload._id) else {
        return malformed("The _id is not that of a document: check the webhook's projection.");
    };
    let key = request
        .headers()
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .map(str::to_owned);
    let delivery = Delivery {
        key: key.filter(|key| !key.is_empty()),
        lead,
        rev: payload._rev.filter(|rev| !rev.is_empty()),
        // A hint for when two requests cross. One that is no time is as good as none; a 4xx would lose the request.
        updated_at: payload.updated_at.and_then(|at| at.parse::<Timestamp>().ok()),
    };
    store(state, delivery).await
}

/// A body, with its share of the budget where it is large.
struct Body<'a> {
    bytes: Vec<u8>,
    _share: Option<SemaphorePermit<'a>>,
}

/// Reads a body. Its bytes are taken from the budget as they arrive, so that one that was only announced takes none.
async fn read(mut body: web::Payload, budget: &Semaphore) -> Result<Body<'_>, Answered> {
    let (mut bytes, mut share): (_, Option<SemaphorePermit>) = (Vec::new(), None);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| ("body_incomplete", problem::come_again(BROKEN_OFF)))?;
        let length = bytes.len() + chunk.len();
        if length > MAX_BODY_BYTES {
            let detail = "The body is larger than 8 MiB: give the webhook a projection.";
            return Err(("too_large", problem::answer(413, detail)));
        }
        if length > SMALL_BODY {
            let held = share.as_ref().map_or(0, SemaphorePermit::num_permits);
            let more = u32::try_from(length - held).ok();
            let more = more.and_then(|more| budget.try_acquire_many(more).ok()).ok_or_else(|| {
                let detail = "Too many large webhooks arrive at once. Try again in a moment, or give the webhook a projection.";
                ("busy", problem::come_again(detail))
            })?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body { bytes, _share: share })
}

async fn store(state: &AppState, delivery: Delivery) -> Answered {
    let lead = delivery.lead.clone();
    match state.store.accept(delivery).await {
        Ok(Accepted::Created(sync)) => {
            tracing::info!(sync_id = %sync, lead_id = %lead, "sync {sync} of lead {lead}: requested by webhook");
            ("created", HttpResponse::Accepted().json(Received::by("created", sync)))
        }
        Ok(Accepted::Coalesced(sync)) => {
            tracing::info!(sync_id = %sync, lead_id = %lead, "sync {sync} of lead {lead}: requested again by webhook");
            (
                "coalesced",
                HttpResponse::Accepted().json(Received::by("coalesced", sync)),
            )
        }
        Ok(Accepted::Duplicate) => ("duplicate", HttpResponse::Ok().json(Received::new("duplicate"))),
        Err(error) => {
            tracing::error!(lead_id = %lead, "a webhook for lead {lead} could not be stored: {error}");
            ("not_stored", problem::unavailable(&error))
        }
    }
}

/// An object with what matters in it. An array of the same texts would parse too, in whatever order they have.
fn parse(body: &[u8]) -> Option<Payload> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(body).ok()).flatten()
}

/// Sanity does not come again after this, so that a lead may be left behind: the operator has to know. It was
/// signed, so that strangers cannot fill the log with it.
fn malformed(detail: &str) -> Answered {
    tracing::warn!("webhook rejected (signature valid): {detail}");
    ("malformed", problem::answer(400, detail))
}

/// Why a webhook with a good signature is ignored, if it is. A payload that does not say the status is: the lead will be read.
fn ignored(payload: &Payload, lead_type: &str) -> Option<&'static str> {
    if is_draft_or_version(&payload._id) {
        Some("a draft or a version of a release")
    } else if payload
        ._type
        .as_deref()
        .is_some_and(|document_type| document_type != lead_type)
    {
        Some("a document of another type")
    } else if payload.crm_status.as_deref().is_some_and(|status| status != REQUESTED) {
        Some("crmStatus is not REQUESTED")
    } else {
        None
    }
}

/// Strangers can make as many of these as they like, so only each doubling of their number is logged.
fn refused(state: &AppState, error: SignatureError) -> Answered {
    let count = state.metrics.signatures_rejected.add() + 1;
    state.metrics.rejected_in_a_row.add(state.clock.now());
    if count.is_power_of_two() {
        tracing::warn!(count, "webhook rejected: {error} ({count} since the start)");
    }
    let hint = match error {
        SignatureError::Missing => ": give the webhook a secret, the one in SANITY_WEBHOOK_SECRET",
        SignatureError::Invalid => ": the webhook's secret must be the one in SANITY_WEBHOOK_SECRET",
        _ => "",
    };
    let detail = format!("Webhook rejected: {error}{hint}.");
    ("rejected", problem::answer(error.status(), &detail))
}

#[cfg(test)]
mod tests;
