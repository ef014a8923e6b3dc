//! Makes a plan that fails shorter, for as long as it fails.

use super::plan::Plan;

/// Runs of the search.
const MOST_RUNS: usize = 1_000;

/// The shortest plan that was found for which `fails` is true.
pub fn shrink(plan: &Plan, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut runs = 0;
    loop {
        let before = best.clone();
        for part in [acts, faults, deaths] {
            thin(&mut best, part, &mut runs, &mut fails);
        }
        for simpler in simpler_profiles(&best) {
            runs += 1;
            if runs < MOST_RUNS && fails(&simpler) {
                best = simpler;
            }
        }
        if best == before || runs >= MOST_RUNS {
            return best;
        }
    }
}

/// A list of a plan: its length, or the plan without a range of it.
type Part = fn(&mut Plan, Option<(usize, usize)>) -> usize;

fn cut<T>(list: &mut Vec<T>, range: Option<(usize, usize)>) -> usize {
    if let Some((from, to)) = range {
        list.drain(from..to.min(list.len()));
    }
    list.len()
}

fn acts(plan: &mut Plan, range: Option<(usize, usize)>) -> usize {
    cut(&mut plan.acts, range)
}

fn faults(plan: &mut Plan, range: Option<(usize, usize)>) -> usize {
    cut(&mut plan.faults, range)
}

fn deaths(plan: &mut Plan, range: Option<(usize, usize)>) -> usize {
    cut(&mut plan.deaths, range)
}

/// Leaves out halves, quarters and so on of a list, down to single entries.
fn thin(best: &mut Plan, part: Part, runs: &mut usize, fails: &mut impl FnMut(&Plan) -> bool) {
    let mut size = part(best, None).div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < part(best, None) && *runs < MOST_RUNS {
            let mut shorter = best.clone();
            part(&mut shorter, Some((from, from + size)));
            *runs += 1;
            if fails(&shorter) {
                *best = shorter;
            } else {
                from += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
}

fn simpler_profiles(plan: &Plan) -> Vec<Plan> {
    let with = |change: fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        plan
    };
    let simpler = [
        with(|plan| plan.profile.poison = false),
        with(|plan| plan.profile.hang = false),
        with(|plan| plan.profile.contradicts = false),
        with(|plan| plan.profile.large = 0),
        with(|plan| plan.profile.latency = 0),
        with(|plan| plan.profile.per_record = 0),
        with(|plan| plan.profile.disk = 0),
        with(|plan| plan.profile.deliveries = 1),
        with(|plan| plan.profile.without_content = 0),
    ];
    simpler.into_iter().filter(|simpler| simpler != plan).collect()
}
