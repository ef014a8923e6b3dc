//! What needs the operator's attention: where, since when, in which words, and with which advice.

use super::*;
use crate::domain::breaker::{Breaker, Open};
use crate::domain::failure::{Remote, ServiceErrorKind};
use crate::domain::problem::Problem;

fn open(remote: Remote, kind: ServiceErrorKind, action: Option<&str>) -> Breaker {
    let open = Open {
        since: at(5),
        until: at(65),
        fresh_from: None,
        kind,
        code: "invalid_code".to_owned(),
        what: "the refresh token was rejected".to_owned(),
        action: action.map(str::to_owned),
    };
    Breaker {
        open: Some(open),
        ..Breaker::closed(remote)
    }
}

#[test]
fn a_service_that_accepts_no_calls_is_a_problem_in_its_own_words_with_its_times() {
    assert_eq!(Problem::of(&Breaker::closed(Remote::Bigin)), None, "it accepts them");
    let breaker = open(
        Remote::ZohoAccounts,
        ServiceErrorKind::Unauthorized,
        Some("set BIGIN_REFRESH_TOKEN"),
    );
    let problem = Problem::of(&breaker).unwrap();
    let expected = Problem {
        remote: "zoho_accounts".to_owned(),
        code: "invalid_code".to_owned(),
        what: "the refresh token was rejected".to_owned(),
        action: "set BIGIN_REFRESH_TOKEN".to_owned(),
        since: Some(at(5)),
        until: Some(at(65)),
    };
    assert_eq!(problem, expected);
    assert_eq!(
        problem.to_string(),
        "zoho_accounts: the refresh token was rejected (invalid_code); set BIGIN_REFRESH_TOKEN"
    );
}

#[test]
fn a_problem_without_advice_of_its_own_has_that_of_its_kind() {
    let advice = ServiceErrorKind::ALL.map(|kind| Problem::of(&open(Remote::Sanity, kind, None)).unwrap().action);
    insta::assert_snapshot!(advice.join("\n"), @r"
    check the credentials and their permissions
    request no token for ten minutes; sending then resumes by itself
    no action needed: calls are retried automatically at a slower pace
    check what else uses the API, or buy more credits
    no action needed at first: calls are retried automatically and the leads stay queued; if it lasts for hours, check the status page of Sanity or contact its support
    ");
}

#[test]
fn a_pause_says_since_when_and_how_to_end_it() {
    let paused = Problem::paused(at(5));
    assert_eq!((paused.since, paused.until), (Some(at(5)), None));
    assert_eq!(
        paused.to_string(),
        "workers: sending is paused by the operator; webhooks are still stored (paused); resume sending on the dashboard or with POST /api/resume"
    );
}
