//! What is remembered from one evaluation to the next: counts in their windows, what was sent before, and nothing for ever.

use super::*;

#[test]
fn webhooks_are_counted_over_their_window_and_no_longer() {
    let rejected = AlertKind::WebhooksRejected;
    let missed = AlertKind::WebhooksMissed;
    for (kind, minute, is_firing) in [
        (rejected, 19, true),
        (rejected, 20, false),
        (rejected, 40, false),
        (missed, 69, true),
        (missed, 70, false),
        (missed, 90, false),
    ] {
        let mut play = Play::new();
        play.look(10, |now| (now.rejected, now.missed) = (3, 2));
        // Those that are missed are counted from the beginning.
        play.look(minute, |now| (now.rejected, now.missed) = (2, 3));
        assert_eq!(play.firing().contains(&kind), is_firing, "{kind:?}, minute {minute}");
    }
}

#[test]
fn credits_are_low_until_less_than_seventy_percent_are_used() {
    for (credits, is_resolved) in [(3_999, false), (3_500, false), (3_499, true)] {
        let mut play = Play::new();
        play.look(1, |now| now.credits = 4_000);
        for minute in 2..30 {
            play.look(minute, |now| now.credits = credits);
        }
        assert_eq!(play.firing(), [AlertKind::CreditsLow]);
        assert_eq!(!play.resolved().is_empty(), is_resolved, "{credits} of 5000");
    }
}

#[test]
fn an_alert_that_had_to_wait_is_sent_after_five_minutes_and_says_since_when_if_it_is_as_old() {
    let rejected = |now: &mut Observation| now.rejected = 9;
    let low = |now: &mut Observation| now.credits = 4_500;
    for (minute, expected) in [(14, None), (15, Some(false)), (16, Some(false)), (17, Some(true))] {
        let mut play = Play::new();
        assert!(play.look(10, rejected).is_some());
        assert_eq!(play.look(12, low), None, "a message was sent two minutes before");
        let text = play.look(minute, low);
        let says_since = text.map(|text| text.contains(" Since 1 Jan 00:12 UTC."));
        assert_eq!(says_since, expected, "minute {minute}");
    }
}

#[test]
fn a_later_message_about_failed_leads_names_only_reasons_that_are_new() {
    fn fail(now: &mut Observation, failed: u64, reasons: &[(&str, Timestamp)]) {
        fails(now, failed, now.at);
        let reasons = reasons.iter();
        now.reasons = reasons
            .map(|(reason, latest)| ((*reason).to_owned(), 9, *latest))
            .collect();
    }
    let (old, new) = (("no email", minutes(11)), ("no name", minutes(12)));
    for (reasons, words) in [
        (
            vec![old, new],
            "1 lead failed. Current reasons: “no name” (9 leads). Each",
        ),
        // It failed and was sent since, and the others still have not been.
        (vec![old], "1 lead failed. Each"),
    ] {
        let mut play = Play::new();
        play.look(10, |now| fail(now, 40, &[("no email", minutes(10))]));
        let text = play.look(11, |now| fail(now, 40, &[old])).unwrap();
        assert!(text.contains("“no email”"), "{text}");
        play.look(71, |now| fail(now, 41, &reasons));
        let text = play.look(72, |now| fail(now, 41, &reasons)).unwrap();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn while_all_is_well_nothing_is_remembered() {
    let mut play = Play::new();
    let begun = play.told.clone();
    for minute in 1..10 {
        play.look(minute, |_| {});
    }
    assert_eq!(play.told, begun);
}

#[test]
fn an_alert_that_is_over_is_forgotten_once_it_may_be_sent_again() {
    let mut play = Play::new();
    play.look(10, |now| now.credits = 4_500);
    for (minute, is_known) in [(11, true), (16, true), (39, true), (40, false)] {
        play.look(minute, |_| {});
        let stored = serde_json::to_value(&play.told).unwrap();
        assert_eq!(stored["alerts"]["credits_low"].is_object(), is_known, "minute {minute}");
    }
    assert_eq!(play.resolved(), [AlertKind::CreditsLow]);
}
