//! Whether Sanity lets us read and write leads, and whether there are any.

use super::bigin::sentence;
use super::finding::{Finding, Group};
use super::{PATIENCE, Patient};
use crate::domain::failure::{CallError, ServiceErrorKind};
use crate::domain::lead::LeadId;

/// Without these nothing can be asked of Sanity.
pub(super) const NEEDED: [&str; 5] = [
    "SANITY_PROJECT_ID",
    "SANITY_DATASET",
    "SANITY_API_WRITE_TOKEN",
    "SANITY_API_URL",
    "SANITY_LEAD_TYPE",
];

/// Leads that are looked at.
const SAMPLES: usize = 5;

/// What is found, and some leads to look at.
pub(super) async fn look(patient: &Patient) -> (Vec<Finding>, Vec<LeadId>) {
    if let Some(blocked) = patient.blocked(Group::Sanity, "read", &NEEDED) {
        return (vec![blocked], Vec::new());
    }
    let latest = patient.sanity.latest(SAMPLES, PATIENCE).await;
    let samples = match latest {
        Ok(samples) => samples,
        Err(error) => return (vec![refused("read", &error, "leads cannot be read")], Vec::new()),
    };
    // Drafts are read as well, which another right may be needed for.
    if let Err(error) = patient.sanity.read(&samples, PATIENCE, |_, _, _| ()).await {
        return (vec![refused("read", &error, "leads cannot be read")], Vec::new());
    }
    let settings = &patient.settings.sanity;
    let mut findings = vec![match samples.as_slice() {
        [] => Finding::warning(
            Group::Sanity,
            "read",
            format!(
                "the dataset {} has no published document of the type {}",
                settings.dataset, settings.lead_type
            ),
            "either there is no lead yet, or leads are somewhere else",
            "check SANITY_LEAD_TYPE and SANITY_DATASET, to the letter; drafts are no leads before they are published",
        ),
        _ => Finding::ok(
            Group::Sanity,
            "read",
            format!(
                "documents of the type {} can be read, with their drafts",
                settings.lead_type
            ),
        ),
    }];
    let revisions = patient.sanity.revisions(&samples, PATIENCE).await;
    if let Some(revisions) = revisions.ok().filter(|_| !samples.is_empty()) {
        let what = match revisions {
            Some(_) => "revisions come without the leads' content, so a lead that has not changed is read once",
            None => "revisions come with the leads' content only, so every lead is read again before its tag",
        };
        findings.push(Finding::ok(Group::Sanity, "revisions", what));
    }
    findings.push(match patient.sanity.try_write(samples.first(), PATIENCE).await {
        Ok(()) => Finding::ok(
            Group::Sanity,
            "write",
            "the result may be written to leads (tried with dryRun)",
        ),
        Err(error) => refused("write", &error, "editors would never see whether a lead was sent"),
    });
    (findings, samples)
}

fn refused(check: &'static str, error: &CallError, why: &str) -> Finding {
    let is_denied =
        matches!(error, CallError::Service(service_error) if service_error.kind == ServiceErrorKind::Unauthorized);
    let todo = match is_denied {
        // The sentence itself says what to do.
        true => "sanity.io/manage has the project's id, its datasets, and under API its tokens",
        false => "see whether Sanity can be reached from this machine, and look again in a minute",
    };
    Finding::failed(Group::Sanity, check, sentence(error), why, todo)
}
