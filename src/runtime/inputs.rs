//! Which inputs a model takes: its own words, completed by the sizes that the options give.

use super::{NamedTensor, RuntimeError, SessionOptions, Values};
use crate::onnx::{Dim, ElementType, ValueInfo};
use crate::yaml::closest;
use std::collections::BTreeMap;
use std::path::Path;

/// The inputs of a model with all dimensions known; the values are zeros.
///
/// A dimension that the model leaves open is taken from `input_dims`, from `batch` where it is the leading
/// one, or from another input's dimension of the same symbol.
///
/// # Errors
/// One sentence that names the input if a dimension stays open, given sizes are not the model's, an
/// input of that name is not there, or its elements are of a type that can't be fed.
pub(super) fn resolve(inputs: &[ValueInfo], options: &SessionOptions) -> Result<Vec<NamedTensor>, String> {
    if let Some(name) = options.input_dims.keys().find(|name| !inputs.iter().any(|input| input.name == **name)) {
        let names = inputs.iter().map(|input| input.name.as_str());
        let meant = closest(name, names.clone()).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        return Err(format!("no input `{name}`: the model has {}{meant}", quoted(names)));
    }
    let mut symbols = BTreeMap::new();
    let mut all = vec![];
    for input in inputs {
        let dims = given(input, options)?;
        remember_symbols(input, &dims, &mut symbols);
        all.push(dims);
    }
    inputs.iter().zip(all).map(|(input, dims)| complete(input, &dims, &symbols)).collect()
}

/// The sizes of open dimensions that have a symbol, where all inputs that have it agree.
pub(super) fn symbol_sizes(inputs: &[ValueInfo], resolved: &[NamedTensor]) -> BTreeMap<String, usize> {
    let mut sizes: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (input, tensor) in inputs.iter().zip(resolved) {
        for (dim, &size) in input.dims.iter().flatten().zip(&tensor.dims) {
            if let Dim::Open(Some(symbol)) = dim {
                let known = sizes.entry(symbol.clone()).or_insert(Some(size));
                *known = known.filter(|&known| known == size);
            }
        }
    }
    sizes.into_iter().filter_map(|(symbol, size)| Some((symbol, size?))).collect()
}

/// Checks that `inputs` are what the model takes, and puts them in its order.
///
/// # Errors
/// [`RuntimeError::Input`] if names, dimensions, element types or numbers of elements are not the model's.
pub(super) fn check(specs: &[NamedTensor], inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, RuntimeError> {
    let wrong = |name: &str, reason: String| RuntimeError::Input { name: name.to_owned(), reason };
    let mut given: BTreeMap<String, NamedTensor> = BTreeMap::new();
    for input in inputs {
        if !specs.iter().any(|spec| spec.name == input.name) {
            let names = quoted(specs.iter().map(|spec| spec.name.as_str()));
            return Err(wrong(&input.name, format!("the model has no such input, but {names}")));
        }
        given.insert(input.name.clone(), input);
    }
    let take = |spec: &NamedTensor| {
        let input = given.remove(&spec.name).ok_or_else(|| wrong(&spec.name, "has no value".into()))?;
        let (found, expected) = (input.values.type_name(), spec.values.type_name());
        if (&input.dims, found) != (&spec.dims, expected) {
            let reason = format!("found {found} {:?}, expected {expected} {:?}", input.dims, spec.dims);
            return Err(wrong(&spec.name, reason));
        }
        let elements: usize = spec.dims.iter().product();
        if input.values.len() != elements {
            let reason = format!("found {} elements, dimensions {:?} need {elements}", input.values.len(), spec.dims);
            return Err(wrong(&spec.name, reason));
        }
        Ok(input)
    };
    specs.iter().map(take).collect()
}

/// The message of an error that names the file where the file is named already.
pub(super) fn without_path(message: &str, path: &Path) -> String {
    message.strip_prefix(&format!("{}: ", path.display())).unwrap_or(message).to_owned()
}

/// An input's dimensions as far as the model and the options say them.
fn given(input: &ValueInfo, options: &SessionOptions) -> Result<Vec<Dim>, String> {
    let Some(sizes) = options.input_dims.get(&input.name) else {
        let mut dims = input.dims.clone().ok_or_else(|| missing(input))?;
        if let (Some(first @ Dim::Open(_)), Some(batch)) = (dims.first_mut(), options.batch) {
            *first = Dim::Fixed(batch);
        }
        return Ok(dims);
    };
    if let Some(declared) = &input.dims {
        let fits = |(dim, size): (&Dim, &usize)| matches!(dim, Dim::Open(_)) || *dim == Dim::Fixed(*size);
        if declared.len() != sizes.len() || !declared.iter().zip(sizes).all(fits) {
            return Err(format!(
                "input `{}` was given the dimensions {}, the model has {input}",
                input.name,
                by(sizes)
            ));
        }
    }
    if sizes.contains(&0) {
        return Err(format!("input `{}` was given the dimensions {}: expected at least 1", input.name, by(sizes)));
    }
    Ok(sizes.iter().map(|&size| Dim::Fixed(size)).collect())
}

fn remember_symbols(input: &ValueInfo, dims: &[Dim], symbols: &mut BTreeMap<String, usize>) {
    for pair in input.dims.iter().flatten().zip(dims) {
        if let (Dim::Open(Some(symbol)), Dim::Fixed(size)) = pair {
            symbols.entry(symbol.clone()).or_insert(*size);
        }
    }
}

fn complete(input: &ValueInfo, dims: &[Dim], symbols: &BTreeMap<String, usize>) -> Result<NamedTensor, String> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Open(symbol) => symbols.get(symbol.as_ref()?).copied(),
    };
    let dims: Vec<usize> = dims.iter().map(size).collect::<Option<_>>().ok_or_else(|| missing(input))?;
    let count = dims.iter().product();
    let values = match &input.element {
        ElementType::Float32 => Values::F32(vec![0.0; count]),
        ElementType::Float16 => Values::F16(vec![half::f16::ZERO; count]),
        ElementType::Float64 => Values::F64(vec![0.0; count]),
        ElementType::Int64 => Values::I64(vec![0; count]),
        ElementType::Int32 => Values::I32(vec![0; count]),
        ElementType::UInt8 => Values::U8(vec![0; count]),
        ElementType::Int8 => Values::I8(vec![0; count]),
        ElementType::Bool => Values::Bool(vec![false; count]),
        ElementType::Other(name) => {
            let fed = "float32, float16, float64, int64, int32, uint8, int8 and bool";
            return Err(format!("input `{}` has elements of type {name}: only {fed} can be fed", input.name));
        }
    };
    Ok(NamedTensor { name: input.name.clone(), dims, values })
}

fn missing(input: &ValueInfo) -> String {
    let example: Vec<String> = match &input.dims {
        None => vec!["1x3x224x224".into()],
        Some(dims) => {
            // Sizes that are usual at these places, for a line that can be copied and changed.
            let usual = [1, 3, 224, 224];
            let open = |at: usize| if dims.len() == 4 { usual[at] } else { 1 };
            let size = |(at, dim): (usize, &Dim)| match dim {
                Dim::Fixed(size) => *size,
                Dim::Open(_) => open(at),
            };
            dims.iter().enumerate().map(size).map(|size| size.to_string()).collect()
        }
    };
    let what = if input.dims.is_some() { "open dimensions" } else { "unknown dimensions" };
    format!(
        "input `{}` has {what} ({input}): give them, like `--input {}:{}`",
        input.name,
        input.name,
        example.join("x")
    )
}

fn by(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, dims: &[Dim]) -> ValueInfo {
        ValueInfo { name: name.into(), element: ElementType::Float32, dims: Some(dims.to_vec()) }
    }

    fn open(symbol: &str) -> Dim {
        Dim::Open((!symbol.is_empty()).then(|| symbol.to_owned()))
    }

    fn options(batch: Option<usize>, dims: &[(&str, &[usize])]) -> SessionOptions {
        let input_dims = dims.iter().map(|(name, dims)| (name.to_string(), dims.to_vec())).collect();
        SessionOptions { batch, input_dims, ..Default::default() }
    }

    fn check(inputs: &[ValueInfo], options: SessionOptions, expected: Result<&[&[usize]], &str>) {
        let found = resolve(inputs, &options);
        let dims = found.map(|all| all.into_iter().map(|tensor| tensor.dims).collect::<Vec<_>>());
        let expected = expected.map(|all| all.iter().map(|dims| dims.to_vec()).collect()).map_err(str::to_owned);
        assert_eq!(dims, expected);
    }

    #[test]
    fn open_dimensions_are_completed_or_named() {
        let image = [input("x", &[open("n"), Dim::Fixed(3), open(""), open("")])];
        check(&image, options(None, &[("x", &[2, 3, 32, 32])]), Ok(&[&[2, 3, 32, 32]]));
        check(
            &image,
            options(Some(1), &[]),
            Err("input `x` has open dimensions (x: float32 [n, 3, ?, ?]): give them, like `--input x:1x3x224x224`"),
        );
        check(
            &image,
            options(None, &[("x", &[1, 1, 32, 32])]),
            Err("input `x` was given the dimensions 1x1x32x32, the model has x: float32 [n, 3, ?, ?]"),
        );
        check(&image, options(None, &[("image", &[1, 3, 32, 32])]), Err("no input `image`: the model has `x`"));
        let two = [input("ids", &[open("n"), open("t")]), input("mask", &[open("n"), open("t")])];
        check(&two, options(None, &[("ids", &[1, 7])]), Ok(&[&[1, 7], &[1, 7]]));
        check(&[input("v", &[open("n"), Dim::Fixed(4)])], options(Some(8), &[]), Ok(&[&[8, 4]]));
        check(&[input("v", &[Dim::Fixed(1), Dim::Fixed(4)])], options(Some(8), &[]), Ok(&[&[1, 4]]));
        check(&[input("scalar", &[])], options(Some(8), &[]), Ok(&[&[]]));
    }

    #[test]
    fn wrong_values_are_refused() {
        let spec = |values| NamedTensor { name: "x".into(), dims: vec![1, 2], values };
        let specs = [spec(Values::F32(vec![0.0; 2]))];
        let error = |values| super::check(&specs, vec![spec(values)]).unwrap_err().to_string();
        assert_eq!(error(Values::I64(vec![0; 2])), "input `x`: found int64 [1, 2], expected float32 [1, 2]");
        assert_eq!(error(Values::F32(vec![0.0])), "input `x`: found 1 elements, dimensions [1, 2] need 2");
        assert_eq!(super::check(&specs, vec![]).unwrap_err().to_string(), "input `x`: has no value");
    }
}
