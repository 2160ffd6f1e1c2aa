// The prefaces of this application's library: the system prompt that its prompts begin with, and
// fixed public text. What `rag`, `library` and a server put documents behind, so that they share
// rows.
//
// Trap: they name the library. A changed word makes every prepared row of it a miss.
//
// Thread safety: pure functions over an engine's tokenizer.

#pragma once

#include "agents/engine/llama_engine.h"
#include "agents/rag/prompt_format.h"
#include "client/library.h"

namespace kvcommons {

// Of variants mean and near: eight prefaces of three neutral passages, each cut to 128 tokens.
inline constexpr std::uint32_t kLibraryPrefaces = 8;
inline constexpr std::uint32_t kLibraryPassages = 3;
inline constexpr std::uint32_t kLibraryPrefaceTokens = 128;

Result<LibraryPrefaces> LibraryPrefacesOf(const Engine& engine, const PromptFormat& format);

}  // namespace kvcommons
