//! How far it goes on: by the flags, or else by the recipe's program.

use super::choose::OutputKind;
use super::context::ContextArgs;
use musiva_core::recipe::ProgramSettings;

/// How far it goes on, and what the prompts are in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtensionPlan {
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

impl ExtensionPlan {
    /// The flags', where one says what is made of the clip; else the recipe's.
    pub fn new(args: &ContextArgs, program: &ProgramSettings, output_kind: OutputKind) -> Self {
        let grows = args.extend.is_some() || args.extend_before.is_some();
        let part = args.region.is_some() || args.mask.is_some() || args.task.is_some();
        let between = args.looped || args.image.len() + args.video.len() > 1;
        if grows || part || between || output_kind == OutputKind::Sound || *program == ProgramSettings::Once {
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
        let extension_plan = |args: &ContextArgs| ExtensionPlan::new(args, &program, OutputKind::Both);
        let none = ContextArgs::default();
        let by_recipe = extension_plan(&none);
        assert_eq!((by_recipe.after, by_recipe.prompt.as_deref()), (Some(4.0), Some("a")));
        assert_eq!((&by_recipe.story[..], by_recipe.of_recipe), (&[(3.0, "b".to_owned())][..], true));
        assert_eq!(extension_plan(&ContextArgs { image: vec!["a.png".into()], ..none.clone() }), by_recipe);
        let extend = extension_plan(&ContextArgs { extend: Some(1.0), ..none.clone() });
        assert_eq!(extend, ExtensionPlan { after: Some(1.0), ..ExtensionPlan::default() });
        for args in [
            ContextArgs { task: Some("t".into()), ..none.clone() },
            ContextArgs { region: Some([0, 0, 1, 1]), ..none.clone() },
            ContextArgs { image: vec!["a.png".into(), "b.png".into()], ..none.clone() },
            ContextArgs { looped: true, ..none.clone() },
        ] {
            assert_eq!(extension_plan(&args), ExtensionPlan::default());
        }
        assert_eq!(ExtensionPlan::new(&none, &program, OutputKind::Sound), ExtensionPlan::default());
        assert_eq!(ExtensionPlan::new(&none, &ProgramSettings::Once, OutputKind::Both), ExtensionPlan::default());
    }
}
