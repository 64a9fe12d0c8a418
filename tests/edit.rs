//! Editing by strength and programs of recipes, through the command.

mod lab;

use lab::{Lab, Outcome};
use std::fs;

const PROMPT: [&str; 2] = ["--prompt", "a red ring moves left"];

/// A lab with a clip, its sound, and a clip with both.
fn lab() -> Lab {
    let lab = Lab::heard();
    for file in ["clip.mp4", "clip.gif", "sound.wav"] {
        generate(&lab, "heard-lm.toml", &["--seed", "3", "-o", file]);
    }
    lab
}

fn generate(lab: &Lab, recipe: &str, arguments: &[&str]) -> String {
    lab.run(&[&["generate", recipe, PROMPT[0], PROMPT[1], "--overwrite"], arguments].concat()).succeeds().out
}

/// The tokens of a file's clip and of its sound, where they were saved.
fn tokens(lab: &Lab, stem: &str) -> Vec<Vec<u8>> {
    let files = ["tokens.safetensors", "sound.tokens.safetensors"].map(|end| format!("{stem}.{end}"));
    files.iter().filter(|file| lab.path(file).exists()).map(|file| lab.values(file)).collect()
}

#[test]
fn strength_1_is_generation_from_nothing() {
    let lab = lab();
    let both = ["--video", "clip.mp4", "--audio", "clip.mp4", "--strength", "1", "-o", "edit.mp4"];
    for (recipe, more) in [
        ("heard-dit.toml", &[] as &[&str]),
        ("heard-dit.toml", &["--set", "sampler.frame_offset=0"]),
        ("heard-dit.toml", &["--set", "sampler.steps=7", "--set", "sampler.shift=3.3", "--set", "sampler.eta=1"]),
        ("heard-masked.toml", &[]),
        ("heard-masked.toml", &["--set", "sampler.schedule=exponential"]),
    ] {
        let said = generate(&lab, recipe, &[&both, more].concat());
        assert!(said.contains("text-to-video-with-sound: edits the clip and the sound towards the prompt"), "{said}");
        generate(&lab, recipe, &[&["-o", "plain.mp4"], more].concat());
        assert_eq!(tokens(&lab, "plain").len(), 2);
        assert!(tokens(&lab, "edit") == tokens(&lab, "plain"), "{recipe} {more:?}");
    }
    // The clip alone, of a recipe without tasks.
    generate(&lab, "dit.toml", &["--video", "clip.gif", "--strength", "1", "--count", "2", "-o", "silent.gif"]);
    generate(&lab, "dit.toml", &["--count", "2", "-o", "nothing.gif"]);
    for number in 1..=2 {
        assert!(tokens(&lab, &format!("silent-{number}")) == tokens(&lab, &format!("nothing-{number}")));
    }
}

#[test]
fn an_edit_is_the_same_for_any_number_of_threads_and_says_what_it_did() {
    let lab = lab();
    for recipe in ["heard-dit.toml", "heard-masked.toml"] {
        let arguments = ["generate", recipe, PROMPT[0], PROMPT[1], "--video", "clip.mp4", "--audio", "sound.wav"];
        let arguments = [&arguments[..], &["--overwrite", "--strength", "0.5", "-o", "edit.mp4"]].concat();
        let said = lab.run(&arguments).succeeds().out;
        assert!(said.contains("strength 0.5, the last 50 % of the steps"), "{said}");
        let first = lab.bytes("edit.mp4");
        Outcome::of(lab.command(&arguments).env("RAYON_NUM_THREADS", "1")).succeeds();
        assert!(first == lab.bytes("edit.mp4"), "{recipe}");
        assert!(lab.run(&["inspect", "edit.mp4"]).succeeds().out.contains("musiva.strength = 0.5"));
        generate(&lab, recipe, &["-o", "plain.mp4"]);
        assert!(tokens(&lab, "edit") != tokens(&lab, "plain"), "{recipe}: nothing is left of the clip");
    }
}

#[test]
fn where_nothing_is_hidden_the_clips_own_tokens_come_back() {
    let lab = lab();
    let given = ["--video", "clip.mp4", "--audio", "sound.wav", "--strength", "0.001", "-o", "edit.mp4"];
    generate(&lab, "heard-masked.toml", &given);
    lab.run(&["tokenize", "video.toml", "clip.mp4", "-o", "clip.safetensors"]).succeeds();
    lab.run(&["tokenize", "audio.toml", "sound.wav", "-o", "sound.safetensors"]).succeeds();
    assert!(tokens(&lab, "edit") == [lab.values("clip.safetensors"), lab.values("sound.safetensors")]);
}

#[test]
fn a_sound_alone_a_region_and_what_goes_on_can_be_edited() {
    let lab = lab();
    for recipe in ["heard-dit.toml", "heard-masked.toml"] {
        let edit = |arguments: &[&str], says: &str| {
            let said = generate(&lab, recipe, &[arguments, &["--strength", "0.6"]].concat());
            assert!(said.contains(says), "{says:?} is not in\n{said}");
        };
        edit(&["--audio", "sound.wav", "-o", "edit.wav"], "text-to-audio: edits the sound towards the prompt");
        let region = ["--video", "clip.gif", "--region", "4,4,8,8", "-o", "edit.gif"];
        edit(&region, "inpainting: edits a region of the clip towards the prompt");
        let on = ["--video", "clip.mp4", "--audio", "sound.wav", "--extend", "0.5", "-o", "edit.mp4"];
        edit(&on, "continuation: ");
        assert!(lab.run(&["inspect", "edit.mp4"]).succeeds().out.contains("9 frames"));
    }
}

#[test]
fn what_cannot_be_edited_is_refused_with_its_hint() {
    let lab = lab();
    let refused = |recipe: &str, arguments: &[&str], code, says: &[&str]| {
        lab.run(&[&["generate", recipe, "-o", "edit.mp4"], arguments].concat()).fails(code, says);
    };
    let clip = ["--video", "clip.gif", "--strength", "0.5"];
    refused("lm.toml", &clip, 8, &["--strength", "diffusion and masked models", "--region", "--image"]);
    refused("dit.toml", &["--strength", "0.5"], 8, &["no clip and no sound to change", "--video or --audio"]);
    refused("dit.toml", &[&clip[..], &["--video", "clip.gif"]].concat(), 8, &["one clip is changed"]);
    for wrong in ["0", "-0.5", "1.01", "nan", "much"] {
        let strength = format!("--strength={wrong}");
        refused("dit.toml", &["--video", "clip.gif", &strength], 2, &["above 0, 1 at most"]);
    }
    // No task of this model makes a clip without its sound.
    refused("heard-dit.toml", &clip, 8, &["not trained for what is given", "text-to-video-with-sound"]);
    lab.run(&["data", "dit.toml", "-o", "sheet.png"]).succeeds();
    refused("dit.toml", &["--video", "sheet.png", "--strength", "0.5"], 4, &["requires 5 frames, this has 1"]);
}

#[test]
fn a_recipes_program_is_what_the_flags_are() {
    let lab = lab();
    let write = |name: &str, program: &str| {
        let text = format!("schema = 1\nextends = \"heard-lm.toml\"\nname = \"{name}\"\n[program]\n{program}\n");
        fs::write(lab.path(&format!("{name}.toml")), text).unwrap();
    };
    let schedule = "kind = \"prompt-schedule\"\nseconds = 1.0\nprompts = [\n\
                    { at = 0.0, prompt = \"a red ring moves left\" },\n{ at = 1.0, prompt = \"a blue square goes up\" }]";
    write("longer", "kind = \"extend\"\nseconds = 0.5");
    write("story", schedule);
    let rounds = |stem: &str, n: usize| -> Vec<Vec<Vec<u8>>> {
        let stems = (1..=n).map(|round| if round == 1 { stem.to_owned() } else { format!("{stem}-{round}") });
        stems.map(|stem| tokens(&lab, &stem)).collect()
    };
    generate(&lab, "longer.toml", &["-o", "a.mp4"]);
    generate(&lab, "heard-lm.toml", &["--extend", "0.5", "-o", "b.mp4"]);
    assert!(rounds("a", 3) == rounds("b", 3) && rounds("a", 3)[2].len() == 2);
    // The prompt of the first piece is the program's, where the command names none.
    lab.run(&["generate", "story.toml", "-o", "c.gif"]).succeeds();
    generate(&lab, "heard-lm.toml", &["--extend", "1", "--then", "1:a blue square goes up", "-o", "d.gif"]);
    assert!(rounds("c", 5) == rounds("d", 5) && rounds("c", 5)[4].len() == 2);
    let said = lab.run(&["inspect", "c.gif"]).succeeds().out;
    assert!(said.contains("musiva.prompt = a red ring moves left"), "{said}");
    // A flag stands above the key.
    generate(&lab, "longer.toml", &["--extend", "0.125", "-o", "e.mp4"]);
    generate(&lab, "story.toml", &["--set", "program.kind=once", "-o", "f.mp4"]);
    for (file, frames) in [("a.mp4", "9 frames"), ("c.gif", "13 frames"), ("e.mp4", "6 frames"), ("f.mp4", "5 frames")]
    {
        let said = lab.run(&["inspect", file]).succeeds().out;
        assert!(said.contains(frames), "{file}: {frames:?} is not in\n{said}");
    }
    // It is shown, and what is wrong with it is told, before anything is made.
    let said = lab.run(&["check", "story.toml"]).succeeds().out;
    assert!(said.contains("a piece, then 1 s more; from 0 s \"a red ring moves left\"; from 1 s"), "{said}");
    write("late", &schedule.replace("at = 1.0", "at = 7.0"));
    lab.run(&["check", "late.toml"]).fails(3, &["program.prompts.1.at", "the clip ends at 1.625 s", "hint"]);
    write("unordered", &schedule.replace("at = 0.0", "at = 1.5"));
    lab.run(&["generate", "unordered.toml"]).fails(3, &["follows one at 1.5 s"]);
    lab.run(&["check", "lm.toml", "--set", "program.kind=extend", "--set", "program.seconds=2"])
        .fails(3, &["program.kind", "no task that goes on", "[[task]]"]);
}
