// SIGKILL at random points under load: nothing acknowledged as durable may be lost, nothing wrong
// served.
//
//   kill_campaign --rounds N [--seed S] [--json FILE]
//
// Each round starts kvcommonsd on the store of the rounds before, checks every prompt and document
// that was ever acknowledged, lets several clients store and read prompts, and kills the daemon
// after a random number of their operations, so that others are in the middle of theirs. Prints
// {"rounds", "acknowledged", "lost", "wrong"}; exit code 1 when anything was lost or wrong.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "tests/integration/daemon_process.h"
#include "tests/integration/synthetic_model.h"

namespace kvcommons {
namespace {

struct Stored {
  std::vector<TokenId> tokens;
  std::string document;  // empty: a plain prompt
};

class Campaign {
 public:
  explicit Campaign(std::uint64_t seed) : random_(seed) {}

  Status Round(int round, std::size_t client_count) {
    KVC_RETURN_IF_ERROR(daemon_.Start({"--memory", "256MiB", "--disk", "8GiB"}));
    KVC_RETURN_IF_ERROR(CheckAll());
    operations_ = 0;
    const std::size_t kill_after = 1 + random_() % 150;
    std::vector<std::thread> clients;
    for (std::size_t c = 0; c < client_count; ++c) {
      clients.emplace_back([this, round, c, seed = random_()] { Load(round, c, seed); });
    }
    {
      MutexLock lock(mutex_);
      while (operations_ < kill_after) changed_.Wait(mutex_);
    }
    daemon_.Kill();
    for (std::thread& client : clients) client.join();
    return Status();
  }

  // Everything acknowledged must be there, with the right bytes. Call with the daemon running.
  Status CheckAll() {
    auto client = daemon_.Connect("check");
    if (!client.has_value()) return client.error();
    auto model = (*client)->OpenModel(SyntheticProfile(), PassedGate());
    if (!model.has_value()) return model.error();
    for (const Stored& stored : AcknowledgedNow()) {
      PlanRequest request;
      request.tokens = stored.tokens;
      request.policy = stored.document.empty() ? Policy::kExact : Policy::kEdit;
      request.document = stored.document;
      auto plan = (*model)->Plan(request);
      if (!plan.has_value()) return plan.error();
      // Full blocks of a chain, or every row of a document; never the last token.
      const auto block_tokens = SyntheticProfile().block_tokens;
      const auto n = static_cast<std::uint32_t>(stored.tokens.size());
      const std::uint32_t expected =
          stored.document.empty() ? (n - 1) / block_tokens * block_tokens : n - 1;
      lost_ += (*plan)->exact_rows < expected ? 1 : 0;
      wrong_ += CountWrongRows(stored.tokens, **plan);
    }
    return Status();
  }

  Status FinalCheck() {
    KVC_RETURN_IF_ERROR(daemon_.Start());
    KVC_RETURN_IF_ERROR(CheckAll());
    return daemon_.Stop() == 0 ? Status() : Internal("kvcommonsd did not end with 0 on SIGTERM");
  }

  std::size_t acknowledged() { return AcknowledgedNow().size(); }
  std::size_t lost() const { return lost_; }
  std::size_t wrong() const { return wrong_; }

 private:
  std::vector<Stored> AcknowledgedNow() {
    MutexLock lock(mutex_);
    return acknowledged_;
  }

  void CountOperation() {
    MutexLock lock(mutex_);
    ++operations_;
    changed_.NotifyAll();
  }

  // Stores and reads until the daemon is gone.
  void Load(int round, std::size_t client_index, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    auto client = daemon_.Connect("load");
    if (!client.has_value()) return CountUntilKilled();
    auto model = (*client)->OpenModel(SyntheticProfile(), PassedGate());
    if (!model.has_value()) return CountUntilKilled();
    for (int n = 0;; ++n) {
      Stored next;
      const auto known = AcknowledgedNow();
      if (!known.empty() && random() % 3 == 0) {
        // Goes on from a known prompt: shares its chain.
        next.tokens = known[random() % known.size()].tokens;
        next.tokens.resize(std::min<std::size_t>(next.tokens.size(), 600));
      }
      const auto more = RandomTokens(random, 1 + random() % 400);
      next.tokens.insert(next.tokens.end(), more.begin(), more.end());
      if (random() % 4 == 0) {
        next.document = "doc-" + std::to_string(round) + "-" + std::to_string(client_index) + "-" +
                        std::to_string(n);
      }
      const auto ack = random() % 4 == 0 ? UploadAck::kHeld : UploadAck::kDurable;
      const StoreOutcome outcome = StorePrompt(**model, next.tokens, next.document, ack);
      wrong_ += outcome.wrong;
      if (outcome.status.ok() && ack == UploadAck::kDurable) {
        MutexLock lock(mutex_);
        acknowledged_.push_back(std::move(next));
      }
      CountOperation();
      if (outcome.status.code() == Code::kUnavailable) return CountUntilKilled();
    }
  }

  // A client that lost its daemon must not keep the killer waiting.
  void CountUntilKilled() {
    MutexLock lock(mutex_);
    operations_ += 1000;
    changed_.NotifyAll();
  }

  DaemonProcess daemon_;
  std::mt19937_64 random_;
  std::atomic<std::size_t> lost_{0}, wrong_{0};
  Mutex mutex_;
  CondVar changed_;
  std::size_t operations_ GUARDED_BY(mutex_) = 0;
  std::vector<Stored> acknowledged_ GUARDED_BY(mutex_);
};

int Usage(int exit_code) {
  std::fprintf(
      exit_code == 0 ? stdout : stderr,
      "usage: kill_campaign --rounds N [--clients N] [--seed S] [--json FILE]\n"
      "Kills kvcommonsd N times (1 to 100000) under load and checks what it had acknowledged.\n");
  return exit_code;
}

int Main(int argc, char** argv) {
  long rounds = 0;
  long clients = 3;
  std::uint64_t seed = std::random_device{}();
  std::string json_path;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--help") return Usage(0);
    if (i + 1 == argc) return Usage(2);
    const char* value = argv[++i];
    if (flag == "--rounds")
      rounds = std::atol(value);
    else if (flag == "--clients")
      clients = std::atol(value);
    else if (flag == "--seed")
      seed = std::strtoull(value, nullptr, 10);
    else if (flag == "--json")
      json_path = value;
    else
      return Usage(2);
  }
  if (rounds < 1 || rounds > 100'000 || clients < 1 || clients > 64) return Usage(2);

  std::fprintf(stderr, "seed %llu\n", static_cast<unsigned long long>(seed));
  Campaign campaign(seed);
  for (long round = 0; round < rounds; ++round) {
    if (Status status = campaign.Round(static_cast<int>(round), static_cast<std::size_t>(clients));
        !status.ok()) {
      std::fprintf(stderr, "round %ld: %s\n", round + 1, status.ToString().c_str());
      return 1;
    }
    std::fprintf(stderr, "%ld of %ld kills, %zu acknowledged, %zu lost, %zu wrong\n", round + 1,
                 rounds, campaign.acknowledged(), campaign.lost(), campaign.wrong());
  }
  if (Status status = campaign.FinalCheck(); !status.ok()) {
    std::fprintf(stderr, "after the last round: %s\n", status.ToString().c_str());
    return 1;
  }
  const nlohmann::json result = {{"rounds", rounds},
                                 {"acknowledged", campaign.acknowledged()},
                                 {"lost", campaign.lost()},
                                 {"wrong", campaign.wrong()}};
  std::printf("%s\n", result.dump().c_str());
  if (!json_path.empty()) std::ofstream(json_path) << result.dump() << "\n";
  return campaign.lost() + campaign.wrong() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvcommons

int main(int argc, char** argv) { return kvcommons::Main(argc, argv); }
