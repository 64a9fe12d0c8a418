//! Parameters by name: what optimizers, averages, checkpoints and weight files see of a model.
//!
//! Every Burn module is [`Parameters`]; a parameter's name is its path in the module
//! (`blocks.0.attention.qkv.weight`), its value is handed over flat.

use crate::{Error, ErrorKind, Result, RngKey, RngStream, files};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Weights on the host: name → shape and values.
pub type Weights = BTreeMap<String, Weight>;

/// One tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its shape, NumPy order.
    pub shape: Vec<usize>,
    /// Its values in C order.
    pub values: Vec<f32>,
}

/// A model seen as a list of named tensors.
pub trait Parameters {
    /// Calls `see` with the name, the shape and the flat value (without autodiff) of each one.
    fn each(&self, see: &mut dyn FnMut(&str, &[usize], Tensor<1>));

    /// Replaces each value by what `map` makes of it; what requires gradients goes on to do so.
    fn update(&mut self, map: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>);

    /// Takes each gradient that there is out of `gradients`, flat.
    fn gradients(&self, gradients: &mut Gradients, see: &mut dyn FnMut(&str, Tensor<1>));

    /// How many numbers there are to learn.
    fn count(&self) -> usize {
        let mut count = 0;
        self.each(&mut |_, shape, _| count += shape.iter().product::<usize>());
        count
    }

    /// Copies all values to the host.
    fn weights(&self) -> Weights {
        let mut weights = Weights::new();
        self.each(&mut |name, shape, value| {
            weights.insert(name.to_owned(), Weight { shape: shape.to_vec(), values: to_vec(value) });
        });
        weights
    }

    /// Sets all values from `weights`, which must have the same names and shapes.
    ///
    /// # Errors
    /// Names every tensor that is missing, superfluous or of another shape; `place` is where the
    /// weights come from. Nothing is changed then.
    fn load(&mut self, weights: &Weights, place: &str) -> Result<()> {
        let mut wrong = Vec::new();
        let mut known = 0;
        self.each(&mut |name, shape, _| match weights.get(name) {
            None => wrong.push(format!("`{name}` {shape:?} is missing")),
            Some(weight) if weight.shape != shape => {
                known += 1;
                wrong.push(format!("`{name}` is {:?}, the recipe requires {shape:?}", weight.shape));
            }
            Some(_) => known += 1,
        });
        if known < weights.len() {
            wrong.push(format!("{} tensors that the recipe does not have", weights.len() - known));
        }
        if !wrong.is_empty() {
            let more = wrong.len().saturating_sub(3);
            wrong.truncate(3);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            return Err(Error::new(
                ErrorKind::Weights,
                place,
                format!("these weights are of another model: {}{more}", wrong.join("; ")),
            )
            .hint(
                "name weights that this recipe's settings trained, or set the settings back to those of the weights",
            ));
        }
        self.update(&mut |name, _, old| {
            let values = weights[name].values.clone();
            Tensor::from_data(TensorData::new(values, [old.dims()[0]]), &old.device())
        });
        Ok(())
    }
}

/// The numbers of `network`, and those of `weights` in place of them where there are such.
///
/// # Errors
/// Where there are none, or there are some that the network does not have.
pub fn grown(network: &dyn Parameters, weights: Weights, place: &str) -> Result<Weights> {
    let mut all = network.weights();
    let wrong = |message: String| {
        Error::new(ErrorKind::Weights, place, message)
            .hint("name weights of a model of the same kind, of the same width and depth")
    };
    if weights.is_empty() {
        return Err(wrong("it holds no weights".into()));
    }
    for (name, weight) in weights {
        let slot = all.get_mut(&name).ok_or_else(|| wrong(format!("the recipe's model has no `{name}`")))?;
        *slot = weight;
    }
    Ok(all)
}

/// The values of a flat tensor, on the host.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("converted to f32 one call before")
}

impl<M: Module> Parameters for M {
    fn each(&self, see: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.visit(&mut Each { path: Vec::new(), see });
    }

    fn update(&mut self, map: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        *self = self.clone().map(&mut Update { path: Vec::new(), map });
    }

    fn gradients(&self, gradients: &mut Gradients, see: &mut dyn FnMut(&str, Tensor<1>)) {
        self.visit(&mut Gather { path: Vec::new(), gradients, see });
    }
}

struct Each<'a> {
    path: Vec<String>,
    see: &'a mut dyn FnMut(&str, &[usize], Tensor<1>),
}

impl ModuleVisitor for Each<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner();
        (self.see)(&self.path.join("."), &value.dims(), value.reshape([-1]));
    }
}

/// A new value of a parameter of `device`: where gradients are found, and how, is the device's; whether by this one is
/// said by `learns`.
pub fn learning<const D: usize>(value: Tensor<D>, device: &Device, learns: bool) -> Tensor<D> {
    let Some(strategy) = device.gradient_checkpointing_strategy() else { return value };
    value.autodiff().with_gradient_checkpointing_strategy(strategy).set_require_grad(learns)
}

struct Update<'a> {
    path: Vec<String>,
    map: &'a mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let (learns, device, dims) = (tensor.is_require_grad(), tensor.device(), tensor.dims());
            let new = (self.map)(&self.path.join("."), &dims, tensor.inner().reshape([-1])).reshape(dims);
            learning(new, &device, learns)
        })
    }
}

struct Gather<'a> {
    path: Vec<String>,
    gradients: &'a mut Gradients,
    see: &'a mut dyn FnMut(&str, Tensor<1>),
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            (self.see)(&self.path.join("."), gradient.reshape([-1]));
        }
    }
}

/// Initial weights, drawn on the host and keyed by name: the same on every device, whatever the
/// order in which layers are made.
#[derive(Clone, Debug)]
pub struct Init {
    /// None: zeros stand where random numbers would, for weights that a file will replace.
    seed: Option<u64>,
    path: String,
    device: Device,
}

impl Init {
    /// Weights of `seed`, made on `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { seed: Some(seed), path: String::new(), device: device.clone() }
    }

    /// Weights that a file will replace: nothing is drawn.
    pub(crate) fn blank(device: &Device) -> Self {
        Self { seed: None, path: String::new(), device: device.clone() }
    }

    /// Where the weights are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The initial weights of the part `name`.
    pub fn part(&self, name: impl std::fmt::Display) -> Self {
        Self { path: format!("{}/{name}", self.path), ..self.clone() }
    }

    /// Normal numbers of deviation `std`.
    pub fn normal<const D: usize>(&self, shape: [usize; D], std: f32) -> Param<Tensor<D>> {
        let Some(seed) = self.seed else { return self.zeros(shape) };
        let hash =
            self.path.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let key = RngKey { seed, sample: hash & 0xffff_ffff, step: hash >> 32 };
        let mut values = key.stream(RngStream::Init).normals(shape.iter().product());
        values.iter_mut().for_each(|value| *value *= std);
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    /// Zeros.
    pub fn zeros<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::zeros(shape, &self.device))
    }

    /// Ones.
    pub fn ones<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::ones(shape, &self.device))
    }
}

/// The numbers of a safetensors file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits: one sign, 8 exponent, 7 fraction.
    Bf16,
    /// 16 bits: one sign, 5 exponent, 10 fraction.
    F16,
}

/// Writes weights as safetensors, whole or not at all.
pub fn save_weights(
    path: &Path,
    weights: &Weights,
    precision: Precision,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::Bf16 => Dtype::BF16,
        Precision::F16 => Dtype::F16,
    };
    let encode = |value: &f32| match precision {
        Precision::F32 => value.to_le_bytes().to_vec(),
        Precision::Bf16 => half::bf16::from_f32(*value).to_le_bytes().to_vec(),
        Precision::F16 => half::f16::from_f32(*value).to_le_bytes().to_vec(),
    };
    let wrong =
        |e: safetensors::SafeTensorError| Error::new(ErrorKind::Weights, path.display().to_string(), e.to_string());
    let bytes: Vec<Vec<u8>> = weights.values().map(|w| w.values.iter().flat_map(encode).collect()).collect();
    let views = weights.iter().zip(&bytes).map(|((name, weight), bytes)| {
        TensorView::new(dtype, weight.shape.clone(), bytes).map(|view| (name.as_str(), view)).map_err(wrong)
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    files::write(path, &files::safetensors(views, metadata).map_err(wrong)?)
}

/// Reads weights, whatever their precision, and the file's metadata.
///
/// # Errors
/// Where there is no file, it is truncated, or it holds numbers that are not F32, F16 or BF16.
pub fn open_weights(path: &Path) -> Result<(Weights, HashMap<String, String>)> {
    let place = path.display().to_string();
    let wrong = |message: String| Error::new(ErrorKind::Weights, place.clone(), message);
    if !path.exists() {
        return Err(
            wrong("there is no such weights file".into()).hint("train the recipe that makes it, or name another file")
        );
    }
    let bytes = files::read(path, 64 * files::GIGABYTE)?;
    let broken = |e: safetensors::SafeTensorError| {
        wrong(format!("not a whole safetensors file ({e}; {} bytes)", bytes.len())).hint("fetch or train it again")
    };
    let (_, head) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut weights = Weights::new();
    for (name, view) in tensors.iter() {
        let pairs = || view.data().as_chunks::<2>().0.iter().copied();
        let values = match view.dtype() {
            Dtype::F32 => view.data().as_chunks().0.iter().copied().map(f32::from_le_bytes).collect(),
            Dtype::BF16 => pairs().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
            Dtype::F16 => pairs().map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
            other => return Err(wrong(format!("`{name}` is {other:?}; weights are F32, F16 or BF16"))),
        };
        let values: Vec<f32> = values;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(wrong(format!("`{name}` holds {value}, which is not a finite number")).hint("train it again"));
        }
        weights.insert(name.to_owned(), Weight { shape: view.shape().to_vec(), values });
    }
    Ok((weights, head.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct Twin {
        a: Param<Tensor<2>>,
        b: Vec<Param<Tensor<1>>>,
    }

    fn twin(device: &Device) -> Twin {
        let init = Init::new(3, device);
        Twin { a: init.part("a").normal([5, 7], 1.0), b: vec![init.zeros([3]), init.ones([2])] }
    }

    #[test]
    fn a_model_grows_by_what_the_weights_lack() {
        let model = twin(&Device::flex());
        let mut file = Weights::from([("a".to_owned(), Weight { shape: vec![5, 7], values: vec![7.0; 35] })]);
        let all = grown(&model, file.clone(), "x").unwrap();
        assert_eq!((&all["a"], &all["b.0"]), (&file["a"], &model.weights()["b.0"]));
        file.insert("c".into(), Weight { shape: vec![1], values: vec![0.0] });
        assert!(grown(&model, file, "x").unwrap_err().to_string().contains("no `c`"));
        assert!(grown(&model, Weights::new(), "x").is_err());
    }

    #[test]
    fn weights_are_made_where_they_are_asked_for() {
        let device = Device::flex().autodiff();
        let init = Init::new(3, &device).part("a");
        assert_eq!(init.device(), &device);
        assert_eq!(init.normal([2], 1.0).val().device(), device);
    }

    #[test]
    fn names_are_paths_and_weights_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let model = twin(&Device::flex());
        let weights = model.weights();
        assert_eq!(weights.keys().collect::<Vec<_>>(), ["a", "b.0", "b.1"]);
        assert_eq!(model.count(), 40);
        save_weights(&path, &weights, Precision::F32, HashMap::new()).unwrap();
        assert_eq!(open_weights(&path).unwrap().0, weights);
        let mut other = twin(&Device::flex());
        other.update(&mut |_, _, value| value * 0.0);
        other.load(&weights, "here").unwrap();
        assert_eq!(other.weights(), weights);
    }

    #[test]
    fn weights_of_another_model_are_named() {
        let mut model = twin(&Device::flex());
        let mut weights = model.weights();
        weights.remove("b.1");
        weights.get_mut("a").unwrap().shape = vec![7, 5];
        let error = model.load(&weights, "w.safetensors").unwrap_err().to_string();
        assert!(error.contains("`b.1` [2] is missing") && error.contains("`a` is [7, 5]"), "{error}");
    }

    #[test]
    fn an_update_keeps_what_learns_and_gradients_have_names() {
        let device = Device::flex().autodiff().gradient_checkpointing();
        let mut model = twin(&device);
        model.update(&mut |_, _, value| value + 1.0);
        let found = model.a.val().device().gradient_checkpointing_strategy();
        assert_eq!(found, device.gradient_checkpointing_strategy());
        let loss = (model.a.val() * 3.0).sum() + model.b[0].val().sum();
        let mut gradients = loss.backward();
        let mut seen = Vec::new();
        model.gradients(&mut gradients, &mut |name, g| seen.push((name.to_owned(), to_vec(g)[0])));
        assert_eq!(seen, [("a".to_owned(), 3.0), ("b.0".to_owned(), 1.0)]);
    }
}
