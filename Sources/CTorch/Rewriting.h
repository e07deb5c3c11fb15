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

/// Whether a node is of this kind and nobody but one node, once, takes what it gives.
bool is_inner(torch::jit::Node *node, c10::Symbol kind) { return node->kind() == kind && node->outputs().size() == 1 && node->output()->uses().size() == 1; }

c10::Symbol symbol(const char *name) { return c10::Symbol::fromQualString(name); }

/// The elements of a list that the graph puts together; none for another value.
at::ArrayRef<torch::jit::Value *> list_elements(torch::jit::Value *list) {
  torch::jit::Node *node = list->node();
  return node->kind() == c10::prim::ListConstruct ? node->inputs() : at::ArrayRef<torch::jit::Value *>();
}

/// Whether a value is the size of a tensor's dimension.
bool is_size(torch::jit::Value *value, torch::jit::Value *tensor, int64_t dimension) {
  torch::jit::Node *node = value->node();
  return node->kind() == c10::aten::size && node->inputs().size() == 2 && node->input(0) == tensor && is_constant(node->input(1), dimension);
}

// MARK: GRU

/// A GRU as `gru` computes it: aten::gru(input, zeros, [4 weights], has_biases, 1 layer, dropout, train, bidirectional, batch_first), of which nobody uses the
/// last state.
struct PlainGRU {
  torch::jit::Value *input;
  /// To the gates [3H, K] and [3H], and from the state [H, 3H] and [3H].
  at::Tensor input_weight, input_bias, weight, bias;
};

std::optional<PlainGRU> plain_gru(torch::jit::Node *node) {
  const bool plain = node->kind() == symbol("aten::gru") && node->inputs().size() == 9 && !node->output(1)->hasUses() &&
                     node->input(1)->node()->kind() == c10::aten::zeros && is_constant(node->input(3), true) && is_constant(node->input(4), int64_t(1)) &&
                     is_constant(node->input(6), false) && is_constant(node->input(7), false) && is_constant(node->input(8), true);
  if (!plain) return std::nullopt;
  // To the gates from the input and from the state: weights, then biases.
  const std::vector<at::Tensor> weights = constant_tensors(node->input(2));
  if (weights.size() != 4 || !fits(weights[0], 2) || !fits(weights[1], 2) || !fits(weights[2], 1) || !fits(weights[3], 1)) return std::nullopt;
  return PlainGRU{node->input(0), weights[0], weights[2], weights[1].t().contiguous(), weights[3].contiguous()};
}

/// Replaces a GRU by a linear layer over all steps and the recurrence.
void rewrite_gru(torch::jit::Graph &graph, torch::jit::Node *node) {
  const std::optional<PlainGRU> plain = plain_gru(node);
  if (!plain) return;
  torch::jit::WithInsertPoint here(node);
  torch::jit::Value *gates = graph.insert(c10::aten::linear, {plain->input, plain->input_weight, plain->input_bias});
  node->output(0)->replaceAllUsesWith(graph.insert(symbol("kefu::gru"), {gates, plain->weight, plain->bias}));
}

/// What a node takes from its input, if it gathers whole positions [B, S, 1] of it [B, S, K]: gather(input, 1, expand(positions, [-1, -1, size(input, 2)])).
struct GatheredPositions {
  torch::jit::Value *input, *positions;
};

std::optional<GatheredPositions> gathered_positions(torch::jit::Value *value) {
  torch::jit::Node *node = value->node();
  if (node->kind() != c10::aten::gather || !is_constant(node->input(1), int64_t(1)) || !is_constant(node->input(3), false)) return std::nullopt;
  torch::jit::Node *expand = node->input(2)->node();
  if (expand->kind() != c10::aten::expand) return std::nullopt;
  const auto sizes = list_elements(expand->input(1));
  if (sizes.size() != 3 || !is_constant(sizes[0], int64_t(-1)) || !is_constant(sizes[1], int64_t(-1)) || !is_size(sizes[2], node->input(0), 2)) return std::nullopt;
  return GatheredPositions{node->input(0), expand->input(0)};
}

/// Replaces the positions of rows that are reversed within their lengths [B, 1], where(position < length, length - 1 - position, position), by one operator: six
/// of libtorch's take as long, for a short row, as a layer's product.
void rewrite_mirror(torch::jit::Graph &graph, torch::jit::Node *node) {
  if (node->kind() != c10::aten::where || node->inputs().size() != 3) return;
  torch::jit::Node *less = node->input(0)->node(), *distance = node->input(1)->node();
  torch::jit::Value *position = node->input(2), *length = less->kind() == c10::aten::lt ? less->input(1) : nullptr;
  auto is_difference = [](torch::jit::Node *difference) {
    return difference->kind() == c10::aten::sub && difference->inputs().size() == 3 && is_constant(difference->input(2), int64_t(1));
  };
  if (!length || less->input(0) != position || !is_difference(distance) || distance->input(1) != position) return;
  torch::jit::Node *last = distance->input(0)->node();
  if (!is_difference(last) || last->input(0) != length || !is_constant(last->input(1), int64_t(1))) return;
  torch::jit::Node *unsqueeze = position->node(), *range = unsqueeze->kind() == c10::aten::unsqueeze ? unsqueeze->input(0)->node() : nullptr;
  // end, dtype, layout, device, pin_memory: whole numbers from 0.
  if (!range || !is_constant(unsqueeze->input(1), int64_t(0)) || range->kind() != c10::aten::arange || range->inputs().size() != 5 ||
      !is_constant(range->input(1), c10::IValue()) || range->input(0)->type()->kind() != c10::TypeKind::IntType) {
    return;
  }
  torch::jit::WithInsertPoint here(node);
  node->output()->replaceAllUsesWith(graph.insert(symbol("kefu::mirror"), {length, range->input(0)}));
}

/// Replaces the concatenation of a GRU's states and those of another one, which reads and gives the same input by positions, by one linear layer for both and
/// their recurrences.
void rewrite_bidirectional_gru(torch::jit::Graph &graph, torch::jit::Node *node) {
  if (node->kind() != c10::aten::cat || !(is_constant(node->input(1), int64_t(-1)) || is_constant(node->input(1), int64_t(2)))) return;
  const auto sides = list_elements(node->input(0));
  if (sides.size() != 2) return;
  const std::optional<GatheredPositions> after = gathered_positions(sides[1]);
  const std::optional<PlainGRU> ahead = plain_gru(sides[0]->node()), back = after ? plain_gru(after->input->node()) : std::nullopt;
  if (!ahead || !back || sides[0]->offset() != 0 || after->input->offset() != 0) return;
  const std::optional<GatheredPositions> before = gathered_positions(back->input);
  if (!before || before->input != ahead->input || before->positions != after->positions || !ahead->input_weight.sizes().equals(back->input_weight.sizes())) return;
  torch::jit::WithInsertPoint here(node);
  torch::jit::Value *gates = graph.insert(c10::aten::linear, {ahead->input, at::cat({ahead->input_weight, back->input_weight}),
                                                              at::cat({ahead->input_bias, back->input_bias})});
  node->output()->replaceAllUsesWith(
      graph.insert(symbol("kefu::bidirectional_gru"), {gates, before->positions, ahead->weight, ahead->bias, back->weight, back->bias}));
}

// MARK: Residuals

/// The layer norm over the last dimension of the sum of two values, whose constants are given.
struct SumNorm {
  torch::jit::Value *left, *right, *epsilon;
  at::Tensor weight, bias;
};

std::optional<SumNorm> sum_norm(torch::jit::Node *node) {
  if (node->kind() != c10::aten::layer_norm) return std::nullopt;
  torch::jit::Node *sum = node->input(0)->node();
  if (!is_inner(sum, c10::aten::add) || sum->inputs().size() != 3 || !is_constant(sum->input(2), int64_t(1))) return std::nullopt;
  std::optional<at::Tensor> weight = constant_tensor(node->input(2)), bias = constant_tensor(node->input(3));
  if (!weight || !bias || !fits(*weight, 1) || !fits(*bias, 1)) return std::nullopt;
  return SumNorm{sum->input(0), sum->input(1), node->input(4), weight->contiguous(), bias->contiguous()};
}

/// Replaces the layer norm of a sum that nobody else sees by one operator.
void rewrite_norm(torch::jit::Graph &graph, torch::jit::Node *node) {
  const std::optional<SumNorm> norm = sum_norm(node);
  if (!norm) return;
  torch::jit::WithInsertPoint here(node);
  node->output()->replaceAllUsesWith(graph.insert(symbol("kefu::add_norm"), {norm->left, norm->right, norm->weight, norm->bias, norm->epsilon}));
}

// MARK: Linear layers

/// Below so many outputs a layer is computed as it is: heads cost next to nothing, and their results are not rounded.
constexpr int64_t least_outputs = 64;

/// The weights and the bias of a linear layer that is to be computed in bfloat16; nothing for another node.
std::optional<std::pair<at::Tensor, at::Tensor>> wide_linear(torch::jit::Node *node) {
  if (node->kind() != c10::aten::linear) return std::nullopt;
  std::optional<at::Tensor> weight = constant_tensor(node->input(1)), bias = constant_tensor(node->input(2));
  if (!weight || !bias || !fits(*weight, 2) || !fits(*bias, 1) || weight->size(0) < least_outputs) return std::nullopt;
  return std::pair(weight->contiguous(), bias->contiguous());
}

/// Whether a node is the exact GELU of a layer's output, and nobody but layers that round it anyway sees either.
bool is_inner_gelu(torch::jit::Node *node) {
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
    torch::jit::Value *output = graph.insert(symbol(gelu ? "kefu::linear_gelu" : "kefu::linear"),
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
  torch::jit::Value *output = graph.insert(symbol("mkldnn::_linear_pointwise"),
                                           {input, packed->output(), bias.to(torch::kBFloat16), "none", scalars, none});
  node->output()->replaceAllUsesWith(graph.insert(c10::aten::to, {output, at::kFloat}));
  return 2 * weight.numel();
}

// MARK: Encoder layers

/// A linear layer of tiles whose output nobody but one node sees, and whose input is given.
std::optional<std::pair<at::Tensor, at::Tensor>> inner_layer(torch::jit::Value *value, torch::jit::Value *input = nullptr) {
  auto layer = is_inner(value->node(), c10::aten::linear) && (!input || value->node()->input(0) == input) ? wide_linear(value->node()) : std::nullopt;
  return layer && multiplies_tiles(layer->first) ? layer : std::nullopt;
}

/// What a value is attention of: heads of queries, keys and values that one layer's output [B, S, 3H] is split into, put together again [B, S, H].
struct SelfAttention {
  torch::jit::Value *parts, *mask;
  c10::IValue heads;
};

std::optional<SelfAttention> self_attention(torch::jit::Value *value, torch::jit::Value *input) {
  torch::jit::Node *reshape = value->node();
  if (!is_inner(reshape, c10::aten::reshape)) return std::nullopt;
  const auto shape = list_elements(reshape->input(1));
  torch::jit::Node *transpose = reshape->input(0)->node();
  if (shape.size() != 3 || !is_size(shape[0], input, 0) || !is_size(shape[1], input, 1) || !is_inner(transpose, c10::aten::transpose) ||
      !is_constant(transpose->input(1), int64_t(1)) || !is_constant(transpose->input(2), int64_t(2))) {
    return std::nullopt;
  }
  torch::jit::Node *attention = transpose->input(0)->node();
  // query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
  if (!is_inner(attention, symbol("aten::scaled_dot_product_attention")) || attention->inputs().size() != 8 || !is_constant(attention->input(4), 0.0) ||
      !is_constant(attention->input(5), false) || !is_constant(attention->input(6), c10::IValue()) || !is_constant(attention->input(7), false)) {
    return std::nullopt;
  }
  // Without a mask there is nothing to hand on.
  if (attention->input(3)->type()->kind() != c10::TypeKind::TensorType) return std::nullopt;
  torch::jit::Value *split = nullptr;
  for (int64_t i = 0; i < 3; ++i) {
    torch::jit::Node *part = attention->input(i)->node();
    if (!is_inner(part, c10::aten::select) || !is_constant(part->input(1), int64_t(0)) || !is_constant(part->input(2), i)) return std::nullopt;
    if (i > 0 && part->input(0) != split) return std::nullopt;
    split = part->input(0);
  }
  torch::jit::Node *permute = split->node(), *view = permute->kind() == c10::aten::permute ? permute->input(0)->node() : nullptr;
  if (split->uses().size() != 3 || !is_constant(permute->input(1), c10::List<int64_t>({2, 0, 3, 1, 4})) || !view || !is_inner(view, c10::aten::view)) {
    return std::nullopt;
  }
  const auto sizes = list_elements(view->input(1));
  if (sizes.size() != 5 || !is_size(sizes[0], input, 0) || !is_size(sizes[1], input, 1) || !is_constant(sizes[2], int64_t(3))) return std::nullopt;
  const std::optional<c10::IValue> heads = torch::jit::toIValue(sizes[3]);
  if (!heads || !heads->isInt() || heads->toInt() < 1) return std::nullopt;
  return SelfAttention{view->input(0), attention->input(3), *heads};
}

/// Replaces a layer of BERT, as Training/kefu_training/model.py writes it, by one operator in bfloat16 with float32 sums: norm(y + outer(gelu(inner(y)))) where
/// y is norm(x + mixing(attention(x))). Gives the bytes that are saved.
int64_t rewrite_encoder_layer(torch::jit::Graph &graph, torch::jit::Node *node) {
  const std::optional<SumNorm> second = sum_norm(node);
  if (!second) return 0;
  const std::optional<SumNorm> first = sum_norm(second->left->node());
  const auto outer = inner_layer(second->right);
  if (!first || !outer || second->left->uses().size() != 2) return 0;
  torch::jit::Node *gelu = second->right->node()->input(0)->node();
  if (!is_inner(gelu, c10::aten::gelu) || !is_constant(gelu->input(1), "none")) return 0;
  const auto inner = inner_layer(gelu->input(0), second->left), mixing = inner_layer(first->right);
  if (!inner || !mixing) return 0;
  const std::optional<SelfAttention> attention = self_attention(first->right->node()->input(0), first->left);
  const auto parts = attention ? inner_layer(attention->parts, first->left) : std::nullopt;
  const int64_t hidden = second->weight.numel();
  if (!parts || hidden % lanes != 0 || first->weight.numel() != hidden || parts->first.size(0) != 3 * hidden || parts->first.size(1) != hidden ||
      mixing->first.size(0) != hidden || outer->first.size(0) != hidden || hidden % attention->heads.toInt() != 0) {
    return 0;
  }
  torch::jit::WithInsertPoint here(node);
  std::vector<torch::jit::Value *> constants;
  int64_t saved = 0;
  auto add_layer = [&](const std::pair<at::Tensor, at::Tensor> &layer) {
    constants.push_back(graph.insertConstant(packed_weight(layer.first)));
    constants.push_back(graph.insertConstant(layer.second));
    saved += 2 * layer.first.numel();
  };
  auto add_norm = [&](const SumNorm &norm) {
    constants.push_back(graph.insertConstant(norm.weight));
    constants.push_back(graph.insertConstant(norm.bias));
  };
  add_layer(*parts);
  add_layer(*mixing);
  add_norm(*first);
  add_layer(*inner);
  add_layer(*outer);
  add_norm(*second);
  torch::jit::Value *list = graph.insertNode(graph.createList(c10::TensorType::get(), constants))->output();
  node->output()->replaceAllUsesWith(
      graph.insert(symbol("kefu::encoder_layer"), {first->left, attention->mask, list, attention->heads, first->epsilon, second->epsilon}));
  return saved;
}

/// Replaces what can be computed faster in a frozen graph. Gives the bytes by which its constants became fewer.
int64_t rewrite(torch::jit::Graph &graph, bool bfloat16) {
  int64_t saved = 0;
  auto with_each_node = [&](auto body) {
    std::vector<torch::jit::Node *> nodes;
    for (torch::jit::Node *node : graph.nodes()) nodes.push_back(node);
    for (torch::jit::Node *node : nodes) body(node);
    torch::jit::EliminateDeadCode(graph.block());
  };
  // The large ones first: what is left of them is no pattern for the small ones any more.
  with_each_node([&](torch::jit::Node *node) {
    rewrite_mirror(graph, node);
    rewrite_bidirectional_gru(graph, node);
    if (bfloat16) saved += rewrite_encoder_layer(graph, node);
  });
  with_each_node([&](torch::jit::Node *node) {
    rewrite_gru(graph, node);
    rewrite_norm(graph, node);
  });
  if (bfloat16) with_each_node([&](torch::jit::Node *node) { saved += rewrite_linear(graph, node); });
  return saved;
}

}  // namespace
