#include "client/command/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "client/command/bench.h"

namespace kvcommons {
namespace {

constexpr const char* kExplainHelp =
    "Shows what the daemon knows of one block or document.\n"
    "The name is a block's or document's key (32 hexadecimal digits, or their beginning), or a "
    "document's name.\n"
    "Why a prompt was reused or computed is a property of a plan, not of a block: an engine prints "
    "it with its plan (kvcommons-engine edit).";

constexpr const char* kBenchHelp =
    "Measures the daemon's paths, each next to its bound on this machine in the same run.\n"
    "Without --socket it starts a daemon of its own (kvcommonsd beside this program) on a "
    "temporary folder, and stops it at the end; with --socket or KVCOMMONS_SOCKET it measures "
    "that daemon, in whose store the benchmark's blocks stay until they are evicted.\n"
    "In JSON, goal is for the ratio; for control for value - bound, for lookup for the value.\n"
    "Exit code 1 when a measurement failed or read wrong bytes; a missed goal is reported, not "
    "an error.";

std::string JoinedBenchNames() {
  std::string joined;
  for (const char* name : BenchNames()) joined += (joined.empty() ? "" : ", ") + std::string(name);
  return joined;
}

void AddCommand(CLI::App& app, const char* name, const char* help, Command command,
                Arguments& arguments) {
  CLI::App* const sub = app.add_subcommand(name, help);
  sub->fallthrough();
  sub->callback([&arguments, command] { arguments.command = command; });
}

}  // namespace

std::optional<Arguments> ParseArguments(int argc, const char* const* argv, std::ostream& out,
                                        std::ostream& err, int* exit_code) {
  Arguments arguments;
  CLI::App app("kvcommons: looks into and looks after a KVCommons daemon", "kvcommons");
  app.require_subcommand(1);
  app.set_version_flag("--version", "kvcommons " KVCOMMONS_VERSION);
  app.footer("Exit codes: 0 done, 1 failed (the message says what to do next), 2 wrong usage.");
  app.add_option("--socket", arguments.socket,
                 "The daemon's socket. Default: $KVCOMMONS_SOCKET, else "
                 "$XDG_RUNTIME_DIR/kvcommons/kvcommons.sock, else "
                 "/tmp/kvcommons-<uid>/kvcommons.sock")
      ->type_name("PATH");
  app.add_flag("--json", arguments.is_json, "Print JSON for machines");
  app.add_option("--timeout", arguments.timeout_ms,
                 "Give a call up after this long. Default: 60000; verify and flush: a day")
      ->type_name("MS")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{86'400'000}));

  AddCommand(app, "status", "Is the daemon there, whose, since when, how full", Command::kStatus,
             arguments);
  AddCommand(app, "stats", "Everything that the daemon counts", Command::kStats, arguments);
  AddCommand(app, "ls", "Lists documents, then blocks", Command::kLs, arguments);
  AddCommand(app, "explain", kExplainHelp, Command::kExplain, arguments);
  AddCommand(app, "verify", "Reads every block of this tenant and checks its checksum",
             Command::kVerify, arguments);
  AddCommand(app, "doctor", "Checks the set-up and says what to change", Command::kDoctor,
             arguments);
  AddCommand(app, "rm", "Removes a block or a document", Command::kRemove, arguments);
  AddCommand(app, "flush", "Makes everything that is held durable", Command::kFlush, arguments);
  AddCommand(app, "bench", kBenchHelp, Command::kBench, arguments);

  app.get_subcommand("ls")
      ->add_option("--limit", arguments.limit, "Blocks at most (default: 100)")
      ->type_name("COUNT")
      ->check(CLI::Range(1u, kMaxListed));
  app.get_subcommand("explain")
      ->add_option("name", arguments.key, "Key of a block or document, or a document's name")
      ->type_name("KEY|DOCUMENT")
      ->required();
  app.get_subcommand("rm")
      ->add_option("key", arguments.key,
                   "32 hexadecimal digits, as ls prints them, or a document's name")
      ->type_name("KEY|DOCUMENT")
      ->required();
  CLI::App* const library = app.add_subcommand(
      "library", "Texts that prompts are composed of, for all models of this tenant");
  library->fallthrough();
  library->require_subcommand(1);
  AddCommand(*library, "ls", "Lists texts and what is ready of them", Command::kLibraryLs,
             arguments);
  AddCommand(*library, "status", "Texts, tokens and preparation, a line for each model",
             Command::kLibraryStatus, arguments);
  AddCommand(*library, "rm", "Removes a text and its rows", Command::kLibraryRemove, arguments);
  library->get_subcommand("ls")
      ->add_option("--limit", arguments.limit, "Texts at most (default: 100)")
      ->type_name("COUNT")
      ->check(CLI::Range(1u, kMaxListed));
  library->get_subcommand("rm")
      ->add_option("key", arguments.key,
                   "32 hexadecimal digits, as library ls prints them, or a text's name")
      ->type_name("KEY|TEXT")
      ->required();
  CLI::App* const quality = app.add_subcommand(
      "quality", "Approximate rules: how far from full prefill, and which are switched off");
  quality->fallthrough();
  quality->require_subcommand(1);
  AddCommand(*quality, "ls", "Lists models and rules that engines reported on", Command::kQualityLs,
             arguments);
  AddCommand(*quality, "reset", "Lets a rule that was switched off go on, and forgets its reports",
             Command::kQualityReset, arguments);
  quality->get_subcommand("reset")
      ->add_option("rule", arguments.key, "As quality ls prints it, for instance design-completion")
      ->type_name("RULE")
      ->required();
  quality->get_subcommand("reset")
      ->add_option(
          "--model", arguments.model,
          "For this model, also where the rule is on: 32 hexadecimal digits, as quality ls "
          "prints them. Default: all models for which it is off")
      ->type_name("KEY");
  CLI::App* const bench = app.get_subcommand("bench");
  const auto names = BenchNames();
  bench
      ->add_option("names", arguments.names,
                   "What to measure: " + JoinedBenchNames() + ". Default: all")
      ->type_name("NAME")
      ->check(CLI::IsMember(std::vector<std::string>(names.begin(), names.end())));
  bench
      ->add_option(
          "--scratch", arguments.scratch,
          "Folder for the plain files that are the bounds of disk paths; should be on the "
          "data folder's file system. Default: /var/tmp for a daemon of our own, else beside "
          "its data folder if that is known and writable, else here")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory);
  bench
      ->add_option("--daemon-binary", arguments.daemon_binary,
                   "The kvcommonsd to start. Default: the one beside this program")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  bench
      ->add_option("--repeats", arguments.repeats,
                   "Times that each measurement is taken; medians are reported (default: 9)")
      ->type_name("COUNT")
      ->check(CLI::Range(3u, 101u));

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    *exit_code = app.exit(error, out, err) == 0 ? kExitOk : kExitUsage;
    return std::nullopt;
  }
  return arguments;
}

}  // namespace kvcommons
