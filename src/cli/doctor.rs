//! `bigin-sync doctor`: a list of small checks of an installation. Each says what it has found, why that matters and what to
//! do; none changes anything unless it was told to.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use reqwest::Client;
use secrecy::SecretString;
use serde::Serialize;

pub(super) use self::finding::{Finding, Outcome};

use self::finding::Group;
use self::token_cache::Borrowed;
pub(super) use self::token_cache::Remembered;
use super::{Said, Sources, Usage, print};
use crate::app::{bigin_client, sanity_client};
use crate::bigin::Bigin;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Layers, SanitySettings, Settings, environment};
use crate::domain::lead::LeadId;
use crate::domain::mapping::Mapping;
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

/// A person waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the token of Sanity's management API may be. It is no setting: the service must not have it.
pub(super) const MANAGEMENT_TOKEN: &str = "SANITY_MANAGEMENT_TOKEN";

const EXAMPLES: &str = "\
Examples:
  bigin-sync doctor                            looks at everything, and changes nothing
  bigin-sync doctor --fix                      and makes the tags that Bigin lacks
  bigin-sync doctor --lead lead-1              and says what would be sent for a lead, without sending it
  bigin-sync doctor --guided-test              makes a contact with an invented name and tags it, for you to see what follows
  bigin-sync doctor --json                     for machines: {\"well\", \"findings\": [{\"group\", \"check\", \"outcome\", \"what\", \"why\", \"todo\"}], \"lead\"}

Settings are read as `serve` reads them. Beside a running service it only reads the database. It costs about six of Bigin's
API credits, and an access token where the service has none to lend.

To look at the webhook it needs a token of the role Developer or Administrator (sanity.io/manage, API, Tokens), in
SANITY_MANAGEMENT_TOKEN or in the file that --management-token-file names. It is used for this and never stored.

Exit 0: all is well, or there are warnings only. 1: something failed. 2: wrong usage, or the settings have faults.";

/// What to look at, and how.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Options {
    /// Print one JSON document, for machines
    #[arg(long, conflicts_with = "guided_test")]
    json: bool,
    /// Make the tags that Bigin lacks
    #[arg(long)]
    fix: bool,
    /// Say what would be sent for this lead, with the values masked
    #[arg(long, value_name = "LEAD_ID")]
    lead: Option<String>,
    /// Show the lead's values: they are personal data, and stay in the terminal's memory
    #[arg(long, requires = "lead")]
    show_values: bool,
    /// Send an invented contact and tag it, for you to see whether Bigin's automation starts
    #[arg(long)]
    guided_test: bool,
    /// Do not ask before the guided test
    #[arg(long, requires = "guided_test")]
    yes: bool,
    /// A file with a token for Sanity's management API [default: SANITY_MANAGEMENT_TOKEN, where it is set]
    #[arg(long, value_name = "FILE")]
    management_token_file: Option<PathBuf>,
    #[command(flatten)]
    sources: Sources,
}

/// What is looked at.
pub(super) struct Patient {
    /// As far as they can be read.
    settings: Settings,
    /// What is wrong with them.
    faults: Vec<String>,
    /// `None` where the settings say nothing that makes one.
    mapping: Option<Mapping>,
    bigin: Bigin,
    sanity: Sanity,
    http: Client,
    clock: SharedClock,
    vault: Arc<Borrowed>,
    management_token: Option<SecretString>,
}

/// What else than looking is wanted.
#[derive(Default)]
pub(super) struct Wishes {
    /// Make the tags that Bigin lacks.
    pub(super) fix: bool,
    /// Somebody is there who can be asked.
    pub(super) may_ask: bool,
    /// Say what would be sent for this lead.
    pub(super) lead: Option<LeadId>,
    /// With its values.
    pub(super) show_values: bool,
    /// How the webhook fared until now says nothing any more.
    pub(super) webhook_is_mended: bool,
}

/// What was found.
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) lead: Option<LeadShown>,
}

/// What would be sent for a lead.
pub(super) struct LeadShown {
    id: LeadId,
    fields: BTreeMap<String, FieldShown>,
}

/// One field of it.
#[derive(Serialize)]
struct FieldShown {
    /// `text`, `number`, `truth value`.
    kind: &'static str,
    /// In characters as Bigin counts them.
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl Report {
    /// Whether nothing failed.
    pub(super) fn is_well(&self) -> bool {
        !self.findings.iter().any(|finding| finding.outcome == Outcome::Failed)
    }
}

impl Patient {
    /// Reads the settings and makes the clients. Nothing is sent yet.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub(super) fn new(
        layers: &Layers,
        management_token: Option<SecretString>,
        remembered: Remembered,
    ) -> anyhow::Result<Self> {
        let (settings, faults) = Settings::read(layers, |templates, zone, region| {
            let faults = Mapping::new(templates, zone.clone(), region).err().unwrap_or_default();
            faults
                .into_iter()
                .map(|fault| format!("the mapping of {fault}"))
                .collect()
        });
        let clock: SharedClock = Arc::new(SystemClock::new());
        let calls = Calls::new(SharedClock::clone(&clock), Arc::default());
        let (database, own_clock) = (settings.database.clone(), SharedClock::clone(&clock));
        let vault = Arc::new(Borrowed::new(database, own_clock, remembered));
        let urls = [Some(&settings.sanity.api_url), settings.public_url.as_ref()];
        let urls: Vec<_> = urls.into_iter().flatten().collect();
        Ok(Self {
            bigin: bigin_client(&settings, &Network::default(), &calls, &clock, Arc::clone(&vault) as _)?,
            sanity: sanity_client(&settings, &Network::default(), calls, &clock)?,
            mapping: Mapping::new(&settings.mapping, settings.time_zone.clone(), &settings.phone_region).ok(),
            http: http_client::client(super::api::USER_AGENT, &urls).context("no HTTP client can be made")?,
            clock,
            vault,
            settings,
            faults,
            management_token,
        })
    }

    /// The fault of a setting, where it has one.
    pub(super) fn fault_of(&self, setting: &str) -> Option<String> {
        self.faults.iter().find(|fault| names(fault, setting)).cloned()
    }

    /// Whether Sanity lets leads be read and written.
    pub(super) async fn sanity(&self) -> Vec<Finding> {
        let faults = sanity::NEEDED.iter().filter_map(|setting| self.fault_of(setting));
        match settings(&faults.collect::<Vec<_>>()).as_slice() {
            [ok] if ok.outcome == Outcome::Ok => sanity::look(self).await.0,
            faults => faults.to_vec(),
        }
    }

    /// Whether Bigin takes our calls, with all that is needed.
    pub(super) async fn access(&self) -> Vec<Finding> {
        bigin::look(self).await.0
    }

    pub(super) fn sanity_settings(&self) -> &SanitySettings {
        &self.settings.sanity
    }

    pub(super) fn sanity_client(&self) -> &Sanity {
        &self.sanity
    }

    pub(super) fn tags(&self) -> &[String] {
        &self.settings.bigin.tags
    }

    /// Where people find the pages.
    pub(super) fn address(&self) -> String {
        let own = || format!("http://{}", self.settings.listen);
        let public = self.settings.public_url.as_ref();
        public.map_or_else(own, |url| http_client::base_text(url).to_owned())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Where one of these settings has a fault: what is said instead of looking.
    fn blocked(&self, group: Group, check: &'static str, settings: &[&str]) -> Option<Finding> {
        let wrong = settings
            .iter()
            .find(|name| self.faults.iter().any(|fault| names(fault, name)))?;
        let what = format!("not looked at, since {wrong} has a fault");
        Some(Finding::skipped(group, check, what, "mend the settings first"))
    }
}

/// Whether a sentence speaks of a setting, or of the file that it may be in.
fn names(sentence: &str, setting: &str) -> bool {
    let mut words = sentence.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| word == setting || word.strip_suffix("_FILE") == Some(setting))
}

/// Looks at everything.
pub(super) async fn examine(patient: &Patient, wishes: &Wishes) -> Report {
    let mut findings = settings(&patient.faults);
    findings.extend(clock::look(patient).await);
    findings.extend(database::look(patient).await);
    let (of_bigin, fields) = bigin::look(patient).await;
    findings.extend(of_bigin);
    if let Some(fields) = &fields {
        findings.extend(fields::look(patient, fields));
    }
    if bigin::answers(&findings) {
        findings.extend(tags::look(patient, wishes).await);
    }
    let (of_sanity, samples) = sanity::look(patient).await;
    findings.extend(of_sanity);
    findings.extend(webhook::look(patient, wishes).await);
    let (of_leads, lead) = leads::look(patient, wishes, samples, fields.as_ref()).await;
    findings.extend(of_leads);
    findings.push(guided_test::offer());
    Report { findings, lead }
}

/// Each fault is a finding of its own.
fn settings(faults: &[String]) -> Vec<Finding> {
    if faults.is_empty() {
        return vec![Finding::ok(
            Group::Settings,
            "settings",
            "complete, and without a fault",
        )];
    }
    let todo = |fault: &str| match fault {
        "BIGIN_REFRESH_TOKEN is missing" => "`bigin-sync auth` gets one from a code of Zoho's API console",
        "BIGIN_CLIENT_ID is missing" | "BIGIN_CLIENT_SECRET is missing" => {
            "make a Self Client in api-console.zoho.com, and copy its id and secret"
        }
        "SANITY_API_WRITE_TOKEN is missing" => "make a token with the role Editor: sanity.io/manage, API, Tokens",
        "SANITY_WEBHOOK_SECRET is missing" => {
            "make one with `openssl rand -hex 24`, and type it into the webhook's form as well"
        }
        _ => "set it right; config/default.toml has every setting with a sentence",
    };
    let finding = |fault: &String| {
        let why = "`serve` does not start with it";
        Finding::failed(Group::Settings, "settings", fault, why, todo(fault))
    };
    faults.iter().map(finding).collect()
}

/// The report as a person reads it.
pub(super) fn table(report: &Report) -> String {
    render::table(report, false)
}

/// Findings as a person reads them, without their headings.
pub(super) fn rows(findings: &[Finding]) -> String {
    let rows = findings.iter().flat_map(|finding| render::rows(finding, false));
    rows.map(|row| row + "\n").collect()
}

/// Looks at an installation and says how it is.
///
/// # Errors
/// Something failed, or the settings have faults.
pub(super) async fn doctor(options: &Options) -> anyhow::Result<()> {
    let mut environment = environment();
    let own = environment.remove(MANAGEMENT_TOKEN).filter(|token| !token.is_empty());
    let management_token = management_token(options, own)?;
    let on_terminal = std::io::stdout().is_terminal();
    let colours = on_terminal && !environment.contains_key("NO_COLOR");
    let sources = &options.sources;
    let layers = Layers::read(sources.config.as_deref(), sources.env_file.as_deref(), environment);
    let patient = Patient::new(&layers, management_token, Remembered::default())?;
    let lead = options.lead.as_deref().map(LeadId::parse).transpose();
    let wishes = Wishes {
        fix: options.fix,
        may_ask: on_terminal && std::io::stdin().is_terminal() && !options.json,
        lead: lead.map_err(|error| Usage(format!("--lead is {error}")))?,
        show_values: options.show_values,
        webhook_is_mended: false,
    };
    if wishes.show_values {
        note("the values of the lead are shown: they are personal data, keep them to yourself");
    }
    if options.guided_test {
        return guided_test::test(&patient, options.yes, wishes.may_ask).await;
    }
    let report = examine(&patient, &wishes).await;
    let text = match options.json {
        true => format!("{:#}\n", render::document(&report)),
        false => render::table(&report, colours),
    };
    print(&text).context("the result cannot be written")?;
    match (patient.faults.len(), report.is_well()) {
        (0, true) => Ok(()),
        (0, false) => Err(Said.into()),
        (1, _) => Err(Usage("the settings have a fault, which is shown above".to_owned()).into()),
        (faults, _) => Err(Usage(format!("the settings have {faults} faults, which are shown above")).into()),
    }
}

fn management_token(options: &Options, of_environment: Option<String>) -> anyhow::Result<Option<SecretString>> {
    let token = match &options.management_token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text =
                text.map_err(|error| Usage(format!("--management-token-file is {}: {error}", path.display())))?;
            Some(text.trim().to_owned())
        }
        None => of_environment,
    };
    if token
        .as_ref()
        .is_some_and(|token| token.is_empty() || !token.bytes().all(|c| c.is_ascii_graphic()))
    {
        let message = "the management token is empty, or has a space, a line break or a character beyond ASCII in it";
        return Err(Usage(message.to_owned()).into());
    }
    Ok(token.map(SecretString::from))
}

fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "bigin-sync: {text}");
}

/// Asks a person who is there; only "y" and "yes" are yes.
async fn confirmed(question: &str) -> bool {
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await.ok().and_then(Result::ok).unwrap_or_default();
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
