//! Tests of servers that no caller should meet: slow ones, broken ones, endless ones.

use tokio::time::timeout;

use super::tests::read::leads;
use super::tests::{DEADLINE, lead, outline, serve, write};
use super::*;
use crate::testing::stub_server::{Reply, Then, odd_servers};
use serde_json::json;

/// Long enough for the largest answer that is read, and short for a person who waits for the tests.
const SHORT: Duration = Duration::from_secs(1);

/// Longer than any deadline here, on however busy a machine: what is not over by then never ends.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_an_odd_server_took_is_over_by_its_deadline_and_in_doubt() {
    let a = lead("a");
    for (what, answer, expected) in odd_servers() {
        let (server, sanity) = serve(move |_| answer()).await;
        let deadline = if expected == "timeout" { SHORT } else { DEADLINE };
        let commit = timeout(PATIENCE, sanity.commit(&[write(&a, &[])], deadline)).await;
        match commit.unwrap_or_else(|_| panic!("a server that {what} is waited for")) {
            Err(CommitError::Call(error)) => {
                assert_eq!(outline(&error), format!("ambiguous {expected}"), "a server that {what}");
            }
            other => panic!("a server that {what}: {other:?}"),
        }
        assert_eq!(server.requests("/mutate/production").len(), 1, "a server that {what}");
        let read = timeout(PATIENCE, leads(&sanity, std::slice::from_ref(&a), deadline)).await;
        let read = read.unwrap_or_else(|_| panic!("a server that {what} is waited for"));
        let said = match read {
            Err(error) => outline(&error),
            // One lead by itself.
            Ok(read) => format!("{:?}", read[&a]),
        };
        let expected = match expected {
            "answer too large" => "TooLarge".to_owned(),
            // It announces more than may be read.
            _ if what == "dribbles its body" => "TooLarge".to_owned(),
            // JSON all the same, of which only what is asked for is looked at.
            _ if what == "speaks Latin-1" => "ambiguous UNREADABLE_ANSWER".to_owned(),
            expected => format!("ambiguous {expected}"),
        };
        assert_eq!(said, expected, "a server that {what}");
    }
}

#[tokio::test]
async fn json_that_is_no_answer_to_a_transaction_is_not_taken_for_one() {
    let strangers = [
        json!({}),
        json!("ok"),
        json!(null),
        json!([]),
        json!({"status": "up"}),
        json!({"documents": []}),
    ];
    for body in strangers {
        let label = body.to_string();
        let (_server, sanity) = serve(move |_| Reply::Json(200, body.clone())).await;
        match sanity.commit(&[write(&lead("a"), &[])], DEADLINE).await {
            Err(CommitError::Call(error)) => assert_eq!(outline(&error), "ambiguous UNREADABLE_ANSWER", "{label}"),
            other => panic!("{label}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_so_that_no_token_and_no_result_travels() {
    for status in [301, 302, 303, 307, 308] {
        let (server, sanity) = serve(move |_| {
            let head = format!("HTTP/1.1 {status} Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
            Reply::Raw(head.into_bytes(), Then::Close)
        })
        .await;
        let error = leads(&sanity, &[lead("a")], DEADLINE).await.unwrap_err();
        assert_eq!(outline(&error), format!("ambiguous HTTP {status}"));
        assert!(server.requests("/elsewhere").is_empty(), "{status}");
    }
}

#[tokio::test]
async fn what_sanity_warns_of_changes_nothing() {
    let (_server, sanity) = serve(|_| {
        let warning = "x-sanity-warning: this API version is deprecated\r\ntraceparent: 00-abc-def-01";
        Reply::Headed(
            200,
            warning,
            json!({"documents": [], "omitted": [{"id": "a", "reason": "existence"}]}),
        )
    })
    .await;
    assert_eq!(leads(&sanity, &[lead("a")], DEADLINE).await.unwrap().len(), 1);
}
