//! Where to compute.

use burn::tensor::Device;
use musiva_core::{Error, ErrorKind, Result};
use std::{fmt, str::FromStr};

/// A device by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
    /// The GPU that Vulkan prefers.
    Vulkan,
    /// The GPU of a Mac.
    Metal,
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "vulkan" => Ok(Self::Vulkan),
            "metal" => Ok(Self::Metal),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "devices are cpu, cuda, cuda:N, vulkan and metal".into()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Vulkan => f.write_str("vulkan"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl DeviceName {
    /// The device, tried out.
    ///
    /// # Errors
    /// Where this build has no such devices, or the machine has not.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => tried(self, move || Device::cuda(number)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => tried(self, || Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "metal")]
            Self::Metal => tried(self, || Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
            #[allow(unreachable_patterns)]
            missing => {
                let name = missing.to_string();
                let feature = name.split(':').next().unwrap_or_default();
                Err(Error::new(
                    ErrorKind::Device,
                    format!("--device {missing}"),
                    format!("this build has no {feature}"),
                )
                .hint(format!("build with `cargo build --release --features {feature}`, or leave out --device")))
            }
        }
    }
}

/// Computes something small: a backend whose driver or device is missing panics at first use.
#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
fn tried(choice: DeviceName, make: impl FnOnce() -> Device + std::panic::UnwindSafe) -> Result<Device> {
    use burn::tensor::Tensor;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(|| {
        let device = make();
        let sum = Tensor::<1>::ones([3], &device).sum();
        (musiva_core::parameters::to_vec(sum) == [3.0]).then_some(device)
    });
    std::panic::set_hook(hook);
    outcome.ok().flatten().ok_or_else(|| {
        Error::new(ErrorKind::Device, format!("--device {choice}"), "there is no such device, or its driver is missing")
            .hint("install the driver, name another device, or leave out --device")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["cpu", "cuda:0", "cuda:3", "vulkan", "metal"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert!(["", "gpu", "cuda:", "cuda:x", "cpu:0"].iter().all(|name| name.parse::<DeviceName>().is_err()));
    }
}
