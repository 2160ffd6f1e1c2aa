// Prompts and documents of random tokens: full blocks of a chain, or every row of a document, must
// be found again, byte for byte, once they were acknowledged as durable.

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "tests/fault/kill_load.h"
#include "tests/integration/synthetic_model.h"

namespace kvcommons {
namespace {

struct Stored {
  std::vector<TokenId> tokens;
  std::string document;  // empty: a plain prompt
};

class PromptLoad final : public KillLoad {
 public:
  using KillLoad::KillLoad;

  Status Check() override {
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

  void Work(int round, std::size_t client_index, std::uint64_t seed,
            const std::function<void()>& done) override {
    std::mt19937_64 random(seed);
    auto client = daemon_.Connect("load");
    if (!client.has_value()) return;
    auto model = (*client)->OpenModel(SyntheticProfile(), PassedGate());
    if (!model.has_value()) return;
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
      done();
      if (outcome.status.code() == Code::kUnavailable) return;
    }
  }

  std::size_t acknowledged() override { return AcknowledgedNow().size(); }

 private:
  std::vector<Stored> AcknowledgedNow() {
    MutexLock lock(mutex_);
    return acknowledged_;
  }

  Mutex mutex_;
  std::vector<Stored> acknowledged_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<KillLoad> MakePromptLoad(const DaemonProcess& daemon) {
  return std::make_unique<PromptLoad>(daemon);
}

}  // namespace kvcommons
