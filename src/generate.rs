//! From a request to clips and sounds, by the recipe's program.

use musiva_core::program::MOST_SAMPLES;
use musiva_core::recipe::Recipe;
use musiva_core::{
    Error, ErrorKind, GenerateRequest, MaskSpec, Modality, Observer, Outline, Output, Pipeline, Program, Result, Task,
};
use musiva_models::programs::Continuation;

/// What a recipe without `[program]` does.
static ONCE: Continuation = Continuation::once();

/// The recipe's program; where it has none, one piece.
pub fn program_of(recipe: &Recipe) -> &dyn Program {
    recipe.program.as_ref().map_or(&ONCE, |part| &*part.component)
}

/// What [`generate`] is going to do for a request, before a weight is read.
///
/// # Errors
/// Where the model cannot do what is asked for.
pub fn outline(recipe: &Recipe, request: &GenerateRequest) -> Result<Outline> {
    program_of(recipe).outline(&recipe.need_tasks()?, request)
}

/// Makes what a request asks for by the recipe's program, or one piece: [`generate_with`] takes another.
///
/// ```no_run
/// use musiva::{DeviceName, GenerateRequest, Pipeline};
///
/// let recipe = musiva::RecipeSource::named("text-to-video").open()?;
/// let pipeline = Pipeline::build(&recipe, &DeviceName::Cpu.open()?)?;
/// let request = GenerateRequest { count: 4, ..GenerateRequest::new("a red ring moves left") };
/// let outputs = musiva::generate(&pipeline, &request, &mut ())?;
/// # Ok::<(), musiva::Error>(())
/// ```
///
/// # Errors
/// As [`outline`]; where inputs do not fit the model; and what `observer` returns.
pub fn generate(pipeline: &Pipeline, request: &GenerateRequest, observer: &mut dyn Observer) -> Result<Vec<Output>> {
    generate_with(pipeline.program().unwrap_or(&ONCE), pipeline, request, observer)
}

/// Makes what a request asks for by a program. The observer is warned where the model does not know all words of the
/// prompt, which it would guess in silence.
///
/// # Errors
/// As [`generate`].
pub fn generate_with(
    program: &dyn Program,
    pipeline: &Pipeline,
    request: &GenerateRequest,
    observer: &mut dyn Observer,
) -> Result<Vec<Output>> {
    if !(1..=MOST_SAMPLES).contains(&request.count) {
        let message = format!("{} samples are asked for, expected 1 to {MOST_SAMPLES}", request.count);
        return Err(Error::new(ErrorKind::Unsupported, "generate", message).hint("ask for them by several seeds"));
    }
    let Outline { prompt, tasks, .. } = program.outline(pipeline.tasks(), request)?;
    let reads = |task: &Task| task.spec(Modality::Text.track()) == MaskSpec::Context;
    let known = pipeline.tasks().iter().filter(|task| tasks.contains(&task.name)).collect::<Vec<_>>();
    if !prompt.is_empty() && !known.is_empty() && !known.iter().any(|task| reads(task)) {
        observer.warn("this task reads no prompt: it is left out");
    }
    let letters = |text: &str| -> String { text.to_lowercase().split_whitespace().collect() };
    if let Some(read) = pipeline.read_back(&prompt)?
        && letters(&read) != letters(&prompt)
    {
        observer.warn(&format!("this model does not know all of these words; it reads \"{read}\""));
    }
    program.run(pipeline, request, observer)
}
