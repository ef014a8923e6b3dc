//! What counts as trouble, from which number on, and in which words it is told: what happened, what it means, what to do.

use std::time::Duration;

use jiff::Timestamp;

use super::{Standing, Told, Trouble, elapsed};
use crate::domain::breaker::Open;
use crate::domain::failure::{Remote, ServiceErrorKind};
use crate::domain::retry::later;
use crate::domain::state::State;

/// A service that is away for less comes back by itself, and nobody needs to know.
pub(super) const DOWN: Duration = Duration::from_secs(15 * 60);

/// A lead takes seconds and its tag's delay. One that waits for so long beyond that is stuck.
pub(super) const WAITING: Duration = Duration::from_secs(15 * 60);

/// Whoever pauses the work means to let it go on before the next day.
pub(super) const PAUSED: Duration = Duration::from_secs(24 * 60 * 60);

/// So many refused signatures are no stray request of a scanner.
pub(super) const REFUSED: u64 = 5;

/// Within this time.
pub(super) const REFUSED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Sanity's webhooks are sent "at least once" but for outages. So many missed ones have one cause.
pub(super) const MISSED: u64 = 3;

/// Within this time.
pub(super) const MISSED_WITHIN: Duration = Duration::from_secs(60 * 60);

/// Hundredths of the credits of 24 hours that are used: what is left lasts for some hours of the same.
pub(super) const CREDITS_LOW: u64 = 80;

/// Fewer are well again: not the next moment.
pub(super) const CREDITS_WELL: u64 = 70;

/// So many reasons are told; the others are counted.
const MOST_REASONS: usize = 3;

/// Reasons are told up to this many characters: they are sentences, and the lead has the whole of it.
const LONGEST_REASON: usize = 200;

/// What a look says of a trouble.
pub(super) enum Signal {
    /// It is there, in these words.
    Bad(String),
    /// Neither is certain.
    Unsure,
    /// There is nothing of it.
    Well,
}

/// What the numbers say of every trouble.
pub(super) fn signals(told: &Told, now: &Standing) -> Vec<(Trouble, Signal)> {
    let mut signals = vec![
        (Trouble::CreditsUsedUp, credits_used_up(now)),
        (Trouble::CreditsLow, credits_low(now)),
        (Trouble::Failed, failed(told, now)),
        (Trouble::Waiting, waiting(told, now)),
        (Trouble::Signatures, signatures(told)),
        (Trouble::Missed, missed(told)),
        (Trouble::Paused, paused(now)),
    ];
    for remote in Remote::ALL {
        signals.push((Trouble::refused(remote), refused(now, remote)));
        signals.push((Trouble::down(remote), down(now, remote)));
    }
    signals
}

/// What is told when it is over.
pub(super) fn ended(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::TokenRefused => "Zoho's accounts server takes our credentials again.",
        Trouble::BiginRefused | Trouble::BiginDown => "Bigin takes our calls again.",
        Trouble::SanityRefused | Trouble::SanityDown => "Sanity takes our calls again.",
        Trouble::TokenDown => "Zoho's accounts server grants access tokens again.",
        Trouble::CreditsUsedUp => "There are API credits of Bigin's again.",
        Trouble::CreditsLow => "Fewer of Bigin's API credits are used again.",
        Trouble::Failed => "No lead is left whose last sync failed.",
        Trouble::Waiting => "No lead waits for too long any more.",
        Trouble::Signatures => "No webhook has been refused for its signature for a while.",
        Trouble::Missed => "No webhook has been missed for a while.",
        Trouble::Paused => "The work goes on.",
    }
}

fn open(now: &Standing, remote: Remote) -> Option<&Open> {
    let breaker = now.breakers.iter().find(|breaker| breaker.remote == remote)?;
    breaker.open.as_ref()
}

fn effect(remote: Remote) -> &'static str {
    match remote {
        Remote::Token | Remote::Bigin => {
            "No lead reaches Bigin until then; all of them are kept, and none fails for it."
        }
        Remote::Sanity => {
            "No lead is read or gets its result until then; webhooks are still stored, and no lead fails for it."
        }
    }
}

fn refused(now: &Standing, remote: Remote) -> Signal {
    match open(now, remote) {
        Some(open) if open.kind == ServiceErrorKind::Unauthorized => Signal::Bad(format!(
            "{} refuses us: {} ({}). {} A setting that you change takes effect with a restart.",
            remote.name(),
            plain(&open.message),
            plain(&open.code),
            effect(remote)
        )),
        // Another kind of trouble proves nothing of the credentials.
        Some(_) => Signal::Unsure,
        None => Signal::Well,
    }
}

fn down(now: &Standing, remote: Remote) -> Signal {
    let Some(open) = open(now, remote) else {
        return Signal::Well;
    };
    let is_told_otherwise = matches!(
        open.kind,
        ServiceErrorKind::Unauthorized | ServiceErrorKind::CreditsUsedUp
    );
    // Where nothing is in progress nobody asks the service, and nobody knows whether it is well by now.
    if is_told_otherwise || now.in_progress == 0 || elapsed(now.at, open.since) < DOWN {
        return Signal::Unsure;
    }
    // Nothing shows whether it is the service where only leads that have failed before have met it.
    let suspect = now.oldest.as_ref().filter(|_| open.fresh_from.is_some());
    let suspect = suspect.map_or(String::new(), |oldest| {
        format!(
            " Only leads that failed before have met this, the lead {} for longest, so it may be that lead: it is retried until another lead is accepted, and is given up only after that.",
            oldest.lead
        )
    });
    Signal::Bad(format!(
        "{} has taken no work for {}: {} ({}). {} Everything goes on by itself once it is back: see the service's own status page.{suspect}",
        remote.name(),
        time(elapsed(now.at, open.since)),
        plain(&open.message),
        plain(&open.code),
        effect(remote)
    ))
}

fn credits_used_up(now: &Standing) -> Signal {
    match open(now, Remote::Bigin) {
        Some(open) if open.kind == ServiceErrorKind::CreditsUsedUp => Signal::Bad(format!(
            "Bigin's API credits of the last 24 hours are used up; we used about {} of them. Leads wait, and go on by themselves as credits come back. See what else uses the API, or get more credits.",
            now.credits
        )),
        Some(_) => Signal::Unsure,
        None => Signal::Well,
    }
}

fn credits_low(now: &Standing) -> Signal {
    let Some(all) = now.daily_credits.filter(|all| *all > 0) else {
        return Signal::Well;
    };
    let used = now.credits.saturating_mul(100) / all;
    if used >= CREDITS_LOW {
        Signal::Bad(format!(
            "About {} of Bigin's {all} API credits of 24 hours are used. Leads wait once there are none left: see what uses them, or get more.",
            now.credits
        ))
    } else if used < CREDITS_WELL {
        Signal::Well
    } else {
        Signal::Unsure
    }
}

fn failed(told: &Told, now: &Standing) -> Signal {
    if now.failed_leads == 0 {
        return Signal::Well;
    }
    let new = now.failed.saturating_sub(told.failed_told);
    if new == 0 {
        return Signal::Unsure;
    }
    // Those of long ago were told long ago.
    let since = told.troubles.get(&Trouble::Failed).and_then(|known| known.told_at);
    let is_new = |latest: &Timestamp| since.is_none_or(|since| *latest > since);
    let reasons: Vec<String> = now
        .reasons
        .iter()
        .filter(|(_, _, latest)| is_new(latest))
        .take(MOST_REASONS)
        .map(|(reason, leads, _)| format!("“{}” ({})", plain(reason), many(*leads, "lead")))
        .collect();
    let why = match &reasons[..] {
        [] => String::new(),
        _ => format!(
            " The reasons of those that are in this state now: {}.",
            reasons.join("; ")
        ),
    };
    Signal::Bad(format!(
        "{} FAILED and carry the reason in crmError.{why} Mend what it names and ask again.",
        many(new, "sync")
    ))
}

fn waiting(told: &Told, now: &Standing) -> Signal {
    let Some(oldest) = &now.oldest else {
        return Signal::Well;
    };
    let waits_for_its_tag = matches!(&oldest.state, State::Upserted { tag_not_before, .. } if *tag_not_before > now.at);
    if told.last_pause == Some(now.at) || waits_for_its_tag {
        return Signal::Unsure;
    }
    // What has waited out a pause gets time to flow off.
    let since = later(oldest.created_at, now.tag_delay).max(told.last_pause.unwrap_or(Timestamp::MIN));
    if elapsed(now.at, since) < WAITING {
        return Signal::Well;
    }
    let last = oldest.attempts.last_error.as_deref().map_or(String::new(), |last| {
        let times = many(u64::from(oldest.attempts.count), "time");
        format!(" It was tried {times}, the last time: {}.", plain(last))
    });
    let part = now
        .breakers
        .iter()
        .find_map(|breaker| Some((breaker.remote, breaker.open.as_ref()?)));
    let but = part.map_or("though no service is in trouble".to_owned(), |(remote, open)| {
        let (name, message, code) = (remote.name(), plain(&open.message), plain(&open.code));
        format!("while {name} takes a part of the work and refuses the rest: {message} ({code})")
    });
    Signal::Bad(format!(
        "The lead {} (sync {}) has waited for {} and is {}, {but}; {}.{last} Its history says what was tried; a restart does no harm.",
        oldest.lead,
        oldest.id,
        time(elapsed(now.at, oldest.created_at)),
        oldest.state,
        waits(now.in_progress),
    ))
}

fn signatures(told: &Told) -> Signal {
    match sum(&told.refused_at) {
        0 => Signal::Well,
        few if few < REFUSED => Signal::Unsure,
        many => Signal::Bad(format!(
            "{many} webhooks were refused for their signature within {}: probably SANITY_WEBHOOK_SECRET is not the secret in the form of Sanity's webhook, or a stranger tries. Until it is, leads come late by reconciliation, or not at all where that is off.",
            time(REFUSED_WITHIN)
        )),
    }
}

fn missed(told: &Told) -> Signal {
    match sum(&told.missed_at) {
        0 => Signal::Well,
        few if few < MISSED => Signal::Unsure,
        many => Signal::Bad(format!(
            "{many} webhooks never came within {}; their leads were found by reconciliation, and are late. Look at the webhook's attempts in Sanity's project: is it on, is its address this service's, does its filter fit?",
            time(MISSED_WITHIN)
        )),
    }
}

fn paused(now: &Standing) -> Signal {
    match now.paused_since {
        None => Signal::Well,
        Some(since) if elapsed(now.at, since) < PAUSED => Signal::Unsure,
        Some(since) => Signal::Bad(format!(
            "A person paused all work {} ago, and {}. Let it go on when that has served its purpose.",
            time(elapsed(now.at, since)),
            waits(now.in_progress)
        )),
    }
}

fn sum(marks: &[(Timestamp, u64)]) -> u64 {
    marks.iter().map(|(_, count)| count).sum()
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn waits(leads: u64) -> String {
    format!("{} wait{}", many(leads, "lead"), if leads == 1 { "s" } else { "" })
}

fn time(time: Duration) -> String {
    match time.as_secs() / 60 {
        minutes if minutes < 120 => many(minutes, "minute"),
        minutes => many(minutes / 60, "hour"),
    }
}

/// A sentence of ours in a chat: what chats take for mentions and links has no place in it.
fn plain(text: &str) -> String {
    let fits = |c: &char| !matches!(c, '<' | '>' | '\n' | '\r');
    let mut plain: String = text.chars().filter(fits).take(LONGEST_REASON + 1).collect();
    if plain.chars().count() > LONGEST_REASON {
        plain.pop();
        plain.push('…');
    }
    plain
}
