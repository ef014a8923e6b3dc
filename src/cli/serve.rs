//! `bigin-sync serve`.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;

use super::Sources;
use super::interrupt::stop_signal;
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::{ConfigError, ConfigErrors, Settings, environment, log_settings};
use crate::telemetry;

pub(super) const EXAMPLES: &str = "\
Examples:
  bigin-sync serve                            settings from bigin-sync.toml, .env and the environment
  bigin-sync serve --config /etc/bigin-sync.toml --env-file /etc/bigin-sync.env

config/default.toml in the repository describes every setting.";

pub(super) async fn serve(sources: &Sources) -> anyhow::Result<()> {
    let layers = sources.layers(environment());
    let (json, filter) = log_settings(&layers);
    let log_error = telemetry::start(json, &filter).err();
    let (settings, mut errors) = Settings::read(&layers);
    errors.extend(log_error.map(|error| {
        let problem = format!("is {filter:?}, and must be a filter such as info or bigin_sync=debug: {error}");
        ConfigError::invalid("RUST_LOG", problem)
    }));
    ConfigErrors::check(errors)?;

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
