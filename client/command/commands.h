// One function a command; each prints its result and answers the exit code.

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <ostream>

#include "client/client.h"
#include "client/command/arguments.h"

namespace kvcommons {

struct CommandContext {
  const Arguments& arguments;
  std::ostream& out;
  std::ostream& err;
};

int RunStatus(const CommandContext& context, Client& client);
int RunStats(const CommandContext& context, Client& client);
int RunLs(const CommandContext& context, Client& client);
int RunExplain(const CommandContext& context, Client& client);
int RunRemove(const CommandContext& context, Client& client);
int RunLibrary(const CommandContext& context, Client& client);
int RunQuality(const CommandContext& context, Client& client);
int RunVerify(const CommandContext& context, Client& client);
int RunFlush(const CommandContext& context, Client& client);
int RunDoctor(const CommandContext& context);  // connects itself: not connecting is a finding

// "kvcommons: <message>" to `err`; kExitFailure.
int ReportFailure(const CommandContext& context, const Status& status);

ClientOptions OptionsOf(const Arguments& arguments);

}  // namespace kvcommons
