// Included before every C++ file of ggml's CPU code where the compiler is GCC older than 13.3. Its
// intrinsics tell the compiler that _tile_loadconfig reads 8 of the 64 bytes and _tile_loadd none
// (GCC bug 114098), so it drops or moves the stores that fill them, and the processor faults. The
// same instructions here, with what they read.
//
// Changes no source of llama.cpp; does nothing on processors other than x86-64.
#pragma once

#if defined(__x86_64__) && defined(__AMX_TILE__)
#include <immintrin.h>

static inline void kvcommons_tile_loadconfig(const void* config) {
  __asm__ volatile("ldtilecfg %0" ::"m"(*(const char(*)[64])config));
}
#define _tile_loadconfig(config) kvcommons_tile_loadconfig(config)

#undef _tile_loadd_internal
#define _tile_loadd_internal(dst, base, stride)                                 \
  __asm__ volatile("{tileloadd\t(%0,%1,1), %%tmm" #dst "|tileloadd\t%%tmm" #dst \
                   ", [%0+%1*1]}" ::"r"((const void*)(base)),                   \
                   "r"((long)(stride))                                          \
                   : "memory")
#endif
