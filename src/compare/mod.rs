//! Comparisons: arms that are trained alike, measured alike, and set side by side with what each took.

mod file;
mod measure;
mod page;
mod plan;
mod report;
mod run;
mod sentences;
mod statistics;

pub use file::{Arm, Budget, ComparisonFile, Measures, Size};
pub use measure::{Measured, Sampled};
pub use plan::{Comparison, ComparisonOverrides, Cost, Member, PlannedRun};
pub use report::{
    ArmFigure, ArmReport, FigureReport, LEVEL, Pair, Report, SamplingFigure, SamplingReport, Scaling, TriedRate,
};
pub use run::{CompareOptions, Compared};
pub use statistics::{Difference, Estimate, PowerLaw};
