//! The HTTP client that both remote services are called with: bundled roots, timeouts, no redirects to other
//! hosts, and answers of bounded size.

use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

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

/// Why there is no answer. The request may have been carried out all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct NoAnswer {
    /// `timeout`, `connect`, `answer too large`, `connection lost`.
    pub code: &'static str,
}

/// Builds the client for the service at `bases`. `user_agent` goes along with every request. The environment's proxies
/// are honoured, but never for addresses of this machine.
///
/// # Errors
/// Where the TLS backend cannot be set up, which only a broken build does.
#[expect(clippy::disallowed_methods, reason = "this is the one place that builds a client")]
pub fn client(user_agent: &str, bases: &[&Url]) -> Result<Client, reqwest::Error> {
    // A second call finds the provider installed, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| reqwest::Certificate::from_der(der).ok());
    let builder = Client::builder();
    let builder = if bases.iter().all(|base| is_loopback(base)) {
        builder.no_proxy()
    } else {
        builder
    };
    builder
        .user_agent(user_agent)
        .tls_certs_only(roots)
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(60))
        .redirect(Policy::custom(same_host_only))
        .build()
}

fn is_loopback(url: &Url) -> bool {
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

async fn read(mut response: Response) -> Result<Vec<u8>, NoAnswer> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(NoAnswer {
                code: "answer too large",
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn no_answer(error: reqwest::Error) -> NoAnswer {
    let code = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else {
        "connection lost"
    };
    NoAnswer { code }
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
}
