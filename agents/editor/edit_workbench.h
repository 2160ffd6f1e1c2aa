// An engine, a daemon's session and a runner, opened once for one or many edits.
//
// Thread safety: none.

#pragma once

#include <memory>
#include <string>

#include "agents/editor/edit_command.h"

namespace kvcommons {

class EditWorkbench {
 public:
  // Opens the model and, when `with_daemon`, a session; runs the model's gate so that the daemon
  // offers moved rows. Fails with what the user does next when the daemon cannot be reached.
  static Result<std::unique_ptr<EditWorkbench>> Open(const EditCommandOptions& options,
                                                     bool with_daemon);

  // `compared`: see EditRunOptions.
  Result<EditResult> Run(const std::string& document, const std::string& before,
                         const std::string& after, std::uint32_t after_rows,
                         const EditResult* compared = nullptr);
  Engine& engine() { return *engine_; }
  const GateReport& gate() const { return gate_; }

 private:
  explicit EditWorkbench(EditCommandOptions options) : options_(std::move(options)) {}

  EditCommandOptions options_;
  Policy policy_ = Policy::kEdit;
  SystemClock clock_;
  GateReport gate_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ModelHandle> model_;
  std::unique_ptr<ModelHandle> baseline_;
  std::unique_ptr<EditRunner> runner_;
};

}  // namespace kvcommons
