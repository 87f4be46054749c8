//! Constant tensors of a model, and what is computed from these alone: shapes, reshaped biases, transposed weights.

use super::node::Attributes;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

/// A constant. Integers are kept as floats: those of shapes and axes are small, an end beyond all is beyond all still.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl Constant {
    pub(super) fn of_tensor(tensor: &TensorProto) -> Result<Self, String> {
        if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
            return Err(format!("the tensor `{}` stands in another file", tensor.name));
        }
        let raw = &tensor.raw_data;
        let values: Vec<f32> = match DataType::try_from(tensor.data_type) {
            Ok(DataType::Float) if raw.is_empty() => tensor.float_data.clone(),
            Ok(DataType::Float) => raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Ok(DataType::Double) if raw.is_empty() => tensor.double_data.iter().map(|&value| value as f32).collect(),
            Ok(DataType::Double) => raw.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
            Ok(DataType::Int64) if raw.is_empty() => tensor.int64_data.iter().map(|&value| value as f32).collect(),
            Ok(DataType::Int64) => raw.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect(),
            Ok(DataType::Int32) if raw.is_empty() => tensor.int32_data.iter().map(|&value| value as f32).collect(),
            Ok(DataType::Int32) => raw.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes) as f32).collect(),
            _ => return Err(format!("the tensor `{}` is of type {}, expected floats", tensor.name, tensor.data_type)),
        };
        let dims: Vec<usize> = tensor.dims.iter().map(|&dim| dim.max(0) as usize).collect();
        match dims.iter().product::<usize>() == values.len() {
            true => Ok(Self { dims, values }),
            false => Err(format!("the tensor `{}` has {} numbers, expected {dims:?}", tensor.name, values.len())),
        }
    }

    pub(super) fn integers(values: impl IntoIterator<Item = usize>) -> Self {
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Self { dims: vec![values.len()], values }
    }

    pub(super) fn as_integers(&self) -> Vec<i64> {
        self.values.iter().map(|&value| value as i64).collect()
    }

    /// The number, where it is but one.
    pub(super) fn scalar(&self) -> Option<f32> {
        if let [value] = self.values[..] { Some(value) } else { None }
    }

    /// One number for each of `channels`, where it is a scalar, or has the channels' dimension alone, `behind` others from the end.
    pub(super) fn by_channel(&self, channels: usize, behind: usize) -> Option<Vec<f32>> {
        if let Some(value) = self.scalar() {
            return Some(vec![value; channels]);
        }
        let at = self.dims.len().checked_sub(1 + behind)?;
        let alone = self.dims.iter().enumerate().all(|(dim, &size)| size == if dim == at { channels } else { 1 });
        alone.then(|| self.values.clone())
    }

    pub(super) fn reshaped(&self, shape: &[i64]) -> Result<Self, String> {
        let mut dims: Vec<usize> = shape
            .iter()
            .enumerate()
            .map(|(at, &size)| if size == 0 { self.dims.get(at).copied().unwrap_or(0) } else { size.max(1) as usize })
            .collect();
        if let Some(open) = shape.iter().position(|&size| size < 0) {
            dims[open] = self.values.len() / dims.iter().product::<usize>().max(1);
        }
        match dims.iter().product::<usize>() == self.values.len() {
            true => Ok(Self { dims, values: self.values.clone() }),
            false => Err(format!("{} numbers can't have the shape {shape:?}", self.values.len())),
        }
    }

    /// With the dimensions in the order `perm`.
    pub(super) fn transposed(&self, perm: &[usize]) -> Result<Self, String> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.dims.len()) {
            return Err(format!("{perm:?} is no order of {} dimensions", self.dims.len()));
        }
        let dims: Vec<usize> = perm.iter().map(|&dim| self.dims[dim]).collect();
        let stride = |dim: usize| self.dims[dim + 1..].iter().product::<usize>();
        let strides: Vec<usize> = perm.iter().map(|&dim| stride(dim)).collect();
        let from = |at: usize| {
            let (mut rest, mut from) = (at, 0);
            for (dim, stride) in dims.iter().zip(&strides).rev() {
                from += rest % dim * stride;
                rest /= dim;
            }
            from
        };
        Ok(Self { values: (0..self.values.len()).map(|at| self.values[from(at)]).collect(), dims: dims.clone() })
    }

    /// The result of an operator that reads constants alone; none where it is none of these.
    pub(super) fn computed(operator: &str, attributes: &Attributes, inputs: &[&Self]) -> Option<Result<Self, String>> {
        let first = inputs.first().copied();
        let vector = |values: Vec<f32>| Self { dims: vec![values.len()], values };
        let axes = || inputs.get(1).map(|axes| axes.as_integers()).or_else(|| attributes.ints("axes"));
        Some(Ok(match (operator, first) {
            ("Identity" | "Cast", Some(input)) => input.clone(),
            ("Reshape", Some(input)) => return Some(input.reshaped(&inputs.get(1)?.as_integers())),
            ("Squeeze" | "Unsqueeze", Some(input)) => {
                let mut dims = input.dims.clone();
                let mut axes = axes()?;
                let rank = (dims.len() + if operator == "Unsqueeze" { axes.len() } else { 0 }) as i64;
                axes.iter_mut().for_each(|axis| *axis = axis.rem_euclid(rank.max(1)));
                axes.sort_unstable();
                match operator {
                    "Unsqueeze" => axes.iter().for_each(|&axis| dims.insert((axis as usize).min(dims.len()), 1)),
                    _ => {
                        let mut at = 0;
                        dims.retain(|_| {
                            at += 1;
                            !axes.contains(&(at - 1))
                        });
                    }
                }
                Self { dims, values: input.values.clone() }
            }
            ("Transpose", Some(input)) => {
                let perm = attributes.ints("perm").map(|perm| perm.iter().map(|&dim| dim as usize).collect());
                return Some(
                    input.transposed(&perm.unwrap_or_else(|| (0..input.dims.len()).rev().collect::<Vec<_>>())),
                );
            }
            ("Concat", Some(_)) if inputs.iter().all(|input| input.dims.len() == 1) => {
                vector(inputs.iter().flat_map(|input| input.values.iter().copied()).collect())
            }
            ("Gather", Some(input)) if input.dims.len() == 1 => {
                let indices = inputs.get(1)?;
                let at = |index: i64| input.values.get(index.rem_euclid(input.values.len().max(1) as i64) as usize);
                let values =
                    indices.as_integers().into_iter().map(|index| at(index).copied()).collect::<Option<_>>()?;
                Self { dims: indices.dims.clone(), values }
            }
            ("Slice", Some(input)) if input.dims.len() == 1 => {
                let given = |at: usize, name: &str| {
                    inputs.get(at).map(|bound| bound.as_integers()).or_else(|| attributes.ints(name)).map(|all| all[0])
                };
                let size = input.values.len() as i64;
                let bound = |at: i64| (if at < 0 { at + size } else { at }).clamp(0, size) as usize;
                let (start, end) = (bound(given(1, "starts")?), bound(given(2, "ends")?));
                let step = given(4, "steps").unwrap_or(1);
                if step < 1 {
                    return None;
                }
                vector(input.values.get(start..end.max(start))?.iter().copied().step_by(step as usize).collect())
            }
            ("ConstantOfShape", Some(shape)) => {
                let dims: Vec<usize> = shape.as_integers().iter().map(|&dim| dim.max(0) as usize).collect();
                let value = match attributes.tensor("value").map(Self::of_tensor) {
                    Some(Ok(value)) => value.scalar()?,
                    Some(Err(reason)) => return Some(Err(reason)),
                    None => 0.0,
                };
                Self { values: vec![value; dims.iter().product()], dims }
            }
            ("Constant", None) => match attributes.tensor("value") {
                Some(tensor) => return Some(Self::of_tensor(tensor)),
                None => {
                    let ints =
                        attributes.ints("value_ints").or_else(|| attributes.int("value_int").map(|one| vec![one]));
                    match (ints, attributes.float("value_float")) {
                        (Some(ints), _) => vector(ints.into_iter().map(|value| value as f32).collect()),
                        (None, value) => Self { dims: vec![], values: vec![value?] },
                    }
                }
            },
            _ => return None,
        }))
    }
}
