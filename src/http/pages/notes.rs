//! What a page says once after something was done. The address carries a word of this list and never the sentence itself,
//! which anybody could write there.

use serde::Deserialize;

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

impl Done {
    /// The sentence.
    pub(super) fn note(self) -> Option<String> {
        let note = match (self.did?, self.count) {
            (Did::Retry, _) => "It is being tried again. This page shows how it goes.".to_owned(),
            (Did::RetryAll, Some(0)) => "There was nothing left to try again.".to_owned(),
            (Did::RetryAll, Some(1)) => "1 lead is being tried again.".to_owned(),
            (Did::RetryAll, Some(count)) => format!("{count} leads are being tried again."),
            (Did::RetryAll, None) => "The failed leads are being tried again.".to_owned(),
            (Did::Cancel, _) => "The sync is cancelled. Nothing more of it is sent.".to_owned(),
            (Did::Pause, _) => "The work is paused. Requests are still stored; nothing is sent.".to_owned(),
            (Did::Resume, _) => "The work goes on.".to_owned(),
            (Did::Unknown, _) => return None,
        };
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::web::Query;

    use super::*;

    fn note(query: &str) -> Option<String> {
        Query::<Done>::from_query(query).unwrap().note()
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
            Some("3 leads are being tried again.")
        );
    }
}
