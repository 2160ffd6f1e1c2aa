// An engine, a daemon's session and this application's library, opened once for one or many
// prompts or preparations.
//
// Thread safety: none.

#pragma once

#include <memory>
#include <optional>

#include "agents/engine/commands.h"
#include "agents/rag/prompt_format.h"
#include "agents/rag/rag_session.h"
#include "base/clock.h"

namespace kvcommons {

class RagWorkbench {
 public:
  // Opens the model, runs its gate, and opens the library with the prefaces of LibraryPrefacesOf()
  // for this prompt.
  static Result<std::unique_ptr<RagWorkbench>> Open(const CommonOptions& options,
                                                    const PromptText& prompt);

  Engine& engine() { return *engine_; }
  const PromptFormat& format() const { return *format_; }
  ModelHandle& model() { return *model_; }
  LibraryHandle& library() { return *library_; }
  RagSession& session() { return *session_; }
  const Clock& clock() const { return clock_; }

 private:
  RagWorkbench() = default;

  SystemClock clock_;
  std::unique_ptr<Engine> engine_;
  std::optional<PromptFormat> format_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ModelHandle> model_;
  std::unique_ptr<LibraryHandle> library_;
  std::unique_ptr<RagSession> session_;
};

}  // namespace kvcommons
