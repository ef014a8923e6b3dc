//! `bigin-sync doctor`: a list of small checks of an installation. Each finding has a fact, why it matters and how to fix
//! it. No check changes anything unless the operator requested that.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

pub(super) use self::finding::{Finding, Outcome};
pub(super) use self::render::{rows, table};
pub(super) use self::token_cache::SharedToken;

use self::finding::{Check, Group};
use self::token_cache::TokenCache;
use super::prompt::{self, secret_from_file};
use super::{AlreadyReported, Sources, Usage, print_result};
use crate::app::{bigin_client, sanity_client};
use crate::bigin::Bigin;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{ConfigError, Layers, Settings, environment};
use crate::domain::lead::LeadId;
use crate::http_client::{self, Calls, Network};
use crate::sanity::Sanity;

mod bigin;
mod clock;
mod database;
mod fields;
mod finding;
mod guided_test;
mod leads;
mod render;
mod sanity;
mod tags;
mod token_cache;
mod webhook;
mod webhook_rule;

/// Of a call: the operator waits for it.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The variable with the token for Sanity's management API. It is not a setting: the service must not have it.
pub(super) const MANAGEMENT_TOKEN: &str = "SANITY_MANAGEMENT_TOKEN";

const EXAMPLES: &str = "\
Examples:
  bigin-sync doctor                            run all checks; changes nothing
  bigin-sync doctor --fix                      also create missing tags in Bigin
  bigin-sync doctor --lead lead-1              also show what would be sent for a lead, without sending it
  bigin-sync doctor --guided-test              create a test contact and tag it, to see whether your automation starts
  bigin-sync doctor --json                     one document: {\"ok\", \"findings\": [{\"group\", \"check\", \"outcome\", \"what\", \"why\", \"action\"}], \"lead\"}

Settings are read as `serve` reads them. While a service is running, doctor only reads its database. It uses about six of
Bigin's API credits, and one access token if the service has none that it can use.

The checks of the webhook need a Sanity token of the role Developer or Administrator (sanity.io/manage, API, Tokens), in
SANITY_MANAGEMENT_TOKEN or in the file that --management-token-file names. It is never stored.

Exit 0: no check failed; there may be warnings. 1: a check failed. 2: wrong usage, or invalid settings.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Options {
    /// Print one JSON document
    #[arg(long, conflicts_with = "guided_test")]
    json: bool,
    /// Create missing tags in Bigin
    #[arg(long)]
    fix: bool,
    /// Show fields, types and lengths of what would be sent for this lead, without values
    #[arg(long, value_name = "LEAD_ID")]
    lead: Option<String>,
    /// Show the lead's values: they are personal data, and stay in the terminal's history
    #[arg(long, requires = "lead")]
    show_values: bool,
    /// Create a test contact and tag it, to see whether Bigin's automation starts
    #[arg(long)]
    guided_test: bool,
    /// Run the guided test without confirmation
    #[arg(long, requires = "guided_test")]
    yes: bool,
    /// A file with a token for Sanity's management API [default: SANITY_MANAGEMENT_TOKEN, if it is set]
    #[arg(long, value_name = "FILE")]
    management_token_file: Option<PathBuf>,
    #[command(flatten)]
    sources: Sources,
}

/// The installation to check.
pub(super) struct Installation {
    /// Empty or default where they have errors.
    settings: Settings,
    errors: Vec<ConfigError>,
    bigin: Bigin,
    sanity: Sanity,
    http: Client,
    clock: SharedClock,
    token_cache: Arc<TokenCache>,
    management_token: Option<SecretString>,
}

/// What the checks may do beyond reading, and what else they show.
#[derive(Default)]
pub(super) struct Actions {
    pub(super) create_tags: bool,
    pub(super) interactive: bool,
    /// Show what would be sent for this lead.
    pub(super) lead: Option<LeadId>,
    pub(super) show_values: bool,
    /// The webhook was just changed: earlier deliveries do not count.
    pub(super) webhook_changed: bool,
}

pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) lead: Option<ShownLead>,
}

/// What would be sent for a lead.
pub(super) struct ShownLead {
    id: LeadId,
    fields: BTreeMap<String, ShownField>,
}

#[derive(Serialize)]
struct ShownField {
    /// `text`, `number` or `boolean`.
    kind: &'static str,
    /// In characters as Bigin counts them.
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl Report {
    /// Whether no check failed.
    pub(super) fn is_ok(&self) -> bool {
        !self.findings.iter().any(|finding| finding.outcome == Outcome::Failed)
    }
}

impl Installation {
    /// Reads the settings and creates the clients, without a call.
    ///
    /// # Errors
    /// An HTTP client cannot be created.
    pub(super) fn new(
        layers: &Layers,
        management_token: Option<SecretString>,
        shared_token: SharedToken,
    ) -> anyhow::Result<Self> {
        let (settings, errors) = Settings::read(layers);
        let clock: SharedClock = Arc::new(SystemClock::new());
        let calls = Calls::new(SharedClock::clone(&clock), Arc::default());
        let (database, own_clock) = (settings.database.clone(), SharedClock::clone(&clock));
        let token_cache = Arc::new(TokenCache::new(database, own_clock, shared_token));
        let urls = [Some(&settings.sanity.api_url), settings.public_url.as_ref()];
        let urls: Vec<_> = urls.into_iter().flatten().collect();
        let network = Network::default();
        Ok(Self {
            bigin: bigin_client(&settings, &network, &calls, &clock, Arc::clone(&token_cache) as _)?,
            sanity: sanity_client(&settings, &network, calls, &clock)?,
            http: http_client::client(super::api::USER_AGENT, &urls).context("cannot create an HTTP client")?,
            clock,
            token_cache,
            settings,
            errors,
            management_token,
        })
    }

    pub(super) fn error_of(&self, setting: &str) -> Option<ConfigError> {
        self.errors.iter().find(|error| error.is_about(setting)).cloned()
    }

    /// Whether leads in Sanity can be read and written.
    pub(super) async fn check_sanity(&self) -> Vec<Finding> {
        let errors = sanity::NEEDED.iter().filter_map(|setting| self.error_of(setting));
        let errors: Vec<ConfigError> = errors.collect();
        match errors.is_empty() {
            true => sanity::check(self).await.0,
            false => settings(&errors),
        }
    }

    /// Whether Bigin accepts all calls that are needed.
    pub(super) async fn check_bigin(&self) -> Vec<Finding> {
        bigin::check(self).await.0
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn sanity_client(&self) -> &Sanity {
        &self.sanity
    }

    pub(super) fn tags(&self) -> &[String] {
        &self.settings.bigin.tags
    }

    /// The URL of the dashboard.
    pub(super) fn address(&self) -> String {
        let own = || format!("http://{}", self.settings.listen);
        let public = self.settings.public_url.as_ref();
        public.map_or_else(own, |url| http_client::base_text(url).to_owned())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// The finding in place of a check that needs these settings, where one of them has an error.
    fn skipped(&self, check: Check, settings: &[&str]) -> Option<Finding> {
        let setting = settings.iter().find(|setting| self.error_of(setting).is_some())?;
        let what = format!("{setting} is missing or invalid");
        Some(check.skipped(what, "fix the settings first"))
    }
}

pub(super) async fn run_checks(installation: &Installation, actions: &Actions) -> Report {
    let mut findings = settings(&installation.errors);
    findings.extend(clock::check(installation).await);
    findings.extend(database::check(installation).await);
    let (of_bigin, fields) = bigin::check(installation).await;
    findings.extend(of_bigin);
    if let Some(fields) = &fields {
        findings.extend(fields::check(installation, fields));
    }
    if bigin::has_access(&findings) {
        findings.extend(tags::check(installation, actions).await);
    }
    let (of_sanity, samples) = sanity::check(installation).await;
    findings.extend(of_sanity);
    findings.extend(webhook::check(installation, actions).await);
    let (of_leads, lead) = leads::check(installation, actions, samples, fields.as_ref()).await;
    findings.extend(of_leads);
    findings.push(guided_test::offer());
    Report { findings, lead }
}

fn settings(errors: &[ConfigError]) -> Vec<Finding> {
    let check = Check(Group::Settings, "settings");
    if errors.is_empty() {
        return vec![check.ok("complete and valid")];
    }
    let missing = |error: &ConfigError| match error {
        ConfigError::Missing(setting) => setting.clone(),
        _ => String::new(),
    };
    let todo = |error: &ConfigError| match missing(error).as_str() {
        "BIGIN_REFRESH_TOKEN" => "`bigin-sync auth` gets one with a Zoho API console code",
        "BIGIN_CLIENT_ID" | "BIGIN_CLIENT_SECRET" => {
            "create a Self Client at api-console.zoho.com, and copy its ID and secret"
        }
        "SANITY_API_WRITE_TOKEN" => "create a token of the role Editor: sanity.io/manage, API, Tokens",
        "SANITY_WEBHOOK_SECRET" => "create one with `openssl rand -hex 24`, and enter it in the webhook's form too",
        _ => "correct it; config/default.toml describes every setting",
    };
    let why = "`serve` does not start with invalid settings";
    let finding = |error: &ConfigError| check.failed(error.to_string(), why, todo(error));
    errors.iter().map(finding).collect()
}

/// # Errors
/// A check failed, or the settings are invalid.
pub(super) async fn doctor(options: &Options) -> anyhow::Result<()> {
    let mut environment = environment();
    let own = environment.remove(MANAGEMENT_TOKEN).filter(|token| !token.is_empty());
    let management_token = management_token(options, own)?;
    let on_terminal = std::io::stdout().is_terminal();
    let colours = on_terminal && !environment.contains_key("NO_COLOR");
    let layers = options.sources.layers(environment);
    let installation = Installation::new(&layers, management_token, SharedToken::default())?;
    let lead = options.lead.as_deref().map(LeadId::parse).transpose();
    let actions = Actions {
        create_tags: options.fix,
        interactive: on_terminal && prompt::is_interactive() && !options.json,
        lead: lead.map_err(|error| Usage(format!("--lead is {error}")))?,
        show_values: options.show_values,
        webhook_changed: false,
    };
    if actions.show_values {
        let warning = "bigin-sync: warning: the lead's values are shown; they are personal data";
        let _ = writeln!(std::io::stderr(), "{warning}");
    }
    if options.guided_test {
        return guided_test::run(&installation, options.yes, actions.interactive).await;
    }
    let report = run_checks(&installation, &actions).await;
    print_result(options.json, &render::document(&report), &table(&report, colours))?;
    match (installation.errors.as_slice(), report.is_ok()) {
        ([], true) => Ok(()),
        ([], false) => Err(AlreadyReported.into()),
        _ => Err(Usage("the settings are invalid, see above".to_owned()).into()),
    }
}

fn management_token(options: &Options, own: Option<String>) -> anyhow::Result<Option<SecretString>> {
    let token = match &options.management_token_file {
        Some(path) => Some(secret_from_file("--management-token-file", path)?),
        None => own.map(SecretString::from),
    };
    let is_valid = |token: &SecretString| token.expose_secret().bytes().all(|c| c.is_ascii_graphic());
    if token.as_ref().is_some_and(|token| !is_valid(token)) {
        let message = "the management token contains a space, a line break or a character beyond ASCII";
        return Err(Usage(message.to_owned()).into());
    }
    Ok(token)
}
