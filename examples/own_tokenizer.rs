//! A tokenizer of one's own: a code for each sample of a sound, by μ-law (ITU-T G.711, without its segments).
//! `cargo run --release --example own_tokenizer`

use musiva::{
    Codec, Component, ConfigError, Cost, Device, DeviceName, Make, Media, MediaShape, Modality, RecipeSource, Result,
    Sound, TokenKind, TokenShape, Tokenizer, TokenizerConfig, TokenizerSpec, Tokens, WeightInit, dataset::Part,
    reconstruct::Likeness, reconstruct::reconstruct,
};

const MU: f32 = 255.0;
const KIND: TokenKind = TokenKind::Codes { levels: 1, entries: 256, bits: None };
#[rustfmt::skip]
const SPEC: TokenizerSpec =
    TokenizerSpec { modality: Modality::Audio, kind: KIND, codes: KIND, strides: [1; 3], causal: true, range: [-1.0, 1.0] };

struct MuLaw;

#[rustfmt::skip]
impl TokenizerConfig for MuLaw {
    fn errors(&self) -> Vec<ConfigError> { Vec::new() }
    fn spec(&self) -> TokenizerSpec { SPEC }
    fn parameters(&self) -> usize { 0 }
    fn cost(&self, _: &MediaShape) -> [Cost; 2] { [Cost::default(); 2] }
    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        let MediaShape::Sound { samples, .. } = *media else { return Err(ConfigError::new("", "no sound", "name a sound")) };
        Ok(TokenShape { grid: [samples, 1, 1], kind: KIND })
    }
    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> { Ok(Box::new(MuLaw)) }
}

impl Tokenizer for MuLaw {
    #[rustfmt::skip]
    fn spec(&self) -> &TokenizerSpec { &SPEC }
    fn encode(&self, media: &Media) -> Result<Tokens> {
        let sound = media.clone().sound("mu-law")?;
        let code = |x: &f32| ((x.signum() * (MU * x.abs()).ln_1p() / MU.ln_1p() + 1.0) * MU / 2.0).round() as u32;
        Tokens::codes([sound.length(), 1, 1], 256, sound.samples().iter().map(code).collect())
    }
    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        let sample = |y: f32| y.signum() * ((y.abs() * MU.ln_1p()).exp_m1()) / MU;
        let samples = tokens.as_codes()?.iter().map(|&code| sample(2.0 * code as f32 / MU - 1.0)).collect();
        Ok(Media::Sound(Sound::new(1, musiva::Rate::whole(16_000), samples)?))
    }
}

pub(crate) fn run() -> Result<Likeness> {
    let (schema, origin) = (serde_json::json!({ "type": "object" }), "this example".to_owned());
    let make = Make::Tokenizer(|_| Ok(Box::new(MuLaw)));
    let component = Component { kind: "mu-law", summary: "a code a sample", origin, schema, learns: false, make };
    let toml = "schema = 1\ndata = { kind = \"world\", sound = 16000 }\ntokenizer.audio.kind = \"mu-law\"";
    let recipe = RecipeSource::text(toml, ".").component(component).open()?;
    let sound = recipe.need_data()?.component.open(Part::HeldOut)?.get(0)?.into_sound()?;
    let codec = Codec::build(&recipe, Modality::Audio, &DeviceName::Cpu.open()?)?;
    reconstruct(&codec, Media::Sound(sound), &mut ())?.likeness()
}

pub(crate) fn main() -> Result<()> {
    println!("{}", run()?);
    Ok(())
}
