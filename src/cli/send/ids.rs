//! The leads to send: from the command line, a file, standard input, or a query to Sanity.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::{Options, usage};
use crate::cli::api::USER_AGENT;
use crate::clock::SharedClock;
use crate::config::{Layers, SanitySettings};
use crate::domain::failure::{CallError, TransportError};
use crate::domain::lead::LeadId;
use crate::http_client::{self, Calls};
use crate::sanity::Sanity;

/// A query may run for a minute (Sanity's docs, technical limits).
const QUERY_TIMEOUT: Duration = Duration::from_secs(70);

/// Invalid ids that are listed.
const MAX_LISTED: usize = 10;

/// The leads, each once, in the given order.
///
/// # Errors
/// An id is invalid, or they cannot be read.
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
        ids.extend(query_ids(query, &options.target.layers(), clock).await?);
    }
    parse(&ids)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return from_standard_input();
    }
    std::fs::read_to_string(file).map_err(|error| usage(format!("cannot read {}: {error}", file.display())))
}

fn from_standard_input() -> anyhow::Result<String> {
    std::io::read_to_string(std::io::stdin()).context("cannot read standard input")
}

/// Ids separated by spaces or line breaks; a '#' starts a comment.
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
                "{id:?} is a draft, and only published leads are sent: publish it, then send {:?}",
                id.trim_start_matches("drafts.")
            )),
            Err(error) => faults.push(format!("{id:?} is {error}")),
        }
    }
    if faults.is_empty() {
        return Ok(leads);
    }
    let more = faults.len().saturating_sub(MAX_LISTED);
    faults.truncate(MAX_LISTED);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    Err(usage(format!("nothing was sent:\n  - {}", faults.join("\n  - "))))
}

async fn query_ids(query: &str, layers: &Layers, clock: &SharedClock) -> anyhow::Result<Vec<String>> {
    let settings = SanitySettings::load(layers);
    let settings = settings.map_err(|errors| usage(format!("--query needs access to Sanity. {errors}")))?;
    let http = http_client::client(USER_AGENT, &[&settings.api_url])?;
    let calls = Calls::new(SharedClock::clone(clock), Arc::default());
    let sanity = Sanity::new(settings, http, calls, SharedClock::clone(clock));
    match sanity.ids(query, QUERY_TIMEOUT).await {
        Ok(Some(ids)) => Ok(ids),
        Ok(None) => Err(usage(
            "a result of the query has no _id: end the query with {_id} or ._id".to_owned(),
        )),
        Err(CallError::Rejected { .. }) => Err(usage(
            "Sanity rejected the query: test it in the Studio's Vision tool".to_owned(),
        )),
        Err(CallError::Ambiguous {
            transport: Some(TransportError::TooLarge),
            ..
        }) => Err(usage("the answer is too large: end the query with {_id}".to_owned())),
        Err(error) => Err(error.into()),
    }
}
