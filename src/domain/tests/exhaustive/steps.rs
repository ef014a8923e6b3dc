//! The transitions of the model: which there are in a state, and the state that each leads to.

use super::scenario::{Answer, LEADS, WORKERS, Wish};
use super::world::{Doc, Hand, Status, Worker, World, revision};
use crate::domain::sync::Source;
use crate::store::Stage;

/// One step of anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A worker claims a sync.
    Claim {
        worker: usize,
        stage: Stage,
        lead: usize,
    },
    /// It reads the lead, and makes the call, which ends so.
    Act {
        worker: usize,
        answer: Answer,
    },
    /// It records the outcome.
    Record {
        worker: usize,
    },
    /// Its process ends; another starts in its place, and knows nothing.
    Crash {
        worker: usize,
    },
    /// A webhook arrives.
    Deliver {
        place: usize,
    },
    /// An insert whose reply was lost is applied.
    ApplyLate,
    Person {
        wish: Wish,
        lead: usize,
    },
    Tick,
}

impl World {
    /// Every step there is, those first of which a fair schedule without faults takes the first.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.steps_of_workers(&mut steps);
        steps.extend((0..self.webhooks.len()).map(|place| Step::Deliver { place }));
        self.claims(&mut steps);
        let is_waiting = self.bigin.late.is_some() || self.store.rows.iter().any(Option::is_some);
        if is_waiting && (self.is_idle() || self.left.stalls > 0) {
            steps.push(Step::Tick);
        }
        if self.bigin.late.is_some() {
            steps.push(Step::ApplyLate);
        }
        self.faults(&mut steps);
        if self.left.wishes > 0 {
            let wishes = self.scenario.wishes.iter();
            let of_lead = |lead| wishes.clone().map(move |wish| Step::Person { wish: *wish, lead });
            steps.extend(self.scenario.wished_for.iter().copied().flat_map(of_lead));
        }
        steps
    }

    /// The step that is taken where nothing goes wrong and nothing waits.
    pub(super) fn fair_step(&self) -> Option<Step> {
        self.steps().into_iter().next()
    }

    fn steps_of_workers(&self, steps: &mut Vec<Step>) {
        for worker in 0..WORKERS {
            if let Worker::Busy(job) = &self.workers[worker] {
                steps.push(match job.hand {
                    Hand::Claimed | Hand::Due { .. } => Step::Act {
                        worker,
                        answer: Answer::Well,
                    },
                    Hand::Done { .. } => Step::Record { worker },
                });
            }
        }
    }

    /// Whether no worker has anything to do before time has passed.
    fn is_idle(&self) -> bool {
        let mut claims = Vec::new();
        self.claims(&mut claims);
        claims.is_empty() && self.workers.iter().all(|worker| matches!(worker, Worker::Idle))
    }

    /// Idle workers are alike: the first one claims.
    fn claims(&self, steps: &mut Vec<Step>) {
        let Some(worker) = self.workers.iter().position(|worker| matches!(worker, Worker::Idle)) else {
            return;
        };
        for lead in 0..LEADS {
            let may = Stage::ALL.into_iter().filter(|stage| self.may_claim(*stage, lead));
            steps.extend(may.map(|stage| Step::Claim { worker, stage, lead }));
        }
    }

    fn faults(&self, steps: &mut Vec<Step>) {
        for worker in 0..WORKERS {
            let Worker::Busy(job) = &self.workers[worker] else {
                continue;
            };
            if self.left.crashes > 0 {
                steps.push(Step::Crash { worker });
            }
            if self.left.faults > 0 && !matches!(job.hand, Hand::Done { .. }) {
                let faults = self.scenario.faults.iter();
                steps.extend(faults.map(|answer| Step::Act {
                    worker,
                    answer: *answer,
                }));
            }
        }
    }

    /// The state after a step; `None` where it cannot be taken.
    pub(super) fn after(&self, step: Step) -> Option<Self> {
        let mut world = self.clone();
        let is_taken = match step {
            Step::Claim { worker, stage, lead } => {
                world.claim(worker, stage, lead);
                true
            }
            Step::Act { worker, answer } => {
                if answer != Answer::Well {
                    world.left.faults -= 1;
                }
                world.act(worker, answer)
            }
            Step::Record { worker } => {
                world.record(worker);
                true
            }
            Step::Crash { worker } => {
                world.left.crashes -= 1;
                world.workers[worker] = Worker::Idle;
                true
            }
            Step::Deliver { place } => {
                let (lead, rev) = world.webhooks.remove(place);
                world.request(lead, Source::Webhook, Some(revision(rev)));
                true
            }
            Step::ApplyLate => {
                world.apply_late();
                true
            }
            Step::Person { wish, lead } => {
                world.left.wishes -= 1;
                world.carry_out(wish, lead)
            }
            Step::Tick => {
                if !world.is_idle() {
                    world.left.stalls -= 1;
                }
                world.tick();
                true
            }
        };
        world.put_busy_first();
        is_taken.then_some(world)
    }

    /// Workers are alike: an idle one comes last.
    fn put_busy_first(&mut self) {
        if let [Worker::Idle, Worker::Busy(_)] = self.workers {
            self.workers.reverse();
            let rows = self.store.rows.iter_mut().flatten();
            for lease in rows.filter_map(|row| row.lease.as_mut()) {
                lease.worker = WORKERS - 1 - lease.worker;
            }
        }
    }

    /// Does what a person wishes; `false` where that changes nothing.
    fn carry_out(&mut self, wish: Wish, lead: usize) -> bool {
        if let Some(row) = &mut self.store.rows[lead] {
            row.free_returns = 0;
        }
        let is_active = self.store.rows[lead].is_some();
        let Some(doc) = &mut self.docs[lead] else { return false };
        let is_asking = doc.status == Status::Requested;
        match wish {
            Wish::Edit => doc.data += 1,
            Wish::Ask | Wish::AskChanged | Wish::PublishStale if is_asking => return false,
            Wish::Ask => doc.status = Status::Requested,
            Wish::AskChanged => {
                doc.status = Status::Requested;
                doc.data += 1;
            }
            Wish::PublishStale => {
                *doc = Doc {
                    status: Status::Requested,
                    contact: None,
                    synced: None,
                    ..*doc
                };
            }
            Wish::Withdraw if is_asking => doc.status = Status::None,
            Wish::DeleteLead => self.docs[lead] = None,
            Wish::Cancel if is_active => {
                let ended = self.store.ended;
                self.cancel(lead);
                self.history[lead].is_cancelled = true;
                return self.store.ended > ended;
            }
            Wish::Retry if self.store.created > 0 => {
                self.retry(lead);
                self.history[lead].is_cancelled = false;
                return true;
            }
            Wish::DeleteContact | Wish::MergeContact => {
                let is_there = self.find(lead).is_some();
                self.remove_contact(lead, wish == Wish::MergeContact);
                return is_there;
            }
            Wish::Withdraw | Wish::Cancel | Wish::Retry => return false,
        }
        if let Some(doc) = &mut self.docs[lead] {
            doc.rev += 1;
            if matches!(wish, Wish::Ask | Wish::AskChanged | Wish::PublishStale) {
                self.webhooks.push((lead, doc.rev));
                self.history[lead].asked = (doc.rev, doc.data);
                self.history[lead].is_cancelled = false;
            }
        }
        true
    }
}
