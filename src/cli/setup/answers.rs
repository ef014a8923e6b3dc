//! The answers that options give, and the questions for the rest.

use std::path::PathBuf;

use anyhow::bail;
use secrecy::ExposeSecret as _;

use super::session::{Kind, Question, Session, missing};
use crate::cli::prompt::secret_from_file;
use crate::cli::{Sources, Usage};

const EXAMPLES: &str = "\
Examples:
  bigin-sync setup                 prompt for the settings, with instructions
  bigin-sync setup --test-lead     and send a test lead at the end
  bigin-sync setup --yes --sanity-project-id abc123 --sanity-token-file token --management-token-file developer \\
      --bigin-client-id 1000.ABC --bigin-client-secret-file secret --bigin-code 1000.abc.def \\
      --public-url https://crm.example.org

It does not ask for what is set already in bigin-sync.toml, the env file or the environment, so it can be run again at any
time. It shows all changes before it makes them. Settings are written into the env file, which only its owner can read
afterwards.

The management token is a Sanity token of the role Developer or Administrator (sanity.io/manage, API, Tokens), also read from
SANITY_MANAGEMENT_TOKEN. It creates or changes the webhook and is never stored. Without it, setup shows how to create the
webhook yourself.

Exit 0: setup is complete. 1: a check failed. 2: wrong usage, or an answer is missing and there is no terminal.";

#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Options {
    /// The Sanity project of the leads [default: SANITY_PROJECT_ID, or a prompt]
    #[arg(long, value_name = "ID")]
    pub(super) sanity_project_id: Option<String>,
    /// Its dataset [default: SANITY_DATASET, or production]
    #[arg(long, value_name = "NAME")]
    pub(super) sanity_dataset: Option<String>,
    /// The document type of a lead [default: SANITY_LEAD_TYPE, or dbrLead]
    #[arg(long, value_name = "TYPE")]
    pub(super) sanity_lead_type: Option<String>,
    /// A file with a token of the role Editor [default: SANITY_API_WRITE_TOKEN, or a prompt]
    #[arg(long, value_name = "FILE")]
    pub(super) sanity_token_file: Option<PathBuf>,
    /// A file with a token for Sanity's management API, not stored [default: SANITY_MANAGEMENT_TOKEN, or a prompt]
    #[arg(long, value_name = "FILE")]
    pub(super) management_token_file: Option<PathBuf>,
    /// The self client's ID [default: BIGIN_CLIENT_ID, or a prompt]
    #[arg(long, value_name = "ID")]
    pub(super) bigin_client_id: Option<String>,
    /// A file with the self client's secret [default: BIGIN_CLIENT_SECRET, or a prompt]
    #[arg(long, value_name = "FILE")]
    pub(super) bigin_client_secret_file: Option<PathBuf>,
    /// us, eu, in, au, cn, jp, sa or ca [default: BIGIN_DATA_CENTER, or all are tried]
    #[arg(long, value_name = "NAME")]
    pub(super) bigin_data_center: Option<String>,
    /// A code from Zoho's API console; ignored if the refresh token works
    #[arg(long, value_name = "CODE")]
    pub(super) bigin_code: Option<String>,
    /// The tags that start Bigin's automation, separated by commas [default: BIGIN_TAGS, or DBR_Dashboard_Import]
    #[arg(long, value_name = "TAGS")]
    pub(super) bigin_tags: Option<String>,
    /// The service's URL on the internet [default: PUBLIC_URL, or a prompt]
    #[arg(long, value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// Apply the changes without confirmation
    #[arg(long)]
    pub(super) yes: bool,
    /// At the end, create a test lead in Sanity and wait until the service has sent it
    #[arg(long)]
    pub(super) test_lead: bool,
    #[command(flatten)]
    pub(super) sources: Sources,
}

pub(super) const PROJECT_ID: Question = Question {
    setting: "SANITY_PROJECT_ID",
    flag: "--sanity-project-id",
    prompt: "Sanity project ID",
    hint: "https://sanity.io/manage shows the ID of the leads' project: eight letters and digits.",
    kind: Kind::Required,
};

pub(super) const DATASET: Question = Question {
    setting: "SANITY_DATASET",
    flag: "--sanity-dataset",
    prompt: "Dataset",
    hint: "sanity.io/manage lists the project's datasets.",
    kind: Kind::Default("production"),
};

pub(super) const LEAD_TYPE: Question = Question {
    setting: "SANITY_LEAD_TYPE",
    flag: "--sanity-lead-type",
    prompt: "Document type of a lead",
    hint: "The name in the Studio's schema: defineType({name: …}).",
    kind: Kind::Default("dbrLead"),
};

pub(super) const SANITY_TOKEN: Question = Question {
    setting: "SANITY_API_WRITE_TOKEN",
    flag: "--sanity-token-file",
    prompt: "Editor token (hidden)",
    hint: "For reading leads and writing results: sanity.io/manage, API, Tokens, Add API token, with the permission Editor.",
    kind: Kind::Secret,
};

pub(super) const TAGS: Question = Question {
    setting: "BIGIN_TAGS",
    flag: "--bigin-tags",
    prompt: "Tags",
    hint: "This tag starts your automation in Bigin. It is created if it does not exist. Separate several with commas.",
    kind: Kind::Default("DBR_Dashboard_Import"),
};

pub(super) const PUBLIC_URL: Question = Question {
    setting: "PUBLIC_URL",
    flag: "--public-url",
    prompt: "Public URL (leave empty if there is none yet)",
    hint: "The service's URL on the internet, such as https://crm.example.org. Sanity's webhook calls it.\n\
           Without it, the service checks Sanity for requested leads every minute.",
    kind: Kind::Optional,
};

impl Options {
    /// Adds the options to the answers.
    ///
    /// # Errors
    /// A file cannot be read, or another source would override an option.
    pub(super) fn answer(&self, session: &mut Session) -> anyhow::Result<()> {
        let given = [
            ("SANITY_PROJECT_ID", &self.sanity_project_id),
            ("SANITY_DATASET", &self.sanity_dataset),
            ("SANITY_LEAD_TYPE", &self.sanity_lead_type),
            ("BIGIN_TAGS", &self.bigin_tags),
            ("PUBLIC_URL", &self.public_url),
        ];
        for (setting, value) in given {
            if let Some(value) = value {
                session.answer(setting, value.trim())?;
            }
        }
        if let Some(path) = &self.sanity_token_file {
            let token = secret_from_file(SANITY_TOKEN.flag, path)?;
            session.answer(SANITY_TOKEN.setting, token.expose_secret())?;
        }
        Ok(())
    }

    /// # Errors
    /// Required settings that are neither set nor given, all at once.
    pub(super) fn check_complete(&self, session: &Session) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        for question in [&PROJECT_ID, &SANITY_TOKEN] {
            if session.get(question.setting)?.is_none() {
                faults.push(missing(question));
            }
        }
        if session.get("BIGIN_REFRESH_TOKEN")?.is_none() {
            let given = [
                ("BIGIN_CLIENT_ID", "--bigin-client-id", self.bigin_client_id.is_some()),
                (
                    "BIGIN_CLIENT_SECRET",
                    "--bigin-client-secret-file",
                    self.bigin_client_secret_file.is_some(),
                ),
            ];
            for (setting, flag, is_given) in given {
                if !is_given && session.get(setting)?.is_none() {
                    faults.push(format!("{setting} is missing: use {flag}"));
                }
            }
            if self.bigin_code.is_none() {
                faults.push(
                    "BIGIN_REFRESH_TOKEN is missing: use --bigin-code with a new code from Zoho's API console"
                        .to_owned(),
                );
            }
        }
        match faults.as_slice() {
            [] => Ok(()),
            faults => bail!(Usage(faults.join("; "))),
        }
    }
}
