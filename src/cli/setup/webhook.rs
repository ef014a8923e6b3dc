//! The webhook: whether it exists and is right, the change that fixes it, and how to create it by hand.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::answers::PUBLIC_URL;
use super::session::Session;
use crate::cli::doctor::{CALL_TIMEOUT, Installation};
use crate::sanity::hooks::{self, HooksError, PROJECTION, Webhook};

pub(super) enum WebhookPlan {
    Unchanged,
    /// Create it with this URL.
    Create(String),
    Change {
        id: String,
        url: String,
        /// The changed parts, a sentence each.
        parts: Vec<String>,
        changes: Value,
    },
    /// The operator creates or checks it.
    Manual(Manual),
}

/// Why the operator must.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manual {
    NoPublicUrl,
    NoToken,
}

/// Compares the webhook with the settings. If a webhook points here already and no secret is set, its secret is adopted, so
/// that no signed request is rejected. A webhook to the service's former URL is changed to the new one.
pub(super) async fn plan(
    session: &mut Session,
    token: &SecretString,
) -> anyhow::Result<Result<WebhookPlan, HooksError>> {
    let installation = session.installation(Some(token.clone()))?;
    let all = match installation.webhooks().await {
        Ok(all) => all,
        Err(error) => return Ok(Err(error)),
    };
    let former = session.get_before(PUBLIC_URL.setting)?.and_then(|url| url.parse().ok());
    let moved = || former.as_ref().and_then(|former| installation.webhook_to(&all, former));
    let Some(hook) = installation.own_webhook(&all).or_else(moved) else {
        return Ok(Ok(WebhookPlan::Create(installation.webhook_url().unwrap_or_default())));
    };
    if let (None, Some(secret)) = (session.get("SANITY_WEBHOOK_SECRET")?, &hook.secret) {
        session.answer("SANITY_WEBHOOK_SECRET", secret.expose_secret())?;
    }
    session.generate_secret("SANITY_WEBHOOK_SECRET")?;
    Ok(Ok(compare(&session.installation(None)?, hook)))
}

fn compare(installation: &Installation, hook: &Webhook) -> WebhookPlan {
    let mut faults = installation.faults_of_webhook(hook);
    let url = match installation.own_webhook(std::slice::from_ref(hook)) {
        Some(own) => own.url.clone(),
        None => installation.webhook_url().unwrap_or_default(),
    };
    if url != hook.url {
        faults.push("address");
    }
    if faults.is_empty() {
        return WebhookPlan::Unchanged;
    }
    let wanted = definition(installation, &url);
    let part = |key: &str| wanted.get(key).cloned().unwrap_or_default();
    let mut changes = Map::new();
    for fault in &faults {
        match *fault {
            "changes" | "filter" | "projection" => {
                // The parts of the rule without a fault are unchanged.
                let mut rule = part("rule");
                let parts = [("filter", &hook.filter), ("projection", &hook.projection)];
                for (key, own) in parts {
                    if let (false, Some(own)) = (faults.contains(&key), own) {
                        rule[key] = json!(own);
                    }
                }
                changes.insert("rule".to_owned(), rule);
            }
            "secret" => drop(changes.insert("secret".to_owned(), part("secret"))),
            "address" => drop(changes.insert("url".to_owned(), part("url"))),
            "method" => drop(changes.insert("httpMethod".to_owned(), part("httpMethod"))),
            "drafts" => {
                changes.insert("includeDrafts".to_owned(), json!(false));
                changes.insert("includeAllVersions".to_owned(), json!(false));
            }
            _ => drop(changes.insert("isDisabledByUser".to_owned(), json!(false))),
        }
    }
    WebhookPlan::Change {
        id: hook.id.clone(),
        parts: faults.iter().map(|fault| describe(fault, hook, &wanted)).collect(),
        url,
        changes: Value::Object(changes),
    }
}

/// A change, with the value before it.
fn describe(fault: &str, hook: &Webhook, wanted: &Value) -> String {
    let rule = |key: &str| wanted["rule"][key].as_str().unwrap_or_default().to_owned();
    let none = || "none".to_owned();
    match fault {
        "address" => format!("URL: was {}", hook.url),
        "changes" => format!("triggers: create and update, was {}", hook.on.join(" and ")),
        "filter" => {
            let was = hook.filter.clone().unwrap_or_else(none);
            format!("filter: {}, was {was}", rule("filter"))
        }
        "projection" => {
            let was = hook.projection.clone().unwrap_or_else(none);
            format!("projection: {}, was {was}", rule("projection"))
        }
        "secret" => {
            "secret: SANITY_WEBHOOK_SECRET; other receivers with the former secret will reject the webhook".to_owned()
        }
        "method" => format!("HTTP method: POST, was {}", hook.method),
        "drafts" => "drafts and versions: off".to_owned(),
        _ => "enabled again".to_owned(),
    }
}

fn definition(installation: &Installation, url: &str) -> Value {
    let (sanity, webhook) = (&installation.settings().sanity, &installation.settings().webhook);
    hooks::definition(url, &sanity.dataset, &sanity.lead_type, &webhook.secret)
}

/// # Errors
/// Sanity rejected the change.
pub(super) async fn apply(installation: &Installation, plan: &WebhookPlan) -> anyhow::Result<()> {
    let Some(hooks) = installation.hooks() else {
        return Ok(());
    };
    match plan {
        WebhookPlan::Create(url) => hooks.create(&definition(installation, url), CALL_TIMEOUT).await?,
        WebhookPlan::Change { id, changes, .. } => hooks.change(id, changes, CALL_TIMEOUT).await?,
        WebhookPlan::Unchanged | WebhookPlan::Manual(_) => {}
    }
    Ok(())
}

/// The values for Sanity's form.
pub(super) fn instructions(installation: &Installation, why: Manual) -> String {
    let settings = &installation.settings().sanity;
    let rule = hooks::filter(&settings.lead_type);
    let (why, url) = match (why, installation.webhook_url()) {
        (Manual::NoToken, Some(url)) => (
            "The webhook wasn't checked (no management token). Create it, or compare yours with this",
            url,
        ),
        _ => (
            "Without a webhook, the service checks Sanity for requested leads every minute. Create one when the service has a public URL",
            "https://YOUR-HOST/webhooks/sanity".to_owned(),
        ),
    };
    format!(
        "\n{why}: https://sanity.io/manage, project {}, API, Webhooks, Create webhook.
  URL          {url}
  Dataset      {}
  Trigger on   Create, Update
  Filter       {rule}
  Projection   {PROJECTION}
  Drafts       off, versions too
  HTTP method  POST
  Secret       the SANITY_WEBHOOK_SECRET of the env file
",
        settings.project_id, settings.dataset
    )
}
