// SIGKILL at random points under load: nothing acknowledged as durable may be lost, nothing wrong
// served.
//
//   kill_campaign --rounds N [--load prompts|teams] [--clients N] [--seed S] [--json FILE]
//
// Each round starts kvcommonsd on the store of the rounds before, checks everything that was ever
// acknowledged, lets several clients work, and kills the daemon after a random number of their
// operations, so that others are in the middle of theirs. Prints {"load", "compared", "rounds",
// "acknowledged", "lost", "wrong"}; exit code 1 when anything was lost or wrong.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "tests/fault/kill_load.h"

namespace kvcommons {
namespace {

class Campaign {
 public:
  Campaign(std::uint64_t seed, bool teams)
      : load_(teams ? MakeTeamLoad(daemon_) : MakePromptLoad(daemon_)), random_(seed) {}

  Status Round(int round, std::size_t client_count) {
    KVC_RETURN_IF_ERROR(
        daemon_.Start({"--memory", "256MiB", "--disk", "8GiB", "--team-memory", "4GiB"}));
    KVC_RETURN_IF_ERROR(load_->Check());
    {
      MutexLock lock(mutex_);
      operations_ = 0;
    }
    const std::size_t kill_after = 1 + random_() % 150;
    std::vector<std::thread> clients;
    for (std::size_t c = 0; c < client_count; ++c) {
      clients.emplace_back([this, round, c, seed = random_()] {
        load_->Work(round, c, seed, [this] { Count(1); });
        // A client that lost its daemon must not keep the killer waiting.
        Count(1000);
      });
    }
    {
      MutexLock lock(mutex_);
      while (operations_ < kill_after) changed_.Wait(mutex_);
    }
    daemon_.Kill();
    for (std::thread& client : clients) client.join();
    return Status();
  }

  Status FinalCheck() {
    KVC_RETURN_IF_ERROR(daemon_.Start());
    KVC_RETURN_IF_ERROR(load_->Check());
    return daemon_.Stop() == 0 ? Status() : Internal("kvcommonsd did not end with 0 on SIGTERM");
  }

  KillLoad& load() { return *load_; }

 private:
  void Count(std::size_t operations) {
    MutexLock lock(mutex_);
    operations_ += operations;
    changed_.NotifyAll();
  }

  DaemonProcess daemon_;
  const std::unique_ptr<KillLoad> load_;
  std::mt19937_64 random_;
  Mutex mutex_;
  CondVar changed_;
  std::size_t operations_ GUARDED_BY(mutex_) = 0;
};

int Usage(int exit_code) {
  std::fprintf(exit_code == 0 ? stdout : stderr,
               "usage: kill_campaign --rounds N [--load prompts|teams] [--clients N] [--seed S] "
               "[--json FILE]\n"
               "Kills kvcommonsd N times (1 to 100000) under load and checks what it had "
               "acknowledged.\n");
  return exit_code;
}

int Main(int argc, char** argv) {
  long rounds = 0;
  long clients = 3;
  std::uint64_t seed = std::random_device{}();
  std::string json_path, load = "prompts";
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--help") return Usage(0);
    if (i + 1 == argc) return Usage(2);
    const char* value = argv[++i];
    if (flag == "--rounds")
      rounds = std::atol(value);
    else if (flag == "--clients")
      clients = std::atol(value);
    else if (flag == "--load")
      load = value;
    else if (flag == "--seed")
      seed = std::strtoull(value, nullptr, 10);
    else if (flag == "--json")
      json_path = value;
    else
      return Usage(2);
  }
  if (rounds < 1 || rounds > 100'000 || clients < 1 || clients > 64) return Usage(2);
  if (load != "prompts" && load != "teams") return Usage(2);

  std::fprintf(stderr, "seed %llu\n", static_cast<unsigned long long>(seed));
  Campaign campaign(seed, load == "teams");
  KillLoad& done = campaign.load();
  for (long round = 0; round < rounds; ++round) {
    if (Status status = campaign.Round(static_cast<int>(round), static_cast<std::size_t>(clients));
        !status.ok()) {
      std::fprintf(stderr, "round %ld: %s\n", round + 1, status.ToString().c_str());
      return 1;
    }
    std::fprintf(stderr, "%ld of %ld kills, %zu acknowledged, %zu lost, %zu wrong\n", round + 1,
                 rounds, done.acknowledged(), done.lost(), done.wrong());
  }
  if (Status status = campaign.FinalCheck(); !status.ok()) {
    std::fprintf(stderr, "after the last round: %s\n", status.ToString().c_str());
    return 1;
  }
  // A load that did nothing proved nothing.
  if (done.acknowledged() == 0 || (load == "teams" && done.compared() == 0)) {
    std::fprintf(stderr, "nothing was acknowledged, or no corrected row compared\n");
    return 1;
  }
  const nlohmann::json result = {{"load", load},        {"compared", done.compared()},
                                 {"rounds", rounds},    {"acknowledged", done.acknowledged()},
                                 {"lost", done.lost()}, {"wrong", done.wrong()}};
  std::printf("%s\n", result.dump().c_str());
  if (!json_path.empty()) std::ofstream(json_path) << result.dump() << "\n";
  return done.lost() + done.wrong() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvcommons

int main(int argc, char** argv) { return kvcommons::Main(argc, argv); }
