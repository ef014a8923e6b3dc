//! The flow as a chart: bars of what was sent, and upon them what failed. Only shapes with classes: the style sheet gives
//! them their colours.

use std::time::Duration;

use jiff::Timestamp;

use crate::store::Flow;

const WIDTH: u64 = 600;
const HEIGHT: u64 = 96;

/// Room between two bars.
const GAP: u64 = 2;

/// What a bar of the full height stands for at least: a single lead is no peak.
const MIN_SCALE: u64 = 4;

/// A chart as its template draws it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chart {
    /// Tells it from the others of the page.
    pub(super) name: &'static str,
    /// What it shows, for those who do not see it.
    pub(super) summary: String,
    pub(super) bars: Vec<Bar>,
    /// What the highest bar stands for.
    pub(super) most: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

/// The bars of one step of time, one upon the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: u64,
    pub(super) width: u64,
    pub(super) sent: Part,
    pub(super) failed: Part,
    /// For the mouse.
    pub(super) title: String,
}

/// One bar; nothing where its height is 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) y: u64,
    pub(super) height: u64,
}

/// Draws the flow from `since` to `now` in steps of `step`.
pub(super) fn chart(name: &'static str, flow: &[Flow], since: Timestamp, now: Timestamp, step: Duration) -> Chart {
    let step = i64::try_from(step.as_secs()).unwrap_or(i64::MAX).max(1);
    let (first, last) = (since.as_second().div_euclid(step), now.as_second().div_euclid(step));
    let count = u64::try_from(last - first + 1).unwrap_or(1).max(1);
    let most = flow.iter().map(|step| step.sent + step.failed).max().unwrap_or(0);
    let (sent, failed) = flow
        .iter()
        .fold((0, 0), |(sent, failed), step| (sent + step.sent, failed + step.failed));
    let bars = flow.iter().filter_map(|flow| {
        let nth = u64::try_from(flow.from.as_second().div_euclid(step) - first).ok()?;
        (nth < count).then(|| bar(flow, nth, count, most))
    });
    Chart {
        name,
        summary: format!("{sent} sent, {failed} failed"),
        bars: bars.collect(),
        most,
        width: WIDTH,
        height: HEIGHT,
    }
}

fn bar(flow: &Flow, nth: u64, count: u64, most: u64) -> Bar {
    let (x, next) = (nth * WIDTH / count, (nth + 1) * WIDTH / count);
    // What is there is seen, however little it is beside the most.
    let height = |value: u64| match value {
        0 => 0,
        _ => (value * (HEIGHT - 4) / most.max(MIN_SCALE)).max(3),
    };
    let (sent, failed) = (height(flow.sent), height(flow.failed));
    let failed = failed.min(HEIGHT - sent);
    Bar {
        x,
        width: (next - x).saturating_sub(GAP).max(1),
        sent: Part {
            y: HEIGHT - sent,
            height: sent,
        },
        failed: Part {
            y: HEIGHT - sent - failed,
            height: failed,
        },
        title: format!(
            "{}: {} sent, {} failed",
            flow.from.strftime("%H:%M UTC"),
            flow.sent,
            flow.failed
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn flow(from: &str, sent: u64, failed: u64) -> Flow {
        Flow {
            from: from.parse().unwrap(),
            sent,
            failed,
        }
    }

    fn hour(flows: &[Flow]) -> Chart {
        let now: Timestamp = "2026-11-22T10:30:20Z".parse().unwrap();
        chart("hour", flows, now.checked_sub(HOUR).unwrap(), now, MINUTE)
    }

    #[test]
    fn an_empty_hour_is_an_empty_chart() {
        let chart = hour(&[]);
        assert_eq!((chart.bars.len(), chart.most), (0, 0));
        assert_eq!(chart.summary, "0 sent, 0 failed");
    }

    #[test]
    fn bars_stand_on_the_ground_one_upon_the_other_and_inside() {
        let flows = [
            flow("2026-11-22T09:30:00Z", 10, 0),
            flow("2026-11-22T10:00:00Z", 3, 1),
            flow("2026-11-22T10:30:00Z", 1000, 1),
        ];
        let chart = hour(&flows);
        assert_eq!(chart.bars.len(), 3);
        assert_eq!(chart.bars[0].x, 0);
        let last = &chart.bars[2];
        assert!(
            last.x + last.width <= chart.width && last.x > chart.width - 15,
            "{last:?}"
        );
        for bar in &chart.bars {
            assert_eq!(bar.sent.y + bar.sent.height, chart.height, "{bar:?}");
            assert_eq!(bar.failed.y + bar.failed.height, bar.sent.y, "{bar:?}");
        }
        assert!(chart.bars[1].failed.height >= 3, "one among a thousand is seen");
        assert_eq!(chart.bars[1].title, "10:00 UTC: 3 sent, 1 failed");
    }

    #[test]
    fn what_is_older_than_the_chart_is_left_out() {
        assert_eq!(hour(&[flow("2026-11-22T08:00:00Z", 5, 0)]).bars, []);
    }
}
