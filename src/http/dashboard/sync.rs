//! One sync: its state, how to fix it, its events, and its actions.

use std::time::Duration;

use actix_web::web;
use askama::Template;

use super::flash::Done;
use super::labels::{self, Moment, Standstill};
use super::list::{Around, Row};
use super::timeline::{self, Line};
use super::{Answer, Frame, page};
use crate::api_types::SyncJson;
use crate::clock::until;
use crate::domain::state::CancelledBy;
use crate::domain::sync::SyncId;
use crate::http::AppState;
use crate::http::api::{self, ListQuery};
use crate::http::auth::Session;

/// Other syncs of the same lead that are listed.
const OTHERS: u32 = 20;

/// Seconds after which a browser without JavaScript loads the page again, while the sync goes on.
const AGAIN: u32 = 15;

/// What is nearer than this is over before it is read.
const SHOWN: Duration = Duration::from_secs(1);

#[derive(Template)]
#[template(path = "sync.html")]
struct SyncPage {
    frame: Frame,
    row: Row,
    sync: SyncJson,
    /// When it is next taken up, where that is worth saying.
    next_try: Option<Moment>,
    last_attempt: Option<Moment>,
    /// After how long of its own failures it is given up.
    given_up_after: String,
    /// Whether anything moves, so that it could be tried now.
    moves: bool,
    finished: Option<Moment>,
    synced: Option<Moment>,
    /// How to fix a failure.
    advice: Option<&'static str>,
    /// What follows from its having been cancelled.
    follows: Option<String>,
    /// What happened: the earlier lines, where they are many, and the latest.
    earlier: Vec<Line>,
    latest: Vec<Line>,
    others: Vec<Row>,
    /// A later sync of the lead.
    newer: Option<i64>,
    /// When the failure was dismissed, if so.
    dismissed: Option<Moment>,
    /// An editor has changed the lead's `crmStatus` since it failed, so that it is sent only with `force`.
    is_withdrawn: bool,
}

/// Shows the sync.
pub(super) async fn show(
    session: web::ReqData<Session>,
    id: web::Path<i64>,
    done: web::Query<Done>,
    state: web::Data<AppState>,
) -> Answer {
    let sync = api::find(&state, SyncId(*id)).await?;
    let lead = ListQuery {
        lead: Some(sync.lead_id.as_str().to_owned()),
        limit: Some(OTHERS),
        ..ListQuery::default()
    };
    let others = api::page(&state, lead).await?.syncs;
    let overview = state.store.overview().await?;
    let stand = Standstill::of(&overview);
    let around = Around::new(&state, &stand, overview.at);
    let row = Row::new(&sync, &around);
    let (earlier, latest) = timeline::lines(sync.events.as_deref().unwrap_or_default());
    let mut frame = Frame::new(
        &state,
        Some(&session),
        "syncs",
        &format!("{} – {}", row.lead, row.badge.word()),
    );
    frame.now = Moment(overview.at);
    frame.note = done.note(stand.holds_up(&sync.state));
    frame.again = sync.finished_at.is_none().then(|| (format!("/syncs/{id}"), AGAIN));
    let newer = others.first().filter(|newest| newest.id > sync.id);
    let moves = stand.holds_up(&sync.state).is_none();
    let mut attempts = sync
        .events
        .iter()
        .flatten()
        .filter(|entry| entry.kind == "attempt_failed");
    let template = SyncPage {
        frame,
        next_try: sync
            .next_attempt_at
            .filter(|due| sync.attempts > 0 && until(overview.at, *due) >= SHOWN && moves)
            .map(Moment),
        last_attempt: attempts.next_back().map(|entry| Moment(entry.at)),
        given_up_after: labels::lasting(state.give_up_after),
        moves,
        finished: sync.finished_at.map(Moment),
        synced: sync.last_synced_at.map(Moment),
        advice: sync.advice.filter(|_| newer.is_none()),
        follows: newer.is_none().then(|| follows(&sync)).flatten(),
        earlier,
        latest,
        newer: newer.map(|newer| newer.id.0),
        dismissed: sync.dismissed_at.map(Moment),
        is_withdrawn: sync.cancelled_by.as_deref() == Some(CancelledBy::Lead.label()),
        others: others
            .iter()
            .filter(|other| other.id != sync.id)
            .map(|other| Row::new(other, &around))
            .collect(),
        row,
        sync,
    };
    Ok(page(200, &template))
}

impl SyncPage {
    fn has_ended(&self) -> bool {
        self.finished.is_some()
    }
}

/// What follows from its having been cancelled, which Sanity does not say.
fn follows(sync: &SyncJson) -> Option<String> {
    let (before, after) = match (&*sync.state, sync.cancelled_by.as_deref()) {
        ("cancelled", Some(by)) if by == CancelledBy::Operator.label() => (
            "As long as it says REQUESTED in Sanity, the next edit of it sends it again. To prevent that, set its crmStatus to NOT_SENT. ",
            "You can still send it here.",
        ),
        ("cancelled", _) => (
            "Its crmStatus in Sanity was changed, so nothing more was sent. ",
            "To send it, set crmStatus to REQUESTED in Sanity, or use the button below.",
        ),
        ("lead_deleted", _) => ("", "If the lead is published again with REQUESTED, it is sent."),
        _ => return None,
    };
    // The tag starts Bigin's own automation: the operator who cancels wants to know whether it has.
    let has_tag = sync.events.iter().flatten().any(|entry| entry.kind == "tagged");
    let tag = if has_tag { "tagged" } else { "untagged" };
    Some(format!("{before}Anything already in Bigin stays there, {tag}. {after}"))
}
