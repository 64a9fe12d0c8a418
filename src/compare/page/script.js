"use strict";
// Curves and the player of a comparison's report. All that is said stands in the page's tables, too.

const report = JSON.parse(document.getElementById("report").textContent);
// Colours that everybody can tell apart (Okabe and Ito), and in black and white by dash and symbol.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star"];

const style = (i) => ({
    color: COLOURS[i % COLOURS.length], dash: DASHES[i % DASHES.length], symbol: SYMBOLS[i % SYMBOLS.length],
});

function trace(name, i, x, y, more) {
    const { color, dash, symbol } = style(i);
    return { name, x, y, mode: "lines+markers", line: { color, dash }, marker: { color, symbol, size: 9 }, ...more };
}

function draw(id, traces, xaxis, yaxis, more) {
    const place = document.getElementById(id);
    if (!place || traces.length === 0) return;
    const layout = {
        margin: { l: 60, r: 20, t: 10, b: 50 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
        font: { family: "system-ui, sans-serif", size: 13 }, legend: { orientation: "h", y: -0.25 },
        xaxis: { gridcolor: "#ddd", linecolor: "#555", ...xaxis, automargin: true },
        yaxis: { gridcolor: "#ddd", linecolor: "#555", ...yaxis, automargin: true }, ...more,
    };
    Plotly.newPlot(place, traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
}

// Bits over training.
draw("progress", report.arms.map((arm, i) =>
    trace(arm.name, i, arm.progress.map(([step]) => step * arm.cost.flops_per_step), arm.progress.map(([, bits]) => bits)))
    .filter((one) => one.x.length > 0),
    { title: { text: "training FLOPs" }, exponentformat: "power" }, { title: { text: "bits per token, held out" } });

// The main figures, with their intervals.
const narrow = window.innerWidth < 600;
report.figures.forEach((figure, number) => {
    const found = figure.arms.map((arm, i) => [arm, i]).filter(([arm]) => arm);
    const traces = found.map(([arm, i]) => {
        const label = report.arms[i].name + (arm.upper_bound ? (narrow ? " ≤" : " (upper bound)") : "");
        const error = arm.interval && {
            type: "data", symmetric: false, color: style(i).color, thickness: 2,
            array: [arm.interval[1] - arm.mean], arrayminus: [arm.mean - arm.interval[0]],
        };
        return trace(label, i, [arm.mean], [label], { mode: "markers", showlegend: false, error_x: error || undefined });
    });
    const baselines = figure.name === "bits per sample" ? report.baselines.filter((baseline) => baseline.task === figure.of) : [];
    const shapes = baselines.map((baseline) => ({
        type: "line", x0: baseline.bits_per_sample, x1: baseline.bits_per_sample, yref: "paper", y0: 0, y1: 1,
        line: { color: "#555", width: 1, dash: "dot" },
    }));
    // Above the plot, one over the other, so that none covers a point or a name.
    const annotations = baselines.map((baseline, i) => ({
        x: baseline.bits_per_sample, yref: "paper", y: 1, yshift: 4 + 14 * i, text: baseline.model, showarrow: false,
        xanchor: baseline.model === "truth" ? "left" : "right", yanchor: "bottom",
    }));
    draw("figure-" + number, traces, { title: { text: figure.name }, nticks: narrow ? 4 : 8, tickangle: 0 },
        { autorange: "reversed" }, {
            height: 100 + 45 * found.length + 16 * baselines.length, shapes, annotations,
            margin: { l: 40, r: 20, t: 12 + 16 * baselines.length, b: 50 },
        });
});

// Quality against what sampling takes.
document.querySelectorAll("[data-quality]").forEach((place) => {
    const { of, name, axis } = place.dataset;
    const traces = report.arms.map((arm, i) => {
        const points = arm.sampling.map((setting) => {
            const found = setting.figures.find((figure) => figure.of === of && figure.name === name);
            return found && { x: setting[axis], ...found, text: setting.set.join(" ") || "the recipe's own" };
        }).filter(Boolean).sort((a, b) => a.x - b.x);
        return trace(arm.name, i, points.map((point) => point.x), points.map((point) => point.mean), {
            mode: "markers", text: points.map((point) => point.text), hovertemplate: "%{text}<br>%{y:.2f}",
            error_y: {
                type: "data", symmetric: false, color: style(i).color,
                array: points.map((point) => (point.interval ? point.interval[1] - point.mean : 0)),
                arrayminus: points.map((point) => (point.interval ? point.mean - point.interval[0] : 0)),
            },
        });
    }).filter((one) => one.x.length > 0);
    const what = axis === "flops" ? "FLOPs of a sample" : "seconds of a sample";
    draw(place.id, traces, { title: { text: what }, type: "log", exponentformat: "power", dtick: "D2", tickangle: 0 }, { title: { text: name } });
});

// Scaling: runs, and the law that is fitted to them.
draw("scaling", report.scaling.flatMap((scaling) => {
    const x = scaling.points.map(([flops]) => flops);
    const ends = [Math.min(...x), Math.max(...x)];
    const law = ends.map((flops) => scaling.factor * flops ** scaling.exponent.mean);
    const name = `${scaling.name}, ${scaling.of}`;
    return [
        trace(name, scaling.arm, x, scaling.points.map(([, bits]) => bits), { mode: "markers" }),
        trace(name, scaling.arm, ends, law, { mode: "lines", showlegend: false }),
    ];
}), { title: { text: "training FLOPs" }, type: "log", exponentformat: "power", dtick: "D2" },
    { title: { text: (report.scaling[0] || {}).figure || "" }, type: "log" });

// All clips in step.
const clips = [...document.querySelectorAll(".clip")];
const slider = document.getElementById("frame");
const button = document.getElementById("play");
if (slider && button) {
    let timer = null;
    const show = (frame) => {
        for (const clip of clips) {
            const frames = Number(clip.dataset.frames);
            const at = Math.min(frame, frames - 1);
            clip.style.backgroundPosition = frames > 1 ? `0 ${(100 * at) / (frames - 1)}%` : "0 0";
        }
    };
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    const play = () => {
        timer = setInterval(() => {
            slider.value = (Number(slider.value) + 1) % (Number(slider.max) + 1);
            show(Number(slider.value));
        }, 1000 / Number(slider.dataset.fps));
        button.textContent = "Pause";
    };
    button.addEventListener("click", () => (timer === null ? play() : stop()));
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    show(0);
    if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) play();
}
