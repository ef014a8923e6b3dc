//! Whether Bigin accepts our calls: the token, its organisation, and its scopes. A scope is checked with a call that needs it and
//! changes nothing.

use std::time::Duration;

use super::finding::{Check, Finding, Group, Outcome};
use super::{CALL_TIMEOUT, Installation};
use crate::bigin::{Organisation, SCOPE_MISMATCH, lacks_permission};
use crate::cli::text::plain;
use crate::clock::before;
use crate::domain::failure::{CallError, ItemError, Remote, ServiceError, ServiceErrorKind};
use crate::domain::lead::ContactId;
use crate::domain::record::{OrgFields, Record};
use crate::domain::reject_reason;

/// The settings that calls to Bigin need.
const NEEDED: [&str; 7] = [
    "BIGIN_CLIENT_ID",
    "BIGIN_CLIENT_SECRET",
    "BIGIN_REFRESH_TOKEN",
    "BIGIN_DATA_CENTER",
    "BIGIN_ACCOUNTS_URL",
    "BIGIN_API_DOMAIN",
    "BIGIN_MAX_CONCURRENCY",
];

const TOKEN: Check = Check(Group::Bigin, "token");

/// Over which Zoho counts granted tokens.
const GRANT_WINDOW: Duration = Duration::from_secs(600);

/// A number that Ofcom reserves for fiction.
const UNUSED_PHONE: &str = "+447700900000";

/// No contact has it: ids have nineteen digits.
const UNUSED_CONTACT: &str = "1";

const NEW_TOKEN: &str = "`bigin-sync auth` gets a new refresh token with all scopes";

/// The findings, and the fields of Contacts if they can be read.
pub(super) async fn check(installation: &Installation) -> (Vec<Finding>, Option<OrgFields>) {
    if let Some(skipped) = installation.skipped(TOKEN, &NEEDED) {
        return (vec![skipped], None);
    }
    if let Some(finding) = recorded_rate_limit(installation).await {
        return (vec![finding], None);
    }
    let bigin = &installation.bigin;
    let organisation = bigin.organisation(CALL_TIMEOUT).await;
    if let Err(error) = &organisation
        && !lacks_permission(error.code())
    {
        return (vec![no_access(installation, error)], None);
    }
    let mut findings = vec![TOKEN.ok(match installation.token_cache.used_one() {
        true => "Bigin accepts the access token; this check used one of Zoho's 10 tokens per 10 minutes",
        false => "Bigin accepts the access token",
    })];
    findings.push(organisation_of(installation, organisation));
    let fields = bigin.fields(CALL_TIMEOUT).await;
    if let Err(error) = &fields {
        let check = Check(Group::Bigin, "scope fields");
        let why = "without the list of your Bigin's fields, values for unknown fields are sent as they are";
        findings.push(permission_failed(check, "ZohoBigin.settings.fields.READ", error, why));
    }
    findings.push(contacts(installation).await);
    findings.push(coql(installation).await);
    (findings, fields.ok())
}

/// Whether the findings show that Bigin accepts our calls.
pub(super) fn has_access(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.check == TOKEN.1 && finding.outcome == Outcome::Ok)
}

/// A missing scope or permission, or another failure of the call.
pub(super) fn permission_failed(check: Check, scope: &str, error: &CallError, why: &str) -> Finding {
    match error.code() {
        SCOPE_MISMATCH => check.failed(
            format!("the refresh token lacks the scope {scope} (OAUTH_SCOPE_MISMATCH)"),
            why,
            NEW_TOKEN,
        ),
        code if lacks_permission(code) => check.failed(
            format!("the token has the scope {scope}, but its Bigin user lacks the permission ({code})"),
            why,
            "give this user a profile with the permission, or get a token as another user",
        ),
        _ => check.failed(sentence(error), why, "run this again in a minute"),
    }
}

/// The error without the service's name in front.
pub(super) fn sentence(error: &CallError) -> String {
    match error {
        CallError::Service(ServiceError { what, code, .. })
        | CallError::Ambiguous {
            message: what, code, ..
        } => reject_reason::sentence(code, what),
        CallError::Rejected { reason, .. } => reason.to_string(),
    }
}

/// The finding while the service is rate limited by Zoho: a call would prolong that.
async fn recorded_rate_limit(installation: &Installation) -> Option<Finding> {
    let now = installation.clock.now();
    let since = before(now, GRANT_WINDOW);
    let tokens = installation.token_cache.tokens(since).await.ok()??;
    let open = tokens.breaker.open?;
    let is_limited = open.kind == ServiceErrorKind::TokenRateLimited && open.until > now;
    is_limited.then(|| rate_limited(&format!("until {}", open.until.strftime("%H:%M UTC"))))
}

fn rate_limited(until: &str) -> Finding {
    TOKEN.failed(
        format!("Zoho grants no more access tokens {until}"),
        "it grants 10 per 10 minutes, and each further request restarts the ten minutes",
        "don't request tokens for ten minutes; the service recovers by itself and loses no lead",
    )
}

/// The reason why there is no token that Bigin accepts.
fn no_access(installation: &Installation, error: &CallError) -> Finding {
    let settings = &installation.settings.bigin;
    let accounts = settings.accounts_url.host_str().unwrap_or_default();
    let CallError::Service(service_error) = error else {
        let todo = "check that this machine can reach Bigin, and run this again in a minute";
        return TOKEN.failed(sentence(error), "no lead can be sent", todo);
    };
    match (service_error.remote, service_error.code.as_str(), service_error.kind) {
        (Remote::ZohoAccounts, "invalid_code", _) => TOKEN.failed(
            format!("{accounts} rejected BIGIN_REFRESH_TOKEN (invalid_code)"),
            "it was revoked, mistyped, replaced by the user's twenty newer tokens, or belongs to another data center or client",
            "`bigin-sync auth` gets a new one; an API console code is not a refresh token",
        ),
        (Remote::ZohoAccounts, "invalid_client", _) => TOKEN.failed(
            format!("{accounts} does not know BIGIN_CLIENT_ID (invalid_client)"),
            "a self client belongs to one data center",
            "copy the ID from Zoho's API console again, and set BIGIN_DATA_CENTER to your Bigin's",
        ),
        (Remote::ZohoAccounts, "invalid_client_secret", _) => TOKEN.failed(
            format!("{accounts} rejected BIGIN_CLIENT_SECRET (invalid_client_secret)"),
            "it was mistyped or replaced; each data center has its own",
            "copy the secret from Zoho's API console again",
        ),
        (Remote::ZohoAccounts, _, ServiceErrorKind::TokenRateLimited) => rate_limited("for ten minutes"),
        (Remote::ZohoAccounts, "no_api_domain", _) => TOKEN.failed(
            sentence(error),
            "the address of Bigin's API is unknown",
            "set BIGIN_API_DOMAIN, for example to https://www.zohoapis.eu",
        ),
        (Remote::ZohoAccounts, _, ServiceErrorKind::Unavailable) => TOKEN.failed(
            sentence(error),
            "no lead is sent without an access token",
            "check that this machine can reach Zoho by https, and BIGIN_ACCOUNTS_URL if it is set",
        ),
        (_, code @ ("INVALID_TOKEN" | "INVALID_URL_PATTERN"), _) => TOKEN.failed(
            format!("Bigin rejected a new access token from {accounts} ({code})"),
            "the token and the API's address belong to different data centers",
            "set BIGIN_DATA_CENTER to your Bigin's, and remove BIGIN_API_DOMAIN if it is set",
        ),
        (_, _, ServiceErrorKind::CreditsUsedUp) => TOKEN.failed(
            sentence(error),
            "no lead is sent until credits are available again",
            "wait, or buy credits; check what else uses this organisation's API",
        ),
        _ => TOKEN.failed(
            sentence(error),
            "no lead can be sent until this is over",
            "run this again in a minute; the service retries by itself",
        ),
    }
}

fn organisation_of(installation: &Installation, organisation: Result<Organisation, CallError>) -> Finding {
    let check = Check(Group::Bigin, "organisation");
    match organisation {
        Ok(Organisation { name, id }) => {
            let web = installation.settings.bigin.web_url.trim_start_matches("https://");
            check.ok(format!("{}, ID {}, at {web}: is this yours?", plain(&name), plain(&id)))
        }
        Err(_) => check.warning(
            "the token lacks the scope ZohoBigin.org.READ, so its organisation cannot be shown",
            "a token belongs to one organisation; leads sent to a wrong one are hard to remove",
            NEW_TOKEN,
        ),
    }
}

/// Updates a contact that cannot exist: with the permission, the answer is that there is no such contact.
async fn contacts(installation: &Installation) -> Finding {
    let check = Check(Group::Bigin, "scope contacts");
    let mut record = Record::default();
    record.set("Last_Name", "bigin-sync doctor".into());
    let contact = ContactId::parse(UNUSED_CONTACT);
    let update = contact.as_ref().map(|contact| (contact, &record));
    match installation
        .bigin
        .update(update.as_slice(), CALL_TIMEOUT)
        .await
        .as_deref()
    {
        Ok([Err(ItemError::ContactGone)]) => check.ok("contacts can be written"),
        // Rejected for its content, which Bigin checks after the permission.
        Ok(_) => check.ok("contacts can probably be written"),
        Err(error) => {
            let why = "contacts can neither be created nor tagged";
            permission_failed(check, "ZohoBigin.modules.contacts.ALL", error, why)
        }
    }
}

async fn coql(installation: &Installation) -> Finding {
    const SCOPE: &str = "ZohoBigin.coql.READ";
    let check = Check(Group::Bigin, "scope coql");
    let why = "a lead without an email address is looked up by its phone number, to avoid a duplicate contact";
    let phones = [UNUSED_PHONE.to_owned()];
    match installation.bigin.find_by_phone(&phones, CALL_TIMEOUT).await {
        Ok(_) => check.ok("contacts can be looked up"),
        Err(error) if lacks_permission(error.code()) && installation.settings.bigin.lead_id_field.is_some() => {
            Finding {
                outcome: Outcome::Warning,
                why: Some("not needed while BIGIN_LEAD_ID_FIELD is set".to_owned()),
                ..permission_failed(check, SCOPE, &error, why)
            }
        }
        Err(error) => permission_failed(check, SCOPE, &error, why),
    }
}
