//! The clock of this machine, against Sanity's.

use std::time::Duration;

use jiff::Timestamp;

use super::finding::{Finding, Group};
use super::{PATIENCE, Patient};
use crate::clock::until;
use crate::http_client::date_of;

/// Within which a difference is nobody's affair: the time of an answer has whole seconds, and took some to come.
const WITHIN: Duration = Duration::from_secs(15);

/// A difference that makes times wrong for everybody who reads them.
const FAR: Duration = Duration::from_secs(5 * 60);

pub(super) async fn look(patient: &Patient) -> Option<Finding> {
    if let Some(blocked) = patient.blocked(Group::Machine, "clock", &["SANITY_PROJECT_ID", "SANITY_API_URL"]) {
        return Some(blocked);
    }
    let theirs = date_of(&patient.http, &patient.settings.sanity.api_url, PATIENCE).await;
    Some(judge(
        patient.clock.wall(),
        theirs,
        patient.settings.sanity.webhook_max_age,
    ))
}

/// `longest` is the greatest age that a webhook's signature may have.
fn judge(ours: Timestamp, theirs: Option<Timestamp>, longest: Option<Duration>) -> Finding {
    let Some(theirs) = theirs else {
        let todo = "see what the checks of Sanity say";
        return Finding::skipped(Group::Machine, "clock", "Sanity did not say what time it is", todo);
    };
    let (apart, word) = match ours < theirs {
        true => (until(ours, theirs), "behind"),
        false => (until(theirs, ours), "ahead of"),
    };
    let what = format!("{} s {word} Sanity's", apart.as_secs());
    let why = "signatures of webhooks look older or newer than they are, and lastSyncedAt is wrong";
    let todo = "have the time set by a server: `timedatectl set-ntp true`, or chrony";
    match apart {
        _ if apart <= WITHIN => Finding::ok(Group::Machine, "clock", "agrees with Sanity's"),
        _ if apart > FAR || longest.is_some_and(|longest| apart > longest) => {
            Finding::failed(Group::Machine, "clock", what, why, todo)
        }
        _ => Finding::warning(Group::Machine, "clock", what, why, todo),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        let theirs: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let cases = [
            ("2026-11-22T10:00:05Z", None, Outcome::Ok),
            ("2026-11-22T09:59:50Z", None, Outcome::Ok),
            ("2026-11-22T10:01:00Z", None, Outcome::Warning),
            ("2026-11-22T10:01:00Z", Some(30), Outcome::Failed),
            ("2026-11-22T09:00:00Z", None, Outcome::Failed),
            ("2026-11-22T11:00:00Z", None, Outcome::Failed),
        ];
        for (ours, longest, outcome) in cases {
            let found = judge(ours.parse().unwrap(), Some(theirs), longest.map(Duration::from_secs));
            assert_eq!(found.outcome, outcome, "{ours}: {}", found.what);
        }
        assert_eq!(judge(theirs, None, None).outcome, Outcome::Skipped);
    }
}
