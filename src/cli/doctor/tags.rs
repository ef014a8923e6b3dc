//! Whether Bigin has the tags that its automation waits for; makes them where somebody wants that.

use super::bigin::{denied, is_permission, sentence};
use super::finding::{Finding, Group};
use super::{PATIENCE, Patient, Wishes, confirmed};
use crate::bigin::NewTag;
use crate::cli::api::plain;

const WHY: &str = "an automation can only wait for a tag that is there, spelled the same to the letter";

pub(super) async fn look(patient: &Patient, wishes: &Wishes) -> Vec<Finding> {
    if let Some(blocked) = patient.blocked(Group::Bigin, "tags", &["BIGIN_TAGS"]) {
        return vec![blocked];
    }
    let there = match patient.bigin.tags(PATIENCE).await {
        Ok(there) => there,
        Err(error) => return vec![denied("scope tags", "ZohoBigin.settings.tags.READ", &error, WHY)],
    };
    let mut findings = Vec::new();
    for tag in &patient.settings.bigin.tags {
        findings.push(match there.contains(tag) {
            true => Finding::ok(Group::Bigin, "tag", format!("Bigin has the tag {tag}")),
            false => missing(patient, wishes, tag, &there).await,
        });
    }
    findings
}

impl Patient {
    /// The tags that [`look`] would make. None, where Bigin does not say which it has.
    pub(in crate::cli) async fn tags_to_make(&self) -> Vec<String> {
        let Ok(there) = self.bigin.tags(PATIENCE).await else {
            return Vec::new();
        };
        let is_missing = |tag: &&String| spelled_like(tag, &there).is_none();
        self.settings.bigin.tags.iter().filter(is_missing).cloned().collect()
    }
}

/// The tag of this name, whatever its capitals.
fn spelled_like<'a>(tag: &str, there: &'a [String]) -> Option<&'a String> {
    there.iter().find(|other| other.eq_ignore_ascii_case(tag))
}

async fn missing(patient: &Patient, wishes: &Wishes, tag: &str, there: &[String]) -> Finding {
    if let Some(like) = spelled_like(tag, there) {
        return Finding::failed(
            Group::Bigin,
            "tag",
            format!("Bigin has no tag {tag}, but {}", plain(like)),
            WHY,
            "set BIGIN_TAGS to what the automation waits for, with the same capitals",
        );
    }
    let wanted = wishes.fix || (wishes.may_ask && confirmed(&format!("Bigin has no tag {tag}. Make it?")).await);
    if !wanted {
        return Finding::failed(
            Group::Bigin,
            "tag",
            format!("Bigin has no tag {tag}"),
            WHY,
            "`bigin-sync doctor --fix` makes it; then choose it in the automation's rule in Bigin",
        );
    }
    match patient.bigin.make_tag(tag, PATIENCE).await {
        Ok(NewTag::Made | NewTag::There) => Finding::warning(
            Group::Bigin,
            "tag",
            format!("the tag {tag} was made just now"),
            "no automation can be waiting for it yet",
            "choose it in the automation's rule in Bigin, then `bigin-sync doctor --guided-test`",
        ),
        Err(error) if is_permission(&error) => denied("tag", "ZohoBigin.settings.tags.CREATE", &error, WHY),
        Err(error) => Finding::failed(
            Group::Bigin,
            "tag",
            format!("the tag {tag} could not be made: {}", sentence(&error)),
            WHY,
            "make it in Bigin's settings, as a tag of Contacts",
        ),
    }
}
