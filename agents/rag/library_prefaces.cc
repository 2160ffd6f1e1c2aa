#include "agents/rag/library_prefaces.h"

#include <utility>

#include "agents/rag/neutral_text.h"

namespace kvcommons {

Result<LibraryPrefaces> LibraryPrefacesOf(const Engine& engine, const PromptFormat& format) {
  auto sinks = PromptFormat::Sinks(engine);
  if (!sinks) return Fail(sinks.error());
  LibraryPrefaces prefaces;
  prefaces.sink_tokens = std::move(*sinks);
  prefaces.system_tokens = format.opening();
  prefaces.prefaces = kLibraryPrefaces;
  prefaces.passages_per_preface = kLibraryPassages;
  prefaces.preface_tokens = kLibraryPrefaceTokens;
  for (const std::string_view text : NeutralPassages()) {
    auto tokens = format.Passage(engine, text);
    if (!tokens) return Fail(tokens.error());
    prefaces.neutral.push_back(std::move(*tokens));
  }
  return prefaces;
}

}  // namespace kvcommons
