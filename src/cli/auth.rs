//! `bigin-sync auth`: a self client's code becomes the refresh token that the service lives by; looked at, and revoked.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

use self::ask::{ask, ask_code, ask_secret, hint, secret_of};
use super::{Sources, Usage, env_file, interrupt, print};
use crate::bigin::exchange::{self, Granted, NoOrganisation, Refused, SCOPES, SelfClient};
use crate::config::{BiginAccess, Layers, data_centers, environment};
use crate::http_client;

mod ask;

const EXAMPLES: &str = "\
Examples:
  bigin-sync auth                   asks for what it needs, and says where to find it
  bigin-sync auth 1000.abc.def      exchanges this code
  bigin-sync auth status            whether the stored refresh token works, and for which organisation
  bigin-sync auth revoke            makes the stored refresh token worthless

Client id and secret are taken from the settings (BIGIN_CLIENT_ID, BIGIN_CLIENT_SECRET), from the flags, or asked for. The
refresh token is written into the env file, which nobody else can read then. Scripts give the code as argument or by
standard input.";

/// How to get access to Bigin.
#[derive(Default, clap::Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    /// The code that Zoho's API console has generated; without it, it is asked for
    #[arg(value_name = "CODE")]
    pub(super) code: Option<String>,
    /// The self client's id [default: BIGIN_CLIENT_ID]
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// A file with the self client's secret [default: BIGIN_CLIENT_SECRET]
    #[arg(long, value_name = "FILE")]
    pub(super) client_secret_file: Option<PathBuf>,
    /// us, eu, in, au, cn, jp, sa or ca [default: BIGIN_DATA_CENTER, or it is found out]
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
    /// Say whether the stored refresh token works, and for which organisation; takes one of ten access tokens in ten minutes
    Status(Sources),
    /// Revoke the stored refresh token: the service sends nothing more until it has another
    Revoke {
        /// Do not ask first
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        sources: Sources,
    },
}

/// Gets, shows or revokes the access.
///
/// # Errors
/// A sentence for each wrong turn, with what to do.
pub(super) async fn auth(options: &Options) -> anyhow::Result<()> {
    interrupt::leaves_the_terminal_as_it_is();
    match &options.action {
        Some(Action::Status(sources)) => status(sources).await,
        Some(Action::Revoke { yes, sources }) => revoke(sources, *yes).await,
        None => exchange(options).await,
    }
}

fn access(sources: &Sources) -> anyhow::Result<BiginAccess> {
    let layers = Layers::read(sources.config.as_deref(), sources.env_file.as_deref(), environment());
    Ok(BiginAccess::load(&layers).map_err(|faults| Usage(faults.to_string()))?)
}

/// A code becomes the refresh token in the env file.
///
/// # Errors
/// A sentence for each wrong turn, with what to do.
pub(super) async fn exchange(options: &Options) -> anyhow::Result<()> {
    if let Some(code) = &options.code {
        is_code(code)?;
    }
    let known = access(&options.sources)?;
    if !options.print {
        is_kept(options)?;
    }
    let asked_id = options.client_id.clone().or(known.client_id.clone());
    let file = options.client_secret_file.as_deref();
    let asked_secret = file.map(secret_of).transpose()?.or(known.client_secret.clone());
    let by_hand = std::io::stdin().is_terminal();
    if by_hand && (asked_id.is_none() || asked_secret.is_none()) {
        hint(
            "A self client is needed: https://api-console.zoho.com (in your data centre), \"Add client\", \"Self Client\".\n\
             Its tab \"Client Secret\" shows both of these.\n",
        );
    }
    let id = match asked_id {
        Some(id) => id,
        None => ask("Client id", "--client-id or BIGIN_CLIENT_ID")?,
    };
    let secret = match asked_secret {
        Some(secret) => secret,
        None => ask_secret("Client secret", "--client-secret-file or BIGIN_CLIENT_SECRET")?,
    };
    let code = match &options.code {
        Some(code) => code.trim().to_owned(),
        None => {
            let code = ask_code(by_hand)?;
            is_code(&code)?;
            code
        }
    };
    let client = SelfClient {
        id: &id,
        secret: &secret,
    };
    let accounts = accounts_servers(&known, options.data_center.as_deref())?;
    let (data_center, granted) = first_that_knows(&accounts, &client, &code).await?;
    let Some(refresh_token) = &granted.refresh_token else {
        bail!(
            "Zoho gave an access token and no refresh token, so the code is not a self client's. Generate it in the API console's \
             Self Client, tab \"Generate Code\""
        );
    };
    let settings = settings(data_center, &id, &secret, refresh_token, &known);
    if options.print {
        let lines = settings.iter().map(|(name, value)| format!("{name}={value}\n"));
        print(&lines.collect::<String>())?;
    } else {
        let path = env_file::path(&options.sources);
        env_file::set(&path, &settings).context(
            "the refresh token was granted, could not be kept, and is lost: generate a new code, and give --print",
        )?;
        print(&format!("The refresh token is in {} now.\n", path.display()))?;
    }
    tell_organisation(&known, &granted, options.print).await
}

/// Refuses what cannot be a code before Zoho is asked, which takes ten codes in ten minutes at most. Zoho's codes and tokens
/// begin with `1000.` (Zoho's OAuth docs). What was given is not repeated: a part of a code is a secret too.
fn is_code(code: &str) -> anyhow::Result<()> {
    let rest = code.trim().strip_prefix("1000.").unwrap_or_default();
    if !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') {
        return Ok(());
    }
    bail!(Usage(
        "that is not a code of Zoho's API console: codes begin with 1000. Nothing was sent to Zoho. Copy the whole code; or did you \
         mean `bigin-sync auth status` or `bigin-sync auth revoke`?"
            .to_owned()
    ))
}

/// Whether the env file takes what the code will be exchanged for, and `serve` reads it there: before the code is used up.
fn is_kept(options: &Options) -> anyhow::Result<()> {
    let (sources, environment) = (&options.sources, environment());
    let layers = Layers::read(
        sources.config.as_deref(),
        sources.env_file.as_deref(),
        environment.clone(),
    );
    let given = [
        ("BIGIN_REFRESH_TOKEN", true),
        ("BIGIN_CLIENT_ID", options.client_id.is_some()),
        ("BIGIN_CLIENT_SECRET", options.client_secret_file.is_some()),
        ("BIGIN_DATA_CENTER", options.data_center.is_some()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given);
    let names: Vec<&str> = given.map(|(name, _)| name).collect();
    for name in &names {
        env_file::has_the_last_word(name, &environment, &layers)
            .map_err(|Usage(why)| Usage(format!("{why}. --print shows what to set")))?;
    }
    env_file::check(&env_file::path(sources), &names)
        .context("the code was not used: --print shows the refresh token instead of keeping it")
}

/// What goes into the env file: the token, and what was asked for to get it.
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

/// The accounts servers to try, each with its data centre's name.
fn accounts_servers(known: &BiginAccess, wanted: Option<&str>) -> anyhow::Result<Vec<(Option<&'static str>, Url)>> {
    if let Some(name) = wanted.filter(|wanted| !data_centers().any(|(name, _)| name == *wanted)) {
        let names: Vec<_> = data_centers().map(|(name, _)| name).collect();
        bail!(Usage(format!(
            "there is no data centre {name:?}: there are {}",
            names.join(", ")
        )));
    }
    if let Some(own) = &known.accounts_url {
        let url = http_client::base_url(own).map_err(|error| Usage(format!("BIGIN_ACCOUNTS_URL {error}")))?;
        return Ok(vec![(None, url)]);
    }
    let wanted = wanted.or(known.data_center.as_deref());
    let fitting = data_centers().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let mut servers = Vec::new();
    for (name, url) in fitting {
        servers.push((Some(name), url.parse().context("a data centre's address")?));
    }
    Ok(servers)
}

/// Exchanges the code where the client is known. A data centre that does not know the client has not used up the code; any
/// other answer is the client's own data centre's, and the last word.
async fn first_that_knows(
    accounts: &[(Option<&'static str>, Url)],
    client: &SelfClient<'_>,
    code: &str,
) -> anyhow::Result<(Option<&'static str>, Granted)> {
    let mut silent = Vec::new();
    for (name, url) in accounts {
        match exchange::code(&http(url)?, url, client, code).await {
            Ok(granted) => return Ok((*name, granted)),
            Err(Refused::Client) if accounts.len() > 1 => {}
            Err(Refused::NoAnswer { .. }) if accounts.len() > 1 => silent.extend(url.host_str()),
            Err(refused) => return Err(why(&refused, url)),
        }
    }
    match (accounts, silent.as_slice()) {
        ([(_, url)], _) => Err(why(&Refused::Client, url)),
        (_, []) => Err(anyhow!(
            "no data centre knows this client id (invalid_client): compare it with the API console's, where it begins with 1000."
        )),
        (_, silent) => Err(anyhow!(
            "no data centre that answered knows this client id, and {} did not answer: check the network, generate a new code, and \
             give --data-center",
            silent.join(", ")
        )),
    }
}

/// What a refusal means, and what to do.
fn why(refused: &Refused, accounts: &Url) -> anyhow::Error {
    let host = accounts.host_str().unwrap_or("Zoho");
    let meaning = match refused {
        Refused::Code => {
            "a code can be used once and for the few minutes that were chosen, and only with the client that it was generated for: \
             generate a new one and use it at once"
                .to_owned()
        }
        Refused::Client => format!(
            "{host} knows no such client: check the client id, and the data centre, which is the one you log in to (--data-center)"
        ),
        Refused::Secret => "the secret is not this client's in this data centre: copy it anew from the API console".to_owned(),
        Refused::TooManyCodes => "ten codes in ten minutes are the most: wait ten minutes, then generate one more".to_owned(),
        Refused::Throttled => "wait ten quiet minutes, since each try within them prolongs them; then generate a new code".to_owned(),
        Refused::NoAnswer { .. } => "try again; if that does not help, check the network and BIGIN_ACCOUNTS_URL".to_owned(),
    };
    anyhow!("{refused}: {meaning}")
}

async fn tell_organisation(known: &BiginAccess, granted: &Granted, quietly: bool) -> anyhow::Result<()> {
    let own = known.api_domain.as_deref().map(http_client::base_url).transpose();
    let own = own.map_err(|error| Usage(format!("BIGIN_API_DOMAIN {error}")))?;
    let Some(api_domain) = own.or_else(|| granted.api_domain.clone()) else {
        bail!("Zoho's answer names no address of the API: set BIGIN_API_DOMAIN");
    };
    match exchange::organisation(&http(&api_domain)?, &api_domain, &granted.access_token).await {
        Ok(_) if quietly => Ok(()),
        Ok(organisation) => Ok(print(&format!(
            "It is for the organisation \"{}\" ({}). If that is the wrong one, generate a code for the right one and do this again.\n",
            organisation.name.escape_debug(),
            organisation.id.escape_debug()
        ))?),
        Err(NoOrganisation::Scope) => bail!(
            "the token works, and lacks the scope ZohoBigin.org.READ, so others may be missing too. Generate a code for all of them:\n  {SCOPES}"
        ),
        Err(NoOrganisation::Token(host)) => bail!(
            "Bigin at {host} does not take the token: the code was generated without \"Portal: Bigin\", or BIGIN_API_DOMAIN is another data centre's"
        ),
        Err(error @ NoOrganisation::NoAnswer { .. }) => {
            bail!("the token was granted, and {error}: `bigin-sync auth status` asks again")
        }
    }
}

async fn status(sources: &Sources) -> anyhow::Result<()> {
    let known = access(sources)?;
    let (id, secret) = credentials(&known)?;
    let refresh_token = stored(&known)?;
    let client = SelfClient {
        id: &id,
        secret: &secret,
    };
    let accounts = accounts_servers(&known, Some(known.data_center.as_deref().unwrap_or("us")))?;
    let [(name, url)] = accounts.as_slice() else {
        bail!("BIGIN_DATA_CENTER names no data centre");
    };
    let where_ = name.map_or_else(
        || url.host_str().unwrap_or_default().to_owned(),
        |name| format!("data centre {name}"),
    );
    print(&format!("Client {}, {where_}.\n", id.escape_debug()))?;
    let granted = match exchange::refresh(&http(url)?, url, &client, refresh_token).await {
        Ok(granted) => granted,
        Err(Refused::Code) => bail!(
            "the refresh token is refused (invalid_code): it was revoked, mistyped, pushed out by the user's newer ones, or is another \
             data centre's. `bigin-sync auth` gets a new one"
        ),
        Err(refused) => return Err(why(&refused, url)),
    };
    print("The refresh token works.\n")?;
    tell_organisation(&known, &granted, false).await
}

async fn revoke(sources: &Sources, yes: bool) -> anyhow::Result<()> {
    let known = access(sources)?;
    let refresh_token = stored(&known)?;
    let accounts = accounts_servers(&known, Some(known.data_center.as_deref().unwrap_or("us")))?;
    let [(_, url)] = accounts.as_slice() else {
        bail!("BIGIN_DATA_CENTER names no data centre");
    };
    if !yes {
        if !std::io::stdin().is_terminal() {
            bail!(Usage(
                "the service sends nothing more once its token is revoked: say --yes".into()
            ));
        }
        let question = "The service sends nothing more until it has another token. Revoke it?";
        if !dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact()?
        {
            return Ok(());
        }
    }
    match exchange::revoke(&http(url)?, url, refresh_token).await {
        Ok(()) => Ok(print("It is revoked. `bigin-sync auth` gets another one.\n")?),
        Err(Refused::Code) => bail!("it is no token any more: there is nothing to revoke"),
        Err(refused) => Err(why(&refused, url)),
    }
}

fn credentials(known: &BiginAccess) -> anyhow::Result<(String, SecretString)> {
    match (&known.client_id, &known.client_secret) {
        (Some(id), Some(secret)) => Ok((id.clone(), secret.clone())),
        _ => bail!(Usage(
            "BIGIN_CLIENT_ID and BIGIN_CLIENT_SECRET are not both set: `bigin-sync auth` sets them".into()
        )),
    }
}

fn stored(known: &BiginAccess) -> anyhow::Result<&SecretString> {
    let none = || Usage("BIGIN_REFRESH_TOKEN is not set: `bigin-sync auth` gets one".into());
    Ok(known.refresh_token.as_ref().ok_or_else(none)?)
}

fn http(url: &Url) -> anyhow::Result<Client> {
    Ok(http_client::client(crate::app::USER_AGENT, &[url])?)
}

#[cfg(test)]
mod tests;
