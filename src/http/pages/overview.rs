//! The first page: is it well, what waits, what failed, are the services there, how much goes through.

use std::time::Duration;

use actix_web::web;
use askama::Template;
use jiff::Timestamp;

use super::chart::{Chart, chart};
use super::notes::Done;
use super::words::{BADGES, Badge, Moment, Standstill, badge, capital, lasting, leads};
use super::{Answer, Frame, page};
use crate::domain::failure::Remote;
use crate::http::State;
use crate::http::auth::Session;
use crate::http::overview::{DAY, Ended, HOUR, Health, OpenBreaker, read};
use crate::http::problem;
use crate::store::{FailureGroup, Flow};

const MINUTE: Duration = Duration::from_secs(60);

/// Reasons that have room here; the page of failures has the others.
const REASONS: usize = 4;

/// Seconds after which a browser without JavaScript loads the page again.
const AGAIN: u32 = 15;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    health: Health,
    headline: Headline,
    troubles: Vec<Trouble>,
    waiting: u64,
    states: Vec<(Badge, u64)>,
    oldest: Option<Oldest>,
    groups: Vec<FailureGroup>,
    more_groups: bool,
    services: [Service; 3],
    flows: [FlowView; 2],
    granted: Option<(Moment, String)>,
    given_up_after: String,
}

/// Is it well? In one sentence.
#[derive(Debug, PartialEq, Eq)]
struct Headline {
    /// good, wait or bad.
    tone: &'static str,
    icon: &'static str,
    words: String,
}

/// What is wrong: which part, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    part: String,
    words: String,
}

struct Oldest {
    id: i64,
    lead: String,
    badge: Badge,
    since: Moment,
    lasting: String,
}

/// One remote service.
#[derive(Debug, PartialEq, Eq)]
struct Service {
    name: &'static str,
    what: &'static str,
    tone: &'static str,
    icon: &'static str,
    word: &'static str,
    /// What is wrong, since when, and when it is next asked where that lies ahead.
    trouble: Option<(String, Moment, Option<Moment>)>,
}

struct FlowView {
    name: &'static str,
    ago: &'static str,
    step: &'static str,
    ended: Ended,
    chart: Chart,
}

/// Shows how things stand.
pub(super) async fn show(session: web::ReqData<Session>, done: web::Query<Done>, state: web::Data<State>) -> Answer {
    let (health, flows) = read(&state).await?;
    let groups = state.store.failure_groups(REASONS + 1).await;
    let groups = groups.map_err(|error| problem::unavailable(&error))?;
    let mut frame = Frame::new(&state, Some(&session), "overview", "Overview");
    frame.now = Moment(health.at);
    let stand = Standstill::of_health(&health);
    frame.note = done.note(stand.holds_up("requested"));
    frame.again = Some(("/".to_owned(), AGAIN));
    let given_up_after = lasting(state.give_up_after);
    Ok(page(
        200,
        &OverviewPage::new(frame, health, groups, flows, given_up_after),
    ))
}

impl OverviewPage {
    fn new(
        frame: Frame,
        health: Health,
        mut groups: Vec<FailureGroup>,
        [hour, day]: [Vec<Flow>; 2],
        given_up_after: String,
    ) -> Self {
        let more_groups = groups.len() > REASONS;
        groups.truncate(REASONS);
        let at = health.at;
        Self {
            frame,
            headline: headline(&health),
            troubles: health.troubles.iter().map(|trouble| told(trouble)).collect(),
            waiting: health.ledger.in_progress,
            states: states(&health),
            oldest: health.oldest_waiting.as_ref().map(|waiting| Oldest {
                id: waiting.sync_id.0,
                lead: waiting.lead_id.as_str().to_owned(),
                badge: badge(waiting.state),
                since: Moment(waiting.opened_at),
                lasting: lasting(Duration::from_secs(waiting.seconds.max(1))),
            }),
            groups,
            more_groups,
            services: services(&health),
            flows: [
                FlowView {
                    name: "Last hour",
                    ago: "an hour ago",
                    step: "in a minute",
                    ended: health.last_hour,
                    chart: chart("hour", &hour, before(at, HOUR), at, MINUTE),
                },
                FlowView {
                    name: "Last 24 hours",
                    ago: "a day ago",
                    step: "in an hour",
                    ended: health.last_day,
                    chart: chart("day", &day, before(at, DAY), at, HOUR),
                },
            ],
            granted: health.token.granted_at.map(|granted_at| {
                let age = Duration::from_secs(health.token.age_seconds.unwrap_or(0).max(1));
                (Moment(granted_at), lasting(age))
            }),
            given_up_after,
            health,
        }
    }
}

fn before(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_sub(span).unwrap_or(Timestamp::MIN)
}

fn headline(health: &Health) -> Headline {
    let waiting = match health.ledger.in_progress {
        0 => "Nothing is waiting.".to_owned(),
        1 => "1 lead is on its way.".to_owned(),
        count => format!("{count} leads are on their way."),
    };
    let kept = match health.ledger.in_progress {
        0 => "No lead waits for it.".to_owned(),
        1 => "1 lead waits; it is not lost.".to_owned(),
        count => format!("{count} leads wait; none is lost."),
    };
    let (tone, icon, words) = if health.paused_since.is_some() {
        (
            "wait",
            "pause",
            format!("Paused: nothing is sent until somebody resumes it. {kept}"),
        )
    } else if let Some(name) = closed_to_us(&health.breakers) {
        ("bad", "cross", format!("{name} takes no work right now. {kept}"))
    } else if !health.balances {
        (
            "bad",
            "cross",
            "The ledger's sums do not hold: a defect of this program. Please report it with the numbers below."
                .to_owned(),
        )
    } else if health.failed_leads > 0 {
        let failed = leads(health.failed_leads);
        (
            "wait",
            "alert",
            format!("It is running, and {failed} could not be sent. {waiting}"),
        )
    } else {
        ("good", "tick", format!("All is well. {waiting}"))
    };
    Headline { tone, icon, words }
}

fn closed_to_us(breakers: &[OpenBreaker]) -> Option<&'static str> {
    let names: Vec<bool> = breakers
        .iter()
        .map(|breaker| breaker.remote == Remote::Sanity.label())
        .collect();
    match (names.contains(&false), names.contains(&true)) {
        (true, true) => Some("Neither Bigin nor Sanity"),
        (true, false) => Some("Bigin"),
        (false, true) => Some("Sanity"),
        (false, false) => None,
    }
}

/// `bigin: refresh token rejected (invalid_code); run …` in its two parts. Where nothing is said of what to do, there is
/// nothing to do.
fn told(trouble: &str) -> Trouble {
    let (part, words) = trouble.split_once(": ").unwrap_or(("", trouble));
    let words = capital(words.trim_end_matches('.'));
    let to_do = if words.contains("; ") {
        "."
    } else {
        ". It is asked again by itself, and the leads wait. If this lasts for hours, see the service's status page, then ask its support."
    };
    Trouble {
        part: capital(part),
        words: format!("{words}{to_do}"),
    }
}

/// Every state of the journey, and how many syncs are in it.
fn states(health: &Health) -> Vec<(Badge, u64)> {
    let in_progress = BADGES.into_iter().take(4);
    let count = |badge: Badge| health.in_progress.get(badge.label).copied().unwrap_or(0);
    in_progress.map(|badge| (badge, count(badge))).collect()
}

fn services(health: &Health) -> [Service; 3] {
    let trouble = |remote: Remote| {
        let open = health
            .breakers
            .iter()
            .find(|breaker| breaker.remote == remote.label())?;
        let is_asked = health.paused_since.is_none() && open.until > health.at;
        Some((
            capital(&open.message),
            Moment(open.since),
            is_asked.then_some(Moment(open.until)),
        ))
    };
    let no_token = trouble(Remote::Token).is_some();
    let service = |name, what, remote| match trouble(remote) {
        Some(trouble) => Service {
            name,
            what,
            tone: "bad",
            icon: "cross",
            word: "Takes no work",
            trouble: Some(trouble),
        },
        None if remote == Remote::Bigin && no_token => Service {
            name,
            what,
            tone: "wait",
            icon: "pause",
            word: "Not asked: no access token",
            trouble: None,
        },
        None => Service {
            name,
            what,
            tone: "good",
            icon: "tick",
            word: "Reachable",
            trouble: None,
        },
    };
    [
        service("Bigin", "takes contacts and tags", Remote::Bigin),
        service("Zoho Accounts", "grants access to Bigin", Remote::Token),
        service("Sanity", "has the leads", Remote::Sanity),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Ledger, Overview};

    fn overview() -> Overview {
        Overview {
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            in_progress: [("requested".to_owned(), 3)].into(),
            oldest: None,
            ledger: Ledger {
                accepted: 3,
                opened_by_webhook: 3,
                opened: 3,
                in_progress: 3,
                ..Ledger::default()
            },
            breakers: Vec::new(),
            paused_since: None,
            failed_leads: 0,
            credits: 0,
            token_granted_at: None,
        }
    }

    fn words(change: impl FnOnce(&mut Health)) -> (&'static str, String) {
        let mut health = Health::new(overview(), Ended::default(), Ended::default());
        change(&mut health);
        let Headline { tone, words, .. } = headline(&health);
        (tone, words)
    }

    fn breaker(remote: Remote) -> OpenBreaker {
        OpenBreaker {
            remote: remote.label(),
            since: "2026-11-22T09:58:00Z".parse().unwrap(),
            until: "2026-11-22T10:01:00Z".parse().unwrap(),
            code: "HTTP 503".to_owned(),
            message: "Bigin answered 503".to_owned(),
        }
    }

    #[test]
    fn the_headline_says_the_worst_thing_first() {
        assert_eq!(
            words(|_| {}),
            ("good", "All is well. 3 leads are on their way.".to_owned())
        );
        assert_eq!(
            words(|health| health.failed_leads = 1),
            (
                "wait",
                "It is running, and 1 lead could not be sent. 3 leads are on their way.".to_owned()
            )
        );
        assert_eq!(
            words(|health| health.breakers = vec![breaker(Remote::Token)]),
            (
                "bad",
                "Bigin takes no work right now. 3 leads wait; none is lost.".to_owned()
            )
        );
        let (_, paused) = words(|health| {
            health.breakers = vec![breaker(Remote::Token)];
            health.paused_since = Some(health.at);
        });
        assert!(paused.starts_with("Paused: "), "{paused}");
        assert_eq!(words(|health| health.balances = false).0, "bad");
    }

    #[test]
    fn each_service_says_whether_it_is_reachable() {
        let states = |breakers: Vec<OpenBreaker>| {
            let mut health = Health::new(overview(), Ended::default(), Ended::default());
            health.breakers = breakers;
            services(&health).map(|service| service.word)
        };
        assert_eq!(states(vec![]), ["Reachable"; 3]);
        assert_eq!(
            states(vec![breaker(Remote::Bigin)]),
            ["Takes no work", "Reachable", "Reachable"]
        );
        assert_eq!(
            states(vec![breaker(Remote::Token)]),
            ["Not asked: no access token", "Takes no work", "Reachable"],
            "without a token nobody knows how Bigin is"
        );
    }

    #[test]
    fn a_trouble_is_told_by_part_and_in_whole_sentences() {
        assert_eq!(
            told("bigin: refresh token rejected (invalid_code); make a new one"),
            Trouble {
                part: "Bigin".to_owned(),
                words: "Refresh token rejected (invalid_code); make a new one.".to_owned()
            }
        );
        assert_eq!(
            told("sanity: Sanity answered 503 (HTTP 503)").words,
            "Sanity answered 503 (HTTP 503). It is asked again by itself, and the leads wait. If this lasts for hours, see the service's \
             status page, then ask its support."
        );
    }
}
