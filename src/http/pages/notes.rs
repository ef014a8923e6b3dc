//! What a page says once after something was done. The address carries a word of this list and never the sentence itself,
//! which anybody could write there.

use serde::Deserialize;

use super::words::{self, HeldUp};

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
    RetryAll,
    Cancel,
    Pause,
    Resume,
    /// A word of some other program's.
    #[serde(other)]
    Unknown,
}

impl Did {
    /// In the address.
    pub(super) fn query(self) -> &'static str {
        match self {
            Self::Retry => "did=retry",
            Self::RetryAll => "did=retry_all",
            Self::Cancel => "did=cancel",
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
const TO_BE_SENT: (&str, &str) = ("/syncs?state=requested", "See them");

impl Done {
    /// The note, which depends on what holds up that which was asked for.
    pub(super) fn note(self, held_up: Option<HeldUp>) -> Option<Note> {
        let when = held_up.map(|held_up| held_up.until);
        let words = match (self.did?, self.count) {
            (Did::Retry, _) => match when {
                Some(when) => format!("It is queued, and goes {when}."),
                None => "It is being tried again. This page shows how it goes.".to_owned(),
            },
            (Did::RetryAll, Some(0)) => "There was nothing left to try again.".to_owned(),
            (Did::RetryAll, count) => {
                let leads = count.map_or_else(|| "the failed leads".to_owned(), words::leads);
                let when = when.map_or_else(String::new, |when| format!(" Sent {when}."));
                format!("Queued to be tried again: {leads}.{when} What is refused again comes back to this page.")
            }
            (Did::Cancel, _) => "The sync is cancelled. Nothing more of it is sent.".to_owned(),
            (Did::Pause, _) => "The work is paused. Requests are still stored; nothing is sent.".to_owned(),
            (Did::Resume, _) => "The work goes on.".to_owned(),
            (Did::Unknown, _) => return None,
        };
        let link =
            matches!((self.did, self.count), (Some(Did::RetryAll), count) if count != Some(0)).then_some(TO_BE_SENT);
        Some(Note {
            waits: when.is_some() && (link.is_some() || self.did == Some(Did::Retry)),
            words,
            link,
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::web::Query;

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
        };
        let note = Query::<Done>::from_query(query).unwrap().note(Some(held_up)).unwrap();
        (note.words, note.waits)
    }

    #[test]
    fn only_words_of_the_list_become_a_note() {
        assert_eq!(note(""), None);
        assert_eq!(note("did=your+account+is+locked,call+evil.example"), None);
        for did in [Did::Retry, Did::RetryAll, Did::Cancel, Did::Pause, Did::Resume] {
            assert!(note(did.query()).is_some(), "{did:?}");
        }
        assert_eq!(
            note("did=retry_all&count=3").as_deref(),
            Some("Queued to be tried again: 3 leads. What is refused again comes back to this page.")
        );
    }

    #[test]
    fn a_note_promises_nothing_that_has_to_wait() {
        let resumed = "when the work is resumed";
        assert_eq!(
            note_until("did=retry", resumed),
            ("It is queued, and goes when the work is resumed.".to_owned(), true)
        );
        let all = note_until("did=retry_all&count=1", "when Bigin takes work again");
        let words = "Queued to be tried again: 1 lead. Sent when Bigin takes work again. What is refused again comes back to this page.";
        assert_eq!(all, (words.to_owned(), true));
        assert!(
            !note_until("did=retry_all&count=0", resumed).1,
            "there is nothing that could wait"
        );
        assert!(!note_until("did=pause", resumed).1, "a pause has begun");
    }
}
