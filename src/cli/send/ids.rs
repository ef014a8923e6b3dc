//! Which leads are to be sent: from the command line, a file, standard input, or a query to Sanity.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::{Options, wrong};
use crate::cli::api::USER_AGENT;
use crate::clock::SharedClock;
use crate::config::{Layers, SanityAccess};
use crate::domain::failure::CallError;
use crate::domain::lead::LeadId;
use crate::http_client::{self, Calls};
use crate::sanity::{self, Sanity};

/// A query may run for a minute (Sanity's docs, technical limits).
const PATIENCE: Duration = Duration::from_secs(70);

/// Ids that are named where more are wrong.
const MOST_NAMED: usize = 10;

/// The leads, each once, in the order in which they were given.
///
/// # Errors
/// An id is wrong, or they cannot be read.
pub(super) async fn gather(options: &Options, clock: &SharedClock) -> anyhow::Result<Vec<LeadId>> {
    let mut ids = Vec::new();
    for id in &options.ids {
        match id.as_str() {
            "-" => ids.extend(in_text(&from_standard_input()?)),
            id => ids.push(id.to_owned()),
        }
    }
    if let Some(file) = &options.ids_from {
        ids.extend(in_text(&read(file)?));
    }
    if let Some(query) = &options.query {
        ids.extend(found(query, &options.target.layers(), clock).await?);
    }
    parse(&ids)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return from_standard_input();
    }
    std::fs::read_to_string(file).map_err(|error| wrong(format!("{} cannot be read: {error}", file.display())))
}

fn from_standard_input() -> anyhow::Result<String> {
    std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")
}

/// Ids between spaces and line breaks; a '#' begins a comment.
fn in_text(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).map(str::to_owned)
}

fn parse(ids: &[String]) -> anyhow::Result<Vec<LeadId>> {
    let (mut leads, mut known, mut faults) = (Vec::new(), BTreeSet::new(), Vec::new());
    for id in ids {
        match LeadId::parse(id) {
            Ok(lead) if known.insert(lead.clone()) => leads.push(lead),
            Ok(_) => {}
            Err(_) if id.starts_with("drafts.") => faults.push(format!(
                "{id:?} is a draft, and only published leads are sent: publish it, and send {:?}",
                id.trim_start_matches("drafts.")
            )),
            Err(error) => faults.push(format!("{id:?} is {error}")),
        }
    }
    if faults.is_empty() {
        return Ok(leads);
    }
    let more = faults.len().saturating_sub(MOST_NAMED);
    faults.truncate(MOST_NAMED);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    Err(wrong(format!("nothing is sent:\n  - {}", faults.join("\n  - "))))
}

/// What a query finds in Sanity.
async fn found(query: &str, layers: &Layers, clock: &SharedClock) -> anyhow::Result<Vec<String>> {
    let access = SanityAccess::load(layers).map_err(|faults| wrong(format!("--query reads Sanity, and {faults}")))?;
    let http = http_client::client(USER_AGENT, &[&access.api_url])?;
    let settings = sanity::Settings {
        api_url: access.api_url,
        dataset: access.dataset,
        token: access.token,
        lead_type: access.lead_type,
        max_answer: sanity::MAX_ANSWER,
    };
    let calls = Calls::new(SharedClock::clone(clock), Arc::default());
    let sanity = Sanity::new(settings, http, calls, SharedClock::clone(clock));
    match sanity.ids(query, PATIENCE).await {
        Ok(Some(ids)) => Ok(ids),
        Ok(None) => Err(wrong(
            "the query finds something without an _id: let it end with {_id}, or with ._id".to_owned(),
        )),
        Err(CallError::Rejected { .. }) => Err(wrong(
            "Sanity does not understand the query: try it in the Studio's Vision first".to_owned(),
        )),
        Err(CallError::Ambiguous { code, .. }) if code == "answer too large" => Err(wrong(
            "the query finds whole documents, which are too many: let it end with {_id}".to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}
