//! The HTTP client that both remote services are called with: bundled roots, timeouts, no redirects to other
//! hosts, and answers of bounded size.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use crate::clock::{SharedClock, after, until};
use crate::domain::failure::{CallError, Pause, PauseKind, Remote};

/// No answer of either service that we ask for comes near this; what does is not one of theirs.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// An answer that was read to its end.
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The least wait the server asks for (`Retry-After` in seconds or as a date), relative to its own `Date` where it has one.
    pub retry_after: Option<Duration>,
    /// The body, where it is JSON. A proxy's HTML page is `None`.
    pub json: Option<Value>,
}

/// Why there is no answer. Unless [`NoAnswer::never_sent`], the request may have been carried out all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct NoAnswer {
    /// `connect`, `not sent`, `timeout`, `answer too large`, `connection lost`.
    pub code: &'static str,
}

impl NoAnswer {
    const CONNECT: Self = Self { code: "connect" };
    pub(crate) const NOT_SENT: Self = Self { code: "not sent" };
    const TIMEOUT: Self = Self { code: "timeout" };
    const TOO_LARGE: Self = Self {
        code: "answer too large",
    };
    const LOST: Self = Self {
        code: "connection lost",
    };

    /// Whether it is certain that the service saw nothing of the request.
    pub fn never_sent(&self) -> bool {
        *self == Self::CONNECT || *self == Self::NOT_SENT
    }

    /// What a caller of `remote` does about it: pauses where nothing was sent, and is in doubt otherwise.
    pub fn into_call_error(self, remote: Remote) -> CallError {
        let service = name(remote);
        if self.never_sent() {
            return CallError::Unavailable(Pause {
                remote,
                kind: PauseKind::Down,
                code: self.code.to_owned(),
                message: format!("{service} cannot be reached"),
                retry_after: None,
            });
        }
        let message = match self.code {
            "timeout" => format!("{service} did not answer in time"),
            "answer too large" => format!("{service} sent more than {MAX_ANSWER} bytes"),
            _ => format!("the connection to {service} was lost before its answer was complete"),
        };
        CallError::Unknown {
            code: self.code.to_owned(),
            message,
            retry_after: None,
        }
    }
}

/// A service's name in sentences for people.
pub fn name(remote: Remote) -> &'static str {
    match remote {
        Remote::Token => "Zoho's accounts server",
        Remote::Bigin => "Bigin",
        Remote::Sanity => "Sanity",
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
        .redirect(Policy::custom(same_host_only))
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

/// Follows a redirect within the same origin: a token must not travel to another host.
fn same_host_only(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same = attempt
        .previous()
        .last()
        .is_some_and(|from| from.origin() == attempt.url().origin());
    if same && attempt.previous().len() < 5 {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// Sends a request and reads the whole answer, within `deadline` and [`MAX_ANSWER`].
///
/// # Errors
/// [`NoAnswer`] for everything short of a complete HTTP answer.
pub async fn send(request: reqwest::RequestBuilder, deadline: Duration) -> Result<Answer, NoAnswer> {
    let response = request.timeout(deadline).send().await.map_err(no_answer)?;
    let status = response.status();
    let retry_after = retry_after(&response);
    let body = read(response).await?;
    Ok(Answer {
        status,
        retry_after,
        json: serde_json::from_slice(&body).ok(),
    })
}

/// Like [`send`], with what is left until `deadline`. Nothing is sent when nothing is left.
///
/// # Errors
/// [`CallError::Unavailable`] (`Down`) where nothing was sent, [`CallError::Unknown`] where the reply was lost or late.
pub async fn send_by(
    request: reqwest::RequestBuilder,
    deadline: &Deadline,
    remote: Remote,
) -> Result<Answer, CallError> {
    let left = deadline.left();
    let sent = if left.is_zero() {
        Err(NoAnswer::NOT_SENT)
    } else {
        send(request, left).await
    };
    sent.map_err(|none| none.into_call_error(remote))
}

async fn read(mut response: Response) -> Result<Vec<u8>, NoAnswer> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(NoAnswer::TOO_LARGE);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn no_answer(error: reqwest::Error) -> NoAnswer {
    // The order matters: a connection that could not be made in time is both a timeout and a failed connect, and only
    // the latter says that nothing was sent.
    if error.is_connect() {
        NoAnswer::CONNECT
    } else if error.is_builder() {
        NoAnswer::NOT_SENT
    } else if error.is_timeout() {
        NoAnswer::TIMEOUT
    } else {
        NoAnswer::LOST
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    parse_retry_after(header("retry-after")?, header("date"))
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

/// Parses the base address of a service, without a trailing slash.
///
/// # Errors
/// A sentence where it is not an `http` or `https` address.
pub fn base_url(text: &str) -> Result<Url, String> {
    let url: Url = text
        .trim_end_matches('/')
        .parse()
        .map_err(|_| format!("{text:?} is not an address"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(format!("{text:?} is not an http or https address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn only_what_was_never_sent_is_no_doubt() {
        for none in [NoAnswer::CONNECT, NoAnswer::NOT_SENT] {
            let error = none.into_call_error(Remote::Bigin);
            assert!(matches!(error, CallError::Unavailable(pause) if pause.kind == PauseKind::Down));
        }
        for none in [NoAnswer::TIMEOUT, NoAnswer::TOO_LARGE, NoAnswer::LOST] {
            let code = none.code;
            let error = none.into_call_error(Remote::Sanity);
            assert!(
                matches!(&error, CallError::Unknown { code: said, .. } if said == code),
                "{error}"
            );
        }
    }

    #[test]
    fn only_plain_words_of_a_server_are_repeated() {
        let plain = |text| word(text, 5, |c: u8| c.is_ascii_uppercase());
        assert_eq!(plain("ABCDE"), Some("ABCDE"));
        for other in ["", "ABCDEF", "abc", "A B", "Ä"] {
            assert_eq!(plain(other), None, "{other:?}");
        }
    }
}
