//! Breadth first through all states that a scenario can reach. The first story that breaks a sentence is a shortest one.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::fmt;

use super::key::{Key, key};
use super::properties::broken;
use super::scenario::Scenario;
use super::steps::Step;
use super::world::World;

/// From every state, a fair schedule without faults ends every sync within so many steps.
pub(super) const MAX_FAIR_STEPS: u32 = 60;

/// What a search has come to.
pub(super) struct Searched {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// The longest way from a state to the end, without faults.
    pub(super) longest: u32,
}

/// A sentence that is not true, and the steps that lead to it.
pub(super) struct Broken {
    pub(super) sentence: &'static str,
    pub(super) story: Vec<Step>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, after:", self.sentence)?;
        self.story.iter().try_for_each(|step| write!(f, "\n    {step:?}"))
    }
}

/// How a state was reached first, and where a fair schedule goes on from it.
struct Reached {
    before: usize,
    step: Option<Step>,
    fair: Way,
}

#[derive(Clone, Copy)]
enum Way {
    /// All is at rest.
    End,
    To(usize),
    /// There is nothing left to do, and all is not at rest.
    Stuck,
}

/// Looks at every state.
pub(super) fn search(scenario: &Scenario) -> Result<Searched, Broken> {
    let begin = World::begin(scenario);
    let mut known: HashMap<Key, usize> = HashMap::from([(key(&begin), 0)]);
    let mut reached = vec![Reached {
        before: 0,
        step: None,
        fair: Way::Stuck,
    }];
    let mut waiting = VecDeque::from([(0, begin)]);
    let mut steps = 0;
    while let Some((at, world)) = waiting.pop_front() {
        if world.is_at_rest() {
            reached[at].fair = Way::End;
        }
        let fair = world.fair_step().filter(|_| !world.is_at_rest());
        for step in world.steps() {
            let Some(after) = world.after(step) else { continue };
            steps += 1;
            let place = reached.len();
            let to = match known.entry(key(&after)) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    entry.insert(place);
                    reached.push(Reached {
                        before: at,
                        step: Some(step),
                        fair: Way::Stuck,
                    });
                    if let Some(sentence) = broken(&after) {
                        return Err(story(&reached, place, sentence));
                    }
                    waiting.push_back((place, after));
                    place
                }
            };
            if fair == Some(step) {
                reached[at].fair = Way::To(to);
            }
        }
    }
    let longest = longest(&reached)?;
    Ok(Searched {
        states: reached.len(),
        steps,
        longest,
    })
}

/// The most steps of a fair schedule from any state to the end of every sync.
fn longest(reached: &[Reached]) -> Result<u32, Broken> {
    let mut ways: Vec<Option<u32>> = vec![None; reached.len()];
    for from in 0..reached.len() {
        let fails = |sentence| Err(story(reached, from, sentence));
        let mut path = Vec::new();
        let mut at = from;
        let mut length = loop {
            if let Some(known) = ways[at] {
                break known;
            }
            match reached[at].fair {
                _ if path.len() > reached.len() => {
                    return fails("a sync never ends, where nothing goes wrong any more");
                }
                Way::Stuck => return fails("nothing is left to do, and a sync has not ended"),
                Way::End => {
                    ways[at] = Some(0);
                    break 0;
                }
                Way::To(next) => {
                    path.push(at);
                    at = next;
                }
            }
        };
        for state in path.into_iter().rev() {
            length += 1;
            ways[state] = Some(length);
        }
        if length > MAX_FAIR_STEPS {
            return fails("a sync takes too long to end, where nothing goes wrong any more");
        }
    }
    Ok(ways.into_iter().flatten().max().unwrap_or_default())
}

fn story(reached: &[Reached], place: usize, sentence: &'static str) -> Broken {
    let mut story = Vec::new();
    let mut at = place;
    while let Some(step) = reached[at].step {
        story.push(step);
        at = reached[at].before;
    }
    story.reverse();
    Broken { sentence, story }
}
