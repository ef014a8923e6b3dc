//! Whether Bigin has the tags that start its automation. Creates missing ones if the operator agrees.

use super::bigin::{permission_failed, sentence};
use super::finding::{Check, Finding, Group};
use super::{Actions, CALL_TIMEOUT, Installation};
use crate::bigin::{NewTag, lacks_permission};
use crate::cli::prompt;
use crate::cli::text::plain;

const TAG: Check = Check(Group::Bigin, "tag");

const WHY: &str = "an automation can only wait for an existing tag, with the same upper and lower case";

pub(super) async fn check(installation: &Installation, actions: &Actions) -> Vec<Finding> {
    if let Some(skipped) = installation.skipped(Check(Group::Bigin, "tags"), &["BIGIN_TAGS"]) {
        return vec![skipped];
    }
    let present = match installation.bigin.tags(CALL_TIMEOUT).await {
        Ok(present) => present,
        Err(error) => {
            let check = Check(Group::Bigin, "scope tags");
            return vec![permission_failed(check, "ZohoBigin.settings.tags.READ", &error, WHY)];
        }
    };
    let mut findings = Vec::new();
    for tag in &installation.settings.bigin.tags {
        findings.push(match present.contains(tag) {
            true => TAG.ok(format!("Bigin has the tag {tag}")),
            false => missing(installation, actions, tag, &present).await,
        });
    }
    findings
}

impl Installation {
    /// The tags that [`check`] would create. None if the present tags cannot be read.
    pub(in crate::cli) async fn missing_tags(&self) -> Vec<String> {
        let Ok(present) = self.bigin.tags(CALL_TIMEOUT).await else {
            return Vec::new();
        };
        let is_missing = |tag: &&String| find_ignoring_case(tag, &present).is_none();
        self.settings.bigin.tags.iter().filter(is_missing).cloned().collect()
    }
}

fn find_ignoring_case<'a>(tag: &str, present: &'a [String]) -> Option<&'a String> {
    present.iter().find(|other| other.eq_ignore_ascii_case(tag))
}

async fn missing(installation: &Installation, actions: &Actions, tag: &str, present: &[String]) -> Finding {
    if let Some(other) = find_ignoring_case(tag, present) {
        return TAG.failed(
            format!("Bigin has no tag {tag}, but {}", plain(other)),
            WHY,
            "set BIGIN_TAGS to the tag that the automation waits for, with the same upper and lower case",
        );
    }
    let question = format!("Bigin has no tag {tag}. Create it?");
    let agreed = actions.create_tags || actions.interactive && prompt::confirm(&question).unwrap_or(false);
    if !agreed {
        return TAG.failed(
            format!("Bigin has no tag {tag}"),
            WHY,
            "`bigin-sync doctor --fix` creates it; then select it in the automation's rule in Bigin",
        );
    }
    match installation.bigin.make_tag(tag, CALL_TIMEOUT).await {
        Ok(NewTag::Made | NewTag::There) => TAG.warning(
            format!("created the tag {tag}"),
            "no automation waits for it yet",
            "select it in the automation's rule in Bigin, then run `bigin-sync doctor --guided-test`",
        ),
        Err(error) if lacks_permission(error.code()) => {
            permission_failed(TAG, "ZohoBigin.settings.tags.CREATE", &error, WHY)
        }
        Err(error) => TAG.failed(
            format!("cannot create the tag {tag}: {}", sentence(&error)),
            WHY,
            "create it in Bigin's settings, as a tag of Contacts",
        ),
    }
}
