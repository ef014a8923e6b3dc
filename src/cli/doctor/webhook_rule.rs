//! Whether a webhook's rule tells of the right changes, with what is needed and no more: read as text, since only Sanity can
//! tell what a filter does.

use secrecy::ExposeSecret as _;

use super::finding::{Finding, Group};
use super::webhook::SLOW;
use crate::config::SanitySettings;
use crate::domain::lead::REQUESTED;
use crate::sanity::hooks::{self, PROJECTION, Webhook};

/// What is judged by what.
pub(super) fn judge(hook: &Webhook, settings: &SanitySettings) -> Vec<Finding> {
    let mut findings = vec![
        changes(hook),
        filter(hook.filter.as_deref(), &settings.lead_type),
        projection(hook.projection.as_deref()),
        secret(hook, settings),
    ];
    if hook.kind != "document" || hook.method != "POST" {
        findings.push(Finding::failed(
            Group::Webhook,
            "method",
            format!(
                "the webhook is of the type {:?} and calls with {:?}",
                hook.kind, hook.method
            ),
            "only a POST about a document is understood",
            "make a new webhook of the type document with the method POST",
        ));
    }
    if hook.includes_drafts || hook.includes_versions {
        findings.push(Finding::warning(
            Group::Webhook,
            "drafts",
            "the webhook tells of drafts or versions too",
            "nearly every keystroke is a call that is ignored, and Sanity makes one at a time",
            "switch \"drafts\" and \"versions\" off in the webhook's form",
        ));
    }
    findings
}

fn changes(hook: &Webhook) -> Finding {
    let has = |word: &str| hook.on.iter().any(|on| on == word);
    match (has("create"), has("update")) {
        (true, true) => Finding::ok(Group::Webhook, "changes", "it tells of create and update"),
        (false, _) => Finding::failed(
            Group::Webhook,
            "changes",
            "the webhook does not tell of create",
            "a lead whose first publish already says REQUESTED never comes by it",
            "tick Create in the webhook's form",
        ),
        (_, false) => Finding::failed(
            Group::Webhook,
            "changes",
            "the webhook does not tell of update",
            "a lead that is changed to REQUESTED never comes by it",
            "tick Update in the webhook's form",
        ),
    }
}

fn filter(filter: Option<&str>, lead_type: &str) -> Finding {
    let todo = format!("set the filter to: {}", hooks::filter(lead_type));
    let failed = |what: &str, why: &str| Finding::failed(Group::Webhook, "filter", what, why, &todo);
    let warning = |what: &str, why: &str| Finding::warning(Group::Webhook, "filter", what, why, &todo);
    let Some(filter) = filter else {
        return warning(
            "the webhook has no filter",
            "every change of every document is a call, and Sanity makes one at a time",
        );
    };
    let text: String = filter.chars().filter(|c| !c.is_whitespace()).collect();
    let text = text.replace('\'', "\"");
    let words = words(filter);
    let has = |word: &str| words.contains(&word);
    if text.contains("*[") || text.contains("->") {
        return failed(
            "the filter has a sub-query or follows a reference",
            "Sanity takes such a filter for false without a word, so that the webhook never fires",
        );
    }
    if has("_type") && !text.contains(&format!("\"{lead_type}\"")) {
        return failed(
            "the filter asks for another document type than SANITY_LEAD_TYPE",
            "no lead comes by it",
        );
    }
    if has("crmStatus") && !has(REQUESTED) {
        return failed(
            "the filter asks for crmStatus, and not for REQUESTED",
            "no lead that asks to be sent comes by it",
        );
    }
    if !has("_type") || !has("crmStatus") {
        return warning(
            "the filter lets more pass than leads that ask to be sent",
            "the rest is ignored here, and delays what is not",
        );
    }
    if !has("delta") && !has("before") {
        return warning(
            "the filter does not ask whether crmStatus was changed",
            "every edit of a lead that still says REQUESTED is a call more",
        );
    }
    Finding::ok(
        Group::Webhook,
        "filter",
        "it asks for leads that were changed to REQUESTED",
    )
}

fn projection(projection: Option<&str>) -> Finding {
    let todo = format!("set the projection to: {PROJECTION}");
    let Some(projection) = projection else {
        return Finding::warning(
            Group::Webhook,
            "projection",
            "the webhook has no projection",
            "the whole lead, with its conversation, is sent and kept in Sanity's log of deliveries",
            todo,
        );
    };
    if projection.contains("...") {
        let why = "the whole lead, with its conversation, is sent and kept in Sanity's log of deliveries";
        return Finding::warning(
            Group::Webhook,
            "projection",
            "the projection takes everything (...)",
            why,
            todo,
        );
    }
    let words = words(projection);
    let lacks = |word: &&str| !words.contains(word);
    if lacks(&"_id") {
        let why = "which lead it is about is not known, and it is answered 400";
        return Finding::failed(Group::Webhook, "projection", "the projection lacks _id", why, todo);
    }
    let missing: Vec<&str> = ["_rev", "_updatedAt"].into_iter().filter(lacks).collect();
    if missing.is_empty() {
        return Finding::ok(Group::Webhook, "projection", "it has _id, _rev and _updatedAt");
    }
    Finding::failed(
        Group::Webhook,
        "projection",
        format!("the projection lacks {}", missing.join(" and ")),
        "repeats and requests that come while a lead is on its way cannot be told apart safely",
        todo,
    )
}

/// Sanity shows the secret to whoever may list webhooks, so the two can be compared; neither is shown.
fn secret(hook: &Webhook, settings: &SanitySettings) -> Finding {
    let todo = "type SANITY_WEBHOOK_SECRET into the webhook's form, or set it to what stands there";
    let failed = |what: &str, why: &str| Finding::failed(Group::Webhook, "secret", what, why, todo);
    let Some(secret) = &hook.secret else {
        return failed(
            "the webhook has no secret",
            "it is not signed, and every call of it is refused with 401, which Sanity does not try again",
        );
    };
    let secret = secret.expose_secret();
    let own = settings.webhook_secret.expose_secret();
    let previous = settings.webhook_secret_previous.as_ref();
    match () {
        () if own.is_empty() => Finding::skipped(
            Group::Webhook,
            "secret",
            "the webhook has a secret; SANITY_WEBHOOK_SECRET has a fault",
            "mend the settings first",
        ),
        () if secret == own => Finding::ok(Group::Webhook, "secret", "it is signed with SANITY_WEBHOOK_SECRET"),
        () if previous.is_some_and(|previous| previous.expose_secret() == secret) => Finding::warning(
            Group::Webhook,
            "secret",
            "it is still signed with SANITY_WEBHOOK_SECRET_PREVIOUS",
            "it is accepted until that is taken away",
            "type the new secret into the webhook's form, then take the previous one away",
        ),
        () if secret.trim() == own.trim() => failed(
            "the webhook's secret differs from SANITY_WEBHOOK_SECRET by a space at an end",
            SLOW,
        ),
        () => failed(
            "the webhook's secret is not SANITY_WEBHOOK_SECRET",
            "every call of it is refused with 401, which Sanity does not try again",
        ),
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::super::finding::Outcome;
    use super::*;

    const RULE: &str = r#"_type == "dbrLead" && crmStatus == "REQUESTED" && delta::changedAny(crmStatus)"#;

    fn well() -> Webhook {
        Webhook {
            id: "h1".to_owned(),
            name: "bigin-sync".to_owned(),
            url: "https://crm.example.org/webhooks/sanity".to_owned(),
            dataset: "production".to_owned(),
            kind: "document".to_owned(),
            method: "POST".to_owned(),
            is_disabled: false,
            includes_drafts: false,
            includes_versions: false,
            on: vec!["create".to_owned(), "update".to_owned()],
            filter: Some(RULE.to_owned()),
            projection: Some("{_id, _type, _rev, _updatedAt, crmStatus}".to_owned()),
            secret: Some(SecretString::from("the secret")),
        }
    }

    fn settings() -> SanitySettings {
        SanitySettings {
            project_id: "inv3nted".to_owned(),
            api_url: "https://inv3nted.api.sanity.io".parse().unwrap(),
            dataset: "production".to_owned(),
            token: SecretString::from("sk"),
            webhook_secret: SecretString::from("the secret"),
            webhook_secret_previous: Some(SecretString::from("the one before")),
            webhook_max_age: None,
            lead_type: "dbrLead".to_owned(),
            studio_url: None,
            max_answer: None,
        }
    }

    /// What is said of a webhook with one thing changed.
    fn told(change: impl FnOnce(&mut Webhook)) -> Vec<(Outcome, String)> {
        let mut hook = well();
        change(&mut hook);
        let found = judge(&hook, &settings());
        let bad = found.into_iter().filter(|finding| finding.outcome != Outcome::Ok);
        bad.map(|finding| (finding.outcome, finding.what)).collect()
    }

    fn said(outcome: Outcome, what: &str) -> Vec<(Outcome, String)> {
        vec![(outcome, what.to_owned())]
    }

    #[test]
    fn a_webhook_as_it_should_be_is_well() {
        assert_eq!(told(|_| {}), []);
        let quotes = "_type=='dbrLead'&&crmStatus=='REQUESTED'&&before().crmStatus!='REQUESTED'";
        assert_eq!(told(|hook| hook.filter = Some(quotes.to_owned())), []);
    }

    #[test]
    fn each_mistake_in_a_filter_is_named() {
        use Outcome::{Failed, Warning};
        let cases = [
            (None, Warning, "the webhook has no filter"),
            (
                Some(r#"_type == "lead" && crmStatus == "REQUESTED" && delta::changedAny(crmStatus)"#),
                Failed,
                "the filter asks for another document type than SANITY_LEAD_TYPE",
            ),
            (
                Some(r#"_type == "dbrLead" && crmStatus == "SENT" && delta::changedAny(crmStatus)"#),
                Failed,
                "the filter asks for crmStatus, and not for REQUESTED",
            ),
            (
                Some(r#"_type == "dbrLead""#),
                Warning,
                "the filter lets more pass than leads that ask to be sent",
            ),
            (
                Some(r#"_type == "dbrLead" && crmStatus == "REQUESTED""#),
                Warning,
                "the filter does not ask whether crmStatus was changed",
            ),
            (
                Some(r#"_type == "dbrLead" && crmStatus == "REQUESTED" && owner->active"#),
                Failed,
                "the filter has a sub-query or follows a reference",
            ),
            (
                Some(r#"_type == "dbrLead" && count(* [_type == "page"]) > 1"#),
                Failed,
                "the filter has a sub-query or follows a reference",
            ),
        ];
        for (filter, outcome, what) in cases {
            let told = told(|hook| hook.filter = filter.map(str::to_owned));
            assert_eq!(told, said(outcome, what), "{filter:?}");
        }
    }

    #[test]
    fn each_mistake_in_a_projection_is_named() {
        use Outcome::{Failed, Warning};
        let cases = [
            (None, Warning, "the webhook has no projection"),
            (Some("{...}"), Warning, "the projection takes everything (...)"),
            (Some("{_rev, _updatedAt}"), Failed, "the projection lacks _id"),
            (Some("{_id, _type}"), Failed, "the projection lacks _rev and _updatedAt"),
            (
                Some("{_id, _updatedAt, \"x\": my_rev}"),
                Failed,
                "the projection lacks _rev",
            ),
        ];
        for (projection, outcome, what) in cases {
            let told = told(|hook| hook.projection = projection.map(str::to_owned));
            assert_eq!(told, said(outcome, what), "{projection:?}");
        }
    }

    #[test]
    fn a_secret_is_compared_and_never_shown() {
        use Outcome::{Failed, Warning};
        let cases = [
            (None, Failed, "the webhook has no secret"),
            (
                Some("another"),
                Failed,
                "the webhook's secret is not SANITY_WEBHOOK_SECRET",
            ),
            (
                Some("the secret "),
                Failed,
                "the webhook's secret differs from SANITY_WEBHOOK_SECRET by a space at an end",
            ),
            (
                Some("the one before"),
                Warning,
                "it is still signed with SANITY_WEBHOOK_SECRET_PREVIOUS",
            ),
        ];
        for (secret, outcome, what) in cases {
            let told = told(|hook| hook.secret = secret.map(SecretString::from));
            assert_eq!(told, said(outcome, what));
        }
    }

    #[test]
    fn what_it_tells_of_and_how_it_calls_is_judged() {
        use Outcome::{Failed, Warning};
        let on = |words: &[&str]| told(|hook| hook.on = words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(on(&["create", "update", "delete"]), []);
        assert_eq!(on(&["update"]), said(Failed, "the webhook does not tell of create"));
        assert_eq!(on(&["create"]), said(Failed, "the webhook does not tell of update"));
        let drafts = said(Warning, "the webhook tells of drafts or versions too");
        assert_eq!(told(|hook| hook.includes_drafts = true), drafts);
        assert_eq!(told(|hook| hook.includes_versions = true), drafts);
        let old = told(|hook| hook.kind = "transaction".to_owned());
        assert!(
            matches!(old.as_slice(), [(Failed, what)] if what.contains("\"transaction\"")),
            "{old:?}"
        );
        assert_eq!(told(|hook| hook.method = "PUT".to_owned()).len(), 1);
    }
}
