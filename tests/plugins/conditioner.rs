//! Conditioners: text encoders of plugins, by whose vectors built-in backbones read prompts.

use super::lab::Lab;
use super::{build, hash, pin, root, run};
use std::fs;
use std::process::Command;

const BAG: &str = "org.musiva.bag";
const ALLOW: [&str; 2] = ["--allow-plugin", BAG];
const PROMPTS: [&str; 2] = ["a red ring moves left", "the blue square goes up"];

/// The example in C++, in the lab's plugins; its hash.
fn bag(lab: &Lab) -> String {
    let (folder, source) = (lab.path("plugins/bag"), root().join("plugins/examples/bag"));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(source.join("plugin.toml"), folder.join("plugin.toml")).unwrap();
    let include = format!("-I{}", root().join("plugins/include").display());
    let arguments = ["-std=c++17", "-O2", "-fPIC", "-shared", &include];
    build(Command::new("c++").args(arguments).arg(source.join("bag.cpp")).arg("-o").arg(folder.join("libbag.so")));
    hash(lab, "plugins/bag")
}

/// The tokens of a clip from a prompt.
fn made(lab: &Lab, recipe: &str, prompt: &str, more: &[&str]) -> Vec<u8> {
    let generate = ["generate", recipe, "--prompt", prompt, "--overwrite", "-o", "out.mp4"];
    run(lab, &[&generate[..], &ALLOW, more].concat()).succeeds();
    lab.values("out.tokens.safetensors")
}

/// Checks, trains, resumes and generates by a recipe that changes `base`.
fn is_read_by(base: &str, name: &str, backbone: &str) {
    let lab = Lab::trained();
    let sha256 = bag(&lab);
    let recipe = format!(
        "schema = 1\nextends = \"{base}.toml\"\nname = \"{name}\"\n{}[tokenizer.text]\nkind = \"{BAG}\"\nlength = 9\n\
         channels = 7\n[train]\nlearning_rate = 1e-2\n{backbone}",
        pin(BAG, &sha256)
    );
    let file = format!("{name}.toml");
    fs::write(lab.path(&file), recipe).unwrap();
    let weights = format!("backbone.weights={name}.safetensors");

    let checked = run(&lab, &["check", &file, ALLOW[0], ALLOW[1], "--set", &weights]).succeeds().out;
    assert!(checked.contains("[9, 7] vectors") && checked.contains("the prompt, by org.musiva.bag"), "{checked}");
    let train = |more: &[&str]| {
        let train = ["train", &file, ALLOW[0], ALLOW[1], "--steps", "10", "--set", "train.checkpoint_every=5"];
        run(&lab, &[&train[..], more].concat()).succeeds()
    };
    train(&["--run", "whole"]);
    let lines: Vec<serde_json::Value> =
        lab.text("whole/metrics.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let losses: Vec<f64> = lines.iter().filter_map(|line| line["loss"].as_f64()).collect();
    assert!(losses.len() == 10 && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    // From the checkpoint of step 5 on, the same weights to the bit.
    fs::create_dir_all(lab.path("half")).unwrap();
    build(Command::new("cp").arg("-r").arg(lab.path("whole/.")).arg(lab.path("half")));
    fs::remove_file(lab.path("half/weights.safetensors")).unwrap();
    let checkpoints = fs::read_dir(lab.path("half/checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    fs::remove_file(checkpoints.max().unwrap()).unwrap();
    train(&["--resume", "half"]);
    assert_eq!(lab.values("half/weights.safetensors"), lab.values("whole/weights.safetensors"));

    let file_of_weights = format!("{name}.safetensors");
    fs::copy(lab.path("whole/weights.safetensors"), lab.path(&file_of_weights)).unwrap();
    let said = run(&lab, &["inspect", &file_of_weights]).succeeds().out;
    assert!(said.contains("words.bias") && said.contains(&sha256), "{said}");
    // Guidance shows what ten steps have learnt of prompts.
    let strong = ["--set", &weights, "--set", "sampler.guidance=60"];
    let [one, other] = PROMPTS.map(|prompt| made(&lab, &file, prompt, &strong));
    assert_ne!(one, other, "the prompt changes nothing");
    assert_eq!(one, made(&lab, &file, PROMPTS[0], &strong));
    let said = run(&lab, &["inspect", "out.mp4"]).succeeds().out;
    assert!(said.contains("musiva.plugin.org.musiva.bag") && said.contains(&sha256), "{said}");
    #[cfg(target_os = "linux")]
    assert_eq!(one, made(&lab, &file, PROMPTS[0], &[&strong[..], &["--isolate"]].concat()));
    // No prompt is what guidance compares with: whatever its strength, it changes nothing.
    let unguided = made(&lab, &file, "", &["--set", &weights, "--set", "sampler.guidance=1"]);
    assert_eq!(unguided, made(&lab, &file, "", &strong));
    run(&lab, &["evaluate", &file, ALLOW[0], ALLOW[1], "--set", &weights, "--prompts", "2"]).succeeds();
}

#[test]
fn a_diffusion_model_reads_prompts_by_a_conditioner() {
    is_read_by("dit", "bag-dit", "");
}

#[test]
fn a_language_model_reads_prompts_by_a_conditioner() {
    is_read_by("lm", "bag-lm", "");
}

#[test]
fn a_masked_model_reads_prompts_by_a_conditioner() {
    let backbone = "[backbone]\nkind = \"masked\"\nwidth = 16\ndepth = 1\nheads = 2\n[objective]\nkind = \"masked\"\n\
                    [sampler]\nkind = \"maskgit\"\nsteps = 3\n";
    is_read_by("lm", "bag-masked", backbone);
}

#[test]
fn what_a_recipe_asks_of_a_conditioner_is_checked() {
    let lab = Lab::bare();
    let pinned = pin(BAG, &bag(&lab));
    let check = |name: &str, sections: &str, says: &[&str]| {
        fs::write(lab.path(name), format!("schema = 1\nextends = \"dit.toml\"\n{pinned}{sections}")).unwrap();
        run(&lab, &["check", name, ALLOW[0], ALLOW[1]]).fails(3, says);
    };
    let text = format!("[tokenizer.text]\nkind = \"{BAG}\"\n");
    check("a.toml", &format!("{text}length = 0\n"), &["tokenizer.text.length", "0"]);
    check("b.toml", &format!("{text}words = 3\n"), &["tokenizer.text.words", "there is no such key"]);
    check("c.toml", &format!("[tokenizer.video]\nkind = \"{BAG}\"\n"), &["tokenizer.video.kind", BAG]);
    let trained = format!("{text}[train]\ntarget = \"tokenizer.text\"\n");
    check("d.toml", &trained, &["used as it is and cannot be trained", "train.target = \"backbone\""]);
}

/// The recipe that ships, but for the hash, which hangs on the compiler.
#[test]
fn the_shipped_recipe_is_in_order() {
    let lab = Lab::bare();
    let sha256 = bag(&lab);
    let recipe = root().join("recipes/plugins/bag.toml").display().to_string();
    let platform = format!("plugin.0.sha256.{}-{}={sha256}", std::env::consts::ARCH, std::env::consts::OS);
    let checked = run(&lab, &["check", &recipe, ALLOW[0], ALLOW[1], "--set", &platform]).succeeds().out;
    assert!(checked.contains("[8, 64] vectors"), "{checked}");
}
