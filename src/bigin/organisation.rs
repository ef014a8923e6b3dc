//! What an organisation is set up with, for who checks it: its name, its tags, and which rights the token has.

use std::time::Duration;

use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Bigin, answer, call, item};
use crate::domain::failure::{CallError, Remote};
use crate::http_client::{self, Answer, Operation};

const ORGANISATION_SCOPE: &str = "ZohoBigin.org.READ";
const LIST_TAGS_SCOPE: &str = "ZohoBigin.settings.tags.READ";
const MAKE_TAGS_SCOPE: &str = "ZohoBigin.settings.tags.CREATE";

/// The organisation a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// What it calls itself.
    pub name: String,
    /// Zoho's id of it.
    pub id: String,
}

impl Organisation {
    fn read(answer: &Answer) -> Result<Self, CallError> {
        let body = answer::body(answer, ORGANISATION_SCOPE)?;
        let org = body.and_then(|body| body.get("org")?.as_array()?.first());
        let org = org.ok_or_else(|| CallError::unreadable("Bigin's answer names no organisation"))?;
        let text = |key: &str| org.get(key).and_then(Value::as_str).unwrap_or("unnamed").to_owned();
        Ok(Self {
            name: text("company_name"),
            id: text("zgid"),
        })
    }
}

/// [`Bigin::organisation`] of an access token that is not the service's.
///
/// # Errors
/// As for [`Bigin::organisation`].
pub async fn organisation(
    http: &Client,
    api_domain: &Url,
    access_token: &SecretString,
    timeout: Duration,
) -> Result<Organisation, CallError> {
    let url = format!("{}/bigin/v2/org", http_client::base_text(api_domain));
    let token = format!("Zoho-oauthtoken {}", access_token.expose_secret());
    let answer = http_client::send(http.get(url).header("authorization", token), timeout).await;
    Organisation::read(&answer.map_err(|none| none.into_call_error(Remote::Bigin))?)
}

/// What became of the wish for a new tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTag {
    /// It was made.
    Made,
    /// It was there already.
    There,
}

impl Bigin {
    /// Asks which organisation the token belongs to: `GET /bigin/v2/org` (official docs, scopes; the answer's shape is that of
    /// Zoho CRM's, which is not confirmed for Bigin).
    ///
    /// # Errors
    /// [`CallError`]; a missing scope is `OAUTH_SCOPE_MISMATCH`.
    pub async fn organisation(&self, deadline: Duration) -> Result<Organisation, CallError> {
        let answer = self
            .ask(deadline, call(Operation::Organisation, 0), 1, |base| {
                self.http.get(format!("{base}/bigin/v2/org"))
            })
            .await?;
        Organisation::read(&answer)
    }

    /// The names of the tags of Contacts: `GET /bigin/v2/settings/tags?module=Contacts` (official docs, get-tags).
    ///
    /// # Errors
    /// [`CallError`], as for [`Bigin::organisation`].
    pub async fn tags(&self, deadline: Duration) -> Result<Vec<String>, CallError> {
        let answer = self
            .ask(deadline, call(Operation::Organisation, 0), 1, |base| {
                let url = format!("{base}/bigin/v2/settings/tags");
                self.http.get(url).query(&[("module", "Contacts")])
            })
            .await?;
        // 204 is how lists without anything in them are answered.
        let Some(body) = answer::body(&answer, LIST_TAGS_SCOPE)? else {
            return Ok(Vec::new());
        };
        let tags = body.get("tags").and_then(Value::as_array);
        let tags = tags.ok_or_else(|| CallError::unreadable("Bigin's answer has no list of tags"))?;
        let name = |tag: &Value| tag.get("name").and_then(Value::as_str).map(str::to_owned);
        Ok(tags.iter().filter_map(name).collect())
    }

    /// Makes a tag of Contacts: `POST /bigin/v2/settings/tags?module=Contacts` (official docs, create-tags).
    ///
    /// # Errors
    /// [`CallError`], as for [`Bigin::organisation`]; [`CallError::Rejected`] where it cannot be a tag, or there are too many.
    pub async fn make_tag(&self, name: &str, deadline: Duration) -> Result<NewTag, CallError> {
        let body = json!({ "tags": [{ "name": name }] });
        let answer = self
            .ask(deadline, call(Operation::Organisation, 0), 1, |base| {
                let url = format!("{base}/bigin/v2/settings/tags");
                self.http.post(url).query(&[("module", "Contacts")]).json(&body)
            })
            .await?;
        let refused = |code: &str| answer::rejected("Bigin rejected the tag", code.to_owned());
        // The tag's own result stands in `tags`, with 201 or 400.
        let own = answer
            .json
            .as_ref()
            .and_then(|body| body.get("tags")?.as_array()?.first());
        let said = own.and_then(|own| own.get("code")).and_then(Value::as_str);
        match said.and_then(item::clean_code) {
            Some("SUCCESS") => Ok(NewTag::Made),
            Some("DUPLICATE_DATA") => Ok(NewTag::There),
            Some(code) => Err(refused(code)),
            None => {
                let body = answer::body(&answer, MAKE_TAGS_SCOPE)?;
                let code = body.and_then(item::refusal).map(|(code, _)| code);
                Err(refused(code.as_deref().unwrap_or("no answer")))
            }
        }
    }
}
