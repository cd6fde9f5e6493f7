//! Dense tensors on the host: a shape and its elements in row-major order.

use std::fmt;

use lanes::half;

/// Element types. Arithmetic is in `F32`; `F16` (IEEE binary16) stores numbers that were rounded to it, which
/// are read as `F32`; `U32` holds labels and indices, `U8` raw pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    F32,
    F16,
    U32,
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 => 2,
            DType::U8 => 1,
        }
    }

    /// Whether elements are numbers, not integers.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
            DType::U8 => "u8",
        })
    }
}

/// Shape and element type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    pub shape: Vec<usize>,
    pub dtype: DType,
}

impl TensorType {
    pub fn f32(shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { shape: shape.into(), dtype: DType::F32 }
    }

    pub fn f16(shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { shape: shape.into(), dtype: DType::F16 }
    }

    pub fn u32(shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { shape: shape.into(), dtype: DType::U32 }
    }

    pub fn u8(shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { shape: shape.into(), dtype: DType::U8 }
    }

    pub fn numel(&self) -> usize {
        numel(&self.shape)
    }

    pub fn bytes(&self) -> usize {
        self.numel() * self.dtype.size_bytes()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    /// Bits of IEEE binary16.
    F16(Vec<u16>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

/// A dense row-major tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// Number of elements of a shape; the empty shape is a scalar and has one.
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for k in (1..shape.len()).rev() {
        out[k - 1] = out[k] * shape[k];
    }
    out
}

/// The index of element `flat` of a row-major tensor.
pub fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for k in (0..shape.len()).rev() {
        index[k] = flat % shape[k];
        flat /= shape[k];
    }
    index
}

impl Tensor {
    /// Builds a tensor; `None` when the number of elements does not match the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Option<Tensor> {
        let shape = shape.into();
        let expected = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let len = match &data {
            Data::F32(v) => v.len(),
            Data::F16(v) => v.len(),
            Data::U32(v) => v.len(),
            Data::U8(v) => v.len(),
        };
        (len == expected).then_some(Tensor { shape, data })
    }

    /// An f32 tensor; panics only on a length mismatch, so use it with lengths you made yourself.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Tensor {
        Tensor::new(shape, Data::F32(values)).expect("length equals the product of the shape")
    }

    /// An f16 tensor of the nearest numbers; panics only on a length mismatch.
    pub fn f16(shape: impl Into<Vec<usize>>, values: &[f32]) -> Tensor {
        let bits = values.iter().map(|v| half::to_bits(*v)).collect();
        Tensor::new(shape, Data::F16(bits)).expect("length equals the product of the shape")
    }

    /// A u32 tensor; panics only on a length mismatch.
    pub fn u32(shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Tensor {
        Tensor::new(shape, Data::U32(values)).expect("length equals the product of the shape")
    }

    /// A u8 tensor; panics only on a length mismatch.
    pub fn u8(shape: impl Into<Vec<usize>>, values: Vec<u8>) -> Tensor {
        Tensor::new(shape, Data::U8(values)).expect("length equals the product of the shape")
    }

    pub fn scalar(value: f32) -> Tensor {
        Tensor::f32(vec![], vec![value])
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn data(&self) -> &Data {
        &self.data
    }

    pub fn len(&self) -> usize {
        numel(&self.shape)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::F16(_) => DType::F16,
            Data::U32(_) => DType::U32,
            Data::U8(_) => DType::U8,
        }
    }

    /// The raw little-endian bytes, as every backend stores them.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::F32(v) => bytemuck::cast_slice(v),
            Data::F16(v) => bytemuck::cast_slice(v),
            Data::U32(v) => bytemuck::cast_slice(v),
            Data::U8(v) => v,
        }
    }

    /// Rebuilds a tensor from raw little-endian bytes; `None` on a length mismatch.
    pub fn from_bytes(shape: &[usize], dtype: DType, bytes: &[u8]) -> Option<Tensor> {
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        if n.checked_mul(dtype.size_bytes())? != bytes.len() {
            return None;
        }
        let data = match dtype {
            DType::F32 => Data::F32(bytemuck::pod_collect_to_vec(bytes)),
            DType::F16 => Data::F16(bytemuck::pod_collect_to_vec(bytes)),
            DType::U32 => Data::U32(bytemuck::pod_collect_to_vec(bytes)),
            DType::U8 => Data::U8(bytes.to_vec()),
        };
        Tensor::new(shape.to_vec(), data)
    }

    /// Element `flat` as f64, whatever the element type.
    pub fn at(&self, flat: usize) -> f64 {
        match &self.data {
            Data::F32(v) => v[flat].into(),
            Data::F16(v) => half::from_bits(v[flat]).into(),
            Data::U32(v) => v[flat].into(),
            Data::U8(v) => v[flat].into(),
        }
    }

    /// All elements as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len()).map(|i| self.at(i)).collect()
    }

    /// The elements of an f32 tensor; `None` for another type.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }
}
