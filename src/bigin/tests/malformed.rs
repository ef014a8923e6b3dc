//! Tests of servers that no caller should meet: slow ones, broken ones, endless ones.

use tokio::time::timeout;

use super::calls::{record, success, unknown_code};
use super::*;
use crate::domain::failure::{CallError, ItemError, Remote, ServiceErrorKind};
use crate::testing::stub_server::{Then, odd_servers};

/// Long enough for the largest answer that is read, and short for a person who waits for the tests.
const SHORT: Duration = Duration::from_secs(1);

/// Longer than any deadline here, on however busy a machine: what is not over by then never ends.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upsert_that_an_odd_server_took_is_over_by_its_deadline_and_in_doubt() {
    for (what, answer, expected) in odd_servers() {
        let world = World::new(move |_| answer()).await;
        let bigin = world.bigin();
        // Its deadline is no matter of the token's.
        bigin
            .tokens
            .get(DEADLINE)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let deadline = if expected == "timeout" { SHORT } else { DEADLINE };
        let outcome = timeout(PATIENCE, bigin.upsert(&[&record("Ada")], &["Email"], deadline)).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("a server that {what} is waited for"));
        assert_eq!(unknown_code(outcome), expected, "a server that {what}");
        assert_eq!(world.server.requests("/upsert").len(), 1, "a server that {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_accounts_server_is_in_trouble_by_itself_and_nothing_is_sent_to_bigin() {
    for (what, answer, _) in odd_servers() {
        let world = World {
            server: StubServer::start(move |_| answer()).await,
            ..World::of_tokens().await
        };
        let outcome = timeout(PATIENCE, world.bigin().upsert(&[&record("Ada")], &["Email"], SHORT)).await;
        match outcome.unwrap_or_else(|_| panic!("a server that {what} is waited for")) {
            Err(CallError::Service(service_error)) => {
                assert_eq!(
                    (service_error.remote, service_error.kind),
                    (Remote::ZohoAccounts, ServiceErrorKind::Unavailable),
                    "a server that {what}"
                );
            }
            other => panic!("a server that {what}: {other:?}"),
        }
        assert!(world.server.requests("/upsert").is_empty(), "a server that {what}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_so_that_no_token_and_no_record_travels() {
    let elsewhere = StubServer::start(|_| Reply::Json(200, json!({"data": []}))).await;
    for status in [301, 302, 303, 307, 308] {
        for target in [
            elsewhere.url.join("/elsewhere").unwrap().to_string(),
            "/elsewhere".to_owned(),
        ] {
            let target = target.clone();
            let world = World::new(move |_| {
                let head = format!("HTTP/1.1 {status} Moved\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
                Reply::Raw(head.into_bytes(), Then::Close)
            })
            .await;
            let outcome = world.bigin().upsert(&[&record("Ada")], &["Email"], DEADLINE).await;
            assert_eq!(unknown_code(outcome), format!("HTTP {status}"));
            assert!(world.server.requests("/elsewhere").is_empty(), "{status}");
        }
    }
    assert!(elsewhere.requests("").is_empty());
}

#[tokio::test]
async fn a_mark_before_the_answer_and_packing_cost_nothing() {
    let world = World::new(|request| {
        assert_eq!(request.header("accept-encoding"), Some("gzip"));
        let body = format!("\u{feff}{}", json!({"data": [success("1", "insert")]}));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, body.as_bytes()).unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: text/plain;charset=ISO-8859-1\r\n\r\n";
        Reply::Raw([head.as_bytes(), &packed.finish().unwrap()].concat(), Then::Close)
    })
    .await;
    let results = world.bigin().upsert(&[&record("Ada")], &[], DEADLINE).await.unwrap();
    assert!(results[0].is_ok());
}

#[tokio::test]
async fn a_deeply_nested_answer_is_no_answer() {
    let nested = || {
        Reply::Raw(
            ["HTTP/1.1 200 OK\r\n\r\n", &"[".repeat(100_000)].concat().into_bytes(),
            Then::Close,
        )
    };
    let world = World::new(move |_| nested()).await;
    let outcome = world.bigin().upsert(&[&record("Ada")], &[], DEADLINE).await;
    assert_eq!(unknown_code(outcome), "HTTP 200");
}

#[tokio::test]
async fn the_contact_that_has_a_value_already_is_not_the_one_that_was_asked_for() {
    // As CRM names it: the id of a contact outside of the call, or of one that is updated beside it.
    for other in ["3", "2", "1"] {
        let duplicate = json!({
            "code": "DUPLICATE_DATA", "details": {"api_name": "Email", "id": other}, "status": "error"
        });
        let data = json!({"data": [duplicate, {"code": "SUCCESS", "details": {"id": "2"}, "status": "success"}]});
        let world = World::new(move |_| Reply::Json(207, data.clone())).await;
        let records = ["1", "2"].map(|id| (crate::domain::lead::ContactId::parse(id).unwrap(), record("Ada")));
        let records = records.each_ref().map(|(id, record)| (id, record));
        let results = world.bigin().update(&records, DEADLINE).await.unwrap();
        let [Err(ItemError::Rejected { reason, .. }), Ok(updated)] = &results[..] else {
            panic!("{other}: {results:?}");
        };
        assert_eq!(
            reason.to_string(),
            format!("Bigin rejected Email: contact {other} already has this value")
        );
        assert_eq!(updated.contact.as_str(), "2");
    }
}

#[tokio::test]
async fn an_answer_about_another_contact_is_never_taken_for_the_one_asked_for() {
    let other = |id: &str| json!({"code": "SUCCESS", "details": {"id": id}, "status": "success"});
    // Of two contacts one is answered for twice, or a stranger: it is not known what became of the second.
    for ids in [["1", "1"], ["1", "3"], ["3", "3"]] {
        let data = json!({"data": ids.map(other)});
        let world = World::new(move |_| Reply::Json(200, data.clone())).await;
        let bigin = world.bigin();
        let contacts = ["1", "2"].map(|id| crate::domain::lead::ContactId::parse(id).unwrap());
        assert_eq!(
            unknown_code(bigin.add_tags(&contacts, DEADLINE).await),
            "WRONG_RECORDS",
            "{ids:?}"
        );
        let ada = record("Ada");
        let records = contacts.each_ref().map(|id| (id, &ada));
        assert_eq!(
            unknown_code(bigin.update(&records, DEADLINE).await),
            "WRONG_RECORDS",
            "{ids:?}"
        );
    }
}

#[tokio::test]
async fn the_results_of_an_update_find_their_contacts_in_whatever_order_they_come() {
    let locked = json!({"code": "RECORD_LOCKED", "details": {}, "message": "", "status": "error"});
    let gone = json!({"code": "INVALID_DATA", "details": {"id": "2"}, "message": "the id given seems to be invalid", "status": "error"});
    let data = json!({"data": [success("3", "update"), locked, gone]});
    let world = World::new(move |_| Reply::Json(207, data.clone())).await;
    let records = ["1", "2", "3"].map(|id| (crate::domain::lead::ContactId::parse(id).unwrap(), record("Ada")));
    let records = records.each_ref().map(|(id, record)| (id, record));
    let results = world.bigin().update(&records, DEADLINE).await.unwrap();
    assert!(matches!(&results[0], Err(ItemError::Retry { code }) if code == "RECORD_LOCKED"));
    assert_eq!(results[1], Err(ItemError::ContactGone));
    assert!(results[2].is_ok());
}

#[tokio::test]
async fn a_token_that_lasts_no_time_by_its_answer_costs_no_grant_for_every_call() {
    for expires_in in [
        json!(0),
        json!("0"),
        json!(-1),
        json!(null),
        json!("soon"),
        json!(3600.5),
        json!(1e300),
    ] {
        let body = json!({"access_token": "t", "expires_in": expires_in});
        let world = World {
            server: StubServer::start(move |request| match request.path() {
                "/oauth/v2/token" => Reply::Json(200, body.clone()),
                _ => Reply::Text(204, ""),
            })
            .await,
            ..World::of_tokens().await
        };
        let bigin = world.bigin();
        for _ in 0..5 {
            call(&bigin).await.unwrap();
        }
        assert_eq!(world.server.requests("/token").len(), 1, "{expires_in}");
    }
}
