//! The answer of a report, in sentences: only what its intervals support.

use super::report::{FigureReport, Report};
use super::statistics::Estimate;
use musiva_train::evaluate::{Better, LikelihoodBaseline};

/// Of each size: likelihood and quality of the first task. The page has all others, and what each arm costs.
pub(super) fn answer(report: &Report) -> Vec<String> {
    let mut sizes: Vec<Option<usize>> = report.arms.iter().map(|arm| arm.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let of_size = |size: &Option<usize>| {
        let arms: Vec<usize> = (0..report.arms.len()).filter(|&arm| report.arms[arm].size == *size).collect();
        let bits = report.bits().next().and_then(|figure| likelihood(report, figure, &arms));
        let quality = report.quality().next().and_then(|figure| quality(report, figure, &arms));
        bits.into_iter().chain(quality).collect::<Vec<_>>()
    };
    sizes.iter().flat_map(of_size).chain(cost(report)).collect()
}

/// A number with three significant digits or more.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..0.001 => format!("{value:.1e}"),
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..1e4 => format!("{value:.1}"),
        _ => format!("{value:.2e}"),
    }
}

/// A mean with its interval, where it has one.
pub(super) fn interval(estimate: &Estimate) -> String {
    match estimate.interval {
        Some([low, high]) => format!("{} [{}, {}]", number(estimate.mean), number(low), number(high)),
        None => number(estimate.mean),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn all(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The arms beside the best: those that are significantly worse, those of which that is open, and those of which only an upper
/// bound is known, which cannot say it.
#[derive(Default)]
struct Others<'a> {
    worse: Vec<&'a str>,
    open: Vec<&'a str>,
    bounds: Vec<&'a str>,
}

fn others<'a>(report: &'a Report, figure: &FigureReport, best: &[usize], arms: &[usize]) -> Others<'a> {
    let mut others = Others::default();
    for &arm in arms.iter().filter(|arm| !best.contains(arm) && figure.arms[**arm].is_some()) {
        let significant = |&one: &usize| figure.pair(one, arm).is_some_and(|pair| figure.is_significant(pair));
        let place = match (figure.is_bound(arm), best.iter().all(significant)) {
            (true, _) => &mut others.bounds,
            (false, true) => &mut others.worse,
            (false, false) => &mut others.open,
        };
        place.push(&report.arms[arm].name);
    }
    others
}

fn likelihood(report: &Report, figure: &FigureReport, arms: &[usize]) -> Option<String> {
    let best = figure.best(arms);
    let &[first, ..] = &best[..] else { return None };
    let found = figure.arms[first].as_ref()?;
    let names: Vec<&str> = best.iter().map(|&arm| &*report.arms[arm].name).collect();
    let (name, kind) = (all(&names), if found.upper_bound { "an upper bound" } else { "exact" });
    let mut text = format!(
        "{name} has the lowest negative log-likelihood of held-out samples of {}: {} bits a sample, {kind}",
        figure.of,
        interval(&found.estimate)
    );
    let Others { worse, open, bounds } = others(report, figure, &best, arms);
    if !worse.is_empty() {
        text.push_str(&format!("; {} significantly more", needs(&worse)));
    }
    if !open.is_empty() {
        text.push_str(&format!("; to {} the difference is not significant", all(&open)));
    }
    if !bounds.is_empty() {
        text.push_str(&format!(
            "; of {} only upper bounds are known, which lie above it and do not say whether these models are worse",
            all(&bounds)
        ));
    }
    for (model, what) in
        [("truth", "the process that drew the samples takes"), ("unigram", "code frequencies alone take")]
    {
        let is_it = |baseline: &&LikelihoodBaseline| baseline.task == figure.of && baseline.model == model;
        if let Some(baseline) = report.baselines.iter().find(is_it) {
            text.push_str(&format!("; {what} {}", number(baseline.bits_per_sample)));
        }
    }
    Some(text + ".")
}

fn needs(names: &[&str]) -> String {
    format!("{} {}", all(names), if names.len() == 1 { "needs" } else { "need" })
}

fn quality(report: &Report, figure: &FigureReport, arms: &[usize]) -> Option<String> {
    let best = figure.best(arms);
    let &[first, ..] = &best[..] else { return None };
    let found = interval(&figure.arms[first].as_ref()?.estimate);
    let (figure_name, of) = (&figure.name, &figure.of);
    let measured = arms.iter().filter(|&&arm| figure.arms[arm].is_some()).count();
    if best.len() == measured {
        return Some(format!("On {of}, “{figure_name}” is the same for all arms, {found}."));
    }
    let names: Vec<&str> = best.iter().map(|&arm| &*report.arms[arm].name).collect();
    let has = if names.len() == 1 { "has" } else { "have" };
    let most = if figure.better == Some(Better::Higher) { "highest" } else { "lowest" };
    let mut text = format!("On {of}, {} {has} the {most} “{figure_name}”, {found}", all(&names));
    let Others { worse, open, .. } = others(report, figure, &best, arms);
    if !worse.is_empty() {
        let are = if worse.len() == 1 { "is" } else { "are" };
        text.push_str(&format!("; {} {are} significantly worse", all(&worse)));
    }
    if !open.is_empty() {
        text.push_str(&format!("; the difference to {} is not significant", all(&open)));
    }
    Some(text + ".")
}

fn cost(report: &Report) -> Option<String> {
    let each = report.arms.iter().map(|arm| {
        let seconds = arm.sampling.first().map_or(0.0, |setting| setting.seconds);
        let (flops, depth) = (number(arm.cost.sampling_flops), arm.cost.depth);
        format!("{} takes {flops} FLOPs in {depth} sequential model evaluations and {} s", arm.name, number(seconds))
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| format!("To generate a sample, {}.", each.join("; ")))
}
