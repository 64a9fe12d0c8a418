//! A report as one page of HTML that opens without a network: tables that stand by themselves, and curves and samples over them.

use super::report::{FigureReport, LEVEL, Report};
use super::sentences::{interval, number};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use musiva_core::{Clip, Result};
use musiva_media::{encode_clip, encode_sound};
use musiva_train::evaluate::{Better, Example};
use std::fmt::Write;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// The page.
///
/// # Errors
/// Where a sample cannot be encoded.
pub(super) fn html(report: &Report) -> Result<String> {
    let mut body = String::new();
    let Report { name, question, answer, limits, .. } = report;
    let _ = write!(body, "<h1>{}</h1><p class=\"question\">{}</p>", escaped(name), escaped(question));
    let answer: String = answer.iter().map(|sentence| format!("<p>{}</p>", escaped(sentence))).collect();
    let _ = write!(body, "<div class=\"answer\">{answer}</div>");
    if !limits.is_empty() {
        let _ = write!(body, "<p>{}</p>", escaped(limits));
    }
    body.push_str(&conditions(report));
    body.push_str("<h2>What each took</h2>");
    body.push_str(&ledger(report));
    if report.arms.iter().any(|arm| !arm.progress.is_empty()) {
        let _ = write!(
            body,
            "<h2>Bits over training</h2><p class=\"note\">Of a few held-out samples of all tasks, looked at while training; of \
             masked and diffusion models these are single draws of an upper bound.</p>{}",
            chart("progress", "bits per token of held-out samples over training FLOPs")
        );
    }
    body.push_str("<h2>Figures</h2>");
    let _ = write!(
        body,
        "<p class=\"note\">Means and 95 % intervals from {} and from samples, drawn anew. A difference is in bold where chance \
         alone makes one as large in less than {:.0} % of cases, after Holm's correction for all {} tests of this page. Arms are \
         measured on the same prompts with the same seeds, and their differences sample by sample.</p>",
        if report.seeds.len() > 1 {
            format!("{} seeds of training", report.seeds.len())
        } else {
            "one seed, which says nothing of how seeds differ,".into()
        },
        100.0 * LEVEL,
        report.tests
    );
    body.push_str(&figures(report));
    body.push_str(&sampling(report));
    body.push_str(&scaling(report));
    body.push_str(&examples(report)?);
    // Plain numbers and strings are always JSON; no end of a script hides in it.
    let json = serde_json::to_string(report).unwrap_or_default().replace("</", "<\\/");
    let title = escaped(name);
    let plotly = plotly();
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head>\n<body>{body}\n\
         <script type=\"application/json\" id=\"report\">{json}</script>\n{plotly}\n<script>{SCRIPT}</script>\n</body></html>\n"
    ))
}

/// The plotting library: of the two scripts that the crate carries the first, without the one that sets formulas.
fn plotly() -> String {
    let both = plotly::Plot::offline_js_sources();
    both.split_inclusive("</script>").next().unwrap_or_default().to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn chart(id: &str, label: &str) -> String {
    let class = if id.starts_with("figure") { "chart rows" } else { "chart" };
    format!("<div class=\"{class}\" id=\"{id}\" role=\"img\" aria-label=\"{}\"></div>", escaped(label))
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = "<div class=\"wide\"><table><thead><tr>".to_owned();
    head.iter().for_each(|cell| {
        let _ = write!(text, "<th scope=\"col\">{}</th>", escaped(cell));
    });
    text.push_str("</tr></thead><tbody>");
    for row in rows {
        let cells: String = row.into_iter().map(|cell| cell_of(&cell)).collect();
        let _ = write!(text, "<tr>{cells}</tr>");
    }
    text + "</tbody></table></div>"
}

/// A cell; one that begins with `*` says something that is shown.
fn cell_of(cell: &str) -> String {
    match cell.strip_prefix('*') {
        Some(shown) => format!("<td class=\"shown\">{}</td>", escaped(shown)),
        None => format!("<td>{}</td>", escaped(cell)),
    }
}

fn conditions(report: &Report) -> String {
    let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
    let seeds = if seeds.is_empty() { String::new() } else { format!(" Seeds of training: {}.", seeds.join(", ")) };
    let mut text = format!(
        "<p class=\"note\">Budget of each run: {}.{seeds} {} prompts and held-out samples, seed {}. musiva {}.</p>",
        escaped(&report.budget),
        report.prompts,
        report.evaluation_seed,
        report.musiva
    );
    let differs = match report.differs.is_empty() {
        true => "All arms have the same data, tokenizers, tasks and conditions.".to_owned(),
        false => format!("By intent the arms also differ in: {}.", report.differs.join(", ")),
    };
    let _ = write!(text, "<p><strong>{}</strong></p>", escaped(&differs));
    text
}

fn ledger(report: &Report) -> String {
    let head = [
        "arm",
        "parameters",
        "steps",
        "training FLOPs",
        "training tokens",
        "training, s",
        "memory, MiB (estimated)",
        "learning rate",
        "FLOPs a sample",
        "passes",
        "evaluations in a row",
        "s a sample",
        "recipe, sha256",
    ];
    let rows = report.arms.iter().map(|arm| {
        let tried = match arm.tried.len() {
            0 => "its own".to_owned(),
            count => format!("best of {count}"),
        };
        vec![
            arm.name.clone(),
            format!("{:.2} M", arm.cost.parameters as f64 / 1e6),
            arm.steps.to_string(),
            format!("{:.3e}", arm.training_flops),
            format!("{:.3e}", arm.training_tokens),
            arm.training_seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.0}")),
            format!("{:.0}", arm.cost.memory_bytes / f64::from(1 << 20)),
            format!("{} ({tried})", arm.learning_rate),
            format!("{:.2e}", arm.cost.sampling_flops),
            number(arm.cost.forwards),
            arm.cost.depth.to_string(),
            number(arm.sampling.first().map_or(0.0, |setting| setting.seconds)),
            format!("{}, {}", arm.recipe, &arm.recipe_sha256[..12.min(arm.recipe_sha256.len())]),
        ]
    });
    let mut text = table(&head, rows);
    let tried = report.arms.iter().filter(|arm| !arm.tried.is_empty()).flat_map(|arm| {
        arm.tried.iter().map(|(rate, loss)| {
            let chosen = if *rate == arm.learning_rate { "chosen" } else { "" };
            vec![arm.name.clone(), rate.to_string(), format!("{loss:.4}"), chosen.to_owned()]
        })
    });
    let tried: Vec<_> = tried.collect();
    if !tried.is_empty() {
        let head = ["arm", "learning rate", "validation loss", ""];
        let _ = write!(
            text,
            "<details><summary>Learning rates that were tried</summary>{}</details>",
            table(&head, tried.into_iter())
        );
    }
    text
}

fn figures(report: &Report) -> String {
    let mut text = String::new();
    let mut of = "";
    for (number, figure) in report.figures.iter().enumerate() {
        if figure.of != of {
            of = &figure.of;
            let _ = write!(text, "<h3>{}</h3>", escaped(of));
        }
        let better = match figure.better {
            Some(Better::Lower) => ", lower is better",
            Some(Better::Higher) => ", higher is better",
            None => "",
        };
        let is_main = report.bits().chain(report.quality()).any(|main| std::ptr::eq(main, figure));
        let label = format!("{} of {}", figure.name, figure.of);
        let inner = format!(
            "{}{}",
            if is_main { chart(&format!("figure-{number}"), &label) } else { String::new() },
            one(report, figure)
        );
        let open = if is_main { " open" } else { "" };
        let _ = write!(text, "<details{open}><summary>{}{better}</summary>{inner}</details>", escaped(&figure.name));
    }
    text
}

/// A figure's estimates, and its differences.
fn one(report: &Report, figure: &FigureReport) -> String {
    let mut head = vec!["arm", "mean [95 %]", "between seeds ±", "what it is"];
    let others: Vec<String> = report.arms.iter().map(|arm| format!("less {}", arm.name)).collect();
    head.extend(others.iter().map(String::as_str));
    let rows = report.arms.iter().enumerate().filter_map(|(arm, own)| {
        let (estimate, bound) = figure.arms[arm].as_ref()?;
        let kind = match (figure.name.starts_with("bits"), bound) {
            (false, _) => "",
            (true, true) => "upper bound",
            (true, false) => "exact",
        };
        let deviation = estimate.seed_deviation.map_or("–".to_owned(), number);
        let mut row = vec![own.name.clone(), interval(estimate), deviation, kind.to_owned()];
        row.extend((0..report.arms.len()).map(|other| difference(figure, arm, other)));
        Some(row)
    });
    table(&head, rows)
}

fn difference(figure: &FigureReport, one: usize, other: usize) -> String {
    let found = figure.pairs.iter().find_map(|pair| {
        let d = pair.difference;
        match pair.arms {
            arms if arms == [one, other] => Some((d.mean, d.low, d.high, pair.corrected_p)),
            arms if arms == [other, one] => Some((-d.mean, -d.high, -d.low, pair.corrected_p)),
            _ => None,
        }
    });
    let Some((mean, low, high, p)) = found else { return String::new() };
    let shown = if p < LEVEL { "*" } else { "" };
    format!("{shown}{} [{}, {}], p {p:.3}", number(mean), number(low), number(high))
}

fn sampling(report: &Report) -> String {
    let mut text = "<h2>Quality against what sampling takes</h2>".to_owned();
    for (number, figure) in report.quality().enumerate() {
        for axis in ["flops", "seconds"] {
            let _ = write!(
                text,
                "<div class=\"chart\" id=\"quality-{number}-{axis}\" data-quality data-of=\"{}\" data-name=\"{}\" \
                 data-axis=\"{axis}\" role=\"img\" aria-label=\"{}\"></div>",
                escaped(&figure.of),
                escaped(&figure.name),
                escaped(&format!("{} of {} over {axis} of a sample", figure.name, figure.of))
            );
        }
    }
    let rows = report.arms.iter().flat_map(|arm| {
        arm.sampling.iter().map(|setting| {
            let set = if setting.set.is_empty() { "the recipe's own".to_owned() } else { setting.set.join(" ") };
            let mut row = vec![
                arm.name.clone(),
                set,
                format!("{:.2e}", setting.flops),
                setting.depth.to_string(),
                number(setting.seconds),
            ];
            row.extend(report.quality().map(|figure| {
                let own = setting.figures.iter().find(|(of, name, _)| (of, name) == (&figure.of, &figure.name));
                own.map_or(String::new(), |(_, _, estimate)| interval(estimate))
            }));
            row
        })
    });
    let mut head: Vec<String> =
        ["arm", "sampler", "FLOPs a sample", "evaluations in a row", "s a sample"].map(str::to_owned).to_vec();
    head.extend(report.quality().map(|figure| format!("{}: {}", figure.of, figure.name)));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    text.push_str(&table(&head, rows));
    text
}

fn scaling(report: &Report) -> String {
    if report.scaling.is_empty() {
        return String::new();
    }
    let rows = report.scaling.iter().map(|scaling| {
        vec![scaling.arm.clone(), scaling.of.clone(), interval(&scaling.exponent), scaling.points.len().to_string()]
    });
    format!(
        "<h2>Scaling</h2><p class=\"note\">A power law of bits over training FLOPs, by least squares of the logarithms.</p>{}{}",
        chart("scaling", "bits per sample over training FLOPs"),
        table(&["arm", "of", "exponent [95 %]", "runs"], rows)
    )
}

fn examples(report: &Report) -> Result<String> {
    let made = || report.examples.iter().flat_map(|(_, arms)| arms.iter().flatten());
    let clips = || made().flat_map(|example| [&example.clip, &example.real.0]).flatten();
    let mut text = "<h2>Samples</h2><p class=\"note\">The first of the test, not chosen: every arm with the same prompts and seeds. \
                    “right” is what an oracle finds where there is one.</p>"
        .to_owned();
    if let Some(first) = clips().next() {
        let frames = clips().map(Clip::frames).max().unwrap_or(1);
        let _ = write!(
            text,
            "<div class=\"player\"><button id=\"play\" type=\"button\">Play</button><label for=\"frame\">frame</label>\
             <input id=\"frame\" type=\"range\" min=\"0\" max=\"{}\" value=\"0\" data-fps=\"{}\"></div>",
            frames - 1,
            first.rate().as_f64()
        );
    }
    for (task, arms) in &report.examples {
        let _ = write!(text, "<h3>{}</h3>", escaped(task));
        for i in 0..arms.first().map_or(0, Vec::len) {
            let caption = &arms[0][i].caption;
            let _ = write!(text, "<p>“{}”</p><div class=\"examples\">", escaped(caption));
            let (clip, sound) = &arms[0][i].real;
            text.push_str(&shown("held-out sample", clip.as_ref(), sound.as_ref(), None)?);
            for (arm, made) in report.arms.iter().zip(arms) {
                let Some(Example { clip, sound, text: said, right, .. }) = made.get(i) else { continue };
                let verdict = match right {
                    Some(true) => ": right",
                    Some(false) => ": not right",
                    None => "",
                };
                let label = format!("{}{verdict}", arm.name);
                text.push_str(&shown(&label, clip.as_ref(), sound.as_ref(), said.as_deref())?);
            }
            text.push_str("</div>");
        }
    }
    Ok(text)
}

fn shown(label: &str, clip: Option<&Clip>, sound: Option<&musiva_core::Sound>, said: Option<&str>) -> Result<String> {
    let mut text = "<figure>".to_owned();
    if let Some(clip) = clip {
        let [frames, height, width] = clip.shape();
        // One picture, frame below frame.
        let strip = Clip::new([1, frames * height, width], clip.rate(), clip.pixels().to_vec())?;
        let png = STANDARD.encode(encode_clip("png", &strip)?);
        let _ = write!(
            text,
            "<div class=\"clip\" role=\"img\" aria-label=\"{}\" data-frames=\"{frames}\" \
             style=\"aspect-ratio:{width}/{height};background-image:url(data:image/png;base64,{png})\"></div>",
            escaped(label)
        );
    }
    if let Some(sound) = sound {
        let wav = STANDARD.encode(encode_sound("wav", sound)?);
        let _ = write!(
            text,
            "<audio controls aria-label=\"{}\" src=\"data:audio/wav;base64,{wav}\"></audio>",
            escaped(label)
        );
    }
    if let Some(said) = said {
        let _ = write!(text, "<p>“{}”</p>", escaped(said));
    }
    let _ = write!(text, "<figcaption>{}</figcaption></figure>", escaped(label));
    Ok(text)
}
