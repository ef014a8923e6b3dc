//! Logs: to standard error, as text for people or JSON for machines. A sync's number and its lead's id are fields of every
//! line about it, so that one lead can be followed through all workers. Never logged: names, email addresses, phone
//! numbers, conversations, tokens, secrets, and bodies of requests and answers.
//!
//! Spans are for traces alone, which the feature `otlp` sends: a line of the log says by itself whom it is about.

use std::io::IsTerminal;

use tracing_subscriber::filter::{FilterExt as _, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

#[cfg(feature = "otlp")]
mod otlp;

/// What the web server says of its own threads, and of requests that are no HTTP, each an error to it: anybody who finds
/// the port can make as many as they like. Both are only for those who ask for them by name.
const QUIET: &str = "actix_http=off,actix_server=warn,opentelemetry=warn";

/// Starts logging. `json`: `None` is text on a terminal and JSON elsewhere.
///
/// # Errors
/// The filter is not one.
pub fn start(json: Option<bool>, filter: &str) -> Result<(), ParseError> {
    // The later of two directives for one target wins, so that RUST_LOG has the last word.
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))?;
    let json = json.unwrap_or_else(|| !std::io::stderr().is_terminal());
    let logs = fmt::layer()
        // It would be told on standard error with a macro that panics where that cannot be written to: a full disk, or a
        // collector of logs that has gone. A line that is lost must not take the service with it.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let logs = if json {
        logs.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        logs.with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed()
    };
    let no_spans = filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    let subscriber = tracing_subscriber::registry().with(logs.with_filter(filter.and(no_spans)));
    // A second start, in a test, keeps the first.
    #[cfg(not(feature = "otlp"))]
    let _ = subscriber.try_init();
    #[cfg(feature = "otlp")]
    {
        let (traces, fault) = match otlp::layer() {
            Ok(traces) => (traces, None),
            Err(fault) => (None, Some(fault)),
        };
        let _ = subscriber.with(traces).try_init();
        if let Some(fault) = fault {
            tracing::warn!("{fault}");
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        // The message of a panic may quote what it was working on, and that may be a lead.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect: the program panicked at {place}");
    }));
    Ok(())
}

/// The program ends: sends the traces that have not been sent, for at most a second.
pub fn stop() {
    #[cfg(feature = "otlp")]
    otlp::stop();
}
