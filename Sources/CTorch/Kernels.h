// Operators of ours that a rewritten graph calls on a CPU. Included by Rewriting.h alone.
#pragma once

#include "EncoderLayers.h"
#include "Recurrence.h"

#include <torch/library.h>

namespace {

TORCH_LIBRARY(kefu, library) {
  library.def("linear(Tensor input, Tensor weight, Tensor bias) -> Tensor");
  library.def("linear_gelu(Tensor input, Tensor weight, Tensor bias) -> Tensor");
  library.def("add_norm(Tensor left, Tensor right, Tensor weight, Tensor bias, float epsilon) -> Tensor");
  library.def("encoder_layer(Tensor input, Tensor mask, Tensor[] parts, int heads, float first_epsilon, float second_epsilon) -> Tensor");
  library.def("mirror(Tensor lengths, int steps) -> Tensor");
  library.def("gru(Tensor gates, Tensor weight, Tensor bias) -> Tensor");
  library.def("bidirectional_gru(Tensor gates, Tensor order, Tensor weight, Tensor bias, Tensor back_weight, Tensor back_bias) -> Tensor");
}

TORCH_LIBRARY_IMPL(kefu, CPU, library) {
  library.impl("linear", linear);
  library.impl("linear_gelu", linear_gelu);
  library.impl("add_norm", add_norm);
  library.impl("encoder_layer", encoder_layer);
  library.impl("mirror", mirror);
  library.impl("gru", gru);
  library.impl("bidirectional_gru", bidirectional_gru);
}

}  // namespace
