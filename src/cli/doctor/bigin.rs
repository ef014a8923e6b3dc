//! Whether Bigin takes our calls: the token, the organisation it is of, and the rights it has. A right is tried by a call that
//! needs it and changes nothing.

use std::time::Duration;

use super::finding::{Finding, Group, Outcome};
use super::{PATIENCE, Patient};
use crate::bigin::exchange::Organisation;
use crate::cli::api::plain;
use crate::domain::failure::{self, CallError, ItemError, Remote, ServiceError, ServiceErrorKind};
use crate::domain::lead::ContactId;
use crate::domain::record::{OrgFields, Record};

/// Without these nothing can be asked of Bigin.
const NEEDED: [&str; 7] = [
    "BIGIN_CLIENT_ID",
    "BIGIN_CLIENT_SECRET",
    "BIGIN_REFRESH_TOKEN",
    "BIGIN_DATA_CENTER",
    "BIGIN_ACCOUNTS_URL",
    "BIGIN_API_DOMAIN",
    "BIGIN_MAX_CONCURRENCY",
];

/// Over which Zoho counts grants.
const GRANT_WINDOW: Duration = Duration::from_secs(600);

/// Of nobody: Ofcom keeps it for stories.
const NOBODY: &str = "+447700900000";

/// No contact has it: ids have nineteen digits.
const NO_CONTACT: &str = "1";

const NEW_TOKEN: &str = "`bigin-sync auth` makes a new refresh token with all the scopes that are needed";

/// What is found, and the fields of Contacts where Bigin tells them.
pub(super) async fn look(patient: &Patient) -> (Vec<Finding>, Option<OrgFields>) {
    if let Some(blocked) = patient.blocked(Group::Bigin, "token", &NEEDED) {
        return (vec![blocked], None);
    }
    if let Some(silence) = silence(patient).await {
        return (vec![silence], None);
    }
    let organisation = patient.bigin.organisation(PATIENCE).await;
    if let Err(error) = &organisation
        && !is_permission(error)
    {
        return (vec![no_access(patient, error)], None);
    }
    let mut findings = vec![Finding::ok(
        Group::Bigin,
        "token",
        match patient.vault.has_spent() {
            true => "Zoho grants access, and Bigin takes it; this look has cost one of the ten tokens in ten minutes",
            false => "Zoho grants access, and Bigin takes it",
        },
    )];
    findings.push(organisation_of(patient, organisation));
    let fields = match patient.bigin.fields(PATIENCE).await {
        Ok(fields) => Some(fields),
        Err(error) => {
            let why = "without it nobody knows which fields your Bigin has, and unknown ones are sent as they are";
            findings.push(denied("scope fields", "ZohoBigin.settings.fields.READ", &error, why));
            None
        }
    };
    findings.push(contacts(patient).await);
    findings.push(coql(patient).await);
    (findings, fields)
}

/// Whether the findings say that Bigin takes our calls.
pub(super) fn answers(findings: &[Finding]) -> bool {
    let is_so = |finding: &Finding| finding.check == "token" && finding.outcome == Outcome::Ok;
    findings.iter().any(is_so)
}

/// Whether the call failed for a right that the token lacks.
pub(super) fn is_permission(error: &CallError) -> bool {
    matches!(
        error.code(),
        "OAUTH_SCOPE_MISMATCH" | "NO_PERMISSION" | "AUTHORIZATION_FAILED"
    )
}

/// A right that is missing, or a call that failed for another reason.
pub(super) fn denied(check: &'static str, scope: &str, error: &CallError, why: &str) -> Finding {
    match error.code() {
        "OAUTH_SCOPE_MISMATCH" => Finding::failed(
            Group::Bigin,
            check,
            format!("the refresh token lacks the scope {scope} (OAUTH_SCOPE_MISMATCH)"),
            why,
            NEW_TOKEN,
        ),
        code if is_permission(error) => Finding::failed(
            Group::Bigin,
            check,
            format!("the token has the scope {scope}, and Bigin denies it to its user ({code})"),
            why,
            "give the user who made the token a profile that may do it, or make the token as another user",
        ),
        _ => Finding::failed(Group::Bigin, check, sentence(error), why, "look again in a minute"),
    }
}

/// What failed, without the name of the service before it.
pub(super) fn sentence(error: &CallError) -> String {
    match error {
        CallError::Service(ServiceError {
            what: message, code, ..
        })
        | CallError::Ambiguous { message, code, .. } => failure::sentence(code, message),
        CallError::Rejected { reason, .. } => reason.to_string(),
    }
}

/// While Zoho wants to be left alone, asking would prolong it.
async fn silence(patient: &Patient) -> Option<Finding> {
    let now = patient.clock.now();
    let since = now.saturating_sub(GRANT_WINDOW).ok()?;
    let tokens = patient.vault.tokens(since).await.ok()??;
    let open = tokens.breaker.open?;
    let silent = open.kind == ServiceErrorKind::TokenRateLimited && open.until > now;
    silent.then(|| throttled(&format!("until {}", open.until.strftime("%H:%M UTC"))))
}

fn throttled(until: &str) -> Finding {
    Finding::failed(
        Group::Bigin,
        "token",
        format!("Zoho grants no more access tokens, {until}"),
        "it grants ten in ten minutes, and each further try prolongs the silence",
        "ask nothing for ten minutes: the service goes on by itself, and loses no lead",
    )
}

/// There is no token that Bigin takes: each reason has its own sentence.
fn no_access(patient: &Patient, error: &CallError) -> Finding {
    let settings = &patient.settings.bigin;
    let accounts = settings.accounts_url.host_str().unwrap_or_default();
    let CallError::Service(service_error) = error else {
        let todo = "see whether Bigin can be reached from this machine, and look again in a minute";
        return Finding::failed(Group::Bigin, "token", sentence(error), "no lead can be sent", todo);
    };
    let failed = |what: String, why: &str, todo: &str| Finding::failed(Group::Bigin, "token", what, why, todo);
    match (service_error.remote, service_error.code.as_str(), service_error.kind) {
        (Remote::ZohoAccounts, "invalid_code", _) => failed(
            format!("{accounts} refuses BIGIN_REFRESH_TOKEN (invalid_code)"),
            "it was revoked, mistyped, is of another data centre or client, or was pushed out by the user's twenty newer ones",
            "`bigin-sync auth` makes a new one; codes of the API console are no refresh tokens",
        ),
        (Remote::ZohoAccounts, "invalid_client", _) => failed(
            format!("{accounts} does not know BIGIN_CLIENT_ID (invalid_client)"),
            "a self client is of one data centre only",
            "copy the id from Zoho's API console again, and set BIGIN_DATA_CENTER to where your Bigin is",
        ),
        (Remote::ZohoAccounts, "invalid_client_secret", _) => failed(
            format!("{accounts} refuses BIGIN_CLIENT_SECRET (invalid_client_secret)"),
            "it was mistyped or made anew; it differs per data centre",
            "copy the secret from Zoho's API console again",
        ),
        (Remote::ZohoAccounts, _, ServiceErrorKind::TokenRateLimited) => throttled("for ten quiet minutes"),
        (Remote::ZohoAccounts, "no_api_domain", _) => failed(
            sentence(error),
            "nobody knows where Bigin's API is",
            "set BIGIN_API_DOMAIN, for example to https://www.zohoapis.eu",
        ),
        (Remote::ZohoAccounts, _, ServiceErrorKind::Unavailable) => failed(
            sentence(error),
            "without an access token no lead is sent",
            "see that this machine reaches Zoho by https, and that BIGIN_ACCOUNTS_URL, where it is set, is right",
        ),
        (_, "INVALID_TOKEN" | "INVALID_URL_PATTERN", _) => failed(
            format!(
                "Bigin does not take a token that {accounts} has just granted ({})",
                service_error.code
            ),
            "the token and the address of the API are of different data centres",
            "set BIGIN_DATA_CENTER to where your Bigin is, and take BIGIN_API_DOMAIN away where it is set",
        ),
        (_, _, ServiceErrorKind::CreditsUsedUp) => failed(
            sentence(error),
            "no lead is sent until they are free again",
            "wait, or buy more; what else uses the API of this organisation?",
        ),
        _ => failed(
            sentence(error),
            "no lead can be sent while this lasts",
            "look again in a minute; the service tries by itself",
        ),
    }
}

fn organisation_of(patient: &Patient, organisation: Result<Organisation, CallError>) -> Finding {
    match organisation {
        Ok(Organisation { name, id }) => {
            let web = patient.settings.bigin.web_url.trim_start_matches("https://");
            let (name, id) = (plain(&name), plain(&id));
            let what = format!("{name}, number {id}, at {web}: is it the right one?");
            Finding::ok(Group::Bigin, "organisation", what)
        }
        Err(_) => Finding::warning(
            Group::Bigin,
            "organisation",
            "the token lacks the scope ZohoBigin.org.READ, so which organisation it is of cannot be shown",
            "a token is of one organisation; leads sent to the wrong one are hard to take back",
            NEW_TOKEN,
        ),
    }
}

/// An update of a contact that cannot be there: with the right it is answered that there is no such contact.
async fn contacts(patient: &Patient) -> Finding {
    const SCOPE: &str = "ZohoBigin.modules.contacts.ALL";
    let why = "contacts can neither be made nor tagged";
    let mut record = Record::default();
    record.set("Last_Name", "bigin-sync doctor".into());
    let nobody = ContactId::parse(NO_CONTACT).map(|contact| (contact, record));
    let tried = patient.bigin.update(nobody.as_slice(), PATIENCE).await;
    match tried.as_deref() {
        Ok([Err(ItemError::ContactGone)]) => Finding::ok(Group::Bigin, "scope contacts", "contacts may be written"),
        // Refused for what it says, which comes after the right to say it.
        Ok(_) => Finding::ok(
            Group::Bigin,
            "scope contacts",
            "contacts may be written, as far as can be seen",
        ),
        Err(error) => denied("scope contacts", SCOPE, error, why),
    }
}

async fn coql(patient: &Patient) -> Finding {
    const SCOPE: &str = "ZohoBigin.coql.READ";
    let why = "a lead without an email address is looked up by its phone number first, or it could be doubled";
    match patient.bigin.find_by_phone(&[NOBODY.to_owned()], PATIENCE).await {
        Ok(_) => Finding::ok(Group::Bigin, "scope coql", "contacts may be looked up"),
        Err(error) if is_permission(&error) && patient.settings.bigin.lead_id_field.is_some() => Finding {
            outcome: Outcome::Warning,
            why: Some("with BIGIN_LEAD_ID_FIELD leads are recognised without it".to_owned()),
            ..denied("scope coql", SCOPE, &error, why)
        },
        Err(error) => denied("scope coql", SCOPE, &error, why),
    }
}
