//! Tests of what goes over the wire, and of how results find their records.

use serde_json::Value;

use super::*;
use crate::bigin::{Found, Upserted};
use crate::domain::failure::{CallError, ItemError, ServiceErrorKind};
use crate::domain::lead::ContactId;
use crate::domain::record::{Action, Record};

pub(super) fn record(name: &str) -> Record {
    let mut record = Record::default();
    record.set("Last_Name", name.into());
    record
}

fn id(digits: &str) -> ContactId {
    ContactId::parse(digits).unwrap()
}

pub(super) fn success(id: &str, action: &str) -> Value {
    json!({"code": "SUCCESS", "duplicate_field": "Email", "action": action, "message": "record updated",
        "details": {"id": id, "Created_Time": "2026-10-09T22:10:52+03:00"}, "status": "success"})
}

fn gone(id: &str) -> Value {
    json!({"code": "INVALID_DATA", "details": {"id": id}, "message": "the id given seems to be invalid", "status": "error"})
}

pub(super) fn unknown_code<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Err(CallError::Ambiguous { code, .. }) => code,
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn an_upsert_sends_the_records_and_reads_one_result_for_each() {
    let bad = json!({"code": "INVALID_DATA", "details": {"expected_data_type": "email", "api_name": "Email"},
        "message": "invalid data", "status": "error"});
    let data = json!({"data": [success("7618134000000646043", "insert"), bad, success("11", "update")]});
    let world = World::new(move |_| Reply::Json(207, data.clone())).await;
    let records = [record("Ada"), record("Bob"), record("Cy")];
    let results = world
        .bigin()
        .upsert(&records.each_ref(), &["Lead_Id", "Email"], DEADLINE)
        .await
        .unwrap();
    let upserted = |digits, action| Upserted {
        contact: id(digits),
        action,
    };
    assert_eq!(results[0], Ok(upserted("7618134000000646043", Action::Insert)));
    assert!(matches!(&results[1], Err(ItemError::Rejected { code, .. }) if code == "INVALID_DATA"));
    assert_eq!(results[2], Ok(upserted("11", Action::Update)));

    let sent = &world.server.requests("/bigin/v2/Contacts/upsert")[0];
    assert_eq!(sent.method, "POST");
    assert_eq!(sent.header("authorization"), Some("Zoho-oauthtoken token-1"));
    assert_eq!(
        sent.json(),
        json!({"data": [{"Last_Name": "Ada"}, {"Last_Name": "Bob"}, {"Last_Name": "Cy"}],
            "duplicate_check_fields": ["Lead_Id", "Email"], "trigger": ["workflow"]})
    );
}

#[tokio::test]
async fn an_answer_that_names_no_contact_or_too_few_leaves_the_outcome_unknown() {
    let nameless = json!({"code": "SUCCESS", "details": {}, "status": "success"});
    let cases = [
        (json!({"data": [nameless]}), "UNREADABLE_ANSWER"),
        (json!({"data": []}), "WRONG_COUNT"),
        (
            json!({"data": [success("1", "insert"), success("2", "insert")]}),
            "WRONG_COUNT",
        ),
        (json!({}), "NO_RESULTS"),
    ];
    for (body, code) in cases {
        let label = body.to_string();
        let world = World::new(move |_| Reply::Json(200, body.clone())).await;
        let result = world.bigin().upsert(&[&record("Ada")], &[], DEADLINE).await;
        assert_eq!(unknown_code(result), code, "{label}");
        let sent = world.server.requests("/upsert")[0].json();
        assert!(sent.get("duplicate_check_fields").is_none());
    }
}

#[tokio::test]
async fn an_update_goes_by_id_and_finds_out_who_is_gone() {
    let data = json!({"data": [success("1", ""), gone("2")]});
    let world = World::new(move |_| Reply::Json(202, data.clone())).await;
    let records = [(id("1"), record("Ada")), (id("2"), record("Bob"))];
    let records = records.each_ref().map(|(id, record)| (id, record));
    let results = world.bigin().update(&records, DEADLINE).await.unwrap();
    let updated = Upserted {
        contact: id("1"),
        action: Action::Update,
    };
    assert_eq!(results, [Ok(updated), Err(ItemError::ContactGone)]);
    let sent = &world.server.requests("/bigin/v2/Contacts")[0];
    assert_eq!(sent.method, "PUT");
    assert_eq!(
        sent.json(),
        json!({"data": [{"id": "1", "Last_Name": "Ada"}, {"id": "2", "Last_Name": "Bob"}], "trigger": ["workflow"]})
    );
}

#[tokio::test]
async fn tags_are_matched_by_id_and_else_by_order() {
    let tagged =
        |id: &str, tags: Value| json!({"code": "SUCCESS", "details": {"id": id, "tags": tags}, "status": "success"});
    let nameless = json!({"code": "RECORD_LOCKED", "details": {}, "message": "", "status": "error"});
    let objects = json!([{"name": "X", "id": "9", "color_code": null}]);
    let data =
        json!({"data": [tagged("3", json!(["X"])), nameless, tagged("1", objects), gone("4")], "success_count": "2"});
    let world = World::new(move |_| Reply::Json(200, data.clone())).await;
    let contacts = [id("3"), id("2"), id("1"), id("4"), id("2")];
    let results = world.bigin().add_tags(&contacts, DEADLINE).await.unwrap();
    let locked = Err(ItemError::Retry {
        code: "RECORD_LOCKED".to_owned(),
    });
    assert_eq!(
        results,
        [Ok(()), locked.clone(), Ok(()), Err(ItemError::ContactGone), locked]
    );

    let sent = &world.server.requests("/bigin/v1/Contacts/actions/add_tags")[0];
    assert_eq!((sent.method.as_str(), sent.body.as_str()), ("POST", ""));
    assert_eq!(sent.header("content-length"), Some("0"));
    assert_eq!(sent.query("ids").as_deref(), Some("1,2,3,4"));
    assert_eq!(
        sent.query("tag_names").as_deref(),
        Some("DBR_Dashboard_Import,Two words")
    );
    assert_eq!(sent.query("over_write").as_deref(), Some("false"));
}

#[tokio::test]
async fn a_single_contact_may_be_gone_without_any_data() {
    let world = World::new(|_| Reply::Json(400, gone("4"))).await;
    let bigin = world.bigin();
    assert_eq!(
        bigin.add_tags(&[id("4")], DEADLINE).await.unwrap(),
        [Err(ItemError::ContactGone)]
    );
    let two = bigin.add_tags(&[id("4"), id("5")], DEADLINE).await;
    assert!(matches!(two, Err(CallError::Rejected { code, .. }) if code == "INVALID_DATA"));
}

#[tokio::test]
async fn contacts_are_found_by_phone_fifty_spellings_at_a_time() {
    let world = World::new(|request| match request.body.contains("'+440'") {
        true => Reply::Json(
            200,
            json!({"data": [{"id": "5", "Phone": "+440", "Mobile": null}, {"id": "6", "Phone": "", "Mobile": "044"}],
                "info": {"count": 2, "more_records": false}}),
        ),
        false => Reply::Text(204, ""),
    })
    .await;
    let mut spellings: Vec<String> = (0..60).map(|n| format!("+44{n}")).collect();
    spellings.push("' or id > '".to_owned());
    let found = world.bigin().find_by_phone(&spellings, DEADLINE).await.unwrap();
    let contact = |digits, phone: &str| Found {
        contact: id(digits),
        phones: vec![phone.to_owned()],
    };
    assert_eq!(found, [contact("5", "+440"), contact("6", "044")]);
    let queries = world.server.requests("/bigin/v2/coql");
    assert_eq!(queries.len(), 2);
    assert!(queries.iter().all(|query| !query.body.contains("id >")));
    assert!(!format!("{found:?}").contains("044"));
}

#[tokio::test]
async fn the_organisations_fields_are_read() {
    let world = World::new(|_| {
        Reply::Json(
            200,
            json!({"fields": [
                {"api_name": "Email", "field_label": "E-mail", "data_type": "email", "length": 100,
                    "unique": {"casesensitive": "0"}, "read_only": false, "field_read_only": false},
                {"api_name": "Phone", "data_type": "phone", "length": 50, "unique": {}},
                {"api_name": "Created_Time", "data_type": "datetime", "field_read_only": true},
                {"no_name": true},
            ]}),
        )
    })
    .await;
    let fields = world.bigin().fields(DEADLINE).await.unwrap();
    assert_eq!(fields.0.len(), 3);
    assert!(fields.is_unique("Email") && !fields.is_unique("Phone"));
    assert_eq!(fields.0["Email"].label, "E-mail");
    assert_eq!(
        (fields.0["Phone"].label.as_str(), fields.0["Phone"].length),
        ("Phone", Some(50))
    );
    assert!(fields.writable("Created_Time").is_none() && fields.writable("Phone").is_some());
    let sent = &world.server.requests("/bigin/v2/settings/fields")[0];
    assert_eq!(sent.query("module").as_deref(), Some("Contacts"));
}

#[tokio::test]
async fn trouble_on_the_way_is_told_apart() {
    let world = World::new(|request| match request.json()["select_query"].as_str() {
        Some(_) => Reply::Lost,
        None => Reply::Headed(429, "retry-after: 9", json!({"code": "TOO_MANY_REQUESTS"})),
    })
    .await;
    let bigin = world.bigin();
    assert_eq!(unknown_code(call(&bigin).await), "connection lost");
    match bigin.upsert(&[&record("Ada")], &[], DEADLINE).await {
        Err(CallError::Service(service_error)) => {
            assert_eq!(
                (service_error.kind, service_error.retry_after),
                (ServiceErrorKind::RateLimited, Some(Duration::from_secs(9)))
            );
        }
        other => panic!("{other:?}"),
    }

    // No server listens there.
    let settings = BiginSettings {
        api_domain: Some("http://127.0.0.1:1".parse().unwrap()),
        ..world.settings()
    };
    match call(&world.bigin_with(settings)).await {
        Err(CallError::Service(service_error)) => {
            assert_eq!(
                (service_error.kind, service_error.code.as_str()),
                (ServiceErrorKind::Unavailable, "connect")
            )
        }
        other => panic!("{other:?}"),
    }
    // Nothing is sent without time.
    let before = world.server.requests("/upsert").len();
    bigin.upsert(&[&record("Ada")], &[], Duration::ZERO).await.unwrap_err();
    assert_eq!(world.server.requests("/upsert").len(), before);
}

#[tokio::test]
async fn no_call_is_made_for_nothing_or_for_too_much() {
    let world = World::of_tokens().await;
    let bigin = world.bigin();
    assert_eq!(bigin.upsert(&[], &[], DEADLINE).await.unwrap(), []);
    assert_eq!(bigin.update(&[], DEADLINE).await.unwrap(), []);
    assert_eq!(bigin.add_tags(&[], DEADLINE).await.unwrap(), []);
    assert_eq!(bigin.find_by_phone(&["'".to_owned()], DEADLINE).await.unwrap(), []);
    let ada = record("Ada");
    let many = vec![&ada; 101];
    assert!(matches!(
        bigin.upsert(&many, &[], DEADLINE).await,
        Err(CallError::Rejected { .. })
    ));
    assert_eq!(world.grants(), 0);
}

#[test]
fn no_secret_shows_in_the_settings_debug_form() {
    let settings = BiginSettings {
        accounts_url: "https://accounts.zoho.eu".parse().unwrap(),
        api_domain: None,
        client_id: "1000.ID".to_owned(),
        client_secret: SecretString::from("hush-1".to_owned()),
        refresh_token: SecretString::from("hush-2".to_owned()),
        tags: Vec::new(),
        lead_id_field: None,
        max_concurrency: 1,
        web_url: String::new(),
    };
    assert!(!format!("{settings:?}").contains("hush"));
}
