//! How things stand, in numbers and in sentences: for programs at `/api/health`, and for the dashboard.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;

use super::problem::ProblemDetails;
use super::{AppState, answer};
use crate::api_types::{Ended, Health, OpenBreaker, Service, Token, Waiting, Webhooks};
use crate::clock::{before, until};
use crate::domain::breaker::Breaker;
use crate::domain::failure::{Remote, ServiceErrorKind};
use crate::domain::problem::Problem;
use crate::metrics::Metrics;
use crate::store::{Flow, Overview, SyncView, WebhookLog};

pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// So many webhooks in a row that were missed are a rule.
const MISSED: u64 = 3;

impl Webhooks {
    fn new(log: WebhookLog, (rejected, last_rejected_at): (u64, Option<Timestamp>), at: Timestamp) -> Self {
        let WebhookLog {
            last_received,
            missed,
            last_missed,
        } = log;
        // A rejection without a missed webhook may be from a stranger.
        let is_recent = last_rejected_at.is_some_and(|rejected| until(rejected, at) < HOUR);
        let problem = if rejected > 0 && (is_recent || missed > 0) {
            Some(Problem {
                remote: "sanity".to_owned(),
                code: "webhooks_rejected".to_owned(),
                what: format!(
                    "webhooks are rejected for a wrong signature ({rejected} since the last accepted one), so leads arrive late"
                ),
                action: "set SANITY_WEBHOOK_SECRET to the secret of Sanity's webhook (`bigin-sync doctor` compares them); if \
                         they match, someone is sending forged webhooks"
                    .to_owned(),
                since: last_rejected_at,
                until: None,
            })
        } else if missed >= MISSED {
            Some(Problem {
                remote: "sanity".to_owned(),
                code: "webhooks_missed".to_owned(),
                what: format!(
                    "the last {missed} webhooks never arrived, so leads are found late, by the regular check"
                ),
                action: "check the webhook in Sanity and its latest deliveries (`bigin-sync doctor`); after an outage of this \
                         service the next webhook ends this"
                    .to_owned(),
                since: last_missed,
                until: None,
            })
        } else {
            None
        };
        Self {
            last_received_at: last_received,
            rejected,
            last_rejected_at,
            missed,
            last_missed_at: last_missed,
            problem,
        }
    }
}

/// What this process alone knows.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The services that it has called.
    pub(super) called: Vec<Remote>,
    /// How many webhooks in a row were refused for their signature, and when the last was.
    pub(super) rejected: (u64, Option<Timestamp>),
}

impl Observed {
    fn of(metrics: &Metrics) -> Self {
        let is_called = |remote: &Remote| metrics.calls.any(remote.label());
        Self {
            called: Remote::ALL.into_iter().filter(is_called).collect(),
            rejected: metrics.rejected_in_a_row.get(),
        }
    }
}

impl Ended {
    fn of(flow: &[Flow]) -> Self {
        flow.iter().fold(Self::default(), |sum, step| Self {
            sent: sum.sent + step.sent,
            failed: sum.failed + step.failed,
        })
    }

    /// Of a hundred that ended, how many were sent, cut to the whole number; none where none ended.
    pub(super) fn success_rate(self) -> Option<u64> {
        (100 * self.sent).checked_div(self.sent + self.failed)
    }
}

/// Shows how things stand.
#[utoipa::path(get, path = "/api/health", tag = "service", responses(
    (status = 200, description = "The state of the service", body = Health),
    (status = 503, description = "The database cannot be read", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn health(state: web::Data<AppState>) -> HttpResponse {
    answer(read(&state).await.map(|(health, _)| health))
}

/// How things stand, and how many syncs ended in each minute of the last hour and each hour of the last day.
pub(super) async fn read(state: &AppState) -> Result<(Health, [Vec<Flow>; 2]), HttpResponse> {
    let overview = state.store.overview().await?;
    let flow = async |span: Duration, step: Duration| {
        let since = before(overview.at, span);
        state.store.flow(since, step).await
    };
    let hour = flow(HOUR, HOUR / 60).await?;
    let day = flow(DAY, HOUR).await?;
    let day_ago = before(overview.at, DAY);
    let grants = state.store.grants(day_ago).await?.len();
    let observed = Observed::of(&state.metrics);
    let mut health = Health::new(overview, &observed, Ended::of(&hour), Ended::of(&day));
    (health.token.grants, health.daily_credits) = (grants, state.daily_credits);
    Ok((health, [hour, day]))
}

impl Health {
    pub(super) fn new(overview: Overview, observed: &Observed, last_hour: Ended, last_day: Ended) -> Self {
        let Overview { at, ledger, .. } = overview;
        let seconds = |since: Timestamp| until(since, at).as_secs();
        let webhooks = Webhooks::new(overview.webhooks, observed.rejected, at);
        let mut problems = problems(overview.paused_since, &overview.breakers);
        problems.extend(webhooks.problem.clone());
        Self {
            at,
            problems,
            paused_since: overview.paused_since,
            services: Remote::ALL
                .map(|remote| service(remote, &overview, &observed.called))
                .into(),
            webhooks,
            breakers: open_breakers(overview.breakers),
            in_progress: overview.in_progress,
            oldest_waiting: overview.oldest.map(|SyncView { sync, .. }| Waiting {
                sync_id: sync.id,
                lead_id: sync.lead,
                state: sync.state.label().into(),
                created_at: sync.created_at,
                seconds: seconds(sync.created_at),
            }),
            failed_leads: overview.failed_leads,
            last_hour,
            last_day,
            credits_used: overview.credits,
            daily_credits: None,
            token: Token {
                granted_at: overview.token_granted_at,
                age_seconds: overview.token_granted_at.map(seconds),
                grants: 0,
            },
            ledger,
            balances: ledger.balances(),
        }
    }
}

/// What is wrong with the services, or keeps work from being done.
pub(super) fn problems(paused_since: Option<Timestamp>, breakers: &[Breaker]) -> Vec<Problem> {
    let paused = paused_since.map(Problem::paused);
    paused
        .into_iter()
        .chain(breakers.iter().filter_map(Problem::of))
        .collect()
}

fn service(remote: Remote, overview: &Overview, called: &[Remote]) -> Service {
    let is_open = overview
        .breakers
        .iter()
        .any(|breaker| breaker.remote == remote && breaker.open.is_some());
    // A token lasts for an hour, and a restart does not ask for another.
    let is_known = called.contains(&remote) || remote == Remote::ZohoAccounts && overview.token_granted_at.is_some();
    Service {
        remote: remote.label().into(),
        state: match (is_open, is_known) {
            (true, _) => "unavailable".into(),
            (false, true) => "reachable".into(),
            (false, false) => "not_called_yet".into(),
        },
    }
}

/// Those that are open.
pub(super) fn open_breakers(breakers: Vec<Breaker>) -> Vec<OpenBreaker> {
    breakers.into_iter().filter_map(open).collect()
}

pub(super) fn open(breaker: Breaker) -> Option<OpenBreaker> {
    let Problem { what, action, .. } = Problem::of(&breaker)?;
    let open = breaker.open?;
    Some(OpenBreaker {
        remote: breaker.remote.label().into(),
        since: open.since,
        until: open.until,
        code: open.code,
        what,
        action,
        check: format!("/api/services/{}/check", breaker.remote.label()),
        is_rate_limited: open.kind == ServiceErrorKind::TokenRateLimited,
    })
}
