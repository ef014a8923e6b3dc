//! The list: syncs, newest first, found by their lead, contact, state or reason.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use askama::Template;
use jiff::Timestamp;
use serde::Deserialize;

use super::labels::{self, BADGES, Badge, Countdown, Moment, Standstill};
use super::{Answer, Frame, page};
use crate::api_types::{Page, SyncJson};
use crate::domain::lead::{ContactId, LeadId};
use crate::domain::lead_link::LeadLink;
use crate::http::api::{self, ListQuery};
use crate::http::auth::Session;
use crate::http::problem::{self, Said};
use crate::http::{AppState, Links};
use crate::store::FailureGroup;

const ROWS: u32 = 50;

/// Reasons that can be chosen.
const REASONS: usize = 30;

/// Seconds after which a browser without JavaScript loads the page again: slow enough to type an id meanwhile.
const AGAIN: u32 = 60;

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    frame: Frame,
    query: PageQuery,
    rows: Vec<Row>,
    /// The address of the page with older ones.
    older: Option<String>,
    /// Key and sentence of each reason.
    reasons: Vec<(String, String)>,
    /// What is wrong with what was asked.
    fault: Option<String>,
    /// What it means that there are no rows.
    nothing: String,
}

/// What the form asks for. An empty field asks for nothing.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct PageQuery {
    /// The id of a lead or a contact.
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    reason: String,
    before: Option<i64>,
}

/// A sync as a row, or as the head of its own page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) lead: String,
    pub(super) badge: Badge,
    pub(super) sentence: String,
    pub(super) countdown: Option<Countdown>,
    pub(super) contact: Option<String>,
    pub(super) created: Moment,
    pub(super) changed: Moment,
    /// The lead's next sync, where this one failed and the lead was asked for again.
    pub(super) again: Option<i64>,
    /// The lead in Sanity Studio.
    pub(super) studio: Option<String>,
    /// The contact in Bigin.
    pub(super) bigin: Option<String>,
}

/// What a row needs to know beside its sync.
pub(super) struct Around<'a> {
    pub(super) stand: &'a Standstill,
    pub(super) links: &'a Links,
    pub(super) lead_type: &'a str,
    pub(super) tag_delay: Duration,
    pub(super) now: Timestamp,
}

/// Shows the list.
pub(super) async fn show(
    session: web::ReqData<Session>,
    query: web::Query<PageQuery>,
    state: web::Data<AppState>,
) -> Answer {
    let query = query.into_inner().trimmed();
    let overview = state.store.overview().await?;
    let stand = Standstill::of(&overview);
    let found = match find(&state, &query).await {
        Ok(found) => Ok(found),
        // What was typed is no id: said beside the form, which still has it.
        Err(refusal) if refusal.status().as_u16() == 400 => Err(refusal
            .extensions()
            .get::<Said>()
            .map(|said| said.0.clone())
            .unwrap_or_default()),
        Err(refusal) => return Err(refusal.into()),
    };
    let (status, fault, found) = match found {
        Ok(found) => (200, None, found),
        Err(fault) => (400, Some(fault), Page::default()),
    };
    let reasons = state.store.failure_groups(REASONS).await?;
    let of_group = |group: FailureGroup| (group.key().to_string(), group.reason);
    let mut reasons: Vec<(String, String)> = reasons.into_iter().map(of_group).collect();
    // Those of leads that were retried since are not among them.
    let shown = found.syncs.iter().filter(|sync| sync.state == "failed");
    let shown = shown.filter_map(|sync| Some((sync.reason_key()?.to_string(), sync.reason.clone()?)));
    let chosen = Some(&query.reason).filter(|chosen| !chosen.is_empty());
    for (key, reason) in shown.chain(chosen.map(|key| (key.clone(), key.clone()))) {
        if !reasons.iter().any(|(known, _)| *known == key) {
            reasons.push((key, reason));
        }
    }
    let nothing = match found.syncs.is_empty() && fault.is_none() {
        true => nothing(&state, &query).await?,
        false => String::new(),
    };
    let around = Around::new(&state, &stand, overview.at);
    let mut frame = Frame::new(&state, Some(&session), "syncs", "Syncs");
    frame.now = Moment(overview.at);
    frame.again = Some((query.address(query.before), AGAIN));
    let template = ListPage {
        rows: found.syncs.iter().map(|sync| Row::new(sync, &around)).collect(),
        older: found.next.map(|next| query.address(Some(next.0))),
        frame,
        query,
        reasons,
        fault,
        nothing,
    };
    Ok(page(status, &template))
}

/// The syncs of the lead or the contact with this id; where there is none, those with this in an id.
async fn find(state: &AppState, query: &PageQuery) -> Result<Page, HttpResponse> {
    let all = || ListQuery {
        state: text(&query.state),
        reason: text(&query.reason),
        before: query.before,
        limit: Some(ROWS),
        ..ListQuery::default()
    };
    let id = query.id();
    if id.is_empty() {
        return api::page(state, all()).await;
    }
    let own = text(id);
    if ContactId::parse(id).is_some() {
        let of_contact = api::page(
            state,
            ListQuery {
                contact: own.clone(),
                ..all()
            },
        );
        let found = of_contact.await?;
        if !found.syncs.is_empty() {
            return Ok(found);
        }
    }
    let could_be_part = id
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
    if !could_be_part {
        let message = "Search by lead or contact ID only. Names and emails aren't stored here.";
        return Err(problem::answer(400, message));
    }
    let of_lead = ListQuery {
        lead: own.clone(),
        ..all()
    };
    match api::page(state, of_lead).await {
        Ok(found) if !found.syncs.is_empty() => Ok(found),
        Ok(_) | Err(_) => api::page(state, ListQuery { part: own, ..all() }).await,
    }
}

/// What it means that nothing was found. A lead whose syncs are forgotten is told from one that never was here.
async fn nothing(state: &AppState, query: &PageQuery) -> Result<String, HttpResponse> {
    let id = query.id();
    if !query.is_narrowed() {
        let words = "No syncs yet. A sync appears when an editor sets a lead's crmStatus to REQUESTED in Sanity.";
        return Ok(words.to_owned());
    }
    if id.is_empty() || !query.state.is_empty() || !query.reason.is_empty() {
        return Ok("No syncs match.".to_owned());
    }
    let contacts = ContactId::parse(id).into_iter().collect();
    let owners = state.store.owners(contacts).await?;
    if let Some(lead) = owners.into_values().next().or_else(|| LeadId::parse(id).ok()) {
        let link = state.store.link(lead.clone()).await?;
        if link != LeadLink::default() {
            let contact = link
                .contact
                .map(|contact| format!(" Its contact in Bigin is {contact}."));
            return Ok(format!(
                "The syncs of lead {lead} were deleted after the retention period (RETENTION).{}",
                contact.unwrap_or_default()
            ));
        }
    }
    Ok(format!("No sync has a lead or contact ID that contains {id}."))
}

fn text(field: &str) -> Option<String> {
    (!field.is_empty()).then(|| field.to_owned())
}

impl PageQuery {
    fn trimmed(self) -> Self {
        Self {
            q: self.q.trim().to_owned(),
            ..self
        }
    }

    /// The id that was typed; an editor may have copied that of the draft.
    fn id(&self) -> &str {
        self.q.strip_prefix("drafts.").unwrap_or(&self.q)
    }

    fn is_narrowed(&self) -> bool {
        !(self.q.is_empty() && self.state.is_empty() && self.reason.is_empty())
    }

    /// Where this is asked.
    fn address(&self, before: Option<i64>) -> String {
        let before = before.map(|before| before.to_string()).unwrap_or_default();
        let parts = [
            ("q", self.q.as_str()),
            ("state", &self.state),
            ("reason", &self.reason),
            ("before", &before),
        ];
        let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
        let parts: Vec<String> = parts
            .map(|(name, value)| format!("{name}={}", super::percent(value)))
            .collect();
        if parts.is_empty() {
            "/syncs".to_owned()
        } else {
            format!("/syncs?{}", parts.join("&"))
        }
    }
}

impl<'a> Around<'a> {
    pub(super) fn new(state: &'a AppState, stand: &'a Standstill, now: Timestamp) -> Self {
        Self {
            stand,
            links: &state.links,
            lead_type: &state.lead_type,
            tag_delay: state.tag_delay,
            now,
        }
    }
}

impl Row {
    pub(super) fn new(sync: &SyncJson, around: &Around<'_>) -> Self {
        let lead = sync.lead_id.as_str();
        let studio = around.links.studio.as_ref();
        let bigin = &around.links.bigin;
        Self {
            id: sync.id.0,
            lead: lead.to_owned(),
            badge: labels::badge(&sync.state),
            sentence: labels::sentence(sync, around.stand, around.now),
            countdown: labels::countdown(sync, around.stand, around.tag_delay, around.now),
            contact: sync.contact_id.clone(),
            created: Moment(sync.created_at),
            changed: Moment(sync.changed_at),
            again: sync.next_sync.filter(|_| sync.state == "failed").map(|next| next.0),
            studio: studio.map(|studio| format!("{studio}/intent/edit/id={lead};type={}", around.lead_type)),
            // Not documented by Zoho; what follows the # is by analogy with the deals' addresses, which are widely seen.
            // Where it is not understood, Bigin opens at its first page.
            bigin: sync
                .contact_id
                .as_ref()
                .map(|contact| format!("{bigin}/bigin/Home#/contacts/{contact}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_asks_for_the_same() {
        let query = PageQuery {
            q: "lead-a".to_owned(),
            reason: "Bigin rejected Email: a & b".to_owned(),
            ..PageQuery::default()
        };
        assert_eq!(
            query.address(Some(12)),
            "/syncs?q=lead-a&reason=Bigin%20rejected%20Email%3A%20a%20%26%20b&before=12"
        );
        assert_eq!(PageQuery::default().address(None), "/syncs");
    }
}
