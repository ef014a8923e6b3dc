//! The HTTP client that both remote services are called with: bundled roots, timeouts, no redirects, and answers of
//! bounded size.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clock::{SharedClock, after, until};
use crate::domain::failure::TransportError;

pub use calls::{CONFLICT, Call, Calls, OK, Operation, TOKEN_REFUSED};
pub use date::date_of;
pub use network::{Delivered, Network, Transport};

mod calls;
mod date;
mod network;

/// Maximum size of an answer in bytes where the operation has no limit of its own (`Operation::max_answer`). Parsed
/// JSON takes up to nine times as much memory, and several calls are made at once.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// An answer that was read to its end.
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The least wait the server asks for (`Retry-After` in seconds or as a date), relative to its own `Date` where it has one.
    pub retry_after: Option<Duration>,
    /// The body, where it is JSON. A proxy's HTML page is `None`.
    pub json: Option<Value>,
}

/// An answer whose body is not parsed yet.
pub struct RawAnswer {
    /// HTTP status.
    pub status: StatusCode,
    /// As for [`Answer::retry_after`].
    pub retry_after: Option<Duration>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl From<RawAnswer> for Answer {
    fn from(raw: RawAnswer) -> Self {
        Self {
            status: raw.status,
            retry_after: raw.retry_after,
            json: json(&raw.body),
        }
    }
}

/// The moment by which a call has to be over, whatever it waits for on the way.
pub struct Deadline {
    clock: SharedClock,
    ends: Timestamp,
}

impl Deadline {
    /// `within` from now, by `clock`.
    pub fn new(clock: &SharedClock, within: Duration) -> Self {
        Self {
            clock: SharedClock::clone(clock),
            ends: after(clock.now(), within),
        }
    }

    /// The time left; zero once it is over.
    pub fn left(&self) -> Duration {
        until(self.clock.now(), self.ends)
    }
}

/// Builds the client for the service at `bases`. `user_agent` goes along with every request. The environment's proxies
/// are honoured, unless one of the addresses is of this machine: no proxy leads there.
///
/// # Errors
/// Where the TLS backend cannot be set up, which only a broken build does.
pub fn client(user_agent: &str, bases: &[&Url]) -> Result<Client, reqwest::Error> {
    build(user_agent, bases.iter().all(|base| !is_loopback(base)))
}

/// Builds a client for addresses of this machine.
///
/// # Errors
/// As for [`client`].
pub fn local_client(user_agent: &str) -> Result<Client, reqwest::Error> {
    build(user_agent, false)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that builds a client")]
fn build(user_agent: &str, may_use_proxy: bool) -> Result<Client, reqwest::Error> {
    // A second call finds the provider installed, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| reqwest::Certificate::from_der(der).ok());
    let builder = Client::builder();
    let builder = if may_use_proxy { builder } else { builder.no_proxy() };
    builder
        .user_agent(user_agent)
        .tls_certs_only(roots)
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(60))
        .redirect(Policy::none())
        .build()
}

/// Whether the address is one of this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// Sends a request and reads the whole answer, within `deadline` and [`MAX_ANSWER`].
///
/// # Errors
/// [`TransportError`] for everything short of a complete HTTP answer.
pub async fn send(request: reqwest::RequestBuilder, deadline: Duration) -> Result<Answer, TransportError> {
    Network::default().send(request, deadline).await
}

/// The JSON of a body. Half of a character that an escape stands for (`"\ud83d"`, which JavaScript makes where it cuts a
/// text inside an emoji) is no reason to refuse the whole answer, and every other lead in it.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    // Some servers put a mark before it that is no part of JSON.
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let strict = serde_json::from_slice(body);
    strict
        .or_else(|_| serde_json::from_slice(&with_whole_characters(body)))
        .ok()
}

/// UTF-8's.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Puts U+FFFD where an escape stands for half a character.
pub fn with_whole_characters(body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(place) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at(place);
        let (written, taken) = match (escaped(escape), escape.get(6..).and_then(escaped)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => (&escape[..12], 12),
            (Some(0xd800..0xe000), _) => (&br"\ufffd"[..], 6),
            _ => {
                let taken = escape.len().min(2);
                (&escape[..taken], taken)
            }
        };
        whole.extend_from_slice(before);
        whole.extend_from_slice(written);
        rest = &escape[taken..];
    }
    whole.extend_from_slice(rest);
    whole
}

/// The UTF-16 unit that a text begins with the escape of.
fn escaped(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    // from_str_radix would take a sign.
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        // The order matters: a connection that could not be made in time is both a timeout and a failed connect, and only
        // the latter says that nothing was sent.
        if error.is_connect() {
            Self::Connect
        } else if error.is_builder() {
            Self::NotSent
        } else if error.is_timeout() {
            Self::Timeout
        } else {
            Self::Lost
        }
    }
}

fn parse_retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let now = jiff::fmt::rfc2822::parse(date?.trim()).ok()?;
    Duration::try_from(then.timestamp().duration_since(now.timestamp())).ok()
}

/// `text`, where it has 1 to `longest` bytes and all are `legal`: the most that is repeated of what a server says, so
/// that nothing personal can come along.
pub fn word(text: &str, longest: usize, legal: impl Fn(u8) -> bool) -> Option<&str> {
    let fits = (1..=longest).contains(&text.len()) && text.bytes().all(legal);
    fits.then_some(text)
}

/// A base address as text that a path can be put behind.
pub fn base_text(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// Parses the base address of a service, without a trailing slash: an `http` or `https` URL.
pub fn base_url(text: &str) -> Option<Url> {
    let url: Url = text.trim_end_matches('/').parse().ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::stub_server::{Reply, StubServer};

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = Some("Sun, 22 Nov 2026 10:00:00 GMT");
        let cases = [
            ("120", None, Some(120)),
            (" 7 ", date, Some(7)),
            ("Sun, 22 Nov 2026 10:02:30 GMT", date, Some(150)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", date, None),
            ("Sun, 22 Nov 2026 10:02:30 GMT", None, None),
            ("soon", date, None),
        ];
        for (value, date, expected) in cases {
            assert_eq!(
                parse_retry_after(value, date),
                expected.map(Duration::from_secs),
                "{value}"
            );
        }
    }

    #[test]
    fn half_a_character_spoils_no_answer() {
        let cases = [
            (r#"["a\ud83dz"]"#, Some("a\u{fffd}z")),
            (r#"["\ude00"]"#, Some("\u{fffd}")),
            (r#"["\ud83d\ud83d\ude00"]"#, Some("\u{fffd}😀")),
            (r#"["\uD83D\uDE00"]"#, Some("😀")),
            (r#"["\\ud83d \"\ud83d"]"#, Some("\\ud83d \"\u{fffd}")),
            (r#"["\ud83d\n\u00e9"]"#, Some("\u{fffd}\né")),
            (r#"["\u+123"]"#, None),
            (r#"["\ud83"]"#, None),
            (r#"["\ud83d\"#, None),
            ("<html>", None),
        ];
        for (body, expected) in cases {
            let read: Option<Value> = json(body.as_bytes());
            assert_eq!(read.as_ref().and_then(|read| read[0].as_str()), expected, "{body}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_its_end() {
        let endless: &str = "x".repeat(MAX_ANSWER + 1).leak();
        let server = StubServer::start(move |_| Reply::Text(200, endless)).await;
        let client = client("a test", &[&server.url]).unwrap();
        let answer = send(client.get(server.url.clone()), Duration::from_secs(60)).await;
        assert_eq!(answer.err(), Some(TransportError::TooLarge));
    }

    #[test]
    fn only_plain_words_of_a_server_are_repeated() {
        let plain = |text| word(text, 5, |c: u8| c.is_ascii_uppercase());
        assert_eq!(plain("ABCDE"), Some("ABCDE"));
        for other in ["", "ABCDEF", "abc", "A B", "Ä"] {
            assert_eq!(plain(other), None, "{other:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::testing::arbitrary_json::config())]

        #[test]
        fn retry_after_is_read_from_whatever_a_server_says(value in "[0-9]{1,25}|[A-Za-z0-9:, +-]{0,32}|.{0,20}", date in ".{0,20}") {
            let read = parse_retry_after(&value, Some(&date));
            let seconds = value.trim().parse().ok().map(Duration::from_secs);
            prop_assert!(seconds.is_none() || read == seconds);
        }

        #[test]
        fn an_answer_is_read_whatever_halves_of_characters_are_in_it(
            units in prop::collection::vec(prop_oneof![any::<u16>(), 0xd800..0xe000u16], 0..12),
        ) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let body = format!("\"{escapes}\"");
            prop_assert_eq!(json(body.as_bytes()), Some(Value::from(String::from_utf16_lossy(&units))));
        }

        #[test]
        fn no_body_is_too_strange(body in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'u'), Just(b'd')], 0..40)) {
            let strict: Option<Value> = serde_json::from_slice(&body).ok();
            prop_assert!(strict.is_none() || json::<Value>(&body) == strict);
        }
    }
}
