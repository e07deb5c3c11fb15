// The recurrence of GRUs in float32. Included by Kernels.h alone.
#pragma once

#include "Arithmetic.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

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

/// The products of `rows` states and `count` vectors of the weights' columns, whose sums stay in registers.
template <int64_t rows, int64_t count>
__attribute__((always_inline)) inline void multiply_columns(const float *state, const float *weight, float *hidden, int64_t width) {
  Lanes sums[rows][count] = {};
  for (int64_t i = 0; i < width; ++i) {
    Lanes column[count];
    for (int64_t k = 0; k < count; ++k) column[k] = loaded(weight + i * 3 * width + k * lanes);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t k = 0; k < count; ++k) sums[row][k] += column[k] * state[row * width + i];
    }
  }
  for (int64_t row = 0; row < rows; ++row) memcpy(hidden + row * 3 * width, sums[row], sizeof sums[row]);
}

/// The products of so many states and the weights [H, 3H]. (A call of libtorch's takes longer than the product of a narrow layer.)
template <int64_t rows>
__attribute__((always_inline)) inline void multiply_state(const float *state, const float *weight, float *hidden, int64_t width) {
  // Eight sums at once, or four of each of four rows: fewer wait for each other, and more do not fit into the registers.
  constexpr int64_t most = rows == 1 ? 8 : 4;
  int64_t column = 0;
  for (; column + most * lanes <= 3 * width; column += most * lanes) multiply_columns<rows, most>(state, weight + column, hidden + column, width);
  auto multiply_rest = [&]<int64_t count>() __attribute__((always_inline)) {
    if (column + count * lanes > 3 * width) return;
    multiply_columns<rows, count>(state, weight + column, hidden + column, width);
    column += count * lanes;
  };
  if constexpr (rows == 1) {
    multiply_rest.template operator()<7>();
    multiply_rest.template operator()<6>();
    multiply_rest.template operator()<5>();
    multiply_rest.template operator()<4>();
  }
  multiply_rest.template operator()<3>();
  multiply_rest.template operator()<2>();
  multiply_rest.template operator()<1>();
  for (; column < 3 * width; ++column) {
    for (int64_t row = 0; row < rows; ++row) {
      float sum = 0.0F;
      for (int64_t i = 0; i < width; ++i) sum += state[row * width + i] * weight[i * 3 * width + column];
      hidden[row * 3 * width + column] = sum;
    }
  }
}

CTORCH_FOR_EACH_PROCESSOR
void multiply_states(const float *state, const float *weight, float *hidden, int64_t rows, int64_t width) {
  for (; rows >= 4; rows -= 4, state += 4 * width, hidden += 12 * width) multiply_state<4>(state, weight, hidden, width);
  for (; rows > 0; --rows, state += width, hidden += 3 * width) multiply_state<1>(state, weight, hidden, width);
}

/// Beyond so many rows a call of libtorch's is as fast.
constexpr int64_t most_rows_multiplied = 8;

/// The recurrence of a GRU, from a state of zeros: what the input gives each gate [B, S, 3H], positions `stride` apart, and weights [H, 3H] to the states, positions
/// `output_stride` apart. Where an order [B, S] is given, the steps of a row take the input at these positions. libtorch's own takes some ten operators a step and
/// lays the input out by steps; this takes one product a step.
void gru_to(float *output, int64_t output_stride, const float *gates, int64_t stride, int64_t rows, int64_t steps, const int64_t *order, const at::Tensor &weight,
            const at::Tensor &bias) {
  const int64_t width = bias.numel() / 3;
  at::Tensor state = at::zeros({rows, width}, bias.options()), hidden = at::zeros({rows, 3 * width}, bias.options());
  float *states = state.mutable_data_ptr<float>(), *products = hidden.mutable_data_ptr<float>();
  const float *from_state = weight.const_data_ptr<float>(), *added = bias.const_data_ptr<float>();
  for (int64_t step = 0; step < steps; ++step) {
    if (step > 0 && rows <= most_rows_multiplied) {
      multiply_states(states, from_state, products, rows, width);
    } else if (step > 0) {
      at::mm_out(hidden, state, weight);
    }
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t position = row * steps + (order ? order[row * steps + step] : step);
      gru_step(gates + position * stride, products + row * 3 * width, added, states + row * width,
               output + (row * steps + step) * output_stride, width);
    }
  }
}

/// What the input gives each gate [B, S, 3H] to the states [B, S, H].
at::Tensor gru(const at::Tensor &gates, const at::Tensor &weight, const at::Tensor &bias) {
  const at::Tensor input = gates.contiguous();
  const int64_t rows = input.size(0), steps = input.size(1), width = bias.numel() / 3;
  at::Tensor output = at::empty({rows, steps, width}, input.options());
  gru_to(output.mutable_data_ptr<float>(), width, input.const_data_ptr<float>(), 3 * width, rows, steps, nullptr, weight, bias);
  return output;
}

/// For rows of such lengths [B, 1], each position's place where the row is reversed within its length, and its own beyond it [B, steps].
at::Tensor mirror(const at::Tensor &lengths, int64_t steps) {
  TORCH_CHECK(lengths.dim() == 2 && lengths.size(1) == 1, "lengths are [B, 1], and not of shape ", lengths.sizes());
  const at::Tensor whole = lengths.to(at::kLong).contiguous();
  const int64_t rows = whole.size(0), *length = whole.const_data_ptr<int64_t>();
  at::Tensor places = at::empty({rows, steps}, whole.options());
  int64_t *place = places.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < steps; ++i) *place++ = i < length[row] ? length[row] - 1 - i : i;
  }
  return places;
}

/// Two GRUs over the same input, of which the second takes it in another order; each position gets the states of the first at its own step, and of the second at
/// the step that the order has there. What the input gives their gates [B, S, 6H] and the order [B, S, 1] to states [B, S, 2H].
at::Tensor bidirectional_gru(const at::Tensor &gates, const at::Tensor &order, const at::Tensor &weight, const at::Tensor &bias, const at::Tensor &back_weight,
                             const at::Tensor &back_bias) {
  const at::Tensor input = gates.contiguous();
  const int64_t rows = input.size(0), steps = input.size(1), width = bias.numel() / 3;
  TORCH_CHECK_INDEX(order.dim() == 3 && order.size(0) == rows && order.size(1) == steps && order.size(2) == 1, "the order of ", rows, " rows of ", steps,
                    " steps is of shape ", order.sizes());
  const at::Tensor places = order.to(at::kLong).contiguous();
  const int64_t *place = places.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows * steps; ++i) {
    TORCH_CHECK_INDEX(place[i] >= 0 && place[i] < steps, "index ", place[i], " is out of bounds for a dimension of ", steps);
  }
  at::Tensor output = at::empty({rows, steps, 2 * width}, input.options()), back = at::empty({rows, steps, width}, input.options());
  const float *from = input.const_data_ptr<float>();
  float *to = output.mutable_data_ptr<float>(), *states = back.mutable_data_ptr<float>();
  gru_to(to, 2 * width, from, 6 * width, rows, steps, nullptr, weight, bias);
  gru_to(states, width, from + 3 * width, 6 * width, rows, steps, place, back_weight, back_bias);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t position = row * steps; position < (row + 1) * steps; ++position) {
      std::copy_n(states + (row * steps + place[position]) * width, width, to + position * 2 * width + width);
    }
  }
  return output;
}

}  // namespace
