//! Webhooks as Sanity sends them, made and signed beforehand, and sent as fast as they are answered.

use std::net::SocketAddr;

use bigin_sync::clock::{Clock as _, SharedClock, SystemClock, until};
use bigin_sync::domain::lead::REQUESTED;
use bigin_sync::signature;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::ids::Ids;
use crate::machine::micros;
use crate::rows::Series;

/// What every server here checks signatures with.
pub const SECRET: &str = "invented webhook secret of the measurements";

/// The token of the program's API.
pub const ADMIN_TOKEN: &str = "invented-admin-token-of-the-measurements";

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over so many connections, each of which is kept.
    Kept(usize),
    /// Each over a connection of its own, as Sanity does, so many at once.
    Single(usize),
}

/// The ways that webhooks are measured in, with how many in each; the first alone in the short form.
pub fn ways(is_short: bool, counts: [usize; 3]) -> Vec<(&'static str, Way, usize)> {
    let ways = [
        ("64 connections", Way::Kept(64)),
        ("a connection each, 64 at once", Way::Single(64)),
        ("a connection each, one at a time", Way::Single(1)),
    ];
    let all = ways
        .into_iter()
        .zip(counts)
        .map(|((title, way), count)| (title, way, count));
    all.take(if is_short { 1 } else { 3 }).collect()
}

impl Way {
    /// The same to each of so many servers.
    pub fn times(self, servers: usize) -> Self {
        match self {
            Self::Kept(at_once) => Self::Kept(at_once * servers),
            Self::Single(at_once) => Self::Single(at_once * servers),
        }
    }

    fn at_once(self) -> usize {
        match self {
            Self::Kept(at_once) | Self::Single(at_once) => at_once,
        }
    }
}

/// A webhook for a lead, with everything that one of Sanity's has.
pub fn webhook(lead: &str, rev: &str, way: Way) -> Vec<u8> {
    let now = SystemClock::new().wall();
    let body = json!({
        "_id": lead, "_type": "dbrLead", "_rev": rev, "_updatedAt": now.to_string(), "crmStatus": REQUESTED,
    });
    let body = body.to_string();
    let signed_at = u64::try_from(now.as_millisecond()).unwrap();
    let signature = signature::sign(body.as_bytes(), signed_at, SECRET.as_bytes());
    let connection = if matches!(way, Way::Single(_)) {
        "close"
    } else {
        "keep-alive"
    };
    let head = format!(
        "POST /webhooks/sanity HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: Sanity.io webhook delivery\r\n\
        connection: {connection}\r\naccept-encoding: gzip\r\ncontent-type: application/json\r\n\
        idempotency-key: {lead}-{rev}\r\nsanity-transaction-id: {rev}\r\nsanity-transaction-time: {now}\r\n\
        sanity-dataset: production\r\nsanity-document-id: {lead}\r\nsanity-project-id: inv3nted\r\n\
        sanity-webhook-id: Hk3vXq1Zt9LmYb2C\r\nsanity-operation: update\r\n{}: {signature}\r\ncontent-length: {}\r\n\r\n",
        signature::HEADER,
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Webhooks for so many different leads: others for each name.
pub fn webhooks(ids: Ids, name: &str, leads: usize, way: Way) -> Vec<Vec<u8>> {
    let one = |nth| webhook(&ids.lead(name, nth), &ids.revision(name, nth), way);
    (0..leads).map(one).collect()
}

/// A request to the API, without a body.
pub fn api(method: &str, path: &str) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
        content-type: application/json\r\ncontent-length: 0\r\n\r\n"
    );
    head.into_bytes()
}

/// Sends them all, spread over the servers, and asserts that each is acknowledged as new. How long each took, in
/// microseconds.
pub async fn send(servers: &[SocketAddr], requests: Vec<Vec<u8>>, way: Way) -> Series {
    let clock: SharedClock = std::sync::Arc::new(SystemClock::new());
    let mut queues = vec![Vec::new(); way.at_once()];
    for (nth, request) in requests.into_iter().enumerate() {
        let queue = nth % way.at_once();
        let server = match way {
            Way::Kept(_) => queue,
            Way::Single(_) => nth,
        };
        queues[queue].push((servers[server % servers.len()], request));
    }
    let mut senders = JoinSet::new();
    for queue in queues {
        senders.spawn(send_in_turn(queue, way, clock.clone()));
    }
    let mut took = Series::default();
    for times in senders.join_all().await {
        took.extend(times);
    }
    took
}

async fn send_in_turn(requests: Vec<(SocketAddr, Vec<u8>)>, way: Way, clock: SharedClock) -> Vec<f64> {
    let mut took = Vec::with_capacity(requests.len());
    let mut kept = None;
    for (to, request) in requests {
        let began = clock.now();
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => connect(to).await.unwrap(),
        };
        let status = exchange(&mut stream, &request).await.unwrap();
        assert_eq!(status, 202, "a webhook is not acknowledged");
        if matches!(way, Way::Kept(_)) {
            kept = Some(stream);
        }
        took.push(micros(until(began, clock.now())));
    }
    took
}

/// A connection whose small packets leave at once.
pub async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads the whole answer. Its status.
pub async fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<u16> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(status) = status_of(&answer) {
            return Ok(status);
        }
    }
}

/// The status of an answer that has arrived whole; the servers here all say how long their bodies are.
fn status_of(answer: &[u8]) -> Option<u16> {
    let answer = std::str::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().unwrap())
    });
    (body.len() >= length.unwrap_or(0)).then_some(status)
}
