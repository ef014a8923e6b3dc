//! Whether Sanity notifies us of leads: the webhook, its rule, and its last deliveries.

use reqwest::Url;

use super::finding::{Check, Finding, Group, Outcome};
use super::webhook_rule::{self, LATE};
use super::{Actions, CALL_TIMEOUT, Installation};
use crate::cli::text::count;
use crate::http_client::{self, Answer, base_text};
use crate::sanity::hooks::{Attempt, Hooks, HooksError, Webhook};

/// The service's path for webhooks.
const PATH: &str = "/webhooks/sanity";

const MAX_DELIVERIES: usize = 20;

const WEBHOOK: Check = Check(Group::Webhook, "webhook");
const DELIVERIES: Check = Check(Group::Webhook, "deliveries");

pub(super) async fn check(installation: &Installation, actions: &Actions) -> Vec<Finding> {
    let needed = ["SANITY_PROJECT_ID", "SANITY_DATASET", "SANITY_API_URL", "PUBLIC_URL"];
    if let Some(skipped) = installation.skipped(WEBHOOK, &needed) {
        return vec![skipped];
    }
    let mut findings = vec![address(installation).await];
    let Some(hooks) = installation.hooks() else {
        findings.push(WEBHOOK.skipped(
            "Sanity shows webhooks only to a token of the role Developer or Administrator",
            "create a temporary one (sanity.io/manage, API, Tokens) and set SANITY_MANAGEMENT_TOKEN or --management-token-file; it is not stored",
        ));
        return findings;
    };
    match hooks.list(CALL_TIMEOUT).await {
        Ok(all) => findings.extend(judge(installation, actions, &hooks, &all).await),
        Err(error) => findings.push(unlisted(&error)),
    }
    findings
}

impl Installation {
    /// The management API; `None` without a token for it.
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
            Some(hooks) => hooks.list(CALL_TIMEOUT).await,
            None => Err(HooksError::Token),
        }
    }

    /// The URL that the webhook must have.
    pub(in crate::cli) fn webhook_url(&self) -> Option<String> {
        let public = self.settings.public_url.as_ref()?;
        Some(format!("{}{PATH}", base_text(public)))
    }

    /// The webhook that points here; of several, an enabled one.
    pub(in crate::cli) fn own_webhook<'a>(&self, all: &'a [Webhook]) -> Option<&'a Webhook> {
        let own: Vec<&Webhook> = self.own_webhooks(all).collect();
        own.iter().find(|hook| !hook.is_disabled).or(own.first()).copied()
    }

    /// The webhook that points to another URL of the service.
    pub(in crate::cli) fn webhook_to<'a>(&self, all: &'a [Webhook], public: &Url) -> Option<&'a Webhook> {
        let mut of_dataset = all.iter().filter(|hook| hook.dataset == self.settings.sanity.dataset);
        of_dataset.find(|hook| points_here(&hook.url, Some(public)))
    }

    fn own_webhooks<'a>(&self, all: &'a [Webhook]) -> impl Iterator<Item = &'a Webhook> {
        let settings = &self.settings;
        all.iter().filter(move |hook| {
            let of_dataset = hook.dataset == "*" || hook.dataset == settings.sanity.dataset;
            of_dataset && points_here(&hook.url, settings.public_url.as_ref())
        })
    }

    fn check_rule(&self, hook: &Webhook) -> Vec<Finding> {
        webhook_rule::check(hook, &self.settings.sanity.lead_type, &self.settings.webhook)
    }

    /// The names of the checks of a webhook's rule that did not pass.
    pub(in crate::cli) fn faults_of_webhook(&self, hook: &Webhook) -> Vec<&'static str> {
        let findings = self.check_rule(hook).into_iter();
        let bad = findings.filter(|finding| finding.outcome != Outcome::Ok);
        let disabled = hook.is_disabled.then_some("disabled");
        bad.map(|finding| finding.check).chain(disabled).collect()
    }
}

/// Whether the service answers at its public URL, as seen from this machine.
async fn address(installation: &Installation) -> Finding {
    let check = Check(Group::Webhook, "address");
    let Some(url) = &installation.settings.public_url else {
        return check.warning(
            "PUBLIC_URL is not set",
            "without it the webhook's URL cannot be checked",
            "set PUBLIC_URL to the URL at which your proxy or host serves bigin-sync",
        );
    };
    let request = installation.http.get(format!("{}/livez", base_text(url)));
    let host = url.host_str().unwrap_or_default();
    let why = "Sanity's webhook calls this URL";
    let todo = "check PUBLIC_URL, and that the proxy in front forwards to LISTEN_ADDR";
    let problem = match http_client::send(request, CALL_TIMEOUT).await {
        Ok(answer) if is_own(&answer) => return check.ok(format!("the service answers at {host}")),
        Ok(answer) if answer.status.is_success() => {
            return check.failed(format!("the server at {host} is not bigin-sync"), why, todo);
        }
        Ok(answer) => format!("HTTP {}", answer.status.as_u16()),
        Err(error) => error.code().to_owned(),
    };
    let what = format!("the service does not answer at {host}, as seen from this machine ({problem})");
    check.warning(what, why, format!("start the service; then {todo}"))
}

/// Whether it is our answer of `/livez`.
fn is_own(answer: &Answer) -> bool {
    let status = answer.json.as_ref().and_then(|json| json.get("status"));
    answer.status.is_success() && status.is_some_and(|status| status == "alive")
}

fn unlisted(error: &HooksError) -> Finding {
    let todo = match error {
        HooksError::Token => "copy the management token again: sanity.io/manage, API, Tokens",
        HooksError::Right => {
            "create a token of the role Developer or Administrator; the service's Editor token is not enough"
        }
        HooksError::Project => "check SANITY_PROJECT_ID, and that the management token belongs to this project",
        HooksError::Refused(_) | HooksError::NoAnswer(_) => "run this again in a minute",
    };
    WEBHOOK.failed(error.to_string(), "the webhook cannot be checked", todo)
}

async fn judge(installation: &Installation, actions: &Actions, hooks: &Hooks<'_>, all: &[Webhook]) -> Vec<Finding> {
    let Some(hook) = installation.own_webhook(all) else {
        return vec![absent(installation, all)];
    };
    let mut findings = vec![found(hook, installation.own_webhooks(all).count())];
    findings.extend(installation.check_rule(hook));
    findings.push(match hooks.attempts(&hook.id, CALL_TIMEOUT).await {
        Ok(attempts) if actions.webhook_changed && !attempts.is_empty() => DELIVERIES.ok("none yet since the change"),
        Ok(attempts) => deliveries(&attempts),
        Err(error) => DELIVERIES.warning(
            format!("the last deliveries cannot be read: {error}"),
            "they would show whether webhooks arrive",
            "see them at sanity.io/manage, API, Webhooks",
        ),
    });
    findings
}

/// Without a public URL, the path alone decides.
fn points_here(url: &str, public: Option<&Url>) -> bool {
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

fn absent(installation: &Installation, all: &[Webhook]) -> Finding {
    let (settings, public) = (&installation.settings.sanity, installation.settings.public_url.as_ref());
    if let Some(other) = all.iter().find(|hook| points_here(&hook.url, public)) {
        return WEBHOOK.failed(
            format!(
                "the webhook is for the dataset {}, but the leads are in {}",
                other.dataset, settings.dataset
            ),
            LATE,
            "select the dataset in the webhook's form, or set SANITY_DATASET",
        );
    }
    let elsewhere = all.iter().find(|hook| points_here(&hook.url, None));
    let host = elsewhere.and_then(|hook| Some(hook.url.parse::<Url>().ok()?.host_str()?.to_owned()));
    match (host, installation.webhook_url()) {
        (Some(host), Some(url)) => WEBHOOK.failed(
            format!("the webhook points to {host}, not to {url}"),
            LATE,
            "change the webhook's URL, or set PUBLIC_URL to the service's URL",
        ),
        _ => WEBHOOK.failed(
            format!(
                "the project has {}, none of which points here ({PATH})",
                count(all.len(), "webhook")
            ),
            LATE,
            "create one at sanity.io/manage, API, Webhooks, as deploy/sanity describes",
        ),
    }
}

fn found(hook: &Webhook, number: usize) -> Finding {
    if hook.is_disabled {
        return WEBHOOK.failed(
            "the webhook is disabled",
            LATE,
            "enable it: sanity.io/manage, API, Webhooks",
        );
    }
    if number > 1 {
        return WEBHOOK.warning(
            format!("{number} webhooks point here"),
            "each lead arrives more than once, which is harmless, but hides other problems",
            "keep one of them",
        );
    }
    WEBHOOK.ok("one webhook points here and is enabled")
}

/// `attempts` are newest first.
fn deliveries(attempts: &[Attempt]) -> Finding {
    let last = &attempts[..attempts.len().min(MAX_DELIVERIES)];
    let Some(newest) = last.first() else {
        return DELIVERIES.ok("none yet, or none that Sanity still lists");
    };
    let failed = last.iter().filter(|attempt| attempt.is_failure).count();
    let at = newest
        .at
        .map(|at| format!(", at {}", at.strftime("%Y-%m-%d %H:%M UTC")));
    let result = match (newest.status, &newest.reason) {
        (Some(status), _) => format!("HTTP {status}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "no answer".to_owned(),
    };
    let at = at.unwrap_or_default();
    let what = format!("{failed} of the last {} failed; the newest: {result}{at}", last.len());
    if !newest.is_failure {
        return match failed * 2 < last.len() {
            true => DELIVERIES.ok(what),
            false => DELIVERIES.warning(
                what,
                LATE,
                "see the log of the service, and of the proxy in front of it, at the times of the failures",
            ),
        };
    }
    let (why, todo) = match newest.status {
        Some(401) => (
            "the signature was rejected",
            "set SANITY_WEBHOOK_SECRET and the secret in the webhook's form to exactly the same value",
        ),
        Some(400) => (
            "the body could not be parsed",
            "set the webhook's projection as deploy/sanity describes",
        ),
        Some(404 | 405) => (
            "the URL points to something else",
            "check the webhook's URL and the proxy",
        ),
        Some(413) => (
            "the body was too large",
            "set a smaller projection in the webhook's form",
        ),
        Some(_) => (
            LATE,
            "see the log of the service, and of the proxy in front of it, at that time",
        ),
        None => (
            "Sanity could not reach the URL",
            "check that it can be reached from the internet by https",
        ),
    };
    DELIVERIES.failed(what, why, todo)
}
