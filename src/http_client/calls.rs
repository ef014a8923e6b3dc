//! The calls that leave, each counted, timed and in a span of its own. What is said of a call is what for, to whom, for how
//! many, and how it ended: nothing of what was in it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use tracing::Instrument as _;

use super::{Answer, Deadline, MAX_ANSWER, Network, RawAnswer};
use crate::clock::{SharedClock, until};
use crate::domain::failure::{CallError, Remote, TransportError};
use crate::metrics::Metrics;

/// What is asked of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An access token.
    Grant,
    /// Contacts by their unique fields.
    Upsert,
    /// Contacts by id.
    Update,
    /// Tags of contacts.
    AddTags,
    /// The organisation's fields.
    Fields,
    /// Contacts by a query.
    Coql,
    /// The organisation itself, and its tags. No service asks this: only who checks how it is set up.
    Organisation,
    /// Leads with their drafts and versions.
    Doc,
    /// Ids of leads by a query.
    Query,
    /// Results of leads.
    Mutate,
}

impl Operation {
    /// All that a service asks, whose numbers are shown from the start.
    pub const ALL: [Self; 9] = [
        Self::Grant,
        Self::Upsert,
        Self::Update,
        Self::AddTags,
        Self::Fields,
        Self::Coql,
        Self::Doc,
        Self::Query,
        Self::Mutate,
    ];

    /// Whom it is asked of.
    pub fn remote(self) -> Remote {
        match self {
            Self::Grant => Remote::ZohoAccounts,
            Self::Upsert | Self::Update | Self::AddTags | Self::Fields | Self::Coql | Self::Organisation => {
                Remote::Bigin
            }
            Self::Doc | Self::Query | Self::Mutate => Remote::Sanity,
        }
    }

    /// The stable name in metrics and spans.
    pub fn label(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Upsert => "upsert",
            Self::Update => "update",
            Self::AddTags => "add_tags",
            Self::Fields => "fields",
            Self::Coql => "coql",
            Self::Organisation => "organisation",
            Self::Doc => "doc",
            Self::Query => "query",
            Self::Mutate => "mutate",
        }
    }

    /// How it can end: [`OK`], [`TOKEN_REFUSED`], [`CONFLICT`], or the label of a [`CallError`].
    pub fn results(self) -> &'static [&'static str] {
        match self.remote() {
            Remote::ZohoAccounts => &[OK, "unauthorized", "token_rate_limited", "unavailable"],
            Remote::Bigin => &[
                OK,
                TOKEN_REFUSED,
                "rejected",
                "unauthorized",
                "rate_limited",
                "credits_used_up",
                "unavailable",
                "ambiguous",
            ],
            Remote::Sanity if self == Self::Mutate => &[
                OK,
                CONFLICT,
                "rejected",
                "unauthorized",
                "rate_limited",
                "unavailable",
                "ambiguous",
            ],
            Remote::Sanity => &[
                OK,
                "rejected",
                "unauthorized",
                "rate_limited",
                "unavailable",
                "ambiguous",
            ],
        }
    }

    /// Maximum size of an answer, in bytes. What exceeds it does not come from the service that was called.
    fn max_answer(self) -> usize {
        const MIB: usize = 1024 * 1024;
        match self {
            // Results for a hundred records, or two hundred contacts of a query.
            Self::Grant | Self::Upsert | Self::Update | Self::AddTags | Self::Coql | Self::Mutate => MIB,
            // Long pick lists; a person's query of many leads. Leads are read in parts, each with the limit of its caller.
            Self::Fields | Self::Organisation | Self::Query | Self::Doc => MAX_ANSWER,
        }
    }

    fn unanswered(self, error: TransportError) -> &'static str {
        match self.remote() {
            Remote::ZohoAccounts => "unavailable",
            remote => error.into_call_error(remote).label(),
        }
    }
}

/// The result of a call that did what it was for.
pub const OK: &str = "ok";
/// The result of a call whose access token was refused, which is replaced.
pub const TOKEN_REFUSED: &str = "token_refused";
/// The result of a write that met another.
pub const CONFLICT: &str = "conflict";

/// A call: what for, and for how many leads or contacts (0 where it is for none of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What for.
    pub operation: Operation,
    /// For how many.
    pub of: usize,
}

/// Sends calls.
#[derive(Clone)]
pub struct Calls {
    clock: SharedClock,
    metrics: Arc<Metrics>,
    network: Network,
}

impl Calls {
    /// Calls over the network that are timed by `clock` and counted in `metrics`.
    pub fn new(clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        Self::over(Network::default(), clock, metrics)
    }

    /// The same over another network.
    pub fn over(network: Network, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        for operation in Operation::ALL {
            for result in operation.results() {
                metrics
                    .calls
                    .show([operation.remote().label(), operation.label(), result]);
            }
        }
        Self {
            clock,
            metrics,
            network,
        }
    }

    /// Sends a request and reads the whole answer, within `within`. `judge` says of an answer how the call ended, in one of
    /// [`Operation::results`].
    ///
    /// # Errors
    /// As for [`super::send`].
    pub async fn send(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
        within: Duration,
        judge: impl FnOnce(&Answer) -> &'static str,
    ) -> Result<Answer, TransportError> {
        let exchange = async {
            let max_answer = call.operation.max_answer();
            let raw = self.network.exchange(request, within, max_answer).await?;
            Ok(Answer::from(raw))
        };
        self.observe(call, exchange, |answer| (answer.status, judge(answer)))
            .await
    }

    /// Like [`Calls::send`], with what is left until `deadline`. Nothing is sent when nothing is left.
    ///
    /// # Errors
    /// [`CallError::Service`] (`Down`) where nothing was sent, [`CallError::Ambiguous`] where the reply was lost or late.
    pub async fn send_by(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
        deadline: &Deadline,
        judge: impl FnOnce(&Answer) -> &'static str,
    ) -> Result<Answer, CallError> {
        let left = deadline.left();
        let sent = if left.is_zero() {
            Err(TransportError::NotSent)
        } else {
            self.send(call, request, left, judge).await
        };
        sent.map_err(|error| error.into_call_error(call.operation.remote()))
    }

    /// Like [`Calls::send_by`], for an answer of at most `max_answer` bytes that the caller parses by itself.
    ///
    /// # Errors
    /// As for [`super::send`].
    pub async fn send_raw(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
        deadline: &Deadline,
        max_answer: usize,
        judge: impl FnOnce(&RawAnswer) -> &'static str,
    ) -> Result<RawAnswer, TransportError> {
        let left = deadline.left();
        if left.is_zero() {
            return Err(TransportError::NotSent);
        }
        let exchange = self.network.exchange(request, left, max_answer);
        self.observe(call, exchange, |answer| (answer.status, judge(answer)))
            .await
    }

    /// Counts and times a call, in a span of its own. `judge` gives the status of an answer and how the call ended.
    async fn observe<A>(
        &self,
        call: Call,
        exchange: impl Future<Output = Result<A, TransportError>>,
        judge: impl FnOnce(&A) -> (StatusCode, &'static str),
    ) -> Result<A, TransportError> {
        let Call { operation, of } = call;
        let (remote, name) = (operation.remote().label(), operation.label());
        let span = tracing::info_span!(
            "call",
            otel.name = format!("{remote} {name}"),
            otel.kind = "client",
            remote,
            operation = name,
            of,
            result = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        let began = self.clock.now();
        let answer = exchange.instrument(span.clone()).await;
        let took = until(began, self.clock.now());
        let result = match &answer {
            Ok(answer) => {
                let (status, result) = judge(answer);
                span.record("http.response.status_code", status.as_u16());
                result
            }
            Err(error) => operation.unanswered(*error),
        };
        span.record("result", result);
        if result != OK {
            span.record("otel.status_code", "error");
        }
        self.metrics.calls.add([remote, name, result]);
        self.metrics.call_seconds.time([remote, name], took);
        answer
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;
    use crate::http_client::client;
    use crate::metrics::Text;
    use crate::testing::stub_server::{Reply, StubServer};

    const CALL: Call = Call {
        operation: Operation::Doc,
        of: 1,
    };

    #[tokio::test]
    async fn a_call_is_counted_with_its_end_and_timed_by_the_clock() {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let passes = Arc::clone(&clock);
        let server = StubServer::start(move |_| {
            passes.advance(Duration::from_millis(300));
            Reply::Text(200, "{}")
        })
        .await;
        let metrics = Arc::new(Metrics::default());
        let calls = Calls::new(clock, Arc::clone(&metrics));
        let http = client("a test", &[&server.url]).unwrap();
        let within = Duration::from_secs(60);
        assert!(
            calls
                .send(CALL, http.get(server.url.clone()), within, |_| "rejected")
                .await
                .is_ok()
        );
        let refused = http.get("http://127.0.0.1:1/");
        assert!(calls.send(CALL, refused, within, |_| OK).await.is_err());

        let mut text = Text::default();
        metrics.write(&mut text);
        let text = text.into_string();
        for line in [
            "remote_calls_total{remote=\"sanity\",operation=\"doc\",result=\"ok\"} 0",
            "remote_calls_total{remote=\"sanity\",operation=\"doc\",result=\"rejected\"} 1",
            "remote_calls_total{remote=\"sanity\",operation=\"doc\",result=\"unavailable\"} 1",
            "duration_seconds_bucket{remote=\"sanity\",operation=\"doc\",le=\"0.25\"} 1",
            "duration_seconds_bucket{remote=\"sanity\",operation=\"doc\",le=\"0.5\"} 2",
            "duration_seconds_sum{remote=\"sanity\",operation=\"doc\"} 0.3",
        ] {
            assert!(
                text.contains(&format!("bigin_sync_{line}\n")) || text.contains(&format!("{line}\n")),
                "{line}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_nor_counted_once_the_deadline_is_over() {
        let server = StubServer::start(|_| Reply::Text(200, "{}")).await;
        let client = client("a test", &[&server.url]).unwrap();
        let manual = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let clock: SharedClock = manual.clone();
        let deadline = Deadline::new(&clock, Duration::from_secs(5));
        manual.advance(Duration::from_secs(5));
        let metrics = Arc::new(Metrics::default());
        let calls = Calls::new(clock, Arc::clone(&metrics));
        let error = calls
            .send_by(CALL, client.get(server.url.clone()), &deadline, |_| OK)
            .await;
        assert_eq!(
            error.err().map(|error| error.code().to_owned()),
            Some("not sent".to_owned())
        );
        assert!(server.requests("").is_empty());
        let mut text = Text::default();
        metrics.write(&mut text);
        assert!(!text.into_string().contains("duration_seconds_count{remote="));
    }
}
