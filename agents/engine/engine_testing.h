// What the engine's tests share: the model, an fp32 copy of it, golden vectors, rows as numbers.
//
// KVCOMMONS_MODEL names SmolLM2-135M-Instruct.Q4_1.gguf; without it these tests skip. Engines are
// opened once a test binary and cleared between tests.

#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

// Empty where KVCOMMONS_MODEL is unset.
std::string TestModel();
// The same weights as fp32, in a temporary folder that goes away with the process.
std::string TestModelFp32();

enum class TestEngine { kExact, kExactFlash, kExactSmallUbatch, kWorker, kByState, kExactByState };

// kExact: fp32 weights, fp32 KV, flash off: what the numpy oracle computes. kExactSmallUbatch: the
// same in ubatches of 16 rows. kExactFlash: with flash attention. kWorker: the Q4_1 file, fp16,
// flash. kByState and
// kExactByState: kWorker and kExact, rows by way of the state blob (values as rows, and
// transposed).
Engine& SharedEngine(TestEngine kind);

const nlohmann::json& Golden();

std::vector<TokenId> Ids(const nlohmann::json& json);

// Mean over rows of the Kullback-Leibler divergence of softmax(b) from softmax(a).
double Kl(std::span<const float> a, std::span<const float> b);

std::vector<float> Copy(std::span<const float> values);

// All rows [begin, begin + count) in the store's layout.
std::vector<std::byte> Rows(const Engine& engine, Position begin, std::uint32_t count);

// K (or V) of one token in a block of `count` tokens, as fp32.
std::vector<float> RowOf(const Engine& engine, const std::vector<std::byte>& block,
                         std::uint32_t count, std::uint32_t layer, bool value, std::uint32_t token);

// `tokens` is a text of the project's own, long enough for every test: 2,000 tokens or more.
const std::vector<TokenId>& LongText();

#define KVC_NEEDS_MODEL() \
  if (::kvcommons::TestModel().empty()) GTEST_SKIP() << "KVCOMMONS_MODEL names no model"

}  // namespace kvcommons
