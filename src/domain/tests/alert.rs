//! What is trouble, when it is told, and that it is told once: a table of what counts, the pace, and any course of things.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::domain::alert::{GAP, MORE_FAILED, Message, QUIET, SETTLED, Standing, Told, Trouble};
use crate::domain::breaker::{Breaker, Open};
use crate::domain::failure::{Remote, ServiceErrorKind};

fn minutes(minutes: u64) -> Timestamp {
    at(minutes * 60)
}

/// All is well.
fn well(now: Timestamp) -> Standing {
    Standing {
        at: now,
        breakers: Vec::new(),
        paused_since: None,
        oldest: None,
        in_progress: 0,
        tag_delay: Duration::from_secs(15),
        failed: 0,
        failed_leads: 0,
        reasons: Vec::new(),
        credits: 0,
        daily_credits: Some(5_000),
        refused: 0,
        missed: 0,
    }
}

fn open(remote: Remote, kind: ServiceErrorKind, since: Timestamp) -> Breaker {
    let open = Open {
        fresh_from: None,
        since,
        until: since,
        kind,
        code: "invalid_code".to_owned(),
        message: "refresh token rejected; set BIGIN_REFRESH_TOKEN".to_owned(),
    };
    Breaker {
        open: Some(open),
        ..Breaker::closed(remote)
    }
}

fn waits(standing: &mut Standing, state: State) {
    let mut oldest = SyncJob { state, ..sync(None) };
    oldest.attempts.count = 3;
    oldest.attempts.last_error = Some("Bigin could not add the tag (RECORD_LOCKED)".to_owned());
    standing.oldest = Some(oldest);
    standing.in_progress = 1;
}

fn fails(standing: &mut Standing, failed: u64, latest: Timestamp) {
    standing.failed = failed;
    standing.failed_leads = failed;
    standing.reasons = vec![("Bigin refused Email: <not> an email address".to_owned(), failed, latest)];
}

/// Looks from time to time, and what was told.
struct Play {
    told: Told,
    messages: Vec<(Timestamp, Message)>,
}

impl Play {
    fn new() -> Self {
        Self {
            told: Told::begin(&well(minutes(0))),
            messages: Vec::new(),
        }
    }

    /// Returns the message, if there is one, which is taken.
    fn look(&mut self, minute: u64, change: impl FnOnce(&mut Standing)) -> Option<String> {
        let mut standing = well(minutes(minute));
        change(&mut standing);
        self.take(&standing, true)
    }

    fn take(&mut self, standing: &Standing, is_taken: bool) -> Option<String> {
        self.told.observe(standing);
        let message = self.told.message(standing.at, None)?;
        if is_taken {
            self.told = message.told.clone();
            self.messages.push((standing.at, message.clone()));
        }
        Some(message.text)
    }

    fn begun(&self) -> Vec<Trouble> {
        let begun = self.messages.iter().flat_map(|(_, message)| &message.begun);
        begun.copied().collect()
    }

    fn ended(&self) -> Vec<Trouble> {
        let ended = self.messages.iter().flat_map(|(_, message)| &message.ended);
        ended.copied().collect()
    }
}

/// What is noticed, what is changed of a moment 20 minutes after the beginning, what is told, and in which words.
type Case = (
    &'static str,
    fn(&mut Standing),
    &'static [Trouble],
    &'static [&'static str],
);

fn cases_of_services() -> Vec<Case> {
    vec![
        ("all is well", |_| {}, &[], &[]),
        (
            "credentials are refused",
            |now| now.breakers = vec![open(Remote::Token, ServiceErrorKind::Unauthorized, now.at)],
            &[Trouble::TokenRefused],
            &[
                "Zoho's accounts server refuses us: refresh token rejected; set BIGIN_REFRESH_TOKEN (invalid_code)",
                "none fails for it",
            ],
        ),
        (
            "a scope is missing",
            |now| now.breakers = vec![open(Remote::Bigin, ServiceErrorKind::Unauthorized, now.at)],
            &[Trouble::BiginRefused],
            &["Bigin refuses us", "No lead reaches Bigin"],
        ),
        (
            "Sanity's token is refused",
            |now| now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unauthorized, now.at)],
            &[Trouble::SanityRefused],
            &["Sanity refuses us", "webhooks are still stored"],
        ),
        (
            "a service is away for 14 minutes",
            |now| {
                waits(now, upserted());
                now.breakers = vec![open(Remote::Bigin, ServiceErrorKind::Unavailable, minutes(6))];
            },
            &[],
            &[],
        ),
        (
            "a service is away for 15 minutes",
            |now| {
                waits(now, upserted());
                now.breakers = vec![open(Remote::Bigin, ServiceErrorKind::RateLimited, minutes(5))];
            },
            &[Trouble::BiginDown],
            &["Bigin has taken no work for 15 minutes: ", "by itself"],
        ),
        (
            "one lead alone fails for 15 minutes",
            |now| {
                waits(now, upserted());
                let mut breaker = open(Remote::Bigin, ServiceErrorKind::Unavailable, minutes(5));
                if let Some(open) = &mut breaker.open {
                    open.fresh_from = Some(now.at);
                }
                now.breakers = vec![breaker];
            },
            &[Trouble::BiginDown],
            &["the lead lead-1 for longest, so it may be that lead"],
        ),
        (
            "a service was away when it was last asked, and nobody asks",
            |now| now.breakers = vec![open(Remote::Bigin, ServiceErrorKind::Unavailable, minutes(0))],
            &[],
            &[],
        ),
        (
            "the credits are used up",
            |now| {
                now.credits = 900;
                now.breakers = vec![open(Remote::Bigin, ServiceErrorKind::CreditsUsedUp, now.at)];
            },
            &[Trouble::CreditsUsedUp],
            &["credits of the last 24 hours are used up; we used about 900"],
        ),
        ("79 % of the credits are used", |now| now.credits = 3_999, &[], &[]),
        (
            "80 % of the credits are used",
            |now| now.credits = 4_000,
            &[Trouble::CreditsLow],
            &["About 4000 of Bigin's 5000 API credits"],
        ),
        (
            "the limit is not known",
            |now| {
                now.credits = 1_000_000;
                now.daily_credits = None;
            },
            &[],
            &[],
        ),
    ]
}

fn cases_of_leads() -> Vec<Case> {
    vec![
        (
            "a lead has waited for 20 minutes",
            |now| waits(now, tagged()),
            &[Trouble::Waiting],
            &[
                "The lead lead-1 (sync 1) has waited for 20 minutes and is tagged",
                "1 lead waits.",
                "It was tried 3 times, the last time: Bigin could not add the tag (RECORD_LOCKED).",
            ],
        ),
        (
            "a pause explains it",
            |now| {
                waits(now, tagged());
                now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unavailable, now.at)];
            },
            &[],
            &[],
        ),
        (
            "a person's pause explains it",
            |now| {
                waits(now, tagged());
                now.paused_since = Some(now.at);
            },
            &[],
            &[],
        ),
        (
            "its tag's delay explains it",
            |now| {
                waits(now, tagged());
                now.tag_delay = Duration::from_secs(10 * 60);
            },
            &[],
            &[],
        ),
        (
            "an upsert that moved its tag explains it",
            |now| {
                let moved = State::Upserted {
                    delivered: delivered(),
                    seen: seen(None),
                    tag_not_before: minutes(21),
                };
                waits(now, moved);
            },
            &[],
            &[],
        ),
        ("four signatures are refused", |now| now.refused = 4, &[], &[]),
        (
            "five signatures are refused",
            |now| now.refused = 5,
            &[Trouble::Signatures],
            &[
                "5 webhooks were refused for their signature within 10 minutes",
                "SANITY_WEBHOOK_SECRET",
            ],
        ),
        ("two webhooks are missed", |now| now.missed = 2, &[], &[]),
        (
            "three webhooks are missed",
            |now| now.missed = 3,
            &[Trouble::Missed],
            &["3 webhooks never came within 60 minutes"],
        ),
    ]
}

#[test]
fn what_is_told_and_what_is_not() {
    for (label, change, troubles, words) in cases_of_services().into_iter().chain(cases_of_leads()) {
        let mut play = Play::new();
        let text = play.look(20, change).unwrap_or_default();
        assert_eq!(play.begun(), troubles, "{label}: {text}");
        assert_eq!(text.is_empty(), troubles.is_empty(), "{label}");
        for word in words {
            assert!(text.contains(word), "{label}: {word:?} is not in {text:?}");
        }
    }
}

/// What is changed of a moment.
type Change = fn(&mut Standing);

/// Each trouble as it is, 20 minutes after the beginning; `docs/OPERATIONS.md` quotes what is told of it.
fn each_trouble() -> [(Trouble, Change); 13] {
    fn refuses(now: &mut Standing, remote: Remote, code: &str, message: &str) {
        stands(now, remote, ServiceErrorKind::Unauthorized, code, message);
    }
    fn is_away(now: &mut Standing, remote: Remote, message: &str) {
        waits(now, upserted());
        stands(now, remote, ServiceErrorKind::Unavailable, "HTTP 503", message);
    }
    fn stands(now: &mut Standing, remote: Remote, kind: ServiceErrorKind, code: &str, message: &str) {
        let mut breaker = open(remote, kind, minutes(0));
        if let Some(open) = &mut breaker.open {
            (open.code, open.message) = (code.to_owned(), message.to_owned());
        }
        now.breakers = vec![breaker];
    }
    [
        (Trouble::TokenRefused, |now| {
            let message = "refresh token rejected; it was revoked, mistyped, or pushed out by the user's newer ones: get a new one with `bigin-sync auth` and set BIGIN_REFRESH_TOKEN";
            refuses(now, Remote::Token, "invalid_code", message);
        }),
        (Trouble::BiginRefused, |now| {
            let message = "the refresh token lacks the scope ZohoBigin.modules.contacts.ALL: make one that has it in Zoho's API console and set BIGIN_REFRESH_TOKEN";
            refuses(now, Remote::Bigin, "OAUTH_SCOPE_MISMATCH", message);
        }),
        (Trouble::SanityRefused, |now| {
            let message = "Sanity refuses SANITY_API_WRITE_TOKEN; make a robot token with the Editor role and set it";
            refuses(now, Remote::Sanity, "SIO-401-ANF", message);
        }),
        (Trouble::TokenDown, |now| {
            is_away(
                now,
                Remote::Token,
                "accounts.zoho.eu gave no answer of a token endpoint",
            );
        }),
        (Trouble::BiginDown, |now| {
            is_away(now, Remote::Bigin, "Bigin did not answer properly")
        }),
        (Trouble::SanityDown, |now| {
            is_away(now, Remote::Sanity, "Sanity did not answer properly")
        }),
        (Trouble::CreditsUsedUp, |now| {
            now.credits = 900;
            let message = "Bigin's API credits of the last 24 hours are used up";
            stands(
                now,
                Remote::Bigin,
                ServiceErrorKind::CreditsUsedUp,
                "LIMIT_EXCEEDED",
                message,
            );
        }),
        (Trouble::CreditsLow, |now| now.credits = 4_000),
        (Trouble::Failed, |now| {
            fails(now, 20, now.at);
            now.reasons[0].0 = "Bigin refused Email: not an email address".to_owned();
        }),
        (Trouble::Waiting, |now| waits(now, tagged())),
        (Trouble::Signatures, |now| now.refused = 5),
        (Trouble::Missed, |now| now.missed = 3),
        (Trouble::Paused, |now| {
            now.paused_since = Some(now.at - Duration::from_secs(25 * 3600))
        }),
    ]
}

#[test]
fn each_trouble_in_its_words() {
    let mut told = String::new();
    for (trouble, change) in each_trouble() {
        let mut play = Play::new();
        // Failures are gathered for a minute.
        let text = play.look(20, change).or_else(|| play.look(22, change)).unwrap();
        assert_eq!(play.begun(), [trouble], "{text}");
        told += text.trim_start_matches("bigin-sync needs you:\n");
        told.push('\n');
    }
    insta::assert_snapshot!(told, @r"
    - Zoho's accounts server refuses us: refresh token rejected; it was revoked, mistyped, or pushed out by the user's newer ones: get a new one with `bigin-sync auth` and set BIGIN_REFRESH_TOKEN (invalid_code). No lead reaches Bigin until then; all of them are kept, and none fails for it. A setting that you change takes effect with a restart.
    - Bigin refuses us: the refresh token lacks the scope ZohoBigin.modules.contacts.ALL: make one that has it in Zoho's API console and set BIGIN_REFRESH_TOKEN (OAUTH_SCOPE_MISMATCH). No lead reaches Bigin until then; all of them are kept, and none fails for it. A setting that you change takes effect with a restart.
    - Sanity refuses us: Sanity refuses SANITY_API_WRITE_TOKEN; make a robot token with the Editor role and set it (SIO-401-ANF). No lead is read or gets its result until then; webhooks are still stored, and no lead fails for it. A setting that you change takes effect with a restart.
    - Zoho's accounts server has taken no work for 20 minutes: accounts.zoho.eu gave no answer of a token endpoint (HTTP 503). No lead reaches Bigin until then; all of them are kept, and none fails for it. Everything goes on by itself once it is back: see the service's own status page.
    - Bigin has taken no work for 20 minutes: Bigin did not answer properly (HTTP 503). No lead reaches Bigin until then; all of them are kept, and none fails for it. Everything goes on by itself once it is back: see the service's own status page.
    - Sanity has taken no work for 20 minutes: Sanity did not answer properly (HTTP 503). No lead is read or gets its result until then; webhooks are still stored, and no lead fails for it. Everything goes on by itself once it is back: see the service's own status page.
    - Bigin's API credits of the last 24 hours are used up; we used about 900 of them. Leads wait, and go on by themselves as credits come back. See what else uses the API, or get more credits.
    - About 4000 of Bigin's 5000 API credits of 24 hours are used. Leads wait once there are none left: see what uses them, or get more.
    - 20 syncs FAILED and carry the reason in crmError. The reasons of those that are in this state now: “Bigin refused Email: not an email address” (20 leads). Mend what it names and ask again.
    - The lead lead-1 (sync 1) has waited for 20 minutes and is tagged, though no service is in trouble; 1 lead waits. It was tried 3 times, the last time: Bigin could not add the tag (RECORD_LOCKED). Its history says what was tried; a restart does no harm.
    - 5 webhooks were refused for their signature within 10 minutes: probably SANITY_WEBHOOK_SECRET is not the secret in the form of Sanity's webhook, or a stranger tries. Until it is, leads come late by reconciliation, or not at all where that is off.
    - 3 webhooks never came within 60 minutes; their leads were found by reconciliation, and are late. Look at the webhook's attempts in Sanity's project: is it on, is its address this service's, does its filter fit?
    - A person paused all work 25 hours ago, and 0 leads wait. Let it go on when that has served its purpose.
    ");
}

#[test]
fn a_trouble_is_told_once_and_once_that_it_is_over() {
    let mut play = Play::new();
    for minute in 0..60 {
        play.look(minute, |now| {
            now.breakers = vec![open(Remote::Token, ServiceErrorKind::Unauthorized, at(0))]
        });
    }
    assert_eq!(play.begun(), [Trouble::TokenRefused]);
    for minute in 60..120 {
        play.look(minute, |_| {});
    }
    assert_eq!((play.begun().len(), play.ended()), (1, vec![Trouble::TokenRefused]));
    let (when, message) = &play.messages[1];
    assert_eq!(*when, minutes(65), "once it has been so for a while");
    assert_eq!(
        message.text,
        "bigin-sync: well again:\n- Zoho's accounts server takes our credentials again."
    );
}

#[test]
fn a_trouble_that_comes_and_goes_is_not_told_each_time() {
    let mut play = Play::new();
    for minute in 0..120 {
        let is_bad = minute % 8 < 2;
        play.look(minute, |now| {
            now.breakers
                .extend(is_bad.then(|| open(Remote::Bigin, ServiceErrorKind::Unauthorized, now.at)));
        });
    }
    let begun = play.messages.iter().filter(|(_, message)| !message.begun.is_empty());
    let times: Vec<_> = begun.map(|(at, _)| *at).collect();
    assert!(times.len() <= 4, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] >= pair[0] + QUIET), "{times:?}");
    assert!(play.messages.len() <= 8);
}

#[test]
fn troubles_that_come_together_are_one_message_and_those_that_follow_wait_for_the_next() {
    let mut play = Play::new();
    let both = |now: &mut Standing| {
        now.refused = 9;
        now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unauthorized, now.at)];
    };
    let text = play.look(10, both).unwrap();
    assert!(
        text.contains("Sanity refuses us") && text.contains("9 webhooks were refused"),
        "{text}"
    );
    let more = |now: &mut Standing| {
        now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unauthorized, now.at)];
        now.credits = 4_500;
    };
    assert_eq!(play.look(12, more), None);
    assert_eq!(play.look(14, |now| now.credits = 100), None);
    let text = play.look(20, |_| {}).unwrap();
    assert!(
        text.contains("4500 of Bigin's 5000")
            && text.contains("Noticed on 1 Jan 00:12 UTC; it has been well again since 1 Jan 00:14 UTC."),
        "what came and went meanwhile is not lost: {text}"
    );
    assert!(text.contains("well again:\n- Sanity takes our calls again."), "{text}");
}

#[test]
fn leads_that_fail_are_counted_together_and_told_hourly_while_more_do() {
    let mut play = Play::new();
    assert_eq!(
        play.look(10, |now| fails(now, 2, now.at)),
        None,
        "more of them follow at once"
    );
    let text = play.look(11, |now| fails(now, 40, now.at)).unwrap();
    assert!(text.contains("40 syncs FAILED"), "{text}");
    assert!(
        text.contains("“Bigin refused Email: not an email address” (40 leads)"),
        "{text}"
    );
    for minute in 12..71 {
        assert_eq!(play.look(minute, |now| fails(now, 41, now.at)), None);
    }
    let text: Vec<_> = (71..120)
        .filter_map(|minute| play.look(minute, |now| fails(now, 41, minutes(20))))
        .collect();
    assert!(text.len() == 1 && text[0].contains("1 sync FAILED"), "{text:?}");
    let end: Vec<_> = (120..200)
        .filter_map(|minute| play.look(minute, |now| now.failed = 41))
        .collect();
    assert!(
        end.len() == 1 && end[0].contains("No lead is left whose last sync failed."),
        "{end:?}"
    );
    let times: Vec<_> = play.messages.iter().map(|(at, _)| *at).collect();
    assert!(times[1] >= times[0] + MORE_FAILED);
}

#[test]
fn what_failed_before_anybody_listened_and_what_is_mended_before_it_is_told_is_no_news() {
    let mut before = well(minutes(0));
    fails(&mut before, 7, minutes(0));
    before.missed = 9;
    let mut play = Play {
        told: Told::begin(&before),
        messages: Vec::new(),
    };
    for minute in 1..90 {
        play.look(minute, |now| {
            fails(now, 7, minutes(0));
            now.missed = 9;
        });
    }
    assert_eq!(play.messages.len(), 0);
    for minute in 90..200 {
        play.look(minute, |now| {
            now.failed = 8;
            now.missed = 9;
        });
    }
    assert_eq!(play.messages.len(), 0, "it failed, and was through before the look");
}

#[test]
fn what_waited_out_a_pause_gets_time_to_flow_off() {
    let mut play = Play::new();
    play.look(50, |now| {
        waits(now, tagged());
        now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::RateLimited, minutes(40))];
    });
    assert_eq!(play.look(64, |now| waits(now, tagged())), None);
    assert!(play.look(65, |now| waits(now, tagged())).is_some(), "but not for ever");
}

#[test]
fn a_service_that_takes_a_part_of_the_work_and_never_the_rest_is_told_in_the_end() {
    let mut play = Play::new();
    // Each new lead is read, which mends Sanity's breaker, and no result is written.
    let flaps = |now: &mut Standing| {
        waits(now, upserted());
        let since = now.at - Duration::from_secs(10);
        now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unavailable, since)];
    };
    let told: Vec<u64> = (1..240).filter(|minute| play.look(*minute, flaps).is_some()).collect();
    assert_eq!(
        told,
        [75],
        "an hour that a pause explains, and a quarter of one that none does"
    );
    assert_eq!(play.begun(), [Trouble::Waiting]);
    let text = &play.messages[0].1.text;
    assert!(
        text.contains("while Sanity takes a part of the work and refuses the rest"),
        "{text}"
    );
}

#[test]
fn an_outage_that_was_told_explains_that_leads_wait_however_long_it_lasts() {
    let mut play = Play::new();
    let down = |now: &mut Standing| {
        waits(now, upserted());
        now.breakers = vec![open(Remote::Bigin, ServiceErrorKind::Unavailable, minutes(0))];
    };
    for minute in 1..2_000 {
        play.look(minute, down);
    }
    // Then it flows off.
    for minute in 2_000..2_014 {
        play.look(minute, |now| waits(now, upserted()));
    }
    assert_eq!(
        (play.begun(), play.ended()),
        (vec![Trouble::BiginDown], vec![Trouble::BiginDown])
    );
}

#[test]
fn a_pause_says_nothing_of_a_lead_that_waited_before_it() {
    let mut play = Play::new();
    assert!(play.look(20, |now| waits(now, tagged())).is_some());
    for minute in 21..60 {
        let text = play.look(minute, |now| {
            waits(now, tagged());
            now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::RateLimited, now.at)];
        });
        assert_eq!(text, None, "it still waits");
    }
}

#[test]
fn a_pause_of_a_day_may_have_been_forgotten() {
    let mut play = Play::new();
    let paused = |now: &mut Standing| {
        now.in_progress = 3;
        now.paused_since = Some(minutes(0));
    };
    assert_eq!(play.look(24 * 60 - 1, paused), None);
    let text = play.look(24 * 60, paused).unwrap();
    assert!(
        text.contains("paused all work 24 hours ago, and 3 leads wait"),
        "{text}"
    );
}

#[test]
fn the_dashboard_is_named_where_it_is_known() {
    let mut told = Told::begin(&well(minutes(0)));
    let mut now = well(minutes(1));
    now.refused = 9;
    told.observe(&now);
    let text = told.message(now.at, Some("https://crm.example.org/")).unwrap().text;
    assert!(text.ends_with("\n\nSee https://crm.example.org/"), "{text}");
}

#[test]
fn a_sentence_is_cut_and_mentions_nobody() {
    let mut play = Play::new();
    let long = |now: &mut Standing| {
        fails(now, 1, now.at);
        now.reasons[0].0 = format!("<!channel> {}", "long ".repeat(100));
    };
    play.look(1, long);
    let text = play.look(2, long).unwrap();
    assert!(
        text.contains("“!channel long") && text.contains("…”") && text.len() < 500,
        "{text}"
    );
}

// ---------------------------------------------------------------------------------------------------------------------

/// One look: how long after the one before, what is wrong then, and what becomes of the message and the program.
#[derive(Debug, Clone)]
struct Look {
    seconds: u64,
    wrong: Vec<u8>,
    failed: u64,
    is_taken: bool,
    restarts: bool,
}

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let wrong = prop_oneof![2 => Just(Vec::new()), 3 => subsequence((0..9).collect::<Vec<u8>>(), 0..4)];
    let look = (
        select(vec![20, 60, 200, 600]),
        wrong,
        prop_oneof![4 => Just(0), 1 => 1..9u64],
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.1),
    );
    let look = look.prop_map(|(seconds, wrong, failed, is_taken, restarts)| Look {
        seconds,
        wrong,
        failed,
        is_taken,
        restarts,
    });
    prop::collection::vec(look, 1..120)
}

fn spoil(now: &mut Standing, wrong: u8) {
    let long_ago = at(0);
    match wrong {
        0 => now
            .breakers
            .push(open(Remote::Token, ServiceErrorKind::Unauthorized, long_ago)),
        1 => now
            .breakers
            .push(open(Remote::Bigin, ServiceErrorKind::Unauthorized, long_ago)),
        2 => now
            .breakers
            .push(open(Remote::Bigin, ServiceErrorKind::CreditsUsedUp, long_ago)),
        3 => now
            .breakers
            .push(open(Remote::Sanity, ServiceErrorKind::Unavailable, long_ago)),
        4 => waits(now, tagged()),
        5 => now.credits = 4_100,
        6 => now.refused = 3,
        7 => now.missed += 2,
        _ => now.paused_since = Some(long_ago),
    }
}

/// Every failed message is tried again as it is: nothing in between is lost.
fn play(looks: &[Look], restarts: bool) -> Play {
    let mut play = Play::new();
    let mut before = well(minutes(0));
    for look in looks {
        let mut now = well(before.at + Duration::from_secs(look.seconds));
        now.failed = before.failed;
        now.missed = before.missed;
        if look.failed > 0 {
            fails(&mut now, before.failed + look.failed, before.at);
        }
        look.wrong.iter().for_each(|wrong| spoil(&mut now, *wrong));
        play.take(&now, look.is_taken);
        if look.restarts && restarts {
            let bytes = serde_json::to_vec(&play.told).unwrap();
            play.told = serde_json::from_slice(&bytes).unwrap();
        }
        before = now;
    }
    // In the end all is well for long enough.
    for _ in 0..100 {
        let mut now = well(before.at + Duration::from_secs(60));
        (now.failed, now.missed) = (before.failed, before.missed);
        play.take(&now, true);
        before = now;
    }
    play
}

proptest! {
    #![proptest_config(crate::testing::arbitrary_json::config())]

    #[test]
    fn nothing_floods_nothing_is_forgotten_and_a_restart_changes_nothing(looks in looks()) {
        let told = play(&looks, true);
        let unbroken = play(&looks, false);
        prop_assert_eq!(&told.messages, &unbroken.messages);
        for pair in told.messages.windows(2) {
            prop_assert!(pair[1].0 >= pair[0].0 + GAP, "two messages within minutes");
        }
        let mut open: std::collections::BTreeMap<Trouble, Timestamp> = std::collections::BTreeMap::new();
        let mut last: std::collections::BTreeMap<Trouble, Timestamp> = std::collections::BTreeMap::new();
        for (at, message) in &told.messages {
            prop_assert!(!message.begun.is_empty() || !message.ended.is_empty());
            for trouble in &message.begun {
                let again = last.insert(*trouble, *at);
                prop_assert!(again.is_none_or(|then| *at >= then + QUIET), "{:?} is told again too soon", trouble);
                let was_open = open.insert(*trouble, *at).is_some();
                prop_assert!(!was_open || *trouble == Trouble::Failed, "{:?} is told twice", trouble);
            }
            for trouble in &message.ended {
                prop_assert!(open.remove(trouble).is_some(), "the end of {:?}, whose beginning nobody was told", trouble);
            }
        }
        prop_assert!(open.is_empty(), "nobody was told that these are over: {:?}", open);
        let quiet = told.messages.last().map_or(at(0), |(at, _)| *at) + SETTLED;
        prop_assert_eq!(told.told.message(quiet + GAP, None), None);
    }
}
