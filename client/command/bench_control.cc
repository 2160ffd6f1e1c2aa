// bench control, lookup: what a call costs when no bytes move.

#include "client/command/bench_run.h"
#include "client/command/table.h"

namespace kvcommons {

Result<BenchResult> BenchControl(const BenchRun& run) {
  constexpr int kCalls = 200;  // of each kind in one repeat
  Result<BenchSession> session = OpenSession(run.daemon, run.data.profile());
  if (!session) return Fail(session.error());
  // Everything but the last token is exact.
  const BenchPrompt prompt = run.data.NewPrompt(kPlaceTokens);
  if (auto upload = UploadPrompt(*session, run.data, prompt, UploadAck::kHeld); !upload) {
    return Fail(upload.error());
  }
  BenchResult result;
  std::vector<double> in_daemon;
  for (std::uint32_t i = 0; i <= run.repeats; ++i) {
    KVC_FAIL_IF_ERROR(Interrupted());
    std::vector<double> plans, pings, daemon_us;
    for (int call = 0; call < kCalls; ++call) {
      Status ping;
      pings.push_back(MicrosecondsOf([&] { ping = session->client->Ping(); }));
      KVC_FAIL_IF_ERROR(ping);
      Result<std::unique_ptr<PlanHandle>> plan;
      plans.push_back(MicrosecondsOf([&] { plan = PlanPrompt(*session, prompt.tokens); }));
      if (!plan) return Fail(plan.error());
      if ((*plan)->exact_rows != kPlaceTokens - 1) {
        return Fail(Internal("the plan reuses " + std::to_string((*plan)->exact_rows) +
                             " tokens of a prompt that is held"));
      }
      daemon_us.push_back((*plan)->took_us);
      plan->reset();
      // The lease's release is not charged to the next ping.
      KVC_FAIL_IF_ERROR(session->client->Ping());
    }
    if (i == 0) continue;
    result.values.push_back(MedianOf(plans));
    result.bounds.push_back(MedianOf(pings));
    in_daemon.push_back(MedianOf(daemon_us));
  }
  result.unit = "us";
  result.bound_name = "empty call";
  result.goal = 15;
  result.goal_of = GoalOf::kDifference;
  result.better = Better::kLower;
  result.batch_blocks = kPlaceTokens / 64;
  result.note = "p50 of " + std::to_string(kCalls) + " plans of 4,096 tokens a repeat; " +
                FormatNumber(MedianOf(in_daemon), 1) + " us of it in the daemon";
  return result;
}

Result<BenchResult> BenchLookup(const BenchRun& run) {
  constexpr std::uint32_t kTokens = 131'072;
  constexpr std::uint32_t kInnerRepeats = 9;
  BenchData thin(ThinProfile(), kTokens + 1, run.seed ^ 1);
  Result<BenchSession> session = OpenSession(run.daemon, thin.profile());
  if (!session) return Fail(session.error());
  const BenchPrompt prompt = thin.NewPrompt(kTokens + 1);
  if (auto upload = UploadPrompt(*session, thin, prompt, UploadAck::kHeld); !upload) {
    return Fail(upload.error());
  }
  BenchResult result;
  const std::span<const TokenId> tokens = std::span(prompt.tokens).first(kTokens);
  for (std::uint32_t i = 0; i <= run.repeats; ++i) {
    KVC_FAIL_IF_ERROR(Interrupted());
    const auto reply = session->model->Lookup(tokens, kInnerRepeats);
    if (!reply) return Fail(reply.error());
    if (reply->exact_tokens != kTokens) {
      return Fail(Internal("the lookup found " + std::to_string(reply->exact_tokens) + " of " +
                           std::to_string(kTokens) + " uploaded tokens"));
    }
    if (i > 0) result.values.push_back(reply->took_us / 1000);
  }
  result.unit = "ms";
  result.goal = 1;
  result.goal_of = GoalOf::kValue;
  result.better = Better::kLower;
  result.batch_blocks = kTokens / 64;
  result.note = "131,072 tokens in blocks of 64, all held; hashing included, in the daemon";
  return result;
}

}  // namespace kvcommons
