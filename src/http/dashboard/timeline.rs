//! A sync's history as people read it: a sentence for each line, and what is known of it in numbers.

use serde_json::Value;

use super::labels::Moment;
use crate::api_types::{detail_text, event_text};
use crate::store::SyncEvent;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counts from 1.
    pub(super) number: usize,
    pub(super) at: Moment,
    /// The shape's name in the page's symbols.
    pub(super) icon: &'static str,
    /// wait, good, bad or off.
    pub(super) tone: &'static str,
    pub(super) words: String,
    /// Duration, code and the like.
    pub(super) facts: Vec<String>,
    /// When it was to be tried again.
    pub(super) next_try: Option<Moment>,
    /// Of several attempts that are one line: when the first was.
    pub(super) since: Option<Moment>,
}

/// As many attempts with the same problem, one after the other, are one line.
const ALIKE: usize = 3;

/// The lines that are shown at once, where there are more.
const LATEST: usize = 40;

/// The lines of a history: the earlier ones, if they are many, and the latest.
pub(super) fn lines(history: &[SyncEvent]) -> (Vec<Line>, Vec<Line>) {
    let numbered: Vec<(usize, &SyncEvent)> = (1..).zip(history).collect();
    let alike = |a: &(usize, &SyncEvent), b: &(usize, &SyncEvent)| is_same_attempt(a.1, b.1);
    let mut lines: Vec<Line> = Vec::new();
    for group in numbered.chunk_by(alike) {
        match group {
            [first, .., last] if group.len() >= ALIKE => lines.push(folded(first.1, *last)),
            few => lines.extend(few.iter().map(|(number, entry)| line(*number, entry))),
        }
    }
    // Two or three are not worth hiding.
    let earlier = if lines.len() > LATEST + 10 {
        lines.len() - LATEST
    } else {
        0
    };
    let latest = lines.split_off(earlier);
    (lines, latest)
}

fn is_same_attempt(one: &SyncEvent, other: &SyncEvent) -> bool {
    let same = |key: &str| one.detail.get(key) == other.detail.get(key);
    one.kind == "attempt_failed" && other.kind == "attempt_failed" && ["error", "stage", "code"].into_iter().all(same)
}

/// Many attempts in one line, which is the last one's.
fn folded(first: &SyncEvent, (number, last): (usize, &SyncEvent)) -> Line {
    let attempt = |entry: &SyncEvent| entry.detail.get("attempt").and_then(Value::as_u64);
    let problem = detail_text(last, "error").unwrap_or("no reason given");
    let words = match (attempt(first), attempt(last)) {
        (Some(first), Some(last)) if first < last => format!("Attempts {first} to {last} failed: {problem}"),
        _ => format!("Failed repeatedly: {problem}"),
    };
    Line {
        words,
        since: Some(Moment(first.at)),
        ..line(number, last)
    }
}

fn line(number: usize, entry: &SyncEvent) -> Line {
    let (icon, tone) = look(entry);
    // Where the whole service is left alone, the time is that of the failure, and says nothing.
    let next_try = detail_text(entry, "next_attempt_at").and_then(|at| at.parse().ok());
    let next_try = next_try.filter(|next| *next > entry.at).map(Moment);
    Line {
        number,
        at: Moment(entry.at),
        icon,
        tone,
        words: event_text(entry),
        facts: facts(entry),
        next_try,
        since: None,
    }
}

/// The icon and the tone of a line.
fn look(entry: &SyncEvent) -> (&'static str, &'static str) {
    match entry.kind.as_str() {
        "created" | "coalesced" | "changed" | "contact_gone" | "requested_again" => ("clock", "wait"),
        "upserted" => ("up", "wait"),
        "contact_upserted" => ("hourglass", "wait"),
        "restored" => ("back", "wait"),
        "tagged" => ("tag", "wait"),
        "rejected" => ("cross", "bad"),
        "written_back" if entry.state == "failed" => ("cross", "bad"),
        "written_back" => ("tick", "good"),
        "lead_deleted" => ("bin", "off"),
        "withdrawn" | "cancelled" | "dismissed" => ("slash", "off"),
        "attempt_failed" => ("again", "bad"),
        "ambiguous" => ("again", "wait"),
        // A later version of the program has written it.
        _ => ("clock", "off"),
    }
}

fn facts(entry: &SyncEvent) -> Vec<String> {
    let took = entry.detail.get("ms").and_then(Value::as_u64).map(|ms| match ms {
        0..1000 => format!("took {ms} ms"),
        _ => format!("took {}.{} s", ms / 1000, ms % 1000 / 100),
    });
    let stage = detail_text(entry, "stage").map(|stage| match stage {
        "upsert" => "while sending the data".to_owned(),
        "tag" => "while adding the tag".to_owned(),
        "write_back" => "while writing to Sanity".to_owned(),
        other => other.to_owned(),
    });
    let problem = detail_text(entry, "error").unwrap_or_default();
    let code = detail_text(entry, "code").filter(|code| !problem.contains(code));
    let code = code.map(|code| format!("result {code}"));
    let contact = detail_text(entry, "contact").map(|contact| format!("contact {contact}"));
    [took, stage, code, contact].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(what: &str, state: &str, detail: Value) -> SyncEvent {
        SyncEvent {
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            kind: what.to_owned(),
            state: state.to_owned(),
            detail,
        }
    }

    #[test]
    fn an_attempt_shows_its_number_result_and_next_try() {
        let detail = json!({
            "stage": "upsert", "code": "HTTP 502", "error": "Bigin answered 502 (HTTP 502)", "attempt": 2,
            "next_attempt_at": "2026-11-22T10:00:04Z",
        });
        let line = line(1, &entry("attempt_failed", "requested", detail));
        assert_eq!(line.words, "Attempt 2 failed: Bigin answered 502 (HTTP 502)");
        assert_eq!(line.facts, ["while sending the data"], "the code is in the sentence");
        assert_eq!(line.next_try.unwrap().to_string(), "22 Nov 2026, 10:00:04 UTC");
    }

    #[test]
    fn of_a_long_history_the_latest_lines_are_shown_and_the_earlier_ones_kept() {
        let long = |count: usize| {
            let history: Vec<SyncEvent> = (0..count).map(|_| entry("coalesced", "requested", json!({}))).collect();
            let (earlier, latest) = lines(&history);
            let numbers: Vec<usize> = earlier.iter().chain(&latest).map(|line| line.number).collect();
            assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
            (earlier.len(), latest.len())
        };
        assert_eq!(long(0), (0, 0));
        assert_eq!(long(50), (0, 50));
        assert_eq!(long(51), (11, 40));
        assert_eq!(long(900), (860, 40));
    }

    #[test]
    fn attempts_that_fail_alike_are_one_line() {
        let failed = |attempt: u64, problem: &str| {
            let detail = json!({ "stage": "upsert", "error": problem, "attempt": attempt });
            entry("attempt_failed", "requested", detail)
        };
        let mut history: Vec<SyncEvent> = (1..=323).map(|attempt| failed(attempt, "no answer")).collect();
        history.extend([failed(324, "busy"), failed(325, "busy"), failed(326, "no answer")]);
        let (_, lines) = lines(&history);
        let words: Vec<_> = lines.iter().map(|line| line.words.as_str()).collect();
        assert_eq!(
            words,
            [
                "Attempts 1 to 323 failed: no answer",
                "Attempt 324 failed: busy",
                "Attempt 325 failed: busy",
                "Attempt 326 failed: no answer"
            ]
        );
        assert!(lines[0].since.is_some() && lines[1].since.is_none());
    }

    #[test]
    fn a_success_shows_how_long_it_took() {
        let took = |ms: u64| facts(&entry("tagged", "tagged", json!({ "ms": ms })));
        assert_eq!(took(42), ["took 42 ms"]);
        assert_eq!(took(1_950), ["took 1.9 s"]);
    }

    #[test]
    fn every_line_a_store_writes_has_words_of_its_own() {
        let known = [
            "created",
            "coalesced",
            "upserted",
            "contact_upserted",
            "restored",
            "changed",
            "contact_gone",
            "tagged",
            "rejected",
            "requested_again",
            "written_back",
            "lead_deleted",
            "withdrawn",
            "cancelled",
            "attempt_failed",
            "ambiguous",
        ];
        for what in known {
            let words = line(1, &entry(what, "requested", json!({}))).words;
            assert!(words.len() > 8 && !words.contains('_'), "{what}: {words}");
        }
        assert_eq!(line(1, &entry("made_up", "sent", json!({}))).words, "made up");
    }
}
