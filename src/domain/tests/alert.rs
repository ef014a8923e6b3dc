//! What is trouble, when it is told, and that it is told once: a table of what counts, the pace, and any course of things.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::domain::alert::{
    AlertKind, AlertLog, FAILED_REPEAT_INTERVAL, GROUP_INTERVAL, Message, Observation, REPEAT_INTERVAL, RESOLVE_AFTER,
};
use crate::domain::breaker::{Breaker, Open};
use crate::domain::failure::{Remote, ServiceErrorKind};
use crate::domain::reject_reason::RejectReason;

mod memory;

fn minutes(minutes: u64) -> Timestamp {
    at(minutes * 60)
}

/// All is well.
fn well(now: Timestamp) -> Observation {
    Observation {
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
        rejected: 0,
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
        what: "the refresh token was rejected".to_owned(),
        action: Some("set BIGIN_REFRESH_TOKEN".to_owned()),
    };
    Breaker {
        open: Some(open),
        ..Breaker::closed(remote)
    }
}

fn waits(observation: &mut Observation, state: State) {
    let mut oldest = SyncJob { state, ..sync(None) };
    oldest.attempts.count = 3;
    oldest.attempts.last_error = Some(RejectReason::TagNotAdded {
        service_code: "RECORD_LOCKED".to_owned(),
    });
    observation.oldest = Some(oldest);
    observation.in_progress = 1;
}

fn fails(observation: &mut Observation, failed: u64, latest: Timestamp) {
    observation.failed = failed;
    observation.failed_leads = failed;
    observation.reasons = vec![(
        "Bigin rejected Email: <not> an email address".to_owned(),
        failed,
        latest,
    )];
}

/// Looks from time to time, and what was told.
struct Play {
    told: AlertLog,
    messages: Vec<(Timestamp, Message)>,
}

impl Play {
    fn new() -> Self {
        Self {
            told: AlertLog::begin(&well(minutes(0))),
            messages: Vec::new(),
        }
    }

    /// Returns the message, if there is one, which is taken.
    fn look(&mut self, minute: u64, change: impl FnOnce(&mut Observation)) -> Option<String> {
        let mut observation = well(minutes(minute));
        change(&mut observation);
        self.take(&observation, true)
    }

    fn take(&mut self, observation: &Observation, is_taken: bool) -> Option<String> {
        self.told.observe(observation);
        let message = self.told.message(observation.at, None)?;
        if is_taken {
            self.told = message.log.clone();
            self.messages.push((observation.at, message.clone()));
        }
        Some(message.text)
    }

    fn firing(&self) -> Vec<AlertKind> {
        let firing = self.messages.iter().flat_map(|(_, message)| &message.firing);
        firing.copied().collect()
    }

    fn resolved(&self) -> Vec<AlertKind> {
        let resolved = self.messages.iter().flat_map(|(_, message)| &message.resolved);
        resolved.copied().collect()
    }
}

/// What is noticed, what is changed of a moment 20 minutes after the beginning, what is told, and in which words.
type Case = (
    &'static str,
    fn(&mut Observation),
    &'static [AlertKind],
    &'static [&'static str],
);

fn cases_of_services() -> Vec<Case> {
    vec![
        ("all is well", |_| {}, &[], &[]),
        (
            "credentials are refused",
            |now| now.breakers = vec![open(Remote::ZohoAccounts, ServiceErrorKind::Unauthorized, now.at)],
            &[AlertKind::ZohoAccountsUnauthorized],
            &[
                "Zoho Accounts rejects our credentials: the refresh token was rejected (invalid_code)",
                "none fails",
            ],
        ),
        (
            "a scope is missing",
            |now| now.breakers = vec![open(Remote::Bigin, ServiceErrorKind::Unauthorized, now.at)],
            &[AlertKind::BiginUnauthorized],
            &["Bigin rejects our credentials", "leads stay queued"],
        ),
        (
            "Sanity's token is refused",
            |now| now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unauthorized, now.at)],
            &[AlertKind::SanityUnauthorized],
            &["Sanity rejects our credentials", "webhooks are stored"],
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
            &[AlertKind::BiginUnavailable],
            &[
                "Bigin has been unavailable for 15 minutes: ",
                "by itself. No action is needed",
            ],
        ),
        (
            "the token endpoint has limited the rate for 15 minutes",
            |now| {
                waits(now, upserted());
                now.breakers = vec![open(
                    Remote::ZohoAccounts,
                    ServiceErrorKind::TokenRateLimited,
                    minutes(5),
                )];
            },
            &[AlertKind::ZohoAccountsUnavailable],
            &["by itself. Request no token for ten minutes"],
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
            &[AlertKind::BiginUnavailable],
            &["the lead lead-1 first, so the lead may be the cause"],
        ),
        (
            "a service was unavailable at the last call, and no call is made",
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
            &[AlertKind::CreditsUsedUp],
            &["credits for 24 hours are used up; bigin-sync used about 900"],
        ),
        ("79 % of the credits are used", |now| now.credits = 3_999, &[], &[]),
        (
            "80 % of the credits are used",
            |now| now.credits = 4_000,
            &[AlertKind::CreditsLow],
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
        (
            "a limit of no credits at all is none",
            |now| {
                now.credits = 1_000_000;
                now.daily_credits = Some(0);
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
            &[AlertKind::LeadStuck],
            &[
                "The lead lead-1 (sync 1) has been in progress for 20 minutes (Writing back), although",
                "1 lead is waiting.",
                "3 failed attempts; last error: Bigin did not add the tag (RECORD_LOCKED).",
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
        ("four signatures are refused", |now| now.rejected = 4, &[], &[]),
        (
            "five signatures are refused",
            |now| now.rejected = 5,
            &[AlertKind::WebhooksRejected],
            &[
                "5 webhooks were rejected for a wrong signature within 10 minutes",
                "SANITY_WEBHOOK_SECRET",
            ],
        ),
        ("two webhooks are missed", |now| now.missed = 2, &[], &[]),
        (
            "three webhooks are missed",
            |now| now.missed = 3,
            &[AlertKind::WebhooksMissed],
            &["3 webhooks never arrived within 60 minutes"],
        ),
    ]
}

#[test]
fn what_is_told_and_what_is_not() {
    for (label, change, alerts, words) in cases_of_services().into_iter().chain(cases_of_leads()) {
        let mut play = Play::new();
        let text = play.look(20, change).unwrap_or_default();
        assert_eq!(play.firing(), alerts, "{label}: {text}");
        assert_eq!(text.is_empty(), alerts.is_empty(), "{label}");
        for word in words {
            assert!(text.contains(word), "{label}: {word:?} is not in {text:?}");
        }
    }
}

/// What is changed of a moment.
type Change = fn(&mut Observation);

/// Each trouble as it is, 20 minutes after the beginning; `docs/OPERATIONS.md` quotes what is told of it.
fn each_trouble() -> [(AlertKind, Change); 13] {
    fn refuses(now: &mut Observation, remote: Remote, code: &str, (what, action): (&str, &str)) {
        stands(now, remote, ServiceErrorKind::Unauthorized, code, (what, Some(action)));
    }
    fn is_away(now: &mut Observation, remote: Remote, what: &str) {
        waits(now, upserted());
        stands(now, remote, ServiceErrorKind::Unavailable, "HTTP 503", (what, None));
    }
    fn stands(
        now: &mut Observation,
        remote: Remote,
        kind: ServiceErrorKind,
        code: &str,
        (what, action): (&str, Option<&str>),
    ) {
        let mut breaker = open(remote, kind, minutes(0));
        if let Some(open) = &mut breaker.open {
            (open.code, open.what) = (code.to_owned(), what.to_owned());
            open.action = action.map(str::to_owned);
        }
        now.breakers = vec![breaker];
    }
    [
        (AlertKind::ZohoAccountsUnauthorized, |now| {
            let what = "the refresh token was rejected: it was revoked, mistyped, or replaced by the user's newer ones";
            let action = "create a new one with `bigin-sync auth` and set BIGIN_REFRESH_TOKEN";
            refuses(now, Remote::ZohoAccounts, "invalid_code", (what, action));
        }),
        (AlertKind::BiginUnauthorized, |now| {
            let what = "the refresh token lacks the scope ZohoBigin.modules.contacts.ALL";
            let action = "create one with this scope in Zoho's API console and set BIGIN_REFRESH_TOKEN";
            refuses(now, Remote::Bigin, "OAUTH_SCOPE_MISMATCH", (what, action));
        }),
        (AlertKind::SanityUnauthorized, |now| {
            let what = "Sanity rejected SANITY_API_WRITE_TOKEN";
            let action = "create a robot token with the Editor role and set it";
            refuses(now, Remote::Sanity, "SIO-401-ANF", (what, action));
        }),
        (AlertKind::ZohoAccountsUnavailable, |now| {
            is_away(
                now,
                Remote::ZohoAccounts,
                "accounts.zoho.eu did not answer as a token endpoint",
            );
        }),
        (AlertKind::BiginUnavailable, |now| {
            is_away(now, Remote::Bigin, "Bigin's answer could not be read")
        }),
        (AlertKind::SanityUnavailable, |now| {
            is_away(now, Remote::Sanity, "Sanity's answer could not be read")
        }),
        (AlertKind::CreditsUsedUp, |now| {
            now.credits = 900;
            let what = "Bigin's API credits for 24 hours are used up";
            stands(
                now,
                Remote::Bigin,
                ServiceErrorKind::CreditsUsedUp,
                "LIMIT_EXCEEDED",
                (what, None),
            );
        }),
        (AlertKind::CreditsLow, |now| now.credits = 4_000),
        (AlertKind::LeadsFailed, |now| {
            fails(now, 20, now.at);
            now.reasons[0].0 = "Bigin rejected Email: not an email address".to_owned();
        }),
        (AlertKind::LeadStuck, |now| waits(now, tagged())),
        (AlertKind::WebhooksRejected, |now| now.rejected = 5),
        (AlertKind::WebhooksMissed, |now| now.missed = 3),
        (AlertKind::Paused, |now| {
            now.paused_since = Some(now.at - Duration::from_secs(25 * 3600))
        }),
    ]
}

#[test]
fn each_trouble_in_its_words() {
    let mut told = String::new();
    for (kind, change) in each_trouble() {
        let mut play = Play::new();
        // Failures are gathered for a minute.
        let text = play.look(20, change).or_else(|| play.look(22, change)).unwrap();
        assert_eq!(play.firing(), [kind], "{text}");
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        told += text.trim_start_matches("bigin-sync: action needed\n");
        told.push('\n');
    }
    insta::assert_snapshot!(told, @r"
    - zoho_accounts_unauthorized: Zoho Accounts rejects our credentials: the refresh token was rejected: it was revoked, mistyped, or replaced by the user's newer ones (invalid_code). Meanwhile leads stay queued, and none fails. To fix it, create a new one with `bigin-sync auth` and set BIGIN_REFRESH_TOKEN, and restart the service.
    - bigin_unauthorized: Bigin rejects our credentials: the refresh token lacks the scope ZohoBigin.modules.contacts.ALL (OAUTH_SCOPE_MISMATCH). Meanwhile leads stay queued, and none fails. To fix it, create one with this scope in Zoho's API console and set BIGIN_REFRESH_TOKEN, and restart the service.
    - sanity_unauthorized: Sanity rejects our credentials: Sanity rejected SANITY_API_WRITE_TOKEN (SIO-401-ANF). Meanwhile webhooks are stored, leads stay queued, and none fails. To fix it, create a robot token with the Editor role and set it, and restart the service.
    - zoho_accounts_unavailable: Zoho Accounts has been unavailable for 20 minutes: accounts.zoho.eu did not answer as a token endpoint (HTTP 503). Meanwhile leads stay queued, and none fails. Sending resumes by itself. Check the status page of Zoho Accounts.
    - bigin_unavailable: Bigin has been unavailable for 20 minutes: Bigin's answer could not be read (HTTP 503). Meanwhile leads stay queued, and none fails. Sending resumes by itself. Check the status page of Bigin.
    - sanity_unavailable: Sanity has been unavailable for 20 minutes: Sanity's answer could not be read (HTTP 503). Meanwhile webhooks are stored, leads stay queued, and none fails. Sending resumes by itself. Check the status page of Sanity.
    - credits_used_up: Bigin's API credits for 24 hours are used up; bigin-sync used about 900 of them. Leads stay queued, and sending resumes by itself as credits return. Check what else uses the API, or buy more credits.
    - credits_low: About 4000 of Bigin's 5000 API credits for 24 hours are used. Leads are queued when none is left. Check what uses them, or buy more.
    - leads_failed: 20 leads failed. Current reasons: “Bigin rejected Email: not an email address” (20 leads). Each lead has its reason in crmError. Fix the cause and send the lead again.
    - lead_stuck: The lead lead-1 (sync 1) has been in progress for 20 minutes (Writing back), although every remote service is reachable. 1 lead is waiting. 3 failed attempts; last error: Bigin did not add the tag (RECORD_LOCKED). Run `bigin-sync status lead-1` and fix what the last error names. If the log is silent, report a bug. A restart is safe.
    - webhooks_rejected: 5 webhooks were rejected for a wrong signature within 10 minutes. Leads arrive late, by reconciliation, or not at all if it is off. Set SANITY_WEBHOOK_SECRET to the secret of Sanity's webhook. If they match already, someone is sending forged webhooks.
    - webhooks_missed: 3 webhooks never arrived within 60 minutes; reconciliation found their leads late. Check the webhook in the Sanity project: is it enabled, is its URL this service's, does its filter match? Its attempts log has the errors.
    - paused: Sending was paused by the operator 25 hours ago, and 0 leads are waiting. Resume it on the dashboard.
    ");
}

#[test]
fn a_trouble_is_told_once_and_once_that_it_is_over() {
    let mut play = Play::new();
    for minute in 0..60 {
        play.look(minute, |now| {
            now.breakers = vec![open(Remote::ZohoAccounts, ServiceErrorKind::Unauthorized, at(0))]
        });
    }
    assert_eq!(play.firing(), [AlertKind::ZohoAccountsUnauthorized]);
    for minute in 60..120 {
        play.look(minute, |_| {});
    }
    assert_eq!(
        (play.firing().len(), play.resolved()),
        (1, vec![AlertKind::ZohoAccountsUnauthorized])
    );
    let (when, message) = &play.messages[1];
    assert_eq!(*when, minutes(65), "once it has been so for a while");
    assert_eq!(
        message.text,
        "bigin-sync: resolved\n- zoho_accounts_unauthorized: Zoho Accounts accepts our credentials again."
    );
}

#[test]
fn a_trouble_that_comes_and_goes_is_not_told_each_time() {
    let mut play = Play::new();
    for minute in 0..120 {
        let fire = minute % 8 < 2;
        play.look(minute, |now| {
            now.breakers
                .extend(fire.then(|| open(Remote::Bigin, ServiceErrorKind::Unauthorized, now.at)));
        });
    }
    let firing = play.messages.iter().filter(|(_, message)| !message.firing.is_empty());
    let times: Vec<_> = firing.map(|(at, _)| *at).collect();
    assert!(times.len() <= 4, "{times:?}");
    assert!(
        times.windows(2).all(|pair| pair[1] >= pair[0] + REPEAT_INTERVAL),
        "{times:?}"
    );
    assert!(play.messages.len() <= 8);
}

#[test]
fn troubles_that_come_together_are_one_message_and_those_that_follow_wait_for_the_next() {
    let mut play = Play::new();
    let both = |now: &mut Observation| {
        now.rejected = 9;
        now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unauthorized, now.at)];
    };
    let text = play.look(10, both).unwrap();
    assert!(
        text.contains("Sanity rejects our credentials") && text.contains("9 webhooks were rejected"),
        "{text}"
    );
    let more = |now: &mut Observation| {
        now.breakers = vec![open(Remote::Sanity, ServiceErrorKind::Unauthorized, now.at)];
        now.credits = 4_500;
    };
    assert_eq!(play.look(12, more), None);
    assert_eq!(play.look(14, |now| now.credits = 100), None);
    let text = play.look(20, |_| {}).unwrap();
    assert!(
        text.contains("4500 of Bigin's 5000") && text.contains("Since 1 Jan 00:12 UTC; resolved at 1 Jan 00:14 UTC."),
        "what came and went meanwhile is not lost: {text}"
    );
    assert!(
        text.contains("resolved\n- sanity_unauthorized: Sanity accepts our credentials again."),
        "{text}"
    );
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
    assert!(text.contains("40 leads failed"), "{text}");
    assert!(
        text.contains("“Bigin rejected Email: not an email address” (40 leads)"),
        "{text}"
    );
    for minute in 12..71 {
        assert_eq!(play.look(minute, |now| fails(now, 41, now.at)), None);
    }
    let text: Vec<_> = (71..120)
        .filter_map(|minute| play.look(minute, |now| fails(now, 41, minutes(20))))
        .collect();
    assert!(text.len() == 1 && text[0].contains("1 lead failed"), "{text:?}");
    let end: Vec<_> = (120..200)
        .filter_map(|minute| play.look(minute, |now| now.failed = 41))
        .collect();
    assert!(end.len() == 1 && end[0].contains("No failed lead is left."), "{end:?}");
    let times: Vec<_> = play.messages.iter().map(|(at, _)| *at).collect();
    assert!(times[1] >= times[0] + FAILED_REPEAT_INTERVAL);
}

#[test]
fn what_failed_before_anybody_listened_and_what_is_mended_before_it_is_told_is_no_news() {
    let mut before = well(minutes(0));
    fails(&mut before, 7, minutes(0));
    before.missed = 9;
    let mut play = Play {
        told: AlertLog::begin(&before),
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
    // Each new lead is read, which closes Sanity's breaker, and no result is written.
    let flaps = |now: &mut Observation| {
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
    for (tag_delay, expected) in [(0, 74), (10, 84)] {
        let flaps = |now: &mut Observation| {
            flaps(now);
            now.tag_delay = Duration::from_secs(tag_delay * 60);
        };
        let mut play = Play::new();
        let told: Vec<u64> = (1..240).filter(|minute| play.look(*minute, flaps).is_some()).collect();
        assert_eq!(
            told,
            [expected],
            "the hour begins after a tag delay of {tag_delay} minutes"
        );
    }
    assert_eq!(play.firing(), [AlertKind::LeadStuck]);
    let text = &play.messages[0].1.text;
    assert!(
        text.contains("while Sanity accepts some calls and rejects others"),
        "{text}"
    );
}

#[test]
fn an_outage_that_was_told_explains_that_leads_wait_however_long_it_lasts() {
    let mut play = Play::new();
    let down = |now: &mut Observation| {
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
        (play.firing(), play.resolved()),
        (vec![AlertKind::BiginUnavailable], vec![AlertKind::BiginUnavailable])
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
    let paused = |now: &mut Observation| {
        now.in_progress = 3;
        now.paused_since = Some(minutes(0));
    };
    assert_eq!(play.look(24 * 60 - 1, paused), None);
    let text = play.look(24 * 60, paused).unwrap();
    assert!(
        text.contains("paused by the operator 24 hours ago, and 3 leads are waiting"),
        "{text}"
    );
}

#[test]
fn the_dashboard_is_named_where_it_is_known() {
    let mut told = AlertLog::begin(&well(minutes(0)));
    let mut now = well(minutes(1));
    now.rejected = 9;
    told.observe(&now);
    let text = told.message(now.at, Some("https://crm.example.org/")).unwrap().text;
    assert!(text.ends_with("\n\nSee https://crm.example.org/"), "{text}");
}

#[test]
fn a_sentence_is_cut_and_mentions_nobody() {
    let mut play = Play::new();
    let long = |now: &mut Observation| {
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

fn spoil(now: &mut Observation, wrong: u8) {
    let long_ago = at(0);
    match wrong {
        0 => now
            .breakers
            .push(open(Remote::ZohoAccounts, ServiceErrorKind::Unauthorized, long_ago)),
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
        6 => now.rejected = 3,
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
            prop_assert!(pair[1].0 >= pair[0].0 + GROUP_INTERVAL, "two messages within minutes");
        }
        let mut open: std::collections::BTreeMap<AlertKind, Timestamp> = std::collections::BTreeMap::new();
        let mut last: std::collections::BTreeMap<AlertKind, Timestamp> = std::collections::BTreeMap::new();
        for (at, message) in &told.messages {
            prop_assert!(!message.firing.is_empty() || !message.resolved.is_empty());
            for kind in &message.firing {
                let again = last.insert(*kind, *at);
                prop_assert!(again.is_none_or(|then| *at >= then + REPEAT_INTERVAL), "{:?} is told again too soon", kind);
                let was_open = open.insert(*kind, *at).is_some();
                prop_assert!(!was_open || *kind == AlertKind::LeadsFailed, "{:?} is told twice", kind);
            }
            for kind in &message.resolved {
                prop_assert!(open.remove(kind).is_some(), "{:?} is resolved, and never fired", kind);
            }
        }
        prop_assert!(open.is_empty(), "these are not resolved: {:?}", open);
        let repeat_interval = told.messages.last().map_or(at(0), |(at, _)| *at) + RESOLVE_AFTER;
        prop_assert_eq!(told.told.message(repeat_interval + GROUP_INTERVAL, None), None);
    }
}
