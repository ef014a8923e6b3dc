//! The webhook: whether it is there and as it should be, what would mend it, and how it is made by hand.

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::answers::PUBLIC_URL;
use super::session::Desk;
use crate::cli::doctor::{PATIENCE, Patient};
use crate::sanity::hooks::{self, HooksError, PROJECTION, Webhook};

/// What has to be done about it.
pub(super) enum Step {
    /// Nothing.
    Well,
    /// It is made; its address.
    Make(String),
    /// These parts of it are changed: a sentence each.
    Change {
        id: String,
        url: String,
        parts: Vec<String>,
        changes: Value,
    },
    /// A person does it.
    ByHand(ByHand),
}

/// Why a person has to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ByHand {
    /// It would lead nowhere.
    NoAddress,
    /// Sanity shows webhooks to no other token.
    NoToken,
}

/// Finds out what has to be done. Where a webhook leads here already and no secret is set, its secret is taken over, so that
/// nothing signed with it is refused. One that leads to where the service was reached until now is led here.
pub(super) async fn step(desk: &mut Desk, token: &SecretString) -> anyhow::Result<Result<Step, HooksError>> {
    let patient = desk.patient(Some(token.clone()))?;
    let all = match patient.webhooks().await {
        Ok(all) => all,
        Err(error) => return Ok(Err(error)),
    };
    let before = desk.before(PUBLIC_URL.setting)?.and_then(|url| url.parse().ok());
    let moved = || before.as_ref().and_then(|before| patient.webhook_to(&all, before));
    let Some(hook) = patient.own_webhook(&all).or_else(moved) else {
        desk.make("SANITY_WEBHOOK_SECRET")?;
        let url = patient.webhook_url().unwrap_or_default();
        return Ok(Ok(Step::Make(url)));
    };
    if desk.known("SANITY_WEBHOOK_SECRET")?.is_none() {
        match &hook.secret {
            Some(secret) => desk.answer("SANITY_WEBHOOK_SECRET", secrecy::ExposeSecret::expose_secret(secret))?,
            None => desk.make("SANITY_WEBHOOK_SECRET")?,
        }
    }
    Ok(Ok(compare(&desk.patient(None)?, hook)))
}

fn compare(patient: &Patient, hook: &Webhook) -> Step {
    let mut faults = patient.faults_of_webhook(hook);
    let url = match patient.own_webhook(std::slice::from_ref(hook)) {
        Some(own) => own.url.clone(),
        None => patient.webhook_url().unwrap_or_default(),
    };
    if url != hook.url {
        faults.push("address");
    }
    if faults.is_empty() {
        return Step::Well;
    }
    let wanted = definition(patient, &url);
    let part = |key: &str| wanted.get(key).cloned().unwrap_or_default();
    let mut changes = Map::new();
    for fault in &faults {
        match *fault {
            "changes" | "filter" | "projection" => {
                // What of the rule is right stays as somebody has written it.
                let mut rule = part("rule");
                let kept = [("filter", &hook.filter), ("projection", &hook.projection)];
                for (key, own) in kept {
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
    Step::Change {
        id: hook.id.clone(),
        parts: faults.iter().map(|fault| said(fault, hook, &wanted)).collect(),
        url,
        changes: Value::Object(changes),
    }
}

/// What is changed, with what was there before.
fn said(fault: &str, hook: &Webhook, wanted: &Value) -> String {
    let rule = |key: &str| wanted["rule"][key].as_str().unwrap_or_default().to_owned();
    let none = || "none".to_owned();
    match fault {
        "address" => format!("it led to {}", hook.url),
        "changes" => format!("it tells of create and update, and not of {}", hook.on.join(", ")),
        "filter" => {
            let was = hook.filter.clone().unwrap_or_else(none);
            format!("the filter is {}, and was {was}", rule("filter"))
        }
        "projection" => {
            let was = hook.projection.clone().unwrap_or_else(none);
            format!("the projection is {}, and was {was}", rule("projection"))
        }
        "secret" => {
            "the secret is SANITY_WEBHOOK_SECRET: whoever else has the one it had refuses it from then on".to_owned()
        }
        "method" => format!("the HTTP method is POST, and was {}", hook.method),
        "drafts" => "it tells of no drafts and no versions of releases any more".to_owned(),
        _ => "it is enabled again".to_owned(),
    }
}

fn definition(patient: &Patient, url: &str) -> Value {
    let settings = patient.sanity_settings();
    hooks::definition(url, &settings.dataset, &settings.lead_type, &settings.webhook_secret)
}

/// Makes or changes it.
///
/// # Errors
/// What Sanity said.
pub(super) async fn carry_out(patient: &Patient, step: &Step) -> anyhow::Result<()> {
    let Some(hooks) = patient.hooks() else {
        return Ok(());
    };
    match step {
        Step::Make(url) => hooks.create(&definition(patient, url), PATIENCE).await?,
        Step::Change { id, changes, .. } => hooks.change(id, changes, PATIENCE).await?,
        Step::Well | Step::ByHand(_) => {}
    }
    Ok(())
}

/// What to type into Sanity's form.
pub(super) fn by_hand(patient: &Patient, why: ByHand) -> String {
    let settings = patient.sanity_settings();
    let rule = hooks::filter(&settings.lead_type);
    let (why, url) = match (why, patient.webhook_url()) {
        (ByHand::NoToken, Some(url)) => (
            "The webhook was not looked at, for want of a management token. If there is none yet, make it; one that is there has to be like this",
            url,
        ),
        _ => (
            "Leads are found by looking every minute. Once the service has an address, make a webhook and they go at once",
            "https://your-address/webhooks/sanity".to_owned(),
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
