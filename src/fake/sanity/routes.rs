//! The HTTP API: documents by id, mutations and queries.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::{self, Bytes, Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::doc::{Wanted, documents};
use super::fault::Kind;
use super::gate::{Caller, Gate, Timed, attend, bearer, send};
use super::groq::{self, GroqError};
use super::hooks;
use super::ids::is_draft_or_version;
use super::model::{By, Committed, Order, Shared};
use super::mutate::{MutateError, Mutation, MutationResult};
use super::reply::Reply;

/// 4 MB, and a megabyte is 1,000,000 bytes (official docs, technical limits).
const MAX_MUTATION: usize = 4_000_000;
/// Requests of any kind: 100 MB (official docs, technical limits).
const MAX_BODY: usize = 100_000_000;
/// Since this version queries see published documents only, and releases have versions (official docs, changelog).
const PERSPECTIVES: &str = "2025-02-19";

type Params = Query<Vec<(String, String)>>;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(MAX_BODY))
        .route("/{version}/data/doc/{dataset}/{ids}", web::get().to(doc))
        .route("/{version}/data/mutate/{dataset}", web::post().to(mutate))
        .route("/{version}/data/query/{dataset}", web::get().to(query))
        .route("/{version}/data/query/{dataset}", web::post().to(query))
        .route("/{version}/hooks/projects/{project}", web::get().to(hooks::list))
        .route("/{version}/hooks/projects/{project}", web::post().to(hooks::create))
        .route(
            "/{version}/hooks/projects/{project}/{hook}",
            web::patch().to(hooks::change),
        )
        .route(
            "/{version}/hooks/projects/{project}/{hook}/attempts",
            web::get().to(hooks::attempts),
        )
        .default_service(web::to(nothing));
}

async fn nothing() -> HttpResponse {
    Reply::boom(404, "Not Found").into_response()
}

async fn doc(
    shared: Data<Shared>,
    request: HttpRequest,
    path: Path<(String, String, String)>,
    params: Params,
) -> HttpResponse {
    let (version, dataset, ids) = path.into_inner();
    send(read_documents(
        &shared,
        &Caller::of(&request),
        (&version, &dataset, &ids),
        &params,
    ))
    .await
}

async fn mutate(
    shared: Data<Shared>,
    request: HttpRequest,
    path: Path<(String, String)>,
    params: Params,
    body: Bytes,
) -> HttpResponse {
    let (version, dataset) = path.into_inner();
    send(commit(
        &shared,
        &Caller::of(&request),
        (&version, &dataset),
        &params,
        &body,
    ))
    .await
}

async fn query(
    shared: Data<Shared>,
    request: HttpRequest,
    path: Path<(String, String)>,
    params: Params,
    body: Bytes,
) -> HttpResponse {
    let (version, dataset) = path.into_inner();
    send(find(
        &shared,
        &Caller::of(&request),
        (&version, &dataset),
        &params,
        &body,
    ))
    .await
}

/// Answers a request that was not sent over a socket at once, whatever the switches say of latency.
pub(super) fn answer(shared: &Shared, request: &reqwest::Request) -> Reply {
    let caller = Caller {
        token: bearer(
            request
                .headers()
                .get("authorization")
                .and_then(|value| value.to_str().ok()),
        ),
        address: request.url().path().len() + request.url().query().map_or(0, |query| query.len() + 1),
    };
    let params = Params::from_query(request.url().query().unwrap_or_default());
    let Ok(params) = params else {
        return Reply::boom(400, "the address has no such parameters");
    };
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let body = Bytes::copy_from_slice(body);
    let path: Vec<&str> = request.url().path().trim_matches('/').split('/').collect();
    let (reply, _) = match (request.method().as_str(), path.as_slice()) {
        ("GET", [version, "data", "doc", dataset, ids]) => {
            read_documents(shared, &caller, (version, dataset, ids), &params)
        }
        ("POST", [version, "data", "mutate", dataset]) => commit(shared, &caller, (version, dataset), &params, &body),
        ("GET" | "POST", [version, "data", "query", dataset]) => {
            find(shared, &caller, (version, dataset), &params, &body)
        }
        _ => return Reply::boom(404, "Not Found"),
    };
    reply
}

fn read_documents(
    shared: &Shared,
    caller: &Caller<'_>,
    (version, dataset, ids): (&str, &str, &str),
    params: &Params,
) -> Timed {
    let ids: Vec<&str> = ids.split(',').collect();
    let gate = Gate::new(Kind::Doc, caller, version, Some(dataset), ids.len());
    let flags = (flag(params, "includeAllVersions"), flag(params, "excludeContent"));
    let mut took = Duration::ZERO;
    let (reply, wait) = attend(shared, gate, |model| match flags {
        _ if ids.iter().any(|id| id.is_empty() || id.contains(' ')) => Reply::boom(400, "Invalid document ID"),
        (Ok(all), Ok(without_content)) => {
            let wanted = Wanted {
                ids: &ids,
                all,
                versions: has_versions(version),
                without_content,
            };
            let reply;
            (reply, took) = documents(model, &wanted);
            reply
        }
        (Err(reply), _) | (_, Err(reply)) => reply,
    });
    (reply, wait + took)
}

fn commit(
    shared: &Shared,
    caller: &Caller<'_>,
    (version, dataset): (&str, &str),
    params: &Params,
    body: &Bytes,
) -> Timed {
    let order = read_order(params, body);
    let count = order.as_ref().map_or(0, |order| order.mutations.len());
    let gate = Gate::new(Kind::Mutate, caller, version, Some(dataset), count);
    attend(shared, gate, |model| {
        if body.len() > MAX_MUTATION {
            return Reply::boom(413, "Request body is too large");
        }
        let returns = (flag(params, "returnIds"), flag(params, "returnDocuments"));
        let (Ok(ids), Ok(documents)) = returns else {
            return Reply::boom(400, "returnIds and returnDocuments are true or false");
        };
        match order.and_then(|order| model.transact(order)) {
            Ok(committed) => Reply::json(200, committed_body(committed, ids, documents)),
            Err(error) => {
                let (status, body) = error.answer();
                Reply::json(status, body)
            }
        }
    })
}

fn read_order(params: &Params, body: &Bytes) -> Result<Order, MutateError> {
    let malformed = |what: &str| MutateError::Malformed(what.to_owned());
    let body: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| malformed("the body is not a JSON object"))?;
    let mut id = param(params, "transactionId").map(str::to_owned);
    let mut mutations = Vec::new();
    for (key, value) in body {
        match (key.as_str(), value) {
            ("transactionId", Value::String(given)) => id = Some(given),
            ("mutations", Value::Array(given)) => {
                mutations = given.into_iter().map(Mutation::parse).collect::<Result<_, _>>()?;
            }
            _ => return Err(malformed(&format!("\"{key}\" is unknown, or of the wrong type"))),
        }
    }
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if id.as_ref().is_some_and(|id| id.is_empty() || !id.bytes().all(is_plain)) {
        return Err(malformed("the transaction id is not one"));
    }
    if mutations.is_empty() {
        return Err(malformed("there are no mutations"));
    }
    let indexed = match param(params, "visibility") {
        None | Some("sync") => true,
        Some("async" | "deferred") => false,
        Some(_) => return Err(malformed("visibility is sync, async or deferred")),
    };
    Ok(Order {
        id,
        by: By::Api,
        mutations,
        dry_run: flag(params, "dryRun").map_err(|_| malformed("dryRun is true or false"))?,
        indexed,
    })
}

fn committed_body(committed: Committed, ids: bool, documents: bool) -> Value {
    let result = |result: MutationResult| {
        let mut shown = json!({"id": result.id, "operation": result.operation.label()});
        if let (true, Value::Object(shown)) = (documents, &mut shown) {
            shown.insert(
                "document".to_owned(),
                result.document.map_or(Value::Null, Value::Object),
            );
        }
        shown
    };
    let results: Vec<Value> = match ids || documents {
        true => committed.results.into_iter().map(result).collect(),
        false => Vec::new(),
    };
    json!({"transactionId": committed.id, "results": results})
}

fn find(
    shared: &Shared,
    caller: &Caller<'_>,
    (version, dataset): (&str, &str),
    params: &Params,
    body: &Bytes,
) -> Timed {
    let gate = Gate::new(Kind::Query, caller, version, Some(dataset), 0);
    attend(shared, gate, |model| {
        let asked = read_query(params, body);
        let perspective = param(params, "perspective");
        let drafts = match (perspective, has_versions(version)) {
            (Some("published"), _) | (None, true) => false,
            (Some("raw"), _) | (None, false) => true,
            _ => return Reply::boom(400, "the fake knows the perspectives raw and published"),
        };
        let (text, given) = match asked {
            Ok(asked) => asked,
            Err(error) => return Reply::json(400, error.body("")),
        };
        let store = model.indexed();
        let visible = |id: &str| match drafts {
            true => has_versions(version) || !id.starts_with("versions."),
            false => !is_draft_or_version(id),
        };
        let readable = |id: &str| !model.doc.denied.contains(id);
        let documents = store
            .iter()
            .filter(|(id, _)| visible(id) && readable(id))
            .map(|(_, document)| document);
        match groq::run(&text, &given, documents, model.clock.now()) {
            Ok(result) if param(params, "returnQuery") == Some("false") => {
                Reply::json(200, json!({"ms": 1, "result": result, "syncTags": []}))
            }
            Ok(result) => Reply::json(200, json!({"ms": 1, "query": text, "result": result, "syncTags": []})),
            Err(error) => Reply::json(400, error.body(&text)),
        }
    })
}

/// The query and its parameters: of the address, where every `$name` is JSON, or of a body of JSON.
fn read_query(params: &Params, body: &Bytes) -> Result<(String, BTreeMap<String, Value>), GroqError> {
    if !body.is_empty() {
        let body: Value = serde_json::from_slice(body).map_err(|_| GroqError::new("the body is not JSON"))?;
        let text = body.get("query").and_then(Value::as_str);
        let text = text.ok_or_else(|| GroqError::new("there is no query"))?;
        let given = body
            .get("params")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        return Ok((text.to_owned(), given.into_iter().collect()));
    }
    let text = param(params, "query").ok_or_else(|| GroqError::new("there is no query"))?;
    let mut given = BTreeMap::new();
    for (key, value) in &params.0 {
        if let Some(name) = key.strip_prefix('$') {
            let value = serde_json::from_str(value);
            let value = value.map_err(|_| GroqError::new(&format!("parameter ${name} is not JSON")))?;
            given.insert(name.to_owned(), value);
        }
    }
    Ok((text.to_owned(), given))
}

fn has_versions(version: &str) -> bool {
    let version = version.trim_start_matches('v');
    version == "X" || (version != "1" && version >= PERSPECTIVES)
}

fn param<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params
        .0
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

fn flag(params: &Params, name: &str) -> Result<bool, Reply> {
    match param(params, name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Reply::boom(400, "a flag is true or false")),
    }
}
