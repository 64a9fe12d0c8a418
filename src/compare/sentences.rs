//! The answer of a report, in sentences: only what its intervals support.

use super::report::{FigureReport, Report};
use super::statistics::Estimate;
use musiva_train::evaluate::{Anchor, Better};

/// Three sentences: likelihood, quality, cost; the first two of the first task alone, the page has all.
pub(super) fn answer(report: &Report) -> Vec<String> {
    let bits = report.bits().next().and_then(|figure| likelihood(report, figure));
    let quality = report.quality().next().and_then(|figure| quality(report, figure));
    bits.into_iter().chain(quality).chain(cost(report)).collect()
}

/// A number as it is read: as many digits as its interval leaves sense.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..0.01 => format!("{value:.2e}"),
        ..10.0 => format!("{value:.2}"),
        ..1e4 => format!("{value:.1}"),
        _ => format!("{value:.2e}"),
    }
}

pub(super) fn interval(estimate: &Estimate) -> String {
    format!("{} [{}, {}]", number(estimate.mean), number(estimate.low), number(estimate.high))
}

/// `a`, `a and b`, `a, b and c`.
fn all(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The arms of a figure: the best, those that are shown to be worse, and those of which it is not shown.
fn ranked<'a>(report: &'a Report, figure: &FigureReport) -> Option<(usize, Vec<&'a str>, Vec<&'a str>)> {
    let best = figure.best()?;
    let others = (0..report.arms.len()).filter(|&arm| arm != best && figure.arms[arm].is_some());
    let (worse, open): (Vec<usize>, Vec<usize>) = others.partition(|&arm| figure.is_shown(best, arm));
    let names = |arms: Vec<usize>| arms.into_iter().map(|arm| &*report.arms[arm].name).collect::<Vec<_>>();
    let (worse, open) = (names(worse), names(open));
    (!worse.is_empty() || !open.is_empty()).then_some((best, worse, open))
}

fn likelihood(report: &Report, figure: &FigureReport) -> Option<String> {
    let (best, worse, open) = ranked(report, figure)?;
    let (estimate, is_bound) = figure.arms[best].as_ref()?;
    let name = &report.arms[best].name;
    let kind = if *is_bound { "an upper bound" } else { "exact" };
    let mut text = format!(
        "Held-out samples of {} take the fewest bits by {name}, {} a sample ({kind})",
        figure.of,
        interval(estimate)
    );
    match (worse.is_empty(), open.is_empty()) {
        (false, true) => text.push_str(&format!(", fewer than by {}", all(&worse))),
        (false, false) => {
            text.push_str(&format!(", fewer than by {}; of {} a difference is not shown", all(&worse), all(&open)));
        }
        (true, _) => text.push_str(&format!(", but of {} a difference is not shown", all(&open))),
    }
    let bounded = (0..report.arms.len()).filter(|&arm| arm != best);
    let bounded: Vec<&str> = bounded
        .filter(|&arm| figure.arms[arm].as_ref().is_some_and(|(_, bound)| *bound))
        .map(|arm| &*report.arms[arm].name)
        .collect();
    if !bounded.is_empty() {
        text.push_str(&format!(
            " (what stands for {} is an upper bound: the model itself may be better than it says)",
            all(&bounded)
        ));
    }
    let unigram = |anchor: &&Anchor| anchor.task == figure.of && anchor.model == "unigram";
    if let Some(anchor) = report.anchors.iter().find(unigram) {
        text.push_str(&format!("; codes by their frequency alone take {}", number(anchor.bits_per_sample)));
    }
    Some(text + ".")
}

fn quality(report: &Report, figure: &FigureReport) -> Option<String> {
    let (best, worse, open) = ranked(report, figure)?;
    let (estimate, _) = figure.arms[best].as_ref()?;
    if figure.arms.iter().flatten().all(|(other, _)| other.mean == estimate.mean) {
        let (name, of) = (&figure.name, &figure.of);
        return Some(format!("“{name}” on {of} is the same for all arms, {}.", interval(estimate)));
    }
    let most = if figure.better == Some(Better::Higher) { "highest" } else { "lowest" };
    let (name, of) = (&report.arms[best].name, &figure.of);
    let is = format!("“{}” on {of} is {most} for {name}, {}", figure.name, interval(estimate));
    Some(match (worse.is_empty(), open.is_empty()) {
        (false, true) => format!("{is}; it is shown to be worse for {}.", all(&worse)),
        (false, false) => {
            format!("{is}; it is shown to be worse for {}, but not for {}.", all(&worse), all(&open))
        }
        (true, _) => format!("{is}, but no difference to {} is shown.", all(&open)),
    })
}

fn cost(report: &Report) -> Option<String> {
    let each = report.arms.iter().map(|arm| {
        let seconds = arm.sampling.first().map_or(0.0, |setting| setting.seconds);
        let (flops, depth) = (number(arm.cost.sampling_flops), arm.cost.depth);
        format!("{} {flops} FLOPs, {depth} evaluations one after the other and {} s", arm.name, number(seconds))
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| format!("For a sample take: {}.", each.join("; ")))
}
