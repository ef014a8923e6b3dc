//! What every request goes through before its work and after it: who asks, what is refused, faults, latency.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header};

use super::fault::{Fault, Kind};
use super::model::{Call, Model, Shared};
use super::project::{DATASET, MANAGEMENT_TOKEN, TOKEN};
use super::reply::Reply;

/// Address and headers together: 15 KB (official docs, technical limits), of which the headers want their share.
const MAX_ADDRESS: usize = 14_800;

/// An answer, and how long it takes.
pub(super) type Timed = (Reply, Duration);

pub(super) async fn send((reply, wait): Timed) -> HttpResponse {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    reply.into_response()
}

/// Who asks.
pub(super) struct Caller<'a> {
    pub(super) token: Option<&'a str>,
    /// Bytes of the address.
    pub(super) address: usize,
}

impl<'a> Caller<'a> {
    pub(super) fn of(request: &'a HttpRequest) -> Self {
        let authorization = request.headers().get(header::AUTHORIZATION);
        Self {
            token: bearer(authorization.and_then(|value| value.to_str().ok())),
            address: request.uri().to_string().len(),
        }
    }
}

pub(super) fn bearer(authorization: Option<&str>) -> Option<&str> {
    authorization?.strip_prefix("Bearer ")
}

/// What every request is checked for before its work.
pub(super) struct Gate {
    kind: Kind,
    ids: usize,
    refusal: Option<Reply>,
}

impl Gate {
    pub(super) fn new(kind: Kind, caller: &Caller<'_>, version: &str, dataset: Option<&str>, ids: usize) -> Self {
        let token = caller.token;
        let refusal = if caller.address > MAX_ADDRESS {
            Some(Reply::html(414))
        } else if !is_version(version) {
            Some(Reply::boom(400, "Invalid API version"))
        } else if kind == Kind::Hooks && token == Some(TOKEN) {
            // Whether an Editor may is not documented plainly; that it may not is the safer thing to be ready for.
            Some(Reply::boom(
                403,
                "Insufficient permissions; permission \"sanity.project.webhooks/read\" required",
            ))
        } else if token != Some(if kind == Kind::Hooks { MANAGEMENT_TOKEN } else { TOKEN }) {
            Some(Reply::unauthorized())
        } else if dataset.is_some_and(|dataset| dataset != DATASET) {
            Some(Reply::boom(404, "Dataset not found"))
        } else {
            None
        };
        Self { kind, ids, refusal }
    }
}

/// Answers after the time that it takes.
pub(super) async fn serve(shared: &Shared, gate: Gate, work: impl FnOnce(&mut Model) -> Reply) -> HttpResponse {
    send(attend(shared, gate, work)).await
}

/// Meets the faults, does the work where there is any to be done, and keeps the journal.
pub(super) fn attend(shared: &Shared, gate: Gate, work: impl FnOnce(&mut Model) -> Reply) -> Timed {
    let Gate { kind, ids, refusal } = gate;
    let mut model = shared.model();
    let at = model.clock.now();
    let fault = model.faults.take(kind);
    let mut wait = model.latency;
    let reply = match (fault, refusal) {
        _ if model.down => Reply::cut(),
        (Some(Fault::NoReply), _) => Reply::cut(),
        (Some(Fault::Status(401)), _) => Reply::unauthorized(),
        (Some(Fault::Status(status)), _) => Reply::boom(status, "The service met a fault"),
        (Some(Fault::Html(status)), _) => Reply::html(status),
        (Some(Fault::RateLimited(wait)), _) => Reply::rate_limited(wait, at),
        (Some(Fault::Conflict), _) => Reply::conflict(),
        (_, Some(refusal)) => refusal,
        _ if kind == Kind::Mutate && model.mutates_too_fast() => {
            Reply::too_many_mutations(model.mutation_limit_wait, at)
        }
        (Some(Fault::LostReply), None) => {
            work(&mut model);
            Reply::cut()
        }
        (Some(Fault::Hang(hang)), None) => {
            wait += hang;
            work(&mut model)
        }
        (None, None) => work(&mut model),
    };
    model.calls.push(Call {
        kind,
        at,
        status: reply.status,
        ids,
    });
    (reply, wait)
}

fn is_version(version: &str) -> bool {
    let date = |date: &str| date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok();
    version
        .strip_prefix('v')
        .is_some_and(|version| matches!(version, "1" | "X") || date(version))
}
