//! The guides are true: what they say to type is understood, what they show is what comes, what they name is there.

mod names;
mod page;
mod recipes;
mod rules;
mod run;
mod shell;
