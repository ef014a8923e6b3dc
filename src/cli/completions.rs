//! `bigin-sync completions` and `bigin-sync man`: both are made from the very definition that reads the command line.

use std::path::PathBuf;

use anyhow::Context as _;
use clap_complete::Shell;

use super::{definition, print};

const COMPLETIONS: &str = "\
Examples:
  bigin-sync completions bash > /etc/bash_completion.d/bigin-sync
  bigin-sync completions zsh > ~/.zfunc/_bigin-sync      with `fpath+=~/.zfunc` before compinit
  bigin-sync completions fish > ~/.config/fish/completions/bigin-sync.fish";

const MAN: &str = "\
Examples:
  bigin-sync man | man -l -                   reads it here
  bigin-sync man /usr/local/share/man/man1    installs it, and a page for each command";

/// For which shell.
#[derive(clap::Args)]
#[command(after_long_help = COMPLETIONS)]
pub(super) struct Completions {
    /// The shell that is to complete
    shell: Shell,
}

/// Where to.
#[derive(clap::Args)]
#[command(after_long_help = MAN)]
pub(super) struct Man {
    /// A folder for this page and one of each command; without it the page goes to standard output
    folder: Option<PathBuf>,
}

/// Writes the completions.
///
/// # Errors
/// They cannot be written.
pub(super) fn completions(options: &Completions) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut definition(), "bigin-sync", &mut text);
    print(&String::from_utf8_lossy(&text)).context("the completions cannot be written")
}

/// Writes the manual.
///
/// # Errors
/// It cannot be written.
pub(super) fn man(options: &Man) -> anyhow::Result<()> {
    let command = definition();
    let Some(folder) = &options.folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        return print(&String::from_utf8_lossy(&text)).context("the manual cannot be written");
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| format!("the manual cannot be written to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_examples_and_every_flag_says_what_it_does() {
        let mut command = definition();
        command.build();
        let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
        for command in commands.chain([&command]) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            let more = command
                .get_after_long_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(more.starts_with("Examples:"), "{name}: {more}");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.len() > 10, "{name} {argument}: {help}");
            }
        }
    }
}
