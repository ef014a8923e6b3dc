//! This machine's clock, compared with Sanity's.

use std::time::Duration;

use jiff::Timestamp;

use super::finding::{Check, Finding, Group};
use super::{CALL_TIMEOUT, Installation};
use crate::cli::text::duration;
use crate::clock::until;
use crate::http_client::date_of;

const CLOCK: Check = Check(Group::Machine, "clock");

/// An answer's time has whole seconds, and the answer takes a few to arrive.
const TOLERANCE: Duration = Duration::from_secs(15);

/// Beyond this, the times in Sanity mislead editors.
const FAILED_THRESHOLD: Duration = Duration::from_secs(5 * 60);

pub(super) async fn check(installation: &Installation) -> Option<Finding> {
    if let Some(skipped) = installation.skipped(CLOCK, &["SANITY_PROJECT_ID", "SANITY_API_URL"]) {
        return Some(skipped);
    }
    let settings = &installation.settings;
    let theirs = date_of(&installation.http, &settings.sanity.api_url, CALL_TIMEOUT).await;
    Some(judge(installation.now(), theirs, settings.webhook.max_age))
}

/// `max_age` is the setting for webhook signatures.
fn judge(ours: Timestamp, theirs: Option<Timestamp>, max_age: Option<Duration>) -> Finding {
    let Some(theirs) = theirs else {
        return CLOCK.skipped("Sanity's time cannot be read", "see the checks of Sanity");
    };
    let (difference, what) = difference(ours, theirs);
    if difference <= TOLERANCE {
        return CLOCK.ok("agrees with Sanity's");
    }
    let what = format!("{what} Sanity's");
    let why = "the age of webhook signatures is wrong, and so is lastSyncedAt";
    let todo = "set the time from a time server: `timedatectl set-ntp true`, or chrony";
    match difference > FAILED_THRESHOLD || max_age.is_some_and(|max_age| difference > max_age) {
        true => CLOCK.failed(what, why, todo),
        false => CLOCK.warning(what, why, todo),
    }
}

/// The difference of two clocks: `12 s behind`, `3 min ahead of`.
pub(super) fn difference(ours: Timestamp, theirs: Timestamp) -> (Duration, String) {
    let (difference, word) = match ours < theirs {
        true => (until(ours, theirs), "behind"),
        false => (until(theirs, ours), "ahead of"),
    };
    (difference, format!("{} {word}", duration(difference)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn outcome_depends_on_the_difference() {
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
