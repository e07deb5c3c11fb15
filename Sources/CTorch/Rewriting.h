// What a frozen graph computes faster on a CPU, with the same results. Included by CTorch.cpp alone.
#pragma once

#include "Kernels.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/script.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace {

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

// MARK: GRU

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
      graph.insert(c10::Symbol::fromQualString("kefu::gru_recurrence"), {gates, weights[1].t().contiguous(), weights[3].contiguous()});
  node->output(0)->replaceAllUsesWith(states);
}

// MARK: Residuals

/// Replaces the layer norm of a sum that nobody else sees by one operator.
void rewrite_norm(torch::jit::Graph &graph, torch::jit::Node *node) {
  if (node->kind() != c10::aten::layer_norm) return;
  torch::jit::Node *sum = node->input(0)->node();
  if (sum->kind() != c10::aten::add || sum->inputs().size() != 3 || !is_constant(sum->input(2), int64_t(1)) || sum->output()->uses().size() != 1) return;
  std::optional<at::Tensor> weight = constant_tensor(node->input(2)), bias = constant_tensor(node->input(3));
  if (!weight || !bias || !fits(*weight, 1) || !fits(*bias, 1)) return;
  torch::jit::WithInsertPoint here(node);
  node->output()->replaceAllUsesWith(graph.insert(
      c10::Symbol::fromQualString("kefu::add_norm"), {sum->input(0), sum->input(1), weight->contiguous(), bias->contiguous(), node->input(4)}));
}

// MARK: Rows

void rewrite_gather(torch::jit::Graph &graph, torch::jit::Node *node) {
  if (node->kind() != c10::aten::gather || !is_constant(node->input(1), int64_t(1)) || !is_constant(node->input(3), false)) return;
  torch::jit::WithInsertPoint here(node);
  node->output()->replaceAllUsesWith(graph.insert(c10::Symbol::fromQualString("kefu::gather_rows"), {node->input(0), node->input(2)}));
}

// MARK: Linear layers

/// Below so many outputs a layer is computed as it is: heads cost next to nothing, and their results are not rounded.
constexpr int64_t least_outputs = 64;

/// The weights and the bias of a linear layer that is to be computed in bfloat16; nothing for another node.
std::optional<std::pair<at::Tensor, at::Tensor>> wide_linear(const torch::jit::Node *node) {
  if (node->kind() != c10::aten::linear) return std::nullopt;
  std::optional<at::Tensor> weight = constant_tensor(node->input(1)), bias = constant_tensor(node->input(2));
  if (!weight || !bias || !fits(*weight, 2) || !fits(*bias, 1) || weight->size(0) < least_outputs) return std::nullopt;
  return std::pair(weight->contiguous(), bias->contiguous());
}

/// Whether a node is the exact GELU of a layer's output, and nobody but layers that round it anyway sees either.
bool is_inner_gelu(const torch::jit::Node *node) {
  if (node->kind() != c10::aten::gelu || !is_constant(node->input(1), "none") || node->input(0)->uses().size() != 1) return false;
  for (const torch::jit::Use &use : node->output()->uses()) {
    if (use.offset != 0 || !wide_linear(use.user)) return false;
  }
  return true;
}

/// Has a linear layer computed in bfloat16, with float32 sums, by weights that are laid out for the processor's matrix unit once. Gives the bytes that are
/// saved.
int64_t rewrite_linear(torch::jit::Graph &graph, torch::jit::Node *node) {
  auto layer = wide_linear(node);
  if (!layer) return 0;
  auto [weight, bias] = *layer;
  torch::jit::WithInsertPoint here(node);
  if (multiplies_tiles(weight)) {
    torch::jit::Node *user = node->output()->uses().size() == 1 ? node->output()->uses()[0].user : nullptr;
    const bool gelu = user && is_inner_gelu(user);
    torch::jit::Value *output = graph.insert(c10::Symbol::fromQualString(gelu ? "kefu::linear_gelu" : "kefu::linear"),
                                             {node->input(0), packed_weight(weight), bias});
    (gelu ? user : node)->output()->replaceAllUsesWith(output);
    return 2 * weight.numel();
  }
  static const auto pack = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                               .typed<at::Tensor(const at::Tensor &, std::optional<int64_t>)>();
  torch::jit::Node *packed = graph.create(c10::prim::ConstantMKLDNNTensor, 1);
  packed->t_(c10::attr::value, pack.call(weight.to(torch::kBFloat16), std::nullopt));
  graph.insertNode(packed);
  torch::jit::Value *input = graph.insert(c10::aten::to, {node->input(0), at::kBFloat16});
  torch::jit::Value *none = graph.insertConstant(c10::IValue());
  torch::jit::Value *scalars = graph.insertNode(graph.createList(c10::OptionalType::create(c10::NumberType::get()), {}))->output();
  torch::jit::Value *output = graph.insert(c10::Symbol::fromQualString("mkldnn::_linear_pointwise"),
                                           {input, packed->output(), bias.to(torch::kBFloat16), "none", scalars, none});
  node->output()->replaceAllUsesWith(graph.insert(c10::aten::to, {output, at::kFloat}));
  return 2 * weight.numel();
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
    rewrite_norm(graph, node);
    rewrite_gather(graph, node);
  }
  int64_t saved = 0;
  if (bfloat16) {
    collect();
    for (torch::jit::Node *node : nodes) {
      saved += rewrite_linear(graph, node);
    }
  }
  torch::jit::EliminateDeadCode(graph.block());
  return saved;
}

}  // namespace
