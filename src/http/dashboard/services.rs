//! The services on the first page: is each there, what is wrong, and how to have it checked; and do webhooks arrive.

use std::time::Duration;

use jiff::Timestamp;

use super::labels::{Moment, capital, lasting, service};
use crate::api_types::Health;
use crate::clock::until;
use crate::domain::failure::Remote;

/// One remote service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) tone: &'static str,
    pub(super) icon: &'static str,
    pub(super) word: &'static str,
    /// What is wrong, since when, and when it is next tried where that lies ahead.
    pub(super) trouble: Option<(String, Moment, Option<Moment>)>,
    /// Its name in the address of the check, where it can be checked now.
    pub(super) check: Option<&'static str>,
    /// A check before its time does harm.
    pub(super) is_rate_limited: bool,
}

/// Bigin, Zoho Accounts and Sanity.
pub(super) fn services(health: &Health) -> [Service; 3] {
    let is_open = |remote: Remote| health.breakers.iter().any(|open| open.remote == remote.label());
    let no_token = is_open(Remote::ZohoAccounts);
    [
        (Remote::Bigin, "where leads go"),
        (Remote::ZohoAccounts, "access tokens"),
        (Remote::Sanity, "where leads come from"),
    ]
    .map(|(remote, what)| {
        let open = health.breakers.iter().find(|open| open.remote == remote.label());
        let is_tried = |until: Timestamp| health.paused_since.is_none() && until > health.at;
        let is_known = health
            .services
            .iter()
            .any(|known| known.remote == remote.label() && known.state != "not_called_yet");
        let (tone, icon, word) = match open {
            Some(_) => ("bad", "cross", "Unavailable"),
            None if remote == Remote::Bigin && no_token => ("wait", "pause", "Not called: no access token"),
            None if !is_known => ("off", "clock", "Not called yet"),
            None => ("good", "tick", "Reachable"),
        };
        Service {
            name: service(remote),
            what,
            tone,
            icon,
            word,
            trouble: open.map(|open| {
                (
                    capital(&format!("{} ({})", open.what, open.code)),
                    Moment(open.since),
                    is_tried(open.until).then_some(Moment(open.until)),
                )
            }),
            check: open.filter(|_| health.paused_since.is_none()).map(|_| remote.label()),
            is_rate_limited: open.is_some_and(|open| open.is_rate_limited && open.until > health.at),
        }
    })
}

/// Whether webhooks arrive, in one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WebhooksLine {
    /// When the last one came, and how long ago that was.
    pub(super) last: Option<(Moment, String)>,
    /// `2 rejected, 3 missed since`; nothing where there are none.
    pub(super) faults: String,
}

pub(super) fn webhooks(health: &Health) -> WebhooksLine {
    let webhooks = &health.webhooks;
    let counts = [(webhooks.rejected, "rejected"), (webhooks.missed, "missed")];
    let faults: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    WebhooksLine {
        last: webhooks.last_received_at.map(|at| {
            let ago = until(at, health.at).max(Duration::from_secs(1));
            (Moment(at), lasting(ago))
        }),
        faults: match faults.as_slice() {
            [] => "none rejected or missed".to_owned(),
            faults => faults.join(", "),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_types::Ended;
    use crate::domain::breaker::{Breaker, Open};
    use crate::domain::failure::ServiceErrorKind;
    use crate::http::health::Observed;
    use crate::store::{Ledger, Overview, WebhookLog};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn health(open: &[Remote], called: &[Remote], webhooks: WebhookLog, rejected: u64) -> Health {
        let breaker = |remote: &Remote| Breaker {
            open: Some(Open {
                fresh_from: None,
                since: at(-60),
                until: at(60),
                kind: ServiceErrorKind::Unavailable,
                code: "HTTP 503".to_owned(),
                what: "Bigin returned an error".to_owned(),
                action: None,
            }),
            ..Breaker::closed(*remote)
        };
        let overview = Overview {
            at: at(0),
            in_progress: std::collections::BTreeMap::new(),
            oldest: None,
            ledger: Ledger::default(),
            breakers: open.iter().map(breaker).collect(),
            paused_since: None,
            failed_leads: 0,
            credits: 0,
            token_granted_at: None,
            webhooks,
        };
        let observed = Observed {
            called: called.to_vec(),
            rejected: (rejected, (rejected > 0).then_some(at(-10))),
        };
        Health::new(overview, &observed, Ended::default(), Ended::default())
    }

    #[test]
    fn each_service_says_whether_it_is_reachable() {
        let words = |open: &[Remote], called: &[Remote]| {
            services(&health(open, called, WebhookLog::default(), 0)).map(|service| service.word)
        };
        assert_eq!(words(&[], &Remote::ALL), ["Reachable"; 3]);
        assert_eq!(words(&[], &[]), ["Not called yet"; 3], "which proves nothing");
        assert_eq!(
            words(&[Remote::Bigin], &Remote::ALL),
            ["Unavailable", "Reachable", "Reachable"]
        );
        assert_eq!(
            words(&[Remote::ZohoAccounts], &[Remote::ZohoAccounts, Remote::Sanity]),
            ["Not called: no access token", "Unavailable", "Reachable"],
            "without a token Bigin cannot be called"
        );
    }

    #[test]
    fn only_an_unavailable_service_can_be_checked() {
        let services = services(&health(&[Remote::ZohoAccounts], &Remote::ALL, WebhookLog::default(), 0));
        assert_eq!(
            services.map(|service| service.check),
            [None, Some("zoho_accounts"), None]
        );
    }

    #[test]
    fn webhooks_that_fail_as_a_rule_are_a_problem() {
        let log = |missed, received: Option<i64>| WebhookLog {
            last_received: received.map(at),
            missed,
            last_missed: (missed > 0).then(|| at(-5)),
        };
        let problem = |log, rejected| health(&[], &[], log, rejected).webhooks.problem.is_some();
        assert!(!problem(log(0, None), 0), "a new installation");
        assert!(!problem(log(2, Some(-90)), 0), "one may be missed");
        assert!(problem(log(3, Some(-90)), 0));
        assert!(problem(log(0, None), 1), "refused, and none accepted since");
        let line = webhooks(&health(&[], &[], log(3, Some(-90)), 2));
        assert_eq!(line.last.unwrap().1, "1\u{a0}min");
        assert_eq!(line.faults, "2 rejected, 3 missed");
    }
}
