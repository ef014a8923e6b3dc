//! Whatever comes as an answer of Bigin: nothing panics, nothing personal is repeated, and only what names its contact is
//! a success.

use std::time::Duration;

use proptest::prelude::*;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::bigin::answer::{body, items};
use crate::bigin::{fields, item, upserted};
use crate::domain::failure::{CallError, ItemError};
use crate::domain::lead::ContactId;
use crate::http_client::Answer;
use crate::testing::arbitrary_json::{self, answers, config, tells};

const KEYS: &[&str] = &[
    "data",
    "code",
    "status",
    "message",
    "details",
    "id",
    "api_name",
    "action",
    "duplicate_record",
    "expected_data_type",
    "maximum_length",
    "fields",
    "length",
    "unique",
];

const TEXTS: &[&str] = &[
    "SUCCESS",
    "success",
    "error",
    "INVALID_DATA",
    "INVALID_TOKEN",
    "DUPLICATE_DATA",
    "MANDATORY_NOT_FOUND",
    "RECORD_NOT_FOUND",
    "LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
    "7618134000000646043",
    "1",
    "Email",
    "id",
    "insert",
    "email",
    "record added",
    "the id given seems to be invalid",
];

fn answer(status: u16, json: Option<Value>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: Some(Duration::from_secs(7)),
        json,
    }
}

/// Results of records in the usual frame, each of them strange.
fn framed() -> impl Strategy<Value = (u16, Option<Value>)> {
    let items = prop::collection::vec(arbitrary_json::json(KEYS, TEXTS), 1..4);
    let framed = (200..220u16, items).prop_map(|(status, items)| (status, Some(json!({ "data": items }))));
    prop_oneof![framed, answers(KEYS, TEXTS)]
}

fn sentence(error: &CallError) -> String {
    format!("{error} {error:?}")
}

/// The digits at `details.id`, read as plainly as can be.
fn id_of(item: &Value) -> Option<String> {
    let id = &item["details"]["id"];
    let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let is_id = (1..=30).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
    is_id.then_some(text)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_that_bigin_repeats_of_a_lead_is_repeated((status, json) in framed(), asked in 0..4usize, by_id: bool) {
        let answer = answer(status, json);
        for error in [items(&answer, "Some.scope", asked).err(), body(&answer, "Some.scope").err()].into_iter().flatten() {
            prop_assert!(!tells(&sentence(&error)), "{}", error);
        }
        for item in items(&answer, "Some.scope", asked).unwrap_or_default() {
            if let Err(error) = item::judge(item, answer.status, by_id) {
                let shown = format!("{error:?}");
                prop_assert!(!tells(&shown), "{}", shown);
            }
        }
    }

    #[test]
    fn there_is_one_result_for_each_record_or_none_for_any((status, json) in framed(), asked in 1..4usize) {
        let answer = answer(status, json);
        if let Ok(items) = items(&answer, "Some.scope", asked) {
            prop_assert_eq!(items.len(), asked);
        }
    }

    #[test]
    fn an_upsert_has_succeeded_only_where_its_contact_is_named(item in arbitrary_json::json(KEYS, TEXTS), status in 200..600u16) {
        let status = StatusCode::from_u16(status).unwrap();
        let result = upserted(&item, item::judge(&item, status, false));
        let says_so = item["status"].as_str().map_or(item["code"] == "SUCCESS", |word| word.eq_ignore_ascii_case("success"));
        match result {
            Ok(Ok(upserted)) => {
                prop_assert!(says_so);
                prop_assert_eq!(Some(upserted.contact.to_string()), id_of(&item));
            }
            Ok(Err(error)) => {
                prop_assert!(!says_so);
                prop_assert!(error != ItemError::ContactGone, "no id was sent");
            }
            Err(error) => {
                prop_assert!(says_so && id_of(&item).is_none());
                prop_assert!(!tells(&sentence(&error)));
            }
        }
    }

    #[test]
    fn a_result_that_names_a_contact_is_that_contacts(items in prop::collection::vec(arbitrary_json::json(KEYS, TEXTS), 2)) {
        let ids = ["1", "7618134000000646043"].map(|id| ContactId::parse(id).unwrap());
        let contacts: Vec<&ContactId> = ids.iter().collect();
        let named: Vec<String> = items.iter().filter_map(id_of).collect();
        match item::in_order_of(&contacts, &items) {
            Ok(placed) => {
                prop_assert_eq!(placed.len(), 2);
                for (contact, item) in contacts.iter().zip(placed) {
                    let names_it = |item: &Value| id_of(item).as_deref() == Some(contact.as_str());
                    prop_assert_eq!(names_it(item), items.iter().any(names_it));
                }
            }
            Err(error) => {
                let is_foreign = |id: &String| ids.iter().all(|own| own.as_str() != id);
                let is_repeated = named.len() == 2 && named[0] == named[1];
                prop_assert!(is_repeated || named.iter().any(is_foreign), "{error:?}");
            }
        }
    }

    #[test]
    fn fields_are_read_from_whatever_comes(body in arbitrary_json::json(KEYS, TEXTS)) {
        if let Some(fields) = fields::parse(&body) {
            prop_assert!(!fields.0.is_empty());
            prop_assert!(fields.0.values().all(|field| field.length != Some(0)));
        }
    }
}
