//! The self client's code.

use std::io::{IsTerminal as _, Read as _};

use anyhow::bail;

use super::hint;
use crate::bigin::oauth::SCOPES;
use crate::cli::{Usage, prompt};

/// From the terminal, or else from standard input.
pub(super) fn ask() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        hint(&format!(
            "Generate a code: https://api-console.zoho.com (in your data center), \"Self Client\", tab \"Generate Code\".\n\
             Scope:        {SCOPES}\n\
             Duration:     10 minutes\n\
             Description:  bigin-sync\n\
             Then choose the portal Bigin and your organisation.\n"
        ));
        return prompt::text("Code", None, false);
    }
    let mut code = String::new();
    std::io::stdin().read_to_string(&mut code)?;
    if code.trim().is_empty() {
        bail!(Usage(
            "there is no code: give it as an argument or on standard input".into()
        ));
    }
    Ok(code.trim().to_owned())
}

/// Rejects what cannot be a code without calling Zoho, which accepts ten codes in ten minutes. Zoho's codes and tokens begin
/// with `1000.` (Zoho's OAuth docs). The message does not repeat the code: a part of one is a secret too.
pub(super) fn check(code: &str) -> anyhow::Result<()> {
    let rest = code.trim().strip_prefix("1000.").unwrap_or_default();
    if !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') {
        return Ok(());
    }
    bail!(Usage(
        "this is not a Zoho API console code: codes begin with 1000. Nothing was sent to Zoho. Copy the whole code. For the stored \
         token use `bigin-sync auth status` or `bigin-sync auth revoke`"
            .to_owned()
    ))
}
