//! `bigin-sync serve`.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{Sources, Usage};
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::{Layers, Settings, environment, log_settings};
use crate::domain::mapping::Mapping;
use crate::telemetry;

pub(super) const EXAMPLES: &str = "\
Examples:
  bigin-sync serve                            settings from bigin-sync.toml, .env and the environment
  bigin-sync serve --config /etc/bigin-sync.toml --env-file /etc/bigin-sync.env

config/default.toml in the repository has every setting with a sentence each.";

pub(super) async fn serve(sources: &Sources) -> anyhow::Result<()> {
    let layers = Layers::read(sources.config.as_deref(), sources.env_file.as_deref(), environment());
    let (json, filter) = log_settings(&layers);
    let log_fault = telemetry::start(json, &filter).err();
    let settings = Settings::load(&layers, |templates, zone, region| {
        let faults = Mapping::new(templates, zone.clone(), region).err().unwrap_or_default();
        let faults = faults.into_iter().map(|fault| format!("the mapping of {fault}"));
        log_fault.into_iter().chain(faults).collect()
    })
    .map_err(|faults| Usage(faults.to_string()))?;

    // Before the listener: a host that sees the port open sends webhooks, which can be stored from then on.
    let app = App::build(&settings, Arc::new(SystemClock::new()))?;
    let listener = TcpListener::bind(settings.listen)
        .with_context(|| format!("cannot listen on {}: is another program there?", settings.listen))?;
    let address = listener.local_addr()?;
    let stop = stop_signal()?;
    tracing::info!(%address, database = %settings.database, "bigin-sync {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    if settings.admin_token.is_none() {
        tracing::info!("ADMIN_TOKEN is not set, so /api is off");
    }
    let ended = app.run(listener, stop).await;
    telemetry::stop();
    ended?;
    tracing::info!("stopped");
    Ok(())
}

/// Resolves at SIGTERM (from a host) or SIGINT (Ctrl-C).
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
