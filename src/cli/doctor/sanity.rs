//! Whether leads in Sanity can be read and written, and whether there are any.

use super::bigin::sentence;
use super::finding::{Check, Finding, Group};
use super::{CALL_TIMEOUT, Installation};
use crate::domain::failure::{CallError, ServiceErrorKind};
use crate::domain::lead::LeadId;

/// The settings that calls to Sanity need.
pub(super) const NEEDED: [&str; 5] = [
    "SANITY_PROJECT_ID",
    "SANITY_DATASET",
    "SANITY_API_WRITE_TOKEN",
    "SANITY_API_URL",
    "SANITY_LEAD_TYPE",
];

const MAX_SAMPLES: usize = 5;

const READ: Check = Check(Group::Sanity, "read");
const WRITE: Check = Check(Group::Sanity, "write");

/// The findings, and some leads for the checks of leads.
pub(super) async fn check(installation: &Installation) -> (Vec<Finding>, Vec<LeadId>) {
    if let Some(skipped) = installation.skipped(READ, &NEEDED) {
        return (vec![skipped], Vec::new());
    }
    let unreadable = |error: &CallError| (vec![failed(READ, error, "leads cannot be read")], Vec::new());
    let sanity = &installation.sanity;
    let samples = match sanity.latest(MAX_SAMPLES, CALL_TIMEOUT).await {
        Ok(samples) => samples,
        Err(error) => return unreadable(&error),
    };
    // This reads drafts too, which may need another permission.
    if let Err(error) = sanity.read(&samples, CALL_TIMEOUT, |_, _, _| ()).await {
        return unreadable(&error);
    }
    let settings = &installation.settings.sanity;
    let (dataset, lead_type) = (&settings.dataset, &settings.lead_type);
    let mut findings = vec![match samples.as_slice() {
        [] => READ.warning(
            format!("the dataset {dataset} has no published document of the type {lead_type}"),
            "there is no lead yet, or leads are somewhere else",
            "check SANITY_LEAD_TYPE and SANITY_DATASET, also upper and lower case; drafts don't count until they are published",
        ),
        _ => READ.ok(format!("documents of the type {lead_type} can be read, with their drafts")),
    }];
    let revisions = sanity.revisions(&samples, CALL_TIMEOUT).await;
    if let Some(revisions) = revisions.ok().filter(|_| !samples.is_empty()) {
        findings.push(Check(Group::Sanity, "revisions").ok(match revisions {
            Some(_) => "revisions can be read without content: an unchanged lead is read once",
            None => "revisions cannot be read without content: every lead is read again before its tag",
        }));
    }
    findings.push(match sanity.try_write(samples.first(), CALL_TIMEOUT).await {
        Ok(()) => WRITE.ok("results can be written to leads (dry run)"),
        Err(error) => failed(WRITE, &error, "editors would not see whether a lead was sent"),
    });
    (findings, samples)
}

fn failed(check: Check, error: &CallError, why: &str) -> Finding {
    let is_unauthorized =
        matches!(error, CallError::Service(service_error) if service_error.kind == ServiceErrorKind::Unauthorized);
    let todo = match is_unauthorized {
        true => "compare the project ID, the dataset and the token with sanity.io/manage (tokens: under API)",
        false => "check that this machine can reach Sanity, and run this again in a minute",
    };
    check.failed(sentence(error), why, todo)
}
