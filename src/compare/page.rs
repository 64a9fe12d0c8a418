//! A report as one page of HTML that opens without a network: tables that stand by themselves, and curves and samples over them.

use super::report::{ArmReport, FigureReport, LEVEL, Report};
use super::sentences::{interval, number};
use super::statistics::Difference;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use musiva_core::{Clip, Result};
use musiva_media::{encode_clip, encode_sound};
use musiva_train::evaluate::{BITS_ABOVE_TRUTH, Better, Example};
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
    body.push_str("<h2>Cost</h2>");
    body.push_str(&cost(report));
    if report.arms.iter().any(|arm| !arm.progress.is_empty()) {
        let _ = write!(
            body,
            "<h2>Bits over training</h2><p class=\"note\">Of up to 64 held-out samples of all tasks; of masked and diffusion models \
             these are single draws of an upper bound.</p>{}",
            chart("progress", "bits per token of held-out samples over training FLOPs", "")
        );
    }
    body.push_str("<h2>Figures</h2>");
    let _ = write!(
        body,
        "<p class=\"note\">Means over {}, with 95 % intervals from the variance of seeds and of samples (Student's t with \
         Welch and Satterthwaite's degrees of freedom; Wilson's interval of shares). A figure without an interval is of one run, \
         and its samples are not known one by one; one whose samples are not known has an interval of its seeds alone. Arms are \
         measured on the same samples with the same noise, and differences tested in pairs. A difference is in bold where it is \
         significant: p &lt; {LEVEL} after Holm's correction for all {} tests of this page. An upper bound that is above another \
         arm's number is never significant: the model itself may be better.</p>",
        match report.seeds.len() {
            0 | 1 => "one run of each arm, which says nothing of how seeds differ".to_owned(),
            count => format!("{count} seeds of training"),
        },
        report.tests
    );
    body.push_str(&figures(report));
    body.push_str(&sampling(report));
    body.push_str(&scaling(report));
    body.push_str(&examples(report)?);
    // Plain numbers and strings are always JSON; no end of a script hides in it.
    let json = serde_json::to_string(report).unwrap_or_default().replace('<', "\\u003c");
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

/// Where the script draws a chart; `more` are further attributes.
fn chart(id: &str, label: &str, more: &str) -> String {
    format!("<div class=\"chart\" id=\"{id}\" role=\"img\" aria-label=\"{}\"{more}></div>", escaped(label))
}

/// A cell of a table; what is significant is in bold.
struct Cell {
    text: String,
    is_bold: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, is_bold: false }
    }
}

fn table<C: Into<Cell>>(head: &[&str], rows: impl Iterator<Item = Vec<C>>) -> String {
    let mut text = "<div class=\"wide\"><table><thead><tr>".to_owned();
    head.iter().for_each(|cell| {
        let _ = write!(text, "<th scope=\"col\">{}</th>", escaped(cell));
    });
    text.push_str("</tr></thead><tbody>");
    for row in rows {
        let cell = |cell: C| {
            let Cell { text, is_bold } = cell.into();
            format!("<td{}>{}</td>", if is_bold { " class=\"bold\"" } else { "" }, escaped(&text))
        };
        let cells: String = row.into_iter().map(cell).collect();
        let _ = write!(text, "<tr>{cells}</tr>");
    }
    text + "</tbody></table></div>"
}

fn conditions(report: &Report) -> String {
    let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
    let seeds = if seeds.is_empty() { String::new() } else { format!(" Seeds of training: {}.", seeds.join(", ")) };
    let times = if report.arms.iter().any(|arm| arm.size.is_some()) { ", times that of its size" } else { "" };
    let mut text = format!(
        "<p class=\"note\">Budget of each run: {}{times}.{seeds} {} prompts and held-out samples, seed {}. musiva {}.</p>",
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

/// A column for each arm.
fn cost(report: &Report) -> String {
    type Value = fn(&Report, &ArmReport) -> String;
    let rows: [(&str, Value); 13] = [
        ("recipe", |_, arm| arm.recipe.clone()),
        ("recipe, sha256", |_, arm| arm.recipe_sha256.chars().take(12).collect()),
        ("parameters", |_, arm| format!("{:.2} M", arm.cost.parameters as f64 / 1e6)),
        ("learning rate", |_, arm| learning_rate(arm)),
        ("training steps", |_, arm| arm.steps.to_string()),
        ("training FLOPs", |_, arm| format!("{:.3e}", arm.training_flops)),
        ("training tokens", |_, arm| format!("{:.3e}", arm.training_tokens)),
        ("training time, s", |_, arm| arm.training_seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.0}"))),
        ("training memory, MiB, estimated", |_, arm| format!("{:.0}", arm.cost.memory_bytes / f64::from(1 << 20))),
        ("FLOPs a sample", |_, arm| format!("{:.2e}", arm.cost.sampling_flops)),
        ("forward passes a sample, guidance included", |_, arm| number(arm.cost.forwards)),
        ("sequential model evaluations a sample", |_, arm| arm.cost.depth.to_string()),
        ("time a sample, s, in batches", |report, arm| {
            let seconds = arm.sampling.first().map_or(0.0, |setting| setting.seconds);
            format!("{} (of {})", number(seconds), report.batch)
        }),
    ];
    let head: Vec<&str> = [""].into_iter().chain(report.arms.iter().map(|arm| &*arm.name)).collect();
    let rows = rows.into_iter().map(|(name, cell)| {
        [name.to_owned()].into_iter().chain(report.arms.iter().map(|arm| cell(report, arm))).collect::<Vec<String>>()
    });
    let mut text = table(&head, rows);
    let tried = report.arms.iter().flat_map(|arm| {
        arm.tried.iter().map(|tried| {
            let chosen = if tried.learning_rate == arm.learning_rate { "chosen" } else { "" };
            let loss = tried.validation_loss.map_or("diverged".to_owned(), number);
            vec![arm.name.clone(), tried.learning_rate.to_string(), loss, chosen.to_owned()]
        })
    });
    let tried: Vec<_> = tried.collect();
    if !tried.is_empty() {
        let head = ["arm", "learning rate", "validation loss", ""];
        let table = table(&head, tried.into_iter());
        let _ = write!(text, "<details><summary>Learning rates that were tried</summary>{table}</details>");
    }
    text
}

/// The learning rate; that there may be a better one beyond those that were tried is said.
fn learning_rate(arm: &ArmReport) -> String {
    let rates = || arm.tried.iter().map(|tried| tried.learning_rate);
    let [least, most] = [rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)];
    let edge = match arm.learning_rate {
        rate if rate == most => ", the highest",
        rate if rate == least => ", the lowest",
        _ => "",
    };
    match arm.tried.len() {
        0 => arm.learning_rate.to_string(),
        count => format!("{} (best of {count}{edge})", arm.learning_rate),
    }
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
        let is_main = report.bits().chain(report.quality()).any(|main| std::ptr::eq(main, figure))
            || figure.name == BITS_ABOVE_TRUTH;
        let label = format!("{} of {}", figure.name, figure.of);
        let inner = format!(
            "{}{}",
            if is_main { chart(&format!("figure-{number}"), &label, " data-rows") } else { String::new() },
            figure_tables(report, figure)
        );
        let open = if is_main { " open" } else { "" };
        let _ = write!(text, "<details{open}><summary>{}{better}</summary>{inner}</details>", escaped(&figure.name));
    }
    text
}

/// A figure's estimates, and the differences of its arms.
fn figure_tables(report: &Report, figure: &FigureReport) -> String {
    let has_deviation = figure.arms.iter().flatten().any(|found| found.estimate.seed_deviation.is_some());
    let has_kind = figure.name.starts_with("bits");
    let mut head = vec!["arm", "mean [95 %]"];
    head.extend(has_deviation.then_some("SD over seeds"));
    head.extend(has_kind.then_some(""));
    let rows = report.arms.iter().zip(&figure.arms).filter_map(|(arm, found)| {
        let found = found.as_ref()?;
        let mut row = vec![arm.name.clone(), interval(&found.estimate)];
        row.extend(has_deviation.then(|| found.estimate.seed_deviation.map_or("–".to_owned(), number)));
        row.extend(has_kind.then(|| if found.upper_bound { "upper bound" } else { "exact" }.to_owned()));
        Some(row)
    });
    let mut text = table(&head, rows);
    if !figure.pairs.is_empty() {
        let rows = figure.pairs.iter().map(|pair| {
            let Difference { mean, interval: [low, high], .. } = pair.difference;
            let names = pair.arms.map(|arm| &*report.arms[arm].name);
            let p = if pair.corrected_p < 0.001 { "< 0.001".to_owned() } else { format!("{:.3}", pair.corrected_p) };
            let text = format!("{} [{}, {}]", number(mean), number(low), number(high));
            let difference = Cell { text, is_bold: figure.is_significant(pair) };
            vec![format!("{} − {}", names[0], names[1]).into(), difference, p.into()]
        });
        text.push_str(&table(&["difference", "mean [95 %]", "p, corrected"], rows));
    }
    text
}

fn sampling(report: &Report) -> String {
    let mut text = "<h2>Quality against what sampling takes</h2>".to_owned();
    for (number, figure) in report.quality().enumerate() {
        let _ = write!(text, "<h3>{}: {}</h3>", escaped(&figure.of), escaped(&figure.name));
        for axis in ["flops", "seconds"] {
            let [of, name] = [&figure.of, &figure.name].map(|text| escaped(text));
            let more = format!(" data-quality data-of=\"{of}\" data-name=\"{name}\" data-axis=\"{axis}\"");
            let label = format!("{} of {} over {axis} of a sample", figure.name, figure.of);
            text.push_str(&chart(&format!("quality-{number}-{axis}"), &label, &more));
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
                let own = setting.figures.iter().find(|own| (&own.of, &own.name) == (&figure.of, &figure.name));
                own.map_or(String::new(), |own| interval(&own.estimate))
            }));
            row
        })
    });
    let mut head: Vec<String> =
        ["arm", "sampler", "FLOPs a sample", "sequential evaluations", "s a sample"].map(str::to_owned).to_vec();
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
        let exponent = interval(&scaling.law.exponent);
        vec![
            scaling.name.clone(),
            scaling.of.clone(),
            scaling.figure.to_owned(),
            exponent,
            scaling.points.len().to_string(),
        ]
    });
    format!(
        "<h2>Scaling</h2><p class=\"note\">A power law over training FLOPs, by least squares of the logarithms. Where the truth is \
         not known, no part of the bits is taken for irreducible.</p>{}{}",
        chart("scaling", "bits per sample over training FLOPs", ""),
        table(&["arm", "of", "figure", "exponent [95 %]", "runs"], rows)
    )
}

fn examples(report: &Report) -> Result<String> {
    let made = || report.examples.iter().flat_map(|(_, arms)| arms.iter().flatten());
    let clips = || made().flat_map(|example| [&example.clip, &example.real.0]).flatten();
    let mut text = "<h2>Samples</h2><p class=\"note\">The first samples of the test set, not selected: of every arm its first seed of training, with the same \
                    prompts and noise. Where there is an oracle, it says what is correct.</p>"
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
        let Some(of_one) = arms.iter().find(|made| !made.is_empty()) else { continue };
        for (i, Example { caption, real, .. }) in of_one.iter().enumerate() {
            if !caption.is_empty() {
                let _ = write!(text, "<p>“{}”</p>", escaped(caption));
            }
            text.push_str("<div class=\"examples\">");
            let (clip, sound) = real;
            text.push_str(&shown("held-out sample", clip.as_ref(), sound.as_ref(), None)?);
            for (arm, made) in report.arms.iter().zip(arms) {
                let Some(Example { clip, sound, text: said, right, .. }) = made.get(i) else { continue };
                let verdict = match right {
                    Some(true) => ": correct",
                    Some(false) => ": not correct",
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
