//! Failed leads by reason: how to fix them, and a retry of all of one reason.

use actix_web::web;
use askama::Template;

use super::flash::Done;
use super::labels::{Moment, Standstill};
use super::{Answer, Frame, page};
use crate::domain::text::count;
use crate::http::AppState;
use crate::http::auth::Session;
use crate::http::operator::MAX_REASONS;

/// Seconds after which a browser without JavaScript loads the page again.
const AGAIN: u32 = 60;

#[derive(Template)]
#[template(path = "failures.html")]
struct FailuresPage {
    frame: Frame,
    groups: Vec<Group>,
    /// How many leads, of all reasons.
    leads: u64,
    total: String,
}

struct Group {
    /// See [`ReasonKey`](crate::domain::reject_reason::ReasonKey).
    key: String,
    reason: String,
    leads: u64,
    count: String,
    latest: Moment,
    advice: String,
}

/// Shows the reasons.
pub(super) async fn show(session: web::ReqData<Session>, done: web::Query<Done>, state: web::Data<AppState>) -> Answer {
    let groups = state.store.failure_groups(MAX_REASONS).await?;
    let overview = state.store.overview().await?;
    let leads = overview.failed_leads;
    let mut frame = Frame::new(&state, Some(&session), "failures", "Failures");
    frame.note = done.note(Standstill::of(&overview).holds_up("requested"));
    frame.again = Some(("/failures".to_owned(), AGAIN));
    let template = FailuresPage {
        frame,
        groups: groups
            .into_iter()
            .map(|group| Group {
                key: group.key().to_string(),
                advice: group.advice.clone(),
                count: count(group.leads, "lead"),
                reason: group.reason,
                leads: group.leads,
                latest: Moment(group.latest),
            })
            .collect(),
        leads,
        total: count(leads, "lead"),
    };
    Ok(page(200, &template))
}
