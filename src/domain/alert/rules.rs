//! When each alert fires, with its thresholds and its text: what happened, what it means, what to do.

use std::time::Duration;

use jiff::Timestamp;

use super::{AlertKind, AlertLog, Observation};
use crate::domain::breaker::Open;
use crate::domain::datetime::{after, until};
use crate::domain::failure::{Remote, ServiceErrorKind};
use crate::domain::state::State;
use crate::domain::text::count;

/// A shorter outage ends by itself, and needs no operator.
pub(super) const UNAVAILABLE_AFTER: Duration = Duration::from_secs(15 * 60);

/// A lead takes seconds beside the tag delay. One that takes this much longer is stuck.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);

/// A pause that lasts longer may have been forgotten.
pub(super) const PAUSED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Fewer rejected signatures may be a scanner's.
pub(super) const MIN_REJECTED: u64 = 5;

/// They are counted over this time.
pub(super) const REJECTED_WINDOW: Duration = Duration::from_secs(10 * 60);

/// Sanity delivers webhooks at least once, outages apart. This many missed ones have one cause.
pub(super) const MIN_MISSED: u64 = 3;

/// They are counted over this time.
pub(super) const MISSED_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Percentage of the credits for 24 hours; the rest lasts for some hours at the same pace.
pub(super) const CREDITS_LOW_PERCENT: u64 = 80;

/// Below this percentage the alert resolves; lower than the threshold, so that it does not flap.
pub(super) const CREDITS_OK_PERCENT: u64 = 70;

/// Reasons that an alert names.
const MAX_REASONS: usize = 3;

/// Characters of a reason that an alert shows; the lead has the whole reason.
const MAX_REASON_LENGTH: usize = 200;

/// What an observation says about one alert.
pub(super) enum Signal {
    /// The condition holds; the text of the alert.
    Firing(String),
    /// Neither is certain.
    Unknown,
    /// The condition does not hold.
    Ok,
}

/// The signal of every alert.
pub(super) fn signals(log: &AlertLog, now: &Observation) -> Vec<(AlertKind, Signal)> {
    let mut signals = vec![
        (AlertKind::CreditsUsedUp, credits_used_up(now)),
        (AlertKind::CreditsLow, credits_low(now)),
        (AlertKind::LeadsFailed, leads_failed(log, now)),
        (AlertKind::LeadStuck, lead_stuck(log, now)),
        (AlertKind::WebhooksRejected, webhooks_rejected(log)),
        (AlertKind::WebhooksMissed, webhooks_missed(log)),
        (AlertKind::Paused, paused(now)),
    ];
    for remote in Remote::ALL {
        signals.push((AlertKind::unauthorized(remote), unauthorized(now, remote)));
        signals.push((AlertKind::unavailable(remote), unavailable(now, remote)));
    }
    signals
}

/// The text of a resolved alert.
pub(super) fn resolved(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::ZohoAccountsUnauthorized => "Zoho Accounts accepts our credentials again.",
        AlertKind::BiginUnauthorized => "Bigin accepts our credentials again.",
        AlertKind::SanityUnauthorized => "Sanity accepts our credentials again.",
        AlertKind::BiginUnavailable => "Bigin is reachable again.",
        AlertKind::SanityUnavailable => "Sanity is reachable again.",
        AlertKind::ZohoAccountsUnavailable => "Zoho Accounts grants access tokens again.",
        AlertKind::CreditsUsedUp => "Bigin's API credits are available again.",
        AlertKind::CreditsLow => "Enough of Bigin's API credits are left again.",
        AlertKind::LeadsFailed => "No failed lead is left.",
        AlertKind::LeadStuck => "No lead is stuck any more.",
        AlertKind::WebhooksRejected => "No webhook signature was rejected lately.",
        AlertKind::WebhooksMissed => "No webhook was missed lately.",
        AlertKind::Paused => "Sending was resumed.",
    }
}

fn open(now: &Observation, remote: Remote) -> Option<&Open> {
    let breaker = now.breakers.iter().find(|breaker| breaker.remote == remote)?;
    breaker.open.as_ref()
}

fn effect(remote: Remote) -> &'static str {
    match remote {
        Remote::ZohoAccounts | Remote::Bigin => "Meanwhile leads stay queued, and none fails.",
        Remote::Sanity => "Meanwhile webhooks are stored, leads stay queued, and none fails.",
    }
}

fn unauthorized(now: &Observation, remote: Remote) -> Signal {
    match open(now, remote) {
        Some(open) if open.kind == ServiceErrorKind::Unauthorized => {
            let action = open
                .action
                .as_deref()
                .unwrap_or("check the credentials and their permissions");
            Signal::Firing(format!(
                "{} rejects our credentials: {} ({}). {} To fix it, {}, and restart the service.",
                remote.name(),
                plain(&open.what),
                plain(&open.code),
                effect(remote),
                plain(action)
            ))
        }
        // Another kind of error says nothing about the credentials.
        Some(_) => Signal::Unknown,
        None => Signal::Ok,
    }
}

fn unavailable(now: &Observation, remote: Remote) -> Signal {
    let Some(open) = open(now, remote) else {
        return Signal::Ok;
    };
    let has_its_own_alert = matches!(
        open.kind,
        ServiceErrorKind::Unauthorized | ServiceErrorKind::CreditsUsedUp
    );
    // Without a sync in progress the service is not called, so its state is not known.
    if has_its_own_alert || now.in_progress == 0 || until(open.since, now.at) < UNAVAILABLE_AFTER {
        return Signal::Unknown;
    }
    // If only leads that failed before have met the error, the leads may be the cause.
    let only_failed_leads = now.oldest.as_ref().filter(|_| open.fresh_from.is_some());
    let only_failed_leads = only_failed_leads.map_or(String::new(), |oldest| {
        format!(
            " Only leads that failed before have met this error, the lead {} first, so the lead may be the cause. It is retried until another lead is accepted, and given up only after that.",
            oldest.lead
        )
    });
    Signal::Firing(format!(
        "{} has been unavailable for {}: {} ({}). {} Sending resumes by itself. {}{only_failed_leads}",
        remote.name(),
        time(until(open.since, now.at)),
        plain(&open.what),
        plain(&open.code),
        effect(remote),
        advice(remote, open)
    ))
}

/// What to do while a remote service is unavailable.
fn advice(remote: Remote, open: &Open) -> String {
    match (open.kind, &open.action) {
        (ServiceErrorKind::TokenRateLimited, _) => {
            "Request no token for ten minutes: an earlier request extends the limit.".to_owned()
        }
        (ServiceErrorKind::RateLimited, _) => "No action is needed: calls are retried at a slower pace.".to_owned(),
        (_, Some(action)) => format!("To fix it, {}.", plain(action)),
        (_, None) => format!("Check the status page of {}.", remote.name()),
    }
}

fn credits_used_up(now: &Observation) -> Signal {
    match open(now, Remote::Bigin) {
        Some(open) if open.kind == ServiceErrorKind::CreditsUsedUp => Signal::Firing(format!(
            "Bigin's API credits for 24 hours are used up; bigin-sync used about {} of them. Leads stay queued, and sending resumes by itself as credits return. Check what else uses the API, or buy more credits.",
            now.credits
        )),
        Some(_) => Signal::Unknown,
        None => Signal::Ok,
    }
}

fn credits_low(now: &Observation) -> Signal {
    let Some(all) = now.daily_credits.filter(|all| *all > 0) else {
        return Signal::Ok;
    };
    let used = now.credits.saturating_mul(100) / all;
    if used >= CREDITS_LOW_PERCENT {
        Signal::Firing(format!(
            "About {} of Bigin's {all} API credits for 24 hours are used. Leads are queued when none is left. Check what uses them, or buy more.",
            now.credits
        ))
    } else if used < CREDITS_OK_PERCENT {
        Signal::Ok
    } else {
        Signal::Unknown
    }
}

fn leads_failed(log: &AlertLog, now: &Observation) -> Signal {
    if now.failed_leads == 0 {
        return Signal::Ok;
    }
    let new = now.failed.saturating_sub(log.failed_alerted);
    if new == 0 {
        return Signal::Unknown;
    }
    // Older failures were in an earlier alert.
    let since = log.alerts.get(&AlertKind::LeadsFailed).and_then(|known| known.fired_at);
    let is_new = |latest: &Timestamp| since.is_none_or(|since| *latest > since);
    let reasons: Vec<String> = now
        .reasons
        .iter()
        .filter(|(_, _, latest)| is_new(latest))
        .take(MAX_REASONS)
        .map(|(reason, leads, _)| format!("“{}” ({})", plain(reason), count(*leads, "lead")))
        .collect();
    let why = match &reasons[..] {
        [] => String::new(),
        _ => format!(" Current reasons: {}.", reasons.join("; ")),
    };
    Signal::Firing(format!(
        "{} failed.{why} Each lead has its reason in crmError. Fix the cause and send the lead again.",
        count(new, "lead")
    ))
}

fn lead_stuck(log: &AlertLog, now: &Observation) -> Signal {
    let Some(oldest) = &now.oldest else {
        return Signal::Ok;
    };
    let waits_for_its_tag = matches!(&oldest.state, State::Upserted { tag_not_before, .. } if *tag_not_before > now.at);
    if log.inhibited_at == Some(now.at) || waits_for_its_tag {
        return Signal::Unknown;
    }
    // Leads that waited out a pause need some time to be sent.
    let since = after(oldest.created_at, now.tag_delay).max(log.inhibited_at.unwrap_or(Timestamp::MIN));
    if until(since, now.at) < STUCK_AFTER {
        return Signal::Ok;
    }
    let last = oldest.attempts.last_error.as_ref().map_or(String::new(), |last| {
        let times = count(u64::from(oldest.attempts.count), "failed attempt");
        format!(" {times}; last error: {}.", plain(&last.to_string()))
    });
    let fix = if last.is_empty() {
        ""
    } else {
        " and fix what the last error names"
    };
    let part = now
        .breakers
        .iter()
        .find_map(|breaker| Some((breaker.remote, breaker.open.as_ref()?)));
    let but = part.map_or(
        "although every remote service is reachable".to_owned(),
        |(remote, open)| {
            let (name, message, code) = (remote.name(), plain(&open.what), plain(&open.code));
            format!("while {name} accepts some calls and rejects others: {message} ({code})")
        },
    );
    Signal::Firing(format!(
        "The lead {lead} (sync {}) has been in progress for {} ({}), {but}. {}.{last} Run `bigin-sync status {lead}`{fix}. If the log is silent, report a bug. A restart is safe.",
        oldest.id,
        time(until(oldest.created_at, now.at)),
        oldest.state.shown_name(),
        waits(now.in_progress),
        lead = oldest.lead,
    ))
}

fn webhooks_rejected(log: &AlertLog) -> Signal {
    match sum(&log.rejected_at) {
        0 => Signal::Ok,
        few if few < MIN_REJECTED => Signal::Unknown,
        many => Signal::Firing(format!(
            "{many} webhooks were rejected for a wrong signature within {}. Leads arrive late, by reconciliation, or not at all if it is off. Set SANITY_WEBHOOK_SECRET to the secret of Sanity's webhook. If they match already, someone is sending forged webhooks.",
            time(REJECTED_WINDOW)
        )),
    }
}

fn webhooks_missed(log: &AlertLog) -> Signal {
    match sum(&log.missed_at) {
        0 => Signal::Ok,
        few if few < MIN_MISSED => Signal::Unknown,
        many => Signal::Firing(format!(
            "{many} webhooks never arrived within {}; reconciliation found their leads late. Check the webhook in the Sanity project: is it enabled, is its URL this service's, does its filter match? Its attempts log has the errors.",
            time(MISSED_WINDOW)
        )),
    }
}

fn paused(now: &Observation) -> Signal {
    match now.paused_since {
        None => Signal::Ok,
        Some(since) if until(since, now.at) < PAUSED_AFTER => Signal::Unknown,
        Some(since) => Signal::Firing(format!(
            "Sending was paused by the operator {} ago, and {}. Resume it on the dashboard.",
            time(until(since, now.at)),
            waits(now.in_progress)
        )),
    }
}

fn sum(marks: &[(Timestamp, u64)]) -> u64 {
    marks.iter().map(|(_, count)| count).sum()
}

fn waits(leads: u64) -> String {
    format!(
        "{} {} waiting",
        count(leads, "lead"),
        if leads == 1 { "is" } else { "are" }
    )
}

fn time(time: Duration) -> String {
    match time.as_secs() / 60 {
        minutes if minutes < 120 => count(minutes, "minute"),
        minutes => count(minutes / 60, "hour"),
    }
}

/// Text for a chat, without what chats read as mentions and links.
fn plain(text: &str) -> String {
    let fits = |c: &char| !matches!(c, '<' | '>' | '\n' | '\r');
    let mut plain: String = text.chars().filter(fits).take(MAX_REASON_LENGTH + 1).collect();
    if plain.chars().count() > MAX_REASON_LENGTH {
        plain.pop();
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_just_fits_is_not_cut() {
        let fits = "x".repeat(MAX_REASON_LENGTH);
        assert_eq!(plain(&fits), fits);
        assert_eq!(plain(&"x".repeat(MAX_REASON_LENGTH + 1)), format!("{fits}…"));
    }

    #[test]
    fn two_hours_are_given_in_hours() {
        let minutes = |minutes: u64| time(Duration::from_secs(minutes * 60));
        assert_eq!(minutes(119), "119 minutes");
        assert_eq!(minutes(120), "2 hours");
    }
}
