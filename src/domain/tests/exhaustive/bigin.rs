//! Bigin of the model: contacts by identity. What a call does is observed here, and judged at once where it may never happen.

use super::scenario::{AMBIGUITY_DELAY, Answer, TAG_DELAY};
use super::world::{Contact, Late, World, contact_id, number};
use crate::domain::lead::ContactId;
use crate::domain::record::Action;

/// How the call of one record ended.
pub(super) enum Ended<T> {
    Well(T),
    Gone,
    Refused,
    Busy,
    /// Not known.
    Lost,
}

impl World {
    /// A contact that is there, by its identity: what Bigin finds by a unique value, and the look-up by phone.
    pub(super) fn find(&self, lead: usize) -> Option<ContactId> {
        let identity = self.scenario.leads[lead].number();
        let is_its = |contact: &&Contact| contact.identity == identity && !contact.is_gone;
        let place = self.bigin.contacts.iter().position(|contact| is_its(&contact))?;
        Some(contact_id(u8::try_from(place + 1).unwrap()))
    }

    /// Upserts a revision of a lead, to the contact given, or to the one that Bigin finds. `None` where such a call cannot end so.
    pub(super) fn upsert(
        &mut self,
        (lead, rev, data): (usize, u8, u8),
        contact: Option<&ContactId>,
        answer: Answer,
    ) -> Option<Ended<(ContactId, Action)>> {
        let is_blind = contact.is_none() && self.scenario.leads[lead].key().is_none();
        let is_gone = contact.is_some_and(|contact| self.is_gone(contact));
        let lost = |answer| answer != Answer::Well;
        match answer {
            Answer::Refused => return Some(Ended::Refused),
            Answer::Busy => return Some(Ended::Busy),
            Answer::LostUndone => return Some(Ended::Lost),
            Answer::LostLate if is_blind && self.bigin.late.is_none() => {
                let ticks = AMBIGUITY_DELAY;
                self.bigin.late = Some(Late { lead, rev, data, ticks });
                return Some(Ended::Lost);
            }
            Answer::LostLate => return None,
            Answer::Contradiction => return (contact.is_some() && !is_gone).then_some(Ended::Gone),
            Answer::LostDone if is_gone => return Some(Ended::Lost),
            Answer::Well if is_gone => return Some(Ended::Gone),
            Answer::Well | Answer::LostDone => {}
        }
        let found = match contact {
            Some(contact) => Some(contact.clone()),
            None if is_blind => None,
            None => self.find(lead),
        };
        let (contact, action) = match found {
            Some(contact) => (contact, Action::Update),
            None => (self.insert(lead), Action::Insert),
        };
        self.take_over(&contact, (lead, rev, data));
        Some(if lost(answer) {
            Ended::Lost
        } else {
            Ended::Well((contact, action))
        })
    }

    fn is_gone(&self, contact: &ContactId) -> bool {
        self.bigin.contacts[usize::from(number(contact)) - 1].is_gone
    }

    fn insert(&mut self, lead: usize) -> ContactId {
        self.bigin.contacts.push(Contact {
            identity: self.scenario.leads[lead].number(),
            is_gone: false,
            age: 0,
        });
        contact_id(u8::try_from(self.bigin.contacts.len()).unwrap())
    }

    fn take_over(&mut self, contact: &ContactId, (lead, rev, data): (usize, u8, u8)) {
        let number = number(contact);
        self.bigin.contacts[usize::from(number) - 1].age = 0;
        let history = &mut self.history[lead];
        history.upserted = Some((rev, data, number));
        history.is_tagged = false;
    }

    /// An insert whose reply was lost is applied after all.
    pub(super) fn apply_late(&mut self) {
        if let Some(Late { lead, rev, data, .. }) = self.bigin.late.take() {
            let contact = self.insert(lead);
            self.take_over(&contact, (lead, rev, data));
        }
    }

    /// Adds the tag to a contact.
    pub(super) fn add_tag(&mut self, contact: &ContactId, answer: Answer) -> Option<Ended<()>> {
        let is_gone = self.is_gone(contact);
        match answer {
            Answer::Refused => return Some(Ended::Refused),
            Answer::Busy => return Some(Ended::Busy),
            Answer::LostUndone => return Some(Ended::Lost),
            Answer::LostLate => return None,
            Answer::Contradiction => return (!is_gone).then_some(Ended::Gone),
            Answer::LostDone if is_gone => return Some(Ended::Lost),
            Answer::Well if is_gone => return Some(Ended::Gone),
            Answer::Well | Answer::LostDone => {}
        }
        let number = number(contact);
        if self.bigin.contacts[usize::from(number) - 1].age < TAG_DELAY {
            self.broken = Some("a tag came before the delay after the latest upsert of its contact");
        }
        for history in &mut self.history {
            history.is_tagged |= history.upserted.is_some_and(|(_, _, upserted)| upserted == number);
        }
        Some(if answer == Answer::Well {
            Ended::Well(())
        } else {
            Ended::Lost
        })
    }

    /// A person deletes a lead's contact, or merges it into a new one.
    pub(super) fn remove_contact(&mut self, lead: usize, is_merged: bool) {
        let Some(contact) = self.find(lead) else { return };
        let place = usize::from(number(&contact)) - 1;
        let removed = &mut self.bigin.contacts[place];
        removed.is_gone = true;
        if is_merged {
            let into = Contact {
                is_gone: false,
                ..*removed
            };
            self.bigin.contacts.push(into);
        }
        self.store
            .rows
            .iter_mut()
            .flatten()
            .for_each(|row| row.free_returns = 0);
    }
}
