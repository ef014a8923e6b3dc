//! What time a server has: the `Date` of its answer.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Url};

/// Asks a server for the time, to the second: the `Date` of whatever it answers, which every server that has a clock sends
/// (RFC 9110, 6.6.1). `None` where there is no answer, or none with a date.
pub async fn date_of(http: &Client, url: &Url, within: Duration) -> Option<Timestamp> {
    let answer = http.head(url.clone()).timeout(within).send().await.ok()?;
    let date = answer.headers().get("date")?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())
}
