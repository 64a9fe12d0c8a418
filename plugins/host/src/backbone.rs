//! Backbones of plugins behind the contract: the host owns their parameters.

use crate::call::{Wanted, lend};
use crate::library::{Instance, Library};
use crate::op::predict;
use crate::tokenizer::signed;
use crate::wrong;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use musiva_abi::{self as abi, DType};
use musiva_core::canvas::{CanvasBatch, Content, Prediction};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Cost, Error, Flaw, Init, Parameters, Result, Session, Source,
    TokenKind,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// No plugin has more parameters.
const MOST: usize = 1 << 36;

/// What `describe` answers.
#[derive(Deserialize)]
struct Answer {
    predicts: Predicts,
    #[serde(default)]
    self_conditioned: bool,
    #[serde(default)]
    forward_flops: f64,
    #[serde(default)]
    activations: f64,
    #[serde(default)]
    working_set: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Predicts {
    Codes,
    Field,
}

/// What `parameters` answers, one of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameter {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Rule,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    Normal(f32),
    Zeros,
    Ones,
}

impl Parameter {
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An instance with its tables.
pub(crate) struct Held {
    pub instance: Instance,
    table: abi::Backbone,
    pub vjp: Option<abi::BackboneVjp>,
    pub cache: Option<abi::BackboneCache>,
}

impl Held {
    pub fn new(instance: Instance) -> Result<Self> {
        Ok(Self { table: instance.main_table()?, vjp: instance.table()?, cache: instance.table()?, instance })
    }

    fn describe(&self, canvas: &CanvasShape) -> Result<(BackboneSpec, Cost)> {
        let (describe, canvas) = (self.table.describe.expect("tables are complete"), of_core(canvas));
        let answer: Answer = self.instance.ask("describe", |this, call| {
            // SAFETY: the plugin's own function, with its instance, a live call and a live canvas.
            unsafe { describe(this, call, &canvas) }
        })?;
        let bad = |message: &str| wrong(self.instance.id(), format!("describe: {message}"));
        let spec = match answer.predicts {
            Predicts::Codes if canvas.entries == 0 => return Err(bad("it predicts codes, the tokens are none")),
            Predicts::Codes => BackboneSpec::NextToken,
            Predicts::Field if canvas.channels == 0 => return Err(bad("it predicts vectors, the tokens have none")),
            Predicts::Field => {
                BackboneSpec::Field { channels: canvas.channels as usize, self_conditioned: answer.self_conditioned }
            }
        };
        let numbers = [answer.forward_flops, answer.activations, answer.working_set];
        if numbers.iter().any(|number| !number.is_finite() || *number < 0.0) {
            return Err(bad("its work and memory are no numbers"));
        }
        let [forward_flops, activations, working_set] = numbers;
        Ok((spec, Cost { forward_flops, activations, working_set }))
    }

    pub fn parameters(&self, canvas: &CanvasShape) -> Result<Vec<Parameter>> {
        let (parameters, canvas) = (self.table.parameters.expect("tables are complete"), of_core(canvas));
        let all: Vec<Parameter> = self.instance.ask("parameters", |this, call| {
            // SAFETY: the plugin's own function, with its instance, a live call and a live canvas.
            unsafe { parameters(this, call, &canvas) }
        })?;
        let bad = |message: String| Err(wrong(self.instance.id(), format!("parameters: {message}")));
        let (mut names, mut sum) = (BTreeSet::new(), 0usize);
        for one in &all {
            if !names.insert(&one.name) {
                return bad(format!("there are two called `{}`", one.name));
            }
            if one.name.is_empty() || one.name.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return bad(format!("{:?} is no name", one.name));
            }
            if matches!(one.init, Rule::Normal(deviation) if !deviation.is_finite() || deviation < 0.0) {
                return bad(format!("`{}` starts with no deviation", one.name));
            }
            let count = one.shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
            match count.and_then(|count| sum.checked_add(count)).filter(|&sum| sum <= MOST) {
                Some(count) if one.count() > 0 => sum = count,
                _ => {
                    return bad(format!("`{}` is {:?}: no size, or beyond {MOST} numbers in all", one.name, one.shape));
                }
            }
        }
        Ok(all)
    }
}

/// The canvas in the words of the ABI.
pub(crate) fn of_core(canvas: &CanvasShape) -> abi::Canvas {
    let entries = match canvas.tokens.kind {
        TokenKind::Codes { entries, .. } => entries,
        TokenKind::Levels { .. } | TokenKind::Latents { .. } => 0,
    };
    abi::Canvas {
        struct_size: size_of::<abi::Canvas>(),
        prompt: canvas.prompt as i64,
        words: canvas.words as i64,
        grid: canvas.tokens.grid.map(|side| side as i64),
        entries: entries as i64,
        channels: canvas.tokens.kind.channels().unwrap_or(0) as i64,
    }
}

/// A backbone of a plugin, configured.
pub struct HostedBackboneConfig {
    library: Arc<Library>,
    id: String,
    config: Value,
    held: Mutex<Held>,
}

impl HostedBackboneConfig {
    /// Makes an instance and looks at its tables.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or its tables are not in order.
    pub fn new(library: Arc<Library>, id: &str, config: Value) -> Result<Self> {
        let held = Mutex::new(Held::new(library.create(id, &config)?)?);
        Ok(Self { library, id: id.to_owned(), config, held })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackboneConfig for HostedBackboneConfig {
    fn flaws(&self) -> Vec<Flaw> {
        Vec::new()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, Flaw> {
        let held = self.held();
        let flaw = |error: Error| Flaw::new("", error.message(), "change the plugin's settings, or the tokenizer's");
        // What is wrong with its parameters shows before they are made.
        held.parameters(canvas).map_err(flaw)?;
        held.describe(canvas).map(|(spec, _)| spec).map_err(flaw)
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        self.held().parameters(canvas).map_or(0, |all| all.iter().map(Parameter::count).sum())
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        self.held().describe(canvas).map(|(_, cost)| cost).unwrap_or_default()
    }

    fn trains(&self) -> Result<(), Flaw> {
        if self.held().vjp.is_some() {
            return Ok(());
        }
        let message = format!("`{}` has no gradients ({}), so it cannot be trained", self.id, abi_id());
        Err(Flaw::new("kind", message, "use its own weights as they are, or train another backbone"))
    }

    fn build(&self, canvas: &CanvasShape, device: &Device, source: &Source) -> Result<Box<dyn Backbone>> {
        let held = Held::new(self.library.create(&self.id, &self.config)?)?;
        let (spec, _) = held.describe(canvas)?;
        let parameters: Arc<[Parameter]> = held.parameters(canvas)?.into();
        let (library, id, config) = (self.library.clone(), self.id.clone(), self.config.clone());
        let model = Arc::new(Model { library, id, config, held: Mutex::new(held), canvas: *canvas, spec });
        let mut theta = Theta::new(parameters, &source.init(device));
        source.load(&mut theta)?;
        Ok(Box::new(HostedBackbone { model, theta, device: device.clone() }))
    }
}

fn abi_id() -> &'static str {
    <abi::BackboneVjp as abi::Table>::ID
}

/// What all copies of a backbone share.
pub(crate) struct Model {
    library: Arc<Library>,
    id: String,
    config: Value,
    held: Mutex<Held>,
    canvas: CanvasShape,
    spec: BackboneSpec,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} {})", self.id, self.config)
    }
}

impl Model {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Length of a prediction: `K` logits or `C` numbers.
    fn width(&self) -> usize {
        match (self.spec, self.canvas.tokens.kind) {
            (BackboneSpec::Field { channels, .. }, _) => channels,
            (BackboneSpec::NextToken, TokenKind::Codes { entries, .. }) => entries,
            (BackboneSpec::NextToken | BackboneSpec::Masked, _) => unreachable!("looked at when it was described"),
        }
    }
}

/// One forward pass: everything but what gradients flow to.
#[derive(Debug)]
pub struct Pass {
    model: Arc<Model>,
    batch: usize,
    prompt: Vec<i64>,
    codes: Option<Vec<i64>>,
    /// Times, how many a sample has, and which of them each position stands at.
    times: Option<(Vec<f32>, usize, Vec<i64>)>,
    guess: Option<Vec<f32>>,
}

impl Pass {
    /// Sides of the predictions.
    pub fn output(&self) -> [usize; 3] {
        [self.batch, self.model.canvas.tokens.length(), self.model.width()]
    }

    /// Lends the whole input to `body`.
    fn lent<T>(&self, theta: &[f32], x: &[f32], body: impl FnOnce(&abi::BackboneInput) -> T) -> T {
        let canvas = of_core(&self.model.canvas);
        let (batch, length) = (self.batch as i64, self.model.canvas.tokens.length() as i64);
        let theta_sides = [theta.len() as i64];
        let prompt_sides = [batch, self.model.canvas.prompt as i64];
        let (code_sides, field_sides) = ([batch, length], [batch, length, self.model.width() as i64]);
        let at_sides = [length];
        let theta = lend(theta, &theta_sides);
        let prompt = lend(&self.prompt, &prompt_sides);
        let x = match &self.codes {
            Some(codes) => lend(codes, &code_sides),
            None => lend(x, &field_sides),
        };
        let time_sides = [batch, self.times.as_ref().map_or(0, |(_, count, _)| *count as i64)];
        let times = self.times.as_ref().map(|(times, _, _)| lend(times, &time_sides));
        let at = self.times.as_ref().map(|(_, _, at)| lend(at, &at_sides));
        let guess = self.guess.as_ref().map(|guess| lend(guess, &field_sides));
        let some = |tensor: &Option<abi::Tensor>| tensor.as_ref().map_or(std::ptr::null(), |tensor| &raw const *tensor);
        body(&abi::BackboneInput {
            struct_size: size_of::<abi::BackboneInput>(),
            canvas: &canvas,
            theta: &theta,
            prompt: &prompt,
            x: &x,
            times: some(&times),
            at: some(&at),
            guess: some(&guess),
        })
    }

    /// The predictions, flat.
    pub fn forward(&self, theta: &[f32], x: &[f32]) -> Result<Vec<f32>> {
        let held = self.model.held();
        let forward = held.table.forward.expect("tables are complete");
        let wanted = [Wanted::exact("the predictions", DType::F32, &self.output())];
        let mut given = self.lent(theta, x, |input| {
            // SAFETY: the plugin's own function, with its instance, a live call and a live input.
            held.instance.run("forward", 0, &wanted, 0, |this, call| unsafe { forward(this, call, input) })
        })?;
        Ok(given.output(0).f32())
    }

    /// The gradients by theta and x, flat.
    pub fn vjp(&self, theta: &[f32], x: &[f32], dy: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let held = self.model.held();
        let Some(vjp) = held.vjp.and_then(|table| table.vjp) else {
            return Err(wrong(&self.model.id, format!("it has no gradients ({})", abi_id())));
        };
        let sides = signed(&self.output());
        let dy = lend(dy, &sides);
        let mut wanted = vec![Wanted::exact("the gradient by theta", DType::F32, &[theta.len()])];
        if self.codes.is_none() {
            wanted.push(Wanted::exact("the gradient by x", DType::F32, &self.output()));
        }
        let mut given = self.lent(theta, x, |input| {
            // SAFETY: the plugin's own function, with its instance, a live call, a live input and a live tensor.
            held.instance.run("vjp", 0, &wanted, 0, |this, call| unsafe { vjp(this, call, input, &dy) })
        })?;
        let by_theta = given.output(0).f32();
        let by_x = if self.codes.is_none() { given.output(1).f32() } else { vec![0.0; x.len()] };
        Ok((by_theta, by_x))
    }
}

/// All parameters as one tensor, the way they cross the ABI.
#[derive(Clone, Debug)]
struct Theta {
    parameters: Arc<[Parameter]>,
    value: Tensor<1>,
}

impl Theta {
    fn new(parameters: Arc<[Parameter]>, init: &Init) -> Self {
        let parts = parameters.iter().map(|one| {
            let (init, count) = (init.part(&one.name), [one.count()]);
            match one.init {
                Rule::Normal(deviation) => init.normal(count, deviation),
                Rule::Zeros => init.zeros(count),
                Rule::Ones => init.ones(count),
            }
            .val()
            .inner()
        });
        let value = match parameters.is_empty() {
            true => Tensor::zeros([0], &init.device().clone().inner()),
            false => Tensor::cat(parts.collect(), 0),
        };
        let learns = init.device().is_autodiff();
        let value = if learns { value.autodiff().set_require_grad(true) } else { value };
        Self { parameters, value }
    }

    /// Each parameter with its part of a flat tensor.
    fn parts(&self, flat: &Tensor<1>, see: &mut dyn FnMut(&Parameter, Tensor<1>)) {
        let mut start = 0;
        for one in &*self.parameters {
            see(one, flat.clone().slice_dim(0, start..start + one.count()));
            start += one.count();
        }
    }
}

impl Parameters for Theta {
    fn each(&self, see: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.parts(&self.value.clone().inner(), &mut |one, part| see(&one.name, &one.shape, part));
    }

    fn update(&mut self, map: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        let mut parts = Vec::new();
        self.parts(&self.value.clone().inner(), &mut |one, part| parts.push(map(&one.name, &one.shape, part)));
        if parts.is_empty() {
            return;
        }
        let (learns, autodiff) = (self.value.is_require_grad(), self.value.is_autodiff());
        let value = Tensor::cat(parts, 0);
        self.value = if autodiff { value.autodiff().set_require_grad(learns) } else { value };
    }

    fn gradients(&self, gradients: &mut Gradients, see: &mut dyn FnMut(&str, Tensor<1>)) {
        if let Some(gradient) = self.value.grad_remove(gradients) {
            self.parts(&gradient, &mut |one, part| see(&one.name, part));
        }
    }
}

/// A backbone of a plugin with its parameters.
pub struct HostedBackbone {
    model: Arc<Model>,
    theta: Theta,
    device: Device,
}

impl Backbone for HostedBackbone {
    fn spec(&self) -> BackboneSpec {
        self.model.spec
    }

    fn canvas(&self) -> &CanvasShape {
        &self.model.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Prediction {
        let [size, _] = batch.prompt.dims();
        let whole = |ints: &Tensor<2, Int>| ints.to_data().convert::<i64>().try_into_vec().expect("converted before");
        let mut pass = Pass {
            model: self.model.clone(),
            batch: size,
            prompt: whole(&batch.prompt),
            codes: None,
            times: None,
            guess: None,
        };
        let x = match &batch.content {
            Content::Codes(codes) => {
                pass.codes = Some(whole(codes));
                Tensor::zeros([1, 1, 1], &self.device)
            }
            Content::Masked(_) => unreachable!("no plugin describes itself as a masked model"),
            Content::Field(field) => {
                let at = field.at.iter().map(|&at| at as i64).collect();
                pass.times = Some((to_vec(field.times.clone()), field.times.dims()[1], at));
                pass.guess = field.guess.clone().map(to_vec);
                field.values.clone()
            }
        };
        let predicted = predict(self.theta.value.clone(), x, pass);
        match self.model.spec {
            BackboneSpec::NextToken | BackboneSpec::Masked => Prediction::Logits(vec![predicted]),
            BackboneSpec::Field { .. } => Prediction::Field(predicted),
        }
    }

    fn session(&self, prompt: Tensor<2, Int>) -> Option<Box<dyn Session>> {
        if self.model.spec != BackboneSpec::NextToken {
            return None;
        }
        let [batch, _] = prompt.dims();
        let mut session = HostedSession {
            pass: Pass {
                model: self.model.clone(),
                batch,
                prompt: prompt.into_data().convert::<i64>().try_into_vec().expect("converted before"),
                codes: Some(Vec::new()),
                times: None,
                guess: None,
            },
            theta: to_vec(self.theta.value.clone().inner()),
            cached: None,
            logits: Vec::new(),
            done: 0,
            device: self.device.clone().inner(),
        };
        // Errors leave as those of `forward` do.
        session.begin().unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error)));
        Some(Box::new(session))
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.theta
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.theta
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        let theta = Theta { value: self.theta.value.clone().inner(), ..self.theta.clone() };
        Box::new(Self { model: self.model.clone(), theta, device: self.device.clone().inner() })
    }
}

/// Decoding step by step: by the plugin's own cache, or else by a whole pass for each token.
struct HostedSession {
    pass: Pass,
    theta: Vec<f32>,
    /// An instance of its own: its state is this session's.
    cached: Option<(Held, abi::BackboneCache)>,
    /// `[B, K]` of the next token.
    logits: Vec<f32>,
    done: usize,
    device: Device,
}

impl HostedSession {
    fn begin(&mut self) -> Result<()> {
        let model = &self.pass.model;
        let cache = model.held().cache;
        if let Some(cache) = cache {
            let held = Held::new(model.library.create(&model.id, &model.config)?)?;
            self.logits = self.cached_logits(&held, &cache, None)?;
            self.cached = Some((held, cache));
            return Ok(());
        }
        let length = model.canvas.tokens.length();
        self.pass.codes = Some(vec![0; self.pass.batch * length]);
        self.whole_pass()
    }

    /// Of all predictions those of the next token: it sees no later code, so those that are not picked yet may be any.
    fn whole_pass(&mut self) -> Result<()> {
        let [batch, length, width] = self.pass.output();
        let all = self.pass.forward(&self.theta, &[])?;
        let row = |b: usize| &all[(b * length + self.done) * width..][..width];
        self.logits = (0..batch).flat_map(row).copied().collect();
        Ok(())
    }

    fn cached_logits(&self, held: &Held, cache: &abi::BackboneCache, codes: Option<&[i64]>) -> Result<Vec<f32>> {
        let [batch, _, width] = self.pass.output();
        let wanted = [Wanted::exact("the logits", DType::F32, &[batch, width])];
        let canvas = of_core(&self.pass.model.canvas);
        let sides =
            [[self.theta.len() as i64, 0], [batch as i64, self.pass.model.canvas.prompt as i64], [batch as i64, 0]];
        let (theta, prompt) = (lend(&self.theta, &sides[0][..1]), lend(&self.pass.prompt, &sides[1]));
        let none = std::ptr::null();
        let input = abi::BackboneInput {
            struct_size: size_of::<abi::BackboneInput>(),
            canvas: &canvas,
            theta: &theta,
            prompt: &prompt,
            x: none,
            times: none,
            at: none,
            guess: none,
        };
        let tokens = codes.map(|codes| lend(codes, &sides[2][..1]));
        let name = if codes.is_some() { "step" } else { "begin" };
        let mut given = held.instance.run(name, 0, &wanted, 0, |this, call| match &tokens {
            // SAFETY: the plugin's own functions, with its instance, a live call and live inputs.
            None => unsafe { cache.begin.expect("tables are complete")(this, call, &input) },
            // SAFETY: as above.
            Some(tokens) => unsafe { cache.step.expect("tables are complete")(this, call, &input, tokens) },
        })?;
        Ok(given.output(0).f32())
    }

    fn go_on(&mut self, codes: &[u32]) -> Result<()> {
        let [batch, length, _] = self.pass.output();
        self.done += 1;
        if self.done >= length {
            return Ok(());
        }
        let picked: Vec<i64> = codes.iter().map(|&code| i64::from(code)).collect();
        if let Some((held, cache)) = &self.cached {
            self.logits = self.cached_logits(held, cache, Some(&picked))?;
            return Ok(());
        }
        if let Some(codes) = &mut self.pass.codes {
            (0..batch).for_each(|b| codes[b * length + self.done - 1] = picked[b]);
        }
        self.whole_pass()
    }
}

impl Session for HostedSession {
    fn logits(&self, _: &[Vec<u32>]) -> Tensor<2> {
        let [batch, _, width] = self.pass.output();
        Tensor::from_data(TensorData::new(self.logits.clone(), [batch, width]), &self.device)
    }

    fn heads(&self) -> usize {
        1
    }

    fn push(&mut self, codes: &[u32]) {
        self.go_on(codes).unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error)));
    }
}
