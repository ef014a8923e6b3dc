//! Sends the program's own spans by OTLP (HTTP, protobuf) to where the standard `OTEL_*` variables say. Only spans of this
//! program, which are made to say nothing of a lead: those of the crates below may have addresses with ids in them. No
//! events: those are the log's.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::blocking::Client;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// The name under which the spans of this program are.
const SERVICE: &str = "bigin-sync";

/// What is not sent by then is lost: the host kills a process that takes 10 s to end, and work takes 8 s of them.
const LAST_SENDING: Duration = Duration::from_secs(1);

/// The standard's default.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that collects spans, where the environment names a receiver.
///
/// # Errors
/// A sentence where what the variables say cannot be used.
pub(super) fn layer<S>() -> Result<Option<impl Layer<S>>, String>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if !is_wanted() {
        return Ok(None);
    }
    let client = client().ok_or("traces are not sent: the HTTP client cannot be made")?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .build()
        .map_err(|error| format!("traces are not sent: {error}"))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build();
    let tracer = provider.tracer(SERVICE);
    // A second start, in a test, keeps the first.
    let _ = PROVIDER.set(provider);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("bigin_sync"));
    Ok(Some(layer.with_filter(ours)))
}

/// A client that waits in the exporter's own thread. The bundled roots go beside the machine's: one that has none would
/// refuse to make a client even for an address without TLS.
fn client() -> Option<Client> {
    // A second call finds the provider installed, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| reqwest::Certificate::from_der(der).ok());
    let builder = Client::builder().tls_certs_merge(roots).timeout(EXPORT_TIMEOUT);
    // It makes a runtime of its own, which it may not do on a thread of another's.
    std::thread::spawn(|| builder.build().ok()).join().ok().flatten()
}

/// Sends what has not been sent.
pub(super) fn stop() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(LAST_SENDING)
    {
        tracing::warn!("the last traces were not sent: {error}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "these variables belong to OpenTelemetry's SDK, which reads the others by itself; they are no settings of ours"
)]
fn is_wanted() -> bool {
    let says = |name: &str| std::env::var(name).unwrap_or_default();
    let is_off = says("OTEL_SDK_DISABLED").eq_ignore_ascii_case("true") || says("OTEL_TRACES_EXPORTER") == "none";
    let somewhere = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        .iter()
        .any(|name| !says(name).is_empty());
    somewhere && !is_off
}

/// What the environment says of this process, and our name where it gives none.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let named = said
        .get(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    match named {
        true => said,
        false => Resource::builder().with_service_name(SERVICE).build(),
    }
}
