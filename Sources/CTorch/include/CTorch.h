#pragma once

/// TorchScript behind plain C: no type of C++ or of libtorch is named here.
///
/// Every function that can fail returns a `ctorch_code` and, unless that is `CTORCH_OK`, stores a message in `*message`, for the
/// caller to free with `ctorch_string_free`; the message is NULL where there was no memory for it. No C++ exception leaves a function.
/// No function keeps a pointer that it was given.

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What became of a call.
typedef enum ctorch_code {
  CTORCH_OK = 0,
  /// An argument is out of its range.
  CTORCH_INVALID_ARGUMENT = 1,
  /// There is no readable file at the path.
  CTORCH_FILE_NOT_FOUND = 2,
  /// The file is not a TorchScript archive, or a damaged one.
  CTORCH_NOT_TORCHSCRIPT = 3,
  /// The model does not take or return what was asked for.
  CTORCH_WRONG_SIGNATURE = 4,
  /// Memory ran out, of the host or of the device.
  CTORCH_OUT_OF_MEMORY = 5,
  /// The device, or the precision on this device, is not available.
  CTORCH_DEVICE_UNAVAILABLE = 6,
  /// The model itself failed.
  CTORCH_MODEL_FAILED = 7,
  /// Anything else that libtorch reports.
  CTORCH_FAILED = 8,
} ctorch_code;

/// The element type that parameters are converted to when a module is loaded.
typedef enum ctorch_precision {
  CTORCH_FLOAT32 = 0,
  /// On a CPU only where it computes in bfloat16 (AMX-BF16 or AVX512-BF16).
  CTORCH_BFLOAT16 = 1,
  /// On a GPU only.
  CTORCH_FLOAT16 = 2,
} ctorch_precision;

/// A loaded module. Not bound to a thread. Several threads may run forward passes on one module at the same time.
typedef struct ctorch_module ctorch_module;

/// What one forward pass gave.
typedef struct ctorch_outputs ctorch_outputs;

/// Frees a message.
void ctorch_string_free(char *message);

/// The version of libtorch, such as "2.13.0". Static.
const char *ctorch_version(void);

/// Sets how many threads compute one forward pass (>= 1). Every calling thread has a team of its own and takes the new number at its
/// next forward pass.
ctorch_code ctorch_set_intra_op_threads(int32_t count, char **message);

/// How many threads compute one forward pass of the calling thread.
int32_t ctorch_intra_op_threads(void);

/// Sets how many threads run `torch.jit.fork` branches (>= 1). Once a process, before the first of them runs.
ctorch_code ctorch_set_inter_op_threads(int32_t count, char **message);

/// How many threads run `torch.jit.fork` branches.
int32_t ctorch_inter_op_threads(void);

/// Whether modules can be loaded to a device and compute there in a precision. Loads nothing. CTORCH_DEVICE_UNAVAILABLE says why not.
ctorch_code ctorch_device_check(const char *device, ctorch_precision precision, char **message);

/// Whether CPU forward passes may be asked for in this precision.
bool ctorch_cpu_supports(ctorch_precision precision);

/// Whether the CPU multiplies matrices in bfloat16 much faster than in float32: it has AMX-BF16.
bool ctorch_cpu_prefers_bfloat16(void);

/// Bounds what the process may allocate on each GPU to `fraction` (0 < fraction <= 1) of its memory: what is over it fails with
/// CTORCH_OUT_OF_MEMORY. Once a process, before the first module is loaded to a GPU. CTORCH_DEVICE_UNAVAILABLE in a libtorch without CUDA.
ctorch_code ctorch_limit_gpu_memory(double fraction, char **message);

/// Loads a TorchScript file.
///
/// Floating-point parameters, buffers and other tensor attributes are converted to `precision`, whatever the file stores. On a CPU, CTORCH_BFLOAT16 is that of
/// the products of linear layers alone, with float32 sums; all else, and layers of fewer than 64 outputs, stay float32. A module that cannot be frozen, such
/// as one that writes its own attributes, stays float32 as a whole there.
/// - device: "cpu", or "cuda" or "cuda:N" in a libtorch with CUDA.
/// - inputs, outputs: how many tensors `forward` must take and return. What the file itself does not say (a module without return
///   annotation) is checked by `ctorch_module_forward`.
/// On success `*module` is the caller's, to free with `ctorch_module_free`.
ctorch_code ctorch_module_load(const char *path, const char *device, ctorch_precision precision, int32_t inputs, int32_t outputs,
                               ctorch_module **module, char **message);

/// Bytes of all parameters, buffers and other tensor attributes, as converted; a tensor that several of them share counts once.
int64_t ctorch_module_bytes(const ctorch_module *module);

/// How many operators of a name, such as `aten::linear`, a forward pass of the module calls, as it was rewritten when it was loaded; those inside conditions,
/// loops and modules that could not be frozen are not counted. 0 for a name that is no operator's.
int64_t ctorch_module_operator_count(const ctorch_module *module, const char *name);

/// Frees a module, and gives its memory back to the system or the GPU. No forward pass of it may be under way. NULL is allowed.
void ctorch_module_free(ctorch_module *module);

/// Runs `forward` on int64 tensors.
///
/// On a GPU the call has a stream of the calling thread's own, so that threads do not wait for each other; inputs and outputs go through
/// page-locked memory. It returns when the GPU has done all of it, whether it failed or not. After CTORCH_OUT_OF_MEMORY the memory that
/// libtorch keeps for later is given back to the GPU; a smaller batch may pass. An index beyond a table of the model is an assertion of the
/// GPU, after which every later call of the process fails: what may be one is to be tried on a CPU first.
///
/// - data: `count` pointers to elements in row-major order. They are read during the call and never written.
/// - ranks: `count` ranks, each 1 to 8. - dimensions: the dimensions (>= 1) of all inputs, one after the other.
/// On success `*outputs` holds the floating-point results, the caller's, to free with `ctorch_outputs_free`.
ctorch_code ctorch_module_forward(ctorch_module *module, const int64_t *const *data, const int32_t *ranks, const int64_t *dimensions,
                                  int32_t count, ctorch_outputs **outputs, char **message);

/// How many dimensions an output has. `index` is in 0 ..< outputs of the module.
int32_t ctorch_output_rank(const ctorch_outputs *outputs, int32_t index);

/// One dimension of an output. `axis` is in 0 ..< rank.
int64_t ctorch_output_dimension(const ctorch_outputs *outputs, int32_t index, int32_t axis);

/// Copies an output in row-major order to `count` floats; `count` is the product of its dimensions.
ctorch_code ctorch_output_copy(const ctorch_outputs *outputs, int32_t index, float *destination, int64_t count, char **message);

/// Frees outputs. NULL is allowed.
void ctorch_outputs_free(ctorch_outputs *outputs);

#ifdef __cplusplus
}
#endif
