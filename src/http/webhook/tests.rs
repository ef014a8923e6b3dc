//! Malformed webhooks: whatever the body, the answer is one of the few there are, and what is stored names a
//! lead.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, test as server};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::domain::retry::RetryPolicy;
use crate::http;
use crate::signature::{Secrets, sign};
use crate::store::sqlite;
use crate::store::{Ledger, StoreSettings};

const SECRET: &str = "invented-webhook-secret";

/// Bodies of one test share a server and its file, since both take longer to make than the bodies.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: if asked.cases == 256 { 24 } else { asked.cases },
        failure_persistence: None,
        ..asked
    }
}

fn settings() -> StoreSettings {
    let second = Duration::from_secs(1);
    StoreSettings {
        lease: second,
        tag_delay: second,
        ambiguity_delay: second,
        retry: RetryPolicy {
            base_delay: second,
            max_delay: second,
            give_up_after: second,
        },
    }
}

/// Posts the bodies, one after the other. Returns each one's status and what the ledger said after it.
fn post(bodies: &[Vec<u8>], secret: &str) -> Vec<(u16, Ledger)> {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
    let signed_at = u64::try_from(clock.now().as_millisecond()).unwrap();
    let store = Arc::new(
        sqlite::open(
            &folder.path().join("test.db"),
            clock.clone(),
            Arc::default(),
            settings(),
        )
        .unwrap(),
    );
    let state = web::Data::new(AppState {
        store: store.clone(),
        clock,
        secrets: Secrets::new(SECRET.into(), None).unwrap(),
        max_age: None,
        lead_type: "dbrLead".to_owned(),
        links: http::Links {
            by_https: false,
            studio: None,
            bigin: String::new(),
        },
        tag_delay: Duration::ZERO,
        give_up_after: Duration::ZERO,
        daily_credits: None,
        admin: None,
        cors_origin: None,
        large_bodies: Semaphore::new(http::LARGE_BODIES),
        streams: Arc::new(Semaphore::new(1)),
        send_wait: Duration::from_secs(1),
        metrics: Arc::default(),
        scraping: tokio::sync::Mutex::default(),
        idle_check: tokio::sync::Notify::new(),
        started_at: Timestamp::UNIX_EPOCH,
        stopping: tokio::sync::watch::channel(false).0,
    });
    actix_web::rt::System::new().block_on(async {
        let app = server::init_service(
            App::new()
                .app_data(state)
                .configure(|config| http::routes(config, None)),
        )
        .await;
        let mut answers = Vec::new();
        for body in bodies {
            let request = server::TestRequest::post()
                .uri("/webhooks/sanity")
                .insert_header((signature::HEADER, sign(body, signed_at, secret.as_bytes())))
                .set_payload(body.clone())
                .to_request();
            let status = server::call_service(&app, request).await.status().as_u16();
            answers.push((status, store.ledger().await.unwrap()));
        }
        answers
    })
}

/// Values as they stand in a body: some that fit, and some that try every corner of a parser.
fn values() -> impl Strategy<Value = String> {
    let fitting = [
        r#""lead-ada""#,
        r#""lead-bob""#,
        r#""drafts.lead-ada""#,
        r#""dbrLead""#,
        r#""page""#,
        r#""REQUESTED""#,
        r#""SENT""#,
        r#""2026-11-22T09:00:00Z""#,
        r#""r1""#,
        r#""""#,
        "null",
    ];
    let corners = [
        r#""\ud83d""#,
        r#""\u0000""#,
        r#""not an id""#,
        "1e999",
        "-0.0",
        "99999999999999999999999999999999",
        "true",
        "[]",
        r#"{"_id":"x"}"#,
        "nul",
        "\"",
        "\"\u{7f}\u{feff}\"",
    ];
    prop_oneof![
        6 => select(fitting.to_vec()).prop_map(str::to_owned),
        2 => select(corners.to_vec()).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| Value::from(text).to_string()),
        1 => (1..3000usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
    ]
}

/// Objects whose members may come twice, in any order, or not at all.
fn objects() -> impl Strategy<Value = Vec<u8>> {
    let keys = select(vec![
        "_id",
        "_type",
        "_rev",
        "_updatedAt",
        "crmStatus",
        "conversationHistory",
    ]);
    let members = prop::collection::vec((keys, values()), 0..6);
    let id = prop_oneof![6 => Just(r#""lead-ada""#.to_owned()), 1 => values()];
    (id, members, any::<bool>()).prop_map(|(id, members, named)| {
        let own = named.then_some(("_id", id));
        let members = own.into_iter().chain(members);
        let members: Vec<_> = members.map(|(key, value)| format!("\"{key}\": {value}")).collect();
        format!(" {{{}}}", members.join(",")).into_bytes()
    })
}

fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let bytes = prop::collection::vec(any::<u8>(), 1..60);
    let text = values().prop_map(String::into_bytes);
    let body = prop_oneof![8 => objects(), 1 => text, 1 => bytes];
    let body = body.prop_filter("an empty body cannot be signed", |body| !body.is_empty());
    prop::collection::vec(body, 1..20)
}

/// What a good body says, where nothing about it is in doubt: every member once, and none but texts and nulls.
fn said(body: &[u8]) -> Option<[Option<String>; 3]> {
    let Value::Object(members) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    let keys = ["_id", "_type", "crmStatus", "_rev", "_updatedAt"];
    let count = |key: &str| String::from_utf8_lossy(body).matches(&format!("\"{key}\":")).count();
    let plain = |key: &&str| {
        count(key) <= 1
            && members
                .get(*key)
                .is_none_or(|value| value.is_string() || value.is_null())
    };
    let text = |key: &str| members.get(key).and_then(Value::as_str).map(str::to_owned);
    keys.iter().all(plain).then(|| ["_id", "_type", "crmStatus"].map(text))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_signed_body_is_stored_ignored_or_malformed_and_nothing_else(bodies in bodies()) {
        let mut before = Ledger::default();
        for ((status, ledger), body) in post(&bodies, SECRET).into_iter().zip(&bodies) {
            let shown = String::from_utf8_lossy(body);
            let accepted = ledger.accepted - before.accepted;
            let duplicates = ledger.duplicates - before.duplicates;
            match status {
                202 => assert_eq!((accepted, duplicates), (1, 0), "{shown}"),
                200 => assert_eq!(accepted, duplicates, "{shown}"),
                400 => assert_eq!(ledger, before, "{shown}"),
                other => panic!("{other} for {shown}"),
            }
            assert!(ledger.balances());
            before = ledger;
        }
    }

    #[test]
    fn a_signed_body_that_asks_for_a_lead_is_never_turned_away(bodies in bodies()) {
        let mut before = Ledger::default();
        for ((status, ledger), body) in post(&bodies, SECRET).into_iter().zip(&bodies) {
            let accepted = ledger.accepted > before.accepted;
            before = ledger;
            let Some([id, kind, crm_status]) = said(body) else {
                continue;
            };
            let ours = kind.is_none_or(|kind| kind == "dbrLead") && crm_status.is_none_or(|said| said == REQUESTED);
            let asks = id.is_some_and(|id| id == "lead-ada" || id == "lead-bob") && ours;
            let shown = String::from_utf8_lossy(body);
            assert!(!asks || (accepted && matches!(status, 200 | 202)), "{status} for {shown}");
        }
    }

    #[test]
    fn a_body_that_nobody_signed_is_not_looked_at(bodies in bodies()) {
        for (status, ledger) in post(&bodies, "another secret") {
            assert_eq!((status, ledger), (401, Ledger::default()));
        }
    }
}
