// The layers of an encoder in bfloat16 with float32 sums, by tiles of the processor's matrix unit. Included by Kernels.h alone.
#pragma once

#include "Arithmetic.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// MARK: Tiles of bfloat16

/// So many rows and outputs are multiplied at a time: fewer rows were slower, and more no faster, on an Intel Xeon with AMX (2026-11-30).
constexpr int64_t tile_rows = 64, tile_outputs = 64;

/// Whether a layer of these weights [N, K] can be computed by `multiply_tiles`: the processor multiplies tiles of bfloat16, and the sizes are whole in them.
bool multiplies_tiles(const at::Tensor &weight) {
  return weight.size(0) % 16 == 0 && weight.size(1) % 32 == 0 && at::native::cpublas::could_pack(at::kBFloat16);
}

/// Weights [N, K] as the matrix unit reads them: by blocks of `tile_outputs` outputs (the last may have fewer), in each by pairs of inputs.
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

/// Rows of bfloat16 for the matrix unit, which takes 16 at a time: those beyond the last are zeros.
at::Tensor bfloat16_rows(int64_t rows, int64_t width) {
  const int64_t padded = (rows + 15) / 16 * 16;
  at::Tensor values = at::empty({padded, width}, at::kBFloat16);
  at::BFloat16 *to = values.mutable_data_ptr<at::BFloat16>();
  std::fill(to + rows * width, to + padded * width, at::BFloat16(0.0F));
  return values;
}

/// A tensor [..., K] as such rows. Float32, or bfloat16 from a layer before; whatever else a model may have made of it is converted.
at::Tensor bfloat16_rows(const at::Tensor &input) {
  const int64_t width = input.size(-1), rows = input.numel() / width;
  at::Tensor values = bfloat16_rows(rows, width);
  uint16_t *to = static_cast<uint16_t *>(values.mutable_data_ptr());
  const at::Tensor source = (input.scalar_type() == at::kBFloat16 ? input : input.to(at::kFloat)).contiguous();
  if (source.scalar_type() == at::kFloat) {
    round_all(source.const_data_ptr<float>(), to, rows * width);
  } else {
    std::copy_n(static_cast<const uint16_t *>(source.const_data_ptr()), rows * width, to);
  }
  return values;
}

/// Multiplies `rows` rows of `bfloat16_rows` by packed weights, and has `finish` take each tile of sums: its first row and output, the sums, and how many rows
/// and outputs they are of. libtorch's own layer is as fast in large batches, and takes some 20 us a call to find its kernel.
template <typename Finish>
void multiply_tiles(const at::Tensor &left, int64_t rows, const at::Tensor &weight, int64_t outputs, Finish finish) {
  const int64_t padded = left.size(0), inputs = left.size(1);
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

// MARK: Linear layers

/// Sums [rows, width] plus the bias, to rows that begin `stride` apart.
CTORCH_FOR_EACH_PROCESSOR
void add_bias(const float *sums, const float *bias, float *output, int64_t rows, int64_t width, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) output[row * stride + i] = sums[row * width + i] + bias[i];
  }
}

/// Sums plus the bias and what the layer adds to, likewise.
CTORCH_FOR_EACH_PROCESSOR
void add_bias_and_residual(const float *sums, const float *bias, const float *residual, float *output, int64_t rows, int64_t width, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) output[row * stride + i] = sums[row * width + i] + bias[i] + residual[row * stride + i];
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

/// A linear layer of `rows` rows of `left`, in bfloat16 with float32 sums, to `output`.
void linear_to(float *output, const at::Tensor &left, int64_t rows, const at::Tensor &weight, const at::Tensor &bias) {
  const int64_t outputs = bias.numel();
  const float *added = bias.const_data_ptr<float>();
  multiply_tiles(left, rows, weight, outputs, [=](int64_t row, int64_t column, const float *sums, int64_t height, int64_t width) {
    add_bias(sums, added + column, output + row * outputs + column, height, width, outputs);
  });
}

/// The sum of such a layer and `residual`.
void linear_and_residual_to(float *output, const at::Tensor &left, int64_t rows, const at::Tensor &weight, const at::Tensor &bias, const float *residual) {
  const int64_t outputs = bias.numel();
  const float *added = bias.const_data_ptr<float>();
  multiply_tiles(left, rows, weight, outputs, [=](int64_t row, int64_t column, const float *sums, int64_t height, int64_t width) {
    const int64_t first = row * outputs + column;
    add_bias_and_residual(sums, added + column, residual + first, output + first, height, width, outputs);
  });
}

/// The GELU of such a layer, as bfloat16 for the next one.
void linear_gelu_to(at::BFloat16 *output, const at::Tensor &left, int64_t rows, const at::Tensor &weight, const at::Tensor &bias) {
  const int64_t outputs = bias.numel();
  const float *added = bias.const_data_ptr<float>();
  uint16_t *to = static_cast<uint16_t *>(static_cast<void *>(output));
  multiply_tiles(left, rows, weight, outputs, [=](int64_t row, int64_t column, const float *sums, int64_t height, int64_t width) {
    add_bias_gelu(sums, added + column, to + row * outputs + column, height, width, outputs);
  });
}

at::Tensor layer_output(const at::Tensor &input, const at::Tensor &bias, at::ScalarType type) {
  std::vector<int64_t> shape = input.sizes().vec();
  shape.back() = bias.numel();
  return at::empty(shape, bias.options().dtype(type));
}

/// A linear layer [..., K] to [..., N].
at::Tensor linear(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias) {
  at::Tensor output = layer_output(input, bias, at::kFloat);
  linear_to(output.mutable_data_ptr<float>(), bfloat16_rows(input), input.numel() / input.size(-1), weight, bias);
  return output;
}

/// The GELU of a linear layer, in bfloat16.
at::Tensor linear_gelu(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias) {
  at::Tensor output = layer_output(input, bias, at::kBFloat16);
  linear_gelu_to(output.mutable_data_ptr<at::BFloat16>(), bfloat16_rows(input), input.numel() / input.size(-1), weight, bias);
  return output;
}

// MARK: Layer norms

/// The layer norm of a row, whose length is whole in `lanes`, in its place.
CTORCH_FOR_EACH_PROCESSOR
void norm_row(float *row, const float *weight, const float *bias, float epsilon, int64_t width) {
  Lanes sums = {}, squares = {};
  for (int64_t i = 0; i < width; i += lanes) sums += loaded(row + i);
  const float mean = total(sums) / float(width);
  for (int64_t i = 0; i < width; i += lanes) {
    const Lanes distance = loaded(row + i) - mean;
    squares += distance * distance;
  }
  const float scale = 1.0F / std::sqrt(total(squares) / float(width) + epsilon);
  for (int64_t i = 0; i < width; ++i) row[i] = (row[i] - mean) * scale * weight[i] + bias[i];
}

CTORCH_FOR_EACH_PROCESSOR
void add_row(const float *left, const float *right, float *output, int64_t width) {
  for (int64_t i = 0; i < width; ++i) output[i] = left[i] + right[i];
}

/// Calls `body` with each row, on several threads where there are many numbers.
template <typename Body>
void for_each_row(int64_t rows, int64_t width, Body body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, (64 << 10) / width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

/// The layer norm of a sum over the last dimension, where the right side may lack the first (positions are added to the words of each row). One pass over
/// memory, where libtorch takes an operator for each.
at::Tensor add_norm(const at::Tensor &left, const at::Tensor &right, const at::Tensor &weight, const at::Tensor &bias, double epsilon) {
  const int64_t width = weight.numel();
  const bool same = left.sizes().equals(right.sizes()) || (left.dim() > 1 && left.sizes().slice(1).equals(right.sizes()));
  if (width % lanes != 0 || !same || left.scalar_type() != at::kFloat || right.scalar_type() != at::kFloat || left.numel() == 0) {
    return at::layer_norm(at::add(left, right), {width}, weight, bias, epsilon);
  }
  const at::Tensor a = left.contiguous(), b = right.contiguous();
  at::Tensor output = at::empty(a.sizes(), a.options());
  const int64_t rows = a.numel() / width, right_rows = b.numel() / width;
  const float *from = a.const_data_ptr<float>(), *and_from = b.const_data_ptr<float>();
  const float *scale = weight.const_data_ptr<float>(), *shift = bias.const_data_ptr<float>();
  float *to = output.mutable_data_ptr<float>();
  for_each_row(rows, width, [=](int64_t row) {
    add_row(from + row * width, and_from + row % right_rows * width, to + row * width, width);
    norm_row(to + row * width, scale, shift, float(epsilon), width);
  });
  return output;
}

// MARK: Attention

/// Queries that share what is loaded of keys and values.
constexpr int64_t query_block = 4;

/// One head of one row of a batch: where its queries, keys and values are, and where its outputs go. A position's are `stride` after those of the one before.
struct Head {
  const float *queries, *keys, *values;
  int64_t stride;
  at::BFloat16 *output;
  int64_t output_stride;
};

/// The products of `query_block` queries and the keys of `count` vectors, from the transposed keys.
template <int64_t count>
__attribute__((always_inline)) inline void multiply_keys(
    const float *const *queries, const float *keys, float *scores, int64_t padded, int64_t dimensions) {
  Lanes sums[query_block][count] = {};
  for (int64_t c = 0; c < dimensions; ++c) {
    Lanes key[count];
    for (int64_t k = 0; k < count; ++k) key[k] = loaded(keys + c * padded + k * lanes);
    for (int64_t q = 0; q < query_block; ++q) {
      for (int64_t k = 0; k < count; ++k) sums[q][k] += key[k] * queries[q][c];
    }
  }
  for (int64_t q = 0; q < query_block; ++q) memcpy(scores + q * padded, sums[q], sizeof sums[q]);
}

/// The mean of the values of `count` vectors, weighted for each of `query_block` queries.
template <int64_t count>
__attribute__((always_inline)) inline void weigh_values(
    const float *weights, const float *scales, const float *values, int64_t stride, int64_t length, int64_t padded, float *means, int64_t dimensions) {
  Lanes sums[query_block][count] = {};
  for (int64_t j = 0; j < length; ++j) {
    Lanes value[count];
    for (int64_t k = 0; k < count; ++k) value[k] = loaded(values + j * stride + k * lanes);
    for (int64_t q = 0; q < query_block; ++q) {
      for (int64_t k = 0; k < count; ++k) sums[q][k] += value[k] * weights[q * padded + j];
    }
  }
  for (int64_t q = 0; q < query_block; ++q) {
    for (int64_t k = 0; k < count; ++k) sums[q][k] *= scales[q];
    memcpy(means + q * dimensions, sums[q], sizeof sums[q]);
  }
}

/// Scaled dot-product attention of a head over `length` positions, of which `keep` tells by 1 and 0 those that are seen; it and `scratch` have room for whole
/// vectors, and the dimensions are whole in them. A query that sees nothing gets zeros.
CTORCH_FOR_EACH_PROCESSOR
void attend(const Head &head, int64_t length, int64_t dimensions, const float *keep, float *scratch) {
  const int64_t padded = (length + lanes - 1) / lanes * lanes;
  const float scale = 1.0F / std::sqrt(float(dimensions));
  float *keys = scratch, *scores = keys + dimensions * padded, *means = scores + query_block * padded;
  for (int64_t c = 0; c < dimensions; ++c) {
    for (int64_t j = 0; j < length; ++j) keys[c * padded + j] = head.keys[j * head.stride + c];
    for (int64_t j = length; j < padded; ++j) keys[c * padded + j] = 0.0F;
  }
  for (int64_t first = 0; first < length; first += query_block) {
    // The last queries are those before them once more.
    const float *queries[query_block];
    for (int64_t q = 0; q < query_block; ++q) queries[q] = head.queries + std::min(first + q, length - 1) * head.stride;
    int64_t j = 0;
    for (; j + 2 * lanes <= padded; j += 2 * lanes) multiply_keys<2>(queries, keys + j, scores + j, padded, dimensions);
    if (j < padded) multiply_keys<1>(queries, keys + j, scores + j, padded, dimensions);
    float scales[query_block];
    for (int64_t q = 0; q < query_block; ++q) {
      float *row = scores + q * padded;
      Lanes most = loaded(row) * scale + (loaded(keep) - 1.0F) * 1e30F;
      for (int64_t k = 0; k < padded; k += lanes) {
        const Lanes score = loaded(row + k) * scale + (loaded(keep + k) - 1.0F) * 1e30F;
        most = score > most ? score : most;
        memcpy(row + k, &score, sizeof score);
      }
      float highest = most[0];
      for (int64_t k = 1; k < lanes; ++k) highest = most[k] > highest ? most[k] : highest;
      for (int64_t k = 0; k < padded; ++k) row[k] = exponential(row[k] - highest) * keep[k];
      Lanes sums = {};
      for (int64_t k = 0; k < padded; k += lanes) sums += loaded(row + k);
      const float sum = total(sums);
      scales[q] = sum > 0.0F ? 1.0F / sum : 0.0F;
    }
    int64_t c = 0;
    for (; c + 2 * lanes <= dimensions; c += 2 * lanes) weigh_values<2>(scores, scales, head.values + c, head.stride, length, padded, means + c, dimensions);
    if (c < dimensions) weigh_values<1>(scores, scales, head.values + c, head.stride, length, padded, means + c, dimensions);
    for (int64_t q = 0; q < std::min(query_block, length - first); ++q) {
      uint16_t *to = static_cast<uint16_t *>(static_cast<void *>(head.output + (first + q) * head.output_stride));
      for (int64_t i = 0; i < dimensions; ++i) to[i] = rounded(means[q * dimensions + i]);
    }
  }
}

/// Attention of several heads over queries, keys and values [B, S, 3, heads, D], where a mask [B, 1, 1, S] tells the positions that are seen, to rows of
/// bfloat16. For short rows libtorch's takes longer to begin than to compute.
void attention_to(at::Tensor &output, const at::Tensor &parts, const at::Tensor &mask, int64_t heads) {
  const int64_t rows = parts.size(0), length = parts.size(1), hidden = parts.size(2) / 3, dimensions = hidden / heads;
  const int64_t padded = (length + lanes - 1) / lanes * lanes;
  const bool simple = dimensions % lanes == 0 && mask.scalar_type() == at::kBool && mask.dim() == 4 && (mask.size(0) == rows || mask.size(0) == 1) &&
                      mask.size(1) == 1 && mask.size(2) == 1 && mask.size(3) == length;
  if (!simple) {
    const at::Tensor split = parts.view({rows, length, 3, heads, dimensions}).permute({2, 0, 3, 1, 4});
    const at::Tensor mixed = at::scaled_dot_product_attention(split[0], split[1], split[2], mask).transpose(1, 2).reshape({rows * length, hidden});
    output.narrow(0, 0, rows * length).copy_(mixed);
    return;
  }
  const at::Tensor seen = mask.contiguous();
  const bool *sees = seen.const_data_ptr<bool>();
  const int64_t mask_stride = mask.size(0) == 1 ? 0 : length;
  const float *from = parts.const_data_ptr<float>();
  at::BFloat16 *to = output.mutable_data_ptr<at::BFloat16>();
  const int64_t grain = std::max<int64_t>(1, (1 << 20) / std::max<int64_t>(1, length * padded * dimensions));
  at::parallel_for(0, rows * heads, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(padded + dimensions * padded + query_block * (padded + dimensions));
    float *keep = scratch.data();
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / heads, head = i % heads;
      for (int64_t j = 0; j < length; ++j) keep[j] = sees[row * mask_stride + j] ? 1.0F : 0.0F;
      const float *first = from + row * length * 3 * hidden + head * dimensions;
      attend({first, first + hidden, first + 2 * hidden, 3 * hidden, to + row * length * hidden + head * dimensions, hidden}, length, dimensions, keep,
             keep + padded);
    }
  });
}

/// A layer of BERT: attention and a feed-forward part, each with a residual and a norm after it. `parts` are weight and bias of queries, keys and values
/// [3H, H], of what is made of the attention [H, H], of its norm, of the inner layer [F, H], of the outer one [H, F] and of its norm. (As operators of their own
/// these take longer to call, in small batches, than to compute.)
at::Tensor encoder_layer(const at::Tensor &input, const at::Tensor &mask, at::TensorList parts, int64_t heads, double first_epsilon, double second_epsilon) {
  TORCH_CHECK(input.dim() == 3, "an encoder layer takes [B, S, H] and got ", input.sizes());
  const at::Tensor x = input.to(at::kFloat).contiguous();
  const int64_t hidden = x.size(2), rows = x.size(0) * x.size(1), inner = parts[7].numel();
  at::Tensor left = bfloat16_rows(x), separate = at::empty({x.size(0), x.size(1), 3 * hidden}, x.options());
  linear_to(separate.mutable_data_ptr<float>(), left, rows, parts[0], parts[1]);
  attention_to(left, separate, mask, heads);

  at::Tensor between = at::empty(x.sizes(), x.options()), output = at::empty(x.sizes(), x.options());
  float *middle = between.mutable_data_ptr<float>(), *last = output.mutable_data_ptr<float>();
  linear_and_residual_to(middle, left, rows, parts[2], parts[3], x.const_data_ptr<float>());
  const float *weight = parts[4].const_data_ptr<float>(), *bias = parts[5].const_data_ptr<float>();
  uint16_t *bits = static_cast<uint16_t *>(left.mutable_data_ptr());
  for_each_row(rows, hidden, [=](int64_t row) {
    norm_row(middle + row * hidden, weight, bias, float(first_epsilon), hidden);
    round_all(middle + row * hidden, bits + row * hidden, hidden);
  });

  at::Tensor inside = bfloat16_rows(rows, inner);
  linear_gelu_to(inside.mutable_data_ptr<at::BFloat16>(), left, rows, parts[6], parts[7]);
  linear_and_residual_to(last, inside, rows, parts[8], parts[9], middle);
  weight = parts[10].const_data_ptr<float>(), bias = parts[11].const_data_ptr<float>();
  for_each_row(rows, hidden, [=](int64_t row) { norm_row(last + row * hidden, weight, bias, float(second_epsilon), hidden); });
  return output;
}

}  // namespace
