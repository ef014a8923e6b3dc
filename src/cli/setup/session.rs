//! What is set already and what was answered, and the questions for the rest. A setting that is there is not asked for again.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::cli::doctor::{Patient, Remembered};
use crate::cli::{Sources, Usage, env_file, print};
use crate::config::Layers;
use crate::random;

/// What is asked for.
pub(super) struct Question {
    pub(super) setting: &'static str,
    /// The flag that answers it.
    pub(super) flag: &'static str,
    pub(super) words: &'static str,
    /// Where the answer is found.
    pub(super) hint: &'static str,
    pub(super) kind: Kind,
}

/// What an answer may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something.
    Needed,
    /// Something, which is not shown.
    Secret,
    /// Anything; with nothing typed, this.
    Default(&'static str),
    /// Anything or nothing.
    Optional,
}

/// The settings with the answers over them.
pub(super) struct Desk {
    pub(super) sources: Sources,
    environment: BTreeMap<String, String>,
    /// In the order they were given.
    answers: Vec<(&'static str, String)>,
    /// Those of them that nobody has typed.
    made: Vec<&'static str>,
    /// So that all looks together cost one access token.
    remembered: Remembered,
    /// Somebody is there who can be asked.
    pub(super) by_hand: bool,
}

impl Desk {
    /// Reads what is set.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(super) fn open(sources: &Sources, environment: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let desk = Self {
            sources: sources.clone(),
            environment,
            answers: Vec::new(),
            made: Vec::new(),
            remembered: Remembered::default(),
            by_hand: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        };
        match desk.layers().faults() {
            [] => Ok(desk),
            faults => bail!(Usage(faults.join("; "))),
        }
    }

    /// The settings as they will be.
    pub(super) fn layers(&self) -> Layers {
        let answers = self
            .answers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut environment = self.environment.clone();
        environment.extend(answers);
        self.read(environment)
    }

    fn read(&self, environment: BTreeMap<String, String>) -> Layers {
        Layers::read(
            self.sources.config.as_deref(),
            self.sources.env_file.as_deref(),
            environment,
        )
    }

    /// The installation as it will be, to be looked at.
    pub(super) fn patient(&self, management_token: Option<SecretString>) -> anyhow::Result<Patient> {
        Patient::new(&self.layers(), management_token, Remembered::clone(&self.remembered))
    }

    /// A setting that is there or was answered; defaults are neither.
    pub(super) fn known(&self, setting: &'static str) -> anyhow::Result<Option<String>> {
        known(&self.layers(), setting)
    }

    /// Takes an answer. What is so already is none.
    ///
    /// # Errors
    /// What is set elsewhere would go before it.
    pub(super) fn answer(&mut self, setting: &'static str, value: &str) -> anyhow::Result<()> {
        self.forget(&[setting]);
        if self.known(setting)?.as_deref() == Some(value) {
            return Ok(());
        }
        self.may_be_written(setting)?;
        self.answers.push((setting, value.to_owned()));
        Ok(())
    }

    /// Whether an answer would count.
    ///
    /// # Errors
    /// What is set elsewhere goes before it.
    pub(super) fn may_be_written(&self, setting: &str) -> Result<(), Usage> {
        env_file::has_the_last_word(setting, &self.environment, &self.layers())
    }

    /// What a setting was before there were answers.
    pub(super) fn before(&self, setting: &'static str) -> anyhow::Result<Option<String>> {
        known(&self.read(self.environment.clone()), setting)
    }

    /// Takes answers back, so that they are asked for again.
    pub(super) fn forget(&mut self, settings: &[&'static str]) {
        self.answers.retain(|(name, _)| !settings.contains(name));
        self.made.retain(|name| !settings.contains(name));
    }

    /// Makes a secret where there is none: 32 random bytes as 43 letters.
    pub(super) fn make(&mut self, setting: &'static str) -> anyhow::Result<()> {
        if self.known(setting)?.is_none() {
            let secret = BASE64_URL_SAFE_NO_PAD.encode(random::bytes::<32>());
            self.answer(setting, &secret)?;
            self.made.push(setting);
        }
        Ok(())
    }

    /// Asks, where the answer is not known. `again` asks all the same, and offers what is known.
    ///
    /// # Errors
    /// Nobody is there to answer what has to be answered.
    pub(super) fn ask(&mut self, question: &Question, again: bool) -> anyhow::Result<()> {
        let known = self.known(question.setting)?;
        if known.is_some() && !again {
            return Ok(());
        }
        if !self.by_hand {
            return match question.kind {
                Kind::Needed | Kind::Secret => Err(Usage(missing(question)).into()),
                Kind::Default(_) | Kind::Optional => Ok(()),
            };
        }
        print(&format!("\n{}\n", question.hint))?;
        let typed = match question.kind {
            Kind::Secret => hidden(question.words, known.is_some())?,
            kind => {
                let default = match kind {
                    Kind::Default(default) => Some(default.to_owned()),
                    _ => None,
                };
                typed(question.words, known.or(default), kind == Kind::Optional)?
            }
        };
        if typed.is_empty() {
            return Ok(());
        }
        self.forget(&[question.setting]);
        match question.kind {
            // What is the default anyway needs no line in the file.
            Kind::Default(default) if typed == default && !self.layers().is_set(question.setting) => Ok(()),
            _ => self.answer(question.setting, &typed),
        }
    }

    /// The answers that no file has yet: what the env file will be given.
    pub(super) fn changes(&self) -> &[(&'static str, String)] {
        &self.answers
    }

    /// What will be in the env file, for people: secrets are not shown.
    pub(super) fn shown_changes(&self) -> anyhow::Result<Vec<String>> {
        let before = self.read(self.environment.clone());
        let shown = |(name, value): &(&'static str, String)| {
            let was = known(&before, name)?;
            let secret = crate::config::is_secret(name);
            Ok(match (secret, was) {
                (true, None) if self.made.contains(name) => format!("{name} (made just now)"),
                (true, None) => format!("{name} (not shown)"),
                (true, Some(_)) => format!("{name} (another, not shown)"),
                (false, None) => format!("{name}={value}"),
                (false, Some(was)) => format!("{name}={value} (was {was})"),
            })
        };
        self.answers.iter().map(shown).collect()
    }

    /// Settings that are set by the environment of this process alone: a service that is started elsewhere lacks them.
    pub(super) fn only_here(&self) -> Vec<&'static str> {
        let (here, elsewhere) = (self.read(self.environment.clone()), self.read(BTreeMap::new()));
        crate::config::names()
            .filter(|name| *name != "RUST_LOG" && here.is_set(name) && !elsewhere.is_set(name))
            .collect()
    }

    /// Writes the answers into the env file. They are settings like all others from then on.
    ///
    /// # Errors
    /// It cannot be written, and is as it was.
    pub(super) fn write(&mut self) -> anyhow::Result<()> {
        let path = env_file::path(&self.sources);
        if !self.answers.is_empty() || env_file::is_open(&path) {
            let settings: Vec<(&str, &str)> = self
                .answers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            env_file::set(&path, &settings)?;
        }
        self.answers.clear();
        self.made.clear();
        Ok(())
    }
}

fn known(layers: &Layers, setting: &'static str) -> anyhow::Result<Option<String>> {
    if !layers.is_set(setting) {
        return Ok(None);
    }
    Ok(layers.get(setting).map_err(Usage)?)
}

/// What a script has to give.
pub(super) fn missing(question: &Question) -> String {
    format!("{} is missing: give {}", question.setting, question.flag)
}

/// The one line of a file that a flag names.
pub(super) fn line_of(flag: &str, path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Usage(format!("{flag} is {}: {error}", path.display())))?;
    match text.trim() {
        "" => bail!(Usage(format!("{flag} is {}: the file is empty", path.display()))),
        text => Ok(text.to_owned()),
    }
}

fn typed(words: &str, default: Option<String>, may_be_empty: bool) -> anyhow::Result<String> {
    let mut input = dialoguer::Input::<String>::new()
        .with_prompt(words)
        .allow_empty(may_be_empty);
    if let Some(default) = default {
        input = input.default(default);
    }
    Ok(input.interact_text().context("nobody answers")?.trim().to_owned())
}

/// What is typed is not shown. With nothing typed, what was known stays.
pub(super) fn hidden(words: &str, may_be_empty: bool) -> anyhow::Result<String> {
    let input = dialoguer::Password::new()
        .with_prompt(words)
        .allow_empty_password(may_be_empty);
    Ok(input.interact().context("nobody answers")?.trim().to_owned())
}

/// Only a yes is one.
pub(super) fn confirmed(question: &str) -> anyhow::Result<bool> {
    let confirm = dialoguer::Confirm::new().with_prompt(question).default(false);
    confirm.interact().context("nobody answers")
}
