//! `bigin-sync setup`: asks for what is not set yet, checks it, shows what it will change, changes it, and looks at the whole.
//! What is set and works is left as it is, so that it can be run again at any time.

use anyhow::{anyhow, bail};
use secrecy::SecretString;

pub(super) use self::answers::Options;

use self::answers::{DATASET, LEAD_TYPE, PROJECT_ID, PUBLIC_URL, SANITY_TOKEN, TAGS};
use self::session::{Desk, Question, confirmed, hidden, line_of};
use self::webhook::{ByHand, Step};
use super::doctor::{self, Finding, MANAGEMENT_TOKEN, Outcome, Wishes};
use super::{Said, Usage, auth, env_file, interrupt, print};
use crate::config::environment;

mod answers;
mod session;
mod test_lead;
mod webhook;

/// Sets an installation up.
///
/// # Errors
/// Something has failed, or an answer is missing.
pub(super) async fn setup(options: &Options) -> anyhow::Result<()> {
    interrupt::leaves_the_terminal_as_it_is();
    let mut surroundings = environment();
    let own = surroundings.remove(MANAGEMENT_TOKEN).filter(|token| !token.is_empty());
    let mut desk = Desk::open(&options.sources, surroundings)?;
    // What has a default is asked for the first time, and taken as it is ever after.
    let is_new = desk.known(PROJECT_ID.setting)?.is_none();
    options.answer(&mut desk)?;
    if !desk.by_hand {
        options.suffice(&desk)?;
    }
    sanity(&mut desk, is_new).await?;
    let needs_access = needs_access(&desk, options).await?;
    if needs_access {
        desk.may_be_written("BIGIN_REFRESH_TOKEN")?;
    }
    well(&mut desk, &TAGS, is_new)?;
    well(&mut desk, &PUBLIC_URL, true)?;
    let step = the_webhook(&mut desk, options, own).await?;
    desk.make("SANITY_WEBHOOK_SECRET")?;
    desk.make("ADMIN_TOKEN")?;

    let tags = tags(&desk, needs_access).await?;
    let plan = plan(&desk, needs_access, &tags, &step.0)?;
    if plan.is_empty() {
        print("\nNothing has to be changed.\n")?;
    } else {
        agreed(&desk, options, &plan)?;
        carry_out(&mut desk, options, needs_access, &step).await?;
    }
    // Tags are made where that was agreed.
    let wishes = Wishes {
        fix: !tags.is_empty(),
        webhook_is_mended: matches!(step.0, Step::Change { .. }),
        ..Wishes::default()
    };
    let is_well = look(&desk, step.1, &wishes).await?;
    last_words(&desk, &step.0, is_well)?;
    if options.test_lead || desk.by_hand && !options.yes && confirmed(test_lead::OFFER)? {
        test_lead::send(&desk.patient(None)?).await?;
    }
    Ok(())
}

/// Asks until Sanity lets leads be read and written.
async fn sanity(desk: &mut Desk, is_new: bool) -> anyhow::Result<()> {
    let mut again = false;
    loop {
        desk.ask(&PROJECT_ID, again)?;
        if is_new || again {
            desk.ask(&DATASET, again)?;
            desk.ask(&LEAD_TYPE, again)?;
        }
        desk.ask(&SANITY_TOKEN, again)?;
        let findings = desk.patient(None)?.sanity().await;
        show(&findings)?;
        if findings.iter().all(|finding| finding.outcome != Outcome::Failed) {
            return Ok(());
        }
        if !desk.by_hand {
            bail!(Said);
        }
        again = true;
    }
}

/// Whether a code has to be exchanged: there is no refresh token, or it does not do what is needed.
async fn needs_access(desk: &Desk, options: &Options) -> anyhow::Result<bool> {
    if desk.known("BIGIN_REFRESH_TOKEN")?.is_none() {
        return Ok(true);
    }
    let client = options.bigin_client_id.as_deref();
    if client.is_some() && client != desk.known("BIGIN_CLIENT_ID")?.as_deref() {
        // The refresh token is another client's.
        if options.bigin_code.is_none() && !desk.by_hand {
            bail!(Usage(
                "--bigin-client-id is another client than the one that is set: give a code of it with --bigin-code"
                    .to_owned()
            ));
        }
        return Ok(true);
    }
    let findings = desk.patient(None)?.access().await;
    show(&findings)?;
    if findings.iter().all(|finding| finding.outcome != Outcome::Failed) {
        return Ok(false);
    }
    let wanted = match desk.by_hand {
        true => options.bigin_code.is_some() || confirmed("Get another refresh token, with a new code?")?,
        false => options.bigin_code.is_some(),
    };
    if !wanted {
        bail!("Bigin cannot be used with the refresh token that is set: mend it, or give a new code with --bigin-code");
    }
    Ok(true)
}

/// Asks, if it is to be asked for, and until what is set has no fault.
fn well(desk: &mut Desk, question: &Question, asked: bool) -> anyhow::Result<()> {
    if asked {
        desk.ask(question, false)?;
    }
    while let Some(fault) = desk.patient(None)?.fault_of(question.setting) {
        if !desk.by_hand {
            bail!(Usage(fault));
        }
        print(&format!("{fault}\n"))?;
        desk.forget(&[question.setting]);
        desk.ask(question, true)?;
    }
    Ok(())
}

/// What is to be done about the webhook, and the token that it is done with.
async fn the_webhook(
    desk: &mut Desk,
    options: &Options,
    own: Option<String>,
) -> anyhow::Result<(Step, Option<SecretString>)> {
    if desk.known(PUBLIC_URL.setting)?.is_none() {
        return Ok((Step::ByHand(ByHand::NoAddress), None));
    }
    let mut given = match &options.management_token_file {
        Some(path) => Some(line_of("--management-token-file", path)?),
        None => own,
    };
    loop {
        if given.is_none() && desk.by_hand {
            print(
                "\nSanity's webhook can be made for you, with a token of the role Developer or Administrator (sanity.io/manage, API, \
                 Tokens).\nIt is used for this alone and not stored: delete it afterwards.\n",
            )?;
            given =
                Some(hidden("Token (empty: you make the webhook by hand)", true)?).filter(|typed| !typed.is_empty());
        }
        let Some(token) = given.take() else {
            return Ok((Step::ByHand(ByHand::NoToken), None));
        };
        let token = SecretString::from(token);
        match webhook::step(desk, &token).await? {
            Ok(step) => return Ok((step, Some(token))),
            Err(error) if desk.by_hand => print(&format!("{error}\n"))?,
            Err(error) => bail!("{error}"),
        }
    }
}

/// What is said of the tags that Bigin gets. Which it has is not known before there is access.
async fn tags(desk: &Desk, needs_access: bool) -> anyhow::Result<Vec<String>> {
    let patient = desk.patient(None)?;
    if needs_access {
        let tags = patient.tags().iter();
        return Ok(tags
            .map(|tag| format!("the tag {tag}, where it has none of this name"))
            .collect());
    }
    let tags = patient.tags_to_make().await.into_iter();
    Ok(tags.map(|tag| format!("the tag {tag}")).collect())
}

/// What will be changed, a line each.
fn plan(desk: &Desk, needs_access: bool, tags: &[String], step: &Step) -> anyhow::Result<Vec<String>> {
    let path = env_file::path(&desk.sources);
    let mut lines: Vec<String> = desk.shown_changes()?;
    if needs_access {
        lines.push("BIGIN_REFRESH_TOKEN, for a code that is asked for next, and the client's id and secret".to_owned());
    }
    if !lines.is_empty() {
        lines.iter_mut().for_each(|line| *line = format!("  {line}"));
        lines.insert(0, format!("{} gets", path.display()));
    }
    if env_file::is_open(&path) {
        lines.push(format!(
            "{} is for its owner alone: others can read it now",
            path.display()
        ));
    }
    lines.extend(tags.iter().map(|tag| format!("Bigin gets {tag}")));
    match step {
        Step::Make(url) => lines.push(format!("Sanity gets a webhook to {url}")),
        Step::Change { url, parts, .. } => {
            lines.push(format!("Sanity's webhook to {url} is changed:"));
            lines.extend(parts.iter().map(|part| format!("  {part}")));
        }
        Step::Well | Step::ByHand(_) => {}
    }
    Ok(lines)
}

fn agreed(desk: &Desk, options: &Options, plan: &[String]) -> anyhow::Result<()> {
    let lines: String = plan.iter().map(|line| format!("  {line}\n")).collect();
    print(&format!("\nThis is changed:\n{lines}"))?;
    let here = desk.only_here();
    if !here.is_empty() {
        let names = here.join(", ");
        print(&format!(
            "Set in this environment alone, and not written anywhere: {names}.\n"
        ))?;
    }
    if !options.yes && !desk.by_hand {
        bail!(Usage(
            "nobody can be asked whether to change this: give --yes".to_owned()
        ));
    }
    if options.yes || confirmed("Change this?")? {
        return Ok(());
    }
    print("Nothing was changed.\n")?;
    bail!(Said)
}

/// Each step leaves the installation as whole as before: the secret is in the file before the webhook has it.
async fn carry_out(
    desk: &mut Desk,
    options: &Options,
    needs_access: bool,
    (step, token): &(Step, Option<SecretString>),
) -> anyhow::Result<()> {
    let path = env_file::path(&desk.sources);
    let changed = !desk.changes().is_empty() || env_file::is_open(&path);
    desk.write()?;
    if changed {
        print(&format!("{} is written.\n", path.display()))?;
    }
    if needs_access {
        print("\n")?;
        auth::exchange(&auth::Options {
            code: options.bigin_code.clone(),
            client_id: options.bigin_client_id.clone(),
            client_secret_file: options.bigin_client_secret_file.clone(),
            data_center: options.bigin_data_center.clone(),
            sources: desk.sources.clone(),
            ..auth::Options::default()
        })
        .await
        .map_err(|error| match error.is::<Usage>() {
            true => error,
            false => anyhow!("{error:#}. `bigin-sync setup` goes on from here when it is run again"),
        })?;
    }
    if let Some(token) = token {
        webhook::carry_out(&desk.patient(Some(token.clone()))?, step).await?;
    }
    Ok(())
}

/// The whole, as `doctor` sees it, and whether it is well.
async fn look(desk: &Desk, management_token: Option<SecretString>, wishes: &Wishes) -> anyhow::Result<bool> {
    print("\nThe installation as a whole:\n\n")?;
    let patient = desk.patient(management_token)?;
    let report = doctor::examine(&patient, wishes).await;
    print(&doctor::table(&report))?;
    Ok(report.is_well())
}

fn last_words(desk: &Desk, step: &Step, is_well: bool) -> anyhow::Result<()> {
    let patient = desk.patient(None)?;
    if let Step::ByHand(why) = step {
        print(&webhook::by_hand(&patient, *why))?;
    }
    if !is_well {
        print(
            "\nSomething has failed, as shown above. Mend it, and run `bigin-sync setup` or `bigin-sync doctor` again.\n",
        )?;
        bail!(Said);
    }
    let address = patient.address();
    let but = match step {
        Step::ByHand(ByHand::NoToken) => ", but for the webhook, which only you can look at",
        _ => "",
    };
    print(&format!(
        "\nAll is set up{but}. Start the service with `bigin-sync serve`; one that runs already takes new settings when it is started \
         again.\nIts dashboard is at {address}/, and asks for the ADMIN_TOKEN in {}.\n",
        env_file::path(&desk.sources).display()
    ))?;
    Ok(())
}

/// How each thing is.
fn show(findings: &[Finding]) -> anyhow::Result<()> {
    print(&format!("\n{}", doctor::rows(findings)))?;
    Ok(())
}
