//! What `bigin-sync auth` asks a person for, and reads where nobody can be asked.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::bail;
use secrecy::SecretString;

use crate::bigin::exchange::SCOPES;
use crate::cli::Usage;

/// Where an answer is found. Not to standard output, which with `--print` is for the settings alone.
pub(super) fn hint(text: &str) {
    // A question without it is still one.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

pub(super) fn secret_of(path: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| {
        Usage(format!(
            "--client-secret-file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    if text.trim().is_empty() {
        bail!(Usage(format!("--client-secret-file {} is empty", path.display())));
    }
    Ok(SecretString::from(text.trim().to_owned()))
}

pub(super) fn ask(what: &str, otherwise: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!(Usage(format!("there is no terminal to ask at: give {otherwise}")));
    }
    Ok(dialoguer::Input::<String>::new()
        .with_prompt(what)
        .interact_text()?
        .trim()
        .to_owned())
}

pub(super) fn ask_secret(what: &str, otherwise: &str) -> anyhow::Result<SecretString> {
    if !std::io::stdin().is_terminal() {
        bail!(Usage(format!("there is no terminal to ask at: give {otherwise}")));
    }
    Ok(SecretString::from(
        dialoguer::Password::new()
            .with_prompt(what)
            .interact()?
            .trim()
            .to_owned(),
    ))
}

pub(super) fn ask_code(by_hand: bool) -> anyhow::Result<String> {
    if by_hand {
        hint(&format!(
            "Generate a code: https://api-console.zoho.com (in your data centre), \"Self Client\", tab \"Generate Code\".\n\
             Scope:        {SCOPES}\n\
             Duration:     10 minutes\n\
             Description:  bigin-sync\n\
             Then choose the portal Bigin and your organisation.\n"
        ));
        return ask("Code", "CODE");
    }
    let mut code = String::new();
    std::io::stdin().read_to_string(&mut code)?;
    if code.trim().is_empty() {
        bail!(Usage(
            "there is no code: give it as argument or by standard input".into()
        ));
    }
    Ok(code.trim().to_owned())
}
