//! The scenes that training never sees, as a dataset.

use super::{Split, World};
use crate::dataset::{DataReport, Dataset, Sample};
use musiva_core::{MediaShape, Modality, Result, RngKey};

/// The world's test scenes by number.
pub(crate) struct TestScenes(pub World);

impl Dataset for TestScenes {
    fn len(&self) -> Option<u64> {
        None
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let key = RngKey::new(self.0.config().seed).sample(index & 0xffff_ffff).step(index >> 32);
        Ok(self.0.scene(key, Split::Test).sample(key, format!("world test scene {index}")))
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.0.shape(modality)
    }

    fn report(&self) -> DataReport {
        self.0.report()
    }
}

#[cfg(test)]
mod tests {
    use crate::dataset::{Dataset, Part};
    use crate::world::WorldConfig;
    use musiva_core::{DatasetConfig, Modality};

    #[test]
    fn the_worlds_test_scenes_are_not_its_training_scenes() {
        let config = WorldConfig { size: [16, 16], frames: 3, ..WorldConfig::default() };
        let (train, test) = (config.open(Part::Train).unwrap(), config.open(Part::HeldOut).unwrap());
        assert_eq!(train.shape(Modality::Video), test.shape(Modality::Video));
        let clips = |data: &dyn Dataset| (0..7).map(|i| data.get(i).unwrap().clip).collect::<Vec<_>>();
        assert!(clips(&*train).iter().all(|clip| !clips(&*test).contains(clip)));
        assert_eq!(clips(&*test), clips(&*config.open(Part::HeldOut).unwrap()));
    }
}
