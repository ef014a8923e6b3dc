//! Reading leads from a server that answers canned text: in parts, and whatever is not in the answer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::super::documents::DocAnswer;
use super::*;
use crate::domain::lead::{LeadRead, is_draft_or_version};
use crate::testing::arbitrary_json;

/// Reads leads without their documents.
pub(in crate::sanity) async fn leads(
    sanity: &Sanity,
    ids: &[LeadId],
    deadline: Duration,
) -> Result<BTreeMap<LeadId, Read<LeadRead>>, CallError> {
    sanity.read(ids, deadline, |_, lead, _| lead).await
}

/// The ids that a request for documents names.
fn asked(request: &Request) -> Vec<String> {
    let ids = request.path().rsplit('/').next().unwrap();
    ids.split(',').map(str::to_owned).collect()
}

/// How many ids each request for documents named.
fn parts(server: &StubServer) -> Vec<usize> {
    let requests = server.requests("");
    let docs = requests.iter().filter(|request| request.path().contains("/data/doc/"));
    docs.map(|request| asked(request).len()).collect()
}

/// Answers every lead with a document of so many bytes, and every query with nothing.
async fn serve_heavy(bytes: impl Fn(&str) -> usize + Send + Sync + 'static) -> (StubServer, Sanity) {
    serve(move |request| {
        if !request.path().contains("/data/doc/") {
            return Reply::Json(200, json!({ "result": [] }));
        }
        let documents = asked(request).into_iter().map(|id| {
            let mut document = document(&id, "dbrLead");
            document["text"] = "x".repeat(bytes(&id)).into();
            document
        });
        Reply::Json(
            200,
            json!({ "documents": documents.collect::<Vec<_>>(), "omitted": [] }),
        )
    })
    .await
}

fn many(count: usize) -> Vec<LeadId> {
    (0..count).map(|number| lead(&format!("lead-{number:03}"))).collect()
}

#[tokio::test]
async fn leads_are_read_with_their_drafts_and_versions() {
    let (server, sanity) = serve(|_| {
        Reply::Json(
            200,
            json!({"documents": [document("versions.r1.b", "dbrLead"), document("drafts.a", "dbrLead"),
                document("a", "dbrLead"), document("other", "page"), document("stranger", "dbrLead")],
                "omitted": [{"id": "gone", "reason": "existence"}, {"id": "b", "reason": "existence"}]}),
        )
    })
    .await;
    let ids = ["gone", "b", "a", "other", "a"].map(lead);
    let read = leads(&sanity, &ids, DEADLINE).await.unwrap();
    let answered = |id: &str| read[&lead(id)].clone().answered().unwrap();
    assert_eq!(
        read.keys().map(LeadId::as_str).collect::<Vec<_>>(),
        ["a", "b", "gone", "other"]
    );
    assert_eq!(answered("a").published.unwrap().rev, "rev-a");
    assert_eq!(answered("a").drafts_and_versions, ["drafts.a"]);
    assert!(answered("b").published.is_none());
    assert_eq!(answered("b").drafts_and_versions, ["versions.r1.b"]);
    assert_eq!(answered("gone"), LeadRead::default());
    assert_eq!(answered("other"), LeadRead::default(), "another type is no lead");

    let sent = &server.requests("/v2025-02-19/data/doc/production/a,b,gone,other")[0];
    assert_eq!(sent.query("includeAllVersions").as_deref(), Some("true"));
    assert_eq!(sent.header("authorization"), Some("Bearer hush"));
}

#[tokio::test]
async fn a_url_grows_no_longer_than_servers_take() {
    let (server, sanity) = serve_heavy(|_| 0).await;
    let ids: Vec<LeadId> = (0..100).map(|n| lead(&format!("{n:0128}"))).collect();
    assert_eq!(leads(&sanity, &ids, DEADLINE).await.unwrap().len(), 100);
    assert_eq!(parts(&server), [58, 42]);
    assert!(leads(&sanity, &[], DEADLINE).await.unwrap().is_empty());
    assert_eq!(server.requests("").len(), 2);
}

#[tokio::test]
async fn parts_shrink_to_the_limit_and_are_remembered() {
    let (server, sanity) = serve_heavy(|_| 5_000).await;
    let read = leads(&sanity, &many(20), DEADLINE).await.unwrap();
    assert!(read.into_values().all(|read| read.answered().is_some()));
    // Ten were too many; five have half of the limit's bytes and a little more, so that no more are tried.
    assert_eq!(parts(&server), [20, 10, 5, 5, 5, 5]);
    leads(&sanity, &many(10), DEADLINE).await.unwrap();
    assert_eq!(parts(&server)[6..], [5, 5]);
}

#[tokio::test]
async fn parts_grow_again_after_light_answers() {
    let (server, sanity) = serve_heavy(|id| if id == "lead-000" { 60_000 } else { 10 }).await;
    leads(&sanity, &many(1), DEADLINE).await.unwrap();
    leads(&sanity, &many(63)[1..], DEADLINE).await.unwrap();
    assert_eq!(parts(&server), [1, 1, 2, 3, 4, 6, 8, 11, 14, 13]);
}

#[tokio::test]
async fn a_lead_above_the_limit_is_named_and_the_others_are_read() {
    let (_server, sanity) = serve_heavy(|id| if id == "lead-007" { 60_000 } else { 10 }).await;
    let read = leads(&sanity, &many(30), DEADLINE).await.unwrap();
    for (id, read) in read {
        assert_eq!(read == Read::TooLarge, id.as_str() == "lead-007", "{id}");
    }
}

#[tokio::test]
async fn documents_are_given_whole_and_one_by_one() {
    let (_server, sanity) = serve(|_| {
        let body = r#"{"documents":[{"_id":"a","_rev":"r","_type":"dbrLead","_updatedAt":"2026-11-22T09:00:00Z",
            "name":"A\ud83d","ha\ud83dlf":1,"deep":{"x":[1,2]}}],"omitted":[]}"#;
        Reply::Text(200, body)
    })
    .await;
    let whole = |_: &LeadId, _: LeadRead, document: Option<RawDocument<'_>>| document.unwrap().parse().unwrap();
    let read = sanity.read(&[lead("a")], DEADLINE, whole).await.unwrap();
    let document = read[&lead("a")].clone().answered().unwrap();
    // Half of a character spoils neither the document nor the others.
    assert_eq!(document["name"], "A\u{fffd}");
    assert_eq!(document["deep"], json!({"x": [1, 2]}));
}

#[tokio::test]
async fn absence_without_a_reason_is_no_deletion() {
    let other = |request: &Request, body: Value| match request.path() {
        path if path.contains("/data/query/") => Reply::Json(200, json!({"result": [{"_id": "other"}]})),
        path if path.ends_with("/other") => Reply::Json(200, json!({"documents": [document("other", "dbrLead")]})),
        _ => Reply::Json(200, body),
    };
    let cases = [
        (json!({"documents": [], "omitted": []}), Read::Missing),
        (
            json!({"documents": [], "omitted": [{"id": "b", "reason": "existence"}]}),
            Read::Missing,
        ),
        (
            json!({"documents": [], "omitted": [{"id": "a", "reason": "something"}]}),
            Read::Missing,
        ),
        // serde takes an array for a struct whose fields come in this order.
        (json!({"documents": [], "omitted": [["a", "existence"]]}), Read::Missing),
        (
            json!({"documents": [["a", "r1", "dbrLead", "2026-11-22T09:00:00Z", "REQUESTED", null, null, null]]}),
            Read::Missing,
        ),
        (json!({"documents": [{"_id": "a", "_type": "dbrLead"}]}), Read::Missing),
        (
            json!({"documents": [], "omitted": [{"id": "a", "reason": "permission"}]}),
            Read::Denied,
        ),
        (
            json!({"documents": [], "omitted": [{"id": "a", "reason": "existence"}]}),
            Read::Answered(LeadRead::default()),
        ),
        (
            json!({"documents": [document("a", "page")], "omitted": []}),
            Read::Answered(LeadRead::default()),
        ),
    ];
    for (body, expected) in cases {
        let label = body.to_string();
        let (_server, sanity) = serve(move |request| other(request, body.clone())).await;
        let read = leads(&sanity, &[lead("a")], DEADLINE).await.unwrap();
        assert_eq!(read[&lead("a")], expected, "{label}");
    }
}

#[tokio::test]
async fn an_answer_without_any_lead_is_the_services_fault() {
    let cases = [
        (
            json!({"documents": [], "omitted": [{"id": "a", "reason": "permission"}]}),
            "Unauthorized permission",
        ),
        (json!({"omitted": []}), "ambiguous UNREADABLE_ANSWER"),
        (json!({"documents": [], "omitted": []}), "ambiguous UNREADABLE_ANSWER"),
        (
            json!({"documents": [{"_id": "a", "_type": "dbrLead"}]}),
            "ambiguous UNREADABLE_ANSWER",
        ),
    ];
    for (body, expected) in cases {
        let label = body.to_string();
        let (_server, sanity) = serve(move |_| Reply::Json(200, body.clone())).await;
        let error = leads(&sanity, &[lead("a")], DEADLINE).await.unwrap_err();
        assert_eq!(outline(&error), expected, "{label}");
    }
}

#[tokio::test]
async fn a_rate_limit_met_while_looking_for_another_lead_is_heeded() {
    let (_server, sanity) = serve(|request| match request.path() {
        path if path.contains("/data/query/") => Reply::Headed(429, "retry-after: 600", json!({})),
        _ => Reply::Json(200, json!({"documents": [], "omitted": []})),
    })
    .await;
    let error = leads(&sanity, &[lead("a")], DEADLINE).await.unwrap_err();
    let CallError::Service(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind, ServiceErrorKind::RateLimited);
    assert_eq!(error.retry_after, Some(Duration::from_secs(600)));
}

#[tokio::test]
async fn a_rate_limit_met_while_a_large_lead_is_looked_at_is_heeded() {
    let (_server, sanity) = serve(|request| match request.path() {
        path if path.contains("/data/query/") => Reply::Json(200, json!({"result": [document("a", "dbrLead")]})),
        _ => Reply::Headed(429, "retry-after: 600", json!({})),
    })
    .await;
    let error = sanity.outline(&lead("a"), DEADLINE).await.unwrap_err();
    let CallError::Service(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.retry_after, Some(Duration::from_secs(600)));
}

#[tokio::test]
async fn permission_for_some_leads_is_theirs_alone() {
    let (_server, sanity) = serve(|_| {
        Reply::Json(
            200,
            json!({"documents": [document("a", "dbrLead")], "omitted": [{"id": "b", "reason": "permission"},
                {"id": "drafts.a", "reason": "permission"}]}),
        )
    })
    .await;
    let read = leads(&sanity, &["a", "b"].map(lead), DEADLINE).await.unwrap();
    assert!(matches!(&read[&lead("a")], Read::Answered(read) if read.published.is_some()));
    assert_eq!(read[&lead("b")], Read::Denied);
}

#[tokio::test]
async fn revisions_are_read_without_content_where_sanity_has_them() {
    let revision = |id: &str| json!({"_id": id, "_rev": format!("rev-{id}")});
    let (server, sanity) = serve(move |_| {
        Reply::Json(
            200,
            json!({"documents": [revision("a"), revision("drafts.a")], "omitted": [{"id": "b", "reason": "existence"}]}),
        )
    })
    .await;
    let read = sanity
        .revisions(&["a", "b"].map(lead), DEADLINE)
        .await
        .unwrap()
        .unwrap();
    let expected = RevisionRead {
        rev: "rev-a".to_owned(),
        drafts_and_versions: vec!["drafts.a".to_owned()],
    };
    assert_eq!(read, BTreeMap::from([(lead("a"), expected)]));
    let sent = &server.requests("/a,b")[0];
    assert_eq!(sent.query("excludeContent").as_deref(), Some("true"));
    assert!(!sanity.lacks_revisions());
}

#[tokio::test]
async fn a_service_without_revisions_is_asked_for_them_once() {
    for body in [
        json!({"omitted": []}),
        json!({"documents": [{"_id": "a"}], "omitted": []}),
        json!({"documents": [document("a", "dbrLead"), {"x": "x".repeat(60_000)}]}),
    ] {
        let (server, sanity) = serve(move |_| Reply::Json(200, body.clone())).await;
        for _ in 0..2 {
            assert_eq!(sanity.revisions(&[lead("a")], DEADLINE).await.unwrap(), None);
        }
        assert!(sanity.lacks_revisions());
        assert_eq!(server.requests("").len(), 1);
    }
}

#[tokio::test]
async fn a_third_reader_waits_for_room_and_blames_nobody() {
    let (server, sanity) = serve_heavy(|_| 10).await;
    let deadline = Deadline::new(&sanity.clock, Duration::from_millis(50));
    let (first, second) = (
        sanity.reading.room(&deadline).await,
        sanity.reading.room(&deadline).await,
    );
    let ids = [lead("a")];
    let read = sanity.read_part(&ids, Duration::from_millis(50), |_, lead, _| lead);
    assert_eq!(read.await, Err(ReadError::Busy));
    assert!(server.requests("").is_empty());
    drop((first, second));
    assert_eq!(leads(&sanity, &ids, DEADLINE).await.unwrap().len(), 1);
}

const KEYS: &[&str] = &[
    "documents",
    "omitted",
    "_id",
    "_type",
    "_rev",
    "_updatedAt",
    "reason",
    "crmStatus",
    "biginContactId",
];

const TEXTS: &[&str] = &[
    "a",
    "b",
    "drafts.a",
    "versions.r1.b",
    "drafts.versions.a",
    "dbrLead",
    "page",
    "2026-11-22T09:00:00Z",
    "permission",
    "existence",
    REQUESTED,
];

/// Documents that have most of what a document has, and some that have not.
fn bodies() -> impl Strategy<Value = Value> {
    let document =
        (select(TEXTS), select(TEXTS), arbitrary_json::json(KEYS, TEXTS)).prop_map(|(id, kind, mut other)| {
            if let Some(parts) = other.as_object_mut() {
                let own = [
                    ("_id", id),
                    ("_type", kind),
                    ("_rev", "r1"),
                    ("_updatedAt", "2026-11-22T09:00:00Z"),
                ];
                for (key, text) in own {
                    parts.entry(key).or_insert_with(|| text.into());
                }
            }
            other
        });
    let documents = prop::collection::vec(document, 0..6);
    let omitted = prop::collection::vec(arbitrary_json::json(KEYS, TEXTS), 0..3);
    let framed = (documents, omitted);
    let framed = framed.prop_map(|(documents, omitted)| json!({ "documents": documents, "omitted": omitted }));
    prop_oneof![4 => framed, 1 => arbitrary_json::json(KEYS, TEXTS)]
}

proptest! {
    #![proptest_config(arbitrary_json::config())]

    #[test]
    fn a_lead_gets_its_own_document_and_its_own_drafts_and_versions_and_no_other(body in bodies()) {
        let ids = ["a", "b"].map(lead);
        let text = body.to_string();
        let Some(answer) = DocAnswer::of(text.as_bytes()) else {
            return Ok(());
        };
        let _ = answer.revisions(&ids);
        let read = match answer.by_lead(&ids, "dbrLead", |_, lead, document| (lead, document.and_then(|raw| raw.parse()))) {
            Ok(read) => read,
            Err(error) => {
                let shown = format!("{error} {error:?}");
                prop_assert!(!arbitrary_json::tells(&shown), "{}", shown);
                return Ok(());
            }
        };
        prop_assert!(read.iter().map(|(id, _)| id).eq(&ids));
        for (id, read) in read {
            let named = |entry: &Value| entry["_id"] == id.as_str() || entry["id"] == id.as_str();
            let lists = [&body["documents"], &body["omitted"]];
            let mut named = lists.iter().filter_map(|list| list.as_array()).flatten().filter(|entry| named(entry));
            let is_named = named.next().is_some();
            prop_assert!(is_named || matches!(read, Read::Missing), "absence is no deletion");
            let Some((lead, document)) = read.answered() else { continue };
            if let Some(lead) = lead.published {
                prop_assert_eq!((&lead.id, lead.document_type.as_str()), (&id, "dbrLead"));
                prop_assert_eq!(&document.unwrap()["_id"], id.as_str());
            }
            let mut drafts_and_versions = lead.drafts_and_versions.iter();
            let end = format!(".{id}");
            let is_own = |id: &String| is_draft_or_version(id) && id.ends_with(&end);
            prop_assert!(drafts_and_versions.all(is_own), "{:?}", lead.drafts_and_versions);
        }
    }
}
