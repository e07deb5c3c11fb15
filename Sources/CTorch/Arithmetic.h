// What the kernels compute with. Included by them alone.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

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

/// erf(x) within 7e-8: the rational function of XLA and Eigen, which is that of [-4, 4] beyond it.
__attribute__((always_inline)) inline float error_function(float x) {
  x = x < -4.0F ? -4.0F : x > 4.0F ? 4.0F : x;
  float square = x * x;
  float over = -2.72614225801306e-10F;
  over = over * square + 2.77068142495902e-8F;
  over = over * square - 2.10102402082508e-6F;
  over = over * square - 5.69250639462346e-5F;
  over = over * square - 7.34990630326855e-4F;
  over = over * square - 2.95459980854025e-3F;
  over = over * square - 1.60960333262415e-2F;
  float under = -1.45660718464996e-5F;
  under = under * square - 2.13374055278905e-4F;
  under = under * square - 1.68282697438203e-3F;
  under = under * square - 7.37332916720468e-3F;
  under = under * square - 1.42647390514189e-2F;
  return x * over / under;
}

/// The nearest bfloat16, of two as near the even one; what is no number stays so.
__attribute__((always_inline)) inline uint16_t rounded(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return uint16_t(x == x ? nearest : 0x7FC0);
}

/// Numbers that are added up side by side: compilers do not reorder a sum of single ones.
constexpr int64_t lanes = 16;
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
/// The same at any address.
typedef float LooseLanes __attribute__((vector_size(lanes * sizeof(float)), aligned(alignof(float)), may_alias));

__attribute__((always_inline)) inline const LooseLanes &loaded(const float *from) { return *reinterpret_cast<const LooseLanes *>(from); }

__attribute__((always_inline)) inline float total(const Lanes &parts) {
  float sum = 0.0F;
  for (int64_t i = 0; i < lanes; ++i) sum += parts[i];
  return sum;
}

}  // namespace
