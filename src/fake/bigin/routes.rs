//! What a call goes through: route, token, scope, limits, faults, and then its work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::fault::Fault;
use super::model::Model;
use super::records::{self, Batch, Mode};
use super::reply::{Reply, bigin_time};
use super::request::Request;
use super::request_log::{Call, CallKind};
use super::tags::{self, TagOrder};
use super::{coql, fields, oauth, read};

pub(super) fn lock(model: &Mutex<Model>) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes one call through, and keeps the journal. It is never called off half-way: a real server goes on with its work
/// when the caller hangs up.
pub(super) async fn process(model: Arc<Mutex<Model>>, request: Request) -> Reply {
    let route = Route::of(&request);
    let kind = route.as_ref().map_or(CallKind::Other, Route::kind);
    let (index, latency, crowded) = arrive(&mut lock(&model), kind);
    wait(latency).await;
    let reply = match crowded {
        true => Reply::refusal(429, "TOO_MANY_REQUESTS", json!({})),
        false => carry_out(&model, route, &request, index).await,
    };
    let mut model = lock(&model);
    if kind != CallKind::Token {
        model.active = model.active.saturating_sub(1);
    }
    if let Some(call) = model.calls.get_mut(index) {
        call.status = reply.status;
    }
    reply
}

/// Notes a call in the journal: its place there, the latency, and whether it is one too many.
fn arrive(model: &mut Model, kind: CallKind) -> (usize, Duration, bool) {
    let is_api = kind != CallKind::Token;
    model.active += usize::from(is_api);
    let call = Call {
        at: model.clock.now(),
        kind,
        records: 0,
        credits: 0,
        status: 0,
        in_flight: model.active,
    };
    model.calls.push(call);
    let crowded = is_api && model.active > model.switches.concurrency_limit;
    (model.calls.len() - 1, model.switches.latency, crowded)
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

async fn carry_out(model: &Mutex<Model>, route: Result<Route, Reply>, request: &Request, index: usize) -> Reply {
    let admitted = admit(&mut lock(model), route, request, index);
    let (work, reset, fault) = match admitted {
        Ok(admitted) => admitted,
        Err(reply) => return reply,
    };
    let switches = lock(model).switches.clone();
    if let Some((_, hang)) = switches.hangs.iter().find(|(text, _)| request.contains(text)) {
        wait(*hang).await;
        return Reply::cut();
    }
    wait(switches.per_record * u32::try_from(work.records()).unwrap_or(u32::MAX)).await;
    if work.is_plain_insert() {
        wait(switches.late_inserts).await;
    }
    if let Some(Fault::Stall(duration)) = fault {
        wait(duration).await;
    }
    let reply = work.carry_out(&mut lock(model), request, fault.as_ref());
    match fault {
        Some(Fault::LostReply) => return Reply::cut(),
        Some(Fault::Hang(duration)) => wait(duration).await,
        _ => {}
    }
    match reset {
        Some(reset) => reply.with_header("x-accesstoken-reset", reset),
        None => reply,
    }
}

/// What was found of a call that may proceed: its work, the end of its token's life, and the fault it will meet.
type Admitted = (Work, Option<String>, Option<Fault>);

fn admit(model: &mut Model, route: Result<Route, Reply>, request: &Request, index: usize) -> Result<Admitted, Reply> {
    if model.switches.down {
        return Err(Reply::html(503));
    }
    let route = route?;
    let reset = match route {
        Route::Token | Route::Revoke => None,
        _ => Some(authorise(model, &route, request)?),
    };
    let work = Work::read(&route, request)?;
    if let Some(call) = model.calls.get_mut(index) {
        call.records = work.records();
    }
    let poison = model.switches.poison.as_ref();
    if poison.is_some_and(|poison| request.contains(poison)) {
        return Err(Reply::refusal(500, "INTERNAL_ERROR", json!({})));
    }
    let credits = work.credits();
    if credits > 0 && model.credits_used().saturating_add(credits) > model.switches.credit_limit {
        return Err(Reply::refusal(429, "LIMIT_EXCEEDED", json!({})));
    }
    let fault = model.take_fault(route.kind());
    if let Some(reply) = fault.as_ref().and_then(|fault| fault.instead_of_work(&model.switches)) {
        return Err(reply);
    }
    model.spend(credits);
    if let Some(call) = model.calls.get_mut(index) {
        call.credits = credits;
    }
    Ok((work, reset, fault))
}

/// Checks token and scope; the end of the token's life as a header shows it.
fn authorise(model: &Model, route: &Route, request: &Request) -> Result<String, Reply> {
    let now = model.clock.now();
    let expiry = request.token().and_then(|token| model.accounts.expiry(token, now));
    let expiry = expiry.ok_or_else(|| Reply::refusal(401, "INVALID_TOKEN", json!({})))?;
    if model.switches.missing_scopes.contains(&route.kind()) {
        return Err(Reply::refusal(401, "OAUTH_SCOPE_MISMATCH", json!({})));
    }
    Ok(bigin_time(expiry))
}

/// Where a call goes.
enum Route {
    Token,
    Revoke,
    Fields,
    ListTags,
    CreateTags,
    Org,
    Coql,
    Search,
    Get(String),
    Upsert,
    Insert,
    Update(Option<String>),
    AddTags { version: String, id: Option<String> },
}

impl Route {
    fn of(request: &Request) -> Result<Self, Reply> {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let method = request.method.as_str();
        if let Some(route) = Self::find(method, &path) {
            return Ok(route);
        }
        let module = path.get(2).copied().unwrap_or_default();
        let is_bigin = matches!(path.as_slice(), ["bigin", "v1" | "v2", _, ..]);
        if ["GET", "POST", "PUT"]
            .iter()
            .any(|other| Self::find(other, &path).is_some())
        {
            Err(Reply::refusal(400, "INVALID_REQUEST_METHOD", json!({})))
        } else if is_bigin && module != "Contacts" && module.starts_with(|c: char| c.is_ascii_uppercase()) {
            Err(Reply::refusal(400, "INVALID_MODULE", json!({})))
        } else {
            Err(Reply::refusal(404, "INVALID_URL_PATTERN", json!({})))
        }
    }

    fn find(method: &str, path: &[&str]) -> Option<Self> {
        let (version, path) = match path {
            ["oauth", "v2", "token"] if method == "POST" => return Some(Self::Token),
            ["oauth", "v2", "token", "revoke"] if method == "POST" => return Some(Self::Revoke),
            ["bigin", version @ ("v1" | "v2"), path @ ..] => (*version, path),
            _ => return None,
        };
        let is_id = |id: &str| !id.is_empty() && id.bytes().all(|c| c.is_ascii_digit());
        match (method, path) {
            ("GET", ["settings", "fields"]) => Some(Self::Fields),
            ("GET", ["settings", "tags"]) => Some(Self::ListTags),
            ("POST", ["settings", "tags"]) => Some(Self::CreateTags),
            ("GET", ["org"]) => Some(Self::Org),
            ("POST", ["coql"]) => Some(Self::Coql),
            ("POST", ["Contacts", "upsert"]) => Some(Self::Upsert),
            ("POST", ["Contacts"]) => Some(Self::Insert),
            ("PUT", ["Contacts"]) => Some(Self::Update(None)),
            ("GET", ["Contacts", "search"]) => Some(Self::Search),
            ("GET", ["Contacts", id]) if is_id(id) => Some(Self::Get((*id).to_owned())),
            ("PUT", ["Contacts", id]) if is_id(id) => Some(Self::Update(Some((*id).to_owned()))),
            ("POST", ["Contacts", "actions", "add_tags"]) => Some(Self::AddTags {
                version: version.to_owned(),
                id: None,
            }),
            ("POST", ["Contacts", id, "actions", "add_tags"]) if is_id(id) => Some(Self::AddTags {
                version: version.to_owned(),
                id: Some((*id).to_owned()),
            }),
            _ => None,
        }
    }

    fn kind(&self) -> CallKind {
        match self {
            Self::Token => CallKind::Token,
            Self::Revoke => CallKind::Other,
            Self::Fields => CallKind::Fields,
            Self::ListTags | Self::CreateTags => CallKind::Tags,
            Self::Org => CallKind::Org,
            Self::Coql => CallKind::Coql,
            Self::Search => CallKind::Search,
            Self::Get(_) => CallKind::Get,
            Self::Upsert => CallKind::Upsert,
            Self::Insert => CallKind::Insert,
            Self::Update(_) => CallKind::Update,
            Self::AddTags { .. } => CallKind::AddTags,
        }
    }
}

/// A call whose parameters and body have been read.
enum Work {
    Token,
    Revoke,
    Fields,
    ListTags,
    CreateTags,
    Org,
    Coql,
    Search,
    Get(String),
    Write(Batch, Mode),
    AddTags(TagOrder),
}

impl Work {
    fn read(route: &Route, request: &Request) -> Result<Self, Reply> {
        Ok(match route {
            Route::Token => Self::Token,
            Route::Revoke => Self::Revoke,
            Route::Fields => contacts_only(request, Self::Fields)?,
            Route::ListTags => contacts_only(request, Self::ListTags)?,
            Route::CreateTags => contacts_only(request, Self::CreateTags)?,
            Route::Org => Self::Org,
            Route::Coql => Self::Coql,
            Route::Search => Self::Search,
            Route::Get(id) => Self::Get(id.clone()),
            Route::Upsert => Self::Write(Batch::read(request)?, Mode::Upsert),
            Route::Insert => Self::Write(Batch::read(request)?, Mode::Insert),
            Route::Update(None) => Self::Write(Batch::read(request)?, Mode::Update),
            Route::Update(Some(id)) => Self::Write(Batch::read(request)?.with_id(id), Mode::Update),
            Route::AddTags { version, id } => Self::AddTags(TagOrder::read(request, version, id.as_deref())?),
        })
    }

    fn records(&self) -> usize {
        match self {
            Self::Write(batch, _) => batch.records.len(),
            Self::AddTags(order) => order.ids.len(),
            _ => 0,
        }
    }

    /// Whether nothing but its answer will tell which contacts it has made.
    fn is_plain_insert(&self) -> bool {
        matches!(self, Self::Write(batch, Mode::Upsert) if batch.names_no_check())
    }

    /// 1 a call, and 1 for every ten records or fifty ids that it begins (official docs, api-limits).
    fn credits(&self) -> u32 {
        let credits = match self {
            Self::Token | Self::Revoke => 0,
            Self::Write(batch, _) => batch.records.len().div_ceil(10),
            Self::AddTags(order) => order.ids.len().div_ceil(50),
            _ => 1,
        };
        u32::try_from(credits).unwrap_or(u32::MAX)
    }

    fn carry_out(self, model: &mut Model, request: &Request, fault: Option<&Fault>) -> Reply {
        match self {
            Self::Token => oauth::token(model, request),
            Self::Revoke => oauth::revoke(model, request),
            Self::Fields => Reply::json(200, fields::list(&model.fields)),
            Self::ListTags => tags::list(model),
            Self::CreateTags => tags::create(model, request),
            Self::Org => {
                let org = json!({"company_name": "Example Lettings", "zgid": "70000000001", "country_code": "GB"});
                Reply::json(200, json!({"org": [org]}))
            }
            Self::Coql => coql::query(model, request),
            Self::Search => read::search(model, request),
            Self::Get(id) => read::by_id(model, &id),
            Self::Write(batch, mode) => records::write(model, &batch, mode, fault),
            Self::AddTags(order) => tags::add(model, &order, fault),
        }
    }
}

/// The settings want `module`, and we serve that of Contacts.
fn contacts_only(request: &Request, work: Work) -> Result<Work, Reply> {
    match request.query("module").as_deref() {
        Some("Contacts") => Ok(work),
        Some(_) => Err(Reply::refusal(400, "INVALID_MODULE", json!({}))),
        None => Err(Reply::refusal(
            400,
            "REQUIRED_PARAM_MISSING",
            json!({"param": "module"}),
        )),
    }
}
