// Operators of ours that a rewritten graph calls on a CPU. Included by Rewriting.h alone.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <torch/library.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CTORCH_UNDER_THREAD_SANITIZER
#endif
#endif

#if defined(__x86_64__) && !defined(CTORCH_UNDER_THREAD_SANITIZER)
/// One version for each kind of processor; the right one is chosen when the library is loaded, which is before Thread Sanitizer may be called.
#define CTORCH_FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CTORCH_FOR_EACH_PROCESSOR
#endif

// MARK: Arithmetic

/// e^x within 2 units of the last place, in arithmetic that a compiler turns into vector instructions (after Cephes' expf).
__attribute__((always_inline)) inline float exponential(float x) {
  x = x < -87.0F ? -87.0F : x > 88.0F ? 88.0F : x;
  // Adding and taking away 1.5 x 2^23 rounds to a whole number.
  float whole = (x * 1.44269504F + 12582912.0F) - 12582912.0F;
  float rest = (x - whole * 0.693359375F) + whole * 2.12194440e-4F;
  float sum = 1.9875691500e-4F;
  sum = sum * rest + 1.3981999507e-3F;
  sum = sum * rest + 8.3334519073e-3F;
  sum = sum * rest + 4.1665795894e-2F;
  sum = sum * rest + 1.6666665459e-1F;
  sum = sum * rest + 5.0000001201e-1F;
  return (sum * rest * rest + rest + 1.0F) * std::bit_cast<float>((int32_t(whole) + 127) << 23);
}

__attribute__((always_inline)) inline float sigmoid(float x) { return 1.0F / (1.0F + exponential(-x)); }

/// erf(x) within 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26).
__attribute__((always_inline)) inline float error_function(float x) {
  float magnitude = std::fabs(x);
  float t = 1.0F / (1.0F + 0.3275911F * magnitude);
  float sum = 1.061405429F;
  sum = sum * t - 1.453152027F;
  sum = sum * t + 1.421413741F;
  sum = sum * t - 0.284496736F;
  sum = sum * t + 0.254829592F;
  return std::copysign(1.0F - sum * t * exponential(-magnitude * magnitude), x);
}

/// The nearest bfloat16, of two as near the even one; what is no number stays so.
__attribute__((always_inline)) inline uint16_t rounded(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return uint16_t(x == x ? nearest : 0x7FC0);
}

// MARK: GRU

/// One step of a GRU for one row: from what the input and the state give each gate to the new state, which is also written to `output`.
CTORCH_FOR_EACH_PROCESSOR
void gru_step(const float *input, const float *hidden, const float *bias, float *state, float *output, int64_t width) {
  for (int64_t i = 0; i < width; ++i) {
    float reset = sigmoid(input[i] + hidden[i] + bias[i]);
    float update = sigmoid(input[width + i] + hidden[width + i] + bias[width + i]);
    float candidate = 2.0F * sigmoid(2.0F * (input[2 * width + i] + reset * (hidden[2 * width + i] + bias[2 * width + i]))) - 1.0F;
    float next = candidate + update * (state[i] - candidate);
    state[i] = next;
    output[i] = next;
  }
}

/// `count` outputs of the product of a state and the weights, whose sums stay in registers.
template <int64_t count>
__attribute__((always_inline)) inline void multiply_columns(const float *state, const float *weight, float *hidden, int64_t width) {
  float sums[count] = {};
  for (int64_t i = 0; i < width; ++i) {
    for (int64_t j = 0; j < count; ++j) sums[j] += state[i] * weight[i * 3 * width + j];
  }
  std::copy_n(sums, count, hidden);
}

/// The product of one state and the weights [H, 3H]. (A call of libtorch's takes longer than the product of a narrow layer.)
CTORCH_FOR_EACH_PROCESSOR
void multiply_state(const float *state, const float *weight, float *hidden, int64_t width) {
  int64_t column = 0;
  for (; column + 64 <= 3 * width; column += 64) multiply_columns<64>(state, weight + column, hidden + column, width);
  for (; column + 16 <= 3 * width; column += 16) multiply_columns<16>(state, weight + column, hidden + column, width);
  for (; column < 3 * width; ++column) multiply_columns<1>(state, weight + column, hidden + column, width);
}

/// The recurrence of a GRU, from a state of zeros: what the input gives each gate [B, S, 3H] and weights [H, 3H] to the states [B, S, H]. libtorch's own takes some ten
/// operators a step and lays the input out by steps; this takes one product a step.
at::Tensor gru_recurrence(const at::Tensor &gates, const at::Tensor &weight, const at::Tensor &bias) {
  const at::Tensor input = gates.contiguous();
  const int64_t rows = input.size(0), steps = input.size(1), width = input.size(2) / 3;
  at::Tensor output = at::empty({rows, steps, width}, input.options());
  at::Tensor state = at::zeros({rows, width}, input.options());
  at::Tensor hidden = at::zeros({rows, 3 * width}, input.options());
  for (int64_t step = 0; step < steps; ++step) {
    if (step > 0 && rows == 1) {
      multiply_state(state.const_data_ptr<float>(), weight.const_data_ptr<float>(), hidden.mutable_data_ptr<float>(), width);
    } else if (step > 0) {
      at::mm_out(hidden, state, weight);
    }
    for (int64_t row = 0; row < rows; ++row) {
      gru_step(input.const_data_ptr<float>() + (row * steps + step) * 3 * width, hidden.const_data_ptr<float>() + row * 3 * width,
               bias.const_data_ptr<float>(), state.mutable_data_ptr<float>() + row * width,
               output.mutable_data_ptr<float>() + (row * steps + step) * width, width);
    }
  }
  return output;
}

// MARK: Linear layers

/// So many rows and outputs are multiplied at a time: fewer rows were slower, and more no faster, on an Intel Xeon with AMX (2026-11-30).
constexpr int64_t tile_rows = 64, tile_outputs = 64;

/// Whether a layer of these weights [N, K] can be computed by `tile_product`: the processor multiplies tiles of bfloat16, and the sizes are whole in them.
bool multiplies_tiles(const at::Tensor &weight) {
  return weight.size(0) % 16 == 0 && weight.size(1) % 32 == 0 && at::native::cpublas::could_pack(at::kBFloat16);
}

/// Weights [N, K] as the matrix unit reads them: by blocks of 64 outputs (the last may have fewer), in each by pairs of inputs.
at::Tensor packed_weight(const at::Tensor &weight) {
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  const at::Tensor source = weight.to(at::kBFloat16).contiguous();
  at::Tensor packed = at::empty({outputs * inputs}, source.options());
  const at::BFloat16 *from = source.const_data_ptr<at::BFloat16>();
  at::BFloat16 *to = packed.mutable_data_ptr<at::BFloat16>();
  for (int64_t first = 0; first < outputs; first += tile_outputs) {
    const int64_t width = std::min(tile_outputs, outputs - first);
    for (int64_t input = 0; input < inputs; input += 2) {
      for (int64_t output = first; output < first + width; ++output) {
        *to++ = from[output * inputs + input];
        *to++ = from[output * inputs + input + 1];
      }
    }
  }
  return packed;
}

CTORCH_FOR_EACH_PROCESSOR
void round_all(const float *from, uint16_t *to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = rounded(from[i]);
}

/// Sums [rows, width] plus the bias, to rows that begin `stride` apart.
CTORCH_FOR_EACH_PROCESSOR
void add_bias(const float *sums, const float *bias, float *output, int64_t rows, int64_t width, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) output[row * stride + i] = sums[row * width + i] + bias[i];
  }
}

/// The exact GELU of sums plus the bias, likewise.
CTORCH_FOR_EACH_PROCESSOR
void add_bias_gelu(const float *sums, const float *bias, uint16_t *output, int64_t rows, int64_t width, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      float x = sums[row * width + i] + bias[i];
      output[row * stride + i] = rounded(0.5F * x * (1.0F + error_function(x * 0.70710678F)));
    }
  }
}

/// Multiplies rows [rows, inputs] by packed weights, and has `finish` take each tile of sums: its first row and output, the sums, and how many rows and
/// outputs they are of. libtorch's own layer is as fast in large batches, and takes some 20 us a call to find its kernel.
template <typename Finish>
void tile_product(const at::Tensor &input, const at::Tensor &weight, int64_t outputs, Finish finish) {
  const int64_t inputs = input.size(-1), rows = input.numel() / inputs;
  // The matrix unit takes 16 rows whatever there are.
  const int64_t padded = (rows + 15) / 16 * 16;
  at::Tensor left = at::empty({padded, inputs}, weight.options());
  uint16_t *left_bits = static_cast<uint16_t *>(left.mutable_data_ptr());
  // Float32, or bfloat16 from a layer before; whatever else a model may have made of it is converted.
  const at::Tensor source = (input.scalar_type() == at::kBFloat16 ? input : input.to(at::kFloat)).contiguous();
  if (source.scalar_type() == at::kFloat) {
    round_all(source.const_data_ptr<float>(), left_bits, rows * inputs);
  } else {
    std::copy_n(static_cast<const uint16_t *>(source.const_data_ptr()), rows * inputs, left_bits);
  }
  std::fill(left_bits + rows * inputs, left_bits + padded * inputs, uint16_t(0));
  const at::BFloat16 *a = left.const_data_ptr<at::BFloat16>(), *b = weight.const_data_ptr<at::BFloat16>();
  const int64_t columns = (outputs + tile_outputs - 1) / tile_outputs, tiles = (padded + tile_rows - 1) / tile_rows * columns;
  // Another thread takes some 10 us to wake.
  const int64_t grain = std::max<int64_t>(1, (8 << 20) / (tile_rows * tile_outputs * inputs));
  at::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    alignas(64) float sums[tile_rows * tile_outputs];
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t row = tile / columns * tile_rows, column = tile % columns * tile_outputs;
      const int64_t height = std::min(tile_rows, padded - row), width = std::min(tile_outputs, outputs - column);
      at::native::cpublas::brgemm(height, width, inputs, inputs, width, width, false, a + row * inputs, b + column * inputs, sums);
      finish(row, column, sums, std::min(height, rows - row), width);
    }
    at::native::cpublas::brgemm_release();
  });
}

at::Tensor layer_output(const at::Tensor &input, const at::Tensor &bias, at::ScalarType type) {
  std::vector<int64_t> shape = input.sizes().vec();
  shape.back() = bias.numel();
  return at::empty(shape, bias.options().dtype(type));
}

/// A linear layer [..., K] to [..., N] in bfloat16 with float32 sums.
at::Tensor linear(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias) {
  at::Tensor output = layer_output(input, bias, at::kFloat);
  float *to = output.mutable_data_ptr<float>();
  const float *added = bias.const_data_ptr<float>();
  const int64_t outputs = bias.numel();
  tile_product(input, weight, outputs, [=](int64_t row, int64_t column, const float *sums, int64_t height, int64_t width) {
    add_bias(sums, added + column, to + row * outputs + column, height, width, outputs);
  });
  return output;
}

/// The GELU of a linear layer, as bfloat16 for the next layer.
at::Tensor linear_gelu(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias) {
  at::Tensor output = layer_output(input, bias, at::kBFloat16);
  uint16_t *to = static_cast<uint16_t *>(output.mutable_data_ptr());
  const float *added = bias.const_data_ptr<float>();
  const int64_t outputs = bias.numel();
  tile_product(input, weight, outputs, [=](int64_t row, int64_t column, const float *sums, int64_t height, int64_t width) {
    add_bias_gelu(sums, added + column, to + row * outputs + column, height, width, outputs);
  });
  return output;
}

// MARK: Residuals

/// Numbers that are added up side by side: compilers do not reorder a sum of single ones.
constexpr int64_t lanes = 16;
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));

__attribute__((always_inline)) inline float total(const Lanes &parts) {
  float sum = 0.0F;
  for (int64_t i = 0; i < lanes; ++i) sum += parts[i];
  return sum;
}

/// The layer norm of the sum of two rows, whose length is whole in `lanes`.
CTORCH_FOR_EACH_PROCESSOR
void add_norm_row(const float *left, const float *right, const float *weight, const float *bias, float epsilon, float *output, int64_t width) {
  Lanes sums = {}, squares = {}, a, b;
  for (int64_t i = 0; i < width; i += lanes) {
    memcpy(&a, left + i, sizeof a);
    memcpy(&b, right + i, sizeof b);
    a += b;
    sums += a;
    memcpy(output + i, &a, sizeof a);
  }
  const float mean = total(sums) / float(width);
  for (int64_t i = 0; i < width; i += lanes) {
    memcpy(&a, output + i, sizeof a);
    a -= mean;
    squares += a * a;
  }
  const float scale = 1.0F / std::sqrt(total(squares) / float(width) + epsilon);
  for (int64_t i = 0; i < width; ++i) output[i] = (output[i] - mean) * scale * weight[i] + bias[i];
}

/// The layer norm of a sum over the last dimension. One pass over memory, where libtorch takes an operator for each.
at::Tensor add_norm(const at::Tensor &left, const at::Tensor &right, const at::Tensor &weight, const at::Tensor &bias, double epsilon) {
  const int64_t width = weight.numel();
  const bool plain = left.scalar_type() == at::kFloat && right.scalar_type() == at::kFloat && left.sizes().equals(right.sizes());
  if (width % lanes != 0 || !plain) return at::layer_norm(at::add(left, right), {width}, weight, bias, epsilon);
  const at::Tensor a = left.contiguous(), b = right.contiguous();
  at::Tensor output = at::empty(a.sizes(), a.options());
  const int64_t rows = a.numel() / width;
  const float *from = a.const_data_ptr<float>(), *and_from = b.const_data_ptr<float>();
  const float *scale = weight.const_data_ptr<float>(), *shift = bias.const_data_ptr<float>();
  float *to = output.mutable_data_ptr<float>();
  at::parallel_for(0, rows, std::max<int64_t>(1, (64 << 10) / width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      add_norm_row(from + row * width, and_from + row * width, scale, shift, float(epsilon), to + row * width, width);
    }
  });
  return output;
}

// MARK: Rows

/// `gather` along the second of three dimensions. Where the index is one of whole rows (expanded along the last dimension), they are copied as such.
at::Tensor gather_rows(const at::Tensor &input, const at::Tensor &index) {
  const bool whole = input.dim() == 3 && index.dim() == 3 && index.stride(2) == 0 && index.size(0) == input.size(0) && index.size(2) == input.size(2);
  if (!whole || input.scalar_type() != at::kFloat) return at::gather(input, 1, index);
  const at::Tensor source = input.contiguous();
  const int64_t rows = index.size(0), length = index.size(1), from_length = source.size(1), width = source.size(2);
  at::Tensor output = at::empty({rows, length, width}, source.options());
  const float *from = source.const_data_ptr<float>();
  float *to = output.mutable_data_ptr<float>();
  const int64_t *places = index.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t position = 0; position < length; ++position) {
      const int64_t place = places[row * index.stride(0) + position * index.stride(1)];
      TORCH_CHECK_INDEX(place >= 0 && place < from_length, "index ", place, " is out of bounds for a dimension of ", from_length);
      std::copy_n(from + (row * from_length + place) * width, width, to + (row * length + position) * width);
    }
  }
  return output;
}

// MARK: Registration

TORCH_LIBRARY(kefu, library) {
  library.def("gru_recurrence(Tensor gates, Tensor weight, Tensor bias) -> Tensor");
  library.def("linear(Tensor input, Tensor weight, Tensor bias) -> Tensor");
  library.def("linear_gelu(Tensor input, Tensor weight, Tensor bias) -> Tensor");
  library.def("gather_rows(Tensor input, Tensor index) -> Tensor");
  library.def("add_norm(Tensor left, Tensor right, Tensor weight, Tensor bias, float epsilon) -> Tensor");
}

TORCH_LIBRARY_IMPL(kefu, CPU, library) {
  library.impl("gru_recurrence", gru_recurrence);
  library.impl("linear", linear);
  library.impl("linear_gelu", linear_gelu);
  library.impl("gather_rows", gather_rows);
  library.impl("add_norm", add_norm);
}

}  // namespace
