//! Whatever comes as an answer of Sanity: nothing panics, nothing personal is repeated, and only what was committed is
//! taken for committed.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::super::{CommitError, answer as judging};
use super::answer;
use crate::testing::arbitrary_json::{self, answers, config, tells};

const KEYS: &[&str] = &[
    "transactionId",
    "results",
    "error",
    "type",
    "description",
    "items",
    "index",
    "id",
    "errorCode",
    "statusCode",
    "message",
];

const TEXTS: &[&str] = &[
    "mutationError",
    "documentRevisionIDDoesNotMatchError",
    "documentNotFoundError",
    "transactionAlreadyExistsError",
    "transactionConflictError",
    "projectNotFoundError",
    "SIO-401-ANF",
    "a",
    "drafts.a",
    "b",
];

const MUTATIONS: [(usize, &str); 3] = [(0, "a"), (0, "drafts.a"), (1, "b")];

/// Mutation errors in their usual frame, with strange items.
fn framed() -> impl Strategy<Value = (u16, Option<Value>)> {
    let items = prop::collection::vec(arbitrary_json::json(KEYS, TEXTS), 0..4);
    let framed = (400..410u16, items).prop_map(|(status, items)| {
        (
            status,
            Some(json!({"error": {"type": "mutationError", "items": items}})),
        )
    });
    let named = (select(vec![400u16, 404, 409, 500]), select(TEXTS));
    let named = named.prop_map(|(status, kind)| (status, Some(json!({"error": {"type": kind}}))));
    prop_oneof![framed, named, answers(KEYS, TEXTS)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn only_json_with_a_good_status_is_an_answer((status, json) in answers(KEYS, TEXTS)) {
        let good = (200..300).contains(&status) && json.is_some();
        let answer = answer(status, json);
        let judged = judging::judge(&answer, "production");
        prop_assert_eq!(judged.is_ok(), good);
        if let Err(error) = judged {
            let shown = format!("{error} {error:?}");
            prop_assert!(!tells(&shown), "{}", shown);
        }
    }

    #[test]
    fn a_commit_is_taken_for_one_only_where_sanity_says_so((status, json) in framed()) {
        let said = json.clone().unwrap_or_default();
        let kind = said["error"]["type"].as_str().or_else(|| said["errorCode"].as_str());
        let is_receipt = said["transactionId"].is_string() || said["results"].is_array();
        let committed = match (200..300).contains(&status) {
            true => is_receipt,
            false => kind == Some("transactionAlreadyExistsError"),
        };
        let judged = judging::judge_commit(&answer(status, json), "production", &MUTATIONS);
        prop_assert_eq!(judged.is_ok(), committed);
        match judged {
            Err(CommitError::Conflict(places)) => {
                prop_assert!(places == [0] || places == [1] || places == [0, 1], "{:?}", places);
            }
            Err(error) => prop_assert!(!tells(&format!("{error} {error:?}")), "{}", error),
            Ok(()) => {}
        }
    }
}
