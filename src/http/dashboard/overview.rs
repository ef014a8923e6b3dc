//! The first page: is it well, what waits, what failed, are the services there, how much goes through.

use std::time::Duration;

use actix_web::web;
use askama::Template;

use super::chart::{Chart, chart};
use super::flash::Done;
use super::labels::{BADGES, Badge, Moment, Standstill, badge, capital, lasting};
use super::services::{self, Service, WebhooksLine};
use super::{Answer, Frame, page};
use crate::api_types::{Ended, Health, OpenBreaker};
use crate::clock::before;
use crate::domain::failure::Remote;
use crate::domain::problem::Problem;
use crate::domain::text::count;
use crate::http::AppState;
use crate::http::auth::Session;
use crate::http::health::{DAY, HOUR, read};
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
    problems: Vec<ProblemView>,
    waiting: u64,
    states: Vec<(Badge, u64)>,
    oldest: Option<Oldest>,
    groups: Vec<FailureGroup>,
    more_groups: bool,
    services: [Service; 3],
    webhooks: WebhooksLine,
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

/// What is wrong: where, what happened and what to do.
#[derive(Debug, PartialEq, Eq)]
struct ProblemView {
    remote: String,
    what: String,
    code: String,
    action: String,
}

struct Oldest {
    id: i64,
    lead: String,
    badge: Badge,
    since: Moment,
    lasting: String,
}

struct FlowView {
    name: &'static str,
    ago: &'static str,
    step: &'static str,
    ended: Ended,
    chart: Chart,
}

/// Shows how things stand.
pub(super) async fn show(session: web::ReqData<Session>, done: web::Query<Done>, state: web::Data<AppState>) -> Answer {
    let (health, flows) = read(&state).await?;
    let groups = state.store.failure_groups(REASONS + 1).await?;
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
            problems: health.problems.iter().map(ProblemView::new).collect(),
            waiting: health.ledger.in_progress,
            states: states(&health),
            oldest: health.oldest_waiting.as_ref().map(|waiting| Oldest {
                id: waiting.sync_id.0,
                lead: waiting.lead_id.as_str().to_owned(),
                badge: badge(&waiting.state),
                since: Moment(waiting.created_at),
                lasting: lasting(Duration::from_secs(waiting.seconds.max(1))),
            }),
            groups,
            more_groups,
            services: services::services(&health),
            webhooks: services::webhooks(&health),
            flows: [
                FlowView {
                    name: "Last hour",
                    ago: "an hour ago",
                    step: "per minute",
                    ended: health.last_hour,
                    chart: chart("hour", &hour, before(at, HOUR), at, MINUTE),
                },
                FlowView {
                    name: "Last 24 hours",
                    ago: "a day ago",
                    step: "per hour",
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

fn headline(health: &Health) -> Headline {
    let in_progress = match health.ledger.in_progress {
        0 => "No leads are waiting.".to_owned(),
        1 => "1 lead is in progress.".to_owned(),
        count => format!("{count} leads are in progress."),
    };
    let queued = match health.ledger.in_progress {
        0 => "No leads are waiting.".to_owned(),
        1 => "1 lead is queued; it is not lost.".to_owned(),
        count => format!("{count} leads are queued; none is lost."),
    };
    let (tone, icon, words) = if health.paused_since.is_some() {
        (
            "wait",
            "pause",
            format!("Sending is paused. Resume to continue. {queued}"),
        )
    } else if let Some(names) = unavailable(&health.breakers) {
        ("bad", "cross", format!("{names} unavailable. {queued}"))
    } else if !health.balances {
        (
            "bad",
            "cross",
            "The totals don't add up. This is a bug: please report it with the numbers below.".to_owned(),
        )
    } else if health.webhooks.problem.is_some() {
        let words = format!("Webhooks are not getting through, so leads arrive late. {in_progress}");
        ("wait", "alert", words)
    } else if health.failed_leads > 0 {
        let failed = count(health.failed_leads, "lead");
        ("wait", "alert", format!("{failed} failed. {in_progress}"))
    } else {
        ("good", "tick", format!("Everything is working. {in_progress}"))
    };
    Headline { tone, icon, words }
}

fn unavailable(breakers: &[OpenBreaker]) -> Option<&'static str> {
    let names: Vec<bool> = breakers
        .iter()
        .map(|breaker| breaker.remote == Remote::Sanity.label())
        .collect();
    match (names.contains(&false), names.contains(&true)) {
        (true, true) => Some("Bigin and Sanity are both"),
        (true, false) => Some("Bigin is"),
        (false, true) => Some("Sanity is"),
        (false, false) => None,
    }
}

impl ProblemView {
    fn new(problem: &Problem) -> Self {
        let name = Remote::from_label(&problem.remote).map(Remote::name);
        Self {
            remote: capital(name.unwrap_or(&problem.remote)),
            what: capital(&problem.what),
            code: problem.code.clone(),
            action: capital(&problem.action),
        }
    }
}

/// Every state of the journey, and how many syncs are in it.
fn states(health: &Health) -> Vec<(Badge, u64)> {
    let in_progress = BADGES.into_iter().take(4);
    let count = |badge: Badge| health.in_progress.get(badge.label).copied().unwrap_or(0);
    in_progress.map(|badge| (badge, count(badge))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::breaker::{Breaker, Open};
    use crate::domain::failure::ServiceErrorKind;
    use crate::http::health::Observed;
    use crate::store::{Ledger, Overview, WebhookLog};

    fn overview() -> Overview {
        Overview {
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            in_progress: [("requested".to_owned(), 3)].into(),
            oldest: None,
            ledger: Ledger {
                accepted: 3,
                created_by_webhook: 3,
                created: 3,
                in_progress: 3,
                ..Ledger::default()
            },
            breakers: Vec::new(),
            paused_since: None,
            failed_leads: 0,
            credits: 0,
            token_granted_at: None,
            webhooks: WebhookLog::default(),
        }
    }

    fn words(change: impl FnOnce(&mut Health)) -> (&'static str, String) {
        let mut health = Health::new(overview(), &Observed::default(), Ended::default(), Ended::default());
        change(&mut health);
        let Headline { tone, words, .. } = headline(&health);
        (tone, words)
    }

    fn breaker(remote: Remote) -> OpenBreaker {
        OpenBreaker {
            remote: remote.label().into(),
            since: "2026-11-22T09:58:00Z".parse().unwrap(),
            until: "2026-11-22T10:01:00Z".parse().unwrap(),
            code: "HTTP 503".to_owned(),
            what: "Bigin returned an error".to_owned(),
            action: "wait".to_owned(),
            check: "/api/services/bigin/check".to_owned(),
            is_rate_limited: false,
        }
    }

    #[test]
    fn the_headline_says_the_worst_thing_first() {
        assert_eq!(
            words(|_| {}),
            ("good", "Everything is working. 3 leads are in progress.".to_owned())
        );
        assert_eq!(
            words(|health| health.failed_leads = 1),
            ("wait", "1 lead failed. 3 leads are in progress.".to_owned())
        );
        assert_eq!(
            words(|health| health.breakers = vec![breaker(Remote::ZohoAccounts)]),
            (
                "bad",
                "Bigin is unavailable. 3 leads are queued; none is lost.".to_owned()
            )
        );
        let (_, paused) = words(|health| {
            health.breakers = vec![breaker(Remote::ZohoAccounts)];
            health.paused_since = Some(health.at);
        });
        assert!(paused.starts_with("Sending is paused. "), "{paused}");
        assert_eq!(words(|health| health.balances = false).0, "bad");
        let (tone, refused) = words(|health| {
            health.failed_leads = 1;
            health.webhooks.problem = Some(Problem::paused(health.at));
        });
        assert!(
            tone == "wait" && refused.starts_with("Webhooks are not getting through"),
            "{refused}"
        );
    }

    #[test]
    fn a_problem_has_its_own_advice_or_that_of_its_kind() {
        let mut breaker = Breaker::closed(Remote::ZohoAccounts);
        breaker.open = Some(Open {
            since: "2026-11-22T09:58:00Z".parse().unwrap(),
            until: "2026-11-22T10:01:00Z".parse().unwrap(),
            fresh_from: None,
            kind: ServiceErrorKind::Unauthorized,
            code: "invalid_code".to_owned(),
            what: "the refresh token was rejected".to_owned(),
            action: Some("create a new one".to_owned()),
        });
        let view = |breaker: &Breaker| ProblemView::new(&Problem::of(breaker).unwrap());
        let known = view(&breaker);
        assert_eq!(known.remote, "Zoho Accounts");
        assert_eq!(known.what, "The refresh token was rejected");
        assert_eq!(known.action, "Create a new one");
        let open = breaker.open.as_mut().unwrap();
        (open.kind, open.action) = (ServiceErrorKind::Unavailable, None);
        assert!(
            view(&breaker)
                .action
                .ends_with("check the status page of Zoho Accounts or contact its support")
        );
        breaker.open.as_mut().unwrap().kind = ServiceErrorKind::CreditsUsedUp;
        assert_eq!(
            view(&breaker).action,
            "Check what else uses the API, or buy more credits"
        );
    }
}
