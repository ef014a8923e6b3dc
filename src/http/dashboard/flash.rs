//! What a page says once after something was done. The address carries a word of this list and never the sentence itself,
//! which anybody could write there.

use serde::Deserialize;

use super::labels::HeldUp;
use crate::domain::text;

/// The end of the address of the page that is shown afterwards.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Done {
    /// What was done, if something was.
    did: Option<Did>,
    /// To how many leads.
    count: Option<u64>,
}

/// What a person can have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Did {
    Retry,
    /// Not retried: an editor has changed the lead's `crmStatus` since it failed.
    Withdrawn,
    RetryAll,
    Cancel,
    Dismiss,
    Pause,
    Resume,
    /// Had a service checked, whose answer is still out.
    Check,
    CheckedReachable,
    CheckedUnavailable,
    /// A word of some other program's.
    #[serde(other)]
    Unknown,
}

impl Did {
    /// In the address.
    pub(super) fn query(self) -> &'static str {
        match self {
            Self::Retry => "did=retry",
            Self::Withdrawn => "did=withdrawn",
            Self::RetryAll => "did=retry_all",
            Self::Cancel => "did=cancel",
            Self::Dismiss => "did=dismiss",
            Self::Check => "did=check",
            Self::CheckedReachable => "did=checked_reachable",
            Self::CheckedUnavailable => "did=checked_unavailable",
            Self::Pause => "did=pause",
            Self::Resume => "did=resume",
            Self::Unknown => "",
        }
    }
}

/// The sentence, and where it leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Nothing is done yet: something holds it up.
    pub(super) waits: bool,
    pub(super) words: String,
    /// An address and what is there.
    pub(super) link: Option<(&'static str, &'static str)>,
}

/// Leads that wait to be sent.
const TO_BE_SENT: (&str, &str) = ("/syncs?state=requested", "Show them");

/// Where a service can be checked.
const SERVICES: (&str, &str) = ("/#services", "Check it now");

impl Done {
    /// The note, which depends on what holds up that which was asked for.
    pub(super) fn note(self, held_up: Option<HeldUp>) -> Option<Note> {
        let did = self.did?;
        let service = held_up.and_then(|held_up| held_up.unavailable);
        let unavailable = service.map_or_else(String::new, |(service, next)| {
            format!(" {service} is unavailable; next attempt at {next}.")
        });
        let when = held_up.map(|held_up| held_up.until);
        let words = match (did, self.count) {
            (Did::Retry, _) => match when {
                Some(when) => format!("It is queued and will be sent {when}.{unavailable}"),
                None => "It is being retried. This page shows the result.".to_owned(),
            },
            (Did::Withdrawn, _) => "Nothing was sent: the lead was withdrawn in Sanity.".to_owned(),
            (Did::RetryAll, Some(0)) => "There was nothing left to retry.".to_owned(),
            (Did::RetryAll, count) => {
                let leads = count.map_or_else(|| "The failed leads".to_owned(), |count| text::count(count, "lead"));
                let when = when.map_or_else(String::new, |when| format!(" Sent {when}."));
                format!(
                    "{leads} queued for retry.{when}{unavailable} Leads that were withdrawn in Sanity are skipped; those that fail again \
                     reappear here."
                )
            }
            (Did::Cancel, _) => "Sync cancelled. Nothing more will be sent.".to_owned(),
            (Did::Dismiss, _) => {
                "The failure is dismissed. If the lead fails again, it reappears among the failures.".to_owned()
            }
            (Did::Pause, _) => "Sending is paused. Requests are still stored; nothing is sent.".to_owned(),
            (Did::Resume, _) => format!("Sending resumed.{unavailable}"),
            (Did::Check, _) => "The remote service is being checked. This page shows the result.".to_owned(),
            (Did::CheckedReachable, _) => "The remote service is reachable. Sending continues.".to_owned(),
            (Did::CheckedUnavailable, _) => "The remote service was checked and is still unavailable.".to_owned(),
            (Did::Unknown, _) => return None,
        };
        let is_queued = matches!((did, self.count), (Did::RetryAll, count) if count != Some(0));
        let waits = when.is_some() && (is_queued || did == Did::Retry) || did == Did::Resume && service.is_some();
        let link = match (waits && service.is_some(), is_queued) {
            (true, _) => Some(SERVICES),
            (false, true) => Some(TO_BE_SENT),
            (false, false) => None,
        };
        Some(Note {
            waits: waits || matches!(did, Did::Withdrawn | Did::Check | Did::CheckedUnavailable),
            words,
            link,
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::web::Query;

    use super::super::labels::Moment;
    use super::*;

    fn note(query: &str) -> Option<String> {
        let note = Query::<Done>::from_query(query).unwrap().note(None);
        note.map(|note| {
            assert!(!note.waits, "nothing holds it up");
            note.words
        })
    }

    /// What is said, and whether it is shown as something that waits.
    fn note_until(query: &str, until: &'static str) -> (String, bool) {
        let held_up = HeldUp {
            why: "it is late",
            until,
            unavailable: None,
        };
        let note = Query::<Done>::from_query(query).unwrap().note(Some(held_up)).unwrap();
        (note.words, note.waits)
    }

    #[test]
    fn only_words_of_the_list_become_a_note() {
        assert_eq!(note(""), None);
        assert_eq!(note("did=your+account+is+locked,call+evil.example"), None);
        for did in [
            Did::Retry,
            Did::RetryAll,
            Did::Cancel,
            Did::Dismiss,
            Did::Pause,
            Did::Resume,
            Did::CheckedReachable,
        ] {
            assert!(note(did.query()).is_some(), "{did:?}");
        }
        assert_eq!(
            note("did=retry_all&count=3").as_deref(),
            Some(
                "3 leads queued for retry. Leads that were withdrawn in Sanity are skipped; those that fail again reappear here."
            )
        );
    }

    #[test]
    fn a_note_promises_nothing_that_has_to_wait() {
        let resumed = "when sending is resumed";
        assert_eq!(
            note_until("did=retry", resumed),
            (
                "It is queued and will be sent when sending is resumed.".to_owned(),
                true
            )
        );
        let all = note_until("did=retry_all&count=1", "when Bigin takes work again");
        let words = "1 lead queued for retry. Sent when Bigin takes work again. Leads that were withdrawn in Sanity are skipped; those that fail again reappear here.";
        assert_eq!(all, (words.to_owned(), true));
        assert!(
            !note_until("did=retry_all&count=0", resumed).1,
            "there is nothing that could wait"
        );
        assert!(!note_until("did=pause", resumed).1, "a pause has begun");
    }

    #[test]
    fn a_note_names_the_unavailable_service_and_the_check() {
        let held_up = HeldUp {
            why: "Bigin is unavailable",
            until: "when Bigin is available again",
            unavailable: Some(("Bigin", Moment("2026-11-22T10:05:00Z".parse().unwrap()))),
        };
        for query in ["did=retry", "did=retry_all&count=2", "did=resume"] {
            let note = Query::<Done>::from_query(query).unwrap().note(Some(held_up)).unwrap();
            let words = "Bigin is unavailable; next attempt at 22 Nov 2026, 10:05:00 UTC.";
            assert!(note.words.contains(words), "{}", note.words);
            assert_eq!((note.waits, note.link), (true, Some(SERVICES)), "{query}");
        }
    }
}
