// Self-contained C++20: `clang++ -std=c++20 -O2 -shared -fPIC` (or g++) builds it against any libtorch of the same version (see CONTRIBUTING.md).
#include "CTorch.h"
#include "Rewriting.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <torch/cuda.h>
#include <torch/script.h>
#include <torch/version.h>

#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

struct ctorch_module {
  torch::jit::Module module;
  torch::Device device = torch::kCPU;
  size_t inputs = 0;
  size_t outputs = 0;
  /// The model writes to one of its inputs: it gets copies, so that the caller's memory stays as it is.
  bool writes_inputs = false;
  int64_t bytes = 0;
};

struct ctorch_outputs {
  std::vector<at::Tensor> tensors;
};

namespace {

/// A failure with a code of ours.
struct Failure {
  ctorch_code code;
  std::string message;
};

char *copied(const char *text) noexcept { return text ? strdup(text) : nullptr; }

/// Whether libtorch's words are about memory. Its CPU allocator reports that with the class of any other error, cuBLAS and cuDNN by the name of
/// a status, and TorchScript's interpreter turns whatever a model throws into a std::runtime_error.
bool about_memory(const char *text) noexcept {
  for (const char *words : {"can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED", "ALLOCATION_FAILED"}) {
    if (strstr(text, words)) return true;
  }
  return false;
}

/// Runs `body` and turns whatever it throws into a code and a message; `otherwise` is the code of an error without a code of its own.
template <typename Body>
ctorch_code guarded(char **message, ctorch_code otherwise, Body body) noexcept {
  const char *text = "";
  auto report = [&](ctorch_code code, const char *what) noexcept {
    *message = copied(what);
    return about_memory(what) ? CTORCH_OUT_OF_MEMORY : code;
  };
  *message = nullptr;
  try {
    body();
    return CTORCH_OK;
  } catch (const Failure &failure) {
    *message = copied(failure.message.c_str());
    return failure.code;
  } catch (const c10::OutOfMemoryError &error) {
    return report(CTORCH_OUT_OF_MEMORY, error.what_without_backtrace());
  } catch (const c10::Error &error) {
    return report(otherwise, error.what_without_backtrace());
  } catch (const std::bad_alloc &) {
    return report(CTORCH_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception &error) {
    return report(otherwise, error.what());
  } catch (...) {
    text = "an error that is no std::exception";
  }
  return report(otherwise, text);
}

// MARK: Threads

std::mutex thread_mutex;
/// The number that was asked for; 0: libtorch's default. A thread takes it before its next forward pass.
std::atomic<int32_t> intra_op_threads{0};

/// Gives the calling thread's team the number of threads that was asked for. (libtorch keeps that number by thread.)
void apply_intra_op_threads() {
  thread_local int32_t applied = 0;
  int32_t wanted = intra_op_threads.load(std::memory_order_relaxed);
  if (applied == wanted) return;
  std::lock_guard lock(thread_mutex);
  at::set_num_threads(wanted);
  applied = wanted;
}

// MARK: GPU

/// A stream of the calling thread's own on a GPU. (It comes from libtorch's pool of 32, which owns it; more threads than that share.)
c10::Stream own_stream(torch::Device device) {
  thread_local std::map<c10::DeviceIndex, c10::Stream> streams;
  auto found = streams.find(device.index());
  if (found == streams.end()) {
    at::globalContext().lazyInitDevice(device.type());
    found = streams.emplace(device.index(), c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device)).first;
  }
  return found->second;
}

/// Gives what libtorch keeps for later back to the GPU; the work of other threads goes on.
void give_back_memory(torch::Device device) { c10::getDeviceAllocator(device.type())->emptyCache(); }

/// Runs `body` on the calling thread's own stream, and returns when the GPU has done all of it, whether it fails or not: no memory that it used is
/// given to another stream while the GPU still works on it. On a CPU it just runs.
template <typename Body>
void on_own_stream(torch::Device device, Body body) {
  if (device.is_cpu()) {
    body();
    return;
  }
  c10::StreamGuard guard(own_stream(device));
  auto settle = [&](bool memory) noexcept {
    try {
      own_stream(device).synchronize();
      if (memory) give_back_memory(device);
    } catch (...) {
      // What comes first is reported: this is a consequence.
    }
  };
  try {
    body();
    // What went wrong on the GPU itself comes to light here.
    own_stream(device).synchronize();
  } catch (const c10::Error &error) {
    settle(about_memory(error.what_without_backtrace()));
    throw;
  } catch (const std::exception &error) {
    settle(about_memory(error.what()));
    throw;
  } catch (...) {
    settle(false);
    throw;
  }
}

// MARK: Loading

/// Whether this libtorch has code for GPUs. (at::hasCUDA() also asks for a GPU.)
bool built_with_cuda() { return at::globalContext().hasCUDART(); }

torch::Device parsed_device(const std::string &name) {
  torch::Device device(torch::kCPU);
  try {
    device = torch::Device(name);
  } catch (const c10::Error &) {
    throw Failure{CTORCH_DEVICE_UNAVAILABLE, "'" + name + "' is no device; expected cpu, cuda or cuda:N"};
  }
  if (device.is_cpu()) return device;
  if (!device.is_cuda()) throw Failure{CTORCH_DEVICE_UNAVAILABLE, "device '" + name + "' is not supported; expected cpu, cuda or cuda:N"};
  if (!torch::cuda::is_available()) {
    std::string why = built_with_cuda() ? "no GPU or no driver for it is found" : "this libtorch (" TORCH_VERSION ") was built without CUDA";
    throw Failure{CTORCH_DEVICE_UNAVAILABLE, "device '" + name + "' is not available: " + why};
  }
  int count = torch::cuda::device_count();
  if (!device.has_index()) device.set_index(0);
  if (device.index() >= count) {
    throw Failure{CTORCH_DEVICE_UNAVAILABLE, "device '" + name + "' is not available: this machine has " + std::to_string(count) + " GPU(s), counted from 0"};
  }
  return device;
}

bool cpu_has(const char *capability) {
  auto capabilities = at::cpu::get_cpu_capabilities();
  auto found = capabilities.find(capability);
  return found != capabilities.end() && found->second.isBool() && found->second.toBool();
}

bool cpu_computes_bfloat16() { return cpu_has("amx_bf16") || cpu_has("avx512_bf16"); }

at::ScalarType element_type(ctorch_precision precision, torch::Device device) {
  switch (precision) {
    case CTORCH_FLOAT32:
      return torch::kFloat32;
    case CTORCH_BFLOAT16:
      if (device.is_cpu() && !cpu_computes_bfloat16()) {
        throw Failure{CTORCH_DEVICE_UNAVAILABLE, "this CPU does not compute in bfloat16; expected AMX-BF16 or AVX512-BF16, or precision float32"};
      }
      return torch::kBFloat16;
    case CTORCH_FLOAT16:
      if (device.is_cpu()) throw Failure{CTORCH_DEVICE_UNAVAILABLE, "float16 is for GPUs; expected precision float32 or bfloat16 on a CPU"};
      return torch::kFloat16;
  }
  throw Failure{CTORCH_INVALID_ARGUMENT, "there is no precision " + std::to_string(static_cast<int>(precision))};
}

/// Refuses what is not a readable file that starts as a TorchScript archive (a zip) does, with the reason that a person can act on.
void check_file(const std::string &path) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path.c_str(), "rb"), fclose);
  if (!file) throw Failure{CTORCH_FILE_NOT_FOUND, path + ": " + strerror(errno)};
  char start[4] = {};
  size_t got = fread(start, 1, sizeof start, file.get());
  if (ferror(file.get())) throw Failure{CTORCH_FILE_NOT_FOUND, path + ": " + strerror(errno)};
  if (got == 0) throw Failure{CTORCH_NOT_TORCHSCRIPT, path + ": the file is empty; expected a TorchScript archive"};
  if (got < sizeof start || memcmp(start, "PK\3\4", sizeof start) != 0) {
    throw Failure{CTORCH_NOT_TORCHSCRIPT, path + ": not a zip file; expected a TorchScript archive, as torch.jit.save writes it"};
  }
}

/// Converts every floating-point tensor that a module holds, in attributes of any depth, and adds up the bytes of all of them.
/// Tensors that share memory in the file share it afterwards.
class Conversion {
 public:
  explicit Conversion(at::ScalarType type) : type_(type) {}

  int64_t bytes() const { return bytes_; }

  void convert(const c10::intrusive_ptr<c10::ivalue::Object> &object) {
    if (!seen_.insert(object.get()).second) return;
    for (size_t i = 0; i < object->slots().size(); ++i) {
      const c10::IValue &old = object->getSlot(i);
      if (old.isTensor()) {
        object->setSlot(i, converted(old.toTensor()));
      } else {
        convert_inside(old);
      }
    }
  }

 private:
  using Identity = std::tuple<const void *, int64_t, std::vector<int64_t>, std::vector<int64_t>, at::ScalarType>;

  void convert_inside(const c10::IValue &value) {
    if (value.isObject()) {
      convert(value.toObject());
    } else if (value.isList()) {
      auto list = value.toList();
      for (size_t i = 0; i < list.size(); ++i) {
        c10::IValue element = list.get(i);
        if (element.isTensor()) {
          list.set(i, converted(element.toTensor()));
        } else {
          convert_inside(element);
        }
      }
    } else if (value.isGenericDict()) {
      auto dictionary = value.toGenericDict();
      for (auto &entry : dictionary) {
        if (entry.value().isTensor()) {
          dictionary.insert_or_assign(entry.key(), converted(entry.value().toTensor()));
        } else {
          convert_inside(entry.value());
        }
      }
    }
  }

  at::Tensor converted(const at::Tensor &tensor) {
    if (!tensor.defined()) return tensor;
    if (!tensor.is_floating_point() || tensor.scalar_type() == type_ || tensor.is_quantized()) {
      if (tensor.has_storage() && counted_.insert(tensor.storage().unsafeGetStorageImpl()).second) bytes_ += int64_t(tensor.storage().nbytes());
      return tensor;
    }
    Identity identity{tensor.storage().data(), tensor.storage_offset(), tensor.sizes().vec(), tensor.strides().vec(), tensor.scalar_type()};
    auto found = done_.find(identity);
    if (found != done_.end()) return found->second.second;
    at::Tensor result = tensor.detach().to(type_);
    bytes_ += int64_t(result.storage().nbytes());
    counted_.insert(result.storage().unsafeGetStorageImpl());
    done_.emplace(std::move(identity), std::pair(tensor, result));
    return result;
  }

  at::ScalarType type_;
  int64_t bytes_ = 0;
  std::set<const void *> seen_;
  std::set<const void *> counted_;
  /// From the old tensor, which is kept so that its address names it alone, to the new one.
  std::map<Identity, std::pair<at::Tensor, at::Tensor>> done_;
};

/// Refuses a module whose `forward` cannot take `inputs` tensors or, as far as its types say, does not return `outputs` of them.
void check_signature(const ctorch_module &loaded, const std::string &path) {
  auto method = loaded.module.find_method("forward");
  if (!method) throw Failure{CTORCH_WRONG_SIGNATURE, path + ": the module has no method 'forward'"};
  const auto &schema = method->function().getSchema();
  auto refuse = [&](const std::string &expected) {
    throw Failure{CTORCH_WRONG_SIGNATURE, path + ": expected forward to " + expected + "; the file has " + c10::toString(schema)};
  };
  const auto &arguments = schema.arguments();
  std::string taken = "take " + std::to_string(loaded.inputs) + " tensor(s)";
  if (arguments.size() < loaded.inputs + 1) refuse(taken);
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (i <= loaded.inputs ? !c10::TensorType::get()->isSubtypeOf(*arguments[i].type()) : !arguments[i].default_value()) refuse(taken);
  }
  std::string returned = "return " + std::to_string(loaded.outputs) + " tensor(s)";
  if (schema.returns().size() != 1) refuse(returned);
  const auto &type = schema.returns()[0].type();
  if (auto tuple = type->cast<c10::TupleType>()) {
    if (tuple->elements().size() != loaded.outputs) refuse(returned);
    for (const auto &element : tuple->elements()) {
      if (!element->isSubtypeOf(*c10::TensorType::get())) refuse(returned);
    }
  } else if (type->isSubtypeOf(*c10::TensorType::get())) {
    if (loaded.outputs != 1) refuse(returned);
  } else if (!type->isSubtypeOf(*c10::ListType::ofTensors())) {
    refuse(returned);
  }
}

/// Whether `forward` may write to an input.
bool writes_inputs(const torch::jit::Module &module) {
  auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  torch::jit::AliasDb aliases(graph);
  for (size_t i = 1; i < graph->inputs().size(); ++i) {
    if (aliases.hasWriters(graph->inputs()[i])) return true;
  }
  return false;
}

// MARK: Forward

std::vector<at::Tensor> tensors_of(const c10::IValue &value, size_t expected) {
  std::vector<at::Tensor> tensors;
  if (value.isTensor()) {
    tensors.push_back(value.toTensor());
  } else if (value.isTuple()) {
    for (const auto &element : value.toTupleRef().elements()) {
      if (!element.isTensor()) throw Failure{CTORCH_WRONG_SIGNATURE, "forward returned a tuple with an element of type " + element.tagKind() + "; expected tensors"};
      tensors.push_back(element.toTensor());
    }
  } else if (value.isTensorList()) {
    tensors = value.toTensorVector();
  } else {
    throw Failure{CTORCH_WRONG_SIGNATURE, "forward returned a value of type " + value.tagKind() + "; expected tensors"};
  }
  if (tensors.size() != expected) {
    throw Failure{CTORCH_WRONG_SIGNATURE, "forward returned " + std::to_string(tensors.size()) + " tensor(s); expected " + std::to_string(expected)};
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor &tensor = tensors[i];
    if (!tensor.defined() || !tensor.is_floating_point() || tensor.layout() != at::kStrided) {
      std::string type = tensor.defined() ? c10::toString(tensor.scalar_type()) : "undefined";
      throw Failure{CTORCH_WRONG_SIGNATURE, "output " + std::to_string(i) + " has element type " + type + "; expected a dense floating-point tensor"};
    }
  }
  return tensors;
}

/// The tensor on a GPU, copied through page-locked memory: libtorch keeps that memory until the copy is done.
at::Tensor uploaded(const at::Tensor &tensor, torch::Device device) {
  at::Tensor staged = torch::empty(tensor.sizes(), tensor.options().pinned_memory(true)).copy_(tensor);
  return staged.to(device, /*non_blocking=*/true);
}

/// Results in page-locked memory of the host, as float32. The copies are done when the stream is.
void download(std::vector<at::Tensor> &tensors) {
  for (at::Tensor &tensor : tensors) {
    auto options = torch::TensorOptions().dtype(torch::kFloat32).pinned_memory(true);
    tensor = torch::empty(tensor.sizes(), options).copy_(tensor.to(torch::kFloat32).contiguous(), /*non_blocking=*/true);
  }
}

/// Runs on every thread before it computes: no profiling and no recompilation by shape, which would stall the first calls.
struct Inference {
  c10::InferenceMode mode;
  torch::jit::GraphOptimizerEnabledGuard optimizer{false};
};

/// The module with its weights as constants of its graph; nothing where it cannot be frozen, such as one that replaces its own parts. Freezing inlines
/// methods with the optimizer on, which is the calling thread's setting alone.
std::optional<torch::jit::Module> frozen(const torch::jit::Module &module) {
  torch::jit::GraphOptimizerEnabledGuard optimizer{true};
  try {
    return torch::jit::freeze(module, std::nullopt, /*optimize_numerics=*/false);
  } catch (const c10::Error &) {
    return std::nullopt;
  }
}

void configure_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    torch::jit::getProfilingMode() = false;
    torch::jit::setGraphExecutorOptimize(false);
#ifdef __GLIBC__
    // Tensors of megabytes come and go with each operator. By default malloc gives such memory back to the system at once, and each page of it is a fault at its
    // next use (38,000 of them in a pass of 32 x 64 tokens).
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
  });
}

}  // namespace

// MARK: Entry points

void ctorch_string_free(char *message) { free(message); }

const char *ctorch_version(void) { return TORCH_VERSION; }

ctorch_code ctorch_set_intra_op_threads(int32_t count, char **message) {
  return guarded(message, CTORCH_FAILED, [&] {
    if (count < 1) throw Failure{CTORCH_INVALID_ARGUMENT, "the number of intra-op threads is " + std::to_string(count) + "; expected at least 1"};
    intra_op_threads.store(count, std::memory_order_relaxed);
    apply_intra_op_threads();
  });
}

int32_t ctorch_intra_op_threads(void) {
  int32_t count = 0;
  char *message = nullptr;
  guarded(&message, CTORCH_FAILED, [&] {
    int32_t wanted = intra_op_threads.load(std::memory_order_relaxed);
    count = wanted > 0 ? wanted : at::get_num_threads();
  });
  free(message);
  return count;
}

ctorch_code ctorch_set_inter_op_threads(int32_t count, char **message) {
  return guarded(message, CTORCH_FAILED, [&] {
    if (count < 1) throw Failure{CTORCH_INVALID_ARGUMENT, "the number of inter-op threads is " + std::to_string(count) + "; expected at least 1"};
    at::set_num_interop_threads(count);
  });
}

int32_t ctorch_inter_op_threads(void) {
  int32_t count = 0;
  char *message = nullptr;
  guarded(&message, CTORCH_FAILED, [&] { count = int32_t(at::get_num_interop_threads()); });
  free(message);
  return count;
}

ctorch_code ctorch_limit_gpu_memory(double fraction, char **message) {
  return guarded(message, CTORCH_FAILED, [&] {
    if (!(fraction > 0 && fraction <= 1)) {
      throw Failure{CTORCH_INVALID_ARGUMENT, "the share of GPU memory is " + std::to_string(fraction) + "; expected more than 0, at most 1"};
    }
    if (!built_with_cuda()) throw Failure{CTORCH_DEVICE_UNAVAILABLE, "this libtorch (" TORCH_VERSION ") was built without CUDA: there is no GPU memory to bound"};
    // Settings replace each other, so those of PYTORCH_ALLOC_CONF are given again; of one that is there twice the last holds.
    std::string settings = c10::CachingAllocator::getAllocatorSettings();
    if (!settings.empty()) settings += ",";
    c10::CachingAllocator::setAllocatorSettings(settings + "per_process_memory_fraction:" + std::to_string(fraction));
  });
}

ctorch_code ctorch_device_check(const char *device, ctorch_precision precision, char **message) {
  return guarded(message, CTORCH_FAILED, [&] { element_type(precision, parsed_device(device)); });
}

bool ctorch_cpu_supports(ctorch_precision precision) {
  char *message = nullptr;
  ctorch_code code = guarded(&message, CTORCH_FAILED, [&] { element_type(precision, torch::kCPU); });
  free(message);
  return code == CTORCH_OK;
}

bool ctorch_cpu_prefers_bfloat16(void) {
  bool prefers = false;
  char *message = nullptr;
  guarded(&message, CTORCH_FAILED, [&] { prefers = cpu_has("amx_bf16"); });
  free(message);
  return prefers;
}

ctorch_code ctorch_module_load(const char *path, const char *device, ctorch_precision precision, int32_t inputs, int32_t outputs,
                               ctorch_module **module, char **message) {
  *module = nullptr;
  return guarded(message, CTORCH_FAILED, [&] {
    if (inputs < 1 || outputs < 1) throw Failure{CTORCH_INVALID_ARGUMENT, "a module takes and returns at least one tensor"};
    configure_once();
    auto loaded = std::make_unique<ctorch_module>();
    loaded->device = parsed_device(device);
    loaded->inputs = size_t(inputs);
    loaded->outputs = size_t(outputs);
    at::ScalarType type = element_type(precision, loaded->device);
    std::string file = path;
    check_file(file);
    // Uploads and conversions are done when this returns: other threads' streams may use the module at once.
    on_own_stream(loaded->device, [&] {
      char *reason = nullptr;
      ctorch_code read = guarded(&reason, CTORCH_NOT_TORCHSCRIPT, [&] { loaded->module = torch::jit::load(file, loaded->device); });
      std::unique_ptr<char, void (*)(void *)> owned(reason, free);
      if (read == CTORCH_OUT_OF_MEMORY) throw Failure{read, file + ": there is no memory for it: " + (reason ? reason : "")};
      if (read != CTORCH_OK) throw Failure{read, file + ": not a TorchScript archive that libtorch " TORCH_VERSION " can read: " + (reason ? reason : "")};
      loaded->module.eval();
      check_signature(*loaded, file);
      loaded->writes_inputs = writes_inputs(loaded->module);
      torch::NoGradGuard no_gradient;
      auto convert = [&](at::ScalarType to) {
        Conversion conversion(to);
        conversion.convert(loaded->module._ivalue());
        loaded->bytes = conversion.bytes();
      };
      // On a CPU only what is multiplied is rounded to bfloat16.
      convert(loaded->device.is_cpu() ? torch::kFloat32 : type);
      if (std::optional<torch::jit::Module> constant = frozen(loaded->module)) {
        loaded->module = *constant;
        if (loaded->device.is_cpu()) loaded->bytes -= rewrite(*loaded->module.get_method("forward").graph(), type == torch::kBFloat16);
      } else if (loaded->device.is_cpu()) {
        convert(type);
      }
    });
    if (!loaded->device.is_cpu()) give_back_memory(loaded->device);
#ifdef __GLIBC__
    // What the file's own precision took is free now: give it back to the system.
    malloc_trim(0);
#endif
    *module = loaded.release();
  });
}

int64_t ctorch_module_bytes(const ctorch_module *module) { return module->bytes; }

int64_t ctorch_module_operator_count(const ctorch_module *module, const char *name) {
  int64_t count = 0;
  char *message = nullptr;
  guarded(&message, CTORCH_FAILED, [&] {
    const c10::Symbol kind = c10::Symbol::fromQualString(name);
    for (const torch::jit::Node *node : module->module.get_method("forward").graph()->nodes()) count += node->kind() == kind ? 1 : 0;
  });
  free(message);
  return count;
}

void ctorch_module_free(ctorch_module *module) {
  char *message = nullptr;
  guarded(&message, CTORCH_FAILED, [&] {
    torch::Device device = module ? module->device : torch::kCPU;
    delete module;
    if (!device.is_cpu()) give_back_memory(device);
  });
  free(message);
#ifdef __GLIBC__
  // Where models come and go, what one took is given back to the system rather than kept for the next.
  malloc_trim(0);
#endif
}

ctorch_code ctorch_module_forward(ctorch_module *module, const int64_t *const *data, const int32_t *ranks, const int64_t *dimensions,
                                  int32_t count, ctorch_outputs **outputs, char **message) {
  *outputs = nullptr;
  return guarded(message, CTORCH_MODEL_FAILED, [&] {
    if (count != int32_t(module->inputs)) {
      throw Failure{CTORCH_INVALID_ARGUMENT, "got " + std::to_string(count) + " input(s); expected " + std::to_string(module->inputs)};
    }
    apply_intra_op_threads();
    Inference inference;
    const torch::Device device = module->device;
    auto result = std::make_unique<ctorch_outputs>();
    on_own_stream(device, [&] {
      std::vector<c10::IValue> stack;
      stack.reserve(size_t(count) + 1);
      for (int32_t i = 0; i < count; ++i) {
        if (ranks[i] < 1 || ranks[i] > 8) throw Failure{CTORCH_INVALID_ARGUMENT, "input " + std::to_string(i) + " has rank " + std::to_string(ranks[i]) + "; expected 1 to 8"};
        at::IntArrayRef shape(dimensions, size_t(ranks[i]));
        for (int64_t dimension : shape) {
          if (dimension < 1) throw Failure{CTORCH_INVALID_ARGUMENT, "input " + std::to_string(i) + " has an empty dimension; expected at least 1"};
        }
        dimensions += ranks[i];
        // from_blob takes no const pointer; a model that would write gets a copy.
        at::Tensor tensor = torch::from_blob(const_cast<int64_t *>(data[i]), shape, torch::kInt64);
        if (!device.is_cpu()) {
          tensor = uploaded(tensor, device);
        } else if (module->writes_inputs) {
          tensor = tensor.clone();
        }
        stack.emplace_back(std::move(tensor));
      }
      result->tensors = tensors_of(module->module.forward(std::move(stack)), module->outputs);
      if (!device.is_cpu()) download(result->tensors);
    });
    *outputs = result.release();
  });
}

int32_t ctorch_output_rank(const ctorch_outputs *outputs, int32_t index) { return int32_t(outputs->tensors[size_t(index)].sizes().size()); }

int64_t ctorch_output_dimension(const ctorch_outputs *outputs, int32_t index, int32_t axis) {
  return outputs->tensors[size_t(index)].sizes()[size_t(axis)];
}

ctorch_code ctorch_output_copy(const ctorch_outputs *outputs, int32_t index, float *destination, int64_t count, char **message) {
  return guarded(message, CTORCH_FAILED, [&] {
    const at::Tensor &tensor = outputs->tensors[size_t(index)];
    if (tensor.numel() != count) {
      throw Failure{CTORCH_INVALID_ARGUMENT, "room for " + std::to_string(count) + " values; expected " + std::to_string(tensor.numel())};
    }
    if (count == 0) return;
    if (tensor.is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == torch::kFloat32) {
      memcpy(destination, tensor.const_data_ptr<float>(), size_t(count) * sizeof(float));
    } else {
      Inference inference;
      torch::from_blob(destination, tensor.sizes(), torch::kFloat32).copy_(tensor);
    }
  });
}

void ctorch_outputs_free(ctorch_outputs *outputs) {
  char *message = nullptr;
  guarded(&message, CTORCH_FAILED, [&] { delete outputs; });
  free(message);
}
