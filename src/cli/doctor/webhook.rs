//! Whether Sanity tells us of leads: the webhook that should be there, its rule, and how its last deliveries ended.

use reqwest::Url;

use super::finding::{Finding, Group, Outcome};
use super::webhook_rule;
use super::{PATIENCE, Patient, Wishes};
use crate::http_client::{self, Answer, base_text};
use crate::sanity::hooks::{Attempt, Hooks, HooksError, Webhook};

/// Where the service takes webhooks.
const PATH: &str = "/webhooks/sanity";

/// Deliveries that are looked at.
const LAST: usize = 20;

const CREATE: &str = "sanity.io/manage, API, Webhooks: add one, as deploy/sanity describes it";

/// What is missed while webhooks do not come, or not rightly.
pub(super) const SLOW: &str = "leads wait for reconciliation, which looks once in RECONCILE_INTERVAL";

pub(super) async fn look(patient: &Patient, wishes: &Wishes) -> Vec<Finding> {
    let mut findings: Vec<Finding> = address(patient).await.into_iter().collect();
    let needed = ["SANITY_PROJECT_ID", "SANITY_DATASET", "SANITY_API_URL", "PUBLIC_URL"];
    if let Some(blocked) = patient.blocked(Group::Webhook, "webhook", &needed) {
        return vec![blocked];
    }
    let Some(hooks) = patient.hooks() else {
        findings.push(Finding::skipped(
            Group::Webhook,
            "webhook",
            "not looked at: Sanity shows webhooks only to a token of the role Developer or Administrator",
            "make one for a day (sanity.io/manage, API, Tokens) and give it in SANITY_MANAGEMENT_TOKEN or --management-token-file; it is not stored",
        ));
        return findings;
    };
    match hooks.list(PATIENCE).await {
        Ok(all) => findings.extend(judge(patient, wishes, &hooks, &all).await),
        Err(error) => findings.push(unlisted(&error)),
    }
    findings
}

impl Patient {
    /// The management API, where there is a token for it.
    pub(in crate::cli) fn hooks(&self) -> Option<Hooks<'_>> {
        Some(Hooks {
            http: &self.http,
            api_url: &self.settings.sanity.api_url,
            project_id: &self.settings.sanity.project_id,
            token: self.management_token.as_ref()?,
        })
    }

    /// All webhooks of the project.
    pub(in crate::cli) async fn webhooks(&self) -> Result<Vec<Webhook>, HooksError> {
        match self.hooks() {
            Some(hooks) => hooks.list(PATIENCE).await,
            None => Err(HooksError::Token),
        }
    }

    /// Where the webhook has to go.
    pub(in crate::cli) fn webhook_url(&self) -> Option<String> {
        let public = self.settings.public_url.as_ref()?;
        Some(format!("{}{PATH}", base_text(public)))
    }

    /// The webhook that leads here; of several an enabled one.
    pub(in crate::cli) fn own_webhook<'a>(&self, all: &'a [Webhook]) -> Option<&'a Webhook> {
        let ours: Vec<&Webhook> = self.own_webhooks(all).collect();
        ours.iter().find(|hook| !hook.is_disabled).or(ours.first()).copied()
    }

    /// A webhook that leads to another address of the service.
    pub(in crate::cli) fn webhook_to<'a>(&self, all: &'a [Webhook], public: &Url) -> Option<&'a Webhook> {
        let of_dataset = |hook: &&Webhook| hook.dataset == self.settings.sanity.dataset;
        let mut there = all.iter().filter(of_dataset);
        there.find(|hook| leads_here(&hook.url, Some(public)))
    }

    fn own_webhooks<'a>(&self, all: &'a [Webhook]) -> impl Iterator<Item = &'a Webhook> {
        let settings = &self.settings;
        all.iter().filter(move |hook| {
            let of_dataset = hook.dataset == "*" || hook.dataset == settings.sanity.dataset;
            of_dataset && leads_here(&hook.url, settings.public_url.as_ref())
        })
    }

    /// What of a webhook is not as it should be.
    pub(in crate::cli) fn faults_of_webhook(&self, hook: &Webhook) -> Vec<&'static str> {
        let judged = webhook_rule::judge(hook, &self.settings.sanity).into_iter();
        let bad = judged.filter(|finding| finding.outcome != Outcome::Ok);
        let disabled = hook.is_disabled.then_some("disabled");
        bad.map(|finding| finding.check).chain(disabled).collect()
    }
}

/// Whether the address that Sanity calls leads here, as far as can be seen from here.
async fn address(patient: &Patient) -> Option<Finding> {
    let Some(url) = &patient.settings.public_url else {
        return Some(Finding::warning(
            Group::Webhook,
            "address",
            "PUBLIC_URL is not set",
            "which address leads here from outside is not known, so the webhook's cannot be compared with it",
            "set PUBLIC_URL to the address that your proxy or host serves this under",
        ));
    };
    let request = patient.http.get(format!("{}/livez", base_text(url)));
    let answers = http_client::send(request, PATIENCE).await;
    let host = url.host_str().unwrap_or_default();
    Some(match answers {
        Ok(answer) if is_ours(&answer) => {
            Finding::ok(Group::Webhook, "address", format!("the service answers at {host}"))
        }
        Ok(answer) if answer.status.is_success() => Finding::failed(
            Group::Webhook,
            "address",
            format!("what answers at {host} is not bigin-sync"),
            "Sanity's webhooks come by this address",
            "see that PUBLIC_URL is right and that the proxy in front leads to LISTEN_ADDR",
        ),
        other => {
            let said = match other {
                Ok(answer) => format!("HTTP {}", answer.status.as_u16()),
                Err(none) => none.code.to_owned(),
            };
            Finding::warning(
                Group::Webhook,
                "address",
                format!("no service answers at {host}, as seen from this machine ({said})"),
                "Sanity's webhooks come by this address",
                "start the service; then see that PUBLIC_URL is right and that the proxy in front leads to LISTEN_ADDR",
            )
        }
    })
}

/// `/livez` answers so.
fn is_ours(answer: &Answer) -> bool {
    let status = answer.json.as_ref().and_then(|json| json.get("status"));
    answer.status.is_success() && status.is_some_and(|status| status == "alive")
}

fn unlisted(error: &HooksError) -> Finding {
    let why = "without it the webhook cannot be looked at";
    let todo = match error {
        HooksError::Token => "copy the management token again: sanity.io/manage, API, Tokens",
        HooksError::Right => {
            "make a token of the role Developer or Administrator; the Editor's of the service is not enough"
        }
        HooksError::Project => "check SANITY_PROJECT_ID, and that the management token is of this project",
        HooksError::Refused(_) | HooksError::NoAnswer(_) => "look again in a minute",
    };
    Finding::failed(Group::Webhook, "webhook", error.to_string(), why, todo)
}

async fn judge(patient: &Patient, wishes: &Wishes, hooks: &Hooks<'_>, all: &[Webhook]) -> Vec<Finding> {
    let Some(hook) = patient.own_webhook(all) else {
        return vec![absent(patient, all)];
    };
    let mut findings = vec![found(hook, patient.own_webhooks(all).count())];
    findings.extend(webhook_rule::judge(hook, &patient.settings.sanity));
    findings.push(match hooks.attempts(&hook.id, PATIENCE).await {
        Ok(attempts) if wishes.webhook_is_mended && !attempts.is_empty() => {
            Finding::ok(Group::Webhook, "deliveries", "none since it was changed just now")
        }
        Ok(attempts) => deliveries(&attempts),
        Err(error) => Finding::warning(
            Group::Webhook,
            "deliveries",
            format!("the last deliveries are not known: {error}"),
            "they would show whether webhooks arrive",
            "see them at sanity.io/manage, API, Webhooks",
        ),
    });
    findings
}

/// Without a public address of ours, whatever has our path may be meant.
fn leads_here(url: &str, public: Option<&Url>) -> bool {
    let Ok(url) = url.trim_end_matches('/').parse::<Url>() else {
        return false;
    };
    match public {
        Some(public) => {
            let expected: Result<Url, _> = format!("{}{PATH}", base_text(public)).parse();
            expected.is_ok_and(|expected| (url.origin(), url.path()) == (expected.origin(), expected.path()))
        }
        None => url.path().ends_with(PATH),
    }
}

fn absent(patient: &Patient, all: &[Webhook]) -> Finding {
    let here = |hook: &&Webhook| leads_here(&hook.url, patient.settings.public_url.as_ref());
    if let Some(other) = all.iter().find(here) {
        return Finding::failed(
            Group::Webhook,
            "webhook",
            format!(
                "the webhook looks at the dataset {}, and leads are in {}",
                other.dataset, patient.settings.sanity.dataset
            ),
            SLOW,
            "choose the dataset in the webhook's form, or set SANITY_DATASET",
        );
    }
    let elsewhere = all.iter().find(|hook| leads_here(&hook.url, None));
    let host = elsewhere.and_then(|hook| Some(hook.url.parse::<Url>().ok()?.host_str()?.to_owned()));
    match (host, &patient.settings.public_url) {
        (Some(host), Some(public)) => Finding::failed(
            Group::Webhook,
            "webhook",
            format!("the webhook goes to {host}, and not to {}{PATH}", base_text(public)),
            SLOW,
            "set the webhook's URL to that address, or PUBLIC_URL to the one that leads here",
        ),
        _ => Finding::failed(
            Group::Webhook,
            "webhook",
            format!("none of the project's {} webhooks leads here ({PATH})", all.len()),
            SLOW,
            CREATE,
        ),
    }
}

fn found(hook: &Webhook, count: usize) -> Finding {
    if hook.is_disabled {
        return Finding::failed(
            Group::Webhook,
            "webhook",
            "the webhook is disabled",
            SLOW,
            "enable it: sanity.io/manage, API, Webhooks",
        );
    }
    if count > 1 {
        return Finding::warning(
            Group::Webhook,
            "webhook",
            format!("{count} webhooks lead here"),
            "each lead is told more than once, which does no harm and makes the rest harder to see",
            "keep one of them",
        );
    }
    Finding::ok(Group::Webhook, "webhook", "one webhook leads here, and is enabled")
}

/// Newest first.
fn deliveries(attempts: &[Attempt]) -> Finding {
    let last = &attempts[..attempts.len().min(LAST)];
    let Some(newest) = last.first() else {
        return Finding::ok(
            Group::Webhook,
            "deliveries",
            "none so far, or none that Sanity still remembers",
        );
    };
    let failed = last.iter().filter(|attempt| attempt.is_failure).count();
    let at = newest
        .at
        .map(|at| format!(", at {}", at.strftime("%Y-%m-%d %H:%M UTC")))
        .unwrap_or_default();
    let said = match (newest.status, &newest.reason) {
        (Some(status), _) => format!("HTTP {status}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "no answer".to_owned(),
    };
    let what = format!("{failed} of the last {} failed; the newest: {said}{at}", last.len());
    match newest.is_failure {
        false if failed * 2 < last.len() => return Finding::ok(Group::Webhook, "deliveries", what),
        false => {
            return Finding::warning(
                Group::Webhook,
                "deliveries",
                what,
                SLOW,
                "see the log of the service, and of the proxy in front of it, for the ones that failed",
            );
        }
        true => {}
    }
    let (why, todo) = match newest.status {
        Some(401) => (
            "the signature was refused",
            "SANITY_WEBHOOK_SECRET must be what stands in the webhook's form, to the letter",
        ),
        Some(400) => (
            "the body was not understood",
            "give the webhook the projection that deploy/sanity describes",
        ),
        Some(404 | 405) => (
            "the address leads somewhere else",
            "see where the webhook's URL and the proxy lead",
        ),
        Some(413) => ("the body was too large", "give the webhook a small projection"),
        Some(_) => (
            SLOW,
            "see the log of the service, and of the proxy in front of it, at that time",
        ),
        None => (
            "Sanity did not reach the address",
            "see that it is open to the internet by https",
        ),
    };
    Finding::failed(Group::Webhook, "deliveries", what, why, todo)
}
