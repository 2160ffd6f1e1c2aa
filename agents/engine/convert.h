// A copy of a GGUF file with its weights as fp32 or fp16.
//
// What it is for: exact comparisons (fp32 weights, fp32 KV, no flash attention) and machines where
// quantised weights are slow. Metadata is kept; only general.file_type changes.
// The target appears whole or not at all. Refused: a target that exists, types that ggml cannot
// read.
//
// Thread safety: pure function of its files.

#pragma once

#include <string>

#include "base/status.h"

namespace kvcommons {

enum class WeightType { kFp32, kFp16 };

Status ConvertWeights(const std::string& source, const std::string& target, WeightType type);

}  // namespace kvcommons
