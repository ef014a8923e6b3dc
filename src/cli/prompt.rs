//! Questions at the terminal, and secrets in files that options name.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use secrecy::SecretString;

use super::Usage;

/// Whether an operator can be asked. Questions go to standard error.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Waits for a line; only `y` and `yes` agree.
pub(super) fn confirm(question: &str) -> io::Result<bool> {
    let mut err = io::stderr();
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A line of text, trimmed.
pub(super) fn text(prompt: &str, default: Option<String>, may_be_empty: bool) -> anyhow::Result<String> {
    let mut input = dialoguer::Input::<String>::new()
        .with_prompt(prompt)
        .allow_empty(may_be_empty);
    if let Some(default) = default {
        input = input.default(default);
    }
    let text = input.interact_text().context("cannot read the answer")?;
    Ok(text.trim().to_owned())
}

/// A line that is not shown while it is typed, trimmed.
pub(super) fn secret(prompt: &str, may_be_empty: bool) -> anyhow::Result<String> {
    let input = dialoguer::Password::new()
        .with_prompt(prompt)
        .allow_empty_password(may_be_empty);
    let secret = input.interact().context("cannot read the answer")?;
    Ok(secret.trim().to_owned())
}

/// The secret in a file that `option` names, trimmed.
pub(super) fn secret_from_file(option: &str, path: &Path) -> Result<SecretString, Usage> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let secret = text.and_then(|text| match text.trim() {
        "" => Err("the file is empty".to_owned()),
        secret => Ok(SecretString::from(secret.to_owned())),
    });
    secret.map_err(|error| Usage(format!("{option} is {}: {error}", path.display())))
}
