#pragma once
// TorchScript behind an opaque C header. (skeleton; see the Torch brief)
#ifdef __cplusplus
extern "C" {
#endif
const char *ctorch_version(void);
#ifdef __cplusplus
}
#endif
