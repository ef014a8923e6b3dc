//! `bigin-sync auth`: exchanges a self client's code for the service's refresh token, tests that token, and revokes it.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

use super::prompt::{self, secret_from_file};
use super::{Sources, Usage, env_file, interrupt, print};
use crate::bigin::oauth::{self, Credential, Granted, SCOPES, SelfClient};
use crate::bigin::organisation;
use crate::config::{BiginAccess, DATA_CENTERS, environment};
use crate::domain::failure::{CallError, ServiceError, ServiceErrorKind};
use crate::http_client;

mod code;

/// An operator waits for the answer.
const TIMEOUT: Duration = Duration::from_secs(20);

const EXAMPLES: &str = "\
Examples:
  bigin-sync auth                   prompt for the code, with instructions
  bigin-sync auth 1000.abc.def      exchange this code
  bigin-sync auth status            test the stored refresh token and show its organisation
  bigin-sync auth revoke            revoke the stored refresh token

The client ID and secret come from the options, from the settings (BIGIN_CLIENT_ID, BIGIN_CLIENT_SECRET), or from prompts. The
refresh token is written into the env file, which only its owner can read afterwards. Scripts give the code as an argument or
on standard input.";

#[derive(Default, clap::Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    /// A code from Zoho's API console [default: a prompt]
    #[arg(value_name = "CODE")]
    pub(super) code: Option<String>,
    /// The self client's ID [default: BIGIN_CLIENT_ID]
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// A file with the self client's secret [default: BIGIN_CLIENT_SECRET]
    #[arg(long, value_name = "FILE")]
    pub(super) client_secret_file: Option<PathBuf>,
    /// us, eu, in, au, cn, jp, sa or ca [default: BIGIN_DATA_CENTER, or all are tried]
    #[arg(long, value_name = "NAME")]
    pub(super) data_center: Option<String>,
    /// Print the settings to standard output instead of writing them into the env file
    #[arg(long)]
    pub(super) print: bool,
    #[command(flatten)]
    pub(super) sources: Sources,
}

#[derive(clap::Subcommand)]
pub(super) enum Action {
    /// Test the stored refresh token and show its organisation; uses one of Zoho's 10 access tokens per 10 minutes
    Status(Sources),
    /// Revoke the stored refresh token: the service sends nothing until it has a new one
    Revoke {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        sources: Sources,
    },
}

/// # Errors
/// A sentence for each failure, with how to fix it.
pub(super) async fn auth(options: &Options) -> anyhow::Result<()> {
    interrupt::restore_terminal_on_interrupt();
    match &options.action {
        Some(Action::Status(sources)) => status(sources).await,
        Some(Action::Revoke { yes, sources }) => revoke(sources, *yes).await,
        None => exchange(options).await,
    }
}

fn access(sources: &Sources) -> anyhow::Result<BiginAccess> {
    Ok(BiginAccess::load(&sources.layers(environment()))?)
}

/// Exchanges a code and writes the refresh token into the env file.
///
/// # Errors
/// A sentence for each failure, with how to fix it.
pub(super) async fn exchange(options: &Options) -> anyhow::Result<()> {
    if let Some(code) = &options.code {
        code::check(code)?;
    }
    let known = access(&options.sources)?;
    if !options.print {
        check_env_file(options)?;
    }
    let (id, secret) = client(options, &known)?;
    let code = match &options.code {
        Some(code) => code.trim().to_owned(),
        None => {
            let code = code::ask()?;
            code::check(&code)?;
            code
        }
    };
    let accounts = accounts_servers(&known, options.data_center.as_deref())?;
    let (data_center, granted) = exchange_at_any(&accounts, &id, &secret, &code).await?;
    let Some(refresh_token) = &granted.refresh_token else {
        bail!(
            "Zoho returned no refresh token, so this is not a self client's code. Generate one in the API console: Self Client, tab \
             \"Generate Code\""
        );
    };
    let settings = settings(data_center, &id, &secret, refresh_token, &known);
    if options.print {
        let lines = settings.iter().map(|(name, value)| format!("{name}={value}\n"));
        print(&lines.collect::<String>())?;
    } else {
        let path = env_file::path(&options.sources);
        env_file::set(&path, &settings).context(
            "the refresh token was granted but could not be stored, and is lost: generate a new code and use --print",
        )?;
        print(&format!("The refresh token was written to {}.\n", path.display()))?;
    }
    print_organisation(&known, &granted, options.print).await
}

/// The self client's id and secret.
fn client(options: &Options, known: &BiginAccess) -> anyhow::Result<(String, SecretString)> {
    let id = options.client_id.clone().or(known.client_id.clone());
    let file = options.client_secret_file.as_deref();
    let secret = file.map(|file| secret_from_file("--client-secret-file", file));
    let secret = secret.transpose()?.or(known.client_secret.clone());
    let missing = match (&id, &secret) {
        (None, _) => "--client-id or BIGIN_CLIENT_ID",
        (_, None) => "--client-secret-file or BIGIN_CLIENT_SECRET",
        (Some(_), Some(_)) => "",
    };
    if !missing.is_empty() {
        if !std::io::stdin().is_terminal() {
            bail!(Usage(format!("cannot prompt without a terminal; set {missing}")));
        }
        hint(
            "A self client is needed: https://api-console.zoho.com (in your data center), \"Add client\", \"Self Client\".\n\
             Its tab \"Client Secret\" shows both of these.\n",
        );
    }
    let id = id.map_or_else(|| prompt::text("Client ID", None, false), Ok)?;
    let typed = || prompt::secret("Client secret", false).map(SecretString::from);
    Ok((id, secret.map_or_else(typed, Ok)?))
}

/// Shows where an answer is found: on standard error, since with --print standard output is for the settings.
fn hint(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Checks, before the code is used up, that the env file can store the results and that `serve` would use them.
fn check_env_file(options: &Options) -> anyhow::Result<()> {
    let (sources, environment) = (&options.sources, environment());
    let layers = sources.layers(environment.clone());
    let given = [
        ("BIGIN_REFRESH_TOKEN", true),
        ("BIGIN_CLIENT_ID", options.client_id.is_some()),
        ("BIGIN_CLIENT_SECRET", options.client_secret_file.is_some()),
        ("BIGIN_DATA_CENTER", options.data_center.is_some()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given);
    let names: Vec<&str> = given.map(|(name, _)| name).collect();
    for name in &names {
        env_file::check_not_overridden(name, &environment, &layers)
            .map_err(|Usage(why)| Usage(format!("{why}. --print shows what to set")))?;
    }
    env_file::check(&env_file::path(sources), &names)
        .context("the code was not used; --print shows the refresh token instead of storing it")
}

/// The settings to store: the token, and what it needs besides that is not set.
fn settings<'a>(
    data_center: Option<&'a str>,
    id: &'a str,
    secret: &'a SecretString,
    refresh_token: &'a SecretString,
    known: &BiginAccess,
) -> Vec<(&'static str, &'a str)> {
    let mut settings = Vec::new();
    if known.client_id.as_deref() != Some(id) {
        settings.push(("BIGIN_CLIENT_ID", id));
    }
    let same = |known: &SecretString| known.expose_secret() == secret.expose_secret();
    if !known.client_secret.as_ref().is_some_and(same) {
        settings.push(("BIGIN_CLIENT_SECRET", secret.expose_secret()));
    }
    settings.push(("BIGIN_REFRESH_TOKEN", refresh_token.expose_secret()));
    settings.extend(data_center.map(|name| ("BIGIN_DATA_CENTER", name)));
    settings
}

/// The accounts servers to try, each with its data center's name.
fn accounts_servers(known: &BiginAccess, wanted: Option<&str>) -> anyhow::Result<Vec<(Option<&'static str>, Url)>> {
    if let Some(name) = wanted.filter(|wanted| !DATA_CENTERS.into_iter().any(|(name, _)| name == *wanted)) {
        let names: Vec<_> = DATA_CENTERS.into_iter().map(|(name, _)| name).collect();
        bail!(Usage(format!(
            "unknown data center {name:?}; use one of {}",
            names.join(", ")
        )));
    }
    if let Some(own) = &known.accounts_url {
        return Ok(vec![(None, own.clone())]);
    }
    let wanted = wanted.or(known.data_center.as_deref());
    let fitting = DATA_CENTERS
        .into_iter()
        .filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let mut servers = Vec::new();
    for (name, url) in fitting {
        servers.push((Some(name), url.parse().context("invalid URL of a data center")?));
    }
    Ok(servers)
}

/// Exchanges the code in the first data center that knows the client. One that does not know it has not used up the code; any
/// other answer comes from the client's own data center and is final.
async fn exchange_at_any(
    accounts: &[(Option<&'static str>, Url)],
    id: &str,
    secret: &SecretString,
    code: &str,
) -> anyhow::Result<(Option<&'static str>, Granted)> {
    let mut unreachable = Vec::new();
    for (name, url) in accounts {
        let client = SelfClient {
            accounts_url: url,
            id,
            secret,
        };
        match client.exchange(&http(url)?, Credential::Code(code)).await {
            Ok(granted) => return Ok((*name, granted)),
            Err(error) if accounts.len() == 1 => return Err(explain(&error, url)),
            Err(error) if error.code == "invalid_client" => {}
            Err(error) if error.kind == ServiceErrorKind::Unavailable => unreachable.extend(url.host_str()),
            Err(error) => return Err(explain(&error, url)),
        }
    }
    match unreachable.as_slice() {
        [] => Err(anyhow!(
            "no data center knows this client ID (invalid_client): compare it with the API console, where it begins with 1000."
        )),
        unreachable => Err(anyhow!(
            "no data center that answered knows this client ID, and {} did not answer: check the network, generate a new code, and \
             use --data-center",
            unreachable.join(", ")
        )),
    }
}

/// What the error means, and how to fix it.
fn explain(error: &ServiceError, accounts: &Url) -> anyhow::Error {
    let host = accounts.host_str().unwrap_or("Zoho");
    match (error.code.as_str(), error.kind) {
        ("invalid_code", _) => anyhow!(
            "Zoho rejected the code (invalid_code): a code is valid once, for the chosen number of minutes, and for its own client only; \
             generate a new one and use it at once"
        ),
        ("invalid_client", _) => anyhow!(
            "Zoho rejected the client ID (invalid_client): {host} does not know this client; check the client ID, and the data center \
             that you log in to (--data-center)"
        ),
        ("invalid_client_secret", _) => anyhow!(
            "Zoho rejected the client secret (invalid_client_secret): it is not this client's secret in this data center; copy it again \
             from the API console"
        ),
        ("access_denied", _) => anyhow!(
            "too many codes were generated (access_denied): Zoho accepts 10 codes per 10 minutes; wait ten minutes, then generate a \
             new code"
        ),
        (_, ServiceErrorKind::TokenRateLimited) => anyhow!(
            "Zoho grants no more tokens for now: wait ten minutes without a try, since each try restarts them; then generate a new code"
        ),
        (code, ServiceErrorKind::Unavailable) => anyhow!(
            "{host} did not answer properly ({code}): retry; if it fails again, check the network and BIGIN_ACCOUNTS_URL"
        ),
        _ => anyhow!("{error}"),
    }
}

async fn print_organisation(known: &BiginAccess, granted: &Granted, quiet: bool) -> anyhow::Result<()> {
    let Some(api_domain) = known.api_domain.as_ref().or(granted.api_domain.as_ref()) else {
        bail!("Zoho's answer has no API domain: set BIGIN_API_DOMAIN");
    };
    let error = match organisation(&http(api_domain)?, api_domain, &granted.access_token, TIMEOUT).await {
        Ok(_) if quiet => return Ok(()),
        Ok(organisation) => {
            return Ok(print(&format!(
                "Organisation: \"{}\" ({}). Wrong one? Generate a code for the right one and run this again.\n",
                organisation.name.escape_debug(),
                organisation.id.escape_debug()
            ))?);
        }
        Err(error) => error,
    };
    let host = api_domain.host_str().unwrap_or("the server");
    match (error.code(), &error) {
        ("OAUTH_SCOPE_MISMATCH" | "NO_PERMISSION", _) => bail!(
            "the token works but lacks the scope ZohoBigin.org.READ, and may lack others. Generate a code with all scopes:\n  {SCOPES}"
        ),
        (_, CallError::Service(service_error)) if service_error.kind == ServiceErrorKind::Unauthorized => bail!(
            "Bigin at {host} rejected the token: the code was generated without \"Portal: Bigin\", or BIGIN_API_DOMAIN is in another data center"
        ),
        (code, _) => bail!(
            "the token was granted, but Bigin at {host} did not answer properly ({code}); `bigin-sync auth status` retries"
        ),
    }
}

async fn status(sources: &Sources) -> anyhow::Result<()> {
    let known = access(sources)?;
    let (Some(id), Some(secret)) = (&known.client_id, &known.client_secret) else {
        bail!(Usage(
            "BIGIN_CLIENT_ID or BIGIN_CLIENT_SECRET is not set: `bigin-sync auth` sets them".into()
        ));
    };
    let refresh_token = refresh_token(&known)?;
    let (name, url) = accounts_server(&known)?;
    let client = SelfClient {
        accounts_url: &url,
        id,
        secret,
    };
    let place = name.map_or_else(
        || url.host_str().unwrap_or_default().to_owned(),
        |name| format!("data center {name}"),
    );
    print(&format!("Client {}, {place}.\n", id.escape_debug()))?;
    let http = http(&url)?;
    let granted = match client.exchange(&http, Credential::RefreshToken(refresh_token)).await {
        Ok(granted) => granted,
        Err(error) if error.code == "invalid_code" => bail!(
            "the refresh token is invalid (invalid_code): it was revoked, mistyped, replaced by the user's newer tokens, or belongs to \
             another data center. `bigin-sync auth` gets a new one"
        ),
        Err(error) => return Err(explain(&error, &url)),
    };
    print("The refresh token works.\n")?;
    print_organisation(&known, &granted, false).await
}

async fn revoke(sources: &Sources, yes: bool) -> anyhow::Result<()> {
    let known = access(sources)?;
    let refresh_token = refresh_token(&known)?;
    let (_, url) = accounts_server(&known)?;
    if !yes {
        if !prompt::is_interactive() {
            bail!(Usage(
                "the service sends nothing without a token, and this cannot prompt without a terminal; pass --yes"
                    .into()
            ));
        }
        if !prompt::confirm("The service sends nothing until it has a new token. Revoke the token?")? {
            return Ok(());
        }
    }
    match oauth::revoke(&http(&url)?, &url, refresh_token).await {
        Ok(()) => Ok(print(
            "The refresh token is revoked. `bigin-sync auth` gets a new one.\n",
        )?),
        Err(error) if error.code == "invalid_code" => {
            bail!("the refresh token is not valid any more: there is nothing to revoke")
        }
        Err(error) => Err(explain(&error, &url)),
    }
}

/// The accounts server of the stored token.
fn accounts_server(known: &BiginAccess) -> anyhow::Result<(Option<&'static str>, Url)> {
    let servers = accounts_servers(known, Some(known.data_center.as_deref().unwrap_or("us")))?;
    servers
        .into_iter()
        .next()
        .context("BIGIN_DATA_CENTER is not a data center")
}

fn refresh_token(known: &BiginAccess) -> anyhow::Result<&SecretString> {
    let none = || Usage("BIGIN_REFRESH_TOKEN is not set: `bigin-sync auth` gets one".into());
    Ok(known.refresh_token.as_ref().ok_or_else(none)?)
}

fn http(url: &Url) -> anyhow::Result<Client> {
    Ok(http_client::client(crate::app::USER_AGENT, &[url])?)
}

#[cfg(test)]
mod tests;
