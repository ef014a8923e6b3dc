//! `bigin-sync serve`.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;

use super::interrupt::stop_signal;
use super::{Sources, Usage, mapping_faults};
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::{Settings, environment, log_settings};
use crate::telemetry;

pub(super) const EXAMPLES: &str = "\
Examples:
  bigin-sync serve                            settings from bigin-sync.toml, .env and the environment
  bigin-sync serve --config /etc/bigin-sync.toml --env-file /etc/bigin-sync.env

config/default.toml in the repository describes every setting.";

pub(super) async fn serve(sources: &Sources) -> anyhow::Result<()> {
    let layers = sources.layers(environment());
    let (json, filter) = log_settings(&layers);
    let log_fault = telemetry::start(json, &filter).err();
    let settings = Settings::load(&layers, |templates, zone, region| {
        let faults = mapping_faults(templates, zone, region);
        log_fault.into_iter().chain(faults).collect()
    })
    .map_err(|faults| Usage(faults.to_string()))?;

    // Before the listener: a host that sees the port open sends webhooks, which can be stored from then on.
    let app = App::build(&settings, Arc::new(SystemClock::new()))?;
    let listener = TcpListener::bind(settings.listen)
        .with_context(|| format!("cannot listen on {}: is another program using it?", settings.listen))?;
    let address = listener.local_addr()?;
    let stop = stop_signal()?;
    tracing::info!(%address, database = %settings.database, "bigin-sync {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    if settings.admin_token.is_none() {
        tracing::info!("the API and the dashboard are off: ADMIN_TOKEN is not set");
    }
    let ended = app.run(listener, stop).await;
    telemetry::stop();
    ended?;
    tracing::info!("stopped");
    Ok(())
}
