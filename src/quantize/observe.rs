//! What the values of a model are on calibration data.

use super::ranges::{Histogram, Range, RangeMethod, Ranges};
use super::{Feed, FloatModel, QuantizeError, Runner};
use crate::runtime::{NamedTensor, Values};
use prost::Message;
use std::collections::BTreeMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, TypeProto, ValueInfoProto, type_proto};

impl FloatModel {
    /// The ranges of all values that quantisation may round, from running the model on calibration samples.
    ///
    /// # Errors
    /// If the model can't be run, or a value is no number.
    pub fn ranges(&self, runner: &Runner, feed: &Feed, method: RangeMethod) -> Result<Ranges, QuantizeError> {
        let observed = self.observed();
        let model = self.with_outputs(&observed);
        let mut ranges: BTreeMap<String, Range> = BTreeMap::new();
        // The model's input is fed, not given back.
        let input = observed.contains(&self.input().name);
        let mut see = |value: &NamedTensor| -> Result<(), QuantizeError> {
            let range = Range::of(&floats(value)?).ok_or_else(|| not_finite(value))?;
            let known = ranges.entry(value.name.clone()).or_insert(range);
            *known = known.union(range);
            Ok(())
        };
        runner.each_value(&model, feed, input, |value| see(value))?;
        if method == RangeMethod::MinMax {
            return Ok(ranges);
        }
        let mut histograms: BTreeMap<String, Histogram> =
            ranges.iter().map(|(name, range)| (name.clone(), Histogram::new(*range))).collect();
        runner.each_value(&model, feed, input, |value| {
            if let Some(histogram) = histograms.get_mut(&value.name) {
                histogram.add(&floats(value)?);
            }
            Ok(())
        })?;
        Ok(histograms.into_iter().map(|(name, histogram)| (name, histogram.narrow(method))).collect())
    }

    /// The model, with these values as outputs as well.
    fn with_outputs(&self, values: &[String]) -> Vec<u8> {
        let mut proto: ModelProto = self.proto.clone();
        let graph = proto.graph.as_mut().expect("it was there when the model was read");
        for value in values {
            let known = graph.output.iter().chain(&graph.input).any(|other| other.name == *value);
            if !known {
                graph.output.push(float_value(value));
            }
        }
        proto.encode_to_vec()
    }
}

impl Runner {
    /// Hands each output of each batch to `take`, and with `input` what was fed.
    fn each_value(
        &self,
        model: &[u8],
        feed: &Feed,
        input: bool,
        mut take: impl FnMut(&NamedTensor) -> Result<(), QuantizeError>,
    ) -> Result<(), QuantizeError> {
        let mut begin = 0;
        self.each_batch(model, feed, |outputs, count| {
            if input {
                take(&feed.batch(begin))?;
                begin += count;
            }
            outputs.iter().try_for_each(&mut take)
        })
    }
}

/// A value of floats whose dimensions are left to the runtime.
fn float_value(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value, ..Default::default() }), ..Default::default() }
}

/// The elements of a value as floats.
fn floats(value: &NamedTensor) -> Result<Vec<f32>, QuantizeError> {
    match &value.values {
        Values::F32(values) => Ok(values.clone()),
        other => Err(QuantizeError::Range {
            value: value.name.clone(),
            reason: format!("its elements are {}, expected float32", other.type_name()),
        }),
    }
}

fn not_finite(value: &NamedTensor) -> QuantizeError {
    QuantizeError::Range {
        value: value.name.clone(),
        reason: "it is infinite or no number on a calibration sample, expected a model of finite values".into(),
    }
}
