#include "client/command/command_line.h"

#include "client/command/bench.h"
#include "client/command/commands.h"

namespace kvcommons {

int ReportFailure(const CommandContext& context, const Status& status) {
  context.err << "kvcommons: " << status.ToString() << '\n';
  return kExitFailure;
}

ClientOptions OptionsOf(const Arguments& arguments) {
  constexpr std::int64_t kCallMs = 60'000;
  constexpr std::int64_t kDayMs = 86'400'000;  // verify and flush read or write a whole store
  ClientOptions options;
  options.socket_path = arguments.socket;
  options.name = "kvcommons command";
  const bool is_long =
      arguments.command == Command::kVerify || arguments.command == Command::kFlush;
  options.timeout_ms =
      arguments.timeout_ms != 0 ? arguments.timeout_ms : (is_long ? kDayMs : kCallMs);
  return options;
}

int RunCommandLine(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  int exit_code = kExitOk;
  const std::optional<Arguments> arguments = ParseArguments(argc, argv, out, err, &exit_code);
  if (!arguments) return exit_code;
  const CommandContext context{*arguments, out, err};
  if (arguments->command == Command::kDoctor) return RunDoctor(context);
  if (arguments->command == Command::kBench) return RunBench(context);

  const Result<std::unique_ptr<Client>> client = Client::Connect(OptionsOf(*arguments));
  if (!client) return ReportFailure(context, client.error());
  switch (arguments->command) {
    case Command::kStatus:
      return RunStatus(context, **client);
    case Command::kStats:
      return RunStats(context, **client);
    case Command::kLs:
      return RunLs(context, **client);
    case Command::kExplain:
      return RunExplain(context, **client);
    case Command::kRemove:
      return RunRemove(context, **client);
    case Command::kVerify:
      return RunVerify(context, **client);
    case Command::kFlush:
      return RunFlush(context, **client);
    case Command::kLibraryLs:
    case Command::kLibraryStatus:
    case Command::kLibraryRemove:
      return RunLibrary(context, **client);
    case Command::kQualityLs:
    case Command::kQualityReset:
      return RunQuality(context, **client);
    case Command::kDoctor:
    case Command::kBench:
      break;
  }
  return kExitFailure;
}

}  // namespace kvcommons
