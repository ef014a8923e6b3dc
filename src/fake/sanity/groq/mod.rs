//! A small honest part of GROQ: filters, order, slices and projections of plain fields (GROQ specification). What it does not
//! know it refuses, as the real one refuses a query that is not GROQ.

mod error;
mod eval;
mod lex;
mod parse;

use jiff::Timestamp;
use serde_json::Value;

pub(super) use self::error::GroqError;

use self::eval::{Evaluation, Params};
use super::document::Document;

/// Answers a query over documents, as of `now`.
pub(super) fn run<'a>(
    query: &str,
    params: &Params,
    documents: impl Iterator<Item = &'a Document>,
    now: Timestamp,
) -> Result<Value, GroqError> {
    let query = parse::parse(query)?;
    Evaluation { params, now }.answer(&query, documents)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leads() -> Vec<Document> {
        let lead = |id: &str, status: Value, updated: &str, age: Value| {
            let lead = json!({"_id": id, "_type": "dbrLead", "crmStatus": status, "_updatedAt": updated, "age": age});
            lead.as_object().unwrap().clone()
        };
        vec![
            lead("a", json!("REQUESTED"), "2026-11-22T09:58:00Z", json!(3)),
            lead("b", json!("SENT"), "2026-11-22T09:00:00Z", json!("x")),
            lead("c", json!("REQUESTED"), "2026-11-22T09:59:45Z", json!(1.5)),
            lead("drafts.a", json!("REQUESTED"), "2026-11-22T08:00:00Z", json!(null)),
            lead("d", json!(null), "2026-11-22T07:00:00Z", json!(true)),
        ]
    }

    fn ask(query: &str) -> Result<Value, GroqError> {
        let params = json!({"status": "REQUESTED", "age": 30, "after": "a", "limit": 2, "ids": ["a", "d"]});
        let params = params.as_object().unwrap().clone().into_iter().collect();
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        run(query, &params, leads().iter(), now)
    }

    #[test]
    fn filters_find_what_the_specification_has_them_find() {
        let cases = [
            (r#"_id == "a""#, "a"),
            ("_id == 'a'", "a"),
            ("crmStatus == $status", "a c drafts.a"),
            ("crmStatus != $status", "b d"),
            ("crmStatus == null", "d"),
            ("missing == null", "a b c drafts.a d"),
            ("missing == missing", "a b c drafts.a d"),
            ("missing < 1", ""),
            ("!(missing < 1)", ""),
            ("defined(crmStatus)", "a b c drafts.a"),
            ("!defined(crmStatus)", "d"),
            ("age > 1", "a c"),
            ("age >= 3 || age == true", "a d"),
            ("age == 3.0", "a"),
            ("age - 1 == 2", "a"),
            ("!(_id in path(\"drafts.**\"))", "a b c d"),
            ("_id in path('drafts.*')", "drafts.a"),
            ("_id in path('*')", "a b c d"),
            ("_id in ['b', 'c']", "b c"),
            ("_id in $ids", "a d"),
            ("_updatedAt < '2026-11-22T09:00:00Z'", "drafts.a d"),
            ("dateTime(_updatedAt) < dateTime(now()) - $age", "a b drafts.a d"),
            ("dateTime(_updatedAt) < now() - 30", ""),
            ("dateTime(age) == null", "a b c drafts.a d"),
            ("_updatedAt < now()", "a b c drafts.a d"),
            ("_id > $after && crmStatus == $status", "c drafts.a"),
            ("true", "a b c drafts.a d"),
            ("null", ""),
            ("1", ""),
        ];
        for (filter, expected) in cases {
            let expected: Vec<&str> = expected.split_whitespace().collect();
            let found = ask(&format!("*[{filter}]{{_id}}")).unwrap();
            let found: Vec<&str> = found
                .as_array()
                .unwrap()
                .iter()
                .map(|lead| lead["_id"].as_str().unwrap())
                .collect();
            assert_eq!(found, expected, "{filter}");
        }
    }

    #[test]
    fn results_are_ordered_cut_and_projected() {
        let cases = [
            ("count(*[crmStatus == $status])", json!(3)),
            ("count(*)", json!(5)),
            ("*[_id == 'a'][0]{_id, nothing}", json!({"_id": "a", "nothing": null})),
            ("*[_id == 'z'][0]{_id}", json!(null)),
            ("*[] {_id}", json!(null)),
            (
                "*[true] | order(_id desc) [0...2] {_id}",
                json!([{"_id": "drafts.a"}, {"_id": "d"}]),
            ),
            ("*[true]{_id} [0..1]", json!([{"_id": "a"}, {"_id": "b"}])),
            (
                "*[true] | order(_id asc) [0...$limit]{_id}",
                json!([{"_id": "a"}, {"_id": "b"}]),
            ),
            ("*[true] | order(_id) [7...9]{_id}", json!([])),
            (
                "*[true] | order(age, _id desc){age}",
                json!([{"age": 1.5}, {"age": 3}, {"age": "x"}, {"age": true}, {"age": null}]),
            ),
        ];
        for (query, expected) in cases {
            match ask(query) {
                Ok(found) => assert_eq!(found, expected, "{query}"),
                Err(error) => assert!(expected.is_null(), "{query}: {error:?}"),
            }
        }
        assert_eq!(ask("*[_id == 'a'][0]").unwrap()["age"], 3);
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        let cases = [
            ("nothing", ""),
            ("no star", "[_type == 'x']"),
            ("an open bracket", "*[_type == 'x'"),
            ("an open text", "*[_type == 'x]"),
            ("an empty filter", "*[]"),
            ("a single equals sign", "*[_type = 'x']"),
            ("a single ampersand", "*[true & true]"),
            ("an unknown function", "*[lower(_id) == 'x']"),
            ("an unknown parameter", "*[_id == $unknown]"),
            ("an unknown pipe", "*[true] | score(_id)"),
            ("a reference", "*[author->name == 'x']"),
            ("an inner field", "*[a.b == 1]"),
            ("a computed field", "*[true]{'x': _id}"),
            ("the whole document and more", "*[true]{..., x}"),
            ("two filters", "*[true][_id == 'a']"),
            ("a slice by text", "*[true]['a'...'b']"),
            ("a slice that is negative", "*[true][-1]"),
            ("something after the end", "*[true] *"),
            ("chained comparisons", "*[1 < 2 < 3]"),
            (
                "delta functions, which only webhooks know",
                "*[delta::changedAny(crmStatus)]",
            ),
        ];
        for (label, query) in cases {
            assert!(ask(query).is_err(), "{label}: {query}");
        }
    }

    #[test]
    fn the_refusal_names_the_place() {
        let error = ask("*[_type = 'x']").unwrap_err().body("*[_type = 'x']");
        assert_eq!(error["error"]["type"], "queryParseError");
        assert_eq!(error["error"]["start"], 8);
    }
}
