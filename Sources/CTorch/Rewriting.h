// What a frozen graph computes faster on a CPU, with the same results. Included by CTorch.cpp alone.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/library.h>
#include <torch/script.h>

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

namespace {

// MARK: GRU

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

/// The recurrence of a GRU, from a state of zeros: what the input gives each gate [B, S, 3H] to the states [B, S, H]. libtorch's own takes some ten
/// operators a step and lays the input out by steps; this takes one product a step.
at::Tensor gru_recurrence(const at::Tensor &gates, const at::Tensor &weight, const at::Tensor &bias) {
  const at::Tensor input = gates.contiguous();
  const int64_t rows = input.size(0), steps = input.size(1), width = input.size(2) / 3;
  at::Tensor output = at::empty({rows, steps, width}, input.options());
  at::Tensor state = at::zeros({rows, width}, input.options());
  at::Tensor hidden = at::zeros({rows, 3 * width}, input.options());
  const at::Tensor transposed = weight.t();
  for (int64_t step = 0; step < steps; ++step) {
    if (step > 0) at::mm_out(hidden, state, transposed);
    for (int64_t row = 0; row < rows; ++row) {
      gru_step(input.const_data_ptr<float>() + (row * steps + step) * 3 * width, hidden.const_data_ptr<float>() + row * 3 * width,
               bias.const_data_ptr<float>(), state.mutable_data_ptr<float>() + row * width,
               output.mutable_data_ptr<float>() + (row * steps + step) * width, width);
    }
  }
  return output;
}

TORCH_LIBRARY(kefu, library) { library.def("gru_recurrence(Tensor gates, Tensor weight, Tensor bias) -> Tensor"); }

TORCH_LIBRARY_IMPL(kefu, CPU, library) { library.impl("gru_recurrence", gru_recurrence); }

/// Whether a tensor is a float32 one of so many dimensions in the memory of the CPU.
bool fits(const at::Tensor &tensor, int64_t dimensions) {
  return tensor.defined() && tensor.layout() == at::kStrided && tensor.device().is_cpu() && tensor.scalar_type() == torch::kFloat32 &&
         tensor.dim() == dimensions;
}

std::optional<at::Tensor> constant_tensor(torch::jit::Value *value) {
  std::optional<c10::IValue> known = torch::jit::toIValue(value);
  return known && known->isTensor() ? std::optional(known->toTensor()) : std::nullopt;
}

/// The tensors of a list, if all of them are constants.
std::vector<at::Tensor> constant_tensors(torch::jit::Value *list) {
  std::optional<c10::IValue> known = torch::jit::toIValue(list);
  if (known && known->isTensorList()) return known->toTensorVector();
  std::vector<at::Tensor> tensors;
  if (list->node()->kind() != c10::prim::ListConstruct) return tensors;
  for (torch::jit::Value *element : list->node()->inputs()) {
    std::optional<at::Tensor> tensor = constant_tensor(element);
    if (!tensor) return {};
    tensors.push_back(*tensor);
  }
  return tensors;
}

bool is_constant(torch::jit::Value *value, const c10::IValue &expected) {
  std::optional<c10::IValue> known = torch::jit::toIValue(value);
  return known && known->tagKind() == expected.tagKind() && *known == expected;
}

/// Whether a node is a GRU as `gru_recurrence` computes it: aten::gru(input, zeros, [4 weights], has_biases, 1 layer, dropout, train, bidirectional,
/// batch_first), of which nobody uses the last state.
bool is_plain_gru(const torch::jit::Node *node) {
  return node->kind() == c10::Symbol::fromQualString("aten::gru") && node->inputs().size() == 9 && !node->output(1)->hasUses() &&
         node->input(1)->node()->kind() == c10::aten::zeros && is_constant(node->input(3), true) && is_constant(node->input(4), int64_t(1)) &&
         is_constant(node->input(6), false) && is_constant(node->input(7), false) && is_constant(node->input(8), true);
}

/// Replaces a GRU by a linear layer over all steps and the recurrence.
void rewrite_gru(torch::jit::Graph &graph, torch::jit::Node *node) {
  // To the gates from the input and from the state: weights, then biases.
  std::vector<at::Tensor> weights = constant_tensors(node->input(2));
  if (weights.size() != 4 || !fits(weights[0], 2) || !fits(weights[1], 2) || !fits(weights[2], 1) || !fits(weights[3], 1)) return;
  torch::jit::WithInsertPoint here(node);
  torch::jit::Value *gates = graph.insert(c10::aten::linear, {node->input(0), weights[0], weights[2]});
  torch::jit::Value *states =
      graph.insert(c10::Symbol::fromQualString("kefu::gru_recurrence"), {gates, weights[1].contiguous(), weights[3].contiguous()});
  node->output(0)->replaceAllUsesWith(states);
}

// MARK: Linear layers

/// Below so many outputs a layer is computed as it is: heads cost next to nothing, and their results are not rounded.
constexpr int64_t least_outputs = 64;

/// Has a linear layer computed in bfloat16, with float32 sums, by weights that are laid out for the processor's matrix unit once. Gives the bytes that are
/// saved.
int64_t rewrite_linear(torch::jit::Graph &graph, torch::jit::Node *node) {
  std::optional<at::Tensor> weight = constant_tensor(node->input(1)), bias = constant_tensor(node->input(2));
  if (!weight || !bias || !fits(*weight, 2) || !fits(*bias, 1) || weight->size(0) < least_outputs) return 0;
  static const auto pack = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                               .typed<at::Tensor(const at::Tensor &, std::optional<int64_t>)>();
  torch::jit::WithInsertPoint here(node);
  torch::jit::Node *packed = graph.create(c10::prim::ConstantMKLDNNTensor, 1);
  packed->t_(c10::attr::value, pack.call(weight->contiguous().to(torch::kBFloat16), std::nullopt));
  graph.insertNode(packed);
  torch::jit::Value *input = graph.insert(c10::aten::to, {node->input(0), at::kBFloat16});
  torch::jit::Value *none = graph.insertConstant(c10::IValue());
  torch::jit::Value *scalars = graph.insertNode(graph.createList(c10::OptionalType::create(c10::NumberType::get()), {}))->output();
  torch::jit::Value *output = graph.insert(c10::Symbol::fromQualString("mkldnn::_linear_pointwise"),
                                           {input, packed->output(), bias->to(torch::kBFloat16), "none", scalars, none});
  node->output()->replaceAllUsesWith(graph.insert(c10::aten::to, {output, at::kFloat}));
  return 2 * weight->numel();
}

/// Replaces what can be computed faster in a frozen graph. Gives the bytes by which its constants became fewer.
int64_t rewrite(torch::jit::Graph &graph, bool bfloat16) {
  std::vector<torch::jit::Node *> nodes;
  auto collect = [&] {
    nodes.clear();
    for (torch::jit::Node *node : graph.nodes()) nodes.push_back(node);
  };
  collect();
  for (torch::jit::Node *node : nodes) {
    if (is_plain_gru(node)) rewrite_gru(graph, node);
  }
  int64_t saved = 0;
  if (bfloat16) {
    collect();
    for (torch::jit::Node *node : nodes) {
      if (node->kind() == c10::aten::linear) saved += rewrite_linear(graph, node);
    }
  }
  torch::jit::EliminateDeadCode(graph.block());
  return saved;
}

}  // namespace
