//! The guides are true: what they say to type is understood, what they show is what comes, what they name exists.

mod names;
mod page;
mod recipes;
mod reference;
mod rules;
mod run;
mod shell;
mod wording;
