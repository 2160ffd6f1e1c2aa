// kvcommonsd: reads its configuration and runs a Daemon.

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "daemon/config.h"
#include "daemon/daemon.h"

namespace {

using kvcommons::Config;

constexpr int kExitUsage = 2;
constexpr int kExitFailure = 1;

const kvcommons::Daemon* g_daemon = nullptr;

void OnStopSignal(int) { g_daemon->Stop(); }

void HandleSignals() {
  struct sigaction action {};
  action.sa_handler = OnStopSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// Every client holds a connection and descriptors of memory.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Refuse(const kvcommons::Status& status, int code) {
  std::fprintf(stderr, "kvcommonsd: %s\n", status.ToString().c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  Config::Input input;
  input.arguments.assign(argv + 1, argv + argc);
  for (char** entry = environ; *entry != nullptr; ++entry) input.environment.emplace_back(*entry);
  input.environment_prefix = kvcommons::kEnvironmentPrefix;
  const auto config = Config::Load(kvcommons::DaemonSettings(), input);
  if (!config) return Refuse(config.error(), kExitUsage);
  switch (config->action()) {
    case Config::Action::kHelp:
      std::fputs(HelpText("kvcommonsd", "shares the key/value cache of language models.",
                          kvcommons::DaemonSettings(), kvcommons::kEnvironmentPrefix)
                     .c_str(),
                 stdout);
      return 0;
    case Config::Action::kVersion:
      std::puts("kvcommonsd " KVCOMMONS_VERSION);
      return 0;
    case Config::Action::kPrintConfig:
      std::fputs(config->Print().c_str(), stdout);
      return 0;
    case Config::Action::kRun:
      break;
  }
  kvcommons::Daemon::Options options;
  options.config = kvcommons::DaemonConfigOf(*config);
  kvcommons::SetLogLevel(options.config.log_level);
  for (const std::string& warning : config->warnings()) {
    kvcommons::Logger("config").Warning(warning);
  }
  RaiseDescriptorLimit();
  auto daemon = kvcommons::Daemon::Start(std::move(options));
  if (!daemon) return Refuse(daemon.error(), kExitFailure);
  g_daemon = daemon->get();
  HandleSignals();
  return (*daemon)->Run().ok() ? 0 : kExitFailure;
}
