//! Whether a webhook's rule fires on requested leads with the needed fields, and on nothing else. The rule is checked as text,
//! since only Sanity can evaluate a filter.

use secrecy::ExposeSecret as _;

use super::finding::{Check, Finding, Group};
use crate::config::WebhookSettings;
use crate::domain::lead::REQUESTED;
use crate::sanity::hooks::{self, PROJECTION, Webhook};

/// What happens while webhooks do not arrive.
pub(super) const LATE: &str = "leads are sent late: reconciliation finds them every RECONCILE_INTERVAL";

const NOT_ACCEPTED: &str = "the service rejects every call with 401, and Sanity does not retry it";

const WHOLE_LEAD: &str = "the whole lead with its conversation is sent, and stored in Sanity's log of deliveries";

pub(super) fn check(hook: &Webhook, lead_type: &str, settings: &WebhookSettings) -> Vec<Finding> {
    let mut findings = vec![
        changes(hook),
        filter(hook.filter.as_deref(), lead_type),
        projection(hook.projection.as_deref()),
        secret(hook, settings),
    ];
    if hook.kind != "document" || hook.method != "POST" {
        findings.push(Check(Group::Webhook, "method").failed(
            format!(
                "the webhook has the type {:?} and the method {:?}",
                hook.kind, hook.method
            ),
            "the service accepts only a POST with a document",
            "create a new webhook of the type document with the method POST",
        ));
    }
    if hook.includes_drafts || hook.includes_versions {
        findings.push(Check(Group::Webhook, "drafts").warning(
            "the webhook fires on drafts or versions too",
            "almost every keystroke makes a call that is ignored, and Sanity makes one call at a time",
            "switch \"drafts\" and \"versions\" off in the webhook's form",
        ));
    }
    findings
}

fn changes(hook: &Webhook) -> Finding {
    let check = Check(Group::Webhook, "changes");
    let has = |trigger: &str| hook.on.iter().any(|on| on == trigger);
    match (has("create"), has("update")) {
        (true, true) => check.ok("it fires on create and update"),
        (false, _) => check.failed(
            "the webhook does not fire on create",
            "it misses a lead that is REQUESTED when it is first published",
            "tick Create in the webhook's form",
        ),
        (_, false) => check.failed(
            "the webhook does not fire on update",
            "it misses a lead that is changed to REQUESTED",
            "tick Update in the webhook's form",
        ),
    }
}

fn filter(filter: Option<&str>, lead_type: &str) -> Finding {
    let check = Check(Group::Webhook, "filter");
    let todo = format!("set the filter to: {}", hooks::filter(lead_type));
    let Some(filter) = filter else {
        return check.warning(
            "the webhook has no filter",
            "every change of every document makes a call, and Sanity makes one call at a time",
            todo,
        );
    };
    let text: String = filter.chars().filter(|c| !c.is_whitespace()).collect();
    let text = text.replace('\'', "\"");
    let words = words(filter);
    let has = |word: &str| words.contains(&word);
    if text.contains("*[") || text.contains("->") {
        return check.failed(
            "the filter contains a sub-query or a reference",
            "Sanity treats such a filter as false without an error, so the webhook never fires",
            todo,
        );
    }
    if has("_type") && !text.contains(&format!("\"{lead_type}\"")) {
        return check.failed(
            "the filter is for another document type than SANITY_LEAD_TYPE",
            "the webhook never fires for a lead",
            todo,
        );
    }
    if has("crmStatus") && !has(REQUESTED) {
        return check.failed(
            "the filter checks crmStatus, but not for REQUESTED",
            "the webhook never fires for a requested lead",
            todo,
        );
    }
    if !has("_type") || !has("crmStatus") {
        return check.warning(
            "the filter matches more than requested leads",
            "the other calls are ignored, but delay those of leads",
            todo,
        );
    }
    if !has("delta") && !has("before") {
        return check.warning(
            "the filter does not check whether crmStatus was changed",
            "every edit of a lead that is still REQUESTED makes another call",
            todo,
        );
    }
    check.ok("it matches leads that were changed to REQUESTED")
}

fn projection(projection: Option<&str>) -> Finding {
    let check = Check(Group::Webhook, "projection");
    let todo = format!("set the projection to: {PROJECTION}");
    let Some(projection) = projection else {
        return check.warning("the webhook has no projection", WHOLE_LEAD, todo);
    };
    if projection.contains("...") {
        return check.warning("the projection includes everything (...)", WHOLE_LEAD, todo);
    }
    let words = words(projection);
    let lacks = |word: &&str| !words.contains(word);
    if lacks(&"_id") {
        let why = "the service cannot see which lead is meant, and answers 400";
        return check.failed("the projection lacks _id", why, todo);
    }
    let missing: Vec<&str> = ["_rev", "_updatedAt"].into_iter().filter(lacks).collect();
    if missing.is_empty() {
        return check.ok("it has _id, _rev and _updatedAt");
    }
    let why = "the service cannot distinguish duplicate webhooks from new requests during a sync";
    check.failed(format!("the projection lacks {}", missing.join(" and ")), why, todo)
}

/// Sanity lists the secret for a token that may list webhooks. The secrets are compared and never shown.
fn secret(hook: &Webhook, settings: &WebhookSettings) -> Finding {
    let check = Check(Group::Webhook, "secret");
    let todo = "enter SANITY_WEBHOOK_SECRET in the webhook's form, or set it to the secret in the form";
    let Some(secret) = &hook.secret else {
        return check.failed("the webhook has no secret", NOT_ACCEPTED, todo);
    };
    let secret = secret.expose_secret();
    let own = settings.secret.expose_secret();
    let previous = settings.secret_previous.as_ref();
    match () {
        () if own.is_empty() => check.skipped("SANITY_WEBHOOK_SECRET is missing or invalid", "fix the settings first"),
        () if secret == own => check.ok("it uses SANITY_WEBHOOK_SECRET"),
        () if previous.is_some_and(|previous| previous.expose_secret() == secret) => check.warning(
            "it still uses SANITY_WEBHOOK_SECRET_PREVIOUS",
            "it is accepted only until that setting is removed",
            "enter the new secret in the webhook's form, then remove SANITY_WEBHOOK_SECRET_PREVIOUS",
        ),
        () if secret.trim() == own.trim() => check.failed(
            "the webhook's secret differs from SANITY_WEBHOOK_SECRET by a space at its start or end",
            NOT_ACCEPTED,
            todo,
        ),
        () => check.failed("the webhook's secret is not SANITY_WEBHOOK_SECRET", NOT_ACCEPTED, todo),
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

    fn good() -> Webhook {
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

    fn settings() -> WebhookSettings {
        WebhookSettings {
            secret: SecretString::from("the secret"),
            secret_previous: Some(SecretString::from("the one before")),
            max_age: None,
        }
    }

    /// The findings that did not pass, for a webhook with a change.
    fn findings(change: impl FnOnce(&mut Webhook)) -> Vec<(Outcome, String)> {
        let mut hook = good();
        change(&mut hook);
        let all = check(&hook, "dbrLead", &settings());
        let bad = all.into_iter().filter(|finding| finding.outcome != Outcome::Ok);
        bad.map(|finding| (finding.outcome, finding.what)).collect()
    }

    fn one(outcome: Outcome, what: &str) -> Vec<(Outcome, String)> {
        vec![(outcome, what.to_owned())]
    }

    #[test]
    fn good_webhook_passes() {
        assert_eq!(findings(|_| {}), []);
        let quotes = "_type=='dbrLead'&&crmStatus=='REQUESTED'&&before().crmStatus!='REQUESTED'";
        assert_eq!(findings(|hook| hook.filter = Some(quotes.to_owned())), []);
    }

    #[test]
    fn reports_filter_mistakes() {
        use Outcome::{Failed, Warning};
        let cases = [
            (None, Warning, "the webhook has no filter"),
            (
                Some(r#"_type == "lead" && crmStatus == "REQUESTED" && delta::changedAny(crmStatus)"#),
                Failed,
                "the filter is for another document type than SANITY_LEAD_TYPE",
            ),
            (
                Some(r#"_type == "dbrLead" && crmStatus == "SENT" && delta::changedAny(crmStatus)"#),
                Failed,
                "the filter checks crmStatus, but not for REQUESTED",
            ),
            (
                Some(r#"_type == "dbrLead""#),
                Warning,
                "the filter matches more than requested leads",
            ),
            (
                Some(r#"_type == "dbrLead" && crmStatus == "REQUESTED""#),
                Warning,
                "the filter does not check whether crmStatus was changed",
            ),
            (
                Some(r#"_type == "dbrLead" && crmStatus == "REQUESTED" && owner->active"#),
                Failed,
                "the filter contains a sub-query or a reference",
            ),
            (
                Some(r#"_type == "dbrLead" && count(* [_type == "page"]) > 1"#),
                Failed,
                "the filter contains a sub-query or a reference",
            ),
        ];
        for (filter, outcome, what) in cases {
            let found = findings(|hook| hook.filter = filter.map(str::to_owned));
            assert_eq!(found, one(outcome, what), "{filter:?}");
        }
    }

    #[test]
    fn reports_projection_mistakes() {
        use Outcome::{Failed, Warning};
        let cases = [
            (None, Warning, "the webhook has no projection"),
            (Some("{...}"), Warning, "the projection includes everything (...)"),
            (Some("{_rev, _updatedAt}"), Failed, "the projection lacks _id"),
            (Some("{_id, _type}"), Failed, "the projection lacks _rev and _updatedAt"),
            (
                Some("{_id, _updatedAt, \"x\": my_rev}"),
                Failed,
                "the projection lacks _rev",
            ),
        ];
        for (projection, outcome, what) in cases {
            let found = findings(|hook| hook.projection = projection.map(str::to_owned));
            assert_eq!(found, one(outcome, what), "{projection:?}");
        }
    }

    #[test]
    fn compares_secrets_without_showing_them() {
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
                "the webhook's secret differs from SANITY_WEBHOOK_SECRET by a space at its start or end",
            ),
            (
                Some("the one before"),
                Warning,
                "it still uses SANITY_WEBHOOK_SECRET_PREVIOUS",
            ),
        ];
        for (secret, outcome, what) in cases {
            let found = findings(|hook| hook.secret = secret.map(SecretString::from));
            assert_eq!(found, one(outcome, what));
        }
    }

    #[test]
    fn reports_wrong_triggers_and_methods() {
        use Outcome::{Failed, Warning};
        let on = |words: &[&str]| findings(|hook| hook.on = words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(on(&["create", "update", "delete"]), []);
        assert_eq!(on(&["update"]), one(Failed, "the webhook does not fire on create"));
        assert_eq!(on(&["create"]), one(Failed, "the webhook does not fire on update"));
        let drafts = one(Warning, "the webhook fires on drafts or versions too");
        assert_eq!(findings(|hook| hook.includes_drafts = true), drafts);
        assert_eq!(findings(|hook| hook.includes_versions = true), drafts);
        let old = findings(|hook| hook.kind = "transaction".to_owned());
        assert!(
            matches!(old.as_slice(), [(Failed, what)] if what.contains("\"transaction\"")),
            "{old:?}"
        );
        assert_eq!(findings(|hook| hook.method = "PUT".to_owned()).len(), 1);
    }
}
