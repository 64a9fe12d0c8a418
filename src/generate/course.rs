//! How far it goes on: by the flags, or else by the recipe's program.

use super::choose::Holds;
use super::given::GivenArgs;
use musiva_core::recipe::ProgramSettings;

/// How far it goes on, and what the prompts are in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Seconds that are made after the first piece.
    pub after: Option<f64>,
    /// Seconds that are made before it.
    pub before: Option<f64>,
    /// The prompt of the first piece, where the recipe has one.
    pub prompt: Option<String>,
    /// Prompts that hold from a second on.
    pub story: Vec<(f64, String)>,
    /// Whether the recipe says so, not the flags.
    pub of_recipe: bool,
}

impl Course {
    /// The flags', where one says what is made of the clip; else the recipe's.
    pub fn new(args: &GivenArgs, program: &ProgramSettings, holds: Holds) -> Self {
        let grows = args.extend.is_some() || args.extend_before.is_some();
        let part = args.region.is_some() || args.mask.is_some() || args.task.is_some();
        let between = args.looped || args.image.len() + args.video.len() > 1;
        if grows || part || between || holds == Holds::Sound || *program == ProgramSettings::Once {
            let (after, before, story) = (args.extend, args.extend_before, args.then.clone());
            return Self { after, before, story, prompt: None, of_recipe: false };
        }
        let (first, later): (Vec<_>, Vec<_>) = program.prompts().iter().partition(|moment| moment.at == 0.0);
        Self {
            after: program.seconds(),
            before: None,
            prompt: first.first().map(|moment| moment.prompt.clone()),
            story: later.iter().map(|moment| (moment.at, moment.prompt.clone())).collect(),
            of_recipe: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::recipe::Moment;

    #[test]
    fn a_flag_that_says_what_is_made_stands_above_the_recipe() {
        let moment = |at, prompt: &str| Moment { at, prompt: prompt.into() };
        let prompts = vec![moment(0.0, "a"), moment(3.0, "b")];
        let program = ProgramSettings::PromptSchedule { seconds: 4.0, prompts };
        let course = |args: &GivenArgs| Course::new(args, &program, Holds::Both);
        let none = GivenArgs::default();
        let by_recipe = course(&none);
        assert_eq!((by_recipe.after, by_recipe.prompt.as_deref()), (Some(4.0), Some("a")));
        assert_eq!((&by_recipe.story[..], by_recipe.of_recipe), (&[(3.0, "b".to_owned())][..], true));
        assert_eq!(course(&GivenArgs { image: vec!["a.png".into()], ..none.clone() }), by_recipe);
        let extend = course(&GivenArgs { extend: Some(1.0), ..none.clone() });
        assert_eq!(extend, Course { after: Some(1.0), ..Course::default() });
        for args in [
            GivenArgs { task: Some("t".into()), ..none.clone() },
            GivenArgs { region: Some([0, 0, 1, 1]), ..none.clone() },
            GivenArgs { image: vec!["a.png".into(), "b.png".into()], ..none.clone() },
            GivenArgs { looped: true, ..none.clone() },
        ] {
            assert_eq!(course(&args), Course::default());
        }
        assert_eq!(Course::new(&none, &program, Holds::Sound), Course::default());
        assert_eq!(Course::new(&none, &ProgramSettings::Once, Holds::Both), Course::default());
    }
}
