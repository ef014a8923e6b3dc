//! `bigin-sync setup`: prompts for settings that are not set, checks them, shows the changes, applies them, and runs all of
//! doctor's checks. It leaves what is set and works unchanged, so it can be run again at any time.

use anyhow::{anyhow, bail};
use secrecy::{ExposeSecret as _, SecretString};

pub(super) use self::answers::Options;

use self::answers::{DATASET, LEAD_TYPE, PROJECT_ID, PUBLIC_URL, SANITY_TOKEN, TAGS};
use self::session::{Question, Session};
use self::webhook::{Manual, WebhookPlan};
use super::doctor::{self, Actions, Finding, MANAGEMENT_TOKEN, Outcome};
use super::prompt::{self, secret_from_file};
use super::{AlreadyReported, Usage, auth, env_file, interrupt, print};
use crate::config::environment;

mod answers;
mod session;
mod test_lead;
mod webhook;

/// # Errors
/// A check failed, or an answer is missing.
pub(super) async fn setup(options: &Options) -> anyhow::Result<()> {
    interrupt::restore_terminal_on_interrupt();
    let mut environment = environment();
    let management_token = environment.remove(MANAGEMENT_TOKEN).filter(|token| !token.is_empty());
    let mut session = Session::open(&options.sources, environment)?;
    // Settings with a default are asked for in the first run only.
    let is_new = session.get(PROJECT_ID.setting)?.is_none();
    options.answer(&mut session)?;
    if !session.interactive {
        options.check_complete(&session)?;
    }
    sanity(&mut session, is_new).await?;
    let needs_access = needs_access(&session, options).await?;
    if needs_access {
        session.check_not_overridden("BIGIN_REFRESH_TOKEN")?;
    }
    ask_until_valid(&mut session, &TAGS, is_new)?;
    ask_until_valid(&mut session, &PUBLIC_URL, true)?;
    let (webhook, management_token) = plan_webhook(&mut session, options, management_token).await?;
    session.generate_secret("SANITY_WEBHOOK_SECRET")?;
    session.generate_secret("ADMIN_TOKEN")?;

    let tags = tags(&session, needs_access).await?;
    let changes = changes(&session, needs_access, &tags, &webhook)?;
    if changes.is_empty() {
        print("\nNothing to change.\n")?;
    } else {
        confirm(&session, options, &changes)?;
        apply(&mut session, options, needs_access, &webhook, management_token.as_ref()).await?;
    }
    let actions = Actions {
        // Confirmed with the changes.
        create_tags: !tags.is_empty(),
        webhook_changed: matches!(webhook, WebhookPlan::Change { .. }),
        ..Actions::default()
    };
    print("\nAll checks:\n\n")?;
    let report = doctor::run_checks(&session.installation(management_token)?, &actions).await;
    print(&doctor::table(&report, false))?;
    finish(&session, &webhook, report.is_ok())?;
    if options.test_lead || session.interactive && !options.yes && prompt::confirm(test_lead::QUESTION)? {
        test_lead::send(&session.installation(None)?).await?;
    }
    Ok(())
}

/// Asks until leads in Sanity can be read and written.
async fn sanity(session: &mut Session, is_new: bool) -> anyhow::Result<()> {
    let mut again = false;
    loop {
        session.ask(&PROJECT_ID, again)?;
        if is_new || again {
            session.ask(&DATASET, again)?;
            session.ask(&LEAD_TYPE, again)?;
        }
        session.ask(&SANITY_TOKEN, again)?;
        if succeed(&session.installation(None)?.check_sanity().await)? {
            return Ok(());
        }
        if !session.interactive {
            bail!(AlreadyReported);
        }
        again = true;
    }
}

/// Whether a code must be exchanged: there is no refresh token, or it does not work.
async fn needs_access(session: &Session, options: &Options) -> anyhow::Result<bool> {
    if session.get("BIGIN_REFRESH_TOKEN")?.is_none() {
        return Ok(true);
    }
    let client = options.bigin_client_id.as_deref();
    if client.is_some() && client != session.get("BIGIN_CLIENT_ID")?.as_deref() {
        // The refresh token belongs to the other client.
        if options.bigin_code.is_none() && !session.interactive {
            bail!(Usage(
                "--bigin-client-id is not the present client: add a code of the new client with --bigin-code"
                    .to_owned()
            ));
        }
        return Ok(true);
    }
    if succeed(&session.installation(None)?.check_bigin().await)? {
        return Ok(false);
    }
    let has_code = options.bigin_code.is_some();
    let agreed = has_code || session.interactive && prompt::confirm("Get a new refresh token, with a new code?")?;
    if !agreed {
        bail!(
            "the present refresh token does not give access to Bigin: fix the cause, or add a new code with --bigin-code"
        );
    }
    Ok(true)
}

/// Asks, the first time only if `asked`, until the setting is valid.
fn ask_until_valid(session: &mut Session, question: &Question, asked: bool) -> anyhow::Result<()> {
    if asked {
        session.ask(question, false)?;
    }
    while let Some(error) = session.installation(None)?.error_of(question.setting) {
        if !session.interactive {
            bail!(Usage(error.to_string()));
        }
        print(&format!("{error}\n"))?;
        session.discard(question.setting);
        session.ask(question, true)?;
    }
    Ok(())
}

/// The change to the webhook, and the token for it.
async fn plan_webhook(
    session: &mut Session,
    options: &Options,
    own: Option<String>,
) -> anyhow::Result<(WebhookPlan, Option<SecretString>)> {
    if session.get(PUBLIC_URL.setting)?.is_none() {
        return Ok((WebhookPlan::Manual(Manual::NoPublicUrl), None));
    }
    let mut given = match &options.management_token_file {
        Some(path) => Some(secret_from_file("--management-token-file", path)?),
        None => own.map(SecretString::from),
    };
    loop {
        if given.is_none() && session.interactive {
            print(
                "\nThe webhook can be created for you, with a Sanity token of the role Developer or Administrator (sanity.io/manage, \
                 API, Tokens).\nThe token is used once and not stored: delete it afterwards.\n",
            )?;
            let prompt = "Developer token (hidden; leave empty to create the webhook yourself)";
            given = Some(SecretString::from(prompt::secret(prompt, true)?));
        }
        let Some(token) = given.take().filter(|token| !token.expose_secret().is_empty()) else {
            return Ok((WebhookPlan::Manual(Manual::NoToken), None));
        };
        match webhook::plan(session, &token).await? {
            Ok(plan) => return Ok((plan, Some(token))),
            Err(error) if session.interactive => print(&format!("{error}\n"))?,
            Err(error) => bail!("{error}"),
        }
    }
}

/// The tags to create, as they are shown. Without access it is not known yet which exist.
async fn tags(session: &Session, needs_access: bool) -> anyhow::Result<Vec<String>> {
    let installation = session.installation(None)?;
    Ok(match needs_access {
        true => {
            let tags = installation.tags().iter();
            tags.map(|tag| format!("the tag {tag}, if it does not exist")).collect()
        }
        false => {
            let tags = installation.missing_tags().await.into_iter();
            tags.map(|tag| format!("the tag {tag}")).collect()
        }
    })
}

/// The changes, a line each.
fn changes(
    session: &Session,
    needs_access: bool,
    tags: &[String],
    webhook: &WebhookPlan,
) -> anyhow::Result<Vec<String>> {
    let path = env_file::path(&session.sources);
    let mut lines: Vec<String> = session.shown_changes()?;
    if needs_access {
        lines.push("BIGIN_REFRESH_TOKEN for a code, and the client's ID and secret (next step)".to_owned());
    }
    if !lines.is_empty() {
        lines.iter_mut().for_each(|line| *line = format!("  {line}"));
        lines.insert(0, format!("write to {}:", path.display()));
    }
    if env_file::is_readable_by_others(&path) {
        lines.push(format!(
            "{} will be readable by you only (others can read it now)",
            path.display()
        ));
    }
    lines.extend(tags.iter().map(|tag| format!("create in Bigin: {tag}")));
    match webhook {
        WebhookPlan::Create(url) => lines.push(format!("create in Sanity: a webhook to {url}")),
        WebhookPlan::Change { url, parts, .. } => {
            lines.push(format!("change Sanity's webhook to {url}:"));
            lines.extend(parts.iter().map(|part| format!("  {part}")));
        }
        WebhookPlan::Unchanged | WebhookPlan::Manual(_) => {}
    }
    Ok(lines)
}

fn confirm(session: &Session, options: &Options, changes: &[String]) -> anyhow::Result<()> {
    let lines: String = changes.iter().map(|line| format!("  {line}\n")).collect();
    print(&format!("\nThese changes will be made:\n{lines}"))?;
    let here = session.only_in_environment();
    if !here.is_empty() {
        print(&format!(
            "Set in this environment only, and not written to a file: {}.\n",
            here.join(", ")
        ))?;
    }
    if !options.yes && !session.interactive {
        bail!(Usage("cannot prompt without a terminal; pass --yes".to_owned()));
    }
    if options.yes || prompt::confirm("Apply?")? {
        return Ok(());
    }
    print("Cancelled. Nothing was changed.\n")?;
    bail!(AlreadyReported)
}

/// An interruption after any step leaves a working installation: the file has the secret before the webhook does.
async fn apply(
    session: &mut Session,
    options: &Options,
    needs_access: bool,
    webhook: &WebhookPlan,
    management_token: Option<&SecretString>,
) -> anyhow::Result<()> {
    if session.write()? {
        print(&format!("Wrote {}.\n", env_file::path(&session.sources).display()))?;
    }
    if needs_access {
        print("\n")?;
        auth::exchange(&auth::Options {
            code: options.bigin_code.clone(),
            client_id: options.bigin_client_id.clone(),
            client_secret_file: options.bigin_client_secret_file.clone(),
            data_center: options.bigin_data_center.clone(),
            sources: session.sources.clone(),
            ..auth::Options::default()
        })
        .await
        .map_err(|error| match error.is::<Usage>() {
            true => error,
            false => anyhow!("{error:#}. Run `bigin-sync setup` again to continue from here"),
        })?;
    }
    if let Some(token) = management_token {
        webhook::apply(&session.installation(Some(token.clone()))?, webhook).await?;
    }
    Ok(())
}

fn finish(session: &Session, webhook: &WebhookPlan, is_ok: bool) -> anyhow::Result<()> {
    let installation = session.installation(None)?;
    if let WebhookPlan::Manual(why) = webhook {
        print(&webhook::instructions(&installation, *why))?;
    }
    if !is_ok {
        print("\nA check failed, see above. Fix it, then run `bigin-sync setup` or `bigin-sync doctor` again.\n")?;
        bail!(AlreadyReported);
    }
    let except = match webhook {
        WebhookPlan::Manual(Manual::NoToken) => ", except for the webhook: please check it yourself",
        _ => "",
    };
    print(&format!(
        "\nSetup is complete{except}. Start the service with `bigin-sync serve`; restart a running service to apply new settings.\nIts \
         dashboard is at {}/. Log in with the ADMIN_TOKEN in {}.\n",
        installation.address(),
        env_file::path(&session.sources).display()
    ))?;
    Ok(())
}

/// Prints the findings, and returns whether none failed.
fn succeed(findings: &[Finding]) -> anyhow::Result<bool> {
    print(&format!("\n{}", doctor::rows(findings)))?;
    Ok(findings.iter().all(|finding| finding.outcome != Outcome::Failed))
}
