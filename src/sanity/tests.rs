//! Tests of the Sanity client: a table of answers, and calls to a server that answers canned text.

mod arbitrary_json;
pub(super) mod read;

use std::sync::{Arc, LazyLock};

use reqwest::StatusCode;
use serde_json::{Map, json};

use super::*;
use crate::clock::ManualClock;
use crate::domain::failure::{Remote, ServiceError, ServiceErrorKind};
use crate::domain::lead::SENT;
use crate::testing::stub_server::{Reply, Request, StubServer};

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn serve(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (StubServer, Sanity) {
    let server = StubServer::start(answer).await;
    let settings = SanitySettings {
        project_id: "abc123".to_owned(),
        api_url: server.url.clone(),
        dataset: "production".to_owned(),
        token: SecretString::from("hush".to_owned()),
        lead_type: "dbrLead".to_owned(),
        max_answer: Some(50_000),
    };
    assert!(!format!("{settings:?}").contains("hush"));
    let http = crate::http_client::client("test", &[&server.url]).unwrap();
    let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
    let calls = Calls::new(clock.clone(), Arc::default());
    (server, Sanity::new(settings, http, calls, clock))
}

pub(super) fn lead(id: &str) -> LeadId {
    LeadId::parse(id).unwrap()
}

pub(super) fn document(id: &str, kind: &str) -> Value {
    json!({"_id": id, "_rev": format!("rev-{id}"), "_type": kind, "_updatedAt": "2026-11-22T09:00:00Z",
        "crmStatus": REQUESTED, "name": "Ada"})
}

pub(super) fn write<'a>(lead: &'a LeadId, drafts_and_versions: &'a [String]) -> WriteBack<'a> {
    static SET: LazyLock<Map<String, Value>> = LazyLock::new(|| {
        let set = [("crmStatus", SENT), ("biginContactId", "1")];
        set.map(|(field, text)| (field.to_owned(), text.into()))
            .into_iter()
            .collect()
    });
    WriteBack {
        lead,
        rev: "r1",
        drafts_and_versions,
        set: &SET,
        unset: &["crmError"],
    }
}

fn answer(status: u16, json: Option<Value>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: Some(Duration::from_secs(7)),
        json,
    }
}

fn boom(status: u16, code: Option<&str>) -> Option<Value> {
    Some(json!({"statusCode": status, "error": "Some Error", "message": "ada@example.org", "errorCode": code}))
}

fn typed(kind: &str) -> Option<Value> {
    Some(json!({"error": {"type": kind, "description": "ada@example.org"}}))
}

/// A failure in a word or two, for tables.
pub(super) fn outline(error: &CallError) -> String {
    assert!(!error.to_string().contains("ada"), "{error}");
    match error {
        CallError::Service(ServiceError { kind, code, remote, .. }) => {
            assert_eq!(*remote, Remote::Sanity);
            format!("{kind:?} {code}")
        }
        CallError::Ambiguous { code, .. } => format!("ambiguous {code}"),
        CallError::Rejected { code, .. } => format!("rejected {code}"),
    }
}

#[test]
fn every_failure_is_judged_by_its_status_and_named_by_its_body() {
    let described = Some(json!({"error": {"description": "ada@example.org"}}));
    let cases = [
        (401, boom(401, Some("SIO-401-ANF")), "Unauthorized SIO-401-ANF"),
        (401, boom(401, Some("SIO-401-AEX")), "Unauthorized SIO-401-AEX"),
        (401, None, "Unauthorized HTTP 401"),
        (403, boom(403, None), "Unauthorized HTTP 403"),
        (
            403,
            typed("insufficientPermissionsError"),
            "Unauthorized insufficientPermissionsError",
        ),
        (402, boom(402, None), "Unauthorized HTTP 402"),
        (404, boom(404, None), "Unauthorized HTTP 404"),
        (404, None, "ambiguous HTTP 404"),
        (429, boom(429, None), "RateLimited HTTP 429"),
        (429, None, "RateLimited HTTP 429"),
        (400, typed("queryParseError"), "rejected queryParseError"),
        (400, described, "rejected HTTP 400"),
        (400, typed("personal: ada@example.org"), "rejected HTTP 400"),
        (400, None, "ambiguous HTTP 400"),
        (410, boom(410, None), "rejected HTTP 410"),
        (412, boom(412, None), "rejected HTTP 412"),
        (422, typed("validationError"), "rejected validationError"),
        (413, boom(413, None), "rejected HTTP 413"),
        (413, None, "rejected HTTP 413"),
        (408, boom(408, None), "ambiguous HTTP 408"),
        (409, boom(409, None), "ambiguous HTTP 409"),
        (500, boom(500, None), "ambiguous HTTP 500"),
        (503, None, "ambiguous HTTP 503"),
        (502, typed("upstreamError"), "ambiguous HTTP 502"),
        (200, None, "ambiguous HTTP 200"),
        (302, None, "ambiguous HTTP 302"),
    ];
    for (status, body, expected) in cases {
        let label = format!("{status} {body:?}");
        let error = answer::judge(&answer(status, body.clone()), "production").unwrap_err();
        assert_eq!(outline(&error), expected, "{label}");
        // What is no conflict is the same for a commit.
        let committed = answer::judge_commit(&answer(status, body), "production", &[(0, "a")]);
        let expected = match error {
            CallError::Service(service_error) if status == 403 => CommitError::Forbidden(service_error),
            error => CommitError::Call(error),
        };
        assert_eq!(committed, Err(expected), "{label}");
    }
}

#[test]
fn a_conflict_names_the_leads_to_read_again() {
    let mutations = [(0, "a"), (0, "drafts.a"), (1, "b"), (2, "c"), (2, "drafts.c")];
    let mismatch = |index: Value| {
        json!({"index": index, "error": {"type": "documentRevisionIDDoesNotMatchError", "description": "ada",
            "currentRevisionID": "x", "expectedRevisionID": "y"}})
    };
    let missing = |id: &str| json!({"error": {"type": "documentNotFoundError", "description": "ada", "id": id}});
    let failed = |items: Value| Some(json!({"error": {"type": "mutationError", "description": "ada", "items": items}}));
    let conflict = |places: &[usize]| Err(CommitError::Conflict(places.to_vec()));
    let cases = [
        (409, failed(json!([mismatch(json!(2))])), conflict(&[1])),
        (
            409,
            failed(json!([mismatch(json!(4)), mismatch(json!(0)), mismatch(json!(3))])),
            conflict(&[0, 2]),
        ),
        (409, failed(json!([missing("drafts.c")])), conflict(&[2])),
        (404, failed(json!([missing("drafts.a")])), conflict(&[0])),
        (400, failed(json!([missing("drafts.a")])), conflict(&[0])),
        // An item that cannot be placed: all are read again.
        (409, failed(json!([mismatch(Value::Null)])), conflict(&[0, 1, 2])),
        (409, failed(json!([mismatch(json!(99))])), conflict(&[0, 1, 2])),
        (409, failed(json!([])), conflict(&[0, 1, 2])),
        (409, typed("documentRevisionIDDoesNotMatchError"), conflict(&[0, 1, 2])),
        (404, typed("documentNotFoundError"), conflict(&[0, 1, 2])),
        (409, typed("transactionAlreadyExistsError"), Ok(())),
        (409, typed("transactionConflictError"), Err(CommitError::Contention)),
        (200, Some(json!({"transactionId": "t", "results": []})), Ok(())),
    ];
    for (status, body, expected) in cases {
        let label = format!("{status} {body:?}");
        let judged = answer::judge_commit(&answer(status, body), "production", &mutations);
        assert_eq!(judged, expected, "{label}");
    }
    for kind in ["projectNotFoundError", "datasetNotFoundError"] {
        let judged = answer::judge_commit(&answer(404, typed(kind)), "production", &mutations);
        assert!(
            matches!(judged, Err(CommitError::Call(CallError::Service(_)))),
            "{kind}"
        );
    }
    let invalid = failed(json!([{"index": 0, "error": {"type": "validationError", "description": "ada"}}]));
    let judged = answer::judge_commit(&answer(400, invalid), "production", &mutations);
    assert!(matches!(judged, Err(CommitError::Call(CallError::Rejected { .. }))));
}

#[tokio::test]
async fn a_commit_is_conditional_on_the_lead_and_not_on_its_drafts_and_versions() {
    let (server, sanity) = serve(|_| Reply::Json(200, json!({"transactionId": "t", "results": []}))).await;
    let (a, b) = (lead("a"), lead("b"));
    let drafts_and_versions = ["drafts.a".to_owned()];
    sanity
        .commit(&[write(&a, &drafts_and_versions), write(&b, &[])], DEADLINE)
        .await
        .unwrap();
    sanity
        .commit(&[write(&a, &drafts_and_versions), write(&b, &[])], DEADLINE)
        .await
        .unwrap();
    sanity
        .commit(&[write(&a, &drafts_and_versions)], DEADLINE)
        .await
        .unwrap();
    sanity.commit(&[], DEADLINE).await.unwrap();

    let sent = server.requests("/v2025-02-19/data/mutate/production");
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0].query("visibility").as_deref(), Some("async"));
    assert_eq!(sent[0].query("returnIds").as_deref(), Some("true"));
    let set = json!({"crmStatus": SENT, "biginContactId": "1"});
    let patch = |id: &str| json!({"id": id, "ifRevisionID": "r1", "set": set, "unset": ["crmError"]});
    let body = sent[0].json();
    assert_eq!(
        body["mutations"],
        json!([{"patch": patch("a")}, {"patch": {"id": "drafts.a", "set": set, "unset": ["crmError"]}},
            {"patch": patch("b")}])
    );
    let id = body["transactionId"].as_str().unwrap();
    let hex = id.strip_prefix("bigin-sync-").unwrap();
    assert!(hex.len() == 64 && hex.bytes().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(sent[1].json()["transactionId"], body["transactionId"]);
    assert_ne!(sent[2].json()["transactionId"], body["transactionId"]);
}

#[tokio::test]
async fn commits_keep_their_distance() {
    let (server, sanity) = serve(|_| Reply::Json(200, json!({"results": []}))).await;
    let a = lead("a");
    let (first, second) = ([write(&a, &[])], [write(&a, &[])]);
    let started = tokio::time::Instant::now();
    let third = [write(&a, &[])];
    let (first, second, third) = tokio::join!(
        sanity.commit(&first, DEADLINE),
        sanity.commit(&second, DEADLINE),
        sanity.commit(&third, DEADLINE)
    );
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    assert!(started.elapsed() >= Duration::from_millis(100));
    assert_eq!(server.requests("/mutate/production").len(), 3);
}

#[tokio::test]
async fn waiting_leads_are_asked_for_in_pages() {
    let (server, sanity) = serve(|_| Reply::Json(200, json!({"ms": 1, "result": [{"_id": "b"}, {"_id": "c"}]}))).await;
    let found = sanity
        .requested(Some(&lead("a")), Duration::from_millis(1500), 2, DEADLINE)
        .await
        .unwrap();
    assert_eq!(found, [lead("b"), lead("c")]);
    sanity.requested(None, Duration::ZERO, 2, DEADLINE).await.unwrap();

    let sent = server.requests("/v2025-02-19/data/query/production");
    let expected = [
        (
            "query",
            "*[_type == $type && crmStatus == $status && _id > $after && dateTime(_updatedAt) <= dateTime(now()) - $age]|order(_id asc)[0...2]{_id}",
        ),
        ("$type", "\"dbrLead\""),
        ("$status", "\"REQUESTED\""),
        ("$after", "\"a\""),
        ("$age", "1.5"),
        ("perspective", "published"),
    ];
    for (key, value) in expected {
        assert_eq!(sent[0].query(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(sent[1].query("$after").as_deref(), Some("\"\""));
    assert_eq!(sent[1].query("$age").as_deref(), Some("0.0"));
}

#[tokio::test]
async fn trouble_on_the_way_is_told_apart() {
    let (_server, sanity) = serve(|request| match request.method.as_str() {
        "POST" => Reply::Lost,
        _ => Reply::Headed(429, "retry-after: 9", json!({"statusCode": 429})),
    })
    .await;
    let a = lead("a");
    match sanity.commit(&[write(&a, &[])], DEADLINE).await {
        Err(CommitError::Call(error)) => assert_eq!(outline(&error), "ambiguous connection lost"),
        other => panic!("{other:?}"),
    }
    match read::leads(&sanity, std::slice::from_ref(&a), DEADLINE).await {
        Err(CallError::Service(service_error)) => {
            assert_eq!(
                (service_error.kind, service_error.retry_after),
                (ServiceErrorKind::RateLimited, Some(Duration::from_secs(9)))
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(sanity.commit(&[write(&a, &[])], Duration::ZERO).await.is_err());
}
