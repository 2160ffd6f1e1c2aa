// An engine, a daemon's session and this application's library, opened once for one or many
// prompts or preparations.
//
// Thread safety: none.

#pragma once

#include <memory>

#include "agents/engine/commands.h"
#include "agents/rag/rag_session.h"
#include "base/clock.h"

namespace kvcommons {

class RagWorkbench {
 public:
  // Opens the model, runs its gate, and opens the library with the prefaces of LibraryPrefacesOf().
  static Result<std::unique_ptr<RagWorkbench>> Open(const CommonOptions& options);

  Engine& engine() { return *engine_; }
  ModelHandle& model() { return *model_; }
  LibraryHandle& library() { return *library_; }
  RagSession& session() { return *session_; }
  const Clock& clock() const { return clock_; }

 private:
  RagWorkbench() = default;

  SystemClock clock_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ModelHandle> model_;
  std::unique_ptr<LibraryHandle> library_;
  std::unique_ptr<RagSession> session_;
};

}  // namespace kvcommons
